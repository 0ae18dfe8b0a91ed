//! The index of received records that are still needed: which log entry holds what of which stream.
//!
//! Payloads stay in the log; this holds their places only. A stream's records are ordered by their offset, so records
//! that arrived out of order need no special care: a reader asks for an offset and gets what is there.
//!
//! Invariants: every record held here pins its log segment exactly once; whatever leaves is returned to the caller, who
//! unpins it and gives its credit back. It does no I/O. Test to read first: `records_are_found_by_offset_in_any_order`.

use std::collections::BTreeMap;

use disk::log::Position;
use wire::StreamId;
use wire::record::RecordHeader;

use crate::command::Found;

/// The received records of one peer.
#[derive(Debug, Default)]
pub struct Spool {
    streams: BTreeMap<StreamId, SpooledStream>,
    /// Sum over the streams.
    result_bytes: u64,
}

#[derive(Debug, Default)]
struct SpooledStream {
    records: BTreeMap<u64, Found>,
    reset: Option<u64>,
    /// Nobody will read this stream: what arrives is given up at once.
    discard: bool,
    /// A stored result: readers leave it where it is.
    kept: bool,
    /// Offset of the FIN, once it arrived.
    fin_at: Option<u64>,
    /// Everything below was given up.
    taken: u64,
    /// Everything below is here or was.
    whole_to: u64,
    /// Stored octets of the records here whose credit was given back.
    credited_bytes: u64,
}

impl SpooledStream {
    /// Octets that count as a stored result.
    const fn result_bytes(&self) -> u64 {
        if self.kept { self.credited_bytes } else { 0 }
    }

    /// These records left it.
    fn without(&mut self, records: BTreeMap<u64, Found>) -> Vec<Found> {
        let credited = records.values().filter(|found| found.credited);
        self.credited_bytes -= credited.map(|found| u64::from(found.head.stored_len)).sum::<u64>();
        records.into_values().collect()
    }

    fn extend_whole(&mut self) {
        while let Some(found) = self.records.get(&self.whole_to) {
            self.whole_to += u64::from(found.head.raw_len);
        }
    }
}

/// What a reader finds at an offset.
#[derive(Debug)]
pub enum Lookup {
    /// At least one record.
    Records(Vec<Found>),
    /// Not there yet.
    Wait,
    /// The stream was reset by its sender, and everything before is read.
    Reset(u64),
    /// Nobody knows this stream.
    Gone,
}

impl Spool {
    /// Octets of stored results: what is here of kept streams and holds no credit any more.
    pub fn result_bytes(&self) -> u64 {
        self.result_bytes
    }

    /// Changes a stream that is known, and the sum with it.
    fn change<T: Default>(&mut self, stream: StreamId, change: impl FnOnce(&mut SpooledStream) -> T) -> T {
        let Some(spooled) = self.streams.get_mut(&stream) else { return T::default() };
        self.result_bytes -= spooled.result_bytes();
        let changed = change(spooled);
        self.result_bytes += spooled.result_bytes();
        changed
    }

    /// Makes a stream known before its first record.
    pub fn open(&mut self, stream: StreamId) {
        self.streams.entry(stream).or_default();
    }

    /// Takes a durable record. Returns it back when it is not wanted: the stream is discarded.
    #[must_use]
    pub fn add(&mut self, found: Found) -> Option<Found> {
        let stream = found.head.stream;
        self.open(stream);
        self.change(stream, |spooled| {
            if found.head.kind == wire::record::kind::FIN {
                spooled.fin_at = Some(found.head.offset);
            }
            if spooled.discard {
                return Some(found);
            }
            let before = spooled.records.remove(&found.head.offset).map(|before| (found.head.offset, before));
            spooled.records.insert(found.head.offset, found);
            spooled.extend_whole();
            spooled.without(before.into_iter().collect()).pop()
        })
    }

