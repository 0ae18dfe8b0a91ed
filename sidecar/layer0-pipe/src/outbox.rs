//! The outbox: turns a plan of records into one packet file that appears whole under its final name.
//!
//! Invariants: a name is never rewritten and a published file never changed; an existing name is a fork alarm.
//! Memory is one frame at a time (plus at most 4 MiB of small batches), never the packet. The table is built from
//! payload digests, so bodies are read once. What was published may vanish at any time: the log can send it again,
//! so nothing is synced unless asked for.
//! What this file does not do: choose records or packet numbers, or decide when a file may go.
//! Specification: wire format §2, §5, §13; protocol §6. Read first: `every_suite_and_shape_goes_round`.

mod files;
mod pace;
mod write;

pub use files::{PacketFloor, SweepReport};
pub use pace::{Held, Pace, PaceOptions};

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use disk::dir::Dir;
use identity::{Identity, PeerKeys, SealError};
use wire::{Control, Digest, EndpointId, Incarnation, PacketName, PacketNumber, RecordHeader, Suite};

use crate::limits::FRAME_BYTES;
use files::Bookkeeping;

/// How packets are arranged in the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// A folder for each recipient, sender, incarnation and 4,096 packet numbers.
    #[default]
    Tree,
    /// All files directly in the root, for mirrors without subfolders.
    Flat,
}

/// When a published file and its folder are synced to stable storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PublishSync {
    /// Only on network file systems.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Options of an [`Outbox`].
#[derive(Debug, Clone)]
pub struct OutboxOptions {
    /// Arrangement of the files. Default: tree.
    pub layout: Layout,
    /// Suite of the packets written. Default: sealed.
    pub suite: Suite,
    /// When to sync. Default: auto.
    pub sync: PublishSync,
    /// Wanted clear size of batch frames, in bytes. Default 262,144.
    pub frame_bytes: usize,
    /// Largest packet lifetime: the age after which an own file is removed by a sweep, whatever became of its packet. Default 7 days.
    pub mpl: std::time::Duration,
    /// Whether a control block carries, now and then, something without a meaning, so that readers stay tolerant. Default
    /// true; without it the length of a packet follows from its plan alone.
    pub grease: bool,
    /// The tag of this start's file names. Default none: a random one, as nobody must foresee it.
    pub tag: Option<u32>,
}

impl Default for OutboxOptions {
    fn default() -> Self {
        Self {
            layout: Layout::default(),
            suite: Suite::Sealed,
            sync: PublishSync::default(),
            frame_bytes: FRAME_BYTES,
            mpl: std::time::Duration::from_secs(7 * 86_400),
            grease: true,
            tag: None,
        }
    }
}

/// One record of a packet to be: its header and the SHA-256 of its stored payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedRecord {
    /// The record's header as it stands in the log.
    pub head: RecordHeader,
    /// Digest of its stored payload.
    pub pd: Digest,
}

/// A packet to be.
#[derive(Debug, Clone)]
pub struct PacketPlan {
    /// My endpoint; must be the one the outbox was made for.
    pub sender: EndpointId,
    /// The endpoint it is for, or the remote side for presence.
    pub recipient: EndpointId,
    /// My incarnation.
    pub sender_incarnation: Incarnation,
    /// The recipient's incarnation addressed, unknown if none was seen.
    pub recipient_incarnation: Incarnation,
    /// The packet's number, never used before.
    pub pn: PacketNumber,
    /// Now in Unix milliseconds.
    pub sent_at_ms: i64,
    /// The control block.
    pub control: Control,
    /// The records, in any order.
    pub records: Vec<PlannedRecord>,
}

/// Where stored payloads are read from while a packet is written.
pub trait Payloads {
    /// The stored payload of a record for `recipient`, exactly `head.stored_len` bytes.
    ///
    /// # Errors
    /// Whatever the log reports; the packet is then not published.
    fn payload(&self, recipient: EndpointId, head: &RecordHeader) -> io::Result<Bytes>;
}

/// A packet that is in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Its path below the root.
    pub path: String,
}

