//! What an inbox counted since it was made.
//!
//! Invariants: a file that stays in the folder is counted once for the same length, not once per scan.
//! What this file does not do: export metrics. Specification: wire format §11 (the reject name is the metric label).
//! Read first: any test that compares `counters().reject(..)`.

use std::collections::BTreeMap;

use wire::Reject;

/// Counts of one inbox; all start at zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    rejects: BTreeMap<Reject, u64>,
    /// Files of packet names that came up in the folder.
    pub files_seen: u64,
    /// Packets whose prefix verified and that the driver wanted.
    pub packets_used: u64,
    /// Packets the driver ignored.
    pub packets_ignored: u64,
    /// Times the driver said that a packet has to wait.
    pub packets_waiting: u64,
    /// Packets closed as complete.
    pub complete: u64,
    /// Packets closed as partial.
    pub partial: u64,
    /// Packets closed as unopenable.
    pub unopenable: u64,
    /// Closed partial packets that gave more frames later.
    pub reopened: u64,
    /// Frames handed over.
    pub frames: u64,
    /// Records handed over.
    pub records: u64,
    /// Frames that were whole in the file and did not verify or decode when their packet was closed.
    pub bad_frames: u64,
    /// Files that repeat a closed packet.
    pub duplicates: u64,
    /// Files put aside because they cannot be used.
    pub quarantined: u64,
    /// Files removed from the folder.
    pub removed: u64,
    /// Files that came back after they were removed.
    pub reappeared: u64,
    /// Files that are not remembered because too many are.
    pub overflowed: u64,
    /// Bytes read from files.
    pub bytes_read: u64,
    /// Bytes of the frames handed over, as stored.
    pub frame_bytes: u64,
    /// Failures of the file system while listing, reading or removing.
    pub io_errors: u64,
}

impl Counters {
    /// How often this reject was counted.
    #[must_use]
    pub fn reject(&self, reject: Reject) -> u64 {
        self.rejects.get(&reject).copied().unwrap_or(0)
    }

    /// All rejects counted at least once, in the order of the checks.
    pub fn rejects(&self) -> impl Iterator<Item = (Reject, u64)> + '_ {
        self.rejects.iter().map(|(reject, count)| (*reject, *count))
    }

    pub(crate) fn count(&mut self, reject: Reject) {
        self.count_many(reject, 1);
    }

    pub(crate) fn count_many(&mut self, reject: Reject, times: u64) {
        if times > 0 {
            *self.rejects.entry(reject).or_insert(0) += times;
        }
    }
}
