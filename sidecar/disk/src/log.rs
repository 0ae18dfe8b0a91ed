//! The durable log: an append-only sequence of entries in segment files, the only truth about what was
//! promised. Its bytes are fixed in the document "The log on disk"; this file is the writer's side and the order of its steps.
//!
//! ```text
//! state.lock                held while a Log lives
//! reserve                   space set aside, if that was asked for
//! 0000000000000007.log      a segment: header, checkpoint, entries; named only once header and checkpoint are durable
//! 0000000000000008.new      a segment being prepared; meaningless, removed at the next open
//! ```
//! Invariants:
//! 1. A file named `.log` begins with a whole checkpoint, so the newest one alone tells the state, and damage
//!    there is damage and never a crash.
//! 2. Every entry carries how far its segment was durable when it was written. A bad entry beyond everything
//!    any later entry vouches for is the torn tail of a crash and is cut; any other bad entry is damage, which
//!    stops the program and is never repaired.
//! 3. Nothing is unlinked before the checkpoint that replaces it, and the entries that released it, are durable.
//! 4. After a failed write or fsync nothing more is written, and what could not be synced is cut off, since
//!    memory may still show it to the next open. Only "disk full" on an append or a roll is clean, because what
//!    was written of it is cut away durably.
//! 5. What `open` returns is durable: it syncs the newest segment and the folder before it returns.
//!
//! Orders of a crash, and what the next `open` finds (K the newest segment):
//! ```text
//! append, append, commit    any of the uncommitted writes, torn or reordered: cut at the first bad entry
//! roll 1 commit K           as above
//!      2 write K+1.new      removed; K is whole and counts (its entries are all there by step 1)
//!      3 fdatasync K+1.new  the same
//!      4 rename to K+1.log  either name; under the new one it is whole by step 3
//!      5 fsync folder       K+1 counts
//!      6 unlink old         any of them may come back: it has no pins and is unlinked again
//! open 1 cut the tail       the cut or the tail: the same cut again
//!      2 sync K, folder     the same
//!      3 remove *.new       the same
//! create (no segment yet)   as a roll with K = 0: nothing, or segment 1 whole
//! ```
//! It does not know what entries mean, and takes no thread or clock of its own (a segment's creation time is
//! for people). Read `log/tests.rs` first, then `log/tests/crash.rs`.

mod checkpoint;
mod error;
mod format;
mod inspect;
mod lock;
mod mem_storage;
mod position;
mod reader;
mod recovery;
mod reserve;
mod scan;
mod segment;
mod storage;
mod table;
#[cfg(test)]
mod tests;

pub use error::LogError;
pub use format::{KIND_CHECKPOINT_BEGIN, KIND_CHECKPOINT_END, KIND_USER_MIN, PAYLOAD_BYTES_MAX};
pub use inspect::{Finding, Flaw, LogFiles, SegmentFile, SegmentWalk};
pub use mem_storage::{Fault, MemStorage};
pub use position::Position;
pub use reader::LogReader;
pub use recovery::{Entry, Recovered};
pub use reserve::SetAside;
pub use storage::{Storage, StoredFile, Volume};

use crate::mutation::{Mutation, mutated};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use lock::StateLock;
use reserve::Reserve;
use segment::Segment;
use storage::FolderStorage;
use table::Table;

/// Beyond this length a segment must be rolled, whatever the options say: positions have 32 bits.
const SEGMENT_BYTES_HARD: u32 = 3 << 30;

/// How a log is kept.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Bytes of entries after which a segment is full (64 MiB by default). The checkpoint at its start does
    /// not count, but a segment is never full before it has grown as much as its checkpoint is long, so that
    /// rolling at most doubles what is written.
    pub segment_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20 }
    }
}

/// The owner of a log: its only writer. Reads go through [`Log::reader`], from any thread.
///
/// The contract: append, then [`Log::commit`], and only then tell anyone. After an error other than
/// [`LogError::Full`], [`LogError::TooLarge`] or [`LogError::ReservedKind`] every later call that writes fails
/// with [`LogError::Poisoned`]; open the log again, in a new process.
pub struct Log {
    storage: Arc<dyn Storage>,
    table: Arc<Table>,
    owner: [u8; 16],
    options: LogOptions,
    current: Segment,
    pins: BTreeMap<u64, u64>,
    /// Segments without pins that wait for the next commit to be unlinked.
    released: BTreeSet<u64>,
    /// Set once the pins of what was recovered are known to be complete.
    reclaiming: bool,
    poisoned: bool,
    reserve: Reserve,
    _lock: Option<StateLock>,
}

