//! Whether responses to the calls of an outbound rule are kept to be used again (RFC 9111).
//!
//! Invariant: nothing is kept unless the rule says so. It judges no response: layer 2 does. Test to read first:
//! `quotas_and_caches_are_read` in `read/near_side.rs`.

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::quantity;

/// A rule's part of the response cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Cache {
    /// Whether responses are kept at all. Default: false.
    pub enabled: bool,
    /// Largest content of one response that is kept. Default: 256Ki.
    #[serde(with = "quantity::size")]
    pub body_max: ByteSize,
    /// Most bytes that this rule's responses take together. Default: 16Mi.
    #[serde(with = "quantity::size")]
    pub bytes_max: ByteSize,
}

impl Default for Cache {
    fn default() -> Self {
        Self { enabled: false, body_max: ByteSize::kib(256), bytes_max: ByteSize::mib(16) }
    }
}

impl Cache {
    /// Nothing is kept.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What all rules together may take, unless the file says otherwise.
    #[must_use]
    pub fn usual_total() -> ByteSize {
        ByteSize::mib(32)
    }

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    pub(crate) fn is_usual_total(total: &ByteSize) -> bool {
        *total == Self::usual_total()
    }
}
