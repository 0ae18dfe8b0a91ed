//! Durability as an output: entries in order, and what becomes true once each is durable.
//!
//! Invariants: tokens rise by one per entry; a promise is given out once, when its entry and all before it are durable, and never for an
//! association that has ended since. It does not write anything. Test to read first: `a_promise_waits_for_its_entry`.

use crate::entry::Entry;
use crate::event::{PeerEvent, Persist, PersistToken};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;
use wire::control::Credit;
use wire::{RangeSet, StreamId};

/// What becomes true with a durable entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// The association may be acted on.
    Associated,
    /// Packet numbers below may be used.
    PacketNumbers(u64),
    /// A record of mine may be sent, if it is charged.
    Sent(u64),
    /// Records of mine are charged.
    Charged(RangeSet),
    /// A record of the peer may be acknowledged; the event says so.
    Received(u64, Option<PeerEvent>),
    /// Payloads up to here may be dropped.
    Released(u64),
    /// Credit may be announced.
    Granted(Credit),
    /// Credit of a stream may be announced.
    StreamGranted(StreamId, u64),
}

/// The queue of entries and of promises.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    out: VecDeque<Persist>,
    waiting: VecDeque<(PersistToken, Promise)>,
    latest: PersistToken,
    latest_urgent: PersistToken,
    durable: PersistToken,
}

impl Journal {
    /// An entry something waits for.
    pub(crate) fn urgent(&mut self, entry: Entry, payload: Bytes, promise: Promise) {
        self.push(entry, payload, true);
        self.latest_urgent = self.latest;
        self.waiting.push_back((self.latest, promise));
    }

    /// An entry that may be lost in a crash.
    pub(crate) fn lazy(&mut self, entry: Entry) {
        self.push(entry, Bytes::new(), false);
    }

    fn push(&mut self, entry: Entry, payload: Bytes, urgent: bool) {
        self.latest = PersistToken(self.latest.0 + 1);
        self.out.push_back(Persist { token: self.latest, entry, payload, urgent });
    }

    pub(crate) fn poll(&mut self) -> Option<Persist> {
        self.out.pop_front()
    }

    /// Everything handed out up to `token` is durable: the promises, in order. A token from the future counts as the newest handed out.
    pub(crate) fn persisted(&mut self, token: PersistToken) -> Vec<Promise> {
        let handed_out = self.out.front().map_or(self.latest, |next| PersistToken(next.token.0 - 1));
        self.durable = self.durable.max(token.min(handed_out));
        let count = self.waiting.iter().take_while(|(at, _)| *at <= self.durable).count();
        self.waiting.drain(..count).map(|(_, promise)| promise).collect()
    }

    /// The newest entry that something waits for: once it is durable, so is everything before it.
    pub(crate) const fn latest_urgent(&self) -> PersistToken {
        self.latest_urgent
    }

    pub(crate) fn is_durable(&self, token: PersistToken) -> bool {
        token <= self.durable
    }

    /// The association ended: what was promised inside it is void.
    pub(crate) fn end_association(&mut self) {
        self.waiting.retain(|(_, promise)| matches!(promise, Promise::PacketNumbers(_)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_promise_waits_for_its_entry() {
        let mut journal = Journal::default();
        let entry = || Entry::PnBlock { reserved_below: 9, floor: 1 };
        journal.urgent(entry(), Bytes::new(), Promise::PacketNumbers(9));
        journal.lazy(entry());
        journal.urgent(entry(), Bytes::new(), Promise::Sent(1));
        assert_eq!(journal.persisted(PersistToken(3)), vec![], "nothing was handed out, so nothing can be durable");
        let tokens: Vec<_> =
            core::iter::from_fn(|| journal.poll()).map(|persist| (persist.token, persist.urgent)).collect();
        assert_eq!(tokens, [(PersistToken(1), true), (PersistToken(2), false), (PersistToken(3), true)]);
        assert_eq!(journal.persisted(PersistToken(1)), vec![Promise::PacketNumbers(9)]);
        assert!(!journal.is_durable(journal.latest_urgent()));
        assert_eq!(journal.persisted(PersistToken(2)), vec![]);
        journal.end_association();
        assert_eq!(journal.persisted(PersistToken(3)), vec![]);
        assert!(journal.is_durable(journal.latest_urgent()));
    }
}
