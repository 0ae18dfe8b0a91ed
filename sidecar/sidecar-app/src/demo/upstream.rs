//! The server at the far end: real HTTP/1 on a loopback port, with a journal of every call that reached it.
//!
//! Invariants: a call is in the journal before anything of it is answered, so nothing can be executed behind the verdict's
//! back; a request whose body was cut short is there too, but not as complete. It is as patient as a test server may be:
//! it bounds nothing but the bodies it holds whole. Test to read first: `every_call_is_in_the_journal_before_its_answer`.

use std::convert::Infallible;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::content::{Content, DemoBody, Mark, Meter};
use super::mix;

/// The header that says which call, and which attempt at it, a request is: `<number>-<attempt>`.
pub(super) const CALL: &str = "x-demo-call";
/// The same, sent back.
pub(super) const ANSWERS: &str = "x-demo-answers";
/// Largest body that is held whole to be sent back, in octets.
const ECHO_MAX: u64 = 1 << 20;
/// Pieces of a streamed answer, and the pause before each.
const PIECES: usize = 8;
const PIECE_PAUSE: Duration = Duration::from_millis(40);

/// One request that reached the upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Execution {
    /// Which call and attempt it said it was; empty if it did not say.
    pub(super) marker: String,
    /// Its method.
    pub(super) method: String,
    /// Its path, without the query.
    pub(super) path: String,
    /// Its body; `None` if that did not arrive whole.
    pub(super) body: Option<Mark>,
}

/// What the upstream writes down. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    executions: Vec<Execution>,
    file: Option<std::fs::File>,
}

impl Journal {
    /// A journal that is also written to a file, one JSON line for each request that began or was complete.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub(super) fn in_file(path: &Path) -> Result<Self> {
        let file =
            std::fs::File::create(path).with_context(|| format!("the journal {} cannot be written", path.display()))?;
        Ok(Self(Arc::new(Mutex::new(Pages { executions: Vec::new(), file: Some(file) }))))
    }

    fn with<T>(&self, change: impl FnOnce(&mut Pages) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn begun(&self, execution: Execution) -> usize {
        self.with(|pages| {
            pages.write(&execution);
            pages.executions.push(execution);
            pages.executions.len() - 1
        })
    }

    fn complete(&self, entry: usize, body: Mark) {
        self.with(|pages| {
            if let Some(execution) = pages.executions.get_mut(entry) {
                execution.body = Some(body);
                let execution = execution.clone();
                pages.write(&execution);
            }
        });
    }

    /// Everything so far.
    pub(super) fn executions(&self) -> Vec<Execution> {
        self.with(|pages| pages.executions.clone())
    }
}

impl Pages {
    fn write(&mut self, execution: &Execution) {
        if let Some(file) = &mut self.file
            && let Ok(mut line) = serde_json::to_vec(execution)
        {
            line.push(b'\n');
            // The verdict reads the journal in memory; the file is for people.
            let _ = file.write_all(&line);
        }
    }
}

/// The server; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Upstream {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// What it was asked.
    pub(super) journal: Journal,
    task: JoinHandle<()>,
}

impl Upstream {
    /// Begins to listen on a free loopback port.
    ///
    /// # Errors
    /// When no port can be opened.
    pub(super) async fn start(journal: Journal) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("the upstream server cannot open a port")?;
        let address = listener.local_addr().context("the upstream server's port")?;
        let task = tokio::spawn(serve(listener, journal.clone()));
        Ok(Self { address, journal, task })
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, journal: Journal) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let journal = journal.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let journal = journal.clone();
                async move { Ok::<_, Infallible>(execute(&journal, request).await) }
            });
            // A connection that breaks is the engine's affair: it was killed, or gave a call up.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn execute(journal: &Journal, request: Request<Incoming>) -> Response<DemoBody> {
    let marker = request.headers().get(CALL).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let asked = Asked::parse(request.uri().query().unwrap_or_default());
    let execution = Execution { marker: marker.clone(), method: method.to_string(), path: path.clone(), body: None };
    let entry = journal.begun(execution);
    let keep = method == Method::POST && path == "/open/echo";
    let Some((mark, content)) = take(request.into_body(), keep).await else {
        return answer(StatusCode::BAD_REQUEST, "text/plain", &marker, text("the body was cut short\n"));
    };
    journal.complete(entry, mark.clone());
    tokio::time::sleep(Duration::from_millis(asked.pause_ms)).await;
    let media_type = asked.content.media_type();
    match (method.as_str(), path.as_str()) {
        ("GET", "/open/content") => answer(StatusCode::OK, media_type, &marker, asked.content.body()),
        ("GET", "/open/stream") => answer(StatusCode::OK, media_type, &marker, in_pieces(asked.content)),
        ("POST", "/open/echo") => answer(StatusCode::OK, media_type, &marker, Full::new(content).boxed_unsync()),
        ("POST", "/open/upload") => answer(StatusCode::OK, "application/json", &marker, text(&mix::receipt(&mark))),
        ("POST", "/open/failing") => complain(StatusCode::INTERNAL_SERVER_ERROR, &marker),
        _ => complain(StatusCode::NOT_FOUND, &marker),
    }
}

