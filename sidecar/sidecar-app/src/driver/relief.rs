//! Room for what the far side sends: what is held here only to be safe goes before anything has to wait for it.
//!
//! Two kinds of requests hold credit without a reader: one that waits to be whole before it is executed over a slow link, and what was
//! read of one that may be executed again after a crash. While half of the receive pool is taken, the first are begun and the second
//! can be executed once only. Otherwise their own rests, or responses, would wait for credit that only they can give back.
//!
//! Invariant: nothing of a request is given up before its dispatch mark stands, because a restart begins it anew. It does not bound what
//! a caller holds who reads his response slowly. Test to read first:
//! `requests_that_held_the_pool_stopped_every_other_stream`, in `far/tests.rs`.

use wire::{EndpointId, StreamId};

use super::Driver;
use crate::command::Lane;

/// Octets of a request that are kept so that it can be tried again after a crash.
const REPLAY_BYTES_MAX: u64 = 1024 * 1024;

impl Driver {
    /// True when half of what the far side may send ahead is used up.
    pub(super) fn pool_is_tight(&self, peer: EndpointId) -> bool {
        let unconsumed = self.slots.get(&peer).map(|slot| slot.peer.unconsumed_bytes());
        unconsumed.is_some_and(|bytes| bytes >= self.settings.replication.receive_pool_bytes / 2)
    }

    /// The egress has read a request up to `offset`.
    pub(super) fn request_read_to(&mut self, lane: Lane, offset: u64) {
        let Some(slot) = self.slots.get_mut(&lane.peer) else { return };
        let Some(call) = slot.far_calls.get_mut(&lane.stream) else { return };
        call.read_to = call.read_to.max(offset);
        self.give_up_read(lane.peer, lane.stream);
    }

    /// Gives up what was read of a request, unless it may be needed again.
    pub(super) fn give_up_read(&mut self, peer: EndpointId, request: StreamId) {
        if self.far.by_stream(&peer, request).is_none() {
            return;
        }
        let now = self.host.now();
        let tight = self.pool_is_tight(peer);
        let keep_max = REPLAY_BYTES_MAX.min(self.settings.replication.stream_window_bytes / 2);
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        let Some(call) = slot.far_calls.get_mut(&request) else { return };
        call.replayable &= !tight && call.read_to <= keep_max;
        if !call.replayable {
            let below = call.read_to;
            slot.take_below(now, peer, request, below, &mut self.journal);
        }
    }

    /// Gives up what is held only to be safe, while the pool is tight.
    pub(super) fn relieve(&mut self, peer: EndpointId) {
        if !self.pool_is_tight(peer) {
            return;
        }
        let Some(slot) = self.slots.get(&peer) else { return };
        let read = slot.far_calls.iter().filter(|(_, call)| call.replayable && call.read_to > 0);
        for request in read.map(|(request, _)| *request).collect::<Vec<_>>() {
            if !self.pool_is_tight(peer) {
                return;
            }
            self.give_up_read(peer, request);
        }
        let Some(slot) = self.slots.get(&peer) else { return };
        let waits = |stream: &StreamId| {
            stream.is_request() && !slot.far_calls.contains_key(stream) && !slot.far_over.contains(stream)
        };
        for request in slot.spool.streams().filter(waits).collect::<Vec<_>>() {
            self.request_arrived(peer, request);
        }
    }
}
