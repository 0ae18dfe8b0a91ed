//! Why the log refused.
//!
//! Invariant: every message names the file and says what to do. A torn tail after a crash is no error.

use std::io;
use std::path::PathBuf;

use super::format::PAYLOAD_BYTES_MAX;
use super::position::Position;

/// What to do about a damaged log.
const REMEDY: &str = "nothing was changed; restore the volume from before the damage, or move the folder away to start \
     with a new log (what it promised is then reported as outcome unknown)";

/// Why the log refused.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another engine has this log open.
    #[error("log {dir} is in use by {holder}; stop that engine, or give this one a folder of its own", dir = .dir.display())]
    Locked {
        /// The log's folder.
        dir: PathBuf,
        /// Who holds it: "process PID on HOST", as far as known.
        holder: String,
    },
    /// A segment has a major version this program does not know.
    #[error(
        "{file}: written by a later hoft: log major {major}; this program reads {supported}; run the later version"
    )]
    LaterVersion {
        /// The segment file.
        file: String,
        /// The version it has.
        major: u16,
        /// The version this program reads.
        supported: u16,
    },
    /// A segment belongs to another endpoint.
    #[error("{file} belongs to endpoint {found}, this engine is {expected}; give each endpoint a folder of its own")]
    WrongOwner {
        /// The segment file.
        file: String,
        /// The endpoint it belongs to.
        found: String,
        /// The endpoint that opened it.
        expected: String,
    },
    /// What was durable once reads back differently.
    #[error("{file} is damaged at offset {offset} ({what}); {remedy}")]
    Damaged {
        /// The segment file.
        file: String,
        /// Offset of the damaged header or entry, in bytes.
        offset: u64,
        /// What was found there.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The position's segment is not on disk.
    #[error("log position {position} is gone: its segment was removed")]
    Gone {
        /// The position asked for.
        position: Position,
    },
    /// More was asked of an entry than it holds.
    #[error("log position {position} holds {len} bytes; {skip} + {wanted} were asked for")]
    OutOfRange {
        /// The position asked for.
        position: Position,
        /// Length of the entry's payload.
        len: usize,
        /// Bytes to skip.
        skip: usize,
        /// Bytes wanted after them.
        wanted: usize,
    },
    /// The payload is too long for one entry.
    #[error("a log entry of {len} bytes is too long; at most {PAYLOAD_BYTES_MAX}")]
    TooLarge {
        /// Length in bytes.
        len: usize,
    },
    /// The kind is the log's own.
    #[error("log entry kind {kind} is reserved")]
    ReservedKind {
        /// The kind.
        kind: u8,
    },
    /// No space is left on the volume, or in the segment; nothing was appended.
    #[error("no space for {file}: {source}; free space on the volume")]
    Full {
        /// The segment file.
        file: String,
        /// What the file system said.
        source: io::Error,
    },
    /// An earlier call failed; nothing may be written any more.
    #[error("the log stopped after an earlier error; restart the engine")]
    Poisoned,
    /// The file system refused.
    #[error("{file}: cannot {action}: {source}{who}", who = crate::who::refused(.source, "read and write"))]
    Io {
        /// The file or folder.
        file: String,
        /// What was tried.
        action: &'static str,
        /// What the file system said.
        source: io::Error,
    },
}

impl LogError {
    pub(super) fn damaged(file: String, offset: u64, what: &'static str) -> Self {
        Self::Damaged { file, offset, what, remedy: REMEDY }
    }

    pub(super) fn io(file: String, action: &'static str, source: io::Error) -> Self {
        Self::Io { file, action, source }
    }

    /// As [`LogError::io`], for calls that may find the disk full.
    pub(super) fn write(file: String, action: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { file, source },
            _ => Self::Io { file, action, source },
        }
    }

    /// Turns a failure for want of space into [`LogError::Full`], where nothing of the call remains.
    pub(super) fn full_if_no_space(self) -> Self {
        match self {
            Self::Io { file, action, source } => Self::write(file, action, source),
            other => other,
        }
    }

    pub(super) fn leaves_log_usable(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::TooLarge { .. } | Self::ReservedKind { .. })
    }
}
