//! From a host name to the addresses that a rule may connect to.
//!
//! Invariants: every address a name has is checked, and one that is denied denies the name, so that a name cannot be made
//! to mean another place between the check and the connection (DNS rebinding): the connector uses what is returned here and
//! never asks again. A lookup takes a bounded time. Addresses written as such do not come here: the connector checks them.
//! Test to read first: `one_denied_address_denies_the_name`.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::dns::Name;
use layer2_http::addresses::{DeniedAddress, Networks};
use tower_service::Service;

/// Why a name gave no addresses.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    /// The resolver says that there is no such name, or does not work.
    #[error("{0}")]
    Failed(#[source] io::Error),
    /// The name exists, but without addresses.
    #[error("it has no addresses")]
    Empty,
    /// No answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// One of its addresses must not be connected to.
    #[error(transparent)]
    Denied(#[from] DeniedAddress),
}

/// What a lookup gives in the end.
pub(super) type Looking = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Whoever knows the addresses of names. Its answers are believed in nothing: each address is checked.
pub(super) trait Lookup: Send + Sync {
    /// The addresses of a name.
    fn lookup(&self, name: &str) -> Looking;
}

/// The system's resolver.
pub(super) struct System;

impl Lookup for System {
    fn lookup(&self, name: &str) -> Looking {
        let name = name.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// Resolves names for one rule.
#[derive(Clone)]
pub(super) struct Resolver {
    networks: Arc<Networks>,
    lookup: Arc<dyn Lookup>,
    time_max: Duration,
}

impl Resolver {
    /// A resolver for a rule of these networks; a lookup may take `time_max`.
    pub(super) fn new(networks: Arc<Networks>, lookup: Arc<dyn Lookup>, time_max: Duration) -> Self {
        Self { networks, lookup, time_max }
    }

    async fn resolve(self, name: Name) -> Result<std::vec::IntoIter<SocketAddr>, ResolveError> {
        let found = match tokio::time::timeout(self.time_max, self.lookup.lookup(name.as_str())).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Err(ResolveError::Failed(error)),
            Err(_) => return Err(ResolveError::Timeout(self.time_max)),
        };
        checked(found, &self.networks).map(Vec::into_iter)
    }
}

/// All addresses, if each of them may be connected to. The port is the connector's to set.
fn checked(found: Vec<IpAddr>, networks: &Networks) -> Result<Vec<SocketAddr>, ResolveError> {
    if found.is_empty() {
        return Err(ResolveError::Empty);
    }
    for ip in &found {
        networks.check(*ip)?;
    }
    Ok(found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect())
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ResolveError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(self.clone().resolve(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(listed: &[&str]) -> Networks {
        Networks::new(listed.iter().map(|net| net.parse().unwrap()).collect(), Vec::new())
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn one_denied_address_denies_the_name() {
        let error = checked(ips(&["93.184.215.14", "10.0.0.7", "1.1.1.1"]), &networks(&[])).unwrap_err();
        assert!(matches!(error, ResolveError::Denied(denied) if denied.ip == ips(&["10.0.0.7"])[0]));
    }

    #[test]
    fn a_listed_network_passes_beside_global_addresses() {
        let found = checked(ips(&["10.0.0.7", "2606:4700::1111"]), &networks(&["10.0.0.0/24"])).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|address| address.port() == 0));
    }

    #[test]
    fn a_name_without_addresses_is_no_success() {
        assert!(matches!(checked(Vec::new(), &networks(&[])), Err(ResolveError::Empty)));
    }

    #[tokio::test]
    async fn the_name_of_this_machine_is_denied_unless_listed() {
        let name: Name = "localhost".parse().unwrap();
        let resolver = |listed| Resolver::new(Arc::new(networks(listed)), Arc::new(System), Duration::from_secs(5));
        let denied = resolver(&[]).call(name.clone()).await;
        assert!(matches!(denied, Err(ResolveError::Denied(denied)) if denied.class == "loopback"));
        assert!(
            resolver(&["127.0.0.0/8", "::1/128"]).call(name).await.unwrap().all(|address| address.ip().is_loopback())
        );
    }
}
