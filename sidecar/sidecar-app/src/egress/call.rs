//! One call to an upstream: the request goes out, the head of the response comes back.
//!
//! Invariants: a call ends within the rule's time once the upstream has all there is of the request; a call is made again
//! only if that is harmless, it has no content, and it failed on a connection that was idle before (RFC 9112 §9.3.1), and
//! then once. It reads and writes no record. Test to read first:
//! `tests::an_idle_connection_that_was_closed_is_replaced_for_a_repeatable_call`.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Extensions, Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::capture_connection;
use layer2_http::envelope::Timings;
use layer2_http::operation::Executed;
use layer2_http::problem::{Problem, ProblemKind};

use super::admission::Call;
use super::connection::Opened;
use super::fault;
use super::filtered::Filtered;
use super::request_body::{Progress, RequestBody};
use crate::body::{self, BoxedBody};

/// The content of a request.
pub(super) enum Content {
    /// None.
    Empty,
    /// Of one record, which is here.
    Whole(Bytes),
    /// As it arrives.
    Streamed(BoxedBody),
}

impl Content {
    /// The same once more, if it is still here.
    pub(super) fn again(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Whole(content) => Some(Self::Whole(content.clone())),
            Self::Streamed(_) => None,
        }
    }
}

/// An upstream's response, at its head.
#[derive(Debug)]
pub(super) struct Reply {
    /// Head, and content to read.
    pub(super) response: Response<Incoming>,
    /// What was measured: connecting, and the time to the head.
    pub(super) timings: Timings,
}

/// Makes the call.
///
/// # Errors
/// With the problem to answer; it says whether the call can have had an effect.
pub(super) async fn make(call: &Call<'_>, content: Content) -> Result<Reply, Problem> {
    let progress = Progress::new();
    let started = Instant::now();
    match content {
        Content::Empty => match attempt(call, body::full(Bytes::new()), &progress, started).await {
            Err(failure) if failure.on_idle_connection && call.repeatable => {
                tracing::debug!(origin = call.site.origin, "an idle connection had been closed: once more");
                attempt(call, body::full(Bytes::new()), &progress, started).await
            }
            result => result,
        },
        Content::Whole(content) => bounded(call, body::full(content), &progress, started).await,
        Content::Streamed(inner) => bounded(call, inner, &progress, started).await,
    }
    .map_err(|failure| failure.problem)
}

async fn bounded(
    call: &Call<'_>,
    inner: BoxedBody,
    progress: &Arc<Progress>,
    started: Instant,
) -> Result<Reply, Failure> {
    let max = call.rule.max_body.unwrap_or(call.upstream.body_max);
    let body = RequestBody::new(inner, max, call.content_length, Arc::clone(progress));
    let body = Filtered::new(body, &call.upstream.far.request);
    attempt(call, BoxedBody::new(body), progress, started).await
}

struct Failure {
    problem: Problem,
    /// Was it a connection that had been there before the call, closed without an answer?
    on_idle_connection: bool,
}

async fn attempt(call: &Call<'_>, body: BoxedBody, progress: &Progress, started: Instant) -> Result<Reply, Failure> {
    let mut request = Request::new(body);
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = call.uri.clone();
    *request.headers_mut() = call.fields.clone();
    let captured = capture_connection(&mut request);
    let time_max = call.rule.timeout;
    match within(call.upstream.client.request(request), progress, time_max).await {
        Some(Ok(response)) => {
            let opened = response.extensions().get::<Opened>().filter(|opened| opened.at >= started);
            let timings = Timings {
                wait_ms: None,
                connect_ms: opened.map(|opened| millis(opened.took)),
                first_byte_ms: Some(millis(started.elapsed())),
            };
            Ok(Reply { response, timings })
        }
        Some(Err(error)) => Err(failed(call, &error, progress, started)),
        None => {
            let connected = captured.connection_metadata().is_some();
            Err(Failure { problem: late(call, connected), on_idle_connection: false })
        }
    }
}

/// Waits for the upstream, but not for longer than its time; what the caller takes for its content does not count.
async fn within<F: Future>(response: F, progress: &Progress, time_max: Duration) -> Option<F::Output> {
    tokio::pin!(response);
    while let Some(due) = progress.due(time_max) {
        tokio::select! {
            biased;
            output = &mut response => return Some(output),
            () = tokio::time::sleep_until(due) => {}
        }
    }
    None
}

fn failed(call: &Call<'_>, error: &legacy::Error, progress: &Progress, started: Instant) -> Failure {
    if let Some(fault) = progress.fault() {
        return Failure { problem: fault::of_body(&fault, &call.site), on_idle_connection: false };
    }
    let problem = fault::of_call(error, &call.site);
    let mut extensions = Extensions::new();
    if let Some(connected) = error.connect_info() {
        connected.get_extras(&mut extensions);
    }
    let older = extensions.get::<Opened>().is_some_and(|opened| opened.at < started);
    Failure { on_idle_connection: older && problem.kind == ProblemKind::UpstreamClosed, problem }
}

/// The rule's time is over; without a connection nothing was sent.
fn late(call: &Call<'_>, connected: bool) -> Problem {
    let (kind, executed, what) = if connected {
        (ProblemKind::UpstreamTimeout, Executed::Maybe, "did not begin its response")
    } else {
        (ProblemKind::ConnectionTimeout, Executed::No, "was not reached")
    };
    let seconds = call.rule.timeout.as_secs_f64();
    let detail = format!(
        "{} {what} within the {seconds} s of the far side's inbound rule `{}`",
        call.site.origin, call.rule.name
    );
    Problem::new(kind, detail).executed(executed)
}

/// Milliseconds, saturating.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
