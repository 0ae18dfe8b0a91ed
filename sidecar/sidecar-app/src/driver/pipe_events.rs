//! What the inbox and outbox threads report: verified packets, frames, closed files, published packets.

use layer0_pipe::{Closure as FileClosure, PacketFloor, PublishError, Verdict as FileVerdict};
use layer1_replication::{Closure, Verdict};
use wire::EndpointId;
use wire::limits::ENDPOINTS_PER_SIDE_MAX;

use super::{Driver, DriverError};
use crate::pipe::{InboxCommand, InboxEvent, OutboxEvent, OutboxJob};

impl Driver {
    pub(super) fn handle_inbox(&mut self, event: InboxEvent) -> Result<(), DriverError> {
        let now = self.clock.now();
        match event {
            InboxEvent::Packet { file, header, control, verdict } => {
                let answer = match self.slot_of_sender(header.sender) {
                    None => FileVerdict::Ignore,
                    Some(slot) => {
                        let before = slot.peer.status(now).peer_incarnation;
                        let answer = match slot.peer.handle_packet(now, &header, &control) {
                            Verdict::Use => {
                                slot.files.insert((header.sender_incarnation, header.pn), file);
                                FileVerdict::Use
                            }
                            Verdict::Ignore => FileVerdict::Ignore,
                            Verdict::Wait => FileVerdict::Wait,
                        };
                        if slot.peer.status(now).peer_incarnation != before {
                            // The old association is cleared away before anything of the new one comes in.
                            self.persist_all()?;
                            self.take_peer_events()?;
                        }
                        answer
                    }
                };
                let _ = verdict.send(answer);
            }
            InboxEvent::Frame { sender, incarnation, pn, records, slot: _ } => {
                self.journal.gather(records.iter().map(|record| record.payload.len() as u64).sum());
                if let Some(slot) = self.slots.get_mut(&sender) {
                    slot.peer.handle_records(now, incarnation, pn, records);
                }
            }
            InboxEvent::Closed { file, sender, incarnation, pn, closure } => {
                let Some(slot) = self.slots.get_mut(&sender) else { return Ok(()) };
                slot.files.insert((incarnation, pn), file);
                let closure = match closure {
                    FileClosure::Complete => Closure::Complete,
                    FileClosure::Partial => Closure::Partial,
                    FileClosure::Unopenable => Closure::Unopenable,
                };
                slot.peer.handle_closed(now, incarnation, pn, closure);
            }
            InboxEvent::Alarm(alarm) => {
                tracing::warn!(alarm, "the inbox raised an alarm");
                self.inbox_alarm = Some(alarm);
            }
            InboxEvent::Recovered => {
                tracing::info!("the inbox can be read again");
                self.inbox_alarm = None;
            }
            InboxEvent::Counters(counters) => self.counters = *counters,
        }
        Ok(())
    }

    /// The slot of a verified sender; a new one is opened within the bound.
    fn slot_of_sender(&mut self, sender: EndpointId) -> Option<&mut super::slot::Slot> {
        if !self.slots.contains_key(&sender) {
            if self.slots.len() >= ENDPOINTS_PER_SIDE_MAX {
                return None;
            }
            tracing::info!(peer = %sender, "a new endpoint of the far side");
            self.open_slot(sender);
        }
        self.slots.get_mut(&sender)
    }

    pub(super) fn handle_outbox(&mut self, event: OutboxEvent) {
        let now = self.clock.now();
        self.publishing = false;
        match event {
            OutboxEvent::Published { recipient, pn, bytes } => {
                self.outbox_failure = None;
                tracing::trace!(peer = %recipient, pn = pn.get(), bytes, "packet published");
                if let Some(slot) = self.slots.get_mut(&recipient) {
                    slot.peer.handle_published(now, pn, bytes);
                }
            }
            OutboxEvent::Failed { recipient, pn, error } => {
                self.report_publish_failure(&error);
                if let Some(slot) = self.slots.get_mut(&recipient) {
                    slot.peer.handle_publish_failed(now, pn);
                }
            }
        }
    }

    /// Says once what is wrong with the outbox, not at every try.
    fn report_publish_failure(&mut self, error: &PublishError) {
        let text = chain(error);
        if self.outbox_failure.as_ref() != Some(&text) {
            tracing::warn!(error = text, "a packet could not be published; it is tried again");
        }
        self.outbox_failure = Some(text);
    }

    /// Has the outbox look for what is left of packets that are closed.
    pub(super) fn sweep(&self) {
        let now = self.clock.now();
        let floors = self.slots.iter().map(|(peer, slot)| PacketFloor {
            recipient: *peer,
            incarnation: self.incarnation,
            floor: slot.peer.status(now).pn_floor,
        });
        let _ = self.outlets.outbox.send(OutboxJob::Sweep(floors.collect()));
    }

    pub(super) fn file_done(&mut self, peer: EndpointId, incarnation: wire::Incarnation, pn: wire::PacketNumber) {
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        if let Some(file) = slot.files.remove(&(incarnation, pn)) {
            let _ = self.outlets.inbox.send(InboxCommand::Done(file));
        }
    }
}

/// An error with its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
