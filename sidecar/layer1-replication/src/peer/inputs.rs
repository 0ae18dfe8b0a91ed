//! What comes from outside: packets, records, closings, completed writes. (Control blocks: `control.rs`; time: `recovery.rs`.)

use super::Peer;
use crate::TOMBSTONED;
use crate::alarm::Alarm;
use crate::association::Judgement;
use crate::entry::{Entry, ReceivedMeta};
use crate::event::{Closure, PeerEvent, PersistToken, Verdict};
use crate::inbound::{Delivery, StreamFault};
use crate::journal::Promise;
use crate::mutation::{Mutation, mutated};
use crate::receiver::{Novelty, meta_of};
use crate::time::Timestamp;
use alloc::vec::Vec;
use wire::control::ResetReason;
use wire::record::{decode_code, kind};
use wire::{Control, Header, Incarnation, PacketNumber, Record};

impl Peer {
    /// A packet whose prefix is verified: signature good, sender and recipient checked, control block well-formed (wire format §11, 1–17).
    /// Its control block takes effect at once, its frames only if the verdict is [`Verdict::Use`]. The same packet may come again.
    pub fn handle_packet(&mut self, now: Timestamp, header: &Header, control: &Control) -> Verdict {
        self.tick(now);
        if !self.started || header.recipient != self.ids.me || header.sender != self.ids.peer {
            return Verdict::Ignore;
        }
        let judgement = self.association.judge(self.now, header, control);
        if judgement != Judgement::Nothing {
            // A file that waits is presented again and again: that is no sign of life.
            let again = match judgement {
                Judgement::Member => self.pair.report.knows(header.pn.get()),
                Judgement::Stranger | Judgement::StrangerToMe => !self.association.heard_anew(),
                _ => false,
            };
            if !again {
                self.heard();
            }
            self.read_reset(header, control);
        }
        let verdict = self.act_on(judgement, header, control);
        self.settle();
        verdict
    }

    /// What the wall clock of this side says now, in Unix ms. Tell it before [`Self::handle_packet`], as often as is convenient: it serves
    /// [`crate::PeerStatus::clock_offset_ms`] and nothing else.
    pub fn set_wall_clock(&mut self, now: Timestamp, unix_ms: i64) {
        self.tick(now);
        self.offset.set_wall(self.now, unix_ms);
    }

    fn act_on(&mut self, judgement: Judgement, header: &Header, control: &Control) -> Verdict {
        match judgement {
            Judgement::Confirms(_) if self.is_outlived() => return Verdict::Ignore,
            Judgement::Confirms(peer) => {
                self.open_association(peer);
                // It is the first packet of this life that counts, and may carry everything.
                self.association.judge(self.now, header, control);
            }
            Judgement::Member => {}
            Judgement::Forgot => {
                self.alarm(Alarm::PeerForgot);
                return Verdict::Ignore;
            }
            Judgement::AsksAgain => {
                self.wishes.ack = self.halted.is_none();
                return Verdict::Ignore;
            }
            Judgement::StrangerToMe | Judgement::Stranger => {
                self.counts.unassociated += 1;
                self.read_introduction(control);
                return if judgement == Judgement::StrangerToMe { Verdict::Wait } else { Verdict::Ignore };
            }
            Judgement::Nothing => return Verdict::Ignore,
        }
        if self.halted.is_some() || header.pn.get() < self.pair.report.floor() {
            return Verdict::Ignore;
        }
        self.read_member(header, control);
        if self.halted.is_some() { Verdict::Ignore } else { Verdict::Use }
    }

    fn read_reset(&mut self, header: &Header, control: &Control) {
        match control.reset.filter(|_| !mutated(Mutation::ResetIgnored)) {
            Some(ResetReason::Superseded) if self.association.is_about_me(header) => self.alarm_once(Alarm::Superseded),
            Some(ResetReason::Forked) if self.association.is_about_me(header) => self.alarm_once(Alarm::Cloned),
            // First contact is tried again at growing intervals anyway: that is all there is to do where there is no room.
            Some(_) => self.counts.resets_ignored += 1,
            None => {}
        }
    }

    /// The peer says it again and again; the first word counts.
    fn alarm_once(&mut self, alarm: Alarm) {
        if self.halted != Some(alarm) {
            self.alarm(alarm);
        }
    }

    /// Layer 0 saw two different packets of the peer's confirmed life under one number (wire format §11, 13): the peer is told, once a minute.
    pub fn report_fork(&mut self, now: Timestamp, sender_incarnation: Incarnation) {
        self.tick(now);
        if self.started && self.association.confirmed() == Some(sender_incarnation) {
            self.association.refuse(self.now, sender_incarnation, ResetReason::Forked);
            self.settle();
        }
    }

    /// The records of one verified frame of a packet that got [`Verdict::Use`]. Each is judged by itself (wire format §11, 21).
    pub fn handle_records(
        &mut self,
        now: Timestamp,
        sender_incarnation: Incarnation,
        pn: PacketNumber,
        records: Vec<Record>,
    ) {
        self.tick(now);
        if self.association.confirmed() != Some(sender_incarnation) {
            return;
        }
        for record in records {
            if self.halted.is_some() {
                break;
            }
            self.judge_record(pn, record);
        }
        self.settle();
    }

