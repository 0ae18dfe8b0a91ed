//! Packets: what to put into the next one. Framing, sealing and writing are layer 0's.
//!
//! Invariants: a packet has a number from a durable block; its control block says only what is durable; records and association-scope values
//! go only to the confirmed life, once its confirmation is durable.

use super::Peer;
use crate::association::Answer;
use crate::event::Transmit;
use crate::limits::{PROBE_BYTES_MAX, SENT_PACKETS_MAX};
use crate::scheduler::{Classes, packet_bytes};
use crate::sent::SentPacket;
use crate::time::{Timestamp, micros};
use crate::timers::Timer;
use alloc::vec::Vec;
use wire::control::{Ack, Counters, Limits, LogState, Versions, feature};
use wire::limits::MIN_MAX_FRAME;
use wire::{Control, Digest, Incarnation, PacketNumber, Record, RecordHeader};

/// A record of the log that goes into a packet, and the digest of its payload.
type Carried = (RecordHeader, Digest);

impl Peer {
    /// The next packet to be published, as soon as the outbox has room for one: until then records gather. Answer each with
    /// [`Self::handle_published`] or [`Self::handle_publish_failed`].
    #[must_use]
    pub fn poll_transmit(&mut self, now: Timestamp) -> Option<Transmit> {
        self.tick(now);
        let superseded = self.halted.is_some_and(|alarm| !alarm.ends_with_association());
        if !self.started || superseded || self.counts.publish_blocked || !self.numbers.is_available() {
            return None;
        }
        let transmit = self.next_packet();
        if transmit.is_some() {
            self.counts.packets_sent += 1;
            self.settle();
        }
        transmit
    }

    fn next_packet(&mut self) -> Option<Transmit> {
        if let Some(answer) = self.association.answer(self.now) {
            return self.write_answer(&answer);
        }
        match self.association.confirmed() {
            Some(peer) if self.is_open() => self.write_member(peer),
            None if self.wishes.hello => {
                self.wishes.hello = false;
                let answer = self.association.first_contact();
                self.write_answer(&answer)
            }
            _ => None,
        }
    }

    /// A packet to somebody who is not confirmed: nothing of the association.
    fn write_answer(&mut self, answer: &Answer) -> Option<Transmit> {
        let pn = self.numbers.take()?;
        let mut control = Control { hello: answer.hello, echo: answer.echo, reset: answer.reset, ..Control::default() };
        if control.hello.is_some() || control.echo.is_some() {
            self.introduce(&mut control);
        }
        self.pair.packets.insert(pn.get(), SentPacket::new(self.now));
        let (records, tombstones) = (Vec::new(), Vec::new());
        Some(Transmit { pn, recipient_incarnation: answer.to, control, records, tombstones })
    }

    /// Who I am, what I speak and what I take.
    fn introduce(&self, control: &mut Control) {
        control.endpoint = Some(self.ids.my_name.clone());
        control.versions = Some(Versions {
            major_min: 1,
            major_max: 1,
            features: feature::TOMBSTONES,
            software: self.config.software.clone(),
        });
        control.limits = Some(self.limits());
    }

    /// The delay of acks follows the round trip, so it is told anew in every packet.
    fn limits(&self) -> Limits {
        Limits {
            max_frame: self.config.max_frame.max(MIN_MAX_FRAME),
            ack_delay_ms: micros(self.rtt.ack_delay()) / 1_000,
            max_packet: 0,
            heartbeat_ms: micros(self.heartbeat()) / 1_000,
        }
    }

    fn write_member(&mut self, peer: Incarnation) -> Option<Transmit> {
        let seqs = self.pick();
        let wishes = &self.wishes;
        if seqs.is_empty() && !(wishes.ack || wishes.ping || wishes.heartbeat) {
            return None;
        }
        let pn = self.numbers.take()?;
        let mut packet = SentPacket::new(self.now);
        let (records, tombstones) = self.carry(pn, &seqs, &mut packet);
        let control = self.write_control(pn);
        packet.ping = control.ping;
        packet.eliciting = control.ping || !packet.runs.is_empty();
        packet.stream_credit.clone_from(&control.stream_credit);
        self.pair.packets.insert(pn.get(), packet);
        self.wishes.ack = false;
        self.wishes.ping = false;
        self.wishes.heartbeat = false;
        self.wishes.introduce = false;
        self.timers.cancel(Timer::Ack);
        Some(Transmit { pn, recipient_incarnation: peer, control, records, tombstones })
    }

