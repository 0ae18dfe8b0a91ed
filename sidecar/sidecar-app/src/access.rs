//! The access log: one line for each call at its end, near and far, of target `access` and level info.
//!
//! Invariants: a call has one line, however it ends, when the last of its two bodies is over; no query, no credential
//! and no field value is in it; nothing is gathered unless lines are written (`log.access`). It decides nothing and
//! counts nothing else. Test to read first: `tests/line/access_log.rs`.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use layer2_http::head::RequestHead;
use layer2_http::operation::{Executed, OperationId};
use layer2_http::problem::Problem;
use wire::EndpointId;

use crate::body::{BodyError, BoxedBody};

/// The target of the lines, for filters.
pub(crate) const TARGET: &str = "access";

/// Are lines written?
pub(crate) fn wanted() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::INFO)
}

/// What is known of one call; its line is written when the last one who knows of the call lets go.
#[derive(Debug)]
pub(crate) struct Record {
    began: Instant,
    side: Side,
    known: Mutex<Known>,
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
    cut: AtomicBool,
}

/// Who sees the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Whoever called is here.
    Near(SocketAddr),
    /// Whoever called is there; the number is that of the attempt.
    Far(EndpointId, u32),
}

/// What comes to be known of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Its operation.
    pub(crate) operation: Option<OperationId>,
    /// The service account in whose name it was made.
    pub(crate) caller: Option<String>,
    /// Its method.
    pub(crate) method: String,
    /// Scheme, host and path.
    pub(crate) place: String,
    /// The rule that allowed it.
    pub(crate) rule: Option<String>,
    /// It came by `/to/RULE/`.
    pub(crate) routed: bool,
    /// Status of what its caller got.
    pub(crate) status: Option<u16>,
    /// Was it made upstream?
    pub(crate) executed: Option<Executed>,
    /// The problem that it ended with.
    pub(crate) problem: Option<String>,
    /// What the response cache did.
    pub(crate) cache: Option<&'static str>,
}

/// The problem that a response tells, of this side or of the far one, for whoever passes it on.
#[derive(Clone, Debug)]
pub(crate) struct Told(pub(crate) String, pub(crate) Option<Executed>);

/// Marks a response that an upstream gave to this call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfUpstream;

