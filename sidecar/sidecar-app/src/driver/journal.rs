//! The log as the driver uses it: what was appended since the last commit, and who waits for it to be durable.
//!
//! Invariant: a reply given to [`Journal::when_durable`] is sent only after a commit that covers everything appended
//! before it. A failure is final: it is reported by the next commit, and the log refuses every later call. Only a checkpoint
//! for which there is no space is put off: the log goes on without it. Test to read first:
//! `a_checkpoint_without_space_is_told_and_tried_again`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use disk::log::{Log, LogError, LogReader, Position, SetAside, Volume};
use layer1_replication::Timestamp;
use tokio::sync::oneshot;

use super::Host;
use crate::ask::{Cancelled, Promised};
use crate::command::{BeginError, Found};
use crate::entry::{self, ENGINE_FIRST, EngineEntry, FAR_FIRST, Placed};
use crate::exchange::NearExchange;
use crate::mutation::{Mutation, mutated};
use crate::record::{self, ReadError};

/// How long after a checkpoint that found no space the next one is tried.
const CHECKPOINT_RETRY: Duration = Duration::from_secs(10);

/// The log's writer with its gathered entries.
pub(super) struct Journal {
    log: Log,
    urgent: bool,
    gathered_bytes: u64,
    waiting: Vec<WhenDurable>,
    /// Entries that must lie behind what layer 1 is about to append.
    behind: Vec<(u8, Vec<u8>)>,
    /// Places that are given up once the reason for it is durable.
    unpins: Vec<Position>,
    failed: Option<LogError>,
    /// Why the last checkpoint was not written, and when to try again.
    put_off: Option<(String, Timestamp)>,
    host: Arc<dyn Host>,
}

/// A reply that waits for durability.
pub(super) enum WhenDurable {
    /// An exchange began.
    Begun(oneshot::Sender<Result<Box<NearExchange>, BeginError>>, Box<NearExchange>),
    /// A dispatch mark stands.
    Dispatched(oneshot::Sender<()>),
    /// An operation is here with its whole request.
    Promised(oneshot::Sender<Promised>, Promised),
    /// An operation is to end.
    Cancelled(oneshot::Sender<Cancelled>, Cancelled),
}

impl Journal {
    pub(super) fn new(log: Log, host: Arc<dyn Host>) -> Self {
        Self {
            log,
            urgent: false,
            gathered_bytes: 0,
            waiting: Vec::new(),
            behind: Vec::new(),
            unpins: Vec::new(),
            failed: None,
            put_off: None,
            host,
        }
    }

    /// The stored payload of a received record, inflated; `None` when it cannot be had. That the log cannot give it is reported
    /// by the next commit: nothing may be decided for good without it.
    pub(super) fn payload(&mut self, found: &Found) -> Option<Bytes> {
        let payload = match record::stored_payload(&self.log.reader(), found) {
            Ok(payload) => payload,
            Err(ReadError::Log(error)) => {
                self.failed.get_or_insert(error);
                return None;
            }
            Err(_) => return None,
        };
        record::inflate(payload, found.head.raw_len, found.head.flags).ok()
    }

    /// As [`Self::payload`], of a record that may have been given up, and its segment with it.
    pub(super) fn payload_if_held(&mut self, found: &Found) -> Option<Bytes> {
        match self.log.reader().look(found.position) {
            Err(LogError::Gone { .. }) => None,
            _ => self.payload(found),
        }
    }

    /// Looks whether a record lies at a place; its payload is not read.
    pub(super) fn check_place(&self, position: Position) -> Result<(), LogError> {
        let reader = self.log.reader();
        match reader.look(position) {
            Ok((kind, _)) if entry::holds_record(kind) => Ok(()),
            Ok(_) => Err(reader.not_a_record(position)),
            Err(LogError::Gone { .. }) => Err(reader.missing(position)),
            Err(error) => Err(error),
        }
    }

    /// The stored payload of a record, as it lies in the log.
    pub(super) fn stored_payload(&self, found: &Found) -> Option<Bytes> {
        record::stored_payload(&self.log.reader(), found).ok()
    }

