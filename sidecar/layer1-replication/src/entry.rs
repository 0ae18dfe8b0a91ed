//! Durable entries: everything of one peer that must survive a crash, as the driver writes it into its log and gives it back at the start.
//!
//! An entry holds meta data only. The driver writes the peer's endpoint id before it and, for 17 and 18, the record's payload behind it.
//! `v` is a varint (RFC 9000 §16, shortest form), `r` a list of ranges (wire format §6), `i` an incarnation (16 bytes), `d` a digest (32 bytes),
//! `h` = seq v, stream v, offset v, raw_len v, stored_len v, kind u8, flags u8.
//!
//! | kind | name | layout |
//! |---|---|---|
//! | 16 | Associated | mine i, peer's i, confirmations v |
//! | 17 | Sent | h, payload digest d, charged u8 |
//! | 18 | Received | h, chain digest d, chain kind u8, chain flags u8, charged v |
//! | 19 | Acked | una v, chain d |
//! | 20 | PeerJoin | srtt_us, rttvar_us, max_log_bytes, max_exchanges, max_stream_bytes, max_frame, ack_delay_ms, association_pn v each |
//! | 21 | PnBlock | reserved_below v, floor v |
//! | 22 | Granted | max_log_bytes v, max_exchanges v, max_stream_bytes v |
//! | 23 | StreamGranted | stream v, max v |
//! | 24 | StreamClosed | stream v (the peer's stream of the exchange) |
//! | 25 | Consumed | stream v, offset v, raw_len v |
//! | 26 | Charged | r of seqs |
//! | 27 | Dissociated | peer's i |
//! | 32 | AssociationState | mine i, peer's i (zero: none), confirmations v, count v, closed i each |
//! | 33 | SendBase | una v, chain d, charged v (of released records), next exchange v |
//! | 34 | ReceiveBase | cum v, chain d, charged v, consumed v, r of tombstones taken |
//! | 35 | SendStream | stream v, offset v, reset u8 |
//! | 36 | ReceiveStream | stream v, granted v, final length + 1 v (0: none), cost v, consumed cost v, r received, r consumed (bytes) |
//! | 37 | ClosedExchanges | r opened by me, r opened by the peer |
//! | 38 | Unreleased | as 17 |
//! | 39 | Held | as 18 |
//!
//! Invariants: 32–39 stand only in a checkpoint, in that order, followed by 20–23 as needed, and carry no payload; replaying a checkpoint recreates the
//! state it was taken from. Decoding never panics, and refuses what it does not know. Test to read first: `every_entry_survives_its_bytes`.

mod codec;

use alloc::vec::Vec;
use wire::{Digest, Incarnation, RangeSet, RecordHeader, StreamId};

/// What a `Received` or `Sent` entry says of its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMeta {
    /// The record's header.
    pub head: RecordHeader,
    /// The payload digest that the chain links: of a tombstone, that of the record it stands for.
    pub link_digest: Digest,
    /// The kind that the chain links.
    pub link_kind: u8,
    /// The flags that the chain links.
    pub link_flags: u8,
    /// What was counted for it, in bytes of log credit.
    pub charged: u64,
}

/// What was learned from the peer and is worth keeping over a restart. Zero: not learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerJoin {
    /// Smoothed round trip in µs.
    pub srtt_us: u64,
    /// Its mean deviation in µs.
    pub rttvar_us: u64,
    /// Log credit the peer gave.
    pub max_log_bytes: u64,
    /// Exchanges the peer allows.
    pub max_exchanges: u64,
    /// Stream credit of a stream without its own.
    pub max_stream_bytes: u64,
    /// Largest frame the peer takes.
    pub max_frame: u64,
    /// How long the peer delays an acknowledgement.
    pub ack_delay_ms: u64,
    /// Highest packet number of the peer that took part in this association.
    pub association_pn: u64,
}