impl Record {
    fn new(side: Side, known: Known) -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            side,
            known: Mutex::new(known),
            request_bytes: AtomicU64::new(0),
            response_bytes: AtomicU64::new(0),
            cut: AtomicBool::new(false),
        })
    }

    /// Of a call that came through a door; also left in the request, for whoever admits it.
    pub(crate) fn near<B>(request: &mut Request<B>, client: SocketAddr) -> Option<Arc<Self>> {
        if !wanted() {
            return None;
        }
        let known =
            Known { method: request.method().as_str().to_owned(), place: place(request.uri()), ..Known::default() };
        let record = Self::new(Side::Near(client), known);
        request.extensions_mut().insert(Arc::clone(&record));
        Some(record)
    }

    /// Of a call that is executed here.
    pub(crate) fn far(peer: EndpointId, attempt: u32) -> Option<Arc<Self>> {
        wanted().then(|| Self::new(Side::Far(peer, attempt), Known::default()))
    }

    /// What the head of a call that is executed here says.
    pub(crate) fn executes(&self, head: &RequestHead) {
        let path = head.path.split('?').next().unwrap_or_default();
        self.know(|known| {
            known.operation = head.envelope.operation;
            known.caller = head.envelope.caller.as_ref().and_then(|caller| caller.service_account.clone());
            known.method.clone_from(&head.method);
            known.place = format!("{}://{}{path}", head.scheme, head.authority);
            known.routed = head.envelope.route.is_some();
        });
    }

    /// Adds to what is known.
    pub(crate) fn know(&self, learn: impl FnOnce(&mut Known)) {
        learn(&mut self.known());
    }

    /// It ended with a problem of this engine.
    pub(crate) fn problem(&self, problem: &Problem) {
        self.know(|known| {
            known.status = Some(problem.status);
            known.problem = Some(problem.kind.slug().to_owned());
            known.executed = problem.executed.or(known.executed);
            known.operation = known.operation.or(problem.operation);
        });
    }

    /// The response as its caller gets it, its content counted.
    pub(crate) fn answered(self: Arc<Self>, response: Response<BoxedBody>) -> Response<BoxedBody> {
        self.know(|known| {
            known.status = Some(response.status().as_u16());
            if let Some(Told(slug, executed)) = response.extensions().get() {
                known.problem = Some(slug.clone());
                known.executed = *executed;
            } else if response.extensions().get::<OfUpstream>().is_some() {
                known.executed = Some(Executed::Yes);
            }
        });
        response.map(|body| Counted { inner: body, record: Some(self), way: Way::Response }.boxed_unsync())
    }

    /// Octets of a body passed, or it was cut.
    fn passed(&self, way: Way, octets: Option<usize>) {
        let counter = match way {
            Way::Request => &self.request_bytes,
            Way::Response => &self.response_bytes,
        };
        match octets {
            Some(octets) => drop(counter.fetch_add(octets as u64, Ordering::Relaxed)),
            None => self.cut.store(true, Ordering::Relaxed),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request's content, counted if a line is wanted.
pub(crate) fn request_content(inner: BoxedBody, record: Option<Arc<Record>>) -> BoxedBody {
    match record {
        Some(_) => Counted { inner, record, way: Way::Request }.boxed_unsync(),
        None => inner,
    }
}

/// A response's content at the side that executes, counted if a line is wanted.
pub(crate) fn response_content<B>(inner: B, record: Option<Arc<Record>>) -> Counted<B> {
    Counted { inner, record, way: Way::Response }
}

/// Scheme, host, port and path of a target; the path alone if there is no more. Neither query nor user.
pub(crate) fn place(uri: &Uri) -> String {
    match (uri.scheme_str(), uri.host()) {
        (Some(scheme), Some(host)) => {
            let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{scheme}://{host}{port}{}", uri.path())
        }
        (None, Some(host)) => format!("{host}{}", uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default()),
        _ => uri.path().to_owned(),
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let known = self.known.get_mut().unwrap_or_else(PoisonError::into_inner);
        let (client, peer, attempt) = match self.side {
            Side::Near(client) => (Some(client), None, None),
            Side::Far(peer, attempt) => (None, Some(peer), Some(attempt)),
        };
        let executed = known.executed.map(|executed| match executed {
            Executed::No => "no",
            Executed::Yes => "yes",
            Executed::Maybe => "maybe",
        });
        tracing::info!(
            target: TARGET,
            side = if peer.is_none() { "near" } else { "far" },
            operation = known.operation.map(tracing::field::display),
            client = client.map(tracing::field::display),
            peer = peer.map(tracing::field::display),
            caller = known.caller.as_deref(),
            method = known.method,
            place = known.place,
            rule = known.rule.as_deref(),
            routed = known.routed.then_some(true),
            attempt,
            // A caller that went away before its answer got none.
            status = known.status,
            executed,
            problem = known.problem.as_deref(),
            cache = known.cache,
            cut = self.cut.load(Ordering::Relaxed).then_some(true),
            request_bytes = self.request_bytes.load(Ordering::Relaxed),
            response_bytes = self.response_bytes.load(Ordering::Relaxed),
            duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "call"
        );
    }
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Request,
    Response,
}

/// A body whose octets are counted.
#[derive(Debug)]
pub(crate) struct Counted<B> {
    inner: B,
    record: Option<Arc<Record>>,
    way: Way,
}

impl<B> Body for Counted<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        if let (Some(record), Poll::Ready(Some(result))) = (&this.record, &polled) {
            record.passed(this.way, result.as_ref().ok().map(|frame| frame.data_ref().map_or(0, Bytes::len)));
        }
        polled.map(|frame| frame.map(|result| result.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_neither_query_nor_user() {
        for (target, shown) in [
            ("http://user:secret@a.example:81/p/q?token=secret#f", "http://a.example:81/p/q"),
            ("https://[::1]/?secret", "https://[::1]/"),
            ("/to/erp/x?secret", "/to/erp/x"),
            ("a.example:443", "a.example:443"),
        ] {
            let uri: Uri = target.parse().unwrap();
            assert_eq!(place(&uri), shown);
        }
    }

    #[test]
    fn nothing_is_gathered_where_no_line_is_written() {
        let mut request = Request::new(());
        assert!(Record::near(&mut request, "127.0.0.1:1".parse().unwrap()).is_none());
        assert!(request.extensions().get::<Arc<Record>>().is_none());
    }
}