impl Log {
    /// Opens the log in `dir`, creating both (mode 0700) if missing, and returns what it holds since the
    /// newest checkpoint. Everything returned is durable.
    ///
    /// Walk through [`Recovered`], [`Log::pin`] what is still needed, then call [`Log::reclaim`].
    ///
    /// # Errors
    /// [`LogError::Locked`] if another engine has it open; [`LogError::WrongOwner`],
    /// [`LogError::LaterVersion`] or [`LogError::Damaged`] for what the files say, which are then unchanged;
    /// [`LogError::Full`] or [`LogError::Io`] from the file system, and opening again is safe.
    pub fn open(dir: PathBuf, owner: [u8; 16], options: LogOptions) -> Result<(Self, Recovered), LogError> {
        let storage = FolderStorage::open(dir)?;
        let lock = StateLock::acquire(storage.folder())?;
        let (mut log, recovered) = Self::open_on(Arc::new(storage), owner, options)?;
        log._lock = Some(lock);
        Ok((log, recovered))
    }

    /// As [`Log::open`], on any storage and without a lock: for simulation.
    ///
    /// # Errors
    /// As [`Log::open`], without `Locked`.
    pub fn open_on(
        storage: Arc<dyn Storage>,
        owner: [u8; 16],
        options: LogOptions,
    ) -> Result<(Self, Recovered), LogError> {
        let found = recovery::recover(&storage, owner)?;
        let table = Arc::new(Table::new(storage.clone(), found.slots));
        let recovered = Recovered::new(&found.current, found.torn_bytes, table.len(), found.fresh);
        let log = Self {
            storage,
            table,
            owner,
            options,
            current: found.current,
            pins: BTreeMap::new(),
            released: BTreeSet::new(),
            reclaiming: false,
            poisoned: false,
            reserve: Reserve::default(),
            _lock: None,
        };
        Ok((log, recovered))
    }

    /// Writes an entry, not yet durable, and returns its position, readable at once. The payload is the
    /// concatenation of `parts`.
    ///
    /// If the disk is full, space that was set aside is used.
    ///
    /// # Errors
    /// [`LogError::Full`] if that is used up, too: nothing was appended, and the log goes on.
    /// [`LogError::TooLarge`] beyond [`PAYLOAD_BYTES_MAX`] and [`LogError::ReservedKind`] below
    /// [`KIND_USER_MIN`], likewise. Anything else poisons the log.
    pub fn append(&mut self, kind: u8, parts: &[&[u8]]) -> Result<Position, LogError> {
        loop {
            match self.try_append(kind, parts) {
                Err(LogError::Full { .. }) if self.give_back(parts.iter().map(|part| part.len() as u64).sum()) => {}
                other => return other,
            }
        }
    }

    fn try_append(&mut self, kind: u8, parts: &[&[u8]]) -> Result<Position, LogError> {
        self.check()?;
        format::check_user_entry(kind, parts)?;
        match self.current.append(kind, parts).and_then(|at| self.current.flush().map(|()| at)) {
            Ok(position) => {
                self.table.set_len(position.segment, self.current.end());
                Ok(position)
            }
            Err(error) => Err(self.append_failed(error)),
        }
    }

    // The remains of a failed append must be gone for good before anything else is said about the log: left
    // there, they could become a whole entry again after a crash.
    fn append_failed(&mut self, error: LogError) -> LogError {
        match self.current.cut_back() {
            Ok(()) if error.leaves_log_usable() => error,
            Ok(()) => {
                self.poisoned = true;
                error
            }
            Err(worse) => {
                self.poisoned = true;
                if error.leaves_log_usable() { worse } else { error }
            }
        }
    }

    /// Makes everything appended durable.
    ///
    /// # Errors
    /// Any error poisons the log: what was appended since the last commit may or may not survive.
    pub fn commit(&mut self) -> Result<(), LogError> {
        self.check()?;
        if let Err(error) = self.current.commit() {
            self.poisoned = true;
            return Err(error);
        }
        for number in std::mem::take(&mut self.released) {
            self.unlink_if_free(number);
        }
        Ok(())
    }

    /// True if the current segment is full and the caller must [`Log::roll`].
    pub fn needs_checkpoint(&self) -> bool {
        let checkpoint = u64::from(self.current.checkpoint_end());
        let grown = u64::from(self.current.end()).saturating_sub(checkpoint);
        grown >= self.options.segment_bytes.max(checkpoint) || self.current.end() >= SEGMENT_BYTES_HARD
    }

    /// Commits, writes these entries as the checkpoint of a new segment, makes it durable, continues there,
    /// and unlinks the old segments without pins. Returns the new positions, in the order of the entries;
    /// pin first what the checkpoint refers to in old segments.
    ///
    /// # Errors
    /// [`LogError::Full`] if the disk is full, and the errors of a bad entry: the log goes on in its old
    /// segment and [`Log::needs_checkpoint`] stays true. Anything else poisons the log.
    pub fn roll(&mut self, checkpoint: impl Iterator<Item = (u8, Vec<u8>)>) -> Result<Vec<Position>, LogError> {
        self.commit()?;
        let number = self.current.number() + 1;
        match checkpoint::create_segment(self.storage.as_ref(), self.owner, number, checkpoint) {
            Ok((segment, positions)) => {
                self.table.insert(&segment);
                self.current = segment;
                self.reclaim();
                Ok(positions)
            }
            Err(error) => {
                self.poisoned |= !error.leaves_log_usable();
                Err(error)
            }
        }
    }

