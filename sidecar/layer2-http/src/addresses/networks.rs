//! The networks of one rule: those it lists, and those that the whole engine denies.
//!
//! Invariants: a denied network wins over a wide listing: an address in it passes only if it is itself listed, as a network
//! of one address; an IPv4 address is found in every form it can take inside an IPv6 one. It resolves no name. Test to read
//! first: `a_denied_network_wins_over_a_wide_listing`.

use super::{DeniedAddress, address_allowed, embedded};
use ipnet::IpNet;
use std::net::IpAddr;

/// The class of an address that only the configuration denies.
const DENIED: &str = "denied";

/// Where the connections of one rule may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    listed: Vec<IpNet>,
    denied: Vec<IpNet>,
}

impl Networks {
    /// A rule lists the special networks `listed`; `denied` are closed to all rules, such as a cluster's own networks.
    #[must_use]
    pub const fn new(listed: Vec<IpNet>, denied: Vec<IpNet>) -> Self {
        Self { listed, denied }
    }

    /// May a connection go to this address?
    ///
    /// # Errors
    /// If not.
    pub fn check(&self, ip: IpAddr) -> Result<(), DeniedAddress> {
        let judged = ip.to_canonical();
        let forms = [Some(ip), Some(judged), embedded(judged).map(IpAddr::V4)];
        for form in forms.into_iter().flatten() {
            let itself = |net: &IpNet| net.prefix_len() == net.max_prefix_len() && net.contains(&form);
            if self.denied.iter().any(|net| net.contains(&form)) && !self.listed.iter().any(itself) {
                return Err(DeniedAddress { ip, class: DENIED });
            }
        }
        address_allowed(ip, &self.listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(listed: &[&str], denied: &[&str]) -> Networks {
        let nets = |texts: &[&str]| texts.iter().map(|net| net.parse().unwrap()).collect();
        Networks::new(nets(listed), nets(denied))
    }

    fn class(networks: &Networks, ip: &str) -> Option<&'static str> {
        networks.check(ip.parse().unwrap()).err().map(|denied| denied.class)
    }

    #[test]
    fn a_denied_network_wins_over_a_wide_listing() {
        let networks = networks(&["10.0.0.0/8", "64:ff9b::/96"], &["10.96.0.0/12", "8.8.8.0/24", "2606:4700::/32"]);
        for ip in ["10.96.0.1", "::ffff:10.96.0.1", "64:ff9b::10.96.0.1", "8.8.8.8", "64:ff9b::8.8.8.8", "2606:4700::1"]
        {
            assert_eq!(class(&networks, ip), Some("denied"), "{ip}");
        }
        for ip in ["10.1.2.3", "1.1.1.1", "64:ff9b::1.1.1.1"] {
            assert_eq!(class(&networks, ip), None, "{ip}");
        }
    }

    #[test]
    fn a_denied_address_passes_if_it_is_itself_listed() {
        let networks = networks(&["10.96.0.7/32", "10.96.0.8/31"], &["10.96.0.0/12"]);
        assert_eq!(class(&networks, "10.96.0.7"), None);
        assert_eq!(class(&networks, "::ffff:10.96.0.7"), None);
        assert_eq!(class(&networks, "10.96.0.8"), Some("denied"));
    }

    #[test]
    fn without_denied_networks_it_is_what_the_rule_lists() {
        let networks = networks(&["127.0.0.0/8"], &[]);
        assert_eq!((class(&networks, "127.0.0.1"), class(&networks, "::1")), (None, Some("loopback")));
    }
}