    /// The records from `offset` on that follow one another, at most `records_max`.
    pub fn lookup(&self, stream: StreamId, offset: u64, records_max: usize) -> Lookup {
        let Some(spooled) = self.streams.get(&stream) else { return Lookup::Gone };
        let mut found = Vec::new();
        let mut next = offset;
        for (at, record) in spooled.records.range(offset..).take(records_max.max(1)) {
            if *at != next {
                break;
            }
            found.push(*record);
            next += u64::from(record.head.raw_len);
        }
        match (found.is_empty(), spooled.reset) {
            (false, _) => Lookup::Records(found),
            (true, Some(code)) => Lookup::Reset(code),
            (true, None) if spooled.discard => Lookup::Gone,
            (true, None) => Lookup::Wait,
        }
    }

    /// Notes that the sender reset the stream. False when the stream is not known.
    pub fn reset(&mut self, stream: StreamId, code: u64) -> bool {
        match self.streams.get_mut(&stream) {
            Some(spooled) => {
                spooled.reset.get_or_insert(code);
                true
            }
            None => false,
        }
    }

    /// The code of the stream's reset.
    pub fn reset_code(&self, stream: StreamId) -> Option<u64> {
        self.streams.get(&stream)?.reset
    }

    /// Everything of the stream below this offset was given up.
    pub fn taken(&self, stream: StreamId) -> u64 {
        self.streams.get(&stream).map_or(0, |spooled| spooled.taken)
    }

    /// Takes out what lies before `offset`.
    #[must_use]
    pub fn take_below(&mut self, stream: StreamId, offset: u64) -> Vec<Found> {
        self.change(stream, |spooled| {
            let kept = spooled.records.split_off(&offset);
            spooled.taken = spooled.taken.max(offset);
            spooled.whole_to = spooled.whole_to.max(offset);
            let taken = std::mem::replace(&mut spooled.records, kept);
            spooled.extend_whole();
            spooled.without(taken)
        })
    }

    /// Gives the stream up: takes out everything, and whatever still arrives is refused.
    #[must_use]
    pub fn discard(&mut self, stream: StreamId) -> Vec<Found> {
        self.open(stream);
        self.change(stream, |spooled| {
            spooled.discard = true;
            let left = std::mem::take(&mut spooled.records);
            spooled.without(left)
        })
    }

    /// Makes the stream a stored result, or ends that.
    pub fn keep(&mut self, stream: StreamId, kept: bool) {
        self.open(stream);
        self.change(stream, |spooled| spooled.kept = kept);
    }

    /// True for a stored result.
    pub fn kept(&self, stream: StreamId) -> bool {
        self.streams.get(&stream).is_some_and(|spooled| spooled.kept)
    }

    /// True when nothing more will arrive: its FIN or its reset is here.
    pub fn ended(&self, stream: StreamId) -> bool {
        self.streams.get(&stream).is_none_or(|spooled| spooled.fin_at.is_some() || spooled.reset.is_some())
    }

    /// True when the FIN and everything before it is here, or was.
    pub fn complete(&self, stream: StreamId) -> bool {
        self.streams.get(&stream).is_some_and(|spooled| spooled.fin_at.is_some_and(|fin_at| spooled.whole_to > fin_at))
    }

    /// Forgets the stream; returns what was left of it.
    #[must_use]
    pub fn forget(&mut self, stream: StreamId) -> Vec<Found> {
        let left = self.change(stream, |spooled| {
            let left = std::mem::take(&mut spooled.records);
            spooled.without(left)
        });
        self.streams.remove(&stream);
        left
    }

    /// Takes a stream out, with all that is known of it.
    #[must_use]
    pub fn split_off(&mut self, stream: StreamId) -> Self {
        let streams: BTreeMap<_, _> = self.streams.remove_entry(&stream).into_iter().collect();
        let result_bytes = streams.values().map(SpooledStream::result_bytes).sum();
        self.result_bytes -= result_bytes;
        Self { streams, result_bytes }
    }

