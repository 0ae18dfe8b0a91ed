//! What layer 1 reports of a peer, and what follows from it.

use layer1_replication::{Alarm, PeerEvent};
use wire::{EndpointId, Incarnation, Seq, StreamId};

use super::slot::Ending;
use super::{Driver, DriverError};
use crate::pipe::{InboxCommand, OutboxJob};

/// Acknowledged requests are kept until they are answered in this part of the send log's size, besides the send log.
const KEPT_REQUESTS_PART: u64 = 4;

impl Driver {
    /// Takes every event of every peer; true if there was one.
    pub(super) fn take_peer_events(&mut self) -> Result<bool, DriverError> {
        let mut any = false;
        let peers: Vec<EndpointId> = self.slots.keys().copied().collect();
        for peer in peers {
            while let Some(event) = self.slots.get_mut(&peer).and_then(|slot| slot.peer.poll_event()) {
                any = true;
                self.handle_peer_event(peer, event);
            }
            if let Some(slot) = self.slots.get_mut(&peer) {
                slot.drop_silent(&mut self.journal);
            }
        }
        Ok(any)
    }

    pub(super) fn handle_peer_event(&mut self, peer: EndpointId, event: PeerEvent) {
        let now = self.host.now();
        match event {
            PeerEvent::Confirmed { peer_incarnation } => {
                tracing::info!(%peer, incarnation = %hex(&peer_incarnation), "association opened");
                let _ = self.outlets.inbox.send(InboxCommand::Confirmed);
                if let Some(slot) = self.slots.get_mut(&peer) {
                    slot.look_for_alarm(now);
                }
                self.writable(peer);
            }
            PeerEvent::AssociationClosed { old_peer_incarnation, una, sent_seqs } => {
                self.association_closed(peer, una, &sent_seqs);
                if self.slots.get(&peer).is_some_and(|slot| slot.peer.is_over(&old_peer_incarnation)) {
                    self.files_closed(peer, old_peer_incarnation, u64::MAX);
                }
            }
            PeerEvent::Received(head) => self.record_received(peer, head.seq),
            PeerEvent::StreamReset { stream, code, .. } => self.stream_reset(peer, stream, code),
            PeerEvent::StopSending { stream, code } => {
                if stream.is_request() {
                    self.request_stopped(peer, stream, code);
                } else {
                    self.response_stopped(peer, stream, code);
                }
            }
            PeerEvent::Released { up_to } => self.released(peer, up_to),
            // Whoever cancelled was told so at once; that the far side never had it changes nothing for him.
            PeerEvent::AckSeen { .. } | PeerEvent::TombstonesTaken { .. } => {}
            PeerEvent::PacketDurable { sender_incarnation, pn } => self.file_done(peer, sender_incarnation, pn),
            PeerEvent::PeerFloor { sender_incarnation, floor } => self.files_closed(peer, sender_incarnation, floor),
            PeerEvent::PacketRetired { pn } => {
                let remove = OutboxJob::Remove { recipient: peer, incarnation: self.life.incarnation, pn };
                let _ = self.outlets.outbox.send(remove);
            }
            PeerEvent::Writable => self.writable(peer),
            PeerEvent::Alarm(alarm) => self.alarm(peer, alarm),
        }
    }

    fn record_received(&mut self, peer: EndpointId, seq: Seq) {
        let now = self.host.now();
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        let Some(found) = slot.arrived(seq) else { return };
        let stream = found.head.stream;
        if stream == StreamId::NO_EXCHANGE {
            self.message_arrived(peer, found);
            return;
        }
        // A reset may overtake what it cuts off, and close the exchange before its head is reported.
        let known = if stream.is_request() { slot.peer.is_receiving(stream) } else { slot.spool.knows(stream) };
        if !known || stream.exchange() == 0 {
            // An answer to nothing that is known here.
            slot.give_up(now, vec![found], &mut self.journal);
            return;
        }
        let head = self.response_head(&found);
        if self.answers_another(peer, &found, head.as_ref()) {
            self.refuse_answer(peer, found);
            return;
        }
        self.note_response_traffic(peer, &found);
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        if let Some(unwanted) = slot.spool.add(found) {
            slot.give_up(now, vec![unwanted], &mut self.journal);
        }
        slot.wake_reader(stream);
        if stream.is_request() {
            self.request_arrived(peer, stream);
            self.forget_far_if_ended(peer, stream);
        } else {
            let request = StreamId::request(stream.exchange());
            self.response_arrived(peer, request, &found, head.as_ref());
            if let Some(slot) = self.slots.get_mut(&peer) {
                // A response may only become complete by what just arrived.
                slot.wake_reader(stream);
            }
            self.close_near_if_over(peer, request);
            self.close_orphan_if_ended(peer, stream);
        }
        self.relieve(peer);
    }

    /// A response that belongs to no call any more is closed when its end is here.
    pub(super) fn close_orphan_if_ended(&mut self, peer: EndpointId, response: StreamId) {
        let now = self.host.now();
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        let request = StreamId::request(response.exchange());
        let orphan =
            !slot.near_calls.contains_key(&request) && slot.spool.knows(response) && !slot.spool.kept(response);
        if orphan && slot.spool.ended(response) {
            slot.peer.close_stream(response);
            slot.forget_stream(now, peer, response, &mut self.journal);
        }
    }

    fn stream_reset(&mut self, peer: EndpointId, stream: StreamId, code: u64) {
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        if stream.is_request() {
            slot.spool.open(stream);
        }
        if !slot.spool.reset(stream, code) {
            return;
        }
        slot.wake_reader(stream);
        if stream.is_request() {
            self.request_reset(peer, stream);
        } else {
            self.response_reset(peer, StreamId::request(stream.exchange()), code);
            self.close_orphan_if_ended(peer, stream);
        }
    }

    /// There may be room for what waits to be written or begun.
    pub(super) fn writable(&mut self, peer: EndpointId) {
        let now = self.host.now();
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        for (stream, progress) in slot.unpark(now, &self.journal) {
            self.stream_progressed(peer, stream, progress);
        }
        self.begin_waiting();
    }

    fn released(&mut self, peer: EndpointId, up_to: Seq) {
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        let kept_bytes_max = self.settings.replication.send_log_bytes_max / KEPT_REQUESTS_PART;
        slot.release(up_to, kept_bytes_max, &mut self.journal);
        let there = slot.is_acked(up_to);
        let mut whole = Vec::new();
        let kept = slot.fins.split_off(&up_to.next());
        for ending in std::mem::replace(&mut slot.fins, kept).into_values() {
            match ending {
                Ending::Request(operation) => whole.push(operation),
                Ending::Response(operation) => {
                    if let Some(entry) = self.far.acked(operation) {
                        self.note_far(&entry);
                    }
                }
            }
        }
        self.requests_acked(&there, &whole);
    }

    fn alarm(&mut self, peer: EndpointId, alarm: Alarm) {
        tracing::warn!(%peer, alarm = alarm.name(), remedy = alarm.remedy(), "{alarm}");
        if alarm.asks_for_new_incarnation() && self.may_live_anew(peer) {
            self.anew = Some(peer);
        }
        if alarm.halts()
            && let Some(slot) = self.slots.get_mut(&peer)
        {
            slot.alarm = Some(format!("{alarm}; {}", alarm.remedy()));
        }
    }
}

fn hex(incarnation: &Incarnation) -> String {
    incarnation.random_hex()
}
