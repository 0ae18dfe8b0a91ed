//! Repeats of a call: an Idempotency-Key that is known is answered from what is known, never executed again.
//!
//! | the key's operation | the answer |
//! |---|---|
//! | none, forgotten, or ended and surely not executed | the call is made |
//! | is of another method or target, or its content was another one | 422 `idempotency-key-reused` |
//! | has not ended | 409 `idempotency-key-in-progress`, with Location and Retry-After |
//! | ended with a response that is kept | that response, marked `Idempotency-Replayed: true` |
//! | ended otherwise | its problem once more, marked so: `outcome-unknown` stays that |
//!
//! Safe methods have no use for a key: theirs crosses, and is not looked at here. Invariants: the content of a repeat is digested as
//! it comes and never held; whether a call begins is the driver's to decide. Test to read first: `tests/line/idempotency.rs`.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use layer2_http::keys::{Holder, KeyClaim, KeyScope};
use layer2_http::operation::{Executed, OperationId, OperationView, State};
use layer2_http::prefer::Wishes;
use layer2_http::problem::{Problem, ProblemKind};
use layer2_http::target::Target;
use wire::digest::{Digest, Sha256Stream};

use super::{Ingress, operations, request, response};
use crate::body::{BodyError, BoxedBody};
use crate::command::{KeyInUse, StoredResult};
use crate::exchange::DriverHandle;

/// Says that a response is that of an earlier call with the same key.
const REPLAYED: &str = "idempotency-replayed";

/// What is claimed for a call with a key.
pub(super) fn claim(
    ingress: &Ingress,
    wishes: &Wishes,
    method: &str,
    target: &Target,
    route: Option<&str>,
) -> Option<KeyClaim> {
    let safe = matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE");
    let key = wishes.idempotency_key.as_deref().filter(|_| !safe)?;
    let origin = format!("{}://{}", target.scheme, target.authority());
    let scope = KeyScope { caller: ingress.caller.as_ref(), route, origin: &origin };
    Some(KeyClaim::new(scope, key, method, &target.to_string()))
}

/// Answers a request whose key belongs to another operation.
///
/// # Errors
/// With the problem to answer instead.
pub(super) async fn repeat(
    ingress: &Ingress,
    in_use: KeyInUse,
    content: Incoming,
    idle_max: Duration,
) -> Result<Response<BoxedBody>, Problem> {
    let (view, body) = match in_use.holder {
        Holder::OtherCall(view) => return Err(reused(view.id, "method or target differ")),
        Holder::UnderWay(view) => {
            let detail =
                format!("operation {} is {}; ask for {}/result, or again", view.id, view.state, view.id.location());
            return Err(Problem::new(ProblemKind::KeyInProgress, detail).of(view.id).retry_after(in_use.retry_after_s));
        }
        Holder::Ended { view, body } => (view, body),
        // Between the driver's look and this answer nothing changes hands.
        Holder::Nobody => return Err(Problem::new(ProblemKind::Internal, "a key in use has no holder")),
    };
    if let Some(first) = body
        && digest(content, ingress.body_max, idle_max).await? != first
    {
        return Err(reused(view.id, "the content differs"));
    }
    let to_head = view.method == "HEAD";
    let mut answer = match outcome(ingress, &view, to_head).await {
        Ok(answer) => answer,
        // Whoever asks again later may be told more.
        Err(problem) if problem.kind == ProblemKind::LogFull => return Err(problem),
        Err(problem) => response::of_problem(&problem, &ingress.pseudonym, to_head),
    };
    answer.headers_mut().insert(REPLAYED, http::HeaderValue::from_static("true"));
    Ok(answer)
}

/// What the operation ended with.
async fn outcome(ingress: &Ingress, view: &OperationView, to_head: bool) -> Result<Response<BoxedBody>, Problem> {
    if view.state != State::Done {
        return Err(problem_of(view));
    }
    match ingress.driver.stored_result(view.id).await.map_err(operations::stopping)? {
        StoredResult::Ready(mut reader) => match request::final_head(&mut reader).await {
            Ok(payload) => response::of_records(ingress, payload, reader, view.id, to_head).await,
            Err(error) => Err(request::failed(ingress, view.id, &error).await),
        },
        StoredResult::Pending(_) | StoredResult::Gone(_) | StoredResult::Unknown => {
            let detail = "the call was made, and its response is not kept any more";
            Err(Problem::new(ProblemKind::ResultGone, detail).of(view.id).executed(Executed::Yes))
        }
    }
}

/// The problem of an operation that ended without a response of the upstream.
fn problem_of(view: &OperationView) -> Problem {
    let kind = view.problem.as_deref().and_then(ProblemKind::from_slug).unwrap_or(ProblemKind::OutcomeUnknown);
    let detail = format!("the first call with this Idempotency-Key ended as {}, and it is not made again", view.state);
    Problem::new(kind, detail).of(view.id).executed(view.executed.unwrap_or(Executed::Maybe))
}

fn reused(operation: OperationId, what: &str) -> Problem {
    let detail =
        format!("this Idempotency-Key belongs to {operation}, another request: {what}; use a key of its own for each");
    Problem::new(ProblemKind::KeyReused, detail).of(operation)
}

/// The digest of a request's content, which is read for nothing else.
async fn digest(mut content: Incoming, max: u64, idle_max: Duration) -> Result<Digest, Problem> {
    let cut = |why: String| Problem::new(ProblemKind::BadRequest, format!("the request body was cut short: {why}"));
    let (mut hash, mut total) = (Sha256Stream::new(), 0_u64);
    loop {
        let frame = tokio::time::timeout(idle_max, content.frame())
            .await
            .map_err(|_| cut(format!("no octet of it came for {} s", idle_max.as_secs())))?;
        let Some(frame) = frame else { return Ok(hash.finish()) };
        let Ok(data) = frame.map_err(|error| cut(error.to_string()))?.into_data() else { continue };
        total = total.saturating_add(data.len() as u64);
        if total > max {
            return Err(Problem::new(ProblemKind::BodyTooLarge, format!("the body is larger than {max} octets")));
        }
        hash.update(&data);
    }
}

/// A request's content, digested where a key asks for it.
pub(super) fn digested(inner: BoxedBody, keyed: bool, driver: &DriverHandle, operation: OperationId) -> BoxedBody {
    if !keyed {
        return inner;
    }
    Digested { inner, hash: Some(Sha256Stream::new()), driver: driver.clone(), operation }.boxed_unsync()
}

/// A request's content that tells the driver its digest when it came to its end, before anybody is told that it did.
struct Digested {
    inner: BoxedBody,
    hash: Option<Sha256Stream>,
    driver: DriverHandle,
    operation: OperationId,
}

impl Body for Digested {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(hash), Some(data)) = (&mut this.hash, frame.data_ref()) {
                    hash.update(data);
                }
            }
            Poll::Ready(None) => {
                if let Some(hash) = this.hash.take() {
                    this.driver.request_body(this.operation, hash.finish());
                }
            }
            // A body that failed has no digest.
            Poll::Ready(Some(Err(_))) => this.hash = None,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
