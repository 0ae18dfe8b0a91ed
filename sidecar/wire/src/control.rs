//! The control block: what a packet says besides records (wire format §6, §7; check 16 of §11).
//!
//! Invariants: `encode` never writes a block that `decode` refuses (lists beyond their bound are cut, a SACK without its ACK is left out);
//! `decode` refuses a block for any malformed known value, even one that its scope makes ignored. What a value means for the
//! association is not known here; values outside an association are taken away by `drop_association_scope`.
//! Test to read first: `a_control_block_comes_back`.

mod decode;
mod encode;

use crate::ids::{EndpointId, SideId, StreamId, endpoint_id};
use crate::ranges::RangeSet;
use crate::reject::Reject;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// Types of the control block.
pub mod tlv_type {
    /// "Echo this nonce."
    pub const HELLO: u64 = 2;
    /// Kind and name the sender's id derives from.
    pub const ENDPOINT: u64 = 3;
    /// A nonce or ticket, answered.
    pub const ECHO: u64 = 4;
    /// The receiver's incarnation is refused.
    pub const RESET: u64 = 6;
    /// State of the sender's log.
    pub const LOG: u64 = 8;
    /// Cumulative acknowledgement.
    pub const ACK: u64 = 10;
    /// Selective acknowledgement.
    pub const SACK: u64 = 12;
    /// Which packets arrived, and how.
    pub const PACKETS: u64 = 14;
    /// Credit of the log, exchanges and streams.
    pub const CREDIT: u64 = 16;
    /// Credit of single streams.
    pub const STREAM_CREDIT: u64 = 18;
    /// Makes the packet ack-eliciting.
    pub const PING: u64 = 20;
    /// Versions and features.
    pub const VERSIONS: u64 = 21;
    /// What the sender can take.
    pub const LIMITS: u64 = 23;
    /// Keys the sender has and accepts.
    pub const KEYS: u64 = 25;
    /// Counters about the peer's packets.
    pub const COUNTERS: u64 = 27;
    /// How packets fared by size.
    pub const CUT_HISTOGRAM: u64 = 29;
    /// Level of pressure.
    pub const PRESSURE: u64 = 31;
    /// An endpoint is there.
    pub const PRESENCE: u64 = 35;
    /// Reserved: a one-time KEM key.
    pub const PREKEY: u64 = 37;
    /// Reserved: a newer bundle.
    pub const BUNDLE: u64 = 39;
    /// Reserved: forward error correction.
    pub const FEC_GROUP: u64 = 41;
    /// Records of which the tombstone was taken.
    pub const TOMBS_TAKEN: u64 = 43;
}

/// Feature bits of [`Versions`]: what the sender can receive.
pub mod feature {
    /// Tombstones.
    pub const TOMBSTONES: u64 = 1;
    /// Prekeys (stage 2).
    pub const PREKEYS: u64 = 1 << 1;
    /// Forward error correction (stage 2).
    pub const FEC: u64 = 1 << 2;
    /// Packets inside a tar (stage 2).
    pub const TAR: u64 = 1 << 3;
    /// A pre-shared key mixed in (stage 2).
    pub const PSK_MIXED: u64 = 1 << 4;
}

/// Buckets of the cut histogram.
pub const CUT_BUCKETS: usize = 24;
/// For each bucket of packet sizes: packets at risk, packets cut.
pub type CutHistogram = [(u64, u64); CUT_BUCKETS];

