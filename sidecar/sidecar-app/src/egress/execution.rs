//! One execution: from the request's records over the upstream to the response's records.
//!
//! Invariants: the dispatch mark is durable before the client is given the request; whatever ends an execution early also
//! drops its upstream call; the response's stream always gets an end, be it FIN or reset. It decides nothing itself:
//! `admission` does. Test to read first: `tests::a_call_is_answered_with_what_the_upstream_said`.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::Incoming as UpstreamBody;
use layer2_http::fin::code;
use layer2_http::operation::{Executed, OperationId};
use layer2_http::problem::{Problem, ProblemKind};
use wire::EndpointId;
use wire::record::kind;

use super::admission::{self, Call};
use super::answer::{self, Answer, Frame};
use super::call::{Content, millis};
use super::cookies::Owner;
use super::far_side;
use super::filtered::Filtered;
use super::server::Server;
use super::tunnel;
use super::{Egress, respond_problem};
use crate::access::{self, Record};
use crate::body::{self, PumpError};
use crate::exchange::{DispatchMark, FarExchange, RecordReader, RecordWriter};
use crate::record::{Incoming, ReadError};

/// How the upstream's part ended.
pub(super) enum Outcome {
    /// The response's head, and its content to come.
    Response { answer: Answer, content: Filtered<UpstreamBody>, body_max: u64 },
    /// A byte stream is open.
    Tunnel(Box<tunnel::Open>),
    /// A problem in its place.
    Problem(Problem),
    /// The calling side gave the request up, or does not want the response.
    Unwanted,
    /// The engine stops, or must not make this call.
    NotDispatched,
}

/// Why the request's records gave no call.
enum Unreadable {
    Unwanted,
    Problem(Problem),
}

/// Executes one exchange to its end.
pub(super) async fn run(egress: Arc<Egress>, exchange: FarExchange) {
    let FarExchange { peer, request, response, dispatch, attempt, cancelled } = exchange;
    let began = Instant::now();
    let record = Record::far(peer, attempt);
    let executed = tokio::select! {
        biased;
        () = cancelled.cancelled() => Outcome::Unwanted,
        outcome = execute(&egress, peer, request, &response, dispatch, record.as_ref()) => outcome,
    };
    let (me, elapsed_ms) = (egress.me, millis(began.elapsed()));
    let executed = match executed {
        Outcome::Problem(problem) => Outcome::Problem(of_attempt(problem, attempt)),
        other => other,
    };
    match executed {
        Outcome::Response { answer, content, body_max } => {
            tracing::debug!(%me, %peer, attempt, elapsed_ms, "the upstream answered");
            let compress = egress.compress && answer.compressible;
            tokio::select! {
                biased;
                // Dropping the rest resets the response and ends the upstream call.
                () = cancelled.cancelled() => egress.counters.cancelled(),
                () = respond(&egress, response, answer, access::response_content(content, record), body_max, compress) => {}
            }
        }
        Outcome::Tunnel(open) => tunnel::carry(&egress, *open, response, &cancelled).await,
        Outcome::Problem(problem) => {
            let slug = problem.kind.slug();
            tracing::debug!(%me, %peer, attempt, elapsed_ms, problem = slug, detail = problem.detail, "a problem");
            egress.counters.problem(problem.kind);
            if let Some(record) = &record {
                record.problem(&problem);
            }
            tokio::select! {
                biased;
                () = cancelled.cancelled() => {}
                () = respond_problem(response, &problem, &egress.pseudonym) => {}
            }
        }
        Outcome::Unwanted => {
            tracing::debug!(%me, %peer, attempt, elapsed_ms, "the call is not wanted any more");
            egress.counters.cancelled();
            response.abort(code::CANCELLED);
        }
        Outcome::NotDispatched => {}
    }
}