/// Why a packet was not published. Nothing is left in the folder.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The name is taken: another life of this endpoint uses the same packet number. A fork alarm.
    #[error("{path} exists already: another process or a copy of this endpoint writes the same packet numbers")]
    Exists {
        /// The path below the root.
        path: String,
    },
    /// The folder has no room.
    #[error("the outbox is full: {0}")]
    Full(#[source] io::Error),
    /// The folder failed in another way.
    #[error("the outbox cannot be written: {0}")]
    Io(#[source] io::Error),
    /// A payload could not be read, or is not what its header says.
    #[error("the payload of record {seq} cannot be read: {source}")]
    Payload {
        /// The record's sequence number.
        seq: u64,
        /// What the log reported.
        #[source]
        source: io::Error,
    },
    /// The plan breaks a rule of the format.
    #[error("the packet cannot be built: {0}")]
    Plan(&'static str),
    /// Signing or sealing failed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl PublishError {
    /// Is it the folder that failed? Another packet would fail too, until the folder is well again.
    #[must_use]
    pub fn is_of_the_folder(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Io(_))
    }
}

/// Writes packets of one endpoint to one remote side.
pub struct Outbox {
    dir: Arc<dyn Dir>,
    sender: EndpointId,
    identity: Option<Arc<Identity>>,
    peer: Arc<PeerKeys>,
    options: OutboxOptions,
    tag: u32,
    /// Set once the folder proved able neither to rename nor to link.
    direct: AtomicBool,
    books: Mutex<Bookkeeping>,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("sender", &self.sender).field("options", &self.options).finish_non_exhaustive()
    }
}

impl Outbox {
    /// An outbox of endpoint `sender` in `dir`. Suite checksum needs neither `identity` nor keys in `peer`,
    /// suite signed only the identity.
    ///
    /// # Errors
    /// If the operating system gives no randomness for the tag of this start's file names.
    pub fn new(
        dir: Arc<dyn Dir>,
        sender: EndpointId,
        identity: Option<Arc<Identity>>,
        peer: Arc<PeerKeys>,
        options: OutboxOptions,
    ) -> io::Result<Self> {
        let random = || getrandom::u32().map_err(|error| io::Error::other(error.to_string()));
        let tag = options.tag.map_or_else(random, Ok)?;
        Ok(Self { dir, sender, identity, peer, options, tag, direct: AtomicBool::new(false), books: Mutex::default() })
    }

    /// Replaces the keys that packets are sealed to.
    pub fn set_peer_keys(&mut self, peer: Arc<PeerKeys>) {
        self.peer = peer;
    }

    /// Writes one packet and gives it its final name.
    ///
    /// # Errors
    /// Every variant of [`PublishError`]; the packet number must then not be used again unless the error is
    /// known to come from before anything was written, so simply do not use it again.
    pub fn publish(&self, plan: &PacketPlan, payloads: &dyn Payloads) -> Result<Published, PublishError> {
        if plan.sender != self.sender {
            return Err(PublishError::Plan("the sender is not this outbox's endpoint"));
        }
        let draft = write::Draft::new(self, plan, payloads)?;
        let name = self.name(plan.recipient, &plan.sender_incarnation, plan.pn);
        let path = self.path(&name);
        self.books().published(plan.recipient, plan.sender_incarnation, plan.pn);
        let direct = self.direct.load(Ordering::Relaxed);
        let result = match draft.write(self, payloads, &path, direct) {
            Err(PublishError::Io(error)) if error.kind() == io::ErrorKind::Unsupported && !direct => {
                tracing::warn!(%error, "files are written under their final names from here on");
                self.direct.store(true, Ordering::Relaxed);
                draft.write(self, payloads, &path, true)
            }
            result => result,
        };
        result.map(|bytes| {
            self.books().came(bytes);
            tracing::trace!(path, bytes, frames = draft.frame_count(), "packet published");
            if self.books().asks()
                && let Ok(Some(at)) = self.dir.modified_s(&path)
            {
                self.books().modified(at);
            }
            Published { bytes, path }
        })
    }

    fn name(&self, recipient: EndpointId, incarnation: &Incarnation, pn: PacketNumber) -> PacketName {
        PacketName { recipient, sender: self.sender, incarnation_random: incarnation.random, pn, tag: self.tag }
    }

    fn path(&self, name: &PacketName) -> String {
        match self.options.layout {
            Layout::Tree => name.path(),
            Layout::Flat => name.flat(),
        }
    }

    fn syncs(&self) -> bool {
        match self.options.sync {
            PublishSync::Auto => self.dir.is_network(),
            PublishSync::Always => true,
            PublishSync::Never => false,
        }
    }

    fn books(&self) -> MutexGuard<'_, Bookkeeping> {
        // The bookkeeping only saves work, so what a panicking thread left of it is good enough.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
