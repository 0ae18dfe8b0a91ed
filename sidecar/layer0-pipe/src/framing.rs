//! Which records share a frame: large DATA records alone as chunks, all others greedily in batches.
//!
//! Invariants: every record is in exactly one frame; sequence numbers in a batch ascend and span less than 65,536;
//! a batch stays within the wanted size and within the raw size every reader takes, unless one record alone is
//! larger. Batches come first: they are small and urgent, and a cut file loses its tail.
//! What this file does not do: read payloads or compute digests.
//! Specification: wire format §8, §9, protocol §1 "Frame". Read first: `large_data_is_alone_and_the_rest_is_batched`.

use wire::RecordHeader;
use wire::limits::{MAX_BATCH_RECORDS, MAX_BATCH_SPAN, MAX_FRAMES, MIN_MAX_FRAME};
use wire::record::{RECORD_HEADER_LEN, kind};

use crate::limits::CHUNK_FROM_BYTES;
use crate::outbox::PlannedRecord;

/// One frame, as places in the plan's list of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// One DATA record.
    Chunk(usize),
    /// Records of ascending sequence number.
    Batch(Vec<usize>),
}

/// The packet would need more frames than the format has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyFrames;

/// Arranges records in frames.
pub(crate) fn arrange(records: &[PlannedRecord], frame_bytes: usize) -> Result<Vec<Frame>, TooManyFrames> {
    let (chunks, mut small): (Vec<usize>, Vec<usize>) =
        (0..records.len()).partition(|index| records.get(*index).is_some_and(|record| is_chunk(&record.head)));
    small.sort_by_key(|index| records.get(*index).map(|record| record.head.seq));
    let mut frames = Vec::new();
    let mut batch = Batch::default();
    for index in small {
        let Some(record) = records.get(index) else { continue };
        if !batch.takes(&record.head, frame_bytes) {
            frames.push(Frame::Batch(std::mem::take(&mut batch).members));
        }
        batch.add(index, &record.head);
    }
    if !batch.members.is_empty() {
        frames.push(Frame::Batch(batch.members));
    }
    frames.extend(chunks.into_iter().map(Frame::Chunk));
    if frames.len() > MAX_FRAMES as usize { Err(TooManyFrames) } else { Ok(frames) }
}

const fn is_chunk(head: &RecordHeader) -> bool {
    head.kind == kind::DATA && head.stored_len >= CHUNK_FROM_BYTES
}

#[derive(Debug, Default)]
struct Batch {
    members: Vec<usize>,
    first_seq: u64,
    last_seq: u64,
    bytes: usize,
    raw: u64,
}

impl Batch {
    fn takes(&self, head: &RecordHeader, frame_bytes: usize) -> bool {
        let seq = head.seq.get();
        self.members.is_empty()
            || (seq > self.last_seq
                && seq - self.first_seq <= MAX_BATCH_SPAN
                && (self.members.len() as u64) < MAX_BATCH_RECORDS
                && self.bytes + size(head) <= frame_bytes
                && self.raw + u64::from(head.raw_len) <= MIN_MAX_FRAME)
    }

    fn add(&mut self, index: usize, head: &RecordHeader) {
        if self.members.is_empty() {
            self.first_seq = head.seq.get();
        }
        self.last_seq = head.seq.get();
        self.bytes += size(head);
        self.raw += u64::from(head.raw_len);
        self.members.push(index);
    }
}

const fn size(head: &RecordHeader) -> usize {
    RECORD_HEADER_LEN + head.stored_len as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::planned;

    fn seqs(records: &[PlannedRecord], frame: &Frame) -> Vec<u64> {
        match frame {
            Frame::Chunk(index) => vec![records[*index].head.seq.get()],
            Frame::Batch(members) => members.iter().map(|index| records[*index].head.seq.get()).collect(),
        }
    }

    #[test]
    fn large_data_is_alone_and_the_rest_is_batched() {
        let records = [
            planned(1, kind::HEAD, 300),
            planned(2, kind::DATA, 65_536),
            planned(3, kind::DATA, 65_535),
            planned(4, kind::HEAD, 70_000),
        ];
        let frames = arrange(&records, 262_144).unwrap();
        assert_eq!(frames, [Frame::Batch(vec![0, 2, 3]), Frame::Chunk(1)]);
    }

    #[test]
    fn batches_stay_within_the_wanted_size() {
        let records: Vec<_> = (1..=1_000).map(|seq| planned(seq, kind::DATA, 1_024)).collect();
        let frames = arrange(&records, 262_144).unwrap();
        assert_eq!(frames.len(), 4); // 250 of 1,048 bytes each
        assert_eq!(frames.iter().map(|frame| seqs(&records, frame).len()).collect::<Vec<_>>(), [250; 4]);
    }

    #[test]
    fn a_record_beyond_the_wanted_size_has_a_batch_of_its_own() {
        let records = [planned(1, kind::HEAD, 10), planned(2, kind::HEAD, 900_000), planned(3, kind::HEAD, 10)];
        let frames = arrange(&records, 262_144).unwrap();
        assert_eq!(frames, [Frame::Batch(vec![0]), Frame::Batch(vec![1]), Frame::Batch(vec![2])]);
    }

    #[test]
    fn records_in_any_order_ascend_in_their_batch() {
        let records = [planned(9, kind::HEAD, 10), planned(2, kind::HEAD, 10), planned(5, kind::HEAD, 10)];
        let frames = arrange(&records, 262_144).unwrap();
        assert_eq!(frames.iter().map(|frame| seqs(&records, frame)).collect::<Vec<_>>(), [vec![2, 5, 9]]);
    }

    #[test]
    fn a_gap_beyond_16_bits_begins_a_new_batch() {
        let records = [planned(1, kind::HEAD, 10), planned(65_536, kind::HEAD, 10), planned(65_537, kind::HEAD, 10)];
        let frames = arrange(&records, 262_144).unwrap();
        assert_eq!(frames, [Frame::Batch(vec![0, 1]), Frame::Batch(vec![2])]);
    }

    #[test]
    fn inflated_sizes_stay_within_what_every_reader_takes() {
        let mut records: Vec<_> = (1..=4).map(|seq| planned(seq, kind::DATA, 1_000)).collect();
        for record in &mut records {
            record.head.raw_len = 1 << 20;
        }
        assert_eq!(arrange(&records, 262_144).unwrap().len(), 2);
    }

    #[test]
    fn more_frames_than_the_format_has_are_refused() {
        let records: Vec<_> = (0..=u64::from(MAX_FRAMES)).map(|n| planned(1 + n * 65_536, kind::HEAD, 1)).collect();
        assert_eq!(arrange(&records, 262_144), Err(TooManyFrames));
    }

    #[test]
    fn no_records_need_no_frame() {
        assert_eq!(arrange(&[], 262_144), Ok(vec![]));
    }
}