    /// True while anything of the stream is known.
    pub fn knows(&self, stream: StreamId) -> bool {
        self.streams.contains_key(&stream)
    }

    /// The first record of a stream, if it is here.
    pub fn first(&self, stream: StreamId) -> Option<Found> {
        self.streams.get(&stream)?.records.get(&0).copied()
    }

    /// The record of a whole stream that holds the octet at an offset, or the last one before it.
    pub fn covering(&self, stream: StreamId, offset: u64) -> Option<Found> {
        let spooled = self.streams.get(&stream).filter(|_| self.complete(stream))?;
        spooled.records.range(..=offset).next_back().map(|(_, found)| *found)
    }

    /// Where the record at an offset lies.
    pub fn place(&self, stream: StreamId, offset: u64) -> Option<Position> {
        Some(self.streams.get(&stream)?.records.get(&offset)?.position)
    }

    /// The record lies elsewhere now. False when it is not held.
    pub fn move_to(&mut self, head: &RecordHeader, position: Position) -> bool {
        let record = self.streams.get_mut(&head.stream).and_then(|stream| stream.records.get_mut(&head.offset));
        match record.filter(|found| found.head.seq == head.seq) {
            Some(found) => {
                found.position = position;
                true
            }
            None => false,
        }
    }

    /// The known streams.
    pub fn streams(&self) -> impl Iterator<Item = StreamId> + '_ {
        self.streams.keys().copied()
    }

    /// Every record held, for a checkpoint.
    pub fn records(&self) -> impl Iterator<Item = &Found> {
        self.streams.values().flat_map(|spooled| spooled.records.values())
    }

    /// Streams that are known for more than their records: their state for a checkpoint.
    pub fn marks(&self) -> impl Iterator<Item = StreamMark> + '_ {
        self.streams.iter().map(|(stream, spooled)| StreamMark {
            stream: *stream,
            reset: spooled.reset,
            discard: spooled.discard,
            fin_at: spooled.fin_at,
            taken: spooled.taken,
        })
    }

    /// Restores what [`Self::marks`] gave.
    pub fn restore_mark(&mut self, mark: StreamMark) {
        let spooled = self.streams.entry(mark.stream).or_default();
        spooled.reset = mark.reset;
        spooled.discard = mark.discard;
        spooled.fin_at = mark.fin_at;
        spooled.taken = mark.taken;
        spooled.whole_to = spooled.whole_to.max(mark.taken);
        spooled.extend_whole();
    }

    /// Octets of content held of one stream, as credit counts them.
    pub fn stream_raw_bytes(&self, stream: StreamId) -> u64 {
        self.streams
            .get(&stream)
            .map_or(0, |spooled| spooled.records.values().map(|found| u64::from(found.head.raw_len)).sum())
    }

    /// The records of one stream whose credit was not given back yet; they count as given back from now on.
    #[must_use]
    pub fn take_credit(&mut self, stream: StreamId) -> Vec<Found> {
        self.change(stream, |spooled| {
            let mut due = Vec::new();
            for found in spooled.records.values_mut().filter(|found| !found.credited) {
                found.credited = true;
                spooled.credited_bytes += u64::from(found.head.stored_len);
                due.push(*found);
            }
            due
        })
    }
}

/// A stream's state besides its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamMark {
    /// Which stream.
    pub stream: StreamId,
    /// The code of its reset.
    pub reset: Option<u64>,
    /// Nobody reads it.
    pub discard: bool,
    /// Where its FIN lies.
    pub fin_at: Option<u64>,
    /// Everything below was given up.
    pub taken: u64,
}

#[cfg(test)]
mod tests {
    //! The index alone, without a log.
    use super::*;
    use wire::Seq;
    use wire::record::kind;

    fn stream() -> StreamId {
        StreamId::new(6).unwrap()
    }

