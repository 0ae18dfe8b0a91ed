//! My log towards one peer: records from the first not released on, and the chain that an ack must match.
//!
//! Invariants: sequence numbers are gapless; `una` moves only by an ack whose chain equals mine (selective acks only keep a record from being
//! sent again); a record is sent only if it is durable and charged. A log without an association is *unbound*: its chain is computed when
//! one opens. It does not know packets or queues. Test to read first: `a_chain_mismatch_never_releases`.

use crate::alarm::Alarm;
use crate::mutation::{Mutation, mutated};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use wire::chain::chain_link;
use wire::limits::MAX_RANGES;
use wire::{Digest, RangeSet, RecordHeader, Seq, StreamId};

/// Bytes of disk and memory counted for a record besides its payload.
pub(crate) const RECORD_OVERHEAD: u64 = 128;

/// A record that is not released.
#[derive(Clone, Debug)]
pub(crate) struct LogRecord {
    pub(crate) head: RecordHeader,
    pub(crate) payload_digest: Digest,
    /// The chain after this record; zero while the log is unbound.
    chain: Digest,
    /// It counts against the peer's credit.
    pub(crate) charged: bool,
    /// Its entry, and the one that charged it, are durable.
    pub(crate) durable: bool,
    /// The peer reported it beyond its cumulative ack.
    pub(crate) sacked: bool,
    /// Nobody wants it any more: a tombstone goes in its place, if the peer takes those.
    pub(crate) cancelled: bool,
    /// It may have left this endpoint.
    pub(crate) maybe_sent: bool,
    /// The newest packet that carries it; 0: none.
    pub(crate) carrier: u64,
    /// How often it was lost while later ones passed.
    pub(crate) losses: u8,
}

/// My log.
#[derive(Clone, Debug)]
pub(crate) struct SendLog {
    una: u64,
    chain_una: Digest,
    chain_next: Digest,
    bound: bool,
    records: VecDeque<LogRecord>,
    sacked: RangeSet,
    /// What the peer took the tombstone of.
    entombed: RangeSet,
    bytes: u64,
    durable_below: u64,
}

impl Default for SendLog {
    fn default() -> Self {
        Self {
            una: 0,
            chain_una: [0; 32],
            chain_next: [0; 32],
            bound: false,
            records: VecDeque::new(),
            sacked: RangeSet::new(),
            entombed: RangeSet::new(),
            bytes: 0,
            durable_below: 1,
        }
    }
}

impl SendLog {
    /// Binds the log to an association: the chain begins at `chain_0`.
    pub(crate) fn bind(&mut self, chain_0: Digest) {
        self.restore_base(0, chain_0);
        for record in &mut self.records {
            self.chain_next = chain_link(&self.chain_next, &record.head, &record.payload_digest);
            record.chain = self.chain_next;
        }
    }

    /// An empty log continues behind `una`, from a checkpoint.
    pub(crate) const fn restore_base(&mut self, una: u64, chain: Digest) {
        self.una = una;
        self.chain_una = chain;
        self.chain_next = chain;
        self.bound = true;
        if self.durable_below <= una {
            self.durable_below = una + 1;
        }
    }

    /// The sequence number of the next record.
    pub(crate) fn next(&self) -> u64 {
        self.una + 1 + self.records.len() as u64
    }

    /// Every record below is durable.
    pub(crate) const fn durable_next(&self) -> u64 {
        self.durable_below
    }

    pub(crate) const fn una(&self) -> u64 {
        self.una
    }

