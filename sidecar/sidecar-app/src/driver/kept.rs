//! Requests of mine that may be needed again: where their records lie, until their response is whole here.
//!
//! A request that the far side acknowledged is released by layer 1; if the far side then loses its state, only this knows it
//! still. Invariants: every record held here pins its log segment once, besides what `Slot::sent` pins; a request of which
//! a record is missing is not intact, and is never sent again in part. It decides nothing: `closing.rs` does.
//! Test to read first: `a_request_is_intact_until_a_record_of_it_goes`.

use std::collections::VecDeque;

use disk::log::Position;
use layer2_http::bhttp::SectionLimit;
use layer2_http::head::RequestHead;
use wire::record::{RecordHeader, kind};
use wire::{Digest, Seq};

use super::journal::Journal;
use crate::command::Found;

/// The records of one request.
#[derive(Debug, Default)]
pub(super) struct KeptRequest {
    /// Appended to the stream that the operation goes by, in order.
    appended: Vec<Found>,
    /// Of the association before: still to be appended, in order.
    to_copy: VecDeque<Found>,
    /// So many of these layer 1 has already; their places are still to come.
    copying: usize,
    /// Octets of it that layer 1 does not count any more.
    released_bytes: u64,
    /// What was appended is not held: it cannot be appended again.
    broken: bool,
    /// Digest of a head that took the place of the caller's.
    head: Option<Digest>,
}

impl KeptRequest {
    /// A record was appended to the operation's stream: the next one of those to be copied, if there are any.
    pub(super) fn append(&mut self, record: Found) -> Kept {
        self.copying = self.copying.saturating_sub(1);
        let instead_of = self.to_copy.pop_front();
        if !self.broken {
            self.appended.push(record);
        }
        Kept { held: !self.broken, instead_of }
    }

    /// From a checkpoint.
    pub(super) fn restore(&mut self, record: Found, to_copy: bool) {
        if to_copy { self.to_copy.push_back(record) } else { self.appended.push(record) }
    }

    /// The association ended: all of it would have to be appended again.
    pub(super) fn association_closed(&mut self) {
        let rest = std::mem::take(&mut self.to_copy);
        self.to_copy = self.appended.drain(..).chain(rest).collect();
        (self.released_bytes, self.copying, self.head) = (0, 0, None);
    }

    /// Every record from the head on is here.
    pub(super) fn is_intact(&self) -> bool {
        !self.broken && self.records().next().is_some_and(|(record, _)| record.head.kind == kind::HEAD)
    }

    /// Nothing of it is missing, and nothing of it was appended to an earlier association.
    pub(super) fn is_unsent(&self) -> bool {
        self.is_intact() && self.to_copy.is_empty()
    }

    /// It is here from its head to its end.
    pub(super) fn is_whole(&self) -> bool {
        self.is_intact() && self.records().last().is_some_and(|(record, _)| record.head.kind == kind::FIN)
    }

    /// The next record to be appended; it counts as given to layer 1 from now on.
    pub(super) fn begin_copy(&mut self) -> Option<Found> {
        let next = self.to_copy.get(self.copying).copied()?;
        self.copying += 1;
        Some(next)
    }

    /// The head that its end must name, if it may be another than the caller wrote.
    pub(super) fn head(&self) -> Option<Digest> {
        let appended = self.appended.first().filter(|record| record.head.kind == kind::HEAD);
        self.head.or(appended.map(|record| record.pd))
    }

    /// This head was appended in the place of the caller's.
    pub(super) fn begins_with(&mut self, head: Digest) {
        self.head = Some(head);
    }

    /// Layer 1 did not take what [`Self::begin_copy`] gave last.
    pub(super) fn put_back(&mut self) {
        self.copying = self.copying.saturating_sub(1);
    }

    /// What is to be copied is the rest of a whole request.
    pub(super) fn copies_to_end(&self) -> bool {
        self.to_copy.back().is_some_and(|last| last.head.kind == kind::FIN)
    }

    /// Something is still to be given to layer 1.
    pub(super) fn copies(&self) -> bool {
        self.copying < self.to_copy.len()
    }

    /// Nothing of it stands in the present association yet.
    pub(super) fn is_unbegun(&self) -> bool {
        self.appended.is_empty()
            && self.copying == 0
            && self.to_copy.front().is_some_and(|first| first.head.kind == kind::HEAD)
    }

    /// Its records, and whether each is still to be copied.
    pub(super) fn records(&self) -> impl Iterator<Item = (&Found, bool)> {
        self.appended.iter().map(|record| (record, false)).chain(self.to_copy.iter().map(|record| (record, true)))
    }

    /// True if one of these records of the present association is among its own.
    pub(super) fn any_appended(&self, among: impl Fn(Seq) -> bool) -> bool {
        self.appended.iter().any(|record| among(record.head.seq))
    }

    /// Layer 1 does not count this record any more; true if it is held.
    pub(super) fn released(&mut self, seq: Seq) -> Option<u64> {
        // They are released in order, but the first ones are the likely ones to be asked for.
        let at = self.appended.binary_search_by_key(&seq, |record| record.head.seq).ok()?;
        let bytes = u64::from(self.appended[at].head.stored_len);
        self.released_bytes += bytes;
        Some(bytes)
    }