/// Reads a request's body to its end; `None` if it has none.
async fn take(mut body: Incoming, keep: bool) -> Option<(Mark, Bytes)> {
    let (mut meter, mut kept) = (Meter::default(), Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        meter.add(&data);
        if keep && (kept.len() as u64).saturating_add(data.len() as u64) <= ECHO_MAX {
            kept.extend_from_slice(&data);
        }
    }
    Some((meter.finish(), kept.into()))
}

fn answer(status: StatusCode, media_type: &'static str, marker: &str, body: DemoBody) -> Response<DemoBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    if let Ok(value) = HeaderValue::from_str(marker) {
        response.headers_mut().insert(ANSWERS, value);
    }
    response
}

fn complain(status: StatusCode, marker: &str) -> Response<DemoBody> {
    answer(status, "text/plain", marker, text(&mix::complaint(status.as_u16(), marker)))
}

fn text(words: &str) -> DemoBody {
    Full::new(Bytes::copy_from_slice(words.as_bytes())).boxed_unsync()
}

fn in_pieces(content: Content) -> DemoBody {
    let pieces = stream::unfold(content.pieces(PIECES).into_iter(), |mut pieces| async move {
        let piece = pieces.next()?;
        tokio::time::sleep(PIECE_PAUSE).await;
        Some((Ok(Frame::data(piece)), pieces))
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// What the query asks for.
struct Asked {
    content: Content,
    pause_ms: u64,
}

impl Asked {
    fn parse(query: &str) -> Self {
        let number = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse::<u64>().ok()).unwrap_or_default()
        };
        let content = Content { seed: number("seed"), size: number("size"), text: number("text") == 1 };
        Self { content, pause_ms: number("pause_ms") }
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::{Client, Failure};
    use super::super::progress::Progress;
    use super::*;

    async fn started() -> (Upstream, Client) {
        let upstream = Upstream::start(Journal::default()).await.unwrap();
        let client = Client::new(upstream.address, Arc::new(Progress::default()));
        (upstream, client)
    }

    fn request(method: &str, path: &str, marker: &str, body: DemoBody) -> Request<DemoBody> {
        let builder = Request::builder().method(method).uri(path).header("host", "127.0.0.1").header(CALL, marker);
        builder.body(body).unwrap()
    }

    #[tokio::test]
    async fn every_plan_gets_its_expected_answer() {
        let (upstream, client) = started().await;
        for plan in mix::mix(5, 40).into_iter().filter(|plan| !plan.refused()) {
            let marker = format!("{}-0", plan.number);
            let body = plan.request().map_or_else(|| text(""), Content::body);
            let answer = client.exchange(request(plan.method().as_str(), &plan.path(), &marker, body)).await.unwrap();
            let expected = plan.expected(&marker);
            assert_eq!((answer.status, Some(answer.body)), (expected.status, expected.body), "{plan:?}");
            assert_eq!(answer.headers.get(ANSWERS).unwrap().to_str().unwrap(), marker);
            let found = upstream.journal.executions().pop().unwrap();
            assert_eq!(found.marker, marker);
            assert_eq!(found.body.unwrap(), plan.request().map_or_else(|| Mark::of(b""), Content::mark));
        }
    }

    #[tokio::test]
    async fn every_call_is_in_the_journal_before_its_answer() {
        let (upstream, client) = started().await;
        let waiting = client.exchange(request("GET", "/open/content?pause_ms=60000", "7-1", text("")));
        tokio::pin!(waiting);
        let journal = upstream.journal.clone();
        let seen = async {
            while journal.executions().is_empty() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::select! { _ = &mut waiting => panic!("it answered"), () = seen => {} }
        assert_eq!(journal.executions()[0].marker, "7-1");
    }

    #[tokio::test]
    async fn a_request_that_was_cut_short_is_not_complete() {
        use tokio::io::AsyncWriteExt;
        let upstream = Upstream::start(Journal::default()).await.unwrap();
        let mut stream = tokio::net::TcpStream::connect(upstream.address).await.unwrap();
        let head = "POST /open/upload HTTP/1.1\r\nhost: x\r\nx-demo-call: 1-0\r\ncontent-length: 10\r\n\r\nabc";
        stream.write_all(head.as_bytes()).await.unwrap();
        while upstream.journal.executions().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        drop(stream);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let executions = upstream.journal.executions();
        assert_eq!((executions.len(), executions[0].body.clone()), (1, None));
    }

    #[tokio::test]
    async fn nobody_there_is_told_from_a_broken_exchange() {
        let (upstream, client) = started().await;
        drop(upstream);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let result = client.exchange(request("GET", "/open/content", "1-0", text(""))).await;
        assert!(matches!(result, Err(Failure::Unreached(_) | Failure::Broken(_))));
    }

    #[test]
    fn a_journal_in_a_file_has_a_line_for_each_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upstream.jsonl");
        let journal = Journal::in_file(&path).unwrap();
        let execution = Execution { marker: "1-0".into(), method: "GET".into(), path: "/".into(), body: None };
        let entry = journal.begun(execution);
        journal.complete(entry, Mark::of(b""));
        let lines = std::fs::read_to_string(&path).unwrap();
        assert_eq!(lines.lines().count(), 2);
        assert!(lines.lines().all(|line| line.contains("\"1-0\"")));
    }
}
