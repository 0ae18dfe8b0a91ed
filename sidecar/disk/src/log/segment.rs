//! The segment being written: where its entries end, and how much of it is durable.
//!
//! Invariants: `durable <= whole <= end`; every entry is written with the `durable` known at that moment;
//! `whole` is the end of the last entry that reached the file. It does not decide when to sync or to stop.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::LogError;
use super::format::{ENTRY_HEADER_LEN, EntryHeader, HEADER_LEN, SegmentHeader, prepared_name};
use super::position::Position;
use super::storage::{Storage, StoredFile};
use crate::mutation::{Mutation, mutated};

/// Parts at least this long are written from where they are; shorter ones are gathered.
const DIRECT_BYTES_MIN: usize = 64 << 10;
/// Gathered bytes are written beyond this.
const GATHER_BYTES_MAX: usize = 256 << 10;

pub(super) struct Segment {
    file: Arc<dyn StoredFile>,
    /// The file as a person would look for it.
    path: String,
    number: u64,
    salt: u64,
    checkpoint_end: u32,
    end: u32,
    whole: u32,
    durable: u32,
    gathered: Vec<u8>,
    /// Where `gathered` belongs in the file.
    gathered_at: u32,
}

impl Segment {
    /// A new segment under its prepared name; nothing is written before the first flush.
    pub(super) fn create(storage: &dyn Storage, owner: [u8; 16], number: u64) -> Result<Self, LogError> {
        let name = prepared_name(number);
        let path = storage.describe(&name);
        let file = storage.create(&name).map_err(|e| LogError::write(path.clone(), "create this file", e))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let created_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let header = SegmentHeader { owner, number, created_ms, salt: new_salt(&owner, number, created_ms) };
        Ok(Self {
            file,
            path,
            number,
            salt: header.salt,
            checkpoint_end: HEADER_LEN,
            end: HEADER_LEN,
            whole: 0,
            durable: 0,
            gathered: header.encode().to_vec(),
            gathered_at: 0,
        })
    }

    /// A segment found on disk, whole and durable up to `end`.
    pub(super) fn resume(
        file: Arc<dyn StoredFile>,
        path: String,
        header: &SegmentHeader,
        checkpoint_end: u32,
        end: u32,
    ) -> Self {
        Self {
            file,
            path,
            number: header.number,
            salt: header.salt,
            checkpoint_end,
            end,
            whole: end,
            durable: end,
            gathered: Vec::new(),
            gathered_at: end,
        }
    }

    /// Adds an entry of any kind; it reaches the file with the next flush at the latest.
    pub(super) fn append(&mut self, kind: u8, parts: &[&[u8]]) -> Result<Position, LogError> {
        let position = Position { segment: self.number, offset: self.end };
        let header = self.entry_header(kind, parts);
        let Some(end) = self.end.checked_add(header.extent()) else {
            let why = std::io::Error::new(std::io::ErrorKind::StorageFull, "the segment is full");
            return Err(LogError::Full { file: self.path.clone(), source: why });
        };
        self.gathered.extend_from_slice(&header.encode(self.salt, self.end));
        for part in parts {
            if part.len() >= DIRECT_BYTES_MIN {
                self.write_gathered()?;
                self.write(part)?;
            } else {
                self.gathered.extend_from_slice(part);
            }
        }
        let padding = header.padded_len() - header.len;
        self.gathered.extend_from_slice(&[0; 8][..padding as usize]);
        self.end = end;
        if self.gathered.len() > GATHER_BYTES_MAX {
            self.flush()?;
        }
        Ok(position)
    }

    /// The head of the entry that `parts` would become at the present end.
    pub(super) fn entry_header(&self, kind: u8, parts: &[&[u8]]) -> EntryHeader {
        let crc = parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
        let len = parts.iter().map(|part| part.len()).sum::<usize>();
        // Callers have checked the length against its limit, which is far below 32 bits.
        let len = u32::try_from(len).unwrap_or(u32::MAX - ENTRY_HEADER_LEN - 8);
        let header = EntryHeader { len, kind, durable: self.durable, payload_crc: 0 };
        let padding = (header.padded_len() - len) as usize;
        EntryHeader { payload_crc: crc32c::crc32c_append(crc, &[0; 8][..padding]), ..header }
    }

    /// Writes what was gathered to the file.
    pub(super) fn flush(&mut self) -> Result<(), LogError> {
        self.write_gathered()?;
        self.whole = self.end;
        Ok(())
    }

    fn write_gathered(&mut self) -> Result<(), LogError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let gathered = std::mem::take(&mut self.gathered);
        let done = self.write(&gathered);
        self.gathered = gathered;
        self.gathered.clear();
        done
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        let at = u64::from(self.gathered_at);
        self.file.write_at(at, bytes).map_err(|e| LogError::write(self.path.clone(), "write", e))?;
        // Bounded by the checked end of the entry they belong to.
        self.gathered_at += u32::try_from(bytes.len()).unwrap_or(0);
        Ok(())
    }

    /// Makes everything durable.
    pub(super) fn commit(&mut self) -> Result<(), LogError> {
        self.flush()?;
        if !self.is_durable() {
            self.sync()?;
        }
        Ok(())
    }

    // What a failed sync did not save may still be read from memory, after a restart too, and a later sync says
    // nothing about it. So it is cut off: nobody was promised it, and the next open must not find it.
    fn sync(&mut self) -> Result<(), LogError> {
        if mutated(Mutation::SyncForgotten) {
            self.durable = self.whole;
            return Ok(());
        }
        if let Err(error) = self.file.sync() {
            let _ = self.file.set_len(u64::from(self.durable));
            return Err(LogError::io(self.path.clone(), "make durable", error));
        }
        self.durable = self.whole;
        Ok(())
    }

    /// Removes for good what is left of an entry that did not fit.
    pub(super) fn cut_back(&mut self) -> Result<(), LogError> {
        self.gathered.clear();
        self.end = self.whole;
        self.gathered_at = self.whole;
        self.file.set_len(u64::from(self.whole)).map_err(|e| LogError::io(self.path.clone(), "cut", e))?;
        self.sync()
    }

    /// Declares everything so far the checkpoint.
    pub(super) fn end_checkpoint(&mut self) {
        self.checkpoint_end = self.end;
    }

    /// The file has got its final name.
    pub(super) fn set_path(&mut self, path: String) {
        self.path = path;
    }

    pub(super) fn is_durable(&self) -> bool {
        self.durable == self.end
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn salt(&self) -> u64 {
        self.salt
    }

    pub(super) fn end(&self) -> u32 {
        self.end
    }

    pub(super) fn checkpoint_end(&self) -> u32 {
        self.checkpoint_end
    }

    pub(super) fn file(&self) -> &Arc<dyn StoredFile> {
        &self.file
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

// Unpredictable to whoever can put bytes into a payload, so that no payload can hold an entry that verifies.
// The standard library's hasher is keyed from the system's randomness.
fn new_salt(owner: &[u8; 16], number: u64, created_ms: u64) -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write(owner);
    hasher.write_u64(number);
    hasher.write_u64(created_ms);
    hasher.finish()
}
