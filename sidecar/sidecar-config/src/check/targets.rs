//! Where rules lead: the target of a route, and the server that stands in for the called hosts.
//!
//! Invariants: a target holds no user, password, query or fragment, and its path is read the same way by every server; a
//! special address in it is one that the rule lists, because every call would be refused otherwise.
//! It resolves no name. Test to read first: `every_contradiction_is_caught` in `read/tests.rs`.

use std::net::IpAddr;

use ipnet::IpNet;
use url::Url;

use super::destinations::{is_plain, scheme, within};
use crate::{
    problem::{Problems, Refusal},
    rule::{Destination, HostPattern},
};

/// Where a route leads; its path ends in `/`.
pub(super) fn of_route(text: &str) -> Result<Url, Refusal> {
    let example = "https://erp.south.svc/base";
    let mut url = plain(text, example)?;
    if !is_plain(url.path()) {
        return Err(refusal(text, "has an encoded slash, backslash or percent sign in its path", example));
    }
    if !url.path().ends_with('/') {
        let whole = format!("{}/", url.path());
        url.set_path(&whole);
    }
    Ok(url)
}

/// The server that a rule's calls are made to: scheme, host and port, and nothing else.
pub(super) fn of_calls(text: &str) -> Result<Url, Refusal> {
    let example = "http://erp.south.svc:8080";
    let url = plain(text, example)?;
    if url.path() != "/" {
        return Err(refusal(text, "has a path: a call keeps its own", example));
    }
    Ok(url)
}

/// An http or https URL without what may be secret.
pub(super) fn plain(text: &str, example: &str) -> Result<Url, Refusal> {
    let url = Url::parse(text).map_err(|error| refusal(text, &format!("is not a URL: {error}"), example))?;
    if scheme(url.scheme()).is_err() {
        return Err(refusal(text, "is neither http nor https", example));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refusal::new(
            "has a user or a password in it",
            "remove them: credentials do not belong into this file",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refusal(text, "has a query or a fragment", example));
    }
    if url.port() == Some(0) {
        return Err(refusal(text, "has port 0", example));
    }
    Ok(url)
}

pub(super) fn refusal(text: &str, why: &str, example: &str) -> Refusal {
    // What may hold a password is not repeated.
    let shown = if text.contains('@') { "the URL".to_owned() } else { format!("`{text}`") };
    Refusal::new(format!("{shown} {why}"), format!("write a URL such as {example}"))
}

/// A route's target must be one that the rule's own destinations allow.
pub(super) fn are_covered(field: &str, target: &Url, destinations: &[Destination], problems: &mut Problems) {
    let host = target.host_str().unwrap_or_default();
    let port = target.port_or_known_default();
    let base = target.path();
    let covered = destinations.iter().any(|destination| {
        let schemes = &destination.schemes;
        schemes.iter().any(|scheme| scheme.as_str() == target.scheme())
            && destination.host.matches(host)
            && port == Some(destination.port)
            && destination.paths.iter().any(|path| within(base, path) || within(path, base))
    });
    if !covered {
        problems.add(
            field,
            format!(
                "`{target}` is not covered by the rule's own destinations: every call of the route would be refused"
            ),
            format!(
                "add a destination with scheme {}, host {host}, port {} and a path {base} or above",
                target.scheme(),
                port.unwrap_or_default()
            ),
        );
    }
}

/// A destination that is a special address can be reached only if `addresses` lists it.
pub(super) fn literals_are_reachable(
    rule: &str,
    destinations: &[Destination],
    addresses: &[IpNet],
    problems: &mut Problems,
) {
    for (index, destination) in destinations.iter().enumerate() {
        if let HostPattern::Exact(host) = &destination.host {
            is_reachable(&format!("{rule}.destinations[{index}].host"), host, addresses, problems);
        }
    }
}

/// A host that is a special address can be reached only if `addresses` lists it.
pub(super) fn is_reachable(field: &str, host: &str, addresses: &[IpNet], problems: &mut Problems) {
    let (special, network) = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => (
            is_special(address) && !addresses.iter().any(|net| net.contains(&address)),
            IpNet::from(address).to_string(),
        ),
        Err(_) => (
            (host == "localhost" || host.ends_with(".localhost"))
                && !addresses.iter().any(|net| net.addr().is_loopback()),
            "127.0.0.0/8".to_owned(),
        ),
    };
    if special {
        problems.add(
            field,
            format!("`{host}` is an address of this machine or of a private network, which `addresses` does not list: every call would be refused"),
            format!("add {network} to the rule's addresses, if that is meant"),
        );
    }
}

fn is_special(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_unspecified(),
    }
}
