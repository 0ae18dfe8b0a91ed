//! Checkpoints: the whole state in a few entries at the head of a new segment, so that older segments can go.
//!
//! Invariant: replaying a checkpoint and what follows it recreates the state; payloads stay where they are, and the
//! checkpoint names their places. Order: my life, layer 2, then per peer layer 1, places, marks, spooled records.

use wire::EndpointId;

use super::slot::Slot;
use super::{Driver, DriverError};
use crate::command::Lane;
use crate::entry::{EngineEntry, FoundEq};

impl Driver {
    /// Starts a new segment with a checkpoint.
    pub(super) fn checkpoint(&mut self) -> Result<(), DriverError> {
        // Layer 1 speaks of what is durable: everything appended so far must be, and must be known to be.
        self.journal.make_urgent();
        self.persist_all()?;
        self.take_peer_events()?;
        self.journal.make_urgent();
        self.persist_all()?;
        let entries = self.snapshot();
        tracing::debug!(entries = entries.len(), "checkpoint");
        self.journal.roll(entries)?;
        Ok(())
    }

    fn snapshot(&self) -> Vec<(u8, Vec<u8>)> {
        let mut out = Vec::new();
        let life = EngineEntry::Life { incarnation: self.incarnation, nonce_secret: self.nonce_secret };
        put(&mut out, life);
        for entry in self.near.checkpoint() {
            let mut payload = Vec::new();
            entry.encode(&mut payload);
            out.push((entry.kind(), payload));
        }
        for entry in self.far.checkpoint() {
            let mut payload = Vec::new();
            entry.encode(&mut payload);
            out.push((entry.kind(), payload));
        }
        for (peer, slot) in &self.slots {
            snapshot_slot(*peer, slot, &mut out);
        }
        for (operation, Lane { peer, stream, .. }) in &self.results {
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
    for place in slot.sent.values() {
        put(out, EngineEntry::SentAt { peer, place: *place });
    }
    for mark in slot.spool.marks() {
        put(out, EngineEntry::Mark { peer, mark });
    }
    for found in slot.spool.records().chain(slot.arriving()) {
        put(out, EngineEntry::Spooled { peer, found: FoundEq(*found) });
    }
    for (stream, call) in &slot.near_calls {
        if call.request_ended {
            put(out, EngineEntry::RequestEnded { peer, stream: *stream });
        }
    }
    for stream in &slot.far_over {
        put(out, EngineEntry::FarOver { peer, stream: *stream });
    }
}

fn put(out: &mut Vec<(u8, Vec<u8>)>, entry: EngineEntry) {
    out.push((entry.kind(), entry.encode()));
}
