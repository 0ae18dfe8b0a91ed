//! Making a new segment: header and checkpoint under a name that means nothing, then the name.
//!
//! Invariant: when a file gets its final name, its header and checkpoint are whole and durable; when this
//! returns well, so is the name. A failure leaves no file, or one that the next open removes. Test:
//! `log/tests/crash.rs`.

use super::error::LogError;
use super::format::{self, KIND_CHECKPOINT_BEGIN, KIND_CHECKPOINT_END};
use super::position::Position;
use super::segment::Segment;
use super::storage::Storage;

/// Creates segment `number` with this checkpoint and returns the positions of its entries.
pub(super) fn create_segment(
    storage: &dyn Storage,
    owner: [u8; 16],
    number: u64,
    entries: impl Iterator<Item = (u8, Vec<u8>)>,
) -> Result<(Segment, Vec<Position>), LogError> {
    let prepared = format::prepared_name(number);
    let name = format::segment_name(number);
    storage.remove(&prepared).map_err(|e| LogError::io(storage.describe(&prepared), "remove this leftover", e))?;
    let made = write_segment(storage, owner, number, entries).and_then(|made| {
        let renamed = storage.rename(&prepared, &name);
        renamed.map_err(|e| LogError::write(storage.describe(&name), "give this name", e))?;
        Ok(made)
    });
    let (mut segment, positions) = made.inspect_err(|_| {
        // If this fails too, the next open or roll removes it.
        let _ = storage.remove(&prepared);
    })?;
    storage.sync_dir().map_err(|e| LogError::io(storage.describe(&name), "make this name durable", e))?;
    segment.set_path(storage.describe(&name));
    Ok((segment, positions))
}

fn write_segment(
    storage: &dyn Storage,
    owner: [u8; 16],
    number: u64,
    entries: impl Iterator<Item = (u8, Vec<u8>)>,
) -> Result<(Segment, Vec<Position>), LogError> {
    let mut segment = Segment::create(storage, owner, number)?;
    let mut positions = Vec::new();
    let mut heads = Heads::new(&segment);
    heads.append(&mut segment, KIND_CHECKPOINT_BEGIN, &[])?;
    for (kind, payload) in entries {
        format::check_user_entry(kind, &[&payload])?;
        positions.push(heads.append(&mut segment, kind, &payload)?);
    }
    segment.append(KIND_CHECKPOINT_END, &[&format::checkpoint_end(positions.len() as u64, heads.crc)])?;
    segment.end_checkpoint();
    // Nothing of this file survives a failure, so that a full disk is clean even here.
    segment.commit().map_err(LogError::full_if_no_space)?;
    Ok((segment, positions))
}

/// The checksum over the heads of a checkpoint's entries.
struct Heads {
    salt: u64,
    crc: u32,
}

impl Heads {
    fn new(segment: &Segment) -> Self {
        Self { salt: segment.salt(), crc: 0 }
    }

    fn append(&mut self, segment: &mut Segment, kind: u8, payload: &[u8]) -> Result<Position, LogError> {
        let head = segment.entry_header(kind, &[payload]).encode(self.salt, segment.end());
        self.crc = crc32c::crc32c_append(self.crc, &head);
        segment.append(kind, &[payload])
    }
}
