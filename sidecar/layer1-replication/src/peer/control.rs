//! What a control block of the confirmed peer does. Every field is a join, or what the newest packet says: the order and number of
//! blocks do not matter.

use super::Peer;
use crate::alarm::Alarm;
use crate::entry::Entry;
use crate::event::PeerEvent;
use crate::journal::Promise;
use crate::limits::REORDER_FACTOR_MAX;
use crate::mutation::{Mutation, mutated};
use crate::sent::Progress;
use crate::time::Duration;
use bytes::Bytes;
use wire::control::{Ack, LogState, PacketReport};
use wire::limits::MAX_RANGES;
use wire::{Control, Header, PacketNumber, Seq};

impl Peer {
    /// A block of a packet that counts in full.
    pub(super) fn read_member(&mut self, header: &Header, control: &Control) {
        let pn = header.pn.get();
        let eliciting = header.frame_count > 0 || control.is_ack_eliciting() || mutated(Mutation::HeartbeatAcked);
        if self.pair.report.received(self.now, pn, eliciting) {
            self.counts.packets_received += 1;
            self.read_clock(header, control);
            if eliciting {
                self.ack_soon();
            }
        }
        self.wishes.ack |= control.hello.is_some();
        let newest = pn > self.pair.heard.newest_pn;
        if newest {
            self.pair.heard.newest_pn = pn;
            self.read_introduction(control);
            self.read_counters(control);
            if let Some(pressure) = control.pressure {
                self.pair.pressure.heard(pressure, self.pair.packets.open().bytes);
            }
        }
        let news = self.read_association(control, newest);
        match news {
            Ok(true) => self.news(),
            Ok(false) => self.hint(),
            Err(alarm) => self.alarm(alarm),
        }
        if self.halted.is_none() {
            self.keep_join();
            self.update_loss();
            self.retire();
        }
    }

    /// What a packet that came for the first time says about the peer's clock.
    fn read_clock(&mut self, header: &Header, control: &Control) {
        self.offset.arrived(self.now, header.sent_at_ms);
        let Some(packets) = control.packets.as_ref().filter(|packets| packets.echo_pn > 0) else { return };
        let Some(sent) = self.pair.packets.get(packets.echo_pn).map(|packet| packet.created) else { return };
        let held_ms = i64::try_from(packets.hold_us / 1_000).unwrap_or(i64::MAX);
        if let Some(there_ms) = header.sent_at_ms.checked_sub(held_ms) {
            self.offset.was_there(self.now, sent, there_ms);
        }
    }

    /// VERSIONS and LIMITS, which count from anybody whose signature is good.
    pub(super) fn read_introduction(&mut self, control: &Control) {
        if let Some(versions) = &control.versions {
            self.counts.peer_software.clone_from(&versions.software);
            self.pair.heard.features = versions.features;
        }
        if let Some(limits) = control.limits {
            self.pair.heard.limits = Some(limits);
        }
    }

    /// Duplicates that the peer counts say that packets were overtaken, not lost, as does a packet that is reported after it was
    /// called lost: more patience from here on, by one step a round trip (RFC 8985 §6.2). Those of probes say nothing: a probe
    /// repeats what may well have arrived.
    fn read_counters(&mut self, control: &Control) {
        let Some(counters) = control.counters else { return };
        let (heard, recovery) = (&mut self.pair.heard, &mut self.pair.recovery);
        let more = counters.duplicate_records.saturating_sub(heard.duplicates);
        let explained = more.min(recovery.probed);
        recovery.probed -= explained;
        // A peer that started again counts anew.
        heard.duplicates = counters.duplicate_records;
        if more > explained {
            self.counts.records_spurious += more - explained;
            self.more_patience();
        }
    }

    /// A packet was called lost too early.
    fn more_patience(&mut self) {
        let (recovery, round_trip) = (&mut self.pair.recovery, self.rtt.smoothed());
        if recovery.raised.is_none_or(|at| self.now.since(at) >= round_trip) {
            recovery.reorder_factor = (recovery.reorder_factor + 1).min(REORDER_FACTOR_MAX);
            recovery.raised = Some(self.now);
        }
        recovery.recoveries = 0;
    }

