//! The allow rules of both directions.
//!
//! Invariant: a rule that passes can allow some call; one that could never allow any is a mistake and is reported.
//! It does not decide calls. Test to read first: `every_contradiction_is_caught` in `read/tests.rs`.

use std::{net::IpAddr, path::Path};

use bytesize::ByteSize;
use ipnet::IpNet;
use url::Url;

use super::{
    bounds,
    destinations::{destinations, is_plain, scheme, within},
    folders,
};
use crate::{
    file,
    name::Name,
    problem::{Problems, Refusal},
    quantity::format_size,
    rule::{Destination, HostPattern, InboundRule, OutboundRule, Scheme},
};

pub(super) fn outbound(file: &file::Outbound, problems: &mut Problems) -> Vec<OutboundRule> {
    let names: Vec<&str> = file.allow.iter().map(|rule| rule.name.as_str()).collect();
    names_differ("outbound.allow", &names, problems);
    let rules = file.allow.iter().enumerate();
    rules.filter_map(|(index, rule)| outbound_rule(&format!("outbound.allow[{index}]"), rule, problems)).collect()
}

fn outbound_rule(field: &str, file: &file::OutboundRule, problems: &mut Problems) -> Option<OutboundRule> {
    let name = problems.take(format!("{field}.name"), Name::new(&file.name));
    let destinations = destinations(field, &file.destinations, problems);
    bounds::duration(&format!("{field}.timeout"), file.timeout, problems);
    let target_field = format!("{field}.target");
    let target = match &file.target {
        None => None,
        Some(text) => Some(problems.take(target_field.as_str(), target(text))?),
    };
    let (name, destinations) = (name?, destinations?);
    if let Some(target) = &target {
        target_is_covered(&target_field, target, &destinations, problems);
    }
    Some(OutboundRule { name, destinations, target, timeout: file.timeout })
}

pub(super) fn inbound(
    file: &file::Inbound,
    body_max: ByteSize,
    base_dir: &Path,
    problems: &mut Problems,
) -> Vec<InboundRule> {
    let names: Vec<&str> = file.allow.iter().map(|rule| rule.name.as_str()).collect();
    names_differ("inbound.allow", &names, problems);
    let rules = file.allow.iter().enumerate();
    rules
        .filter_map(|(index, rule)| {
            inbound_rule(&format!("inbound.allow[{index}]"), rule, body_max, base_dir, problems)
        })
        .collect()
}

fn inbound_rule(
    field: &str,
    file: &file::InboundRule,
    body_max: ByteSize,
    base_dir: &Path,
    problems: &mut Problems,
) -> Option<InboundRule> {
    let name = problems.take(format!("{field}.name"), Name::new(&file.name));
    let destinations = destinations(field, &file.destinations, problems);
    let addresses: Vec<IpNet> = file
        .addresses
        .iter()
        .enumerate()
        .filter_map(|(index, text)| problems.take(format!("{field}.addresses[{index}]"), network(text)))
        .collect();
    bounds::duration(&format!("{field}.timeout"), file.timeout, problems);
    let max_body = file.max_body.unwrap_or(body_max);
    if file.max_body.is_some() {
        let body_field = format!("{field}.maxBody");
        bounds::size_within(&body_field, max_body, ByteSize::b(1), None, problems);
        if max_body > body_max {
            let (rule, all) = (format_size(max_body), format_size(body_max));
            problems.add(
                body_field,
                format!("{rule} is larger than limits.bodyMax, {all}"),
                format!("write at most {all}, or raise limits.bodyMax"),
            );
        }
    }
    let ca_field = format!("{field}.tls.caFile");
    let ca_file = file.tls.ca_file.as_ref().map(|path| folders::resolve(base_dir, path, &ca_field, problems));
    let (name, destinations) = (name?, destinations?);
    let no_tls = !destinations.iter().any(|destination| destination.schemes.contains(&Scheme::Https));
    if ca_file.is_some() && no_tls {
        problems.add(
            ca_field,
            "has no use: no destination of the rule has scheme https",
            "remove it, or call by https",
        );
    }
    if addresses.len() == file.addresses.len() {
        literals_are_reachable(field, &destinations, &addresses, problems);
    }
    Some(InboundRule { name, destinations, addresses, timeout: file.timeout, retry: file.retry, max_body, ca_file })
}

fn names_differ(list: &str, names: &[&str], problems: &mut Problems) {
    for (index, name) in names.iter().enumerate() {
        if let Some(first) = names.iter().take(index).position(|other| other == name) {
            problems.add(
                format!("{list}[{index}].name"),
                format!("`{name}` is also the name of {list}[{first}]"),
                "give every rule of the list its own name",
            );
        }
    }
}

fn target(text: &str) -> Result<Url, Refusal> {
    // What may hold a password is not repeated.
    let shown = if text.contains('@') { "the URL".to_owned() } else { format!("`{text}`") };
    let refuse =
        |why: String| Err(Refusal::new(format!("{shown} {why}"), "write a URL such as https://erp.south.svc/base"));
    let mut url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return refuse(format!("is not a URL: {error}")),
    };
    if scheme(url.scheme()).is_err() {
        return refuse("is neither http nor https".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refusal::new(
            "has a user or a password in it",
            "remove them: credentials do not belong into this file",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("has a query or a fragment".to_owned());
    }
    if url.port() == Some(0) {
        return refuse("has port 0".to_owned());
    }
    if !is_plain(url.path()) {
        return refuse("has an encoded slash, backslash or percent sign in its path".to_owned());
    }
    if !url.path().ends_with('/') {
        let whole = format!("{}/", url.path());
        url.set_path(&whole);
    }
    Ok(url)
}

fn target_is_covered(field: &str, target: &Url, destinations: &[Destination], problems: &mut Problems) {
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

fn network(text: &str) -> Result<IpNet, Refusal> {
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
        Refusal::new(
            format!("`{text}` is neither a network nor an address"),
            "write a network such as 10.0.0.0/8, or an address",
        )
    })?;
    if net.prefix_len() == 0 {
        return Err(Refusal::new(
            format!("`{text}` is every address: metadata services and this machine among them"),
            "name the networks that may be connected to",
        ));
    }
    if net.trunc() != net {
        return Err(Refusal::new(
            format!("`{text}` has bits set beyond its prefix"),
            format!("write {}, or {} for the one address", net.trunc(), net.addr()),
        ));
    }
    Ok(net)
}

/// A destination that is a special address can be reached only if `addresses` lists it.
fn literals_are_reachable(rule: &str, destinations: &[Destination], addresses: &[IpNet], problems: &mut Problems) {
    for (index, destination) in destinations.iter().enumerate() {
        let HostPattern::Exact(host) = &destination.host else {
            continue;
        };
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
                format!("{rule}.destinations[{index}].host"),
                format!("`{host}` is an address of this machine or of a private network, which `addresses` does not list: every call would be refused"),
                format!("add {network} to the rule's addresses, if that is meant"),
            );
        }
    }
}

fn is_special(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_unspecified(),
    }
}
