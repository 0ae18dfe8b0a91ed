//! Callers who do not wait: `Prefer: respond-async` and `wait=SECONDS` (RFC 7240), and what they are told.
//!
//! Invariants: 202 is answered only when the call and its whole request are durable; what was promised so goes on whoever goes
//! away, and its response is kept; a body that breaks off before is no promise, and the call is not made. A wait is never longer
//! than the rule's. Test to read first: `tests/line/asynchronous.rs`.

use std::time::Duration;

use http::{HeaderValue, Response};
use layer2_http::operation::{Executed, OperationId};
use layer2_http::prefer::Wishes;
use layer2_http::problem::{Problem, ProblemKind};

use super::{Ingress, json, request, response};
use crate::ask::{Ask, Promised};
use crate::body::{BoxedBody, PumpError};
use crate::command::AppendError;
use crate::exchange::{RecordReader, RecordWriter};

/// A call that is to be answered before its response is there.
pub(super) struct Waitless {
    pub(super) operation: OperationId,
    /// What the caller asked for.
    pub(super) wishes: Wishes,
    /// How long the rule lets a caller wait.
    pub(super) timeout: Duration,
    pub(super) to_head: bool,
}

impl Waitless {
    /// How long the caller waits: as he wishes, up to what the rule allows.
    fn wait(&self) -> Option<Duration> {
        self.wishes.wait_s.map(|wait_s| Duration::from_secs(wait_s).min(self.timeout))
    }
}

/// Takes the whole request, and answers 202, or with the response if that comes within the time that the caller waits.
///
/// # Errors
/// With the problem to answer instead.
pub(super) async fn accept(
    ingress: &Ingress,
    call: Waitless,
    content: request::Content,
    (writer, compress): (RecordWriter, bool),
    mut reader: RecordReader,
) -> Result<Response<BoxedBody>, Problem> {
    let id = call.operation;
    match request::pump(content, writer, ingress.body_max, compress).await {
        // The far side wants no more of it: it has answered, and the result says what.
        Ok(()) | Err(PumpError::Append(AppendError::Stopped { .. })) => {}
        Err(PumpError::TooLarge { max }) => return Err(request::too_large(max, id)),
        Err(PumpError::Source(error)) => {
            return Err(request::bad(format!("the request body was cut short: {error}")).of(id));
        }
        Err(PumpError::Append(error)) => return Err(interrupted(ingress, id, &error).await),
    }
    let promised = ingress.driver.ask(|reply| Ask::Durable { id, reply }).await;
    let Ok(promised) = promised else { return Err(interrupted(ingress, id, &AppendError::Stopping).await) };
    if let Some(wait) = call.wait()
        && let Ok(head) = tokio::time::timeout(wait, request::final_head(&mut reader)).await
    {
        let mut response = match head {
            Ok(head) => response::of_records(ingress, head, reader, id, call.to_head).await?,
            Err(error) => return Err(request::failed(ingress, id, &error).await),
        };
        applied(&mut response, Wishes::applied(false, Some(wait.as_secs())));
        return Ok(response);
    }
    reader.detach();
    Ok(promise(id, &promised, call.wait()))
}

/// 202: where to ask, and when.
fn promise(id: OperationId, promised: &Promised, waited: Option<Duration>) -> Response<BoxedBody> {
    let body = promised.view.as_ref().map(|view| serde_json::to_vec(view).unwrap_or_default());
    let mut response = json(202, body.unwrap_or_else(|| b"{}".to_vec()));
    response.extensions_mut().insert(response::GoesOn);
    response::put(&mut response, "hoft-operation-id", &id.to_string());
    response::put(&mut response, "location", &id.location());
    response::put(&mut response, "retry-after", &retry_after_s(promised.round_trip).to_string());
    applied(&mut response, Wishes::applied(true, waited.map(|waited| waited.as_secs())));
    response
}

/// Half a round trip, but at least a second: before that nothing can have come.
pub(super) fn retry_after_s(round_trip: Option<Duration>) -> u64 {
    let half_s = round_trip.unwrap_or_default().as_millis().div_ceil(2_000);
    u64::try_from(half_s).unwrap_or(u64::MAX).max(1)
}

/// Says what was honoured.
pub(super) fn applied(response: &mut Response<BoxedBody>, preferences: Option<String>) {
    if let Some(value) = preferences.and_then(|value| HeaderValue::try_from(value).ok()) {
        response.headers_mut().insert("preference-applied", value);
    }
}

/// The request did not get into the log as a whole.
async fn interrupted(ingress: &Ingress, id: OperationId, error: &AppendError) -> Problem {
    let view = ingress.driver.operation(id).await.ok().flatten();
    let ended = view.and_then(|view| Some((ProblemKind::from_slug(&view.problem?)?, view.executed)));
    match ended {
        Some((kind, executed)) => {
            Problem::new(kind, error.to_string()).of(id).executed(executed.unwrap_or(Executed::Maybe))
        }
        None => Problem::new(ProblemKind::LogFull, error.to_string()).of(id).executed(Executed::Maybe).retry_after(5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_again_is_told_when_that_makes_sense() {
        for (round_trip_ms, seconds) in [(0, 1), (900, 1), (2_000, 1), (2_001, 2), (60_000, 30), (3_600_000, 1_800)] {
            assert_eq!(retry_after_s(Some(Duration::from_millis(round_trip_ms))), seconds, "{round_trip_ms} ms");
        }
        assert_eq!(retry_after_s(None), 1);
    }

    #[test]
    fn a_caller_waits_no_longer_than_the_rule_allows() {
        let waits = |wait_s, timeout_s| {
            let wishes = Wishes { wait_s, ..Wishes::default() };
            let timeout = Duration::from_secs(timeout_s);
            Waitless { operation: OperationId::v7(1, &[1; 10]), wishes, timeout, to_head: false }.wait()
        };
        assert_eq!(waits(None, 60), None);
        assert_eq!(waits(Some(5), 60), Some(Duration::from_secs(5)));
        assert_eq!(waits(Some(500), 60), Some(Duration::from_secs(60)));
    }
}
