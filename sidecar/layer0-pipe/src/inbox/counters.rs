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
    /// Packets closed as partial because their file was cut, by where: the first counts those of which less than a tenth
    /// of their length was there. Files cut within their prefix are not known for packets.
    pub cut_positions: [u64; CUT_POSITIONS],
}

/// Parts of a packet's length in which cuts are counted.
pub const CUT_POSITIONS: usize = 10;

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

    /// Counts a file of `len` octets that was to have `total_len`.
    pub(crate) fn count_cut(&mut self, len: u64, total_len: u64) {
        if len < total_len {
            let part = u128::from(len) * CUT_POSITIONS as u128 / u128::from(total_len);
            if let Some(count) = usize::try_from(part).ok().and_then(|part| self.cut_positions.get_mut(part)) {
                *count += 1;
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_counted_where_it_is() {
        let mut counters = Counters::default();
        for len in [0, 99, 100, 550, 999, 1_000, 2_000] {
            counters.count_cut(len, 1_000);
        }
        counters.count_cut(0, 0);
        counters.count_cut(u64::MAX - 1, u64::MAX);
        assert_eq!(counters.cut_positions, [2, 1, 0, 0, 0, 1, 0, 0, 0, 2]);
    }
}
