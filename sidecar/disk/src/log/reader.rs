//! Reading entries by position, from any thread, while the log is being written.
//!
//! Invariant: no byte is returned that was not covered by a verified checksum at that position; reading an
//! entry in pieces verifies it whole the first time. It sees appended entries at once, committed or not.
//! Test: `log/tests.rs`, `flipped_bit_is_never_returned`.

use std::sync::Arc;

use bytes::Bytes;

use super::error::LogError;
use super::format::{ENTRY_HEADER_LEN, EntryHeader};
use super::position::Position;
use super::table::{Opened, Table};

/// Bytes read at first: most entries are whole in them.
const FIRST_READ: usize = 4096;
/// Bytes read at a time where an entry is only verified.
const CHUNK: usize = 256 << 10;

/// Reads entries by position; clones are cheap.
#[derive(Clone)]
pub struct LogReader {
    table: Arc<Table>,
}

impl LogReader {
    pub(super) fn new(table: Arc<Table>) -> Self {
        Self { table }
    }

    /// The kind and payload of an entry.
    ///
    /// # Errors
    /// [`LogError::Gone`] if its segment was removed, [`LogError::Damaged`] if no entry verifies there,
    /// [`LogError::Io`].
    pub fn read(&self, p: Position) -> Result<(u8, Bytes), LogError> {
        let opened = self.table.file(p)?;
        let p = opened.at;
        let mut first = [0; FIRST_READ];
        let got = self.read_some(&opened, p, 0, &mut first)?;
        let header = self.header(&opened, p, &first[..got])?;
        let payload = first[..got].get(ENTRY_HEADER_LEN as usize..header.extent() as usize);
        let mut payload = match payload {
            Some(payload) => payload.to_vec(),
            None => self.read_exact(&opened, p, 0, header.padded_len() as usize)?,
        };
        if crc32c::crc32c(&payload) != header.payload_crc {
            return Err(self.damaged(p));
        }
        payload.truncate(header.len as usize);
        Ok((header.kind, Bytes::from(payload)))
    }

    /// The kind and payload length of an entry. Of its bytes only the head is looked at, and that the file is long enough.
    ///
    /// # Errors
    /// As [`LogReader::read`].
    pub fn look(&self, p: Position) -> Result<(u8, u32), LogError> {
        let opened = self.table.file(p)?;
        let p = opened.at;
        let mut head = [0; ENTRY_HEADER_LEN as usize];
        let got = self.read_some(&opened, p, 0, &mut head)?;
        let header = self.header(&opened, p, &head[..got])?;
        let len = opened.file.len().map_err(|e| LogError::io(self.table.describe(p.segment), "measure", e))?;
        if u64::from(p.offset) + u64::from(header.extent()) > len {
            return Err(self.damaged(p));
        }
        Ok((header.kind, header.len))
    }

    /// What is said of a position that the state refers to while its segment is not there.
    pub fn missing(&self, p: Position) -> LogError {
        let what = "the file is missing, and the state refers to this place in it";
        LogError::damaged(self.table.describe(p.segment), u64::from(p.offset), what)
    }

    /// What is said of a position that the state refers to while something else lies there.
    pub fn not_a_record(&self, p: Position) -> LogError {
        let what = "the state refers to a record here, and something else is here";
        LogError::damaged(self.table.describe(p.segment), u64::from(p.offset), what)
    }

    /// `len` bytes of an entry's payload after the first `skip`.
    ///
    /// # Errors
    /// As [`LogReader::read`], and [`LogError::OutOfRange`] if the entry is shorter.
    pub fn read_at(&self, p: Position, skip: usize, len: usize) -> Result<Bytes, LogError> {
        let opened = self.table.file(p)?;
        let p = opened.at;
        let mut head = [0; ENTRY_HEADER_LEN as usize];
        let got = self.read_some(&opened, p, 0, &mut head)?;
        let header = self.header(&opened, p, &head[..got])?;
        let whole = header.len as usize;
        if skip.checked_add(len).is_none_or(|end| end > whole) {
            return Err(LogError::OutOfRange { position: p, len: whole, skip, wanted: len });
        }
        if !self.table.is_verified(p) {
            if len == whole {
                return Ok(self.read(p)?.1);
            }
            self.verify(&opened, p, &header)?;
            self.table.set_verified(p);
        }
        Ok(Bytes::from(self.read_exact(&opened, p, skip, len)?))
    }

    fn verify(&self, opened: &Opened, p: Position, header: &EntryHeader) -> Result<(), LogError> {
        let padded = header.padded_len() as usize;
        let (mut crc, mut done) = (0, 0);
        while done < padded {
            let chunk = self.read_exact(opened, p, done, CHUNK.min(padded - done))?;
            crc = crc32c::crc32c_append(crc, &chunk);
            done += chunk.len();
        }
        if crc == header.payload_crc { Ok(()) } else { Err(self.damaged(p)) }
    }

    fn header(&self, opened: &Opened, p: Position, bytes: &[u8]) -> Result<EntryHeader, LogError> {
        let head = bytes.first_chunk::<{ ENTRY_HEADER_LEN as usize }>();
        head.and_then(|head| EntryHeader::decode(opened.salt, p.offset, head)).ok_or_else(|| self.damaged(p))
    }

    fn read_exact(&self, opened: &Opened, p: Position, skip: usize, len: usize) -> Result<Vec<u8>, LogError> {
        let mut bytes = vec![0; len];
        let skip = ENTRY_HEADER_LEN as usize + skip;
        if self.read_some(opened, p, skip, &mut bytes)? < len {
            return Err(self.damaged(p));
        }
        Ok(bytes)
    }

    fn read_some(&self, opened: &Opened, p: Position, skip: usize, buf: &mut [u8]) -> Result<usize, LogError> {
        let offset = u64::from(p.offset) + skip as u64;
        let read = opened.file.read_at(offset, buf);
        read.map_err(|e| LogError::io(self.table.describe(p.segment), "read", e))
    }

    fn damaged(&self, p: Position) -> LogError {
        let what = "no entry verifies there";
        LogError::damaged(self.table.describe(p.segment), u64::from(p.offset), what)
    }
}
