//! The port of the webhook: HTTPS, one path, HTTP/1.1 and HTTP/2.
//!
//! Invariants: a connection gets the certificate that is current when it begins, and none is resumed, so a rotation needs
//! no restart; handshake, head, body and answer are bounded in time, bodies in size, and the bodies that are read at one
//! moment in their sum, whoever sends them. Callers are not identified: what they can learn is what an injected pod shows.
//! Test to read first: `tests::a_rotation_spares_open_connections_and_serves_the_new_certificate`.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Webhook;
use super::authority::Term;
use crate::listen::each_connection;

/// Most bytes of a request's body: more than the API server takes for an object.
pub const BODY_BYTES_MAX: usize = 4 << 20;
/// Most bytes of all bodies that are in memory at once; more wait.
const BODIES_BYTES_MAX: usize = 16 << 20;
/// Connections at once.
const CONNECTIONS_MAX: usize = 256;
/// Requests of one connection at once.
const STREAMS_MAX: u32 = 64;
/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// How long a request's head may take, and an HTTP/1 connection be idle.
const HEAD_MAX: Duration = Duration::from_secs(60);
/// How long a request may take, from its head to its answer; the API server waits 5 s.
const REQUEST_MAX: Duration = Duration::from_secs(5);
/// How long a connection may stay; the API server then opens another. Short, because whoever reaches the port can hold one.
const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(60);
/// How long requests under way may take when a connection is to end.
const GRACE: Duration = Duration::from_secs(5);

/// The certificate that is served.
#[derive(Default)]
pub struct Served(ArcSwapOption<(Term, Arc<CertifiedKey>)>);

impl Served {
    /// Serves this one from the next connection on.
    pub fn set(&self, term: Term, key: Arc<CertifiedKey>) {
        self.0.store(Some(Arc::new((term, key))));
    }

    /// What is known of the one that is served; `None` before the first.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        self.0.load().as_ref().map(|served| served.0.clone())
    }

    #[cfg(test)]
    pub(super) fn certificate(&self) -> Option<rustls::pki_types::CertificateDer<'static>> {
        self.0.load().as_ref().map(|served| served.1.cert[0].clone())
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Served").field(&self.term()).finish()
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().as_ref().map(|served| Arc::clone(&served.1))
    }
}

/// Serves the webhook until told to stop; then answers under way are finished.
///
/// # Errors
/// The TLS library refuses its own defaults.
pub async fn serve(
    listener: TcpListener,
    webhook: Webhook,
    served: Arc<Served>,
    stop: CancellationToken,
) -> Result<(), rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(served);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let door = Arc::new(Door { webhook, room: Semaphore::new(BODIES_BYTES_MAX) });
    each_connection(listener, CONNECTIONS_MAX, "webhook", stop.clone(), |stream| {
        Arc::clone(&door).connection(stream, acceptor.clone(), stop.clone())
    })
    .await;
    Ok(())
}

/// What all connections share.
struct Door {
    webhook: Webhook,
    /// One permit for each byte of a body.
    room: Semaphore,
}

impl Door {
    async fn connection(self: Arc<Self>, stream: TcpStream, acceptor: TlsAcceptor, stop: CancellationToken) {
        let stream = match timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake with the webhook failed");
                return;
            }
            Err(_) => return,
        };
        let service = service_fn(move |request| {
            let door = Arc::clone(&self);
            async move { Ok::<_, Infallible>(door.answer(request).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS_MAX);
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = async { tokio::select! { () = stop.cancelled() => {}, () = sleep(CONNECTION_LIFE_MAX) => {} } } => {
                connection.as_mut().graceful_shutdown();
                timeout(GRACE, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection to the webhook ended");
        }
    }

    async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if request.uri().path() != "/mutate" {
            return refuse(StatusCode::NOT_FOUND, "no such path; there is /mutate");
        }
        if request.method() != Method::POST {
            let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "/mutate takes POST only");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            return response;
        }
        timeout(REQUEST_MAX, self.mutate(request.into_body()))
            .await
            .unwrap_or_else(|_| refuse(StatusCode::REQUEST_TIMEOUT, "the request took too long"))
    }

    async fn mutate<B>(&self, body: B) -> Response<Full<Bytes>>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let too_large = || refuse(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
        // A body that does not say its length is counted as the longest.
        let length =
            body.size_hint().upper().map_or(BODY_BYTES_MAX, |upper| usize::try_from(upper).unwrap_or(usize::MAX));
        if length > BODY_BYTES_MAX {
            return too_large();
        }
        let Ok(_room) = self.room.acquire_many(u32::try_from(length).unwrap_or(u32::MAX)).await else {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "the webhook is stopping");
        };
        let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return too_large(),
            Err(error) => return refuse(StatusCode::BAD_REQUEST, &format!("the body broke off: {error}")),
        };
        match self.webhook.answer(&body).await {
            Ok(review) => answer(StatusCode::OK, "application/json", review),
            Err(malformed) => refuse(StatusCode::BAD_REQUEST, &malformed.to_string()),
        }
    }
}

fn refuse(status: StatusCode, line: &str) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests;
