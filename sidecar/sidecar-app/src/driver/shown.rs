//! What is counted of calls begun here so that people see them move.
//!
//! Invariant: nothing depends on it, and nothing of it is durable. Test to read first: `near::shown` of `layer2-http`.

use wire::record::kind;
use wire::{EndpointId, StreamId};

use super::Driver;
use crate::command::{Found, Lane, Outgoing};

impl Driver {
    /// Content of a request came from its caller.
    pub(super) fn note_request_traffic(&mut self, lane: Lane, outgoing: &Outgoing) {
        if outgoing.kind == kind::DATA
            && lane.stream.is_request()
            && let Some(id) = self.near.by_stream(&lane.peer, lane.stream)
        {
            self.near.note_request_bytes(id, u64::from(outgoing.raw_len));
        }
    }

    /// Content of a response came from the far side.
    pub(super) fn note_response_traffic(&mut self, peer: EndpointId, found: &Found) {
        let stream = found.head.stream;
        if found.head.kind == kind::DATA
            && !stream.is_request()
            && let Some(id) = self.near.by_stream(&peer, StreamId::request(stream.exchange()))
        {
            self.near.note_response_bytes(id, u64::from(found.head.raw_len));
        }
    }
}
