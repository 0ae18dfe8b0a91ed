//! The allow rules of both directions.
//!
//! Invariant: a rule that passes can allow some call; one that could never allow any is a mistake and is reported.
//! It does not decide calls. Test to read first: `every_contradiction_is_caught` in `read/tests.rs`.

use std::{net::IpAddr, path::Path};

use bytesize::ByteSize;
use ipnet::IpNet;

use super::{bounds, callers, destinations::destinations, far_side, folders, near_side, targets, tunnels::tunnels};
use crate::{
    file,
    name::Name,
    problem::{Problems, Refusal},
    quantity::format_size,
    rule::{InboundRule, OutboundRule, Scheme},
    section::Limits,
};

pub(super) fn outbound(file: &file::Outbound, limits: &Limits, problems: &mut Problems) -> Vec<OutboundRule> {
    let names: Vec<&str> = file.allow.iter().map(|rule| rule.name.as_str()).collect();
    names_differ("outbound.allow", &names, problems);
    let rules = file.allow.iter().enumerate();
    rules
        .filter_map(|(index, rule)| outbound_rule(&format!("outbound.allow[{index}]"), rule, limits, problems))
        .collect()
}

fn outbound_rule(
    field: &str,
    file: &file::OutboundRule,
    limits: &Limits,
    problems: &mut Problems,
) -> Option<OutboundRule> {
    let name = problems.take(format!("{field}.name"), Name::new(&file.name));
    let destinations = destinations(field, &file.destinations, problems);
    let callers = file.callers.iter().enumerate();
    let callers = callers
        .map(|(index, caller)| (format!("{field}.callers[{index}].serviceAccount"), caller.service_account.as_str()));
    let callers = callers::listed(callers, problems);
    bounds::duration(&format!("{field}.timeout"), file.timeout, problems);
    near_side::quota(&format!("{field}.quota"), &file.quota, limits.max_in_flight, problems);
    near_side::quota(&format!("{field}.callerQuota"), &file.caller_quota, limits.max_in_flight, problems);
    near_side::cache(&format!("{field}.cache"), &file.cache, limits.cache_bytes, problems);
    let target_field = format!("{field}.target");
    let target = match &file.target {
        None => None,
        Some(text) => Some(problems.take(target_field.as_str(), targets::of_route(text))?),
    };
    let tunnels = tunnels(field, &file.tunnels, destinations.as_deref(), true, problems);
    let (name, destinations) = (name?, destinations?);
    if let Some(target) = &target {
        targets::are_covered(&target_field, target, &destinations, problems);
    }
    let (timeout, quota, caller_quota, cache) = (file.timeout, file.quota, file.caller_quota, file.cache);
    Some(OutboundRule { name, destinations, callers, target, timeout, quota, caller_quota, cache, tunnels })
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
    let callers = file.callers.iter().enumerate();
    let callers = callers.map(|(index, caller)| (format!("{field}.callers[{index}]"), caller.as_str()));
    let callers = callers::listed(callers, problems);
    let target_field = format!("{field}.target");
    let target = match &file.target {
        None => None,
        Some(text) => Some(problems.take(target_field.as_str(), targets::of_calls(text))?),
    };
    let addresses = networks(&format!("{field}.addresses"), &file.addresses, problems);
    bounds::duration(&format!("{field}.timeout"), file.timeout, problems);
    let max_body = max_body(field, file.max_body, body_max, problems);
    let ca_field = format!("{field}.tls.caFile");
    let ca_file = file.tls.ca_file.as_ref().map(|path| folders::resolve(base_dir, path, &ca_field, problems));
    let tunnels = tunnels(field, &file.tunnels, destinations.as_deref(), false, problems);
    let (name, destinations) = (name?, destinations?);
    let by_tls = match &target {
        Some(target) => target.scheme() == "https",
        None => destinations.iter().any(|destination| destination.schemes.contains(&Scheme::Https)),
    };
    if ca_file.is_some() && !by_tls {
        let why = match &target {
            Some(_) => "has no use: the rule's target is called by http",
            None => "has no use: no destination of the rule has scheme https",
        };
        problems.add(ca_field, why, "remove it, or call by https");
    }
    if addresses.len() == file.addresses.len() {
        match &target {
            Some(target) => {
                targets::is_reachable(&target_field, target.host_str().unwrap_or_default(), &addresses, problems)
            }
            None => targets::literals_are_reachable(field, &destinations, &addresses, problems),
        }
    }
    let far = far_side::far_side(field, file, &addresses, base_dir, problems);
    let (timeout, retry) = (file.timeout, file.retry);
    Some(InboundRule {
        name,
        destinations,
        callers,
        target,
        addresses,
        timeout,
        retry,
        max_body,
        ca_file,
        tunnels,
        far,
    })
}

fn max_body(field: &str, given: Option<ByteSize>, body_max: ByteSize, problems: &mut Problems) -> ByteSize {
    let Some(max_body) = given else { return body_max };
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
    max_body
}

pub(super) fn names_differ(list: &str, names: &[&str], problems: &mut Problems) {
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

/// The networks of a list; those that are none are left out, with a problem each.
pub(super) fn networks(field: &str, listed: &[String], problems: &mut Problems) -> Vec<IpNet> {
    let listed = listed.iter().enumerate();
    listed.filter_map(|(index, text)| problems.take(format!("{field}[{index}]"), network(text))).collect()
}

pub(super) fn network(text: &str) -> Result<IpNet, Refusal> {
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
