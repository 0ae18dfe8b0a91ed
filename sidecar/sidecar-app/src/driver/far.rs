//! Calls executed here: from the first record of a request to the last of its response.
//!
//! Invariants: an execution starts once per stream; its dispatch mark is durable before the egress may call; a request
//! that may be tried again is kept until its response ended, within [`REPLAY_BYTES_MAX`]; whatever happens, the response
//! stream gets an end, because the caller waits for it.

use layer2_http::Executed;
use layer2_http::body::BodyCheck;
use layer2_http::far::{DispatchError, Dispatched, FarEntry, Recovery, repeatable};
use layer2_http::fin::code;
use layer2_http::head::RequestHead;
use layer2_http::operation::OperationId;
use layer2_http::problem::{Problem, ProblemKind};
use layer2_http::target;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use wire::record::kind;
use wire::{EndpointId, StreamId};

use super::Driver;
use super::far_time::Asked;
use super::journal::WhenDurable;
use super::slot::{FarCall, Writing};
use crate::command::{Found, Lane, Outgoing};
use crate::entry::EngineEntry;
use crate::mutation::{Mutation, mutated};
use crate::{egress, exchange};

/// Round trips longer than this make a request wait until it is whole: an upstream would close the connection otherwise.
const CUT_THROUGH_RTT_US: u64 = 5_000_000;
/// When a call for which the journal of executions had no room may be tried again, in seconds.
const JOURNAL_RETRY_S: u64 = 60;

impl Driver {
    pub(super) fn note_far(&mut self, entry: &FarEntry) {
        let mut payload = Vec::new();
        entry.encode(&mut payload);
        self.journal.note(entry.kind(), &payload, entry.urgent());
    }

    /// A record of a request arrived: starts its execution when it is time.
    pub(super) fn request_arrived(&mut self, peer: EndpointId, request: StreamId) {
        if self.is_draining {
            // It is in the log: the next start executes it.
            return;
        }
        let Some(slot) = self.slots.get(&peer) else { return };
        if slot.far_calls.contains_key(&request) || slot.far_over.contains(&request) {
            return;
        }
        let Some(first) = slot.spool.first(request) else { return };
        if !slot.spool.complete(request) {
            let slow = slot.peer.status(self.host.now()).srtt_us.is_some_and(|srtt| srtt > CUT_THROUGH_RTT_US);
            // What waits here holds credit: it must not be what its own rest, or another request, waits for.
            let large = slot.spool.stream_raw_bytes(request) >= self.settings.replication.stream_window_bytes / 2;
            if slow && !large && !self.pool_is_tight(peer) && !self.is_tunnel(&first) {
                return;
            }
        }
        let head = self.journal.payload(&first).and_then(|payload| RequestHead::decode(&payload).ok());
        self.execute(peer, request, head.as_ref());
    }

    /// Executes a request, or does what a restart leaves to do with it.
    pub(super) fn execute(&mut self, peer: EndpointId, request: StreamId, head: Option<&RequestHead>) {
        let response = request.response_of();
        let known = self.far.by_stream(&peer, request);
        let Some(operation) = head.and_then(|head| head.envelope.operation).or(known) else {
            self.refuse(peer, request);
            return;
        };
        let allowed = head.and_then(|head| self.repeats_allowed(head));
        let harmless = allowed == Some(true) || mutated(Mutation::RetryNonIdempotent);
        // What an earlier life of this endpoint made of it is not known here.
        let attempts_before = head.map_or(0, |head| head.envelope.attempts_before());
        let recovery = match self.far.recover(&peer, request, operation, harmless) {
            // The calling side does not know the rule. A call that no rule allows is refused as such.
            Recovery::Run { .. } if attempts_before > 0 && allowed == Some(false) && !harmless => {
                Recovery::OutcomeUnknown
            }
            recovery => recovery,
        };
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        slot.writing.insert(response, Writing::default());
        let (replayable, asked) = (harmless, Asked::of(head, harmless));
        let cancelled = CancellationToken::new();
        let call = FarCall {
            operation,
            replayable,
            attempts_before,
            cancelled: cancelled.clone(),
            asked,
            dispatched: known == Some(operation),
            read_to: 0,
            request_read: false,
            response_ended: false,
        };
        slot.far_calls.insert(request, call);
        let full = matches!(recovery, Recovery::Run { .. }) && !self.far.has_room();
        if let Recovery::Run { attempt } | Recovery::RunAgain { attempt } = recovery
            && !full
        {
            let lane = slot.lane(peer, request);
            let mut far = exchange::far_exchange(&self.outlets.handle, lane, attempt, cancelled);
            far.attempt = attempt.saturating_add(attempts_before);
            let _ = self.outlets.egress.send(far);
            return;
        }
        // Nobody will read this request.
        let lane = slot.lane(peer, request);
        self.request_reader_dropped(lane, false);
        match recovery {
            Recovery::Run { .. } | Recovery::RunAgain { .. } => {
                let problem = egress::of_attempt(journal_full(operation), attempts_before.saturating_add(1));
                self.answer(peer, request, &problem);
            }
            Recovery::OutcomeUnknown => self.answer(peer, request, &Problem::outcome_unknown(operation)),
            Recovery::Duplicate => {
                let detail = "an operation of this id was executed already";
                let problem =
                    Problem::new(ProblemKind::DuplicateOperation, detail).of(operation).executed(Executed::Maybe);
                self.answer(peer, request, &problem);
            }
            Recovery::ResponseIncomplete if !mutated(Mutation::CutOffAsDone) => {
                tracing::info!(%operation, "a response was cut off by a restart");
                self.response_aborted(peer, response, code::INCOMPLETE);
            }
            Recovery::ResponseIncomplete | Recovery::Finished => self.response_finished(peer, response),
        }
    }

