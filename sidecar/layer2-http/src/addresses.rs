//! May a connection go to this IP address? Special-purpose networks are denied unless listed (RFC 6890 and IANA
//! registries).
//!
//! Invariants: only global unicast passes by itself; an IPv4 address inside an IPv6 one is judged as the IPv4 address;
//! cloud metadata addresses need a listing of their own, so that no wide network lets them in by accident. The caller
//! must check *every* resolved address and connect to the one it checked. Test to read first:
//! `every_special_address_is_denied`.

mod networks;

pub use networks::Networks;

use crate::operation::Executed;
use crate::problem::{Problem, ProblemKind};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address that must not be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{ip} is a {class} address, which the rule does not list")]
pub struct DeniedAddress {
    /// The address, as it was resolved.
    pub ip: IpAddr,
    /// What kind of address it is, for messages and metrics.
    pub class: &'static str,
}

impl DeniedAddress {
    /// What the caller is told.
    #[must_use]
    pub fn to_problem(&self) -> Problem {
        Problem::new(ProblemKind::AddressDenied, self.to_string()).executed(Executed::No)
    }
}

const METADATA: &str = "cloud metadata";
const NAT64: &str = "NAT64";
const LOCAL_NAT64: &str = "local NAT64";
const COMPATIBLE: &str = "IPv4-compatible";
const TEREDO: &str = "Teredo";
const SIX_TO_FOUR: &str = "6to4";

/// Metadata and credential endpoints of clouds; some lie in public or site-local space.
const METADATA_V4: [Ipv4Addr; 8] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(169, 254, 0, 23),
    Ipv4Addr::new(169, 254, 42, 42),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
const METADATA_V6: [Ipv6Addr; 4] = [
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// Special-purpose IPv4 networks: first match wins.
const SPECIAL_V4: [(Ipv4Addr, u8, &str); 17] = [
    (Ipv4Addr::UNSPECIFIED, 32, "unspecified"),
    (Ipv4Addr::new(0, 0, 0, 0), 8, "\"this network\""),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared (carrier NAT)"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "protocol assignment"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4 relay"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmarking"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::BROADCAST, 32, "broadcast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// Special-purpose IPv6 networks: first match wins. IPv4-mapped addresses are unwrapped before.
const SPECIAL_V6: [(Ipv6Addr, u8, &str); 17] = [
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"),
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    (Ipv6Addr::UNSPECIFIED, 96, COMPATIBLE),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, NAT64),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, LOCAL_NAT64),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, "discard"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, TEREDO),
    (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48, "benchmarking"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "protocol assignment"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, SIX_TO_FOUR),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation"),
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16, "segment routing"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "unique local"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "site-local"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
];

/// May a rule that lists the networks `allowed` connect to `ip`?
///
/// # Errors
/// If the address is special and no listed network contains it. A cloud metadata address passes only if it is itself
/// listed, as a network of one address; an address that leads on to an IPv4 address only if that one passes as well.
pub fn address_allowed(ip: IpAddr, allowed: &[IpNet]) -> Result<(), DeniedAddress> {
    let judged = ip.to_canonical();
    let Some(class) = special_class(judged) else { return Ok(()) };
    // A listing counts in the form it is written in, so ::ffff:10.0.0.0/104 and 10.0.0.0/8 both let ::ffff:10.1.2.3 in.
    let lists = |net: &IpNet| net.contains(&judged) || net.contains(&ip);
    let listed = match class {
        METADATA => allowed.iter().any(|net| net.prefix_len() == net.max_prefix_len() && lists(net)),
        _ => allowed.iter().any(lists),
    };
    match judged {
        _ if !listed => Err(DeniedAddress { ip, class }),
        // A translator leads on to the IPv4 address inside, which the listing of its prefix says nothing about.
        _ => embedded(judged).map_or(Ok(()), |inner| {
            let inner = address_allowed(IpAddr::V4(inner), allowed);
            inner.map_err(|DeniedAddress { class, .. }| DeniedAddress { ip, class })
        }),
    }
}

/// The IPv4 address that a translator or tunnel of this address's prefix leads on to (RFC 6052, 4291, 3056, 4380).
fn embedded(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = ip else { return None };
    let bits = v6.to_bits();
    match special_v6(v6)? {
        NAT64 | LOCAL_NAT64 | COMPATIBLE => Some(Ipv4Addr::from_bits(bits as u32)),
        SIX_TO_FOUR => Some(Ipv4Addr::from_bits((bits >> 80) as u32)),
        TEREDO => Some(Ipv4Addr::from_bits(!(bits as u32))),
        _ => None,
    }
}

/// What kind of special address this is; `None` for global unicast. IPv4-mapped addresses are judged by what they hold.
#[must_use]
pub fn special_class(ip: IpAddr) -> Option<&'static str> {
    match ip.to_canonical() {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    }
}

fn special_v4(ip: Ipv4Addr) -> Option<&'static str> {
    if METADATA_V4.contains(&ip) {
        return Some(METADATA);
    }
    let bits = u32::from(ip);
    let within = |net: Ipv4Addr, len: u8| (bits ^ u32::from(net)).checked_shr(32 - u32::from(len)) == Some(0);
    SPECIAL_V4.iter().find(|(net, len, _)| within(*net, *len)).map(|(_, _, class)| *class)
}

fn special_v6(ip: Ipv6Addr) -> Option<&'static str> {
    if METADATA_V6.contains(&ip) {
        return Some(METADATA);
    }
    let bits = u128::from(ip);
    let within = |net: Ipv6Addr, len: u8| (bits ^ u128::from(net)).checked_shr(128 - u32::from(len)) == Some(0);
    let listed = SPECIAL_V6.iter().find(|(net, len, _)| within(*net, *len)).map(|(_, _, class)| *class);
    // Only 2000::/3 is assigned for global unicast.
    listed.or_else(|| (bits >> 125 != 1).then_some("reserved"))
}

#[cfg(test)]
mod tests;
