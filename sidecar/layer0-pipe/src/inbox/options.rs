//! What an inbox is told at construction: the mirror's profile, time bounds and budgets.
//!
//! Invariants: every queue, memory and loop of the inbox has its bound here or in `limits.rs`.
//! What this file does not do: read configuration files. Specification: protocol §1 "Completeness", §3 "Garbage collection".
//! Read first: the doc comments of [`InboxOptions`].

use std::time::Duration;

use crate::poll::POLL_MIN;

/// How the mirror treats files after it moved them: who may delete what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// The mirror takes files out of the sender's folder; each side cleans its own folder.
    Move,
    /// Nobody propagates deletions; each side cleans its own folder.
    #[default]
    Copy,
    /// Deletions are propagated, the receiver's may be undone: only the sender deletes.
    Sync,
}

impl Profile {
    /// Whether the receiver removes files from its own inbox.
    #[must_use]
    pub const fn receiver_deletes(self) -> bool {
        matches!(self, Self::Move | Self::Copy)
    }
}

/// Options of an [`crate::Inbox`].
#[derive(Debug, Clone)]
pub struct InboxOptions {
    /// What the mirror does with deletions.
    pub profile: Profile,
    /// Lower bound of the quiet time after which a file that does not change is final. Default 1 s.
    pub quiet_min: Duration,
    /// Upper bound of the quiet time. Default 1 h.
    pub quiet_max: Duration,
    /// Shortest wait between two scans. Default 5 ms.
    pub poll_min: Duration,
    /// Longest wait between two scans; see [`crate::poll_bound`]. Default 10 s.
    pub poll_max: Duration,
    /// Files opened in one scan, at most. Default 256.
    pub files_per_scan: u32,
    /// Bytes read in one scan before it ends (the frame at hand is finished). Default 64 MiB.
    pub bytes_per_scan: u64,
    /// Folders listed in one scan, at most. Default 1,024.
    pub folders_per_scan: u32,
    /// Names listed in one scan, at most (a page that was begun is finished). Default 16,384.
    pub names_per_scan: usize,
    /// Files remembered as never usable, so that they are not read again each scan. Default 10,000.
    pub quarantine_max: usize,
    /// Largest packet lifetime: what nobody could use for that long is removed, counted from when this start of the
    /// inbox first saw it: nothing is kept over a restart, and times of files are not trusted. Default 7 days.
    pub mpl: Duration,
    /// Whether names that are likely to come next are opened although no listing shows them.
    /// `None` (default): only where the folder is on a network file system, whose listings are stale.
    pub predict: Option<bool>,
    /// Largest frame this endpoint takes, in clear bytes and in the sum of its records' raw lengths;
    /// the same number as announced in LIMITS. Default 2^24, the format's limit.
    pub max_frame: u64,
    /// Unix time in milliseconds at the moment the monotonic clock of `scan` was zero; used only for the
    /// validity times of pinned keys.
    pub unix_ms_at_zero: i64,
}

impl Default for InboxOptions {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            quiet_min: Duration::from_secs(1),
            quiet_max: Duration::from_secs(3_600),
            poll_min: POLL_MIN,
            poll_max: Duration::from_secs(10),
            files_per_scan: 256,
            bytes_per_scan: 64 << 20,
            folders_per_scan: 1_024,
            names_per_scan: 16_384,
            quarantine_max: 10_000,
            mpl: Duration::from_secs(7 * 86_400),
            predict: None,
            max_frame: 1 << 24,
            unix_ms_at_zero: 0,
        }
    }
}
