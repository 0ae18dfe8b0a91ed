//! The peer's log as far as it is here: what is held, up to where without a gap, and the chain there.
//!
//! Invariants: `cum` and the selective ranges name only what is durable, and never shrink; a record is taken once; two records under one
//! number are a fork. Of records up to `cum` nothing is kept but the chain. It does not judge credit or streams: see `inbound`.
//! Test to read first: `cum_moves_only_over_what_is_durable`.

use crate::entry::ReceivedMeta;
use crate::limits::HELD_MAX;
use crate::mutation::{Mutation, mutated};
use alloc::collections::BTreeMap;
use wire::chain::chain_link;
use wire::limits::SEQ_WINDOW;
use wire::record::kind;
use wire::{Digest, RangeSet, Record, RecordHeader};

/// What a record is to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Novelty {
    New,
    Duplicate,
    /// Another record has this number.
    Forked,
    /// Too far ahead.
    BeyondWindow,
}

#[derive(Clone, Debug)]
struct Held {
    meta: ReceivedMeta,
    durable: bool,
}

/// The peer's log.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReceiveLog {
    cum: u64,
    chain: Digest,
    above: BTreeMap<u64, Held>,
    /// What is durable above `cum`.
    durable: RangeSet,
    /// Credit used by records up to `cum`.
    charged_cum: u64,
    /// Tombstones taken in place of their records.
    tombs: RangeSet,
}

/// What the log keeps of a record; `None` for a malformed tombstone.
pub(crate) fn meta_of(record: &Record) -> Option<ReceivedMeta> {
    if record.head.kind == kind::TOMBSTONE && record.as_tombstone().is_none() {
        return None;
    }
    let (link, link_digest) = record.chain_input();
    let (link_kind, link_flags) = (link.kind, link.flags);
    Some(ReceivedMeta { head: record.head, link_digest, link_kind, link_flags, charged: record.cost() })
}

impl ReceivedMeta {
    /// The header that the chain links.
    fn link_head(&self) -> RecordHeader {
        RecordHeader { kind: self.link_kind, flags: self.link_flags, ..self.head }
    }

    fn links_as(&self, other: &Self) -> bool {
        let key = |meta: &Self| {
            (meta.head.stream, meta.head.offset, meta.head.raw_len, meta.link_kind, meta.link_flags, meta.link_digest)
        };
        key(self) == key(other)
    }
}

impl ReceiveLog {
    /// An empty log of a new association.
    pub(crate) fn new(chain_0: Digest) -> Self {
        Self { chain: chain_0, ..Self::default() }
    }

    /// From a checkpoint.
    pub(crate) fn restore_base(&mut self, cum: u64, chain: Digest, charged: u64, tombs: RangeSet) {
        *self = Self { cum, chain, charged_cum: charged, tombs, ..Self::default() };
    }

    pub(crate) const fn cum(&self) -> u64 {
        self.cum
    }

    pub(crate) const fn chain(&self) -> &Digest {
        &self.chain
    }

    pub(crate) const fn charged_cum(&self) -> u64 {
        self.charged_cum
    }

    /// What is durable beyond `cum`.
    pub(crate) const fn selective(&self) -> &RangeSet {
        &self.durable
    }

    pub(crate) const fn tombs(&self) -> &RangeSet {
        &self.tombs
    }

    /// Records above `cum`, durable or not.
    pub(crate) fn above(&self) -> impl Iterator<Item = &ReceivedMeta> {
        self.above.values().map(|held| &held.meta)
    }

    /// Whether a number is taken, without judging the record.
    pub(crate) fn holds(&self, seq: u64) -> bool {
        seq <= self.cum || self.above.contains_key(&seq)
    }

    pub(crate) fn novelty(&self, meta: &ReceivedMeta) -> Novelty {
        let seq = meta.head.seq.get();
        if seq <= self.cum {
            return Novelty::Duplicate;
        }
        if seq > self.cum.saturating_add(SEQ_WINDOW) {
            return Novelty::BeyondWindow;
        }
        match self.above.get(&seq) {
            None if seq != self.cum + 1 && self.above.len() >= HELD_MAX => Novelty::BeyondWindow,
            None => Novelty::New,
            Some(held) if held.meta.links_as(meta) || mutated(Mutation::ForkIgnored) => Novelty::Duplicate,
            Some(_) => Novelty::Forked,
        }
    }