/// What a problem says of the whole call: that this attempt made none says nothing of the ones before a restart.
pub fn of_attempt(problem: Problem, attempt: u32) -> Problem {
    if attempt > 1 && problem.executed == Some(Executed::No) { problem.executed(Executed::Maybe) } else { problem }
}

/// Everything up to the response's head, which is not written here.
async fn execute(
    egress: &Egress,
    peer: EndpointId,
    mut request: RecordReader,
    response: &RecordWriter,
    dispatch: DispatchMark,
    record: Option<&Arc<Record>>,
) -> Outcome {
    let began = Instant::now();
    let payload = match first_head(&mut request).await {
        Ok(payload) => payload,
        Err(unreadable) => return unreadable.into(),
    };
    let head = match admission::read_head(&payload, egress.section) {
        Ok(head) => head,
        Err(problem) => return Outcome::Problem(problem),
    };
    if let Some(priority) = head.envelope.priority {
        response.prioritize(priority);
    }
    let operation = head.envelope.operation;
    if let Some(record) = record {
        record.executes(&head);
    }
    if head.is_tunnel() {
        return tunnel::open(egress, peer, &head, request, dispatch)
            .await
            .unwrap_or_else(|problem| Outcome::Problem(about(problem, operation)));
    }
    let mut called = match admission::admit(egress, &head) {
        Ok(called) => called,
        Err(problem) => return Outcome::Problem(about(problem, operation)),
    };
    if let Some(record) = record {
        record.know(|known| known.rule = Some(called.rule.name.clone()));
    }
    let content = match content(&called, request, egress).await {
        Ok(content) => content,
        Err(Unreadable::Problem(problem)) => return Outcome::Problem(about(problem, operation)),
        Err(unwanted @ Unreadable::Unwanted) => return unwanted.into(),
    };
    let owner = Owner::new(peer, head.envelope.caller.as_ref());
    let held = match far_side::authorize(&mut called, &owner).await {
        Ok(held) => held,
        Err(problem) => return Outcome::Problem(about(problem, operation)),
    };
    let waited = began.elapsed();
    if !dispatch.commit().await {
        return Outcome::NotDispatched;
    }
    tracing::debug!(operation = ?operation, method = %called.method, origin = called.site.origin, server = ?called.upstream.server.as_ref().map(Server::uri), "dispatched");
    let content = match (content, record) {
        (Content::Streamed(body), Some(record)) => {
            Content::Streamed(access::request_content(body, Some(Arc::clone(record))))
        }
        (content, _) => content,
    };
    let reply = match far_side::make(&mut called, content, held, &owner).await {
        Ok(reply) => reply,
        Err(problem) => return Outcome::Problem(about(problem, operation)),
    };
    let (head, content) = reply.response.into_parts();
    if let Some(record) = record {
        record.know(|known| (known.status, known.executed) = (Some(head.status.as_u16()), Some(Executed::Yes)));
    }
    let body_max = called.upstream.body_max;
    let mut timings = reply.timings;
    timings.wait_ms = Some(millis(waited));
    let frame = Frame { pseudonym: &egress.pseudonym, section: egress.section, body_max, operation, timings };
    match answer::of_response(&head, &called.method, &frame) {
        Ok(answer) => {
            let content = Filtered::new(content, &called.upstream.far.response);
            Outcome::Response { answer, content, body_max }
        }
        Err(problem) => Outcome::Problem(about(problem, operation)),
    }
}

async fn first_head(request: &mut RecordReader) -> Result<Bytes, Unreadable> {
    loop {
        match request.next().await? {
            Incoming::Head(payload) => return Ok(payload),
            Incoming::Other { .. } => {}
            Incoming::Interim(_) | Incoming::Data(_) | Incoming::Trailers(_) | Incoming::End => {
                return Err(Unreadable::malformed("the request does not begin with its head".to_owned()));
            }
        }
    }
}