    fn judge_record(&mut self, pn: PacketNumber, record: Record) {
        let meta = match meta_of(&record) {
            Some(meta) if record.head.is_known() && record.head.check().is_ok() => meta,
            _ => {
                self.counts.dropped_other += 1;
                return;
            }
        };
        match self.pair.received.novelty(&meta) {
            Novelty::New => {}
            Novelty::Duplicate => {
                self.counts.records_duplicate += 1;
                if mutated(Mutation::DuplicateDelivered)
                    && let Some(code) = code_of(&record)
                {
                    let event = event_of(&meta, Delivery::Deliver, code);
                    let promise = Promise::Received(meta.head.seq.get(), event);
                    self.journal.urgent(Entry::Received(meta), record.payload, promise);
                }
                return;
            }
            Novelty::BeyondWindow => {
                self.counts.dropped_other += 1;
                return;
            }
            Novelty::Forked => {
                self.alarm(Alarm::Forked { seq: record.head.seq });
                return;
            }
        }
        let Some(code) = code_of(&record) else {
            self.counts.dropped_other += 1;
            return;
        };
        if !self.pair.grant.admits(meta.charged, meta.head.kind) {
            tracing::debug!(peer = %self.ids.peer, %pn, seq = %meta.head.seq, "record beyond log credit dropped");
            self.counts.dropped_credit += 1;
            return;
        }
        match self.pair.inbound.check(&meta, &self.exchanges()) {
            Ok(delivery) => self.take_record(meta, delivery, code, record),
            Err(StreamFault::Credit) => self.counts.dropped_credit += 1,
            Err(StreamFault::Rules) => self.counts.dropped_other += 1,
        }
    }

    fn take_record(&mut self, meta: ReceivedMeta, delivery: Delivery, code: u64, record: Record) {
        let event = event_of(&meta, delivery, code);
        let seq = meta.head.seq.get();
        self.counts.records_received += 1;
        self.account(&meta, delivery);
        self.pair.received.take(meta.clone());
        self.journal.urgent(Entry::Received(meta), record.payload, Promise::Received(seq, event));
        if delivery == Delivery::Consume {
            self.raise_grant(false);
        }
    }

    /// Counts a taken record against credit and its stream; the same at replay.
    pub(super) fn account(&mut self, meta: &ReceivedMeta, delivery: Delivery) {
        let back = self.pair.inbound.take(meta, delivery, &self.pair.streams.closed);
        let grant = &mut self.pair.grant;
        grant.charged = grant.charged.saturating_add(meta.charged);
        grant.consumed = grant.consumed.saturating_add(back);
        if meta.head.stream.is_request() && meta.head.kind != kind::STOP_SENDING {
            grant.exchange_highest = grant.exchange_highest.max(meta.head.stream.exchange());
        }
    }

    /// A packet is closed: no more of it will come, for now. A partial one may be closed again, with more.
    pub fn handle_closed(
        &mut self,
        now: Timestamp,
        sender_incarnation: Incarnation,
        pn: PacketNumber,
        closure: Closure,
    ) {
        self.tick(now);
        match closure {
            Closure::Complete => {}
            Closure::Partial => self.counts.partial += 1,
            Closure::Unopenable => self.counts.unopenable += 1,
        }
        if self.association.confirmed() == Some(sender_incarnation) {
            self.pair.report.closed(pn.get(), closure, self.journal.latest_urgent());
        } else {
            // Its association is over, and with it what it carried.
            self.events.push_back(PeerEvent::PacketDurable { sender_incarnation, pn });
        }
        self.settle();
    }

    /// Everything up to this token is durable.
    pub fn handle_persisted(&mut self, now: Timestamp, token: PersistToken) {
        self.tick(now);
        for promise in self.journal.persisted(token) {
            self.keep_promise(promise);
        }
        self.settle();
    }

    fn keep_promise(&mut self, promise: Promise) {
        let running = self.halted.is_none();
        match promise {
            Promise::PacketNumbers(below) => self.numbers.reserved(below),
            Promise::Associated => {
                self.association.durable = true;
                self.wishes.introduce = true;
                self.wishes.ack = running;
                self.start_heartbeat();
            }
            Promise::Sent(seq) => self.record_durable(seq),
            Promise::Charged(seqs) => {
                for seq in seqs.values() {
                    self.make_ready(seq);
                }
            }
            Promise::Received(seq, event) => {
                self.pair.received.durable(seq);
                self.events.extend(event.filter(|_| running));
            }
            Promise::Released(up_to) if running => {
                self.events.push_back(PeerEvent::Released { up_to: wire::Seq::new(up_to) });
            }
            Promise::Released(_) => {}
            Promise::Granted(credit) => {
                self.pair.grant.granted(&credit);
                self.ack_soon();
            }
            Promise::StreamGranted(stream, max) => {
                self.pair.inbound.granted(stream, max);
                self.ack_soon();
            }
        }
    }
}

/// The code of a RESET_STREAM or STOP_SENDING, 0 of anything else; `None` if it is malformed.
fn code_of(record: &Record) -> Option<u64> {
    match record.head.kind {
        kind::RESET_STREAM | kind::STOP_SENDING => decode_code(&record.payload).ok(),
        _ => Some(0),
    }
}

fn event_of(meta: &ReceivedMeta, delivery: Delivery, code: u64) -> Option<PeerEvent> {
    let stream = meta.head.stream;
    match meta.head.kind {
        kind::RESET_STREAM => Some(PeerEvent::StreamReset { stream, code, final_length: meta.head.offset }),
        kind::STOP_SENDING => Some(PeerEvent::StopSending { stream, code }),
        kind::TOMBSTONE if meta.occupies() => {
            Some(PeerEvent::StreamReset { stream, code: TOMBSTONED, final_length: meta.head.offset })
        }
        kind::TOMBSTONE => None,
        _ => (delivery == Delivery::Deliver).then_some(PeerEvent::Received(meta.head)),
    }
}