/// What a control block says; absent TLVs are `None`, empty or false.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// HELLO: a nonce to echo.
    pub hello: Option<[u8; 16]>,
    /// ENDPOINT: who the sender is.
    pub endpoint: Option<EndpointName>,
    /// ECHO: the nonce or ticket that is answered.
    pub echo: Option<[u8; 16]>,
    /// RESET: about the header's recipient incarnation.
    pub reset: Option<ResetReason>,
    /// LOG: state of the sender's log.
    pub log: Option<LogState>,
    /// ACK: cumulative acknowledgement.
    pub ack: Option<Ack>,
    /// SACK: what is held above `cum + 1`; goes only with an ACK.
    pub sack: Option<RangeSet>,
    /// PACKETS: which of the peer's packets arrived.
    pub packets: Option<PacketReport>,
    /// CREDIT: what the peer may send.
    pub credit: Option<Credit>,
    /// STREAM_CREDIT: bytes each of these streams may reach, ascending by stream.
    pub stream_credit: Vec<(StreamId, u64)>,
    /// PING: answer soon.
    pub ping: bool,
    /// VERSIONS: what the sender speaks.
    pub versions: Option<Versions>,
    /// LIMITS: what the sender can take.
    pub limits: Option<Limits>,
    /// KEYS: what the sender pins, can open and accepts.
    pub keys: Option<KeysTlv>,
    /// COUNTERS: of the peer's packets.
    pub counters: Option<Counters>,
    /// CUT_HISTOGRAM: how the peer's packets fared by size.
    pub cut_histogram: Option<Box<CutHistogram>>,
    /// PRESSURE: bits 0–1 level, bit 2 damage.
    pub pressure: Option<u64>,
    /// PRESENCE: only in a packet to a side id.
    pub presence: Option<Presence>,
    /// PREKEY as it stands: reserved, not judged.
    pub prekey: Option<Vec<u8>>,
    /// BUNDLE as it stands: reserved, not judged.
    pub bundle: Option<Vec<u8>>,
    /// TOMBS_TAKEN: records of which the tombstone was taken.
    pub tombs_taken: Option<RangeSet>,
}

/// Kind and name an endpoint id derives from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndpointName {
    /// "gateway", "pod", "canary" or another valid name.
    pub kind: String,
    /// Ordinal, pod UID or another valid name.
    pub name: String,
}

impl EndpointName {
    /// The id of the endpoint of `side` with this kind and name.
    #[must_use]
    pub fn id(&self, side: &SideId) -> EndpointId {
        endpoint_id(side, &self.kind, &self.name)
    }
}

/// Why an incarnation is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResetReason {
    /// A later life of it was confirmed.
    Superseded,
    /// Two lives of one id write the same numbers.
    Forked,
    /// Too many endpoints.
    NoRoom,
    /// Its incarnation is closed.
    Refused,
    /// A reason this version does not know; ignored.
    Other(u64),
}

impl ResetReason {
    /// Its number on the wire.
    #[must_use]
    pub const fn code(self) -> u64 {
        match self {
            Self::Superseded => 1,
            Self::Forked => 2,
            Self::NoRoom => 3,
            Self::Refused => 4,
            Self::Other(code) => code,
        }
    }

    /// The reason of a number.
    #[must_use]
    pub const fn from_code(code: u64) -> Self {
        match code {
            1 => Self::Superseded,
            2 => Self::Forked,
            3 => Self::NoRoom,
            4 => Self::Refused,
            code => Self::Other(code),
        }
    }
}

/// State of the sender's log. 1 ≤ oldest ≤ next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogState {
    /// Sequence number the next record gets.
    pub next: u64,
    /// Lowest sequence number not released.
    pub oldest: u64,
    /// Lower packet numbers of the sender are closed.
    pub pn_floor: u64,
}

/// Cumulative acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Every record up to this sequence number is durable; 0: none.
    pub cum: u64,
    /// First half of the chain up to `cum`.
    pub chain: [u8; 16],
    /// The highest cumulative ack the sender has seen of its own log.
    pub una_seen: u64,
}

/// What the sender knows of the peer's packets, by packet number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PacketReport {
    /// The largest packet number received.
    pub largest: u64,
    /// The packet most recently first received; 0: none yet.
    pub echo_pn: u64,
    /// Microseconds from then until this was written.
    pub hold_us: u64,
    /// Every frame was used.
    pub complete: RangeSet,
    /// Prefix verified, a frame missing or bad.
    pub partial: RangeSet,
    /// Signed well, rejected by checks 14–17.
    pub unopenable: RangeSet,
}

/// What the peer may send in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Sum of the costs of its records, in bytes.
    pub max_log_bytes: u64,
    /// The highest exchange it may open.
    pub max_exchanges: u64,
    /// Bytes a stream without credit of its own may reach.
    pub max_stream_bytes: u64,
}

