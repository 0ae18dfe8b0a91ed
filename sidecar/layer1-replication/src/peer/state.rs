//! State of a peer that belongs to no part alone: what ends with an association, wishes, marks and counters.

use crate::credit::{Grant, PeerCredit};
use crate::entry::PeerJoin;
use crate::inbound::InboundStreams;
use crate::pressure::Pressure;
use crate::receiver::ReceiveLog;
use crate::report::Report;
use crate::scheduler::Scheduler;
use crate::sender::{SendLog, SendStreams};
use crate::sent::SentPackets;
use crate::time::Timestamp;
use alloc::collections::BTreeMap;
use alloc::string::String;
use wire::control::Limits;
use wire::{RangeSet, StreamId};

/// What belongs to one association, and ends with it.
#[derive(Debug, Default)]
pub(super) struct Pair {
    pub(super) log: SendLog,
    pub(super) streams: SendStreams,
    pub(super) packets: SentPackets,
    pub(super) scheduler: Scheduler,
    pub(super) credit: PeerCredit,
    pub(super) received: ReceiveLog,
    pub(super) inbound: InboundStreams,
    pub(super) grant: Grant,
    pub(super) report: Report,
    pub(super) heard: Heard,
    pub(super) recovery: Recovery,
    pub(super) pressure: Pressure,
    /// Streams to be cancelled once this record, their reset, is durable.
    pub(super) cancelling: BTreeMap<u64, StreamId>,
}

/// What the next packets should do.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes {
    pub(super) hello: bool,
    pub(super) ack: bool,
    pub(super) ping: bool,
    pub(super) heartbeat: bool,
    /// Probe packets that are to leave.
    pub(super) probes: u8,
    pub(super) flush_small: bool,
    pub(super) flush_bulk: bool,
    /// Say who I am and what I take: once after a start.
    pub(super) introduce: bool,
    /// PING until the peer closed a packet with one: after a start, its stream credits are not known.
    pub(super) resync: bool,
}

/// What the peer said last or at most.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    pub(super) newest_pn: u64,
    pub(super) next: u64,
    pub(super) una_seen: u64,
    pub(super) duplicates: u64,
    pub(super) limits: Option<Limits>,
    /// What the peer can receive.
    pub(super) features: u64,
    pub(super) kept: PeerJoin,
}

/// Loss recovery and flow.
#[derive(Clone, Debug)]
pub(super) struct Recovery {
    pub(super) pto_count: u32,
    pub(super) suspended: bool,
    pub(super) last_pto: Option<Timestamp>,
    pub(super) reorder_factor: u32,
    /// Packets of mine that the peer closed, before it was known what it holds of them.
    pub(super) unjudged: RangeSet,
    /// Times that packets were called lost since the last of them came after all.
    pub(super) recoveries: u32,
    /// When the last of these times began.
    pub(super) recovered: Option<Timestamp>,
    /// When the factor was raised last.
    pub(super) raised: Option<Timestamp>,
    /// Records that were sent in probes and not yet explained a duplicate.
    pub(super) probed: u64,
    /// An append was refused for lack of room.
    pub(super) starved: bool,
    /// Probe timeouts since the peer gave credit while nothing but credit was waited for.
    pub(super) blocked_count: u32,
    /// Packets of an earlier start may still carry records up to this number; the floor stays where it was.
    pub(super) old_life: Option<OldLife>,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            pto_count: 0,
            suspended: false,
            last_pto: None,
            reorder_factor: 1,
            unjudged: RangeSet::new(),
            recoveries: 0,
            recovered: None,
            raised: None,
            probed: 0,
            starved: false,
            blocked_count: 0,
            old_life: None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct OldLife {
    pub(super) floor: u64,
    pub(super) last_seq: u64,
}

/// Counters and marks since the start.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) packets_sent: u64,
    pub(super) packets_received: u64,
    pub(super) packets_lost: u64,
    /// Of them: reported after all.
    pub(super) packets_spurious: u64,
    /// Records sent again that the peer held, as it counts them, less those of probes.
    pub(super) records_spurious: u64,
    pub(super) partial: u64,
    pub(super) unopenable: u64,
    pub(super) records_sent: u64,
    pub(super) records_resent: u64,
    pub(super) tombstones_sent: u64,
    pub(super) tombstones_taken: u64,
    pub(super) records_received: u64,
    pub(super) records_duplicate: u64,
    pub(super) dropped_credit: u64,
    pub(super) dropped_other: u64,
    pub(super) resets_ignored: u64,
    pub(super) unassociated: u64,
    pub(super) hello_tries: u32,
    /// How full the disk is, as the driver says: it outlives the association.
    pub(super) disk_pressure: u8,
    pub(super) publish_blocked: bool,
    /// The peer is probably gone for good.
    pub(super) quiet: bool,
    pub(super) last_heard: Option<Timestamp>,
    pub(super) floor: u64,
    pub(super) peer_software: String,
}
