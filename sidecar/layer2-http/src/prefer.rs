//! How a caller wants its call treated: Prefer (RFC 7240), Priority (RFC 9218), Idempotency-Key and the `hoft-` fields.
//!
//! Invariants: a preference that is malformed or unknown is ignored, as RFC 7240 asks; a `hoft-` field or
//! Idempotency-Key that is malformed is an error, as its sender relies on it; numbers are bounded by what the caller
//! can mean. It applies nothing: `ingress` decides what is honoured. Read it before `hop::strip_request` drops the
//! fields. Test to read first: `wishes_are_read_from_their_fields`.

use crate::envelope::Priority;
use crate::fields::{Fields, shown};
use crate::operation::{Executed, OperationId};
use crate::problem::{Problem, ProblemKind};

/// Name of the field with the caller's own operation id; every response carries it too.
pub const OPERATION_ID: &str = "hoft-operation-id";
/// Name of the field with the deadline, in seconds from now.
pub const DEADLINE: &str = "hoft-deadline";
/// Name of the field with the URL that is called with the result.
pub const CALLBACK: &str = "hoft-callback";
/// Name of the field with the URL that is called with status events.
pub const EVENTS: &str = "hoft-events";
/// Name of the field with the caller's key for repeats of one request.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Largest number of seconds taken: a year.
const MAX_SECONDS: u64 = 366 * 86_400;
/// Bytes of an Idempotency-Key.
const MAX_KEY: usize = 255;

/// What the caller asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// `Prefer: respond-async`: answer 202 at once.
    pub respond_async: bool,
    /// `Prefer: wait=SECONDS`: how long to wait for the response.
    pub wait_s: Option<u64>,
    /// How long the call may take in all, in seconds.
    pub deadline_s: Option<u64>,
    /// The caller's own operation id.
    pub operation: Option<OperationId>,
    /// Idempotency-Key, as sent.
    pub idempotency_key: Option<String>,
    /// Where to send the result.
    pub callback: Option<String>,
    /// Where to send status events.
    pub events: Option<String>,
    /// Priority; `None` if not given.
    pub priority: Option<Priority>,
}

/// A field whose value is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {shown:?} is no {expected}, or the field is repeated")]
pub struct WishError {
    /// Name of the field.
    pub field: &'static str,
    /// Its value, escaped.
    pub shown: String,
    /// What belongs there.
    pub expected: &'static str,
}

impl WishError {
    /// What the caller is told.
    #[must_use]
    pub fn to_problem(&self) -> Problem {
        Problem::new(ProblemKind::BadRequest, self.to_string()).executed(Executed::No)
    }
}

impl Wishes {
    /// Reads the wishes of a request.
    ///
    /// # Errors
    /// The first `hoft-` field or Idempotency-Key that is malformed or repeated.
    pub fn read(fields: &Fields) -> Result<Self, WishError> {
        let mut wishes = Self::default();
        for preference in fields.members("prefer") {
            wishes.prefer(preference);
        }
        wishes.deadline_s =
            one(fields, DEADLINE, "number of seconds above 0", |text| seconds(text).filter(|s| *s > 0))?;
        wishes.operation = one(fields, OPERATION_ID, "UUID", |text| OperationId::parse(text).ok())?;
        let key = |text: &str| (!text.is_empty() && text.len() <= MAX_KEY && text.is_ascii()).then(|| text.to_owned());
        wishes.idempotency_key = one(fields, IDEMPOTENCY_KEY, "key of 1 to 255 ASCII characters", key)?;
        let url = |text: &str| crate::target::parse_absolute(text).ok().map(|target| target.to_string());
        wishes.callback = one(fields, CALLBACK, "absolute http or https URL", url)?;
        wishes.events = one(fields, EVENTS, "absolute http or https URL", url)?;
        wishes.priority = priority(fields);
        Ok(wishes)
    }

    /// One preference; the first of a name counts (RFC 7240 §2).
    fn prefer(&mut self, preference: &[u8]) {
        let head = preference.split(|b| *b == b';').next().unwrap_or_default();
        let text = std::str::from_utf8(head).unwrap_or_default();
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"'));
        match name.as_str() {
            "respond-async" => self.respond_async = true,
            "wait" if self.wait_s.is_none() => self.wait_s = seconds(value),
            _ => {}
        }
    }

    /// The value of Preference-Applied for what was honoured; `None` if nothing was.
    #[must_use]
    pub fn applied(respond_async: bool, wait_s: Option<u64>) -> Option<String> {
        let wait = wait_s.map(|wait| format!("wait={wait}"));
        let applied: Vec<_> = respond_async.then(|| "respond-async".to_owned()).into_iter().chain(wait).collect();
        (!applied.is_empty()).then(|| applied.join(", "))
    }
}

