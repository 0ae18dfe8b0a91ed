//! How far the calls that were begun here have come on their way: in a packet, in part and as a whole at the far side, executing.
//!
//! Invariants: what is told of a packet is told once it was published; what is told of the far side it proved by its
//! acknowledgements or said itself; states only move forward, as layer 2 sees to it. Octets are those that this start saw: what
//! an earlier one sent of a call is not counted. Test to read first: `progress/tests.rs`.

use std::collections::BTreeMap;

use layer1_replication::Transmit;
use layer2_http::envelope::Envelope;
use layer2_http::operation::{OperationId, State};
use wire::record::{FIRST_STORED_KIND, RecordHeader, kind};
use wire::{EndpointId, PacketNumber, Seq, StreamId};

use super::Driver;
use super::slot::Slot;
use crate::command::Found;

/// Octets of content of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Of the request, in the log.
    pub(super) written: u64,
    /// Of the request, at the far side.
    pub(super) acked: u64,
    /// Of the response, here.
    pub(super) received: u64,
    /// A packet with some of the request was handed out, by this start.
    carried: bool,
}

/// Requests of which a packet carries something for the first time.
#[derive(Debug)]
pub(super) struct Carrying {
    peer: EndpointId,
    pn: PacketNumber,
    operations: Vec<OperationId>,
}

impl Slot {
    /// A record of a request was appended: what its release will tell.
    pub(super) fn is_written(&mut self, seq: Seq, stream: StreamId, kind: u8, raw_len: u32) {
        if !stream.is_request() || stream == StreamId::NO_EXCHANGE {
            return;
        }
        let octets = if kind == kind::DATA { raw_len } else { 0 };
        // The head is written before the call is known.
        if let Some(call) = self.near_calls.get_mut(&stream) {
            call.tally.written += u64::from(octets);
        }
        if kind != kind::FIN {
            self.unacked.insert(seq, (stream, octets));
        }
    }

    /// My records up to here are at the far side: of which requests they are, and how much of those is there.
    pub(super) fn is_acked(&mut self, up_to: Seq) -> BTreeMap<OperationId, u64> {
        let left = self.unacked.split_off(&up_to.next());
        let mut there = BTreeMap::new();
        for (stream, octets) in std::mem::replace(&mut self.unacked, left).into_values() {
            let Some(call) = self.near_calls.get_mut(&stream) else { continue };
            call.tally.acked += u64::from(octets);
            there.insert(call.operation, call.tally.acked);
        }
        there
    }
}

impl Driver {
    /// The whole request is in the log.
    pub(super) fn request_is_whole(&mut self, peer: EndpointId, request: StreamId) {
        if let Some(operation) = self.near.by_stream(&peer, request) {
            self.reached(operation, State::Queued, 0);
        }
    }

    /// A packet is about to be built.
    pub(super) fn packet_planned(&mut self, peer: EndpointId, transmit: &Transmit) {
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        let mut operations = Vec::new();
        for (head, _) in transmit.records.iter().filter(|(head, _)| is_of_request(head)) {
            let Some(call) = slot.near_calls.get_mut(&head.stream) else { continue };
            if !call.tally.carried {
                call.tally.carried = true;
                operations.push(call.operation);
            }
        }
        self.carrying = Some(Carrying { peer, pn: transmit.pn, operations });
    }

    /// A packet is in the outbox, or never will be.
    pub(super) fn packet_published(&mut self, peer: EndpointId, pn: PacketNumber, published: bool) {
        let Some(carrying) = self.carrying.take_if(|carrying| carrying.peer == peer && carrying.pn == pn) else {
            return;
        };
        for operation in carrying.operations {
            if published {
                self.reached(operation, State::Queued, 0);
                self.reached(operation, State::Sent, pn.get());
            } else {
                self.not_carried(operation);
            }
        }
    }

    /// Another packet will be the first one.
    fn not_carried(&mut self, operation: OperationId) {
        let Some(begun) = self.near.begun(operation) else { return };
        let (peer, request) = (begun.peer, begun.stream);
        if let Some(call) = self.near_call(peer, request) {
            call.tally.carried = false;
        }
    }

    /// The far side holds part of these requests, or all of them.
    pub(super) fn requests_acked(&mut self, there: &BTreeMap<OperationId, u64>, whole: &[OperationId]) {
        for operation in whole {
            let octets = there.get(operation).copied().or_else(|| self.octets_acked(*operation)).unwrap_or(0);
            if !self.near.is_cancel_asked(*operation) {
                self.reached(*operation, State::Acked, octets);
            }
        }
        for (operation, octets) in there {
            self.reached(*operation, State::PartiallyAcked, *octets);
        }
    }

    fn octets_acked(&self, operation: OperationId) -> Option<u64> {
        let begun = self.near.begun(operation)?;
        let call = self.slots.get(&begun.peer)?.near_calls.get(&begun.stream)?;
        Some(call.tally.acked)
    }

    /// A message of the far side outside of any exchange arrived: what it says of an operation counts, and it is not needed any more.
    pub(super) fn message_arrived(&mut self, peer: EndpointId, found: Found) {
        let now = self.host.now();
        if found.head.kind == kind::EVENT
            && let Some(event) = self.journal.payload(&found).and_then(|payload| Envelope::decode(&payload).ok())
            && let Some(entry) = self.near.on_event(&peer, &event, self.host.unix_ms_signed())
        {
            self.note_near(&entry);
        }
        if let Some(slot) = self.slots.get_mut(&peer) {
            slot.give_up(now, vec![found], &mut self.journal);
        }
    }

    /// An operation reached a state, unless it was there or further already.
    pub(super) fn reached(&mut self, operation: OperationId, state: State, figure: u64) {
        if let Some(entry) = self.near.on_state_with(operation, state, figure, self.host.unix_ms_signed()) {
            self.note_near(&entry);
        }
    }
}

fn is_of_request(head: &RecordHeader) -> bool {
    head.stream.is_request() && head.kind >= FIRST_STORED_KIND
}
#[cfg(test)]
mod tests;
