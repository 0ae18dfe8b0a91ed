//! Checkpoints: the whole state in a few entries at the head of a new segment, so that older segments can go.
//!
//! Invariant: replaying a checkpoint and what follows it recreates the state; payloads stay where they are, and the
//! checkpoint names their places. Order: my life, layer 2, my announcements' packet numbers, then per peer layer 1, places, marks, spooled records.

use std::collections::BTreeSet;

use layer2_http::far::Executions;
use wire::EndpointId;

use super::membership::Membership;
use super::slot::Slot;
use super::{Driver, DriverError};
use crate::command::Lane;
use crate::entry::{EngineEntry, FoundEq, Life};
use crate::mutation::{Mutation, mutated};

impl Driver {
    /// Starts a new segment with a checkpoint.
    pub(super) fn checkpoint(&mut self) -> Result<(), DriverError> {
        self.rest()?;
        let entries = self.snapshot(&self.life, &self.far, &BTreeSet::new());
        if self.write_checkpoint(entries)? {
            self.plan_to_carry()?;
        }
        Ok(())
    }

    /// Layer 1 speaks of what is durable: before a checkpoint everything appended so far must be, and must be known to be.
    pub(super) fn rest(&mut self) -> Result<(), DriverError> {
        self.journal.make_urgent();
        self.persist_all()?;
        self.take_peer_events()?;
        self.journal.make_urgent();
        self.persist_all()?;
        Ok(())
    }

    /// Starts a new segment with these entries; false if there is no space for it.
    pub(super) fn write_checkpoint(&mut self, entries: Vec<(u8, Vec<u8>)>) -> Result<bool, DriverError> {
        tracing::debug!(entries = entries.len(), "checkpoint");
        Ok(self.journal.roll(entries)?)
    }

    /// The whole state, with this life and journal of executions, without these endpoints.
    pub(super) fn snapshot(&self, life: &Life, far: &Executions, without: &BTreeSet<EndpointId>) -> Vec<(u8, Vec<u8>)> {
        let mut out = Vec::new();
        put(&mut out, EngineEntry::Life(life.clone()));
        for entry in self.near.checkpoint() {
            let mut payload = Vec::new();
            entry.encode(&mut payload);
            out.push((entry.kind(), payload));
        }
        out.extend(self.keys.checkpoint().iter().map(|entry| (entry.kind(), entry.encode())));
        out.extend(self.callbacks.table.checkpoint().iter().map(|entry| (entry.kind(), entry.encode())));
        for entry in far.checkpoint().into_iter().filter(|_| !mutated(Mutation::CheckpointForgetsExecutions)) {
            let mut payload = Vec::new();
            entry.encode(&mut payload);
            out.push((entry.kind(), payload));
        }
        out.extend(self.membership.as_ref().and_then(Membership::checkpoint));
        for (peer, slot) in self.slots.iter().filter(|(peer, _)| !without.contains(*peer)) {
            snapshot_slot(*peer, slot, &mut out);
        }
        for (lane, operation, found) in self.archive.records() {
            put(&mut out, EngineEntry::ResultAt { peer: lane.peer, operation, found: FoundEq(*found) });
        }
        let archived = |lane: &Lane| self.archive.get(*lane).is_some();
        for (operation, Lane { peer, stream, .. }) in self.results.iter().filter(|(_, lane)| !archived(lane)) {
            put(&mut out, EngineEntry::Kept { peer: *peer, stream: *stream, operation: *operation, kept: true });
        }
        out
    }
}

fn snapshot_slot(peer: EndpointId, slot: &Slot, out: &mut Vec<(u8, Vec<u8>)>) {
    for entry in slot.peer.checkpoint() {
        let mut payload = peer.as_bytes().to_vec();
        entry.encode(&mut payload);
        out.push((entry.kind(), payload));
    }
    for place in slot.sent.values().filter(|_| !mutated(Mutation::CheckpointForgetsPlaces)) {
        put(out, EngineEntry::SentAt { peer, place: *place });
    }
    for mark in slot.spool.marks() {
        put(out, EngineEntry::Mark { peer, mark });
    }
    for found in slot.spool.records().chain(slot.arriving()).filter(|_| !mutated(Mutation::CheckpointForgetsSpool)) {
        put(out, EngineEntry::Spooled { peer, found: FoundEq(*found) });
    }
    for (stream, call) in &slot.near_calls {
        if call.request_ended {
            put(out, EngineEntry::RequestEnded { peer, stream: *stream });
        }
        for (found, to_copy) in call.request.records() {
            let (operation, found) = (call.operation, FoundEq(*found));
            put(out, EngineEntry::RequestAt { peer, operation, found, to_copy });
        }
    }
    for stream in &slot.far_over {
        put(out, EngineEntry::FarOver { peer, stream: *stream });
    }
}

fn put(out: &mut Vec<(u8, Vec<u8>)>, entry: EngineEntry) {
    out.push((entry.kind(), entry.encode()));
}
