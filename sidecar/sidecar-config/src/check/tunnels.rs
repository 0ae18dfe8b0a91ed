//! The byte streams of a rule.
//!
//! Invariant: a rule that lists an upgrade allows the GET that asks for it. Test to read first:
//! `tunnels_that_could_never_open_are_refused` in `read/tests/tunnels.rs`.

use super::bounds;
use crate::{
    problem::Problems,
    rule::Destination,
    tunnels::{Tunnels, UPGRADES},
};

/// Checks `tunnels` of the rule at `field`; `calls` says whether it is a rule of the calling side.
pub(super) fn tunnels(
    field: &str,
    tunnels: &Tunnels,
    destinations: Option<&[Destination]>,
    calls: bool,
    problems: &mut Problems,
) -> Tunnels {
    let field = format!("{field}.tunnels");
    bounds::duration(&format!("{field}.idle"), tunnels.idle, problems);
    for (index, protocol) in tunnels.upgrades.iter().enumerate() {
        if !UPGRADES.contains(&protocol.as_str()) {
            problems.add(
                format!("{field}.upgrades[{index}]"),
                format!("`{protocol}` is not a protocol that can be switched to"),
                format!("write {}", UPGRADES.join(" or ")),
            );
        }
    }
    let gets = |destination: &Destination| destination.methods.iter().any(|method| method == "GET" || method == "*");
    if !tunnels.upgrades.is_empty() && destinations.is_some_and(|destinations| !destinations.iter().any(gets)) {
        problems.add(
            format!("{field}.upgrades"),
            "has no use: an upgrade begins as a GET, and no destination of the rule allows that",
            "add GET to the methods of a destination, or remove the upgrades",
        );
    }
    if tunnels.even_if_slow && !calls {
        problems.add(
            format!("{field}.evenIfSlow"),
            "has no use: only the calling side refuses tunnels for their round trip",
            "write it into the outbound rule of the calling side",
        );
    }
    tunnels.clone()
}
