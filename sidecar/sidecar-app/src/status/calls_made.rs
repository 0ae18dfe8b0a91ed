//! How calls of the far side ended here, for `/statusz` and the metrics.
//!
//! Invariant: outcomes are words of a fixed set: `answered`, `cut`, `cancelled`, and the slugs of problem types. Test to
//! read first: `every_outcome_has_its_word`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::egress::Counts;

/// Calls that were made here, and access tokens for them, since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CallsMade {
    /// Ended calls by outcome: the first three always, a problem's slug once it occurred.
    pub ended: BTreeMap<&'static str, u64>,
    /// Access tokens that were got.
    pub tokens_got: u64,
    /// Questions for one that failed.
    pub tokens_failed: u64,
}

impl From<Counts> for CallsMade {
    fn from(counts: Counts) -> Self {
        let whole = [("answered", counts.answered), ("cut", counts.cut), ("cancelled", counts.cancelled)];
        // A problem of that name is a call that was cancelled, too.
        let mut ended = BTreeMap::from(whole);
        for (kind, count) in counts.problems {
            *ended.entry(kind.slug()).or_default() += count;
        }
        Self { ended, tokens_got: counts.tokens.0, tokens_failed: counts.tokens.1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use layer2_http::ProblemKind;

    #[test]
    fn every_outcome_has_its_word() {
        let problems = vec![(ProblemKind::RouteDenied, 2), (ProblemKind::Cancelled, 1)];
        let made = CallsMade::from(Counts { answered: 5, cut: 0, cancelled: 1, problems, tokens: (3, 4) });
        let ended = [("answered", 5), ("cancelled", 2), ("cut", 0), ("route-denied", 2)];
        assert_eq!(made.ended, BTreeMap::from(ended));
        assert_eq!((made.tokens_got, made.tokens_failed), (3, 4));
    }
}
