//! Every bound and every constant of time of this room, by name (wire format §14 has those of the format itself).

use crate::time::Duration;
use wire::limits::ENDPOINTS_PER_SIDE_MAX;

/// Packet numbers reserved by one durable entry.
pub const PN_BLOCK: u64 = 4_096;
/// A new block is asked for when fewer than this are left.
pub const PN_BLOCK_LOW: u64 = 1_024;
/// Records in one packet.
pub const RECORDS_PER_PACKET_MAX: usize = 65_536;
/// Packets of mine that are remembered until they may be forgotten; beyond it no new records are sent.
pub const SENT_PACKETS_MAX: usize = 16_384;
/// Packets of the peer that may be open (not closed and durable) at once; older ones are not reported.
pub const OPEN_PACKETS_MAX: usize = 4_096;
/// Incarnations that talked without being confirmed and still get an answer.
pub const CANDIDATES_MAX: usize = 4;
/// DATA below this many stored bytes counts as small: it goes first and does not wait for bulk.
pub const SMALL_DATA_BYTES: u32 = 64 * 1024;
/// A probe carries at most this many bytes of records.
pub const PROBE_BYTES_MAX: u64 = 1_000_000;
/// Small records travel with bulk only if the whole packet stays within this many bytes.
pub const MIXED_PACKET_BYTES_MAX: u64 = 1 << 20;
/// A stream of bulk begins its turn when so many bytes are its share, and yields when they are used up.
pub const BULK_QUANTUM_BYTES: u64 = 1 << 20;
/// The share of a stream grows by so many bytes a round: the turn of an incremental one.
pub const BULK_PIECE_BYTES: u64 = 1 << 18;
/// The part of the bytes that a class of bulk gets however urgent the others are: one in so many.
pub const STARVATION_DIVISOR: u64 = 20;
/// Records held behind a gap. Some cost no credit to speak of, so the window alone would not bound memory.
pub const HELD_MAX: usize = 1 << 18;
/// A record reported lost this often while later ones pass travels alone.
pub const LOSSES_ALONE: u8 = 4;
/// A record reported lost this often is shown as poisoned. Where two files of five are damaged, six losses are chance.
pub const LOSSES_POISONED: u8 = 12;
/// Alarms kept for the status.
pub const ALARMS_MAX: usize = 16;

/// Smallest difference in time that means anything: folders are polled.
pub const GRANULARITY: Duration = Duration::from_millis(10);
/// Bounds of the delay of an acknowledgement: an eighth of the round trip.
pub const ACK_DELAY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(60));
/// Bounds of how long small records gather: a sixteenth of the round trip.
pub const FLUSH_SMALL: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(250));
/// Bounds of how long bulk gathers: a quarter of the round trip.
pub const FLUSH_BULK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// Bounds of the adaptive heartbeat: a quarter of the round trip.
pub const HEARTBEAT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// How often a peer that is probably gone for good gets a sign of life: each is a file in somebody's folder.
pub const HEARTBEAT_QUIET: Duration = Duration::from_secs(3_600);
/// Back-off of probes and of HELLO ends here.
pub const PROBE_INTERVAL_MAX: Duration = Duration::from_secs(900);
/// Packets per probe timeout (RFC 9002 §6.2.4): with a fifth of all files lost each way, one would often be answered by silence.
pub const PROBES_PER_TIMEOUT: u8 = 2;
/// Probe timeouts without news after which only probes are sent.
pub const PTO_SUSPEND: u32 = 3;
/// One answer to an incarnation that is not confirmed per this time.
pub const ANSWER_INTERVAL: Duration = Duration::from_secs(1);
/// One RESET per this time.
pub const RESET_INTERVAL: Duration = Duration::from_secs(60);
/// Nothing is sent for this long after a packet could not be published.
pub const PUBLISH_RETRY: Duration = Duration::from_secs(1);
/// Old packets are looked through once per this time.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(3_600);
/// Control-only packets are forgotten once this many newer ones exist and they are older than [`SUPERSEDED_AGE`].
pub const SUPERSEDED_BY: usize = 8;
/// See [`SUPERSEDED_BY`].
pub const SUPERSEDED_AGE: Duration = Duration::from_secs(3_600);
/// A peer that announces fewer heartbeats than one in so many ms is believed no more than this: a week.
pub const HEARTBEAT_TOLD_MAX_MS: u64 = 7 * 86_400_000;
/// Intervals between packets of the peer that are kept to judge its silence.
pub const SUSPICION_WINDOW: usize = 100;
/// From this φ on the peer's silence is suspicious.
pub const SUSPICIOUS: f64 = 8.0;
/// The same while nothing is heard of my packets either: one wrong suspicion in ten, twice.
pub const SUSPICIOUS_SUSPENDED: f64 = 1.0;
/// One-way times older than this say nothing about the clocks any more: at 50 ppm they drift by 180 ms.
pub const OFFSET_WINDOW: Duration = Duration::from_secs(3_600);
/// The least round trip is that of at least so many samples.
pub const LEAST_SAMPLES: u32 = 100;
/// Largest multiple of the reordering allowance.
pub const REORDER_FACTOR_MAX: u32 = 8;
/// The reordering allowance is as at first after this many recoveries without a packet that was called lost too early.
pub const REORDER_DECAY: u32 = 16;

/// Servers of the far side that are remembered.
pub const SERVERS_MAX: usize = ENDPOINTS_PER_SIDE_MAX;
/// Lives of a server that are remembered besides the one that was proved.
pub const OTHER_LIVES_MAX: usize = 4;
/// A larger weight counts as this.
pub const WEIGHT_MAX: u64 = 65_535;
/// The word of a server counts no longer than this, whatever it says.
pub const PRESENCE_VALID_MAX: Duration = Duration::from_secs(86_400);
/// Bounds of the adaptive interval between announcements: a quarter of the round trip. A sealed one has about 5 kB.
pub const ANNOUNCE_INTERVAL: (Duration, Duration) = (Duration::from_secs(45), Duration::from_secs(300));
/// An announcement counts for so many intervals.
pub const VALID_INTERVALS: u32 = 3;
/// Announcements that stay in the folder.
pub const PRESENCE_FILES_KEPT: usize = 2;
/// How long a ticket is announced.
pub const TICKET_LIFE: Duration = Duration::from_secs(86_400);
