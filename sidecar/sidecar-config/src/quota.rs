//! How much of the line the calls of an outbound rule may use.
//!
//! Invariant: what is not given does not bind; nothing that binds is zero. It counts nothing: layer 2 does.
//! Test to read first: `quotas_and_caches_are_read` in `read/near_side.rs`.

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::quantity;

/// Bounds on calls; a bound that is not given does not bind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Quota {
    /// Calls a minute, on average; a minute's worth may come at once. Default: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Bytes of requests and responses a second, on average. Default: no bound.
    #[serde(with = "quantity::size_option", skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<ByteSize>,
    /// Bytes of requests and responses from midnight to midnight, UTC. Default: no bound.
    #[serde(with = "quantity::size_option", skip_serializing_if = "Option::is_none")]
    pub bytes_per_day: Option<ByteSize>,
    /// Calls that have not ended. Default: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
}

impl Quota {
    /// Nothing is bounded.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
