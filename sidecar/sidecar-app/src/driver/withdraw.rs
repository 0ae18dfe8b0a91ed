//! Calls that end before their answer: their caller cancels them, or their time is over.
//!
//! | the call | what becomes of it |
//! |---|---|
//! | cancelled, its response whole here | ended at once, executed as the response says |
//! | cancelled | the far side is told to stop; what it answers says whether the call was made, and ends the operation |
//! | its time over | ended at once as *expired*, and the far side is told to stop |
//!
//! What did not leave yet is taken back: tombstones go in its place. But that it was taken back is not durable (`layer1-replication`), so
//! after a restart it may leave as it was written, and only the far side can say *not executed*. Invariants: whoever waits is told at
//! once; a wish to cancel is durable before it is confirmed, and survives a restart. The deadline is watched by the monotonic clock; over a restart by what wall
//! time says. Test to read first: `withdraw/tests.rs`.

use std::collections::{BTreeMap, BTreeSet};

use layer1_replication::Timestamp;
use layer2_http::fin::code;
use layer2_http::operation::{Executed, OperationId, State};
use layer2_http::problem::ProblemKind;
use wire::{EndpointId, StreamId};

use super::Driver;
use crate::ask::Cancelled;

/// When operations are over.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    by_time: BTreeSet<(Timestamp, OperationId)>,
    of: BTreeMap<OperationId, Timestamp>,
}

impl Deadlines {
    fn set(&mut self, id: OperationId, at: Timestamp) {
        self.remove(id);
        self.by_time.insert((at, id));
        self.of.insert(id, at);
    }

    pub(super) fn remove(&mut self, id: OperationId) {
        if let Some(at) = self.of.remove(&id) {
            self.by_time.remove(&(at, id));
        }
    }

    /// The next one.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    fn take_over(&mut self, now: Timestamp) -> Option<OperationId> {
        let (at, id) = *self.by_time.first()?;
        (at <= now).then(|| self.remove(id))?;
        Some(id)
    }
}

impl Driver {
    /// An operation has a deadline: Unix ms of this clock, from now on watched by the monotonic one.
    pub(super) fn watch_deadline(&mut self, id: OperationId, deadline_ms: i64) {
        let left_ms = u64::try_from(deadline_ms.saturating_sub(self.host.unix_ms_signed())).unwrap_or(0);
        self.deadlines.set(id, self.host.now().after(std::time::Duration::from_millis(left_ms)));
    }

    /// After a restart.
    pub(super) fn watch_deadlines(&mut self) {
        for (id, deadline_ms) in self.near.deadlines().collect::<Vec<_>>() {
            self.watch_deadline(id, deadline_ms);
        }
    }

    /// Ends what has no time left.
    pub(super) fn deadlines_timeout(&mut self, now: Timestamp) {
        while let Some(id) = self.deadlines.take_over(now) {
            self.expire_operation(id);
        }
    }

    /// The time of an operation is over. One whose response has begun was executed in time, and goes on; a refusal or a failure
    /// that has begun is neither.
    fn expire_operation(&mut self, id: OperationId) {
        let answered = self.near.answered(id);
        let goes_on = answered == Some(Executed::Yes);
        let Some(view) = self.near.get(id).filter(|view| !view.state.is_terminal() && !goes_on) else { return };
        let Some(begun) = self.near.begun(id) else { return };
        let (peer, request) = (begun.peer, begun.stream);
        tracing::info!(operation = %view.id, state = %view.state, "the deadline of an operation passed");
        let detail = "the deadline passed";
        let executed = answered.unwrap_or(Executed::Maybe);
        self.end_operation(id, State::Expired, ProblemKind::Expired, executed, detail);
        self.withdraw(peer, request, code::EXPIRED);
    }

    /// Its caller does not want an operation any more.
    pub(super) fn cancel(&mut self, id: OperationId) -> Cancelled {
        let Some(view) = self.near.get(id) else { return Cancelled::Unknown };
        if view.state == State::Cancelled {
            return Cancelled::Done(view);
        }
        if view.state.is_terminal() {
            return Cancelled::Ended(view);
        }
        let Some(begun) = self.near.begun(id) else { return Cancelled::Unknown };
        let (peer, request) = (begun.peer, begun.stream);
        if let Some(entry) = self.near.ask_cancel(id) {
            self.note_near(&entry);
            if let Some(executed) = self.known_outcome(id, peer, request) {
                self.end_cancelled(id, executed);
            }
            self.withdraw(peer, request, code::CANCELLED);
        }
        match self.near.get(id) {
            Some(view) if view.state.is_terminal() => Cancelled::Done(view),
            Some(view) => Cancelled::Asked(view),
            None => Cancelled::Unknown,
        }
    }

    /// Whether the call was made, if that is known without asking.
    fn known_outcome(&self, id: OperationId, peer: EndpointId, request: StreamId) -> Option<Executed> {
        let slot = self.slots.get(&peer)?;
        let whole = slot.near_calls.get(&request).is_none_or(|call| slot.spool.complete(call.response));
        whole.then(|| self.near.get(id).and_then(|view| view.executed).unwrap_or(Executed::Maybe))
    }

    /// Gives a call up: nothing more of its request goes, and nothing of its response is wanted.
    pub(super) fn withdraw(&mut self, peer: EndpointId, request: StreamId, why: u64) {
        let now = self.host.now();
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        let Some(call) = slot.near_calls.get(&request) else { return };
        let (operation, response, ended) = (call.operation, call.response, call.request_ended);
        slot.turn_away(response, why);
        if self.drop_unbegun(peer, request) {
            return;
        }
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        slot.stop(request, why);
        // What did not leave yet need not any more.
        slot.peer.cancel_stream(now, request, why);
        let lane = slot.lane(peer, response);
        if self.results.get(&operation) == Some(&lane) {
            self.mark_kept(operation, lane, false);
        }
        if !ended {
            self.request_ended(peer, request);
        }
        self.give_response_up(peer, request);
    }

    /// The far side ended the response of a call that was cancelled: what that says of the call.
    pub(super) fn cancel_answered(&mut self, operation: OperationId, why: u64, sent_before: bool) {
        let executed = match (self.near.answered(operation), why) {
            (Some(executed), _) => executed,
            (None, code::REFUSED) if !sent_before => Executed::No,
            (None, _) => Executed::Maybe,
        };
        self.end_cancelled(operation, executed);
    }

    /// The whole response of a call that was cancelled came by after all.
    pub(super) fn cancel_came_late(&mut self, peer: EndpointId, request: StreamId, operation: OperationId) {
        let problem = self.near_call(peer, request).and_then(|call| call.problem.clone());
        let executed = match problem {
            Some(problem) => problem.executed.unwrap_or(Executed::Maybe),
            None => self.near.get(operation).and_then(|view| view.executed).unwrap_or(Executed::Maybe),
        };
        self.end_cancelled(operation, executed);
    }

    pub(super) fn end_cancelled(&mut self, operation: OperationId, executed: Executed) {
        self.end_operation(operation, State::Cancelled, ProblemKind::Cancelled, executed, "its caller cancelled it");
    }
}

#[cfg(test)]
mod tests;
