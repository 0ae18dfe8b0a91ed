//! The server at the far end: as little HTTP as can be, so that what is measured is the line.
//!
//! Invariant: an upload is answered only when its last octet is there and every octet was right. It keeps no journal and
//! has no pauses: that is the demo's server. Test to read first: `client.rs`, `a_body_goes_up_and_another_comes_down`.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::pattern::{Check, Pattern, PatternBody};

/// The path of everything: the query says how many octets are wanted back. It lies where both sides' rules allow it.
pub(super) const PATH: &str = "/open/noise";

/// The server; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Upstream {
    /// Where it listens.
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Upstream {
    /// Begins to listen on a free loopback port.
    ///
    /// # Errors
    /// When no port can be opened.
    pub(super) async fn start(pattern: &Pattern) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("the upstream server cannot open a port")?;
        let address = listener.local_addr().context("the upstream server's port")?;
        Ok(Self { address, task: tokio::spawn(serve(listener, pattern.clone())) })
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, pattern: Pattern) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let pattern = pattern.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let pattern = pattern.clone();
                async move { Ok::<_, Infallible>(answer(&pattern, request).await) }
            });
            // Whoever measures notices a connection that breaks.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(pattern: &Pattern, request: Request<Incoming>) -> Response<PatternBody> {
    let (head, mut body) = request.into_parts();
    let mut check = Check::new(pattern);
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref() {
            check.add(data);
        }
    }
    let announced = head.headers.get(http::header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let right = head.method == Method::GET || (announced.is_some() && check.length() == announced);
    let mut response = Response::new(pattern.body(wanted(head.uri.query().unwrap_or_default())));
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/octet-stream"));
    if head.uri.path() != PATH {
        *response.status_mut() = StatusCode::NOT_FOUND;
    } else if !right {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    response
}

/// How many octets a query asks for: `size=NUMBER`.
fn wanted(query: &str) -> u64 {
    query.strip_prefix("size=").and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_how_much_is_wanted_back() {
        assert_eq!(wanted("size=1024"), 1024);
        assert_eq!(wanted(""), 0);
        assert_eq!(wanted("size=-1"), 0);
    }
}
