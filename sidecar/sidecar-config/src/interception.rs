//! The section `interception`: whether the engine ends the TLS of its callers itself, and with which authority.
//!
//! Invariant: off unless it is switched on. It makes no certificate: the engine does. Test to read first:
//! `interception_is_off_unless_it_is_switched_on` in `read/tests/interception.rs`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::problem::Problems;
use crate::rule::{OutboundRule, Scheme};

/// Whether and how the engine ends the TLS of its callers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Interception {
    /// Whether a CONNECT to a host of an outbound https rule is answered here. Default: false.
    pub enabled: bool,
    /// PEM file of the certificate authority. Default: one of the engine's own, made in the state folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM file of its secret key. Default: as for `caFile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

impl Interception {
    /// Nothing was said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the section and resolves its paths by `resolve`, which is given each with its field.
    pub(crate) fn checked(
        mut self,
        outbound: &[OutboundRule],
        problems: &mut Problems,
        resolve: impl Fn(&Path, &str, &mut Problems) -> PathBuf,
    ) -> Self {
        self.ca_file = self.ca_file.map(|path| resolve(&path, "interception.caFile", problems));
        self.key_file = self.key_file.map(|path| resolve(&path, "interception.keyFile", problems));
        let (given, missing) = match (&self.ca_file, &self.key_file) {
            (Some(_), None) => ("interception.caFile", "keyFile"),
            (None, Some(_)) => ("interception.keyFile", "caFile"),
            _ => ("", ""),
        };
        if !given.is_empty() {
            problems.add(given, "stands alone", format!("add {missing}, or remove it: the engine then makes both"));
        }
        let https = |rule: &OutboundRule| rule.destinations.iter().any(|to| to.schemes.contains(&Scheme::Https));
        if self.enabled && !outbound.iter().any(https) {
            problems.add(
                "interception.enabled",
                "has no use: no outbound rule has a destination with the scheme https",
                "add such a rule, or remove it",
            );
        }
        self
    }
}
