//! The real HTTP client of the demo: HTTP/1 over a connection of its own for each exchange.
//!
//! Invariants: an answer is returned only when its body came to its proper end; what was never sent is told apart from
//! what broke on its way. It repeats nothing: `call.rs` decides that. Test to read first: `upstream.rs`,
//! `every_plan_gets_its_expected_answer`.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::content::{DemoBody, Mark, Meter};
use super::progress::Progress;

/// Octets of a body that are kept to be read by people and by `call.rs`.
const KEPT_MAX: usize = 64 * 1024;

/// Speaks to one address.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    progress: Arc<Progress>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Its header fields.
    pub(super) headers: HeaderMap,
    /// Its body, measured.
    pub(super) body: Mark,
    /// The body's first octets.
    pub(crate) beginning: Bytes,
}

/// An exchange without a whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nobody listened: nothing was sent.
    Unreached(String),
    /// It broke after something may have been sent.
    Broken(String),
}

impl Client {
    /// A client for one address; it counts the octets of bodies in `progress`.
    pub(super) fn new(address: SocketAddr, progress: Arc<Progress>) -> Self {
        Self { address, progress }
    }

    /// Where it connects to.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// GETs a path without a body.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        let request = Request::builder()
            .uri(path)
            .header(http::header::HOST, self.address.to_string())
            .body(Full::default().boxed_unsync())
            .map_err(|error| Failure::Unreached(error.to_string()))?;
        self.exchange(request).await
    }

    /// Makes one exchange and reads its answer to the end.
    pub(super) async fn exchange(&self, request: Request<DemoBody>) -> Result<Answer, Failure> {
        let stream = TcpStream::connect(self.address).await.map_err(|error| Failure::Unreached(error.to_string()))?;
        let _ = stream.set_nodelay(true);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        let connection = tokio::spawn(connection);
        let progress = Arc::clone(&self.progress);
        let request = request.map(|body| {
            let counted = body.map_frame(move |frame| {
                progress.sent(frame.data_ref().map_or(0, Bytes::len));
                frame
            });
            counted.boxed_unsync()
        });
        let result = async {
            let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
            self.read(response).await
        }
        .await;
        connection.abort();
        result
    }

    async fn read(&self, response: http::Response<hyper::body::Incoming>) -> Result<Answer, Failure> {
        let (head, mut body) = response.into_parts();
        let (mut meter, mut beginning) = (Meter::default(), Vec::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
            self.progress.received(data.len());
            meter.add(&data);
            let room = KEPT_MAX.saturating_sub(beginning.len()).min(data.len());
            beginning.extend_from_slice(&data[..room]);
        }
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: meter.finish(),
            beginning: beginning.into(),
        })
    }
}

/// Hyper's error with its causes, which hold what matters.
fn broken(error: &hyper::Error) -> Failure {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(found) = cause {
        text = format!("{text}: {found}");
        cause = found.source();
    }
    Failure::Broken(text)
}
