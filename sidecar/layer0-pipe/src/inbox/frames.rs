//! Reading the frames of one verified packet: checks 19 and 20.
//!
//! Invariants: a frame is read only when the file has all its bytes, one frame is in memory at a time, and it is
//! handed over once, the moment its digest verifies. A frame that does not verify means "not yet": it is tried again,
//! but a pass does not read through a preallocated rest each time one more frame was filled.
//! What this file does not do: decide when a packet is closed. Specification: wire format §11 checks 19 and 20,
//! protocol §1 "Completeness". Read first: `a_cut_at_every_boundary_yields_the_whole_frames_before_it`.

use std::io;

use bytes::Bytes;
use disk::dir::ReadFile;
use wire::Reject;
use wire::record::{Record, decode_frame};

use super::numbers::FrameSet;
use super::tracked::Open;
use crate::limits::{FAILURES_IN_A_ROW, SLICE_BYTES};
use crate::mutation::{Mutation, mutated};

/// Which missing frames a pass tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The first one, and the others only if it verifies.
    FirstMissing,
    /// The first one and those never tried; where gaps were filled also the next ones, until some in a row fail.
    Likely,
    /// All.
    AllMissing,
}

/// What one pass over the missing frames gave.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    /// Frames that verified.
    pub(crate) verified: u32,
    /// Records in those.
    pub(crate) records: u64,
    /// Stored bytes of the frames handed over.
    pub(crate) frame_bytes: u64,
    /// Frames handed over.
    pub(crate) handed_over: u64,
    /// Bytes read from the file.
    pub(crate) read: u64,
    /// Whether it stopped because other files have to get their turn.
    pub(crate) interrupted: bool,
    /// Frames of unknown kind, and frames that verified but are malformed.
    pub(crate) skipped: Vec<Reject>,
    /// Why the last frame failed that is whole in the file.
    pub(crate) failed: Option<Reject>,
}

/// Reads what can be read.
pub(crate) fn pass(
    open: &mut Open,
    frames: &mut FrameSet,
    file: &dyn ReadFile,
    max_frame: u64,
    reach: Reach,
    hand_over: &mut dyn FnMut(u32, Vec<Record>),
) -> io::Result<Pass> {
    let mut pass = Pass::default();
    let tried_before = open.attempted;
    let mut in_a_row = 0;
    let mut cursor = open.resume.take().unwrap_or(0);
    let resumed = cursor > 0;
    while let Some(index) = frames.first_missing(cursor) {
        let (Some(entry), Some(at)) = (open.table.entries.get(index as usize), open.table.offsets.get(index as usize))
        else {
            break;
        };
        if open.table.end_of(index).is_none_or(|end| end > file.len()) {
            break;
        }
        if pass.read >= SLICE_BYTES {
            pass.interrupted = true;
            open.resume = Some(index);
            break;
        }
        // Shorter if the file shrank: then its length is wrong, and so is the frame.
        let mut bytes = file.read_vec(*at, entry.stored_len as usize)?;
        pass.read += bytes.len() as u64;
        cursor = index + 1;
        open.attempted = open.attempted.max(cursor);
        let opened = open.table.opener.open(u64::from(index), entry, &mut bytes);
        if let Err(reject) = opened
            && !mutated(Mutation::FrameDigestUnchecked)
        {
            pass.failed = Some(reject);
            in_a_row += 1;
            let gaps_fill = pass.verified > 0 || resumed;
            match reach {
                Reach::FirstMissing if !gaps_fill => break,
                Reach::Likely if !gaps_fill || in_a_row >= FAILURES_IN_A_ROW => cursor = cursor.max(tried_before),
                Reach::FirstMissing | Reach::Likely | Reach::AllMissing => {}
            }
            continue;
        }
        in_a_row = 0;
        pass.verified += 1;
        match decode_frame(entry, &Bytes::from(bytes), max_frame) {
            Ok(records) => {
                frames.insert(index, false);
                pass.records += records.len() as u64;
                pass.frame_bytes += u64::from(entry.stored_len);
                if !records.is_empty() {
                    pass.handed_over += 1;
                    hand_over(index, records);
                }
            }
            Err(reject) => {
                frames.insert(index, reject != Reject::FrameKind);
                pass.skipped.push(reject);
            }
        }
    }
    Ok(pass)
}
