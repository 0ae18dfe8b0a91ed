//! CloudEvents 1.0 as callbacks send them: the structured mode of the HTTP binding, in JSON.
//!
//! Structured, because a Standard Webhooks signature covers the content only: so it covers id, type and subject too. Types are
//! `dev.hoft.operation.` and a state, or `result`; the subject is the operation. Invariants: equal arguments give equal bytes; no query
//! string and no credential is in an event, but what the response itself holds. It signs nothing: `webhook` does. Test to read first:
//! `a_result_tells_the_outcome_and_holds_a_small_body`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::operation::{OperationId, OperationView, State};

/// Media type of [`CloudEvent::to_json`].
pub const CONTENT_TYPE: &str = "application/cloudevents+json";
/// What every type begins with.
const TYPE_PREFIX: &str = "dev.hoft.operation.";

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct CloudEvent {
    /// Unique, and the same at every attempt: the `webhook-id` too.
    pub id: String,
    /// Who says it.
    pub source: String,
    /// What happened.
    pub kind: String,
    /// The operation.
    pub subject: OperationId,
    /// When it happened: Unix ms.
    pub at_ms: i64,
    /// All that is told of it.
    pub data: Value,
}

/// A stored response, as far as it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredResponse {
    /// Its Content-Type.
    pub content_type: Option<String>,
    /// Its Content-Encoding: what is held is encoded so.
    pub content_encoding: Option<String>,
    /// Its content, if that is small enough to be held.
    pub content: Option<Vec<u8>>,
}

/// The name of a side as source of events.
#[must_use]
pub fn source(side: &str, endpoint: &str) -> String {
    format!("urn:hoft:{side}:{endpoint}")
}

impl CloudEvent {
    /// An operation reached a state; `number` tells it from every other event of this engine.
    #[must_use]
    pub fn of_state(source: &str, operation: OperationId, number: u64, state: State, at_ms: i64, data: Value) -> Self {
        Self {
            id: format!("{operation}-{number}"),
            source: source.to_owned(),
            kind: format!("{TYPE_PREFIX}{}", state.name()),
            subject: operation,
            at_ms,
            data,
        }
    }

    /// An operation ended; with what is kept of its response.
    #[must_use]
    pub fn of_result(source: &str, view: &OperationView, response: Option<&StoredResponse>) -> Self {
        let mut data = json!({
            "operation": view.id, "state": view.state, "method": view.method, "target": without_query(&view.target),
            "route": view.route, "status": view.status, "executed": view.executed, "problem": view.problem,
            "begun_ms": view.begun_ms, "ended_ms": view.ended_ms, "location": view.id.location(),
        });
        if let (Some(response), Value::Object(data)) = (response, &mut data) {
            data.insert("result".to_owned(), format!("{}/result", view.id.location()).into());
            tell_response(response, data);
        }
        Self {
            id: format!("{}-result", view.id),
            source: source.to_owned(),
            kind: format!("{TYPE_PREFIX}result"),
            subject: view.id,
            at_ms: view.ended_ms.unwrap_or(view.begun_ms),
            data,
        }
    }

    /// The content of the delivery, of type [`CONTENT_TYPE`].
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let event = json!({
            "specversion": "1.0", "id": self.id, "source": self.source, "type": self.kind,
            "subject": self.subject, "time": rfc3339(self.at_ms), "datacontenttype": "application/json",
            "data": self.data,
        });
        // Strings and numbers under fixed keys: there is nothing that could fail to serialise.
        serde_json::to_vec(&event).unwrap_or_default()
    }
}

fn tell_response(response: &StoredResponse, data: &mut Map<String, Value>) {
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            data.insert(name.to_owned(), value.into());
        }
    };
    put("content_type", response.content_type.clone());
    put("content_encoding", response.content_encoding.clone());
    put("data_base64", response.content.as_ref().map(|content| STANDARD.encode(content)));
}

/// A URL as it may be shown: what follows the question mark may be secret.
#[must_use]
pub fn without_query(url: &str) -> &str {
    url.split_once('?').map_or(url, |(before, _)| before)
}

/// A time as RFC 3339 writes it, in UTC.
#[must_use]
pub fn rfc3339(unix_ms: i64) -> String {
    let (day, ms) = (unix_ms.div_euclid(86_400_000), unix_ms.rem_euclid(86_400_000));
    let (year, month, date) = civil(day);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

/// Year, month and day of a number of days since 1970-01-01 (proleptic Gregorian calendar).
const fn civil(day: i64) -> (i64, i64, i64) {
    // Days of a year that begins in March, so that the leap day is its last one.
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + (month <= 2) as i64, month, date)
}

