//! The server that a rule's calls are made to, whatever host they name.
//!
//! Invariant: it decides where a connection goes, by which scheme and under which TLS name, and nothing else: the Host
//! field, the path and the query stay the caller's. Its addresses are checked like any. Test to read first:
//! `tests::wire::a_target_is_called_in_the_place_of_the_named_host`.

use std::net::IpAddr;

use anyhow::{Context, Result};
use http::Uri;
use sidecar_config::Url;

/// Scheme, host and port of a rule's target.
#[derive(Clone, Debug)]
pub(super) struct Server {
    uri: Uri,
    scheme: &'static str,
}

impl Server {
    /// The server of a checked target.
    ///
    /// # Errors
    /// When the target has no host or is neither http nor https, which a checked configuration has not.
    pub(super) fn new(target: &Url) -> Result<Self> {
        let scheme = if target.scheme() == "https" { "https" } else { "http" };
        let host = target.host_str().context("the target has no host")?;
        let port = target.port_or_known_default().context("the target has no port")?;
        let uri = format!("{scheme}://{host}:{port}/").parse().context("the target is no URI")?;
        Ok(Self { uri, scheme })
    }

    /// What is connected to.
    pub(super) fn uri(&self) -> Uri {
        self.uri.clone()
    }

    /// `http` or `https`.
    pub(super) const fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// The address, if the host is one.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        literal(&self.uri)
    }
}

/// The address, if a URI's host is one.
pub(super) fn literal(target: &Uri) -> Option<IpAddr> {
    target.host()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}
