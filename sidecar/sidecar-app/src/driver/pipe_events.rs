//! What the inbox and outbox threads report: verified packets, frames, closed files, published packets.

use disk::log::LogError;
use layer0_pipe::{Closure as FileClosure, PacketFloor, PublishError, Verdict as FileVerdict};
use layer1_replication::{Closure, Verdict};
use wire::EndpointId;
use wire::control::Control;
use wire::header::Header;

use super::{Driver, DriverError};
use crate::pipe::{InboxCommand, InboxEvent, OutboxEvent, OutboxJob};

impl Driver {
    pub(super) fn handle_inbox(&mut self, event: InboxEvent) -> Result<(), DriverError> {
        let now = self.host.now();
        match event {
            InboxEvent::Packet { file, header, control, verdict } => {
                let answer = self.judge_packet(&header, &control)?;
                if answer == FileVerdict::Use
                    && !self.is_presence(&header)
                    && let Some(slot) = self.slots.get_mut(&header.sender)
                {
                    slot.files.insert((header.sender_incarnation, header.pn), file);
                }
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
            InboxEvent::Alarm(alarm) => self.raise_inbox_alarm(alarm),
            InboxEvent::Forked { sender, incarnation, alarm } => {
                if let Some(slot) = self.slots.get_mut(&sender) {
                    slot.peer.report_fork(now, incarnation);
                }
                self.raise_inbox_alarm(alarm);
            }
            InboxEvent::Recovered => {
                tracing::info!("the inbox can be read again");
                self.inbox_alarm = None;
            }
            InboxEvent::Counters(counters) => self.counters = *counters,
        }
        Ok(())
    }

    fn raise_inbox_alarm(&mut self, alarm: String) {
        tracing::warn!(alarm, "the inbox raised an alarm");
        self.inbox_alarm = Some(alarm);
    }

    /// What becomes of a packet whose prefix is verified.
    pub(super) fn judge_packet(&mut self, header: &Header, control: &Control) -> Result<FileVerdict, DriverError> {
        if self.is_presence(header) {
            return Ok(self.hear_presence(header, control));
        }
        let (now, unix_ms) = (self.host.now(), self.host.unix_ms_signed());
        let Some(slot) = self.slot_of_sender(header.sender)? else { return Ok(FileVerdict::Ignore) };
        let before = slot.peer.status(now).peer_incarnation;
        slot.peer.set_wall_clock(now, unix_ms);
        let verdict = slot.peer.handle_packet(now, header, control);
        let alive = slot.silence.judged(verdict, header.pn.get());
        let changed = slot.peer.status(now).peer_incarnation != before;
        if alive {
            self.watch.heard(now);
        }
        if changed {
            // The old association is cleared away before anything of the new one comes in.
            self.persist_all()?;
            self.take_peer_events()?;
        }
        if verdict == Verdict::Use {
            self.server_heard(header);
        }
        Ok(match verdict {
            Verdict::Use => FileVerdict::Use,
            Verdict::Ignore => FileVerdict::Ignore,
            Verdict::Wait => FileVerdict::Wait,
        })
    }

    pub(super) fn handle_outbox(&mut self, event: OutboxEvent) -> Result<(), DriverError> {
        let now = self.host.now();
        if let OutboxEvent::Rest(time) = event {
            self.rest_until = now.after(time);
            return Ok(());
        }
        self.publishing = false;
        match event {
            OutboxEvent::Rest(_) => {}
            OutboxEvent::Published { recipient, pn, bytes } => {
                self.outbox_failure = None;
                self.packet_published(recipient, pn, true);
                self.published_bytes = self.published_bytes.saturating_add(bytes);
                tracing::trace!(peer = %recipient, pn = pn.get(), bytes, "packet published");
                if !self.announced(recipient, pn, true)
                    && let Some(slot) = self.slots.get_mut(&recipient)
                {
                    slot.peer.handle_published(now, pn, bytes);
                }
            }
            OutboxEvent::Failed { recipient, pn, error } => {
                self.report_publish_failure(&error);
                self.packet_published(recipient, pn, false);
                if !self.announced(recipient, pn, false)
                    && let Some(slot) = self.slots.get_mut(&recipient)
                {
                    slot.peer.handle_publish_failed(now, pn);
                }
                // What was acknowledged to a caller can never be sent any more: that must not look like a slow line.
                if let Some(damage) = damage_of(error) {
                    return Err(damage.into());
                }
            }
        }
        Ok(())
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
        let floors = self.slots.iter().map(|(peer, slot)| PacketFloor {
            recipient: *peer,
            incarnation: self.life.incarnation,
            floor: slot.peer.outbox_floor(),
        });
        let mine = self.membership.as_ref().and_then(|membership| membership.floor(self.life.incarnation));
        let _ = self.outlets.outbox.send(OutboxJob::Sweep(floors.chain(mine).collect()));
    }

    /// Packets of this life of a peer below `floor` are closed, whatever became of their files.
    pub(super) fn files_closed(&mut self, peer: EndpointId, incarnation: wire::Incarnation, floor: u64) {
        if let Some(slot) = self.slots.get_mut(&peer) {
            // The inbox says nothing more of a file that it drops unfinished.
            slot.files.retain(|(of, pn), _| *of != incarnation || pn.get() >= floor);
        }
        let _ = self.outlets.inbox.send(InboxCommand::Floor { sender: peer, incarnation, floor });
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

/// The damage of the log that kept a packet from being built, if that was it.
fn damage_of(error: PublishError) -> Option<LogError> {
    let PublishError::Payload { source, .. } = error else { return None };
    let error = source.into_inner()?.downcast::<LogError>().ok()?;
    matches!(*error, LogError::Damaged { .. }).then_some(*error)
}

#[cfg(test)]
mod tests;
