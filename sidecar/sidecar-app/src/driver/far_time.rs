//! What a request says of its time: whether the near side wants to hear of its execution, and until when that makes sense.
//!
//! Invariants: a call whose time is surely over is not made, and one of which that is uncertain only if making it late does no harm;
//! that is decided when its dispatch mark is to stand, the last moment before the first upstream byte. What the near side wants to
//! hear is advice: for want of room it is left out. Test to read first: `far_time/tests.rs`.

use layer2_http::deadline::{self, Verdict};
use layer2_http::envelope::Envelope;
use layer2_http::event::event_bit;
use layer2_http::head::RequestHead;
use layer2_http::operation::{OperationId, State};
use wire::record::kind;
use wire::{EndpointId, StreamId};

use super::Driver;
use crate::command::{Lane, Outgoing};
use crate::egress;

/// What the envelope of a request asks of the side that executes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// Tell that the call is being made.
    pub(super) executing: bool,
    /// Unix ms by the near side's clock.
    pub(super) deadline_ms: Option<i64>,
    /// Making the call too late, or twice, does no harm.
    pub(super) harmless: bool,
}

impl Asked {
    pub(super) fn of(head: Option<&RequestHead>, harmless: bool) -> Self {
        let Some(envelope) = head.map(|head| &head.envelope) else { return Self::default() };
        let mask = envelope.event_mask.unwrap_or(0);
        Self { executing: mask & event_bit(State::Executing) != 0, deadline_ms: envelope.deadline_ms, harmless }
    }
}

impl Driver {
    /// Answers a call whose time is over instead of making it; true if that was so, or if nobody wants it any more.
    pub(super) fn is_too_late(&mut self, lane: Lane, operation: OperationId, attempt: u32) -> bool {
        let call = self.slots.get(&lane.peer).and_then(|slot| slot.far_calls.get(&lane.stream));
        if call.is_some_and(|call| call.cancelled.is_cancelled()) {
            // Who executes it hears that as well, and ends the response.
            return true;
        }
        let Some(asked) = self.asked(lane.peer, lane.stream) else { return false };
        let Some(deadline_ms) = asked.deadline_ms else { return false };
        let ahead_ms = self.slots.get(&lane.peer).and_then(|slot| slot.peer.status(self.host.now()).clock_offset_ms);
        let verdict = deadline::judge(deadline_ms, self.host.unix_ms_signed(), ahead_ms);
        if deadline::may_run(verdict, asked.harmless) {
            return false;
        }
        let sure = verdict == Verdict::Over;
        tracing::info!(%operation, sure, ?ahead_ms, "a call was not made: its deadline passed");
        let problem = egress::of_attempt(deadline::problem(verdict).of(operation), attempt);
        self.answer(lane.peer, lane.stream, &problem);
        true
    }

    /// Tells the near side that its call is being made, if it wants to hear that.
    pub(super) fn tell_executing(&mut self, lane: Lane, operation: OperationId, attempt: u32) {
        if !self.asked(lane.peer, lane.stream).is_some_and(|asked| asked.executing) {
            return;
        }
        let (now, at_ms) = (self.host.now(), self.host.unix_ms_signed());
        let event = Envelope { attempt: Some(attempt), ..Envelope::event(operation, State::Executing, at_ms) };
        let (Ok(payload), Some(slot)) = (event.encode(), self.slots.get_mut(&lane.peer)) else { return };
        if let Err(refusal) = slot.append_now(now, StreamId::NO_EXCHANGE, Outgoing::plain(kind::EVENT, payload.into()))
        {
            tracing::debug!(%operation, error = %refusal, "the near side is not told that its call is being made");
        }
    }

    fn asked(&self, peer: EndpointId, request: StreamId) -> Option<Asked> {
        self.slots.get(&peer)?.far_calls.get(&request).map(|call| call.asked)
    }
}

#[cfg(test)]
mod tests;
