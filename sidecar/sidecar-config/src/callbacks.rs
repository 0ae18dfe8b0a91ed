//! The section `callbacks`: to which URLs this engine reports results and events, and how it signs and repeats that.
//!
//! Deny by default: a caller may name only URLs that begin like one that is listed. Two views: [`Callbacks`] is what is written,
//! [`CallbackRule`] one checked rule of it. Invariant: every default stands in the `Default` of its type. It reads no file: the engine
//! reads secrets when it starts. Test to read first: `callbacks_are_denied_unless_listed` in `read/tests/callbacks.rs`.

use std::{path::PathBuf, time::Duration};

use bytesize::ByteSize;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{name::Name, quantity};

/// To whom results and events may be reported, as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Callbacks {
    /// The URLs that callers may name. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<CallbackTarget>,
    /// How long a receiver may take to answer. Default: 15s.
    #[serde(with = "quantity::duration")]
    pub timeout: Duration,
    /// When a delivery that failed is tried again.
    pub retry: CallbackRetry,
    /// Deliveries to one rule's receivers at once. Default: 4.
    pub in_flight: u32,
    /// Largest response body that a result carries itself; a larger one is named by its link. Default: 64Ki.
    #[serde(with = "quantity::size")]
    pub inline_max: ByteSize,
}

impl Default for Callbacks {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            timeout: Duration::from_secs(15),
            retry: CallbackRetry::default(),
            in_flight: 4,
            inline_max: ByteSize::kib(64),
        }
    }
}

impl Callbacks {
    /// Nothing is said about callbacks.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// When a delivery that failed is tried again: after `first`, then after twice as long each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CallbackRetry {
    /// First pause, of which up to a half is left out by chance. Default: 5s.
    #[serde(with = "quantity::duration")]
    pub first: Duration,
    /// Longest pause. Default: 1h.
    #[serde(with = "quantity::duration")]
    pub max: Duration,
    /// Time after which a delivery is given up, counted from what it tells of; at most 72h. Default: 24h.
    #[serde(rename = "for", with = "quantity::duration")]
    pub for_: Duration,
}

impl Default for CallbackRetry {
    fn default() -> Self {
        Self { first: Duration::from_secs(5), max: Duration::from_secs(3_600), for_: Duration::from_secs(24 * 3_600) }
    }
}

/// URLs that callers may name, as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallbackTarget {
    /// Name of the rule. No default.
    pub name: String,
    /// What the URLs begin with: scheme, host, port and path. No default.
    pub url: String,
    /// Networks that may be connected to although they are loopback, private or otherwise special. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Files with the keys that deliveries are signed with, one a line. No default.
    #[serde(default)]
    pub secret_files: Vec<PathBuf>,
    /// PEM file of the only authorities to trust. Default: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// URLs that callers may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackRule {
    /// Name of the rule.
    pub name: Name,
    /// What the URLs begin with: http or https, without user, query or fragment.
    pub url: Url,
    /// Networks that may be connected to although they are loopback, private or otherwise special.
    pub addresses: Vec<IpNet>,
    /// Files with keys; at least one.
    pub secret_files: Vec<PathBuf>,
    /// PEM file of the only authorities to trust; those of the system when absent.
    pub ca_file: Option<PathBuf>,
}

/// How results and events are reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackSettings {
    /// The rules; their names differ.
    pub allow: Vec<CallbackRule>,
    /// How long a receiver may take to answer.
    pub timeout: Duration,
    /// When a delivery that failed is tried again.
    pub retry: CallbackRetry,
    /// Deliveries to one rule's receivers at once; not 0.
    pub in_flight: u32,
    /// Largest response body that a result carries itself.
    pub inline_max: ByteSize,
}