    fn found(offset: u64, len: u32, kind: u8) -> Found {
        let head = RecordHeader {
            seq: Seq::new(offset + 1),
            stream: stream(),
            offset,
            raw_len: len,
            stored_len: len,
            kind,
            flags: 0,
        };
        Found { head, pd: [0; 32], position: Position { segment: 1, offset: 64 }, credited: false }
    }

    #[test]
    fn records_are_found_by_offset_in_any_order() {
        let mut spool = Spool::default();
        assert!(spool.add(found(10, 5, kind::DATA)).is_none());
        assert!(matches!(spool.lookup(stream(), 0, 8), Lookup::Wait));
        assert!(spool.add(found(0, 10, kind::HEAD)).is_none());
        let Lookup::Records(records) = spool.lookup(stream(), 0, 8) else { panic!("both are there") };
        assert_eq!(records.len(), 2);
        assert!(!spool.complete(stream()));
        assert!(spool.add(found(15, 40, kind::FIN)).is_none());
        assert!(spool.complete(stream()));
        assert_eq!(spool.take_below(stream(), 15).len(), 2);
        assert!(spool.complete(stream()));
    }

    #[test]
    fn the_record_of_an_octet_is_found_once_the_stream_is_whole() {
        let mut spool = Spool::default();
        assert!(spool.add(found(0, 10, kind::HEAD)).is_none());
        assert!(spool.add(found(10, 5, kind::DATA)).is_none());
        assert!(spool.covering(stream(), 3).is_none(), "more may come");
        assert!(spool.add(found(15, 40, kind::FIN)).is_none());
        for (offset, begins) in [(0, 0), (9, 0), (10, 10), (14, 10), (15, 15), (u64::MAX, 15)] {
            assert_eq!(spool.covering(stream(), offset).map(|found| found.head.offset), Some(begins), "{offset}");
        }
    }

    #[test]
    fn discarded_stream_refuses_what_still_arrives() {
        let mut spool = Spool::default();
        assert!(spool.add(found(0, 10, kind::HEAD)).is_none());
        assert_eq!(spool.discard(stream()).len(), 1);
        assert!(spool.add(found(10, 5, kind::DATA)).is_some());
        assert!(!spool.ended(stream()));
        assert!(spool.add(found(15, 40, kind::FIN)).is_some());
        assert!(spool.ended(stream()));
    }

    #[test]
    fn stored_results_count_from_their_credit_until_they_leave_however_that_is() {
        let three = || {
            let mut spool = Spool::default();
            for offset in [0, 10, 20] {
                assert!(spool.add(found(offset, 10, kind::DATA)).is_none());
            }
            spool.keep(stream(), true);
            assert_eq!(spool.result_bytes(), 0, "credit is held");
            assert_eq!(spool.take_credit(stream()).len(), 3);
            assert!(spool.add(found(30, 10, kind::DATA)).is_none());
            assert_eq!(spool.result_bytes(), 30);
            spool
        };
        let mut spool = three();
        assert_eq!((spool.take_below(stream(), 10).len(), spool.result_bytes()), (1, 20));
        assert_eq!((spool.take_credit(stream()).len(), spool.result_bytes()), (1, 30));
        spool.keep(stream(), false);
        assert_eq!(spool.result_bytes(), 0, "it is no result");
        spool.keep(stream(), true);
        assert_eq!((spool.discard(stream()).len(), spool.result_bytes()), (3, 0));
        let mut spool = three();
        assert_eq!((spool.forget(stream()).len(), spool.result_bytes()), (4, 0));
        assert!(!spool.knows(stream()) && spool.forget(stream()).is_empty());
    }

    #[test]
    fn reset_is_seen_after_what_came_before_it() {
        let mut spool = Spool::default();
        assert!(spool.add(found(0, 10, kind::HEAD)).is_none());
        assert!(spool.reset(stream(), 7));
        assert!(matches!(spool.lookup(stream(), 0, 8), Lookup::Records(_)));
        assert!(matches!(spool.lookup(stream(), 10, 8), Lookup::Reset(7)));
    }
}
