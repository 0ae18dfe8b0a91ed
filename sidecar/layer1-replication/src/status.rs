//! A snapshot of one peer for people, metrics and tests. Nothing here is used to decide anything.

use crate::alarm::Alarm;
use alloc::string::String;
use alloc::vec::Vec;
use wire::{Incarnation, Seq};

/// Everything worth showing about one peer. Sizes are bytes.
#[derive(Clone, Debug, Default)]
pub struct PeerStatus {
    /// My incarnation.
    pub my_incarnation: Incarnation,
    /// The confirmed incarnation of the peer, if an association is open.
    pub peer_incarnation: Option<Incarnation>,
    /// Associations ever opened with this peer.
    pub confirmations: u64,
    /// Why the pair is halted, if it is.
    pub halted: Option<Alarm>,
    /// The newest alarms, oldest first.
    pub alarms: Vec<Alarm>,
    /// The sequence number that my next record gets.
    pub next: Seq,
    /// My records up to here are proved to be held by the peer.
    pub una: Seq,
    /// I hold the peer's records up to here.
    pub cum: Seq,
    /// The peer knows that I hold its records up to here.
    pub una_seen: Seq,
    /// The sequence number that the peer's next record gets, as far as it said.
    pub peer_next: Seq,
    /// Packets with records, PING or HELLO that are published and neither reported nor lost.
    pub in_flight_packets: u64,
    /// Bytes of records in them.
    pub in_flight_bytes: u64,
    /// Bytes that the log still takes for the peer.
    pub send_log_room: u64,
    /// Time for which packets of mine are out while the peer reported none of them as arrived, in µs; `None` while none is out.
    /// It counts every packet, heartbeats too, and from the last news on.
    pub unreported_us: Option<u64>,
    /// Records not acknowledged by the peer.
    pub backlog_records: u64,
    /// Bytes of them as stored.
    pub backlog_bytes: u64,
    /// Records that wait for credit.
    pub blocked_records: u64,
    /// Smoothed round trip in µs; `None` before the first sample.
    pub srtt_us: Option<u64>,
    /// Its mean deviation in µs.
    pub rttvar_us: u64,
    /// Probe timeouts since the last news of my packets.
    pub pto_count: u32,
    /// Only probes are sent, because nothing was heard of my packets for long.
    pub suspended: bool,
    /// The next packet number.
    pub next_pn: u64,
    /// Packets of mine below this number are done with, as the peer is told. (For outbox files: [`crate::Peer::outbox_floor`].)
    pub pn_floor: u64,
    /// Packets handed out to be published since the start.
    pub packets_sent: u64,
    /// Packets of the peer taken since the start.
    pub packets_received: u64,
    /// Packets declared lost by time since the start.
    pub packets_lost: u64,
    /// Of them: reported as arrived after all.
    pub packets_spurious: u64,
    /// Records sent again though the peer held them, as it counts them; those of probes are not meant.
    pub records_spurious: u64,
    /// How patient the loss timer is with packets that others overtook: 1 to 8.
    pub reorder_factor: u32,
    /// Records handed out since the start, resent ones included.
    pub records_sent: u64,
    /// Of them: sent before.
    pub records_resent: u64,
    /// Of the records handed out: tombstones.
    pub tombstones_sent: u64,
    /// Records of mine of which the peer took the tombstone.
    pub tombstones_taken: u64,
    /// New records of the peer taken since the start.
    pub records_received: u64,
    /// Records of the peer that were here already.
    pub records_duplicate: u64,
    /// Records of the peer dropped: beyond credit.
    pub dropped_credit: u64,
    /// Records of the peer dropped: unknown kind, beyond the window, or against the rules of streams.
    pub dropped_other: u64,
    /// RESETs that were not acted on.
    pub resets_ignored: u64,
    /// Packets of incarnations that are not confirmed.
    pub unassociated: u64,
    /// Time since the last packet of the peer in µs; `None` before the first since the start.
    pub last_heard_us_ago: Option<u64>,
    /// How full this side is, as the peer is told: 0 to 3.
    pub pressure: u8,
    /// How full the peer is, as it said: at 2 bulk is halved, at 3 none is begun.
    pub peer_pressure: u8,
    /// By how much my clock is ahead of the peer's, in ms: at least, at most. Known when both directions were measured in the last hour.
    pub clock_offset_ms: Option<(i64, i64)>,
    /// How suspicious the peer's silence is: −log10 of the chance that it is none (φ-accrual); 0 before its first packet.
    pub phi: f64,
    /// The silence is suspicious: φ ≥ 8, or φ ≥ 1 while nothing is heard of my packets either.
    pub suspected: bool,
    /// How often the peer sends something even if it has nothing to say, as it announced, in ms; until then as often as this side.
    pub peer_heartbeat_ms: u64,
    /// Log credit the peer gave, and what is charged of it.
    pub credit_log: (u64, u64),
    /// Exchanges the peer allows, and how many were opened.
    pub credit_exchanges: (u64, u64),
    /// Log credit given to the peer, and what it used.
    pub granted_log: (u64, u64),
    /// Exchanges allowed to the peer, and the highest it used.
    pub granted_exchanges: (u64, u64),
    /// Bytes received and not consumed.
    pub unconsumed_bytes: u64,
    /// What the peer runs, as it said.
    pub peer_software: String,
}