    /// Takes a new record; it is not durable yet.
    pub(crate) fn take(&mut self, meta: ReceivedMeta) {
        self.above.insert(meta.head.seq.get(), Held { meta, durable: false });
    }

    /// A record became durable; `cum` and the chain move over it if there is no gap.
    pub(crate) fn durable(&mut self, seq: u64) {
        let Some(held) = self.above.get_mut(&seq) else { return };
        held.durable = true;
        if held.meta.head.kind == kind::TOMBSTONE {
            self.tombs.insert(seq);
        }
        self.durable.insert(seq);
        while let Some(first) =
            self.above.first_entry().filter(|first| *first.key() == self.cum + 1 && first.get().durable)
        {
            let (seq, held) = first.remove_entry();
            self.chain = chain_link(&self.chain, &held.meta.link_head(), &held.meta.link_digest);
            self.charged_cum = self.charged_cum.saturating_add(held.meta.charged);
            self.cum = seq;
        }
        self.durable.remove_below(self.cum + 1);
    }

    /// Nothing below is of interest to the peer any more.
    pub(crate) fn forget_tombs_below(&mut self, seq: u64) {
        self.tombs.remove_below(seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use wire::{Seq, StreamId};

    fn record(seq: u64, payload: &'static [u8]) -> Record {
        Record::new(Seq::new(seq), StreamId::request(1), seq * 100, kind::DATA, Bytes::from_static(payload))
    }

    fn meta(seq: u64, payload: &'static [u8]) -> ReceivedMeta {
        meta_of(&record(seq, payload)).unwrap()
    }

    #[test]
    fn cum_moves_only_over_what_is_durable() {
        let mut log = ReceiveLog::new([7; 32]);
        for seq in [1, 2, 4] {
            log.take(meta(seq, b"x"));
        }
        assert_eq!((log.cum(), log.selective().is_empty()), (0, true));
        log.durable(2);
        log.durable(4);
        assert_eq!((log.cum(), log.selective().count()), (0, 2));
        log.durable(1);
        assert_eq!((log.cum(), log.selective().values().collect::<alloc::vec::Vec<_>>()), (2, alloc::vec![4]));
        let chain = record(2, b"x").link(&record(1, b"x").link(&[7; 32]));
        assert_eq!(log.chain(), &chain);
        assert_eq!(log.charged_cum(), 130);
    }

    #[test]
    fn another_record_under_a_held_number_is_a_fork() {
        let mut log = ReceiveLog::new([7; 32]);
        log.take(meta(2, b"x"));
        assert_eq!(log.novelty(&meta(2, b"x")), Novelty::Duplicate);
        assert_eq!(log.novelty(&meta(2, b"y")), Novelty::Forked);
        assert_eq!(log.novelty(&meta(1, b"y")), Novelty::New);
        assert_eq!(log.novelty(&meta(SEQ_WINDOW, b"y")), Novelty::New);
        assert_eq!(log.novelty(&meta(SEQ_WINDOW + 1, b"y")), Novelty::BeyondWindow);
    }

    #[test]
    fn a_tombstone_links_as_its_record() {
        let original = record(1, b"x");
        let tombstone = Record::tombstone(&original.head, &original.payload_digest(), 0);
        let (mut with, mut without) = (ReceiveLog::new([7; 32]), ReceiveLog::new([7; 32]));
        with.take(meta_of(&tombstone).unwrap());
        assert_eq!(with.novelty(&meta(1, b"x")), Novelty::Duplicate, "the first one counts");
        with.durable(1);
        without.take(meta(1, b"x"));
        without.durable(1);
        assert_eq!(with.chain(), without.chain());
        assert!(with.tombs().contains(1) && without.tombs().is_empty());
        let malformed = Record { payload: Bytes::new(), ..tombstone };
        assert_eq!(meta_of(&malformed), None);
    }
}
