//! May this request read the admin port? Only if its Host is an address or `localhost` (DNS rebinding).
//!
//! Probes and scrapers call a pod by its address, people call localhost. A page that rebinds a name to this address still
//! sends its own name as Host, so every other name is refused. It resolves nothing. Test to read first:
//! `only_addresses_and_localhost_are_hosts`.

use std::net::IpAddr;

use http::{HeaderMap, Uri, header};
use layer2_http::target::parse_authority;

/// Why a request may not read this port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// No Host, several, or one that is no host (RFC 9112 §3.2).
    #[error("the request needs exactly one valid Host")]
    NoHost,
    /// Another site's name.
    #[error("this port answers to localhost and to IP addresses only, not to {host}: a name may be DNS rebinding")]
    Foreign {
        /// The name.
        host: String,
    },
}

/// Checks the Host field and, where the target is absolute, its authority.
pub(super) fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), Refused> {
    if let Some(authority) = uri.authority() {
        check_authority(authority.as_str())?;
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => check_authority(host.to_str().map_err(|_| Refused::NoHost)?),
        _ => Err(Refused::NoHost),
    }
}

fn check_authority(authority: &str) -> Result<(), Refused> {
    let host = parse_authority(authority).map_err(|_| Refused::NoHost)?.host;
    let bare = host.strip_suffix('.').unwrap_or(&host);
    let address = bare.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    if address || bare == "localhost" { Ok(()) } else { Err(Refused::Foreign { host }) }
}