    /// A byte stream is never whole before it is over, so nothing waits for that.
    fn is_tunnel(&mut self, head: &Found) -> bool {
        self.journal.payload(head).and_then(|payload| RequestHead::decode(&payload).ok()).is_some_and(|h| h.is_tunnel())
    }

    /// May this call be made again when nobody knows what became of it? `None` if no rule allows it at all.
    fn repeats_allowed(&self, head: &RequestHead) -> Option<bool> {
        if head.is_tunnel() {
            // What passed through it cannot be passed again.
            return Some(false);
        }
        let text = format!("{}://{}{}", head.scheme, head.authority, head.path);
        let target = target::parse_absolute(&text).ok()?;
        let call = target.call(&head.method).by(head.envelope.stated_caller());
        let rule = self.settings.inbound.decide(&call).ok()?;
        Some(repeatable(&head.method, head.envelope.idempotency_key.is_some(), rule.retry))
    }

    /// Answers a request with a problem, without the egress.
    pub(super) fn answer(&mut self, peer: EndpointId, request: StreamId, problem: &Problem) {
        let now = self.host.now();
        let response = request.response_of();
        let (head, content) = egress::problem_head(problem, &self.settings.pseudonym);
        let head = Outgoing::plain(kind::HEAD, head);
        let data = Outgoing::plain(kind::DATA, content);
        let mut body = BodyCheck::new();
        body.on_head(&head.pd);
        body.on_data(data.raw_len, &data.pd);
        let fin = Outgoing::fin(&body);
        self.response_begun(peer, response);
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        for outgoing in [head, data, fin] {
            if slot.append_now(now, response, outgoing).is_err() {
                // No room: a reset needs none, and says at least that there is no response.
                self.response_aborted(peer, response, code::INCOMPLETE);
                return;
            }
        }
        self.response_finished(peer, response);
    }

    /// Ends a request that cannot be read: it was not executed.
    pub(super) fn refuse(&mut self, peer: EndpointId, request: StreamId) {
        let now = self.host.now();
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        slot.peer.reset_stream(now, request.response_of(), code::REFUSED);
        slot.far_over.insert(request);
        slot.end_writing(request.response_of());
        if !slot.spool.ended(request) {
            slot.peer.stop_sending(now, request, code::REFUSED);
        }
        self.journal.note_behind(&EngineEntry::FarOver { peer, stream: request });
        let left = slot.spool.discard(request);
        slot.give_up(now, left, &mut self.journal);
        self.forget_far_if_ended(peer, request);
    }

    /// Makes a dispatch mark durable.
    pub(super) fn dispatch(&mut self, lane: Lane, attempt: u32, reply: oneshot::Sender<()>) {
        let Some(operation) = self.far_operation(lane.peer, lane.stream) else { return };
        let attempt_in_all = attempt.saturating_add(self.attempts_before(&lane));
        if self.is_too_late(lane, operation, attempt_in_all) {
            return;
        }
        let dispatched =
            Dispatched { peer: lane.peer, stream: lane.stream, operation, attempt, at_ms: self.host.unix_ms_signed() };
        match self.far.dispatch(dispatched) {
            Ok(entries) => {
                for entry in entries.iter().filter(|_| !mutated(Mutation::DispatchAfterCall)) {
                    self.note_far(entry);
                }
                if let Some(call) = self.slots.get_mut(&lane.peer).and_then(|slot| slot.far_calls.get_mut(&lane.stream))
                {
                    call.dispatched = true;
                }
                self.tell_executing(lane, operation, attempt_in_all);
                self.journal.when_durable(WhenDurable::Dispatched(reply));
                self.give_up_read(lane.peer, lane.stream);
            }
            // The reply is dropped: the egress sends nothing.
            Err(error) => {
                tracing::warn!(%operation, %error, "a call was not dispatched");
                if error == DispatchError::Full {
                    let problem =
                        egress::of_attempt(journal_full(operation), self.attempts_before(&lane).saturating_add(1));
                    self.answer(lane.peer, lane.stream, &problem);
                }
            }
        }
    }

    fn attempts_before(&self, lane: &Lane) -> u32 {
        let call = self.slots.get(&lane.peer).and_then(|slot| slot.far_calls.get(&lane.stream));
        call.map_or(0, |call| call.attempts_before)
    }

