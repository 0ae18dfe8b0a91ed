//! The admin port: probes for the kubelet and `/metrics` for Prometheus.
//!
//! Plain HTTP/1, GET and HEAD only; nothing here changes anything or shows a secret. Invariants: `/livez` answers while the
//! runtime turns, whatever the API server does, because a restart mends nothing there; `/readyz` says in its body what is
//! missing; connections are few, short and bounded. It has no TLS and no callers' identities. Test to read first:
//! `tests::readiness_says_what_is_missing`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::listen::each_connection;
use crate::metrics::{CONTENT_TYPE, Metrics};
use crate::webhook::server::Served;

/// Connections at once; more wait in the listen queue.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may stay; each carries one request.
const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(30);
/// How long a request's head may take.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// Octets of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;

const TEXT: &str = "text/plain; charset=utf-8";
const INDEX: &str = "\
/livez     200 while the operator runs
/readyz    200 while it can do its part: serve the webhook, and reconcile or stand by
/metrics   its metrics as OpenMetrics text";

/// What the pages are made from.
#[derive(Clone, Debug)]
pub struct Admin {
    /// What is counted, and whether this replica leads.
    pub metrics: Arc<Metrics>,
    /// The webhook's certificate; `None` where the webhook is off.
    pub served: Option<Arc<Served>>,
    /// Cancelled when the process is told to end.
    pub stop: CancellationToken,
}

impl Admin {
    /// Serves the port until `end`, which comes after `stop`.
    pub async fn serve(self, listener: TcpListener, end: CancellationToken) {
        each_connection(listener, CONNECTIONS_MAX, "admin", end, |stream| self.clone().connection(stream)).await;
    }

    async fn connection(self, stream: TcpStream) {
        let service = service_fn(move |request| {
            let answer = self.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // An idle connection would keep a probe out.
            .keep_alive(false)
            .header_read_timeout(HEAD_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        if let Ok(Err(error)) = timeout(CONNECTION_LIFE_MAX, connection).await {
            tracing::debug!(%error, "a connection of the admin port ended");
        }
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "this port is read only");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/" => text(StatusCode::OK, INDEX),
            "/livez" => text(StatusCode::OK, "alive"),
            "/readyz" => match self.readiness() {
                Ok(state) => text(StatusCode::OK, state),
                Err(missing) => text(StatusCode::SERVICE_UNAVAILABLE, missing),
            },
            "/metrics" => page(StatusCode::OK, CONTENT_TYPE, self.metrics.encode()),
            _ => text(StatusCode::NOT_FOUND, &format!("no such path; there are:\n{INDEX}")),
        }
    }

    /// What this replica does, or what it lacks.
    fn readiness(&self) -> Result<&'static str, &'static str> {
        if self.stop.is_cancelled() {
            return Err("not ready: the operator is stopping");
        }
        if self.served.as_ref().is_some_and(|served| served.term().is_none()) {
            return Err("not ready: the webhook has no certificate yet; the log says why");
        }
        match (self.metrics.is_leader(), self.metrics.is_working()) {
            (false, _) => Ok("ready: another replica reconciles, or none yet"),
            (true, true) => Ok("ready: this replica reconciles"),
            (true, false) => Err("not ready: peerings cannot be read yet; the log says why"),
        }
    }
}

fn text(status: StatusCode, line: &str) -> Response<Full<Bytes>> {
    page(status, TEXT, format!("{line}\n"))
}

fn page(status: StatusCode, content_type: &'static str, content: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(content.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    //! The pages, and the port on loopback.
    use super::*;
    use crate::webhook::authority::Term;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn admin(webhook: bool) -> Admin {
        Admin { metrics: Arc::new(Metrics::new()), served: webhook.then(Arc::default), stop: CancellationToken::new() }
    }

    fn status(admin: &Admin, method: Method, path: &str) -> StatusCode {
        admin.answer(&Request::builder().method(method).uri(path).body(()).unwrap()).status()
    }

    #[test]
    fn readiness_says_what_is_missing() {
        let (with, without) = (admin(true), admin(false));
        assert!(with.readiness().unwrap_err().contains("certificate"));
        assert!(without.readiness().is_ok(), "a standby without a webhook lacks nothing");
        let now = jiff::Timestamp::now();
        let term = Term { authority: "x".to_owned(), made_at: now, not_after: now };
        let key = rcgen::KeyPair::generate().unwrap();
        let key = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(
            &rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
        with.served.as_ref().unwrap().set(term, Arc::new(rustls::sign::CertifiedKey::new(Vec::new(), key)));
        assert!(with.readiness().is_ok());
        with.metrics.set_leader(true);
        assert!(with.readiness().unwrap_err().contains("cannot be read yet"));
        with.metrics.set_working(true);
        assert!(with.readiness().is_ok());
        with.stop.cancel();
        assert!(with.readiness().unwrap_err().contains("stopping"));
        assert_eq!(status(&with, Method::GET, "/livez"), StatusCode::OK, "a stopping operator is alive");
    }

    #[test]
    fn nothing_but_the_listed_pages_is_there() {
        let admin = admin(false);
        for (method, path, expected) in [
            (Method::GET, "/", 200),
            (Method::GET, "/livez", 200),
            (Method::HEAD, "/readyz?verbose", 200),
            (Method::GET, "/metrics", 200),
            (Method::GET, "/debug", 404),
            (Method::POST, "/livez", 405),
        ] {
            assert_eq!(status(&admin, method, path), expected, "{path}");
        }
    }

    #[tokio::test]
    async fn metrics_are_served() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let end = CancellationToken::new();
        let serving = tokio::spawn(admin(false).serve(listener, end.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains(CONTENT_TYPE) && answer.contains("hoft_operator_leader 0\n"), "{answer}");
        end.cancel();
        serving.await.unwrap();
    }
}
