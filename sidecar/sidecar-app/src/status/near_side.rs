//! What the quotas and the cache of the local port did since the start, as `/statusz` and the metrics say it.
//!
//! Invariant: rules and fixed words only, no caller and no target. It counts nothing itself: `ingress` does. Test to
//! read first: `metrics::tests::every_line_is_a_sample_of_a_described_metric`.

use std::collections::BTreeMap;

use serde::Serialize;

/// What the near side did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NearSideView {
    /// Calls refused for a quota, by rule and bound: one of each for every rule with quotas.
    pub quota_refused: Vec<RefusedView>,
    /// Calls of rules with a cache, by what the cache did; empty if there is none.
    pub cache_outcomes: BTreeMap<&'static str, u64>,
    /// Bytes of kept responses.
    pub cache_bytes: u64,
    /// Kept responses.
    pub cache_responses: u64,
    /// Kept responses that left for want of room.
    pub cache_evicted: u64,
}

/// Calls refused for one bound of one rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RefusedView {
    /// Name of the rule.
    pub rule: String,
    /// The bound.
    pub bound: &'static str,
    /// How many.
    pub calls: u64,
}
