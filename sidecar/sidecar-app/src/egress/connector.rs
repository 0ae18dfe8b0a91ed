//! Opens connections: lookup, address check, TCP, TLS, all within one bound of time.
//!
//! Invariants: an address written as such is checked here and a name's addresses in `resolver`, so no connection begins
//! unchecked whatever called; the whole opening is bounded, the TLS handshake included, so that what is late here was
//! surely not sent anything. It knows no proxy. Test to read first: `a_literal_address_is_checked_too`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use layer2_http::addresses::address_allowed;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower_service::Service;

use super::connection::Stamped;
use super::resolver::{ResolveError, Resolver};
use super::server::{Server, literal};
use crate::body::BodyError;

/// How long opening a connection may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpeningTimes {
    /// Of which the name lookup, at most.
    pub(super) lookup_max: Duration,
    /// In all.
    pub(super) connect_max: Duration,
}

impl Default for OpeningTimes {
    fn default() -> Self {
        Self { lookup_max: Duration::from_secs(5), connect_max: Duration::from_secs(10) }
    }
}

/// Silence after which the kernel asks whether the upstream's machine is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// The connection was not ready in time.
#[derive(Debug, thiserror::Error)]
#[error("no connection within {} s", .0.as_secs())]
pub(super) struct ConnectTimeout(Duration);

/// Opens the connections of one rule.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    inner: HttpsConnector<HttpConnector<Resolver>>,
    allowed: Arc<[IpNet]>,
    /// What is connected to in the place of what is called.
    server: Option<Server>,
    time_max: Duration,
}

impl Connector {
    /// A connector for a rule that lists the networks `allowed`. HTTP/2 is used where TLS agrees on it, else HTTP/1.1.
    /// With a `server` every connection goes there.
    pub(super) fn new(allowed: Arc<[IpNet]>, server: Option<Server>, tls: ClientConfig, times: OpeningTimes) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Resolver::new(Arc::clone(&allowed), times.lookup_max));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        // Shared among the addresses, so that one that swallows packets leaves time for the next.
        tcp.set_connect_timeout(Some(times.connect_max));
        let inner =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_all_versions().wrap_connector(tcp);
        Self { inner, allowed, server, time_max: times.connect_max }
    }
}

impl Service<Uri> for Connector {
    type Response = Stamped<MaybeHttpsStream<TokioIo<TcpStream>>>;
    type Error = BodyError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, called: Uri) -> Self::Future {
        let target = self.server.as_ref().map_or(called, Server::uri);
        if let Some(ip) = literal(&target)
            && let Err(denied) = address_allowed(ip, &self.allowed)
        {
            return Box::pin(async move { Err(ResolveError::Denied(denied).into()) });
        }
        let began = Instant::now();
        let time_max = self.time_max;
        let opening = self.inner.call(target);
        Box::pin(async move {
            match tokio::time::timeout(time_max, opening).await {
                Ok(opened) => Ok(Stamped::new(opened?, began)),
                Err(_) => Err(ConnectTimeout(time_max).into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::fault::find;
    use crate::egress::tls;

    fn connector(allowed: &[IpNet]) -> Connector {
        let tls = tls::SystemRoots::default().without_roots().unwrap();
        Connector::new(allowed.into(), None, tls, OpeningTimes::default())
    }

    #[tokio::test]
    async fn a_literal_address_is_checked_too() {
        for target in
            ["http://127.0.0.1:9/", "http://[::1]:9/", "https://169.254.169.254/", "http://[::ffff:10.0.0.1]/"]
        {
            let error = connector(&[]).call(target.parse().unwrap()).await.err().unwrap();
            assert!(matches!(find::<ResolveError>(&*error), Some(ResolveError::Denied(_))), "{target}");
        }
    }

    #[tokio::test]
    async fn a_checked_literal_is_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = format!("http://{}/", listener.local_addr().unwrap());
        let allowed = ["127.0.0.1/32".parse().unwrap()];
        assert!(connector(&allowed).call(target.parse().unwrap()).await.is_ok());
    }
}