    /// After a replay: everything up to here is released.
    pub(super) fn released_up_to(&mut self, una: Seq) {
        let released = self.appended.iter().filter(|record| record.head.seq <= una);
        self.released_bytes = released.map(|record| u64::from(record.head.stored_len)).sum();
    }

    pub(super) fn released_bytes(&self) -> u64 {
        self.released_bytes
    }

    /// Where a record that was appended lies.
    pub(super) fn place(&self, seq: Seq) -> Option<Position> {
        let at = self.appended.binary_search_by_key(&seq, |record| record.head.seq).ok()?;
        Some(self.appended[at].position)
    }

    /// A record that was appended lies elsewhere; gives its place before, if it is held.
    pub(super) fn move_to(&mut self, head: &RecordHeader, to: Position) -> Option<Position> {
        let at = self.appended.binary_search_by_key(&head.seq, |record| record.head.seq).ok()?;
        let record = self.appended.get_mut(at).filter(|record| record.head == *head)?;
        Some(std::mem::replace(&mut record.position, to))
    }

    /// It is not needed any more, or not kept any longer.
    pub(super) fn give_up(&mut self, journal: &mut Journal) {
        for (record, _) in self.records() {
            journal.unpin(record.position);
        }
        *self = Self { broken: true, head: self.head, ..Self::default() };
    }

    /// What was appended is not kept any longer; what is to be copied is.
    pub(super) fn give_appended_up(&mut self, journal: &mut Journal) {
        for record in &self.appended {
            journal.unpin(record.position);
        }
        self.forget_appended();
    }

    /// As [`Self::give_appended_up`], while nothing is pinned.
    pub(super) fn forget_appended(&mut self) {
        self.appended = Vec::new();
        (self.released_bytes, self.broken) = (0, true);
    }
}

/// The head of a request of mine, from its record in the log: whatever bound it was taken under, it was taken.
pub(super) fn own_head(payload: &[u8]) -> Option<RequestHead> {
    RequestHead::decode_within(payload, SectionLimit::new(usize::MAX)).ok()
}

/// What became of a record that was appended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    /// It is held.
    pub(super) held: bool,
    /// It is a copy of this one, which is not held any more.
    pub(super) instead_of: Option<Found>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::StreamId;

    fn record(seq: u64, kind: u8) -> Found {
        let stream = StreamId::request(1);
        let head =
            RecordHeader { seq: Seq::new(seq), stream, offset: seq, raw_len: 10, stored_len: 10, kind, flags: 0 };
        Found { head, pd: [0; 32], position: Position { segment: 1, offset: seq as u32 }, credited: false }
    }

    #[test]
    fn a_request_is_intact_until_a_record_of_it_goes() {
        let mut request = KeptRequest::default();
        assert!(!request.is_intact());
        for (seq, kind) in [(3, kind::HEAD), (5, kind::DATA)] {
            assert!(matches!(request.append(record(seq, kind)), Kept { held: true, instead_of: None }));
        }
        assert!(request.is_intact() && !request.is_whole());
        request.append(record(9, kind::FIN));
        assert!(request.is_whole() && !request.is_unbegun());
        assert_eq!((request.released(Seq::new(5)), request.released(Seq::new(4))), (Some(10), None));
        assert_eq!(request.released_bytes(), 10);
        request.forget_appended();
        assert!(!request.is_intact());
        assert!(matches!(request.append(record(10, kind::DATA)), Kept { held: false, instead_of: None }));
    }

    #[test]
    fn a_request_that_is_copied_is_one_request_whenever_the_association_ends() {
        let mut request = KeptRequest::default();
        for (seq, kind) in [(3, kind::HEAD), (5, kind::DATA), (9, kind::FIN)] {
            request.append(record(seq, kind));
        }
        request.association_closed();
        assert!(request.is_whole() && request.is_unbegun());
        assert_eq!(request.begin_copy().unwrap().head.seq, Seq::new(3));
        assert_eq!(request.begin_copy().unwrap().head.seq, Seq::new(5));
        request.put_back();
        assert!(request.copies() && !request.is_unbegun());
        assert_eq!(request.append(record(1, kind::HEAD)).instead_of.unwrap().head.seq, Seq::new(3));
        assert!(request.is_whole() && !request.is_unbegun());
        request.association_closed();
        let all: Vec<_> = request.records().map(|(record, to_copy)| (record.head.seq.get(), to_copy)).collect();
        assert_eq!(all, [(1, true), (5, true), (9, true)]);
    }

    #[test]
    fn what_is_still_to_be_copied_is_kept_when_what_was_copied_is_not() {
        let mut request = KeptRequest::default();
        for (seq, kind) in [(3, kind::HEAD), (5, kind::DATA), (9, kind::FIN)] {
            request.append(record(seq, kind));
        }
        request.association_closed();
        request.append(record(1, kind::HEAD));
        request.forget_appended();
        assert!(!request.is_intact() && !request.is_unbegun() && request.copies_to_end());
        assert_eq!(request.begin_copy().unwrap().head.seq, Seq::new(5));
        let kept = request.append(record(2, kind::DATA));
        assert!(!kept.held && kept.instead_of.is_some());
        assert_eq!(request.records().count(), 1);
    }
}
