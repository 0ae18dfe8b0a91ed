//! What a rule says of byte streams: which upgrades it allows, and how long a tunnel may be silent.
//!
//! Invariants: nothing is allowed unless it is listed; a plain CONNECT is not listed here but in the methods of a destination.
//! It opens no tunnel: the engine does. Test to read first: `a_rule_lists_its_upgrades` in `read/tests/tunnels.rs`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::quantity;

/// The protocols that a call can switch to by `Upgrade`.
pub(crate) const UPGRADES: [&str; 1] = ["websocket"];

/// Byte streams of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Tunnels {
    /// Protocols that a GET may switch to (HTTP/1.1 `Upgrade`): `websocket`. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upgrades: Vec<String>,
    /// How long a tunnel of the rule may be silent in both directions before it is cut. Default: 10m.
    #[serde(with = "quantity::duration")]
    pub idle: Duration,
    /// Outbound only: open tunnels also while a round trip takes more than five seconds. Default: false.
    #[serde(skip_serializing_if = "is_false")]
    pub even_if_slow: bool,
}

impl Default for Tunnels {
    fn default() -> Self {
        Self { upgrades: Vec::new(), idle: Duration::from_secs(600), even_if_slow: false }
    }
}

impl Tunnels {
    /// Nothing was said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// May a call switch to this protocol?
    #[must_use]
    pub fn allows(&self, protocol: &str) -> bool {
        self.upgrades.iter().any(|listed| listed == protocol)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}
