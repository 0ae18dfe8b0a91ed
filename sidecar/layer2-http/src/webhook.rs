//! Standard Webhooks: how a delivery is signed, what its answer means, and when it is tried again.
//!
//! The signed text is `id.timestamp.payload`. A key file holds one key a line: `whsec_` and base64 of 24 to 64 octets
//! (HMAC-SHA256, signature `v1`), or `whsk_` and base64 of an Ed25519 seed (signature `v1a`). Each key gives a signature, so that
//! receivers may change from one to the next. Invariants: keys never appear in an error; a pause is never longer than it may be, and
//! no two callers pause alike. It sends nothing and knows no clock. Test to read first:
//! `the_signatures_are_those_of_the_standard`.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cloudevent::unix_s_of_http_date;

/// Field with the delivery's id: the same at every attempt.
pub const ID: &str = "webhook-id";
/// Field with the time of the attempt, in Unix seconds.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// Field with the signatures.
pub const SIGNATURE: &str = "webhook-signature";
/// Octets of a symmetric key.
const SECRET_OCTETS: std::ops::RangeInclusive<usize> = 24..=64;
/// Keys of one signer: each makes the field longer.
const KEYS_MAX: usize = 8;

/// Why a text holds no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither prefix.
    #[error("line {line}: a key begins with whsec_ (HMAC-SHA256) or whsk_ (Ed25519)")]
    Prefix {
        /// The line, from 1.
        line: usize,
    },
    /// What follows the prefix is no base64 of a length that is allowed.
    #[error(
        "line {line}: after the prefix comes base64 of 24 to 64 octets (whsec_) or of 32 (whsk_); make one with: \
        echo whsec_$(head -c 32 /dev/urandom | base64)"
    )]
    Length {
        /// The line, from 1.
        line: usize,
    },
    /// No key, or too many.
    #[error("a key file has 1 to 8 keys, one a line")]
    Count,
}

enum SigningKey {
    Hmac(Box<hmac::Key>),
    Ed25519(Box<Ed25519KeyPair>),
}

/// The keys of one target.
pub struct Signer(Vec<SigningKey>);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer of {} keys", self.0.len())
    }
}

impl Signer {
    /// Reads keys, one a line. Empty lines and those that begin with `#` are skipped.
    ///
    /// # Errors
    /// With the first line that holds no key; never with what it holds.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        let keys: Result<Vec<_>, _> = lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(at, line)| key(at, line))
            .collect();
        let keys = keys?;
        if keys.is_empty() || keys.len() > KEYS_MAX { Err(KeyError::Count) } else { Ok(Self(keys)) }
    }

    /// The keys of both.
    ///
    /// # Errors
    /// If they are too many.
    pub fn and(mut self, other: Self) -> Result<Self, KeyError> {
        self.0.extend(other.0);
        if self.0.len() > KEYS_MAX { Err(KeyError::Count) } else { Ok(self) }
    }

    /// The value of [`SIGNATURE`] for a delivery at this time.
    #[must_use]
    pub fn sign(&self, id: &str, at_s: u64, payload: &[u8]) -> String {
        let signed = [id.as_bytes(), b".", at_s.to_string().as_bytes(), b".", payload].concat();
        let one = |key: &SigningKey| match key {
            SigningKey::Hmac(key) => format!("v1,{}", STANDARD.encode(hmac::sign(key, &signed))),
            SigningKey::Ed25519(key) => format!("v1a,{}", STANDARD.encode(key.sign(&signed))),
        };
        self.0.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

fn key(line: usize, text: &str) -> Result<SigningKey, KeyError> {
    let decode = |rest: &str| STANDARD.decode(rest).map_err(|_| KeyError::Length { line });
    if let Some(rest) = text.strip_prefix("whsec_") {
        let secret = decode(rest)?;
        if !SECRET_OCTETS.contains(&secret.len()) {
            return Err(KeyError::Length { line });
        }
        return Ok(SigningKey::Hmac(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &secret))));
    }
    let Some(rest) = text.strip_prefix("whsk_") else { return Err(KeyError::Prefix { line }) };
    let seed = decode(rest)?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| KeyError::Length { line })?;
    Ok(SigningKey::Ed25519(Box::new(pair)))
}

/// What an answer says of the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It arrived.
    Delivered,
    /// Nobody wants it, now or later (410).
    Gone,
    /// It may be tried again, not before this time from now if the receiver named one.
    Again(Option<Duration>),
}

/// Judges an answer by its status and Retry-After. A redirect is not followed: it counts as a failure.
#[must_use]
pub fn judge(status: u16, retry_after: Option<&str>, now_ms: i64) -> Verdict {
    match status {
        200..=299 => Verdict::Delivered,
        410 => Verdict::Gone,
        _ => Verdict::Again(retry_after.and_then(|value| pause_of(value.trim(), now_ms))),
    }
}

/// The pause that a Retry-After asks for: seconds, or a date (RFC 9110 §10.2.3).
fn pause_of(value: &str, now_ms: i64) -> Option<Duration> {
    if !value.is_empty() && value.len() <= 9 && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.parse().ok().map(Duration::from_secs);
    }
    let until_ms = unix_s_of_http_date(value)?.checked_mul(1_000)?;
    Some(Duration::from_millis(u64::try_from(until_ms.saturating_sub(now_ms)).unwrap_or(0)))
}

