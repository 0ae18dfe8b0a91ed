//! The log as the driver uses it: what was appended since the last commit, and who waits for it to be durable.
//!
//! Invariant: a reply given to [`Journal::when_durable`] is sent only after a commit that covers everything appended
//! before it. A failure is final: it is reported by the next commit, and the log refuses every later call.

use bytes::Bytes;
use disk::log::{Log, LogError, Position};
use tokio::sync::oneshot;

use crate::command::{BeginError, Found};
use crate::entry::EngineEntry;
use crate::exchange::NearExchange;
use crate::record;

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
}

/// A reply that waits for durability.
pub(super) enum WhenDurable {
    /// An exchange began.
    Begun(oneshot::Sender<Result<Box<NearExchange>, BeginError>>, Box<NearExchange>),
    /// A dispatch mark stands.
    Dispatched(oneshot::Sender<()>),
}

impl Journal {
    pub(super) fn new(log: Log) -> Self {
        Self {
            log,
            urgent: false,
            gathered_bytes: 0,
            waiting: Vec::new(),
            behind: Vec::new(),
            unpins: Vec::new(),
            failed: None,
        }
    }

    /// The stored payload of a received record, inflated; `None` when it cannot be had.
    pub(super) fn payload(&self, found: &Found) -> Option<Bytes> {
        let payload = record::stored_payload(&self.log.reader(), found).ok()?;
        record::inflate(payload, found.head.raw_len, found.head.flags).ok()
    }

    /// Appends an entry; an urgent one makes the next commit due.
    pub(super) fn append(&mut self, kind: u8, parts: &[&[u8]], urgent: bool) -> Result<Position, LogError> {
        self.urgent |= urgent;
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
        self.log.commit()?;
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
        self.log.needs_checkpoint()
    }

    pub(super) fn roll(&mut self, entries: Vec<(u8, Vec<u8>)>) -> Result<(), LogError> {
        self.log.roll(entries.into_iter()).map(|_| ())
    }

    pub(super) fn pin(&mut self, position: Position) {
        self.log.pin(position);
    }

    /// Gives a place up, once the reason for it (in the log by the next commit) is durable.
    pub(super) fn unpin(&mut self, position: Position) {
        self.unpins.push(position);
    }

    pub(super) fn bytes_on_disk(&self) -> u64 {
        self.log.bytes_on_disk()
    }
}