    /// What counts inside the association; whether it is news of my packets.
    fn read_association(&mut self, control: &Control, newest: bool) -> Result<bool, Alarm> {
        let mut news = false;
        if let Some(log) = &control.log {
            self.read_log(log, newest)?;
        }
        if let Some(packets) = &control.packets {
            news |= self.read_echo(packets, newest);
        }
        if let Some(ack) = &control.ack {
            news |= self.read_ack(ack, control, newest)?;
        }
        if let Some(packets) = &control.packets {
            news |= self.read_packets(packets, control);
        }
        if let Some(credit) = &control.credit
            && self.pair.credit.join(credit)
        {
            self.writable();
        }
        for (stream, max) in &control.stream_credit {
            if let Some(mine) = self.pair.streams.open.get_mut(stream).filter(|mine| mine.credit < *max) {
                mine.credit = *max;
                self.writable();
            }
        }
        if control.ping {
            // A peer that asks may be blocked, or may have forgotten what it was given.
            self.raise_grant(true);
            self.raise_all_streams();
        }
        Ok(news)
    }

    fn read_log(&mut self, log: &LogState, newest: bool) -> Result<(), Alarm> {
        let cum = self.pair.received.cum();
        if log.oldest > cum + 1 {
            return Err(Alarm::InboxRolledBack { claimed: Seq::new(log.oldest - 1), cum: Seq::new(cum) });
        }
        // Not the highest: a log that went back in time has fewer records than it said before (seed 2424 of the simulator).
        if newest {
            self.pair.heard.next = log.next;
        }
        if self.pair.report.raise_floor(log.pn_floor)
            && let Some(sender_incarnation) = self.association.confirmed()
        {
            self.events.push_back(PeerEvent::PeerFloor { sender_incarnation, floor: log.pn_floor });
        }
        Ok(())
    }

    /// The round trip, before the packet it is taken from is closed.
    fn read_echo(&mut self, packets: &PacketReport, newest: bool) -> bool {
        let mut news = self.pair.packets.heard_of(self.now, packets.largest);
        // Not the largest: a packet that cannot be opened was not read.
        let read = [packets.complete.max(), packets.partial.max(), Some(packets.echo_pn)];
        self.pair.report.heard(read.into_iter().flatten().max().unwrap_or(0));
        if newest && packets.echo_pn > 0 {
            let hold = Duration::from_micros(packets.hold_us);
            if let Some(rtt) = self.pair.packets.round_trip(self.now, packets.echo_pn, hold) {
                self.rtt.sample(rtt);
                news = true;
            }
            news |= self.pair.packets.heard_of(self.now, packets.echo_pn);
        }
        news
    }

    fn read_ack(&mut self, ack: &Ack, control: &Control, newest: bool) -> Result<bool, Alarm> {
        let cum = self.pair.received.cum();
        if ack.una_seen > cum {
            return Err(Alarm::InboxRolledBack { claimed: Seq::new(ack.una_seen), cum: Seq::new(cum) });
        }
        if ack.una_seen > self.pair.heard.una_seen {
            self.pair.heard.una_seen = ack.una_seen;
            self.pair.received.forget_tombs_below(ack.una_seen + 1);
            self.events.push_back(PeerEvent::AckSeen { up_to: Seq::new(ack.una_seen) });
        }
        let mut news = false;
        // First what only suppresses: a contradiction in it must not come after a release.
        if let Some(sack) = &control.sack {
            for seq in self.pair.log.acknowledge_selectively(sack)? {
                news = true;
                if let Some(record) = self.pair.log.get(seq) {
                    self.pair.scheduler.forget(&record.head);
                }
            }
        }
        // Which of the two was taken is known no longer than the record is not released.
        let taken = control.tombs_taken.as_ref().map(|seqs| self.pair.log.entomb(seqs)).unwrap_or_default();
        let mut released = self.pair.log.acknowledge(ack.cum, &ack.chain)?;
        if mutated(Mutation::SackReleases)
            && let Some(max) = control.sack.as_ref().and_then(wire::RangeSet::max)
        {
            released.extend(self.pair.log.release(max));
        }
        if !taken.is_empty() {
            self.counts.tombstones_taken += taken.count();
            self.events.push_back(PeerEvent::TombstonesTaken { seqs: taken });
        }
        for record in &released {
            self.pair.scheduler.forget(&record.head);
        }
        if newest && ack.cum == self.pair.log.una() {
            for seq in self.pair.log.reneged(control.sack.as_ref()) {
                self.make_ready(seq);
            }
        }
        if !released.is_empty() {
            news = true;
            let (una, chain) = (self.pair.log.una(), *self.pair.log.chain_una());
            self.journal.urgent(Entry::Acked { una, chain }, Bytes::new(), Promise::Released(una));
            self.writable();
        }
        Ok(news)
    }

