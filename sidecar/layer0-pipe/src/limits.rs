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

/// Age after which an own temporary file is a leftover: since this process first saw it, or of one of another start.
pub(crate) const PART_LEFTOVER_AGE: Duration = Duration::from_secs(24 * 3_600);

/// Names an outbox takes from one folder in one listing.
pub(crate) const FOLDER_NAMES_MAX: usize = 32_768;

/// Names taken from a shard that is listed in every scan, at once; a shard has 4,096 numbers.
pub(crate) const HOT_PAGE_NAMES: usize = 4_096;

/// Names taken from any other inbox folder at once.
pub(crate) const PAGE_NAMES: usize = 1_024;

/// Names taken at once from a shard whose numbers are all closed.
pub(crate) const OLD_PAGE_NAMES: usize = 64;

/// How often such a page is taken where the receiver cleans up, and where only the sender does.
pub(crate) const OLD_PAGE_PERIODS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Closed shards that are remembered for a life, to look into one after the other.
pub(crate) const OLD_SHARDS_KEPT: usize = 64;

/// Pages of one folder in one round; whatever lies behind is for the next.
pub(crate) const PAGES_PER_ROUND: u32 = 1_024;

/// A folder of at most so many names is listed in every scan.
pub(crate) const SMALL_FOLDER_NAMES: usize = 64;

/// Names listed each second, on average, in a larger folder in which nothing happened for two seconds.
pub(crate) const WARM_NAMES_PER_S: u64 = 256;

/// The same after a minute.
pub(crate) const COLD_NAMES_PER_S: u64 = 16;

/// Longest time between two rounds through a large folder, once the round before is finished.
pub(crate) const LARGE_FOLDER_PERIOD_MAX: Duration = Duration::from_secs(60);

/// Folders that are remembered although no file in them is.
pub(crate) const FOLDERS_KEPT_MAX: usize = 4_096;

/// Files of verified packets, and of names that a verified sender is about to use, kept in mind at once.
pub(crate) const TRACKED_FILES_MAX: usize = 65_536;

/// Other files in folders of verified senders: in all, and of one sender.
pub(crate) const UNPROVEN_OF_KNOWN_MAX: (usize, usize) = (16_384, 4_096);

/// Files in folders where no packet ever verified: in all, and of one sender folder.
pub(crate) const UNPROVEN_OF_UNKNOWN_MAX: (usize, usize) = (8_192, 1_024);

/// Files that are to be removed and could not be, kept in mind at once.
pub(crate) const LEAVING_MAX: usize = 1_024;

/// Files that are finished with but stay, and useless ones beyond the quarantine: remembered by a number each.
pub(crate) const SPENT_MAX: usize = 262_144;

/// After how long such a file is looked at again.
pub(crate) const SPENT_AGE: Duration = Duration::from_secs(6 * 3_600);

/// One in so many useless files of a folder is measured in one listing of it.
pub(crate) const MEASURED_ONE_IN: u64 = 16;

/// Files whose tables are in memory at once.
pub(crate) const OPEN_FILES_MAX: usize = 256;

/// How many of those one sender may use whatever the others do, and how many are kept for senders that use fewer.
pub(crate) const OPEN_FILES_EACH: (usize, usize) = (8, 32);

/// Entries of tables in memory at once.
pub(crate) const TABLE_ENTRIES_MAX: usize = 1 << 20;

/// Files of one unfinished packet that are kept in mind.
pub(crate) const COPIES_MAX: usize = 8;

/// Packets whose numbers are remembered, of all lives; those with the most give first.
pub(crate) const PACKETS_KEPT_MAX: usize = 1 << 18;

/// Distance from the newest number of a life within which a file of the sender's own naming is expected.
pub(crate) const EXPECTED_SPAN: u64 = 64;

/// One part in so many of what a scan may do is kept for each kind of file that is not the best.
pub(crate) const RESERVED_ONE_IN: u32 = 8;

/// Lives of senders whose packet numbers are kept in memory; the least recently used goes first.
pub(crate) const SENDER_LIVES_MAX: usize = 4_096;

/// How often a packet of a life that is over is verified and shown to the driver.
pub(crate) const STALE_SHOWN_EVERY: Duration = Duration::from_secs(60);

/// Newest packet numbers per sender life whose salts are kept.
pub(crate) const SALTS_KEPT: usize = wire::limits::SALTS_KEPT;

/// Lives of senders whose folders are looked into before others, by name.
pub(crate) const KNOWN_LIVES_MAX: usize = 2_048;

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

/// Lives for which the next names are tried in one scan.
pub(crate) const PREDICTED_LIVES: usize = 32;

/// One in so many of the files that a scan opens may be a name that is tried, at most.
pub(crate) const PREDICTED_ONE_IN: u32 = 4;

/// Names that may be missing in a row before no further ones of a life are tried.
pub(crate) const PREDICTED_MISSES: u32 = 2;

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