/// Days since 1970-01-01.
const fn day_of(year: i64, month: i64, date: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + date - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

/// Unix seconds of an HTTP date in the one form that may be sent (RFC 9110 §5.6.7, IMF-fixdate).
#[must_use]
pub fn unix_s_of_http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split(' ');
    let (_weekday, date, month) = (words.next()?.strip_suffix(',')?, words.next()?, words.next()?);
    let (year, time, zone) = (words.next()?, words.next()?, words.next()?);
    if zone != "GMT" || words.next().is_some() || (date.len(), year.len(), time.len()) != (2, 4, 8) {
        return None;
    }
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<i64>().ok()).flatten();
    let month = i64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    let (date, year) = (number(date)?, number(year)?);
    let mut clock = time.split(':').map(number);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let valid = (1..=31).contains(&date) && hour < 24 && minute < 60 && second <= 60 && clock.next().is_none();
    valid.then(|| day_of(year, month, date) * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Executed;
    use proptest::prelude::*;

    fn view() -> OperationView {
        OperationView {
            id: OperationId::v7(1, &[1; 10]),
            state: State::Done,
            method: "POST".to_owned(),
            target: "https://erp.south.svc/v1/?token=secret".to_owned(),
            route: Some("erp".to_owned()),
            peer: "p".to_owned(),
            begun_ms: 7,
            ended_ms: Some(1_700_000_000_123),
            status: Some(201),
            executed: Some(Executed::Yes),
            problem: None,
            result: true,
        }
    }

    #[test]
    fn a_result_tells_the_outcome_and_holds_a_small_body() {
        let response = StoredResponse {
            content_type: Some("text/plain".to_owned()),
            content_encoding: None,
            content: Some(b"made".to_vec()),
        };
        let event = CloudEvent::of_result("urn:hoft:north:0", &view(), Some(&response));
        let id = view().id;
        let read: Value = serde_json::from_slice(&event.to_json()).unwrap();
        assert_eq!(
            read,
            json!({
                "specversion": "1.0", "id": format!("{id}-result"), "source": "urn:hoft:north:0",
                "type": "dev.hoft.operation.result", "subject": id.to_string(), "time": "2023-11-14T22:13:20.123Z",
                "datacontenttype": "application/json",
                "data": {
                    "operation": id.to_string(), "state": "done", "method": "POST",
                    "target": "https://erp.south.svc/v1/", "route": "erp", "status": 201, "executed": "yes",
                    "problem": null, "begun_ms": 7, "ended_ms": 1_700_000_000_123_i64,
                    "location": format!("/v1/operations/{id}"), "result": format!("/v1/operations/{id}/result"),
                    "content_type": "text/plain", "data_base64": "bWFkZQ==",
                },
            })
        );
        let large = StoredResponse { content: None, ..response };
        let event = CloudEvent::of_result("s", &view(), Some(&large));
        assert_eq!((event.data.get("data_base64"), event.data["content_type"].as_str()), (None, Some("text/plain")));
        let without = CloudEvent::of_result("s", &view(), None);
        assert_eq!((without.data.get("result"), without.data.get("content_type")), (None, None));
        assert!(!String::from_utf8(event.to_json()).unwrap().contains("secret"));
    }

    #[test]
    fn a_state_is_an_event_of_its_own_type() {
        let id = view().id;
        let event = CloudEvent::of_state(&source("north", "0"), id, 7, State::PartiallyAcked, 0, json!({"octets": 5}));
        let read: Value = serde_json::from_slice(&event.to_json()).unwrap();
        assert_eq!(read["id"], format!("{id}-7"));
        assert_eq!(read["type"], "dev.hoft.operation.partially_acked");
        assert_eq!((read["source"].as_str(), read["data"]["octets"].as_u64()), (Some("urn:hoft:north:0"), Some(5)));
        assert_eq!(read["time"], "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (ms, text) in [
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
        }
        // The example of RFC 9110.
        assert_eq!(unix_s_of_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        for text in ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Sun, 06 Nov 1994 08:49:37 UTC", ","]
        {
            assert_eq!(unix_s_of_http_date(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn days_and_dates_are_one_to_one(day in -700_000_i64..3_000_000) {
            let (year, month, date) = civil(day);
            prop_assert_eq!(day_of(year, month, date), day);
        }

        #[test]
        fn reading_a_date_never_panics(text in "[A-Za-z]{3}, [0-9]{2} [A-Z][a-z]{2} [0-9é]{4} [0-9:]{8} [A-Z]{3}") {
            let _ = unix_s_of_http_date(&text);
        }
    }
}
