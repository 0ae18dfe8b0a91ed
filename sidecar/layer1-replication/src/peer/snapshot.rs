//! The status of a peer, and what else can be read of it: reading, never deciding.

use super::Peer;
use crate::limits;
use crate::status::PeerStatus;
use crate::time::{Duration, Timestamp, micros};
use wire::{Incarnation, Seq};

impl Peer {
    /// The confirmed life of the peer, if something of it was heard since the start.
    #[must_use]
    pub fn heard_life(&self) -> Option<Incarnation> {
        self.association.confirmed().filter(|_| self.counts.packets_received > 0)
    }

    /// The smoothed round trip, if it was measured.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        self.rtt.measured_us().0.map(Duration::from_micros)
    }

    /// Outbox files of this association's packets below this number may go, whichever start wrote them: cum passed their records (that
    /// is the floor told to the peer), and the peer listed or echoed a later packet. The second counts for those without records: the
    /// floor passes them at once, while the mirror may not have read them yet.
    #[must_use]
    pub fn outbox_floor(&self) -> u64 {
        self.counts.floor.min(self.pair.packets.largest_reported())
    }

    /// Whether this life of the peer is over for good: nothing of it will ever count again.
    #[must_use]
    pub fn is_over(&self, life: &Incarnation) -> bool {
        self.association.closed().contains(life)
    }

    /// Cost of records of the peer that hold credit: taken here, and still needed.
    #[must_use]
    pub const fn unconsumed_bytes(&self) -> u64 {
        self.pair.grant.charged.saturating_sub(self.pair.grant.consumed)
    }

    /// A snapshot to look at. `now` only dates it.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> PeerStatus {
        let (pair, counts) = (&self.pair, &self.counts);
        let open = pair.packets.open();
        let (srtt_us, rttvar_us) = self.rtt.measured_us();
        let phi = self.suspicion.phi(now.max(self.now), self.peer_heartbeat());
        let suspicious = if pair.recovery.suspended { limits::SUSPICIOUS_SUSPENDED } else { limits::SUSPICIOUS };
        PeerStatus {
            my_incarnation: self.ids.my_incarnation,
            peer_incarnation: self.association.confirmed(),
            confirmations: self.association.confirmations(),
            halted: self.halted,
            alarms: self.alarms.clone(),
            next: Seq::new(pair.log.next()),
            una: Seq::new(pair.log.una()),
            cum: Seq::new(pair.received.cum()),
            una_seen: Seq::new(pair.heard.una_seen),
            peer_next: Seq::new(pair.heard.next),
            in_flight_packets: open.in_flight,
            in_flight_bytes: open.bytes,
            send_log_room: self.log_room(),
            unreported_us: pair.packets.unreported_since().map(|since| micros(now.since(since))),
            backlog_records: pair.log.len() as u64,
            backlog_bytes: pair.log.bytes(),
            blocked_records: pair.scheduler.waiting_for_credit() as u64,
            srtt_us,
            rttvar_us,
            pto_count: pair.recovery.pto_count,
            suspended: pair.recovery.suspended,
            next_pn: self.numbers.next(),
            pn_floor: counts.floor,
            packets_sent: counts.packets_sent,
            packets_received: counts.packets_received,
            packets_lost: counts.packets_lost,
            packets_spurious: counts.packets_spurious,
            records_spurious: counts.records_spurious,
            reorder_factor: pair.recovery.reorder_factor,
            records_sent: counts.records_sent,
            records_resent: counts.records_resent,
            tombstones_sent: counts.tombstones_sent,
            tombstones_taken: counts.tombstones_taken,
            records_received: counts.records_received,
            records_duplicate: counts.records_duplicate,
            dropped_credit: counts.dropped_credit,
            dropped_other: counts.dropped_other,
            resets_ignored: counts.resets_ignored,
            unassociated: counts.unassociated,
            last_heard_us_ago: counts.last_heard.map(|at| micros(now.since(at))),
            pressure: pair.pressure.mine(),
            peer_pressure: pair.pressure.theirs(),
            clock_offset_ms: self.offset.interval_ms(),
            phi,
            suspected: phi >= suspicious,
            peer_heartbeat_ms: micros(self.peer_heartbeat()) / 1_000,
            credit_log: (pair.credit.given.max_log_bytes, pair.credit.charged),
            credit_exchanges: (pair.credit.given.max_exchanges, pair.streams.next_exchange - 1),
            granted_log: (pair.grant.given.max_log_bytes, pair.grant.charged),
            granted_exchanges: (pair.grant.given.max_exchanges, pair.grant.exchange_highest),
            unconsumed_bytes: self.unconsumed_bytes(),
            peer_software: counts.peer_software.clone(),
        }
    }
}
