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
use ipnet::IpNet;
use layer2_http::addresses::{DeniedAddress, address_allowed};
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

/// Resolves names by the system's resolver, for one rule.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    allowed: Arc<[IpNet]>,
    time_max: Duration,
}

impl Resolver {
    /// A resolver for a rule that lists the networks `allowed`; a lookup may take `time_max`.
    pub(super) fn new(allowed: Arc<[IpNet]>, time_max: Duration) -> Self {
        Self { allowed, time_max }
    }

    async fn resolve(self, name: Name) -> Result<std::vec::IntoIter<SocketAddr>, ResolveError> {
        let found = match tokio::time::timeout(self.time_max, tokio::net::lookup_host((name.as_str(), 0))).await {
            Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
            Ok(Err(error)) => return Err(ResolveError::Failed(error)),
            Err(_) => return Err(ResolveError::Timeout(self.time_max)),
        };
        checked(found, &self.allowed).map(Vec::into_iter)
    }
}

/// All addresses, if each of them may be connected to. The port is the connector's to set.
fn checked(found: Vec<IpAddr>, allowed: &[IpNet]) -> Result<Vec<SocketAddr>, ResolveError> {
    if found.is_empty() {
        return Err(ResolveError::Empty);
    }
    for ip in &found {
        address_allowed(*ip, allowed)?;
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

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn one_denied_address_denies_the_name() {
        let error = checked(ips(&["93.184.215.14", "10.0.0.7", "1.1.1.1"]), &[]).unwrap_err();
        assert!(matches!(error, ResolveError::Denied(denied) if denied.ip == ips(&["10.0.0.7"])[0]));
    }

    #[test]
    fn a_listed_network_passes_beside_global_addresses() {
        let allowed = ["10.0.0.0/24".parse().unwrap()];
        let found = checked(ips(&["10.0.0.7", "2606:4700::1111"]), &allowed).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|address| address.port() == 0));
    }

    #[test]
    fn a_name_without_addresses_is_no_success() {
        assert!(matches!(checked(Vec::new(), &[]), Err(ResolveError::Empty)));
    }

    #[tokio::test]
    async fn the_name_of_this_machine_is_denied_unless_listed() {
        let name: Name = "localhost".parse().unwrap();
        let resolver = |allowed: &[IpNet]| Resolver::new(allowed.into(), Duration::from_secs(5));
        let denied = resolver(&[]).call(name.clone()).await;
        assert!(matches!(denied, Err(ResolveError::Denied(denied)) if denied.class == "loopback"));
        let allowed = ["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        assert!(resolver(&allowed).call(name).await.unwrap().all(|address| address.ip().is_loopback()));
    }
}
