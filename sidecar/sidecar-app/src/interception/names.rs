//! The places that the outbound https rules name, as rules and as constraints of a certificate.
//!
//! Invariant: a constraint never permits less than the rules, and permits more only where X.509 cannot say it: the hosts below a
//! named one. Test to read first: `interception::tests::the_constraints_bind_verifiers_that_know_no_rule`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints};
use sidecar_config::{Config, HostPattern, Scheme};

/// Hosts and ports of the outbound https rules that this engine's caller has.
pub struct Names(Vec<(HostPattern, u16)>);

impl Names {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        let caller = config.local.service_account.as_ref();
        let own = config
            .outbound
            .allow
            .iter()
            .filter(|rule| rule.callers.is_empty() || caller.is_some_and(|caller| rule.callers.contains(caller)));
        let destinations = own.flat_map(|rule| &rule.destinations);
        let https = destinations.filter(|to| to.schemes.contains(&Scheme::Https));
        Self(https.map(|to| (to.host.clone(), to.port)).collect())
    }

    /// Is this host (in canonical form) named, and with this port if that is given?
    pub fn cover(&self, host: &str, port: Option<u16>) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.0.iter().any(|(pattern, own)| pattern.matches(host) && port.is_none_or(|port| port == *own))
    }

    /// One line a host, in order: what the authority was made for.
    pub fn text(&self) -> String {
        let hosts: BTreeSet<String> = self.0.iter().map(|(pattern, _)| format!("{pattern}\n")).collect();
        hosts.into_iter().collect()
    }

    /// What a certificate may name.
    pub fn constraints(&self) -> NameConstraints {
        let mut permitted = Vec::new();
        let (mut named, mut addressed) = (false, false);
        for (pattern, _) in &self.0 {
            permitted.push(match pattern {
                HostPattern::Suffix(suffix) => {
                    named = true;
                    GeneralSubtree::DnsName(suffix.trim_start_matches('.').to_owned())
                }
                HostPattern::Exact(host) => match host.trim_start_matches('[').trim_end_matches(']').parse() {
                    Ok(ip) => {
                        addressed = true;
                        GeneralSubtree::IpAddress(only(ip))
                    }
                    Err(_) => {
                        named = true;
                        GeneralSubtree::DnsName(host.clone())
                    }
                },
            });
        }
        // A kind of name that nothing is permitted of would not be constrained at all.
        let mut excluded = Vec::new();
        if !addressed {
            let every = |ip: IpAddr| GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(ip, 0));
            excluded.extend(["0.0.0.0".parse(), "::".parse()].into_iter().flatten().map(every));
        }
        if !named {
            excluded.push(GeneralSubtree::DnsName(String::new()));
        }
        NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded }
    }
}

fn only(ip: IpAddr) -> CidrSubnet {
    match ip {
        IpAddr::V4(ip) => CidrSubnet::V4(ip.octets(), [0xff; 4]),
        IpAddr::V6(ip) => CidrSubnet::V6(ip.octets(), [0xff; 16]),
    }
}
