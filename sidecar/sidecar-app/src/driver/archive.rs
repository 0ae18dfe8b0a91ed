//! Whole responses of associations that ended: stored results, and what a caller is still reading.
//!
//! Stream numbers begin anew with each association, so these are found by the lane they came by, whose epoch is over.
//! Invariants: every record held here pins its log segment once; nothing is here that is not whole from where its reader
//! is; their credit is a matter of the past. It does no I/O. Test to read first:
//! `a_response_is_read_by_the_lane_it_came_by`.

use std::collections::BTreeMap;

use layer2_http::operation::OperationId;

use crate::command::{Found, Lane, ReadReply};
use crate::spool::{Lookup, Spool};

/// A response.
#[derive(Debug)]
pub(super) struct Archived {
    pub(super) operation: OperationId,
    /// It is a stored result; else it goes with its reader.
    pub(super) kept: bool,
    spool: Spool,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Archive {
    responses: BTreeMap<Lane, Archived>,
    /// Sum over those that are stored results.
    kept_bytes: u64,
    /// For what a restart finds: below all that were given out, and far above those of associations.
    next_epoch: u32,
}

impl Default for Archive {
    fn default() -> Self {
        Self { responses: BTreeMap::new(), kept_bytes: 0, next_epoch: u32::MAX }
    }
}

impl Archive {
    /// Takes over a response, which `spool` holds alone.
    pub(super) fn insert(&mut self, lane: Lane, operation: OperationId, spool: Spool, kept: bool) {
        let archived = Archived { operation, kept, spool };
        self.kept_bytes += if kept { archived.bytes() } else { 0 };
        self.responses.insert(lane, archived);
    }

    /// Makes a response a stored result, if it is none.
    pub(super) fn keep(&mut self, lane: Lane) -> Option<OperationId> {
        let archived = self.responses.get_mut(&lane).filter(|archived| !archived.kept)?;
        archived.kept = true;
        self.kept_bytes += archived.bytes();
        Some(archived.operation)
    }

    /// Octets of stored results.
    pub(super) const fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// A lane that no association has.
    pub(super) fn lane_after_restart(&mut self, lane: Lane) -> Lane {
        let epoch = self.next_epoch;
        self.next_epoch -= 1;
        Lane { epoch, ..lane }
    }

    pub(super) fn get(&self, lane: Lane) -> Option<&Archived> {
        self.responses.get(&lane)
    }

    /// What a reader finds at an offset; nothing more ever arrives.
    pub(super) fn read(&self, lane: Lane, offset: u64, records_max: usize) -> ReadReply {
        let Some(archived) = self.responses.get(&lane) else { return ReadReply::Gone };
        match archived.spool.lookup(lane.stream, offset, records_max) {
            Lookup::Records(records) => ReadReply::Records(records),
            Lookup::Reset(code) => ReadReply::Reset { code },
            Lookup::Wait | Lookup::Gone => ReadReply::Gone,
        }
    }

    /// The record that holds the octet at an offset.
    pub(super) fn covering(&self, lane: Lane, offset: u64) -> Option<Found> {
        self.responses.get(&lane)?.spool.covering(lane.stream, offset)
    }

    /// Forgets a response; gives what was held of it.
    pub(super) fn remove(&mut self, lane: Lane) -> Vec<Found> {
        let Some(archived) = self.responses.remove(&lane) else { return Vec::new() };
        self.kept_bytes -= if archived.kept { archived.bytes() } else { 0 };
        archived.spool.records().copied().collect()
    }

    /// Every record with its operation, for a checkpoint.
    pub(super) fn records(&self) -> impl Iterator<Item = (Lane, OperationId, &Found)> {
        self.responses
            .iter()
            .flat_map(|(lane, archived)| archived.spool.records().map(|found| (*lane, archived.operation, found)))
    }
}

impl Archived {
    /// Octets of stored payload.
    fn bytes(&self) -> u64 {
        self.spool.records().map(|found| u64::from(found.head.stored_len)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use disk::log::Position;
    use wire::record::{RecordHeader, kind};
    use wire::{EndpointId, Seq, StreamId};

    #[test]
    fn a_response_is_read_by_the_lane_it_came_by() {
        let stream = StreamId::new(3).unwrap();
        let lane = Lane { peer: EndpointId::from_bytes([1; 16]), stream, epoch: 4 };
        let mut spool = Spool::default();
        for (offset, kind) in [(0, kind::HEAD), (5, kind::FIN)] {
            let head =
                RecordHeader { seq: Seq::new(offset + 1), stream, offset, raw_len: 5, stored_len: 5, kind, flags: 0 };
            let position = Position { segment: 1, offset: 64 };
            assert!(spool.add(Found { head, pd: [0; 32], position, credited: true }).is_none());
        }
        let mut archive = Archive::default();
        archive.insert(lane, OperationId::v7(1, &[0; 10]), spool, true);
        assert!(matches!(archive.read(lane, 0, 8), ReadReply::Records(found) if found.len() == 2));
        assert!(matches!(archive.read(lane, 10, 8), ReadReply::Gone), "nothing more arrives");
        assert!(matches!(archive.read(Lane { epoch: 5, ..lane }, 0, 8), ReadReply::Gone));
        let (first, second) = (archive.lane_after_restart(lane), archive.lane_after_restart(lane));
        assert!(first != second && first.epoch > 1_000);
        assert_eq!(archive.kept_bytes(), 10);
        assert_eq!(archive.remove(lane).len(), 2);
        assert_eq!(archive.kept_bytes(), 0);
        assert_eq!(archive.records().count(), 0);
    }
}