/// One durable entry. See the table of the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An association opened; whatever was before it is closed.
    Associated {
        /// My incarnation.
        my_incarnation: Incarnation,
        /// The peer's.
        peer_incarnation: Incarnation,
        /// Associations ever opened, this one included.
        confirmations: u64,
    },
    /// A record entered my log.
    Sent {
        /// The record's header.
        head: RecordHeader,
        /// SHA-256 of its payload as stored.
        payload_digest: Digest,
        /// It counts against the peer's log credit: it may be sent, so it may have been.
        charged: bool,
    },
    /// A record of the peer was taken.
    Received(ReceivedMeta),
    /// The peer proved that it holds my records up to here.
    Acked {
        /// The last of them.
        una: u64,
        /// The chain there.
        chain: Digest,
    },
    /// See [`PeerJoin`].
    PeerJoin(PeerJoin),
    /// Packet numbers below may be used.
    PnBlock {
        /// The first number that may not.
        reserved_below: u64,
        /// My packets below this number are done with.
        floor: u64,
    },
    /// Credit that may be announced to the peer.
    Granted {
        /// Bytes of log.
        max_log_bytes: u64,
        /// Number of the last exchange the peer may open.
        max_exchanges: u64,
        /// Bytes of a stream without its own credit.
        max_stream_bytes: u64,
    },
    /// Credit of one stream of the peer that may be announced.
    StreamGranted {
        /// The peer's stream.
        stream: StreamId,
        /// Bytes.
        max: u64,
    },
    /// An exchange ended, and with it both its streams.
    StreamClosed {
        /// The peer's stream of the exchange.
        stream: StreamId,
    },
    /// A received payload is not needed any more.
    Consumed {
        /// The peer's stream.
        stream: StreamId,
        /// Where the record begins in it.
        offset: u64,
        /// Its raw length.
        raw_len: u32,
    },
    /// Records of mine that now count against the peer's log credit.
    Charged {
        /// Sequence numbers.
        seqs: RangeSet,
    },
    /// My incarnation changed: the association with the peer ended on this side.
    Dissociated {
        /// The peer's incarnation, which may still be alive.
        peer_incarnation: Incarnation,
    },
    /// Checkpoint: association and closed lives.
    AssociationState {
        /// My incarnation.
        my_incarnation: Incarnation,
        /// The confirmed incarnation of the peer.
        peer_incarnation: Option<Incarnation>,
        /// Associations ever opened.
        confirmations: u64,
        /// Lives of the peer that are over, oldest first.
        closed: Vec<Incarnation>,
    },
    /// Checkpoint: my log up to its oldest record.
    SendBase {
        /// Released up to here.
        una: u64,
        /// The chain there.
        chain: Digest,
        /// Credit used by released records.
        charged: u64,
        /// Number of the next exchange.
        next_exchange: u64,
    },
    /// Checkpoint: the peer's log up to the first gap.
    ReceiveBase {
        /// Held up to here.
        cum: u64,
        /// The chain there.
        chain: Digest,
        /// Credit used by records that are in `cum`.
        charged: u64,
        /// Credit given back, whether the record is in `cum` or not.
        consumed: u64,
        /// Tombstones taken in place of their records.
        tombs: RangeSet,
    },
    /// Checkpoint: a stream of mine.
    SendStream {
        /// The stream.
        stream: StreamId,
        /// Bytes appended.
        offset: u64,
        /// It was reset.
        reset: bool,
    },
    /// Checkpoint: a stream of the peer, with every record of it, in `cum` or not.
    ReceiveStream {
        /// The stream.
        stream: StreamId,
        /// Credit of its own.
        granted: u64,
        /// Its length, if it was reset.
        final_length: Option<u64>,
        /// Credit its records used.
        cost: u64,
        /// Of that: given back.
        consumed_cost: u64,
        /// Bytes received.
        received: RangeSet,
        /// Bytes consumed.
        consumed: RangeSet,
    },
    /// Checkpoint: exchanges that ended.
    ClosedExchanges {
        /// Opened by me.
        mine: RangeSet,
        /// Opened by the peer.
        theirs: RangeSet,
    },
    /// Checkpoint: a record of mine that is not released.
    Unreleased {
        /// The record's header.
        head: RecordHeader,
        /// SHA-256 of its payload as stored.
        payload_digest: Digest,
        /// It counts against the peer's log credit.
        charged: bool,
    },
    /// Checkpoint: a record of the peer beyond the first gap; its stream and credit are in 34 and 36.
    Held(ReceivedMeta),
}

/// Why an entry cannot be read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Not a kind of this room, or of a later version.
    #[error("unknown entry kind {0}")]
    UnknownKind(u8),
    /// Cut, too long, or a value out of bounds.
    #[error("malformed entry of kind {0}")]
    Malformed(u8),
}

#[cfg(test)]
mod tests;
