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
use layer2_http::addresses::Networks;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower_service::Service;

use super::connection::Stamped;
use super::resolver::{Lookup, ResolveError, Resolver, System};
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

/// Where the connections of one rule may go, and how that is found out.
#[derive(Clone)]
pub(super) struct Reach {
    /// The networks.
    pub(super) networks: Arc<Networks>,
    /// Who knows the addresses of names.
    pub(super) lookup: Arc<dyn Lookup>,
    /// How long it may take.
    pub(super) times: OpeningTimes,
}

impl Reach {
    /// By the system's resolver, in the usual time.
    pub(super) fn new(networks: Arc<Networks>) -> Self {
        Self { networks, lookup: Arc::new(System), times: OpeningTimes::default() }
    }
}

/// Silence after which the kernel asks whether the upstream's machine is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// The connection was not ready in time.
#[derive(Debug, thiserror::Error)]
#[error("no connection within {} s", .0.as_secs())]
pub(super) struct ConnectTimeout(Duration);

/// A connection as it is opened.
pub(super) type Opening = Stamped<MaybeHttpsStream<TokioIo<TcpStream>>>;

/// Opens the connections of one rule.
#[derive(Clone)]
pub(super) struct Connector {
    inner: HttpsConnector<HttpConnector<Resolver>>,
    /// The same, which offers only HTTP/1.1.
    http1: HttpsConnector<HttpConnector<Resolver>>,
    networks: Arc<Networks>,
    /// What is connected to in the place of what is called.
    server: Option<Server>,
    time_max: Duration,
}

impl Connector {
    /// A connector within `reach`. HTTP/2 is used where TLS agrees on it, else HTTP/1.1. With a `server` every connection
    /// goes there.
    pub(super) fn new(reach: &Reach, server: Option<Server>, tls: ClientConfig) -> Self {
        let Reach { networks, lookup, times } = reach.clone();
        let resolver = Resolver::new(Arc::clone(&networks), lookup, times.lookup_max);
        let mut tcp = HttpConnector::new_with_resolver(resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        // Shared among the addresses, so that one that swallows packets leaves time for the next.
        tcp.set_connect_timeout(Some(times.connect_max));
        let own_tls = tls.clone();
        let own_tcp = tcp.clone();
        let inner =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_all_versions().wrap_connector(tcp);
        let http1 = HttpsConnectorBuilder::new()
            .with_tls_config(own_tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(own_tcp);
        Self { inner, http1, networks, server, time_max: times.connect_max }
    }

    /// A connection of its own for one call that may switch protocols: never by HTTP/2, where nothing can.
    pub(super) async fn dedicated(&self, called: Uri) -> Result<Opening, BodyError> {
        let inner = self.http1.clone();
        Self { inner, ..self.clone() }.call(called).await
    }

    /// A bare TCP connection to `authority`, or to the rule's server in its place.
    pub(super) async fn bare(&self, authority: &str) -> Result<Opening, BodyError> {
        let authority = match &self.server {
            Some(server) => server.uri().authority().map(ToString::to_string).unwrap_or_default(),
            None => authority.to_owned(),
        };
        // The scheme only says that there is no TLS: what passes is the caller's.
        let called = format!("http://{authority}/").parse::<Uri>()?;
        Self { server: None, ..self.clone() }.call(called).await
    }
}

impl Service<Uri> for Connector {
    type Response = Opening;
    type Error = BodyError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, called: Uri) -> Self::Future {
        let target = self.server.as_ref().map_or(called, Server::uri);
        if let Some(ip) = literal(&target)
            && let Err(denied) = self.networks.check(ip)
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

    fn connector(listed: &[&str]) -> Connector {
        let tls = tls::SystemRoots::default().without_roots().unwrap();
        let listed = listed.iter().map(|net| net.parse().unwrap()).collect();
        Connector::new(&Reach::new(Arc::new(Networks::new(listed, Vec::new()))), None, tls)
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
        assert!(connector(&["127.0.0.1/32"]).call(target.parse().unwrap()).await.is_ok());
    }
}
