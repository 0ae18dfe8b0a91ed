//! Credit in both directions: absolute, of records *sent* in any order, never taken back (wire format §9).
//!
//! Invariants: what I charge never exceeds what the peer gave; what I give is durable before it is announced, and covers only space that
//! was set aside: consumed + pool. The last 64 KiB of log credit are for kinds 1–3. Test to read first: `the_last_64_kib_are_for_resets`.

use crate::mutation::{Mutation, mutated};
use wire::control::Credit;
use wire::limits::{CONTROL_CREDIT_RESERVE, INITIAL_EXCHANGES, INITIAL_LOG_CREDIT, INITIAL_STREAM_CREDIT};
use wire::record::FIRST_STORED_KIND;

/// Credit of both sides when an association opens.
pub(crate) const INITIAL: Credit = Credit {
    max_log_bytes: INITIAL_LOG_CREDIT,
    max_exchanges: INITIAL_EXCHANGES,
    max_stream_bytes: INITIAL_STREAM_CREDIT,
};

/// Whether `cost` more fits on top of `charged`.
const fn fits(max_log_bytes: u64, charged: u64, cost: u64, kind: u8) -> bool {
    let reserve = if kind < FIRST_STORED_KIND { 0 } else { CONTROL_CREDIT_RESERVE };
    charged.saturating_add(cost) <= max_log_bytes.saturating_sub(reserve)
}

fn join(a: &mut Credit, b: &Credit) -> bool {
    let before = *a;
    a.max_log_bytes = a.max_log_bytes.max(b.max_log_bytes);
    a.max_exchanges = a.max_exchanges.max(b.max_exchanges);
    a.max_stream_bytes = a.max_stream_bytes.max(b.max_stream_bytes);
    *a != before
}

/// What the peer gave me.
#[derive(Clone, Debug)]
pub(crate) struct PeerCredit {
    pub(crate) given: Credit,
    /// Cost of all records of mine that count: sent, or durably marked as allowed to be sent.
    pub(crate) charged: u64,
}

impl Default for PeerCredit {
    fn default() -> Self {
        Self { given: INITIAL, charged: 0 }
    }
}

impl PeerCredit {
    /// Whether anything grew.
    pub(crate) fn join(&mut self, credit: &Credit) -> bool {
        join(&mut self.given, credit)
    }

    pub(crate) fn admits(&self, cost: u64, kind: u8) -> bool {
        mutated(Mutation::CreditIgnored) || fits(self.given.max_log_bytes, self.charged, cost, kind)
    }

    pub(crate) const fn charge(&mut self, cost: u64) {
        self.charged = self.charged.saturating_add(cost);
    }
}

/// What I give the peer.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    /// Durable: may be announced, and is enforced.
    pub(crate) given: Credit,
    /// On its way to the disk.
    requested: Credit,
    /// Cost of all records taken.
    pub(crate) charged: u64,
    /// Of that: not needed any more.
    pub(crate) consumed: u64,
    /// Exchanges of the peer that ended.
    pub(crate) exchanges_closed: u64,
    /// The highest exchange the peer used.
    pub(crate) exchange_highest: u64,
}

impl Default for Grant {
    fn default() -> Self {
        Self { given: INITIAL, requested: INITIAL, charged: 0, consumed: 0, exchanges_closed: 0, exchange_highest: 0 }
    }
}

impl Grant {
    pub(crate) const fn admits(&self, cost: u64, kind: u8) -> bool {
        fits(self.given.max_log_bytes, self.charged, cost, kind)
    }

    /// What to make durable next, if it is a worthwhile step — or at all, if the peer seems to be `blocked`.
    pub(crate) fn raise(&mut self, window: &Credit, blocked: bool) -> Option<Credit> {
        let mut target = Credit {
            max_log_bytes: self.consumed.saturating_add(window.max_log_bytes),
            max_exchanges: self.exchanges_closed.saturating_add(window.max_exchanges),
            max_stream_bytes: window.max_stream_bytes,
        };
        let step = |target: u64, requested: u64, window: u64| target >= requested.saturating_add((window / 4).max(1));
        let worthwhile = step(target.max_log_bytes, self.requested.max_log_bytes, window.max_log_bytes)
            || step(target.max_exchanges, self.requested.max_exchanges, window.max_exchanges)
            || target.max_stream_bytes > self.requested.max_stream_bytes;
        join(&mut target, &self.requested);
        if target == self.requested || !(worthwhile || blocked) || mutated(Mutation::GrantNeverRaised) {
            return None;
        }
        self.requested = target;
        Some(target)
    }

    /// Given, or on its way to the disk.
    pub(crate) const fn requested(&self) -> Credit {
        self.requested
    }

    /// A raise is durable.
    pub(crate) fn granted(&mut self, credit: &Credit) {
        join(&mut self.given, credit);
        join(&mut self.requested, credit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::record::kind;

    #[test]
    fn the_last_64_kib_are_for_resets() {
        let mut credit = PeerCredit::default();
        credit.charge(INITIAL_LOG_CREDIT - CONTROL_CREDIT_RESERVE);
        assert!(!credit.admits(1, kind::DATA));
        assert!(credit.admits(CONTROL_CREDIT_RESERVE, kind::RESET_STREAM));
        assert!(!credit.admits(CONTROL_CREDIT_RESERVE + 1, kind::RESET_STREAM));
        assert!(credit.join(&Credit { max_log_bytes: INITIAL_LOG_CREDIT + 1, ..INITIAL }));
        assert!(credit.admits(1, kind::DATA));
        assert!(!credit.join(&INITIAL), "credit is never taken back");
    }

    #[test]
    fn credit_rises_in_quarters_of_the_pool_and_to_the_last_byte_for_a_blocked_peer() {
        let window = Credit { max_log_bytes: 8 << 20, max_exchanges: 16, max_stream_bytes: 1 << 20 };
        let mut grant = Grant::default();
        assert_eq!(grant.raise(&window, false).map(|credit| credit.max_log_bytes), Some(8 << 20));
        assert_eq!(grant.given, INITIAL, "not before it is durable");
        grant.granted(&Credit { max_log_bytes: 8 << 20, ..INITIAL });
        grant.consumed = (2 << 20) - 1;
        assert_eq!(grant.raise(&window, false), None);
        assert_eq!(grant.raise(&window, true).map(|credit| credit.max_log_bytes), Some((10 << 20) - 1));
        assert_eq!(grant.raise(&window, true), None);
        grant.exchanges_closed = 4;
        assert_eq!(grant.raise(&window, false).map(|credit| credit.max_exchanges), Some(20));
    }
}
