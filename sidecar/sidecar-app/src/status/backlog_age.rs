//! How long the oldest record of each backlog waits, measured by looking at snapshots as time passes.
//!
//! Layer 1 keeps no time of an append, because nothing there needs one. A look at `next` bounds it: a record below `next`
//! is at least as old as the look. So the age shown is a lower bound, short by at most the time between two looks, and it
//! starts anew with the engine. Invariants: memory per peer is bounded by [`LOOKS_MAX`]; the longer an outage, the wider
//! apart the looks that are kept, so the error stays below one percent of its length. Test to read first:
//! `age_grows_until_the_record_is_acknowledged`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::EngineStatus;

/// Looks remembered per peer.
const LOOKS_MAX: usize = 256;
/// How many of them are left once every second one is given up.
const LOOKS_THINNED: u32 = 128;

/// Watches the backlogs of all peers.
#[derive(Debug, Default)]
pub struct BacklogAges {
    peers: BTreeMap<String, Looks>,
}

#[derive(Debug, Default)]
struct Looks {
    acknowledged: u64,
    /// What `next` was, and when; both rise.
    looks: VecDeque<(u64, Duration)>,
    /// How far apart they are at least.
    spacing: Duration,
}

impl BacklogAges {
    /// Notes a snapshot taken at `at` (a monotonic time) and fills in the ages that it does not have yet.
    pub fn observe(&mut self, at: Duration, status: &mut EngineStatus) {
        let mut known = std::mem::take(&mut self.peers);
        for peer in &mut status.peers {
            let mut looks = known.remove(&peer.endpoint).unwrap_or_default();
            let age = looks.observe(at, peer.acknowledged, peer.next);
            if peer.backlog_records > 0 && peer.oldest_unacknowledged_ms.is_none() {
                peer.oldest_unacknowledged_ms = Some(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
            }
            self.peers.insert(peer.endpoint.clone(), looks);
        }
    }
}

impl Looks {
    fn observe(&mut self, at: Duration, acknowledged: u64, next: u64) -> Duration {
        // Sequence numbers begin anew with an association.
        if acknowledged < self.acknowledged || self.looks.back().is_some_and(|(last, _)| next < *last) {
            self.looks.clear();
        }
        self.acknowledged = acknowledged;
        let oldest = acknowledged.saturating_add(1);
        while self.looks.front().is_some_and(|(below, _)| *below <= oldest) {
            self.looks.pop_front();
        }
        if next > oldest {
            self.keep(next, at);
        }
        self.looks.front().map_or(Duration::ZERO, |(_, seen)| at.saturating_sub(*seen))
    }

    /// Keeps a look, if there is something new in it and the last one is not too near.
    fn keep(&mut self, next: u64, at: Duration) {
        let Some((_, first)) = self.looks.front().copied() else {
            self.spacing = Duration::ZERO;
            self.looks.push_back((next, at));
            return;
        };
        let near = |&(last, seen): &(u64, Duration)| last >= next || at.saturating_sub(seen) < self.spacing;
        if self.looks.back().is_some_and(near) {
            return;
        }
        if self.looks.len() >= LOOKS_MAX {
            self.spacing = at.saturating_sub(first) / LOOKS_THINNED;
            let mut keep = false;
            self.looks.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.looks.push_back((next, at));
    }
}