    fn far_operation(&self, peer: EndpointId, request: StreamId) -> Option<OperationId> {
        self.slots.get(&peer)?.far_calls.get(&request).map(|call| call.operation)
    }

    /// The head of a response is about to be appended.
    pub(super) fn response_begun(&mut self, peer: EndpointId, response: StreamId) {
        let request = StreamId::request(response.exchange());
        let Some(operation) = self.far.by_stream(&peer, request) else { return };
        if mutated(Mutation::DispatchAfterCall) {
            for entry in self.far.checkpoint() {
                if matches!(&entry, FarEntry::Dispatched(dispatched) if dispatched.operation == operation) {
                    self.note_far(&entry);
                }
            }
        }
        if let Some(entry) = self.far.response_begun(operation) {
            self.note_far(&entry);
        }
    }

    /// The FIN of a response was appended.
    pub(super) fn response_finished(&mut self, peer: EndpointId, response: StreamId) {
        let request = StreamId::request(response.exchange());
        if let Some(slot) = self.slots.get_mut(&peer) {
            slot.end_writing(response);
        }
        if let Some(entry) = self.far.by_stream(&peer, request).and_then(|operation| self.far.done(operation)) {
            let mut payload = Vec::new();
            entry.encode(&mut payload);
            self.journal.push_behind(entry.kind(), payload);
        }
        if let Some(call) = self.slots.get_mut(&peer).and_then(|slot| slot.far_calls.get_mut(&request)) {
            call.response_ended = true;
        }
        self.close_far_if_over(peer, request);
    }

    /// A response ends as failed.
    pub(super) fn response_aborted(&mut self, peer: EndpointId, response: StreamId, why: u64) {
        let now = self.host.now();
        let request = StreamId::request(response.exchange());
        // A call that was never dispatched can say so.
        let dispatched = self.far.by_stream(&peer, request).is_some();
        let why = if dispatched { why } else { code::REFUSED };
        if let Some(slot) = self.slots.get_mut(&peer)
            && !mutated(Mutation::AbortUntold)
        {
            slot.peer.reset_stream(now, response, why);
        }
        self.response_finished(peer, response);
    }

    /// The egress reads no more of a request.
    pub(super) fn request_reader_dropped(&mut self, lane: Lane, ended: bool) {
        let now = self.host.now();
        let Some(slot) = self.slots.get_mut(&lane.peer) else { return };
        let Some(call) = slot.far_calls.get_mut(&lane.stream) else { return };
        call.request_read = true;
        if !ended && !slot.spool.ended(lane.stream) {
            slot.peer.stop_sending(now, lane.stream, code::NONE);
        }
        self.close_far_if_over(lane.peer, lane.stream);
    }

    /// A request was reset by its caller.
    pub(super) fn request_reset(&mut self, peer: EndpointId, request: StreamId) {
        let Some(slot) = self.slots.get(&peer) else { return };
        if slot.far_calls.contains_key(&request) {
            // The egress reads the reset and ends its response.
            self.close_far_if_over(peer, request);
        } else if slot.far_over.contains(&request) {
            self.forget_far_if_ended(peer, request);
        } else {
            self.refuse(peer, request);
        }
    }

    /// The caller does not want a response any more.
    pub(super) fn response_stopped(&mut self, peer: EndpointId, response: StreamId, why: u64) {
        let request = StreamId::request(response.exchange());
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        slot.stop(response, why);
        match slot.far_calls.get(&request) {
            Some(call) => call.cancelled.cancel(),
            None if slot.far_over.contains(&request) || !slot.peer.is_receiving(request) => {}
            None => self.refuse(peer, request),
        }
    }

    /// Closes the streams of an execution when both ends are over.
    fn close_far_if_over(&mut self, peer: EndpointId, request: StreamId) {
        let now = self.host.now();
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        let Some(call) = slot.far_calls.get(&request) else { return };
        if !(call.request_read && call.response_ended) {
            return;
        }
        slot.far_calls.remove(&request);
        slot.far_over.insert(request);
        self.journal.note_behind(&EngineEntry::FarOver { peer, stream: request });
        let left = slot.spool.discard(request);
        slot.give_up(now, left, &mut self.journal);
        self.forget_far_if_ended(peer, request);
    }

    /// Forgets the streams of an execution that is over, once nothing more of its request can arrive.
    pub(super) fn forget_far_if_ended(&mut self, peer: EndpointId, request: StreamId) {
        let now = self.host.now();
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        if slot.far_over.contains(&request) && slot.spool.ended(request) {
            slot.far_over.remove(&request);
            slot.peer.close_stream(request);
            slot.forget_stream(now, peer, request, &mut self.journal);
        }
    }
}

/// The answer while the journal of executions has no room: without an entry a call might be made twice.
fn journal_full(operation: OperationId) -> Problem {
    let detail = "the far side remembers as many calls as it can of which it is not known that their responses arrived; try again when some did";
    Problem::new(ProblemKind::LogFull, detail).of(operation).executed(Executed::No).retry_after(JOURNAL_RETRY_S)
}

#[cfg(test)]
mod tests;