    /// Which records go.
    fn pick(&mut self) -> Vec<u64> {
        if self.wishes.probes > 0 {
            self.wishes.probes -= 1;
            let seqs = self.probe();
            self.wishes.ping |= seqs.is_empty();
            self.pair.recovery.probed += seqs.len() as u64;
            return seqs;
        }
        if self.pair.recovery.suspended || self.pair.packets.len() >= SENT_PACKETS_MAX {
            return Vec::new();
        }
        let classes = Classes { small: self.wishes.flush_small, bulk: self.wishes.flush_bulk };
        if !classes.small && !classes.bulk && !self.pair.scheduler.has_alone() {
            return Vec::new();
        }
        let peer_max = self.pair.heard.limits.map_or(0, |limits| limits.max_packet);
        let target = self.config.packet_bytes_target.min(if peer_max == 0 { u64::MAX } else { peer_max });
        self.pair.scheduler.take(classes, target)
    }

    /// The oldest records that the peer does not hold, whether they are on their way or not.
    fn probe(&mut self) -> Vec<u64> {
        let (mut seqs, mut bytes) = (Vec::new(), 0);
        let candidates = self.pair.log.records().filter(|record| record.durable && record.charged && !record.sacked);
        for record in candidates {
            bytes += packet_bytes(&record.head);
            if bytes > PROBE_BYTES_MAX && !seqs.is_empty() {
                break;
            }
            seqs.push(record.head.seq.get());
        }
        for seq in &seqs {
            if let Some(record) = self.pair.log.get(*seq) {
                self.pair.scheduler.forget(&record.head);
            }
        }
        seqs
    }

    fn carry(&mut self, pn: PacketNumber, seqs: &[u64], packet: &mut SentPacket) -> (Vec<Carried>, Vec<Record>) {
        let (mut records, mut tombstones) = (Vec::with_capacity(seqs.len()), Vec::new());
        for seq in seqs {
            let Some(record) = self.pair.log.get(*seq) else { continue };
            let (head, digest) = (record.head, record.payload_digest);
            if record.maybe_sent {
                self.counts.records_resent += 1;
            }
            if self.is_entombed(record) {
                // Whatever goes was charged in full: so a restart, which knows of no tombstone, counts the same.
                let charged = u32::try_from(head.cost()).unwrap_or(u32::MAX);
                let tombstone = Record::tombstone(&head, &digest, charged);
                packet.carry(*seq, u64::from(tombstone.head.stored_len));
                tombstones.push(tombstone);
            } else {
                packet.carry(*seq, u64::from(head.stored_len));
                records.push((head, digest));
            }
            if let Some(record) = self.pair.log.get_mut(*seq) {
                if !record.maybe_sent {
                    self.pair.scheduler.caught_up(&head);
                }
                record.maybe_sent = true;
                record.carrier = pn.get();
            }
        }
        self.counts.records_sent += (records.len() + tombstones.len()) as u64;
        self.counts.tombstones_sent += tombstones.len() as u64;
        (records, tombstones)
    }

    /// The control block of a packet inside the association: one consistent snapshot of what is durable.
    fn write_control(&mut self, pn: PacketNumber) -> Control {
        let limits = self.limits();
        let pair = &mut self.pair;
        let una = pair.log.una();
        let floor = pair.packets.floor(una, pn.get());
        let floor =
            pair.recovery.old_life.map_or(floor, |old| old.floor.min(floor)).max(self.counts.floor).min(pn.get());
        self.counts.floor = floor;
        let mut control = Control {
            echo: self.association.echo(),
            log: Some(LogState { next: pair.log.durable_next(), oldest: una + 1, pn_floor: floor }),
            ack: Some(Ack { cum: pair.received.cum(), chain: first_half(pair.received.chain()), una_seen: una }),
            sack: Some(pair.received.selective()).filter(|ranges| !ranges.is_empty()).cloned(),
            packets: Some(pair.report.write(self.now, pn.get())),
            credit: Some(pair.grant.given),
            stream_credit: pair.inbound.announcement(),
            ping: self.wishes.ping || self.wishes.resync,
            limits: Some(limits),
            counters: Some(Counters {
                used: self.counts.packets_received,
                partial: self.counts.partial,
                unopenable: self.counts.unopenable,
                bad_frames: 0,
                duplicate_records: self.counts.records_duplicate,
                junk_files: 0,
            }),
            tombs_taken: Some(pair.received.tombs()).filter(|tombs| !tombs.is_empty()).cloned(),
            ..Control::default()
        };
        let introduces = control.echo.is_some() || control.ping || self.wishes.introduce || self.wishes.heartbeat;
        control.pressure = self.pair.pressure.tell(introduces);
        if introduces {
            self.introduce(&mut control);
        }
        control
    }
}

fn first_half(digest: &Digest) -> [u8; 16] {
    core::array::from_fn(|i| digest[i])
}