/// The pause after this many attempts (from 1): twice as long each time, up to `max`, of which `random` takes away up to a half.
#[must_use]
pub fn pause_after(attempts: u32, first: Duration, max: Duration, random: u64) -> Duration {
    let doubled = 1_u32.checked_shl(attempts.saturating_sub(1)).and_then(|times| first.checked_mul(times));
    let whole = doubled.map_or(max, |pause| pause.min(max));
    let half = u64::try_from(whole.as_nanos() / 2).unwrap_or(u64::MAX);
    whole.saturating_sub(Duration::from_nanos(random % half.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Of the Standard Webhooks libraries' own tests.
    const ID_OF_VECTOR: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT_S: u64 = 1_614_265_330;
    const PAYLOAD: &[u8] = br#"{"test": 2432232314}"#;
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SEED: &str = "whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk=";

    #[test]
    fn the_signatures_are_those_of_the_standard() {
        let hmac = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let ed25519 = "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag==";
        let sign = |keys: &str| Signer::parse(keys).unwrap().sign(ID_OF_VECTOR, AT_S, PAYLOAD);
        assert_eq!(sign(SECRET), hmac);
        assert_eq!(sign(SEED), ed25519);
        // While one key takes over from another, each gives a signature.
        assert_eq!(sign(&format!("# new\n{SEED}\r\n\n  {SECRET}\n")), format!("{ed25519} {hmac}"));
        let both = Signer::parse(SECRET).unwrap().and(Signer::parse(SEED).unwrap()).unwrap();
        assert_eq!(both.sign(ID_OF_VECTOR, AT_S, PAYLOAD), format!("{hmac} {ed25519}"));
        assert_ne!(both.sign(ID_OF_VECTOR, AT_S + 1, PAYLOAD), both.sign(ID_OF_VECTOR, AT_S, PAYLOAD));
    }

    #[test]
    fn what_is_no_key_is_refused_by_its_line_and_not_repeated() {
        let short = STANDARD.encode([7; 23]);
        let long = STANDARD.encode([7; 65]);
        for (text, error) in [
            (String::new(), KeyError::Count),
            ("# only a remark\n".to_owned(), KeyError::Count),
            ("hunter2hunter2".to_owned(), KeyError::Prefix { line: 1 }),
            (format!("{SECRET}\nwhpk_AAAA"), KeyError::Prefix { line: 2 }),
            (format!("whsec_{short}"), KeyError::Length { line: 1 }),
            (format!("whsec_{long}"), KeyError::Length { line: 1 }),
            ("whsec_not base64".to_owned(), KeyError::Length { line: 1 }),
            (format!("\nwhsk_{long}"), KeyError::Length { line: 2 }),
            (format!("{SECRET}\n").repeat(9), KeyError::Count),
        ] {
            let refused = Signer::parse(&text).unwrap_err();
            assert_eq!(refused, error, "{text}");
            assert!(!refused.to_string().contains("hunter2"));
        }
        assert_eq!(format!("{:?}", Signer::parse(SECRET).unwrap()), "Signer of 1 keys");
    }

    #[test]
    fn an_answer_ends_a_delivery_or_asks_for_another() {
        let judge = |status, after| judge(status, after, 784_111_777_000);
        for status in [200, 202, 204, 299] {
            assert_eq!(judge(status, Some("9")), Verdict::Delivered);
        }
        assert_eq!(judge(410, Some("9")), Verdict::Gone);
        for status in [199, 301, 302, 307, 308, 400, 404, 409, 500, 503] {
            assert_eq!(judge(status, None), Verdict::Again(None), "{status}");
        }
        let pause = |value| judge(503, Some(value));
        assert_eq!(pause("120"), Verdict::Again(Some(Duration::from_secs(120))));
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:38 GMT"), Verdict::Again(Some(Duration::from_secs(1))));
        assert_eq!(pause("Sun, 06 Nov 1994 08:00:00 GMT"), Verdict::Again(Some(Duration::ZERO)));
        for value in ["", "-1", "1.5", "soon", "9999999999", "Sun, 06 Nov 1994", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(pause(value), Verdict::Again(None), "{value}");
        }
    }

    proptest! {
        #[test]
        fn a_pause_grows_to_its_bound_and_loses_half_at_most(attempts in 0_u32..200, random: u64) {
            let (first, max) = (Duration::from_secs(5), Duration::from_secs(3_600));
            let pause = pause_after(attempts, first, max, random);
            let whole = first.saturating_mul(1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX)).min(max);
            prop_assert!(pause <= whole && pause >= whole / 2, "{pause:?} of {whole:?}");
        }

        #[test]
        fn reading_never_panics(text in "(whsec_|whsk_|v1,|)[ -~\n]{0,80}", after in "[ -~]{0,40}") {
            let _ = Signer::parse(&text);
            let _ = judge(503, Some(&after), 0);
        }
    }
}
