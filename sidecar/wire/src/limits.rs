//! The limits of the format (wire format §14), one constant each.
//!
//! Invariant: a reader of this room never allocates more than one of these allows, whatever a packet claims.
//! It holds no policy (packet size, credit, window): that belongs to the layers. Test to read first: none, these are numbers.

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 256;
/// Bytes of the end marker.
pub const END_MARKER_LEN: usize = 16;
/// Bytes of the ext block, at most.
pub const MAX_EXT_LEN: u32 = 65_536;
/// Value of `header_len`, at most: the header and the largest ext block.
pub const MAX_HEADER_LEN: u32 = 65_792;
/// Bytes of the control block, at least.
pub const MIN_CONTROL_LEN: u32 = 8;
/// Bytes of the control block, at most.
pub const MAX_CONTROL_LEN: u32 = 1_048_576;
/// TLVs in one block, at most.
pub const MAX_TLVS: usize = 256;
/// Frames in one packet, at most.
pub const MAX_FRAMES: u32 = 65_536;
/// Clear bytes of one frame, at most (as the format bounds it; a reader's own bound is its LIMITS).
pub const MAX_FRAME_LEN: u32 = 1 << 24;
/// Clear bytes of a frame that every reader takes, and the least LIMITS may announce.
pub const MIN_MAX_FRAME: u64 = 1 << 21;
/// Bytes of a whole packet file, at most.
pub const MAX_PACKET_LEN: u64 = 1 << 40;
/// The largest packet number.
pub const MAX_PACKET_NUMBER: u64 = (1 << 40) - 1;
/// Every counter, offset and sequence number is below this.
pub const COUNTER_END: u64 = 1 << 62;
/// Stream ids are below this.
pub const STREAM_END: u64 = 1 << 48;
/// Ranges in a SACK, in TOMBS_TAKEN and in each list of PACKETS, at most.
pub const MAX_RANGES: usize = 256;
/// Ranges of packet numbers a receiver holds per sender, at most.
pub const MAX_PN_RANGES_HELD: usize = 4_096;
/// Newest packet numbers of a sender whose salts are kept, to tell a copy from a twin.
pub const SALTS_KEPT: usize = 4_096;
/// Streams in one STREAM_CREDIT, at most.
pub const MAX_STREAM_CREDITS: usize = 1_024;
/// Key ids in each list of KEYS, at most.
pub const MAX_KEY_IDS: usize = 8;
/// Bytes of the software name in VERSIONS, at most.
pub const MAX_SOFTWARE_LEN: usize = 64;
/// Random bytes in a GREASE TLV, at most.
pub const MAX_GREASE_LEN: usize = 16;
/// Value of a record's `raw_len` and stored length, at most.
pub const MAX_RECORD_LEN: u32 = (1 << 24) - 1;
/// Records in one batch frame, at most.
pub const MAX_BATCH_RECORDS: u64 = 65_536;
/// The largest distance of a record's sequence number from the first of its batch.
pub const MAX_BATCH_SPAN: u64 = 65_535;
/// How far above the cumulative ack a record is still taken.
pub const SEQ_WINDOW: u64 = 4_194_304;
/// Confirmed endpoints of one side, at most.
pub const ENDPOINTS_PER_SIDE_MAX: usize = 1_024;
/// Closed incarnations kept per endpoint.
pub const CLOSED_INCARNATIONS_KEPT: usize = 16;
/// Bytes of a field section, at most.
pub const MAX_FIELD_SECTION: usize = 1 << 20;
/// Bytes of a field section by default, at most.
pub const DEFAULT_FIELD_SECTION: usize = 65_536;
/// Bytes of an envelope, at most.
pub const MAX_ENVELOPE: usize = 65_536;
/// Characters of a bundle token, at most.
pub const MAX_TOKEN: usize = 16_384;
/// Keys in one bundle, at most.
pub const MAX_BUNDLE_KEYS: usize = 8;
/// Characters of a name, at most (wire format §13).
pub const MAX_NAME: usize = 63;
/// Log credit of a new association, in bytes of record cost, before any CREDIT arrived (wire format §10).
pub const INITIAL_LOG_CREDIT: u64 = 1 << 20;
/// Exchanges of a new association before any CREDIT arrived.
pub const INITIAL_EXCHANGES: u64 = 16;
/// Credit of a stream of a new association, in bytes, before any CREDIT arrived.
pub const INITIAL_STREAM_CREDIT: u64 = 1 << 20;
/// The last bytes of `max_log_bytes`, kept for records of kinds 1–3.
pub const CONTROL_CREDIT_RESERVE: u64 = 65_536;
/// What a record costs of the log credit besides its `raw_len`, in bytes.
pub const RECORD_COST: u64 = 64;
/// Window of a zstd frame in a record, at most, in bytes.
pub const MAX_ZSTD_WINDOW: u64 = 1 << 24;