    /// Sets space aside on the volume, as far as there is any: appends use it when the disk is full, and a caller whose roll
    /// finds it full may [`Log::give_back`] some of it.
    ///
    /// # Errors
    /// [`LogError::Io`] if the file for it cannot be made.
    pub fn set_aside(&mut self, bytes: u64) -> Result<SetAside, LogError> {
        let done = self.reserve.set(self.storage.as_ref(), bytes);
        done.map_err(|e| LogError::io(self.storage.describe("reserve"), "set space aside in", e))?;
        Ok(self.reserve.size())
    }

    /// Tries to make what is set aside whole again.
    pub fn refill(&mut self) -> SetAside {
        self.reserve.grow();
        self.reserve.size()
    }

    /// How full the volume is; `None` where that means nothing or cannot be told.
    pub fn volume(&self) -> Option<Volume> {
        self.storage.volume().ok().flatten()
    }

    /// What is set aside.
    pub fn aside(&self) -> SetAside {
        self.reserve.size()
    }

    /// Gives at least so much of what is set aside back to the volume, if there is any; false if there is none.
    pub fn give_back(&mut self, bytes: u64) -> bool {
        // A segment that is full by its own length finds no space that way.
        if self.current.end() >= SEGMENT_BYTES_HARD {
            return false;
        }
        self.reserve.give(bytes)
    }

    /// Keeps the segment of this position, once more for every call.
    pub fn pin(&mut self, p: Position) {
        let count = self.pins.entry(p.segment).or_insert(0);
        *count = count.saturating_add(1);
    }

    /// Takes one pin back. A segment older than the newest checkpoint that has none left is unlinked: at once
    /// if everything appended is durable, else by the next commit. So append the reason first, then unpin.
    pub fn unpin(&mut self, p: Position) {
        let Some(count) = self.pins.get_mut(&p.segment) else {
            tracing::error!(segment = p.segment, offset = p.offset, "unpinned a log position that had no pin");
            debug_assert!(false, "unpin without pin");
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.pins.remove(&p.segment);
            self.release(p.segment);
        }
    }

    /// Unlinks every old segment without pins. Call it once the pins of what was recovered are set; before
    /// that, nothing is unlinked. [`Log::roll`] does the same.
    pub fn reclaim(&mut self) {
        self.reclaiming = true;
        for number in self.table.numbers() {
            if !self.pins.contains_key(&number) || mutated(Mutation::UnlinkEarly) {
                self.release(number);
            }
        }
    }

    fn release(&mut self, number: u64) {
        if !self.reclaiming {
            return;
        }
        if self.current.is_durable() && !self.poisoned {
            self.unlink_if_free(number);
        } else {
            self.released.insert(number);
        }
    }

    // The folder is not synced: an unlinked segment that comes back has no pins and is unlinked again.
    fn unlink_if_free(&self, number: u64) {
        let pinned = self.pins.contains_key(&number) && !mutated(Mutation::UnlinkEarly);
        if number == self.current.number() || pinned || !self.table.holds(number) {
            return;
        }
        let name = format::segment_name(number);
        match self.storage.remove(&name) {
            Ok(()) => self.table.remove(number),
            // Left for the next reclaim: it costs space and nothing else.
            Err(error) => {
                tracing::warn!(file = %self.storage.describe(&name), %error, "an old log segment could not be removed")
            }
        }
    }

    fn check(&self) -> Result<(), LogError> {
        if self.poisoned { Err(LogError::Poisoned) } else { Ok(()) }
    }

    /// A reader of everything the log holds, for any thread.
    pub fn reader(&self) -> LogReader {
        LogReader::new(self.table.clone())
    }

    /// True if the segment of this position is still on disk.
    pub fn holds(&self, p: Position) -> bool {
        self.table.holds(p.segment)
    }

    /// The segments on disk and the bytes of each.
    pub fn segments(&self) -> BTreeMap<u64, u64> {
        self.table.lengths()
    }

    /// The entry at `from` was carried on: once its segment is gone, readers that still ask for it get the entry at `to`.
    pub fn forward(&self, from: Position, to: Position) {
        self.table.forward(from, to);
    }

    /// Where the next entry will be. What it was after a commit is never undercut, over restarts too: a log
    /// that is behind what was once seen has been rolled back.
    pub fn end(&self) -> Position {
        Position { segment: self.current.number(), offset: self.current.end() }
    }

    /// Bytes of all segment files.
    pub fn bytes_on_disk(&self) -> u64 {
        self.table.bytes()
    }
}
