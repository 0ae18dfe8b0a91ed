//! Named limits of this room that are not configurable. Limits of the format are in `wire::limits`.
//!
//! Invariant: no map or loop in this room grows without one of these or a field of `InboxOptions`.
//! Specification: wire format §14, protocol §6. Each has a test where it is used.

use std::time::Duration;

/// A DATA record whose stored payload has at least this many bytes gets a chunk frame of its own.
pub(crate) const CHUNK_FROM_BYTES: u32 = 64 << 10;

/// Default clear size of a batch frame, in bytes.
pub(crate) const FRAME_BYTES: usize = 256 << 10;

/// Batch frames kept in memory between building the table and writing, in bytes; others are built twice.
pub(crate) const BATCHES_KEPT_BYTES: usize = 4 << 20;

/// One control block in this many carries a GREASE TLV.
pub(crate) const GREASE_ONE_IN: u8 = 16;

/// Published paths an outbox remembers, so that removing one needs no listing.
pub(crate) const PUBLISHED_KEPT: usize = 65_536;

/// Age after which an own temporary file is a leftover.
pub(crate) const PART_LEFTOVER_AGE: Duration = Duration::from_secs(24 * 3_600);

/// Names taken from one folder in one listing.
pub(crate) const FOLDER_NAMES_MAX: usize = 32_768;

/// Files an inbox keeps in mind at once, quarantined ones not counted.
pub(crate) const TRACKED_FILES_MAX: usize = 65_536;

/// Files whose tables are in memory at once.
pub(crate) const OPEN_FILES_MAX: usize = 256;

/// Lives of senders whose packet numbers are kept in memory; the least recently used goes first.
pub(crate) const SENDER_LIVES_MAX: usize = 4_096;

/// How often a packet of a life that is over is verified and shown to the driver.
pub(crate) const STALE_SHOWN_EVERY: Duration = Duration::from_secs(60);

/// Newest packet numbers per sender life whose salts are kept.
pub(crate) const SALTS_KEPT: usize = wire::limits::SALTS_KEPT;

/// Sender folders that once held a verified packet: walked before others.
pub(crate) const KNOWN_FOLDERS_MAX: usize = 1_024;

/// Paths this inbox removed, to notice files that come back.
pub(crate) const REMOVED_KEPT: usize = 8_192;

/// A file that came back this often after it was removed is left to its sender.
pub(crate) const REAPPEARANCES_MAX: u8 = 2;

/// First pause before such a file is removed once more.
pub(crate) const LEFT_MIN: Duration = Duration::from_secs(30);

/// Bytes of one file that are read before it is another file's turn.
pub(crate) const SLICE_BYTES: u64 = 8 << 20;

/// Frames that may fail in a row before those tried earlier are left for the last pass.
pub(crate) const FAILURES_IN_A_ROW: u32 = 4;

/// Depth of folders below the root that are looked into: recipient, sender, incarnation, shard.
pub(crate) const FOLDER_DEPTH: usize = 4;

/// Names listed for each file that is worked on, at most, while more is due than one scan can do.
pub(crate) const NAMES_PER_FILE: usize = 16;

/// How often a folder is listed in which nothing happens and that is not among its parent's newest.
pub(crate) const COLD_FOLDER_PERIOD: Duration = Duration::from_secs(5);

/// How long a folder stays empty before it is removed.
pub(crate) const EMPTY_FOLDER_AGE: Duration = Duration::from_secs(3_600);

/// Newest children of a folder that are always listed.
pub(crate) const HOT_CHILDREN: usize = 2;

/// Senders for which the next names are tried in one scan.
pub(crate) const PREDICTED_SENDERS: usize = 32;

/// First pause before something unfinished is tried again.
pub(crate) const RETRY_MIN: Duration = Duration::from_millis(20);

/// First pause before a packet is shown again whose verdict was `Wait`.
pub(crate) const WAIT_MIN: Duration = Duration::from_millis(100);

/// Longest pause before a packet is shown again whose verdict was `Wait`.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(10);

/// Longest pause before a closed partial or a quarantined file is looked at again, or one that came back is removed again.
pub(crate) const RECHECK_MAX: Duration = Duration::from_secs(15 * 60);

/// Presence packets of one sender life that stay in the folder.
pub(crate) const PRESENCE_KEPT: usize = 2;