    /// Packets the peer closed: what they carried and the peer does not hold is lost now, unless a later packet carries it.
    fn read_packets(&mut self, packets: &PacketReport, control: &Control) -> bool {
        // A full list of ranges says nothing about what lies below it.
        let unknown_below = match &control.sack {
            Some(sack) if sack.len_ranges() >= MAX_RANGES => sack.min().unwrap_or(0),
            _ => 0,
        };
        let mut all = core::mem::take(&mut self.pair.recovery.unjudged);
        for closed in [&packets.complete, &packets.partial, &packets.unopenable] {
            all.union(closed);
        }
        let mut news = false;
        for pn in self.pair.packets.newly_closed(&all) {
            // Only together with what is held does a closed packet say what is missing. The peer does not repeat it.
            if control.ack.is_some() && self.packet_closed(pn, unknown_below) {
                news = true;
            } else {
                self.pair.recovery.unjudged.insert(pn);
            }
        }
        news
    }

    fn packet_closed(&mut self, pn: u64, unknown_below: u64) -> bool {
        let Some(packet) = self.pair.packets.get(pn) else { return false };
        let (seqs, announced, ping) = (packet.seqs(), packet.stream_credit.clone(), packet.ping);
        let spurious = matches!(packet.progress, Progress::Lost(_));
        let is_unknown = |seq: u64| seq < unknown_below && !self.pair.log.is_held(seq);
        if unknown_below > 0 && packet.seqs().any(is_unknown) {
            return false;
        }
        self.pair.packets.closed(pn);
        self.pair.inbound.seen(&announced);
        self.wishes.resync &= !ping;
        for seq in seqs {
            self.record_lost(seq, pn);
        }
        if spurious {
            self.counts.packets_spurious += 1;
            self.more_patience();
        }
        true
    }

    fn raise_all_streams(&mut self) {
        let stream_max = self.pair.grant.given.max_stream_bytes;
        self.pair.inbound.announce_all(stream_max);
        let streams: alloc::vec::Vec<_> = self.pair.inbound.open.keys().copied().collect();
        for stream in streams {
            self.raise_stream(stream, true);
        }
    }

    /// Room appeared; the event is not repeated while one waits.
    pub(super) fn writable(&mut self) {
        self.pair.recovery.starved = false;
        self.pair.recovery.blocked_count = 0;
        if self.events.back() != Some(&PeerEvent::Writable) {
            self.events.push_back(PeerEvent::Writable);
        }
    }

    /// Tells the driver which outbox files may go.
    pub(super) fn retire(&mut self) {
        let una = self.pair.log.una();
        for pn in self.pair.packets.retire(self.now, una, self.config.mpl) {
            self.events.extend(PacketNumber::new(pn).map(|pn| PeerEvent::PacketRetired { pn }));
        }
        if self.pair.recovery.old_life.is_some_and(|old| una >= old.last_seq) {
            self.pair.recovery.old_life = None;
        }
    }
}