/// The value of a field that may be given once.
fn one<T>(
    fields: &Fields,
    field: &'static str,
    expected: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, WishError> {
    let mut values = fields.get_all(field);
    let Some(value) = values.next() else { return Ok(None) };
    let text = std::str::from_utf8(value).ok().filter(|_| values.next().is_none());
    // Before an at sign may stand a password, and this may be shown to others than who wrote it.
    let shown = || if value.contains(&b'@') { "…".to_owned() } else { shown(value) };
    let read = text.and_then(read).ok_or_else(|| WishError { field, shown: shown(), expected })?;
    Ok(Some(read))
}

/// Digits, bounded by a year.
fn seconds(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse::<u64>().ok()).flatten().map(|seconds| seconds.min(MAX_SECONDS))
}

/// Priority of RFC 9218: `u=0..7` and `i`; what is malformed keeps its default. `None` if the field is not there.
#[must_use]
pub fn priority(fields: &Fields) -> Option<Priority> {
    let mut members = fields.members("priority").peekable();
    members.peek()?;
    let mut priority = Priority::default();
    for member in members {
        match member {
            [b'u', b'=', urgency @ b'0'..=b'7'] => priority.urgency = urgency - b'0',
            b"i" | b"i=?1" => priority.incremental = true,
            b"i=?0" => priority.incremental = false,
            _ => {}
        }
    }
    Some(priority)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(lines: &[(&str, &str)]) -> Result<Wishes, WishError> {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.push(name.to_string(), value.to_string()).unwrap();
        }
        Wishes::read(&fields)
    }

    #[test]
    fn wishes_are_read_from_their_fields() {
        let wishes = read(&[
            ("prefer", "respond-async, wait=30; x=y"),
            ("priority", "u=1, i"),
            ("idempotency-key", "\"8e03978e\""),
            ("hoft-deadline", "3600"),
            ("hoft-callback", "http://LOCALHOST:9000/done"),
            ("hoft-operation-id", "01890a5d-ac96-774b-bcce-b302099a8057"),
        ])
        .unwrap();
        assert!(wishes.respond_async);
        assert_eq!((wishes.wait_s, wishes.deadline_s), (Some(30), Some(3600)));
        assert_eq!(wishes.priority, Some(Priority { urgency: 1, incremental: true }));
        assert_eq!(wishes.idempotency_key.as_deref(), Some("\"8e03978e\""));
        assert_eq!(wishes.callback.as_deref(), Some("http://localhost:9000/done"));
        assert_eq!(wishes.operation.unwrap().to_string(), "01890a5d-ac96-774b-bcce-b302099a8057");
        assert_eq!(read(&[]), Ok(Wishes::default()));
    }

    #[test]
    fn malformed_preferences_are_ignored_and_the_first_of_a_name_counts() {
        let wait = |value: &str| read(&[("prefer", value)]).unwrap().wait_s;
        assert_eq!(wait("wait=1, wait=2"), Some(1));
        assert_eq!(wait("wait = \"7\""), Some(7));
        assert_eq!(wait("WAIT=0"), Some(0));
        assert_eq!(wait("wait=99999999999999999"), Some(MAX_SECONDS));
        for value in ["wait", "wait=", "wait=-1", "wait=1.5", "wait=x", "await=1", "return=minimal"] {
            assert_eq!(wait(value), None, "{value}");
        }
        assert!(read(&[("prefer", "return=minimal"), ("prefer", "Respond-Async")]).unwrap().respond_async);
    }

    #[test]
    fn malformed_fields_of_ours_are_errors_that_name_the_field() {
        for (field, value) in [
            (DEADLINE, "0"),
            (DEADLINE, "-1"),
            (DEADLINE, "soon"),
            (OPERATION_ID, "7"),
            (IDEMPOTENCY_KEY, ""),
            (IDEMPOTENCY_KEY, "é"),
            (CALLBACK, "/done"),
            (CALLBACK, "ftp://a/"),
            (EVENTS, "http://user@a/"),
        ] {
            let error = read(&[(field, value)]).unwrap_err();
            assert_eq!(error.field, field, "{value}");
            assert_eq!(error.to_problem().status, 400);
        }
        assert!(read(&[(DEADLINE, "1"), (DEADLINE, "2")]).is_err());
        assert!(read(&[(IDEMPOTENCY_KEY, &"x".repeat(256))]).is_err());
    }

    #[test]
    fn a_password_in_a_callback_url_was_repeated_in_the_problem() {
        let error = read(&[(CALLBACK, "http://user:hunter2@a/")]).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn a_malformed_priority_keeps_its_defaults() {
        for value in ["u=8", "u=-1", "u", "U=1", "x"] {
            assert_eq!(read(&[("priority", value)]).unwrap().priority, Some(Priority::default()), "{value}");
        }
        assert_eq!(read(&[("priority", "i=?0, u=0")]).unwrap().priority.unwrap().urgency, 0);
    }

    #[test]
    fn what_was_honoured_is_said() {
        assert_eq!(Wishes::applied(false, None), None);
        assert_eq!(Wishes::applied(true, Some(5)).as_deref(), Some("respond-async, wait=5"));
    }

    proptest! {
        #[test]
        fn reading_never_panics(name in "(prefer|priority|hoft-[a-z-]{1,12}|idempotency-key)", value in "[!-~]{0,30}") {
            let _ = read(&[(&name, &value)]);
        }
    }
}