/// What follows the head: nothing, or content that is read as it is sent.
async fn content(call: &Call<'_>, mut request: RecordReader, egress: &Egress) -> Result<Content, Unreadable> {
    loop {
        match request.next().await? {
            Incoming::End => {
                return match call.content_length {
                    None | Some(0) => Ok(Content::Empty),
                    Some(declared) => Err(Unreadable::malformed(format!(
                        "the request body does not have the {declared} octets that Content-Length declares"
                    ))),
                };
            }
            Incoming::Data(first) if call.upstream.far.may_repeat() => {
                return replayable(call, first, request, egress).await;
            }
            first @ (Incoming::Data(_) | Incoming::Trailers(_)) => {
                return Ok(Content::Streamed(body::from_records(
                    request,
                    Some(first),
                    egress.section,
                    call.content_length,
                )));
            }
            Incoming::Head(_) | Incoming::Interim(_) => {
                return Err(Unreadable::malformed("the request has a second head".to_owned()));
            }
            Incoming::Other { .. } => {}
        }
    }
}

/// Content that is kept if it is one record, so that it can be sent again with another token.
async fn replayable(
    call: &Call<'_>,
    first: Bytes,
    mut request: RecordReader,
    egress: &Egress,
) -> Result<Content, Unreadable> {
    let second = loop {
        match request.next().await? {
            Incoming::Other { .. } => {}
            second => break second,
        }
    };
    if second == Incoming::End {
        return Ok(Content::Whole(first));
    }
    let left = call.content_length.map(|declared| declared.saturating_sub(first.len() as u64));
    let rest = BodyStream::new(body::from_records(request, Some(second), egress.section, left));
    let frames = stream::once(std::future::ready(Ok(http_body::Frame::data(first)))).chain(rest);
    Ok(Content::Streamed(StreamBody::new(frames).boxed_unsync()))
}

impl Unreadable {
    fn malformed(detail: String) -> Self {
        Self::Problem(Problem::new(ProblemKind::BadRequest, detail).executed(Executed::No))
    }
}

impl From<ReadError> for Unreadable {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset { .. } | ReadError::Gone => Self::Unwanted,
            ReadError::Log(_) => {
                Self::Problem(Problem::new(ProblemKind::Internal, error.to_string()).executed(Executed::No))
            }
            ReadError::Inflate { .. } | ReadError::Mismatch => Self::malformed(error.to_string()),
        }
    }
}

impl From<Unreadable> for Outcome {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Unwanted => Self::Unwanted,
            Unreadable::Problem(problem) => Self::Problem(problem),
        }
    }
}

fn about(problem: Problem, operation: Option<OperationId>) -> Problem {
    match operation {
        Some(operation) => problem.of(operation),
        None => problem,
    }
}

/// Passes the response on, content as it comes.
async fn respond(
    egress: &Egress,
    mut writer: RecordWriter,
    answer: Answer,
    content: access::Counted<Filtered<UpstreamBody>>,
    body_max: u64,
    compress: bool,
) {
    let result = match writer.head(kind::HEAD, answer.head).await {
        Ok(()) => body::pump(content, writer, body_max, compress, None).await,
        Err(error) => Err(PumpError::Append(error)),
    };
    match result {
        Ok(()) => egress.counters.answered(),
        Err(error) => {
            match &error {
                PumpError::Source(_) | PumpError::TooLarge { .. } => egress.counters.cut(),
                PumpError::Append(_) => egress.counters.cancelled(),
            }
            tracing::debug!(%error, "a response did not get to its end");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_attempt_does_not_vouch_for_the_first() {
        let denied = || Problem::new(ProblemKind::RouteDenied, "the rules changed").executed(Executed::No);
        assert_eq!(of_attempt(denied(), 1).executed, Some(Executed::No));
        assert_eq!(of_attempt(denied(), 2).executed, Some(Executed::Maybe));
        let timeout = Problem::new(ProblemKind::UpstreamTimeout, "").executed(Executed::Maybe);
        assert_eq!(of_attempt(timeout, 2).executed, Some(Executed::Maybe));
    }
}