    pub(crate) const fn chain_una(&self) -> &Digest {
        &self.chain_una
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Appends a record; its header already has the next sequence number.
    pub(crate) fn append(&mut self, head: RecordHeader, payload_digest: Digest, charged: bool) {
        debug_assert_eq!(head.seq.get(), self.next());
        if self.bound {
            self.chain_next = chain_link(&self.chain_next, &head, &payload_digest);
        }
        self.bytes += u64::from(head.stored_len) + RECORD_OVERHEAD;
        let chain = self.chain_next;
        let record = LogRecord {
            head,
            payload_digest,
            chain,
            charged,
            durable: false,
            sacked: false,
            cancelled: false,
            maybe_sent: false,
            carrier: 0,
            losses: 0,
        };
        self.records.push_back(record);
    }

    /// The entry of `seq` is durable; entries become durable in order.
    pub(crate) fn durable(&mut self, seq: u64) {
        self.durable_below = self.durable_below.max(seq + 1);
    }

    pub(crate) fn get(&self, seq: u64) -> Option<&LogRecord> {
        self.records.get(self.index(seq)?)
    }

    pub(crate) fn get_mut(&mut self, seq: u64) -> Option<&mut LogRecord> {
        let index = self.index(seq)?;
        self.records.get_mut(index)
    }

    fn index(&self, seq: u64) -> Option<usize> {
        usize::try_from(seq.checked_sub(self.una + 1)?).ok()
    }

    /// Whether the peer holds `seq`, as far as it said.
    pub(crate) fn is_held(&self, seq: u64) -> bool {
        seq <= self.una || self.get(seq).is_none_or(|record| record.sacked)
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &LogRecord> {
        self.records.iter()
    }

    /// A cumulative ack: the records it releases. An older one proves nothing.
    ///
    /// # Errors
    /// The alarm, if it contradicts my log. Nothing changed then.
    pub(crate) fn acknowledge(&mut self, cum: u64, chain: &[u8; 16]) -> Result<Vec<LogRecord>, Alarm> {
        if cum >= self.durable_below {
            return Err(Alarm::LogRolledBack { claimed: Seq::new(cum), next: Seq::new(self.durable_below) });
        }
        if cum < self.una {
            if mutated(Mutation::AckOverwritten) {
                self.una = cum;
            }
            return Ok(Vec::new());
        }
        let mine = if cum == self.una { self.chain_una } else { self.get(cum).map_or([0; 32], |record| record.chain) };
        if mine.first_chunk::<16>() != Some(chain) && !mutated(Mutation::ChainIgnored) {
            return Err(Alarm::ChainMismatch { cum: Seq::new(cum) });
        }
        Ok(self.release(cum))
    }

    /// Drops everything up to `cum`, which is proved.
    pub(crate) fn release(&mut self, cum: u64) -> Vec<LogRecord> {
        let count = self.index(cum).map_or(0, |index| (index + 1).min(self.records.len()));
        let released: Vec<LogRecord> = self.records.drain(..count).collect();
        if let Some(last) = released.last() {
            self.una = last.head.seq.get();
            self.chain_una = last.chain;
            self.sacked.remove_below(self.una + 1);
            self.entombed.remove_below(self.una + 1);
        }
        for record in &released {
            self.bytes = self.bytes.saturating_sub(u64::from(record.head.stored_len) + RECORD_OVERHEAD);
        }
        released
    }

    /// A selective ack: the records that it newly names. They are not released.
    ///
    /// # Errors
    /// The alarm, if it names a record that was never written.
    pub(crate) fn acknowledge_selectively(&mut self, ranges: &RangeSet) -> Result<Vec<u64>, Alarm> {
        if let Some(claimed) = ranges.max().filter(|max| *max >= self.durable_below) {
            return Err(Alarm::LogRolledBack { claimed: Seq::new(claimed), next: Seq::new(self.durable_below) });
        }
        let mut news = Vec::new();
        for (low, high) in ranges.iter() {
            // Only the parts that are new are walked: a peer repeats its list in every packet.
            for (from, to) in self.sacked.missing(low.max(self.una + 1), high) {
                news.extend(from..=to);
            }
            if high > self.una {
                self.sacked.insert_range(low.max(self.una + 1)..=high);
            }
        }
        for seq in &news {
            if let Some(record) = self.get_mut(*seq) {
                record.sacked = true;
            }
        }
        Ok(news)
    }

    /// The newest word of the peer is that it holds nothing right behind what I know to be released, and selectively only what is
    /// `listed`. If an earlier selective ack named more, the peer went back in time (RFC 2018, section 8): gives what it does not hold.
    pub(crate) fn reneged(&mut self, listed: Option<&RangeSet>) -> Vec<u64> {
        let first = self.una + 1;
        if !self.sacked.contains(first) {
            return Vec::new();
        }
        // A full list says nothing about what lies below it.
        let known_from = listed.filter(|list| list.len_ranges() >= MAX_RANGES).and_then(RangeSet::min).unwrap_or(0);
        let is_listed = |seq: u64| listed.is_some_and(|list| list.contains(seq));
        let gone = |seq: &u64| *seq == first || *seq >= known_from && !is_listed(*seq);
        let seqs: Vec<u64> = self.sacked.values().filter(gone).collect();
        for seq in &seqs {
            self.sacked.remove(*seq);
            if let Some(record) = self.get_mut(*seq) {
                (record.sacked, record.carrier) = (false, 0);
            }
        }
        seqs
    }

    /// The reset of a stream that is not durable yet.
    pub(crate) fn pending_reset(&self, stream: StreamId) -> Option<u64> {
        let pending = self.records.iter().rev().take_while(|record| !record.durable);
        let is_it = |head: &&RecordHeader| head.stream == stream && head.kind == wire::record::kind::RESET_STREAM;
        pending.map(|record| &record.head).find(is_it).map(|head| head.seq.get())
    }

    /// Gives up every record of a stream that carries content and is not known to be held; which ones that newly are.
    pub(crate) fn cancel(&mut self, stream: StreamId) -> Vec<u64> {
        let mut cancelled = Vec::new();
        for record in &mut self.records {
            if record.head.stream == stream && record.head.occupies() && !record.sacked && !record.cancelled {
                record.cancelled = true;
                cancelled.push(record.head.seq.get());
            }
        }
        cancelled
    }

    /// The peer took tombstones: those of records that are not released and that it did not name before.
    pub(crate) fn entomb(&mut self, ranges: &RangeSet) -> RangeSet {
        let mut news = RangeSet::new();
        let last = self.durable_below - 1;
        for (low, high) in ranges.iter() {
            let (low, high) = (low.max(self.una + 1), high.min(last));
            if low <= high {
                for (from, to) in self.entombed.missing(low, high) {
                    news.insert_range(from..=to);
                }
                self.entombed.insert_range(low..=high);
            }
        }
        news
    }

    /// Cost of the records that are charged and not released.
    pub(crate) fn charged(&self) -> u64 {
        self.records.iter().filter(|record| record.charged).map(|record| record.head.cost()).sum()
    }
}

/// What one stream of mine appended.
#[derive(Clone, Debug, Default)]
pub(crate) struct SendStream {
    /// Bytes appended.
    pub(crate) offset: u64,
    /// Credit of its own; 0: none.
    pub(crate) credit: u64,
    /// It ends where it is.
    pub(crate) reset: bool,
}

/// My streams that are not closed, and the exchanges I opened.
#[derive(Clone, Debug)]
pub(crate) struct SendStreams {
    pub(crate) open: BTreeMap<StreamId, SendStream>,
    /// The number of the next exchange.
    pub(crate) next_exchange: u64,
    /// Exchanges of mine that ended.
    pub(crate) closed: RangeSet,
    /// Numbers that were given out and never used: they are given out again, or each would use up an exchange for ever.
    free: BTreeSet<u64>,
}

impl Default for SendStreams {
    fn default() -> Self {
        Self { open: BTreeMap::new(), next_exchange: 1, closed: RangeSet::new(), free: BTreeSet::new() }
    }
}

impl SendStreams {
    /// A record of mine stands in the log.
    pub(crate) fn note(&mut self, head: &RecordHeader) {
        let (id, n) = (head.stream, head.stream.exchange());
        if !head.occupies() && head.kind != wire::record::kind::RESET_STREAM {
            return;
        }
        if id.is_request() {
            self.next_exchange = self.next_exchange.max(n + 1);
            if n > 0 && self.closed.contains(n) {
                return;
            }
        }
        let stream = self.open.entry(id).or_default();
        stream.offset = stream.offset.max(head.end());
        stream.reset |= head.kind == wire::record::kind::RESET_STREAM;
    }

    /// The request stream of a new exchange.
    pub(crate) fn open_exchange(&mut self) -> StreamId {
        let n = self.free.pop_first().unwrap_or_else(|| {
            let n = self.next_exchange.min(StreamId::MAX_EXCHANGE);
            self.next_exchange = n + 1;
            n
        });
        let stream = StreamId::request(n);
        self.open.entry(stream).or_default();
        stream
    }

    /// Gives a number back if nothing was ever written under it; whether that is so.
    pub(crate) fn give_back(&mut self, stream: StreamId) -> bool {
        let unused = self.open.get(&stream).is_some_and(|open| open.offset == 0 && !open.reset);
        if !unused || !stream.is_request() || stream == StreamId::NO_EXCHANGE {
            return false;
        }
        self.open.remove(&stream);
        self.free.insert(stream.exchange())
    }

    /// After a replay: numbers that no record used are free.
    pub(crate) fn find_free(&mut self) {
        let mut used = self.closed.clone();
        for (stream, open) in &self.open {
            if stream.is_request() && (open.offset > 0 || open.reset) {
                used.insert(stream.exchange());
            }
        }
        self.free = used.missing(1, self.next_exchange - 1).into_iter().flat_map(|(low, high)| low..=high).collect();
        self.open.retain(|stream, _| !stream.is_request() || !self.free.contains(&stream.exchange()));
    }

    /// Whether `stream` is a request of mine that may be written.
    pub(crate) fn is_own_request(&self, stream: StreamId) -> bool {
        stream.is_request() && stream.exchange() > 0 && self.open.contains_key(&stream)
    }
}

#[cfg(test)]
mod tests;