    /// Appends an entry; an urgent one makes the next commit due. Nothing follows an entry that is missing: what comes after
    /// may only make sense with it.
    pub(super) fn append(&mut self, kind: u8, parts: &[&[u8]], urgent: bool) -> Result<Position, LogError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.urgent |= urgent && !is_late(kind);
        self.gathered_bytes += parts.iter().map(|part| part.len() as u64).sum::<u64>();
        self.log.append(kind, parts)
    }

    /// Appends an entry whose place nobody asks for. A failure is reported by the next commit.
    pub(super) fn note(&mut self, kind: u8, payload: &[u8], urgent: bool) {
        if let Err(error) = self.append(kind, &[payload], urgent) {
            self.failed.get_or_insert(error);
        }
    }

    /// Notes an entry that must not be found without what layer 1 appends in this turn: a mark without the record that
    /// justifies it would end an exchange that never got its end.
    pub(super) fn note_behind(&mut self, entry: &EngineEntry) {
        self.behind.push((entry.kind(), entry.encode()));
    }

    /// As [`Self::note_behind`], for an entry of another layer.
    pub(super) fn push_behind(&mut self, kind: u8, payload: Vec<u8>) {
        self.behind.push((kind, payload));
    }

    /// Appends what was to lie behind.
    pub(super) fn append_behind(&mut self) {
        for (kind, payload) in std::mem::take(&mut self.behind) {
            self.note(kind, &payload, false);
        }
    }

    /// Counts octets that will be appended at the end of this turn.
    pub(super) fn gather(&mut self, bytes: u64) {
        self.gathered_bytes += bytes;
    }

    pub(super) fn gathered_bytes(&self) -> u64 {
        self.gathered_bytes
    }

    /// Sends the reply after the next commit, which is due now.
    pub(super) fn when_durable(&mut self, waiting: WhenDurable) {
        let waiting = match waiting {
            WhenDurable::Dispatched(reply) if mutated(Mutation::DispatchNotDurable) => {
                let _ = reply.send(());
                return;
            }
            waiting => waiting,
        };
        self.urgent = true;
        self.waiting.push(waiting);
    }

    /// Commits if something waits for it; true if it did.
    pub(super) fn commit_if_urgent(&mut self) -> Result<bool, LogError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if !self.urgent {
            return Ok(false);
        }
        if !mutated(Mutation::AckBeforeDurable) {
            self.log.commit()?;
        }
        self.urgent = false;
        self.gathered_bytes = 0;
        for position in self.unpins.drain(..) {
            self.log.unpin(position);
        }
        Ok(true)
    }

    /// Sends the replies whose wait is over.
    pub(super) fn answer_durable(&mut self) {
        for waiting in self.waiting.drain(..) {
            match waiting {
                WhenDurable::Begun(reply, begun) => drop(reply.send(Ok(begun))),
                WhenDurable::Dispatched(reply) => drop(reply.send(())),
                WhenDurable::Promised(reply, promised) => drop(reply.send(promised)),
                WhenDurable::Cancelled(reply, cancelled) => drop(reply.send(cancelled)),
            }
        }
    }

    /// Makes a commit due.
    pub(super) fn make_urgent(&mut self) {
        self.urgent = true;
    }

    /// Removes segments that hold nothing live; to be called once every live place is pinned.
    pub(super) fn reclaim(&mut self) {
        self.log.reclaim();
    }

    pub(super) fn needs_checkpoint(&self) -> bool {
        self.log.needs_checkpoint() && !self.is_put_off()
    }

    /// The last checkpoint found no space, and it is too early to try again.
    pub(super) fn is_put_off(&self) -> bool {
        self.put_off.as_ref().is_some_and(|(_, again)| self.host.now() < *again)
    }

    /// As if the time to try again had come.
    #[cfg(test)]
    pub(super) fn put_off_is_over(&mut self) {
        if let Some((_, again)) = &mut self.put_off {
            *again = Timestamp::ZERO;
        }
    }

    /// Writes a checkpoint; false if it is put off for want of space.
    pub(super) fn roll(&mut self, entries: Vec<(u8, Vec<u8>)>) -> Result<bool, LogError> {
        let bytes = entries.iter().map(|(_, payload)| payload.len() as u64).sum();
        match self.roll_into_reserve(&entries, bytes) {
            Ok(_) => {
                self.put_off = None;
                Ok(true)
            }
            Err(error @ LogError::Full { .. }) => {
                tracing::warn!(%error, "a checkpoint could not be written; it is tried again");
                self.put_off = Some((error.to_string(), self.host.now().after(CHECKPOINT_RETRY)));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    // Without a checkpoint no segment goes, so it may have what is set aside.
    fn roll_into_reserve(&mut self, entries: &[(u8, Vec<u8>)], bytes: u64) -> Result<Vec<Position>, LogError> {
        loop {
            match self.log.roll(entries.iter().cloned()) {
                Err(LogError::Full { .. }) if self.log.give_back(bytes) => {}
                other => return other,
            }
        }
    }

    /// What is set aside on the volume for what was promised.
    pub(super) fn aside(&self) -> SetAside {
        self.log.aside()
    }

    /// How full the volume of the log is, if that can be told.
    pub(super) fn volume(&self) -> Option<Volume> {
        self.log.volume()
    }

    /// Tries to make what is set aside whole again.
    pub(super) fn refill(&mut self) {
        self.log.refill();
    }

    /// Why the last checkpoint was not written.
    pub(super) fn failure(&self) -> Option<&str> {
        self.put_off.as_ref().map(|(text, _)| text.as_str())
    }

    pub(super) fn pin(&mut self, position: Position) {
        self.log.pin(position);
    }

    /// Gives a place up, once the reason for it (in the log by the next commit) is durable.
    pub(super) fn unpin(&mut self, position: Position) {
        self.unpins.push(position);
    }

    /// A reader of everything in the log.
    pub(super) fn reader(&self) -> LogReader {
        self.log.reader()
    }

    /// The segments on disk and the bytes of each.
    pub(super) fn segments(&self) -> BTreeMap<u64, u64> {
        self.log.segments()
    }

    /// Writes a record once more, at the end of the log. Its old place is given up when the new one is durable; who still asks
    /// for it then is sent on. `None` if there is no space.
    pub(super) fn carry(&mut self, from: Position, placed: &Placed) -> Result<Option<Position>, LogError> {
        // A failure that waits to be told may be one for want of space, too: it is not this entry's.
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let Placed { peer, sent, head, ref payload } = *placed;
        let entry = EngineEntry::Moved { peer, sent, head };
        if !self.log.aside().is_whole() {
            return Ok(None);
        }
        match self.append(entry.kind(), &[&entry.encode(), payload], true) {
            Ok(to) => {
                self.log.pin(to);
                self.log.forward(from, to);
                self.unpin(from);
                Ok(Some(to))
            }
            Err(LogError::Full { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn bytes_on_disk(&self) -> u64 {
        self.log.bytes_on_disk()
    }
}

/// Is an entry of this kind made durable later than it must be, on purpose?
fn is_late(kind: u8) -> bool {
    (FAR_FIRST..ENGINE_FIRST).contains(&kind) && mutated(Mutation::DispatchNotDurable)
}

#[cfg(test)]
mod tests {
    //! A log in memory whose disk is full for a moment.
    use std::sync::Arc;

    use disk::log::{Fault, LogOptions, MemStorage};

    use super::*;

    #[test]
    fn nothing_follows_an_entry_for_which_there_was_no_space() {
        let storage = Arc::new(MemStorage::new());
        let (log, _) = Log::open_on(storage.clone(), [0; 16], LogOptions::default()).unwrap();
        let mut journal = Journal::new(log, Arc::new(crate::driver::System::start()));
        let end = journal.log.end();
        storage.fail_at(storage.calls(), Fault::Full);
        journal.note(64, b"an operation begins", true);
        journal.note(65, b"and goes on", false);
        assert!(journal.append(17, &[b"the head of its request"], true).is_err());
        assert_eq!(journal.log.end(), end, "a kill would keep a request that belongs to no operation");
    }

    #[test]
    fn a_checkpoint_without_space_is_told_and_tried_again() {
        let storage = Arc::new(MemStorage::new());
        let options = LogOptions { segment_bytes: 4096 };
        let (log, _) = Log::open_on(storage.clone(), [0; 16], options).unwrap();
        let mut journal = Journal::new(log, Arc::new(crate::driver::System::start()));
        for _ in 0..20 {
            journal.append(64, &[&[7; 1000]], true).unwrap();
        }
        journal.commit_if_urgent().unwrap();
        assert!(journal.needs_checkpoint());
        // The call after the next writes: what was left over is removed first, and the file is made.
        storage.fail_at(storage.calls() + 2, Fault::Full);
        journal.roll(vec![(64, vec![1])]).unwrap();
        assert!(journal.failure().is_some_and(|text| text.contains("free space")), "{:?}", journal.failure());
        assert!(!journal.needs_checkpoint(), "it is tried again at once");
        // Nothing is lost, and the log goes on.
        journal.append(64, &[b"more"], true).unwrap();
        assert!(journal.commit_if_urgent().unwrap());
        journal.roll(vec![(64, vec![1])]).unwrap();
        assert_eq!(journal.failure(), None);
    }

    #[test]
    fn an_entry_follows_one_that_found_no_space() {
        let storage = Arc::new(MemStorage::new());
        let (log, _) = Log::open_on(storage.clone(), [0; 16], LogOptions::default()).unwrap();
        let mut journal = Journal::new(log, Arc::new(crate::driver::System::start()));
        storage.fail_at(storage.calls(), Fault::Full);
        journal.note(64, &[1; 1000], false);
        journal.note(64, b"later", true);
        assert!(matches!(journal.append(64, &[b"later"], true), Err(LogError::Full { .. })));
        drop(journal);
        let (_, recovered) = Log::open_on(storage, [0; 16], LogOptions::default()).unwrap();
        assert_eq!(recovered.count(), 0);
    }

    #[test]
    fn a_broken_disk_is_reported_as_an_earlier_error() {
        let storage = Arc::new(MemStorage::new());
        let (log, _) = Log::open_on(storage.clone(), [0; 16], LogOptions::default()).unwrap();
        let mut journal = Journal::new(log, Arc::new(crate::driver::System::start()));
        storage.fail_at(storage.calls(), Fault::Broken);
        journal.note(64, b"lost", false);
        let told = journal.append(64, &[b"later"], true).unwrap_err();
        assert!(matches!(told, LogError::Io { .. }), "{told}");
    }
}