/// What the sender speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The lowest major version.
    pub major_min: u64,
    /// The highest major version.
    pub major_max: u64,
    /// See [`feature`].
    pub features: u64,
    /// Name and version of the program: at most 64 printable ASCII characters; others are read and written as `?`.
    pub software: String,
}

/// What the sender can take and how it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Clear bytes of a frame, and sum of `raw_len` of its records, at most; at least 2^21.
    pub max_frame: u64,
    /// Milliseconds it may hold back an ack.
    pub ack_delay_ms: u64,
    /// Bytes of a packet, at most; 0: no limit.
    pub max_packet: u64,
    /// Milliseconds between packets when there is nothing to say.
    pub heartbeat_ms: u64,
}

/// What the sender pins of the peer, can open and accepts. At most 8 of each list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeysTlv {
    /// Version of the peer's bundle it pins; 0: by hand.
    pub bundle_version: u64,
    /// Ids of the KEM keys it can open.
    pub kem: Vec<[u8; 8]>,
    /// Ids of the signing keys it accepts.
    pub signing: Vec<[u8; 8]>,
}

/// Counters of the peer's packets since this incarnation began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets used.
    pub used: u64,
    /// Packets used in part.
    pub partial: u64,
    /// Packets signed well but rejected by checks 14–17.
    pub unopenable: u64,
    /// Frames not used.
    pub bad_frames: u64,
    /// Records received again.
    pub duplicate_records: u64,
    /// Files that are no packet of the peer.
    pub junk_files: u64,
}

/// An endpoint is there and may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Bit 0 executes inbound calls, bit 1 draining.
    pub role: u64,
    /// Share of new calls it wants.
    pub weight: u64,
    /// Milliseconds this is valid from its receipt.
    pub valid_ms: u64,
    /// May be echoed in place of a nonce.
    pub ticket: [u8; 16],
}

impl Presence {
    /// Role bit: executes inbound calls.
    pub const ROLE_EXECUTES: u64 = 1;
    /// Role bit: draining.
    pub const ROLE_DRAINING: u64 = 2;
}

impl Control {
    /// Whether the block makes its packet ack-eliciting (records do so too).
    #[must_use]
    pub const fn is_ack_eliciting(&self) -> bool {
        self.ping || self.hello.is_some()
    }

    /// Takes away what counts only inside a confirmed association (scope A of §7).
    pub fn drop_association_scope(&mut self) {
        let kept = core::mem::take(self);
        *self = Self {
            hello: kept.hello,
            endpoint: kept.endpoint,
            echo: kept.echo,
            reset: kept.reset,
            versions: kept.versions,
            limits: kept.limits,
            keys: kept.keys,
            presence: kept.presence,
            prekey: kept.prekey,
            bundle: kept.bundle,
            ..Self::default()
        };
    }

    /// The last part of check 16: ENDPOINT stands with HELLO, ECHO and PRESENCE, and derives to `sender`, an endpoint of `side`.
    ///
    /// # Errors
    /// `Endpoint` if not.
    pub fn check_endpoint(&self, side: &SideId, sender: &EndpointId) -> Result<(), Reject> {
        let needed = self.hello.is_some() || self.echo.is_some() || self.presence.is_some();
        let good = self.endpoint.as_ref().map_or(!needed, |endpoint| endpoint.id(side) == *sender);
        if good { Ok(()) } else { Err(Reject::Endpoint) }
    }
}

/// The bucket of the cut histogram for a packet of `len` bytes: bucket i begins at 10^6 · 2^(i/2), bucket 0 at 0; the last is open.
#[must_use]
pub fn cut_bucket(len: u64) -> usize {
    // len ≥ 10^6 · 2^(i/2) squared on both sides: exact, without roots.
    let square = u128::from(len) * u128::from(len);
    (1..CUT_BUCKETS).rev().find(|i| square >= 1_000_000_000_000 << i).unwrap_or(0)
}

#[cfg(test)]
mod tests;
