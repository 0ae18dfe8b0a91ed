//! Walking a segment from its start: where its checkpoint and its entries end, and whether what follows is the
//! tail of a crash or damage.
//!
//! Invariants: a read error is never taken for an end; a bad entry is taken for a torn tail only beyond the
//! checkpoint and only if no entry anywhere after it says that this offset was durable. It changes nothing.
//! Test: `log/tests/damage.rs`.

use std::io;
use std::sync::Arc;

use super::error::LogError;
use super::format::{
    ENTRY_HEADER_LEN, EntryHeader, HEADER_LEN, KIND_CHECKPOINT_BEGIN, KIND_CHECKPOINT_END, KIND_USER_MIN,
    checkpoint_end,
};
use super::storage::StoredFile;

const CHUNK: usize = 1 << 20;
const HEAD: usize = ENTRY_HEADER_LEN as usize;

/// Where things end in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Extents {
    pub(super) checkpoint_end: u32,
    /// End of the last whole entry: the file is to be cut here.
    pub(super) end: u32,
}

/// A segment's file, read forward.
pub(super) struct Walk {
    file: Arc<dyn StoredFile>,
    path: String,
    salt: u64,
    len: u64,
    chunk: Vec<u8>,
    chunk_at: u64,
}

impl Walk {
    pub(super) fn new(file: Arc<dyn StoredFile>, path: String, salt: u64, len: u64) -> Self {
        Self { file, path, salt, len, chunk: Vec::new(), chunk_at: 0 }
    }

    /// Finds where the segment's checkpoint and entries end.
    pub(super) fn extents(&mut self) -> Result<Extents, LogError> {
        let checkpoint_end = self.checkpoint()?;
        let mut end = checkpoint_end;
        while u64::from(end) < self.len {
            match self.whole_entry(end)? {
                Some(header) if header.kind < KIND_USER_MIN => {
                    return Err(self.damaged(end, "an entry of the log's own beyond the checkpoint"));
                }
                Some(header) => end = end.saturating_add(header.extent()),
                None if self.is_vouched_for(end)? => {
                    return Err(self.damaged(end, "an entry that was durable does not verify"));
                }
                None => break,
            }
        }
        Ok(Extents { checkpoint_end, end })
    }

    fn checkpoint(&mut self) -> Result<u32, LogError> {
        let bad = "the checkpoint does not verify";
        let (mut offset, mut crc, mut count) = (HEADER_LEN, 0, 0_u64);
        loop {
            let header = self.whole_entry(offset)?.ok_or_else(|| self.damaged(offset, bad))?;
            let next = offset.saturating_add(header.extent());
            match header.kind {
                KIND_CHECKPOINT_BEGIN if offset == HEADER_LEN => {}
                KIND_USER_MIN.. if offset != HEADER_LEN => count += 1,
                KIND_CHECKPOINT_END if offset != HEADER_LEN => {
                    let wanted = checkpoint_end(count, crc);
                    let same = header.len as usize == wanted.len()
                        && self.bytes(u64::from(offset + ENTRY_HEADER_LEN), wanted.len())? == wanted;
                    return if same { Ok(next) } else { Err(self.damaged(offset, bad)) };
                }
                _ => return Err(self.damaged(offset, bad)),
            }
            crc = crc32c::crc32c_append(crc, &header.encode(self.salt, offset));
            offset = next;
        }
    }

    /// The head of the entry here, if all of it verifies.
    pub(super) fn whole_entry(&mut self, offset: u32) -> Result<Option<EntryHeader>, LogError> {
        let Some(header) = self.header(offset)? else { return Ok(None) };
        let mut at = u64::from(offset) + u64::from(ENTRY_HEADER_LEN);
        let end = u64::from(offset) + u64::from(header.extent());
        if end > self.len || end > u64::from(u32::MAX) {
            return Ok(None);
        }
        let mut crc = 0;
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let bytes = self.bytes(at, wanted)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            crc = crc32c::crc32c_append(crc, bytes);
            at += bytes.len() as u64;
        }
        Ok((crc == header.payload_crc).then_some(header))
    }

    pub(super) fn header(&mut self, offset: u32) -> Result<Option<EntryHeader>, LogError> {
        let salt = self.salt;
        let head = self.bytes(u64::from(offset), HEAD)?.first_chunk::<HEAD>();
        Ok(head.and_then(|head| EntryHeader::decode(salt, offset, head)))
    }

    /// True if an entry anywhere after `bad` was written when the file was durable beyond `bad`.
    pub(super) fn is_vouched_for(&mut self, bad: u32) -> Result<bool, LogError> {
        let mut offset = bad;
        while let Some(next) = offset.checked_add(8).filter(|&next| u64::from(next) < self.len) {
            offset = next;
            if self.header(offset)?.is_some_and(|header| header.durable > bad) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where the next entry after `bad` verifies, if one does.
    pub(super) fn next_whole(&mut self, bad: u32) -> Result<Option<u32>, LogError> {
        let mut offset = bad;
        while let Some(next) = offset.checked_add(8).filter(|&next| u64::from(next) < self.len) {
            offset = next;
            if self.header(offset)?.is_some() && self.whole_entry(offset)?.is_some() {
                return Ok(Some(offset));
            }
        }
        Ok(None)
    }

    /// What the checksums of heads begin with.
    pub(super) fn salt(&self) -> u64 {
        self.salt
    }

    /// The entry at `offset` with its payload, which was found whole before.
    pub(super) fn entry(&mut self, offset: u32) -> Result<(EntryHeader, Vec<u8>), LogError> {
        let bad = "an entry changed while it was read";
        let header = self.header(offset)?.ok_or_else(|| self.damaged(offset, bad))?;
        let at = u64::from(offset) + u64::from(ENTRY_HEADER_LEN);
        let wanted = header.padded_len() as usize;
        let mut payload = if wanted <= CHUNK / 4 {
            self.bytes(at, wanted)?.to_vec()
        } else {
            let mut payload = vec![0; wanted];
            let got = self.file.read_at(at, &mut payload).map_err(|e| self.io(e))?;
            payload.truncate(got);
            payload
        };
        if payload.len() != wanted || crc32c::crc32c(&payload) != header.payload_crc {
            return Err(self.damaged(offset, bad));
        }
        payload.truncate(header.len as usize);
        Ok((header, payload))
    }

    /// Up to `wanted` bytes at `offset`, fewer only at the end of the file.
    fn bytes(&mut self, offset: u64, wanted: usize) -> Result<&[u8], LogError> {
        let have = |walk: &Self| {
            let skip = usize::try_from(offset.checked_sub(walk.chunk_at)?).ok()?;
            (skip.checked_add(wanted)? <= walk.chunk.len()).then_some(skip)
        };
        let skip = match have(self) {
            Some(skip) => skip,
            None => {
                let rest = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(CHUNK);
                self.chunk.resize(CHUNK.max(wanted).min(rest), 0);
                let got = self.file.read_at(offset, &mut self.chunk).map_err(|e| self.io(e))?;
                self.chunk.truncate(got);
                self.chunk_at = offset;
                0
            }
        };
        let rest = &self.chunk[skip..];
        Ok(&rest[..wanted.min(rest.len())])
    }

    fn damaged(&self, offset: u32, what: &'static str) -> LogError {
        LogError::damaged(self.path.clone(), u64::from(offset), what)
    }

    fn io(&self, source: io::Error) -> LogError {
        LogError::io(self.path.clone(), "read", source)
    }
}
