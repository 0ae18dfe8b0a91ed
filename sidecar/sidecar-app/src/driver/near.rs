//! Calls begun here: from the first command to the stored result.
//!
//! Invariants: a call is accepted only when its head is durable; its response is given up record by record as it is read,
//! or kept whole where the caller chose the operation's id, within the results' quota; streams are closed when both ends
//! are over. Operation states only move forward: layer 2 sees to that.

use bytes::Bytes;
use layer1_replication::{AppendError as Refusal, Timestamp};
use layer2_http::ResponseHead;
use layer2_http::fin::code;
use layer2_http::head::RequestHead;
use layer2_http::near::{Begun as BegunEntry, NearEntry};
use layer2_http::operation::{Executed, OperationId, State};
use layer2_http::policy::Retry;
use layer2_http::problem::{Problem, ProblemKind};
use tokio::sync::oneshot;
use wire::record::kind;
use wire::{EndpointId, StreamId};

use super::Driver;
use super::journal::WhenDurable;
use super::slot::{NearCall, Writing};
use crate::command::{BeginCall, BeginError, Found, Lane, Outgoing, StoredResult};
use crate::egress;
use crate::entry::EngineEntry;
use crate::exchange::{self, NearExchange, WrittenHead};
use crate::mutation::{Mutation, mutated};

/// Calls that may wait for an exchange.
const WAITING_BEGINS_MAX: usize = 1024;

type BeginReply = oneshot::Sender<Result<Box<NearExchange>, BeginError>>;
/// A call that waits until the far side allows another exchange.
pub(super) type WaitingBegin = (BeginCall, BeginReply);

impl Driver {
    pub(super) fn note_near(&mut self, entry: &NearEntry) {
        let mut payload = Vec::new();
        entry.encode(&mut payload);
        self.journal.note(entry.kind(), &payload, entry.urgent());
        self.is_news(entry);
        if let NearEntry::Forgotten { id } = entry {
            self.keys.forget(*id);
            self.callbacks.table.forget(*id);
            self.drop_result(*id);
        }
    }

    pub(super) fn begin(&mut self, call: BeginCall, reply: BeginReply) {
        if let Some(in_use) = self.key_in_use(&call) {
            let _ = reply.send(Err(BeginError::KeyInUse(Box::new(in_use))));
        } else if !self.blocked.contains(&self.choose_server(&call)) {
            self.begin_or_wait(call, reply);
        } else if self.waiting_begins.len() < WAITING_BEGINS_MAX {
            self.waiting_begins.push_back((call, reply));
        } else {
            let _ = reply.send(Err(BeginError::LogFull));
        }
    }

    /// Begins what waited, as far as the far side allows: of those for one server the first goes first.
    pub(super) fn begin_waiting(&mut self) {
        self.blocked.clear();
        for (call, reply) in std::mem::take(&mut self.waiting_begins) {
            if !reply.is_closed() {
                self.begin(call, reply);
            }
        }
    }

    fn begin_or_wait(&mut self, call: BeginCall, reply: BeginReply) {
        match self.try_begin(&call) {
            Ok(Some(exchange)) => self.journal.when_durable(WhenDurable::Begun(reply, Box::new(exchange))),
            Ok(None) => {
                self.blocked.insert(self.choose_server(&call));
                self.waiting_begins.push_back((call, reply));
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// How long a round trip takes to the server that the call would go to.
    pub(super) fn round_trip_us(&self, call: &BeginCall) -> Option<u64> {
        self.slots.get(&self.choose_server(call))?.peer.status(self.host.now()).srtt_us
    }

    /// Begins a call; `None` when the far side allows no further exchange for now.
    fn try_begin(&mut self, call: &BeginCall) -> Result<Option<NearExchange>, BeginError> {
        let now = self.host.now();
        let peer = self.choose_server(call);
        if let Some(view) = self.near.get(call.operation) {
            return Err(BeginError::Duplicate(Box::new(view)));
        }
        let slot = self.open_slot(peer);
        if slot.tight {
            return Err(BeginError::DiskFull);
        }
        if let Some(alarm) = &slot.alarm {
            return Err(BeginError::Halted(alarm.clone()));
        }
        let request = slot.peer.open_exchange();
        let response = request.response_of();
        let head = Outgoing::plain(kind::HEAD, call.head.clone());
        let written = WrittenHead { raw_len: head.raw_len, pd: head.pd };
        if let Err(refusal) = slot.append_now(now, request, head) {
            // Nothing was written under the number: this gives it back.
            slot.peer.reset_stream(now, request, code::NONE);
            return match refusal {
                Refusal::Credit(_) => Ok(None),
                Refusal::Halted => Err(BeginError::Halted("an alarm was just raised; see /statusz".to_owned())),
                refusal => {
                    tracing::warn!(error = %refusal, "a call was not accepted");
                    Err(BeginError::LogFull)
                }
            };
        }
        slot.spool.keep(response, call.retain);
        slot.writing.insert(request, Writing::default());
        let repeatable = repeatable(&call.method, || Some(call.head.clone()));
        slot.near_calls.insert(request, NearCall::new(call.operation, response, call.retain, repeatable));
        let (request_lane, response_lane) = (slot.lane(peer, request), slot.lane(peer, response));
        let begun = BegunEntry {
            id: call.operation,
            peer,
            stream: request,
            retain: call.retain,
            method: call.method.clone(),
            target: call.target.clone(),
            route: call.route.clone(),
            begun_ms: self.host.unix_ms_signed(),
            number: None,
            deadline_ms: call.deadline_ms,
        };
        self.gather.begins(request_lane);
        // Dropped on the way out, it cancels what was begun.
        let exchange = exchange::near_exchange(&self.outlets.handle, request_lane, response_lane, &written);
        let (now_ms, callbacks) = (self.host.unix_ms_signed(), &self.callbacks.table);
        let entries =
            self.near.begin_unless(begun, |id| callbacks.holds(id, now_ms)).map_err(|_| BeginError::LogFull)?;
        for entry in &entries {
            self.note_near(entry);
        }
        self.note_asked(call);
        if call.retain {
            self.mark_kept(call.operation, response_lane, true);
        }
        if let Some(deadline_ms) = call.deadline_ms {
            self.watch_deadline(call.operation, deadline_ms);
        }
        self.server_chosen(call, peer);
        Ok(Some(exchange))
    }

    /// Makes a response the stored result of its operation, or ends that.
    pub(super) fn mark_kept(&mut self, operation: OperationId, lane: Lane, kept: bool) {
        if kept {
            self.results.insert(operation, lane);
        } else {
            self.results.remove(&operation);
        }
        if let Some(slot) = self.slots.get_mut(&lane.peer) {
            slot.spool.keep(lane.stream, kept);
        }
        let entry = EngineEntry::Kept { peer: lane.peer, stream: lane.stream, operation, kept };
        self.journal.note(entry.kind(), &entry.encode(), false);
    }

    /// The head of a response, if that is what the record is.
    pub(super) fn response_head(&mut self, found: &Found) -> Option<ResponseHead> {
        let is_head = !found.head.stream.is_request() && found.head.kind == kind::HEAD;
        let payload = is_head.then(|| self.journal.payload(found))??;
        ResponseHead::decode(&payload).ok()
    }

    /// Whether this head of a response answers another operation than the one that its stream belongs to.
    pub(super) fn answers_another(&mut self, peer: EndpointId, found: &Found, head: Option<&ResponseHead>) -> bool {
        let request = StreamId::request(found.head.stream.exchange());
        let Some(answered) = head.and_then(|head| head.envelope.operation) else { return false };
        self.near_call(peer, request).is_some_and(|call| call.operation != answered)
    }

    /// The far side answers what was never asked here under this number: nobody may get that, and the pair halts.
    pub(super) fn refuse_answer(&mut self, peer: EndpointId, head: Found) {
        let now = self.host.now();
        let stream = head.head.stream;
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        slot.peer.answers_another(now, StreamId::request(stream.exchange()));
        let left = slot.spool.discard(stream).into_iter().chain([head]).collect();
        slot.give_up(now, left, &mut self.journal);
        slot.wake_reader(stream);
    }

    /// A record of a response arrived, with what it says if it is the head.
    pub(super) fn response_arrived(
        &mut self,
        peer: EndpointId,
        request: StreamId,
        found: &Found,
        head: Option<&ResponseHead>,
    ) {
        let now = self.host.now();
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        let Some(call) = slot.near_calls.get(&request) else { return };
        let (operation, response, retain) = (call.operation, call.response, call.retain);
        if let Some(head) = head {
            self.response_head_arrived(peer, request, operation, head);
        } else if found.head.kind == kind::DATA
            && let Some(call) = self.near_call(peer, request)
        {
            call.tally.received += u64::from(found.head.raw_len);
        }
        if retain {
            self.keep_result(now, peer, request, response);
        }
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        if slot.spool.complete(response) {
            self.response_complete(peer, request, operation);
        }
    }

    fn response_head_arrived(
        &mut self,
        peer: EndpointId,
        request: StreamId,
        operation: OperationId,
        head: &ResponseHead,
    ) {
        let Some(call) = self.near_call(peer, request) else { return };
        let attempt = 1 + u32::from(call.sent_before);
        let problem = problem_of(head).map(|problem| egress::of_attempt(problem, attempt));
        self.note_response_head(operation, head.status, problem.as_ref());
        if let Some(call) = self.near_call(peer, request) {
            call.problem = problem;
        }
    }

    /// The head of a response says whether the call was made: an answer of the upstream is one of a call that was.
    pub(super) fn note_response_head(&mut self, operation: OperationId, status: u16, problem: Option<&Problem>) {
        let executed = problem.map_or(Executed::Yes, |problem| problem.executed.unwrap_or(Executed::Maybe));
        if let Some(entry) = self.near.on_response_head(operation, status, executed, self.host.unix_ms_signed()) {
            self.note_near(&entry);
        }
    }

    /// The whole response is in the log.
    fn response_complete(&mut self, peer: EndpointId, request: StreamId, operation: OperationId) {
        let Some(call) = self.near_call(peer, request) else { return };
        let (retain, problem, octets) = (call.retain, call.problem.clone(), call.tally.received);
        if let Some(slot) = self.slots.get_mut(&peer)
            && let Some(call) = slot.near_calls.get_mut(&request)
        {
            call.request.give_up(&mut self.journal);
        }
        if problem.is_none() {
            self.reached(operation, State::ResponseReady, octets);
        }
        self.response_ready(operation, problem);
        if retain {
            self.reached(operation, State::Delivered, 0);
            if let Some(entry) = self.near.on_state(operation, State::Done, self.host.unix_ms_signed()) {
                self.note_near(&entry);
            }
            if let Some(call) = self.near_call(peer, request) {
                call.response_over = true;
            }
            self.close_near_if_over(peer, request);
        }
    }

    pub(super) fn response_ready(&mut self, operation: OperationId, problem: Option<Problem>) {
        let entry = match problem {
            Some(problem) => {
                let state = match (problem.kind, problem.executed) {
                    (ProblemKind::Expired, Some(Executed::No)) => State::Expired,
                    (_, executed) => executed.map_or(State::Failed, state_of),
                };
                self.near.on_problem(operation, state, &problem, self.host.unix_ms_signed())
            }
            None => self.near.on_state(operation, State::ResponseReady, self.host.unix_ms_signed()),
        };
        if let Some(entry) = &entry {
            self.note_near(entry);
        }
    }

    /// A kept response gives its credit back as it arrives; beyond the quota older results go, then the keeping itself.
    fn keep_result(&mut self, now: Timestamp, peer: EndpointId, request: StreamId, response: StreamId) {
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        for found in slot.spool.take_credit(response) {
            slot.peer.consume(now, response, &found.head);
        }
        while self.results_bytes() > self.settings.results_bytes_max {
            let now_ms = self.host.unix_ms_signed();
            let mut ended =
                self.results.keys().filter(|id| self.near.get(**id).is_none_or(|view| view.state.is_terminal()));
            // One that is still to be delivered goes after all others.
            let first = ended.clone().next();
            let ended = ended.find(|id| !self.callbacks.table.holds(**id, now_ms)).or(first).copied();
            match ended {
                Some(oldest) => self.drop_result(oldest),
                // All of it is here, and may have been read already: it is the next one to go instead.
                None if self.slots.get(&peer).is_some_and(|slot| slot.spool.complete(response)) => break,
                None => {
                    self.stop_keeping(peer, request);
                    break;
                }
            }
        }
    }

    /// Octets of stored results.
    pub(super) fn results_bytes(&self) -> u64 {
        self.slots.values().map(|slot| slot.spool.result_bytes()).sum::<u64>() + self.archive.kept_bytes()
    }

    /// The response is too large to be kept: from now on it is given up as it is read, or at once if nobody reads.
    fn stop_keeping(&mut self, peer: EndpointId, request: StreamId) {
        let Some(call) = self.near_call(peer, request) else { return };
        let (operation, response, reader) = (call.operation, call.response, call.reader);
        call.retain = false;
        tracing::info!(%operation, "the response is larger than the results' quota: it is not kept");
        let Some(slot) = self.slots.get(&peer) else { return };
        let lane = slot.lane(peer, response);
        self.mark_kept(operation, lane, false);
        if !reader {
            self.end_incomplete(operation, "the response is larger than the results' quota");
            self.give_response_up(peer, request);
        }
    }

    /// Nobody can have this response whole any more.
    pub(super) fn give_response_up(&mut self, peer: EndpointId, request: StreamId) {
        let now = self.host.now();
        if self.drop_unbegun(peer, request) {
            return;
        }
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        let Some(call) = slot.near_calls.get_mut(&request) else { return };
        let response = call.response;
        call.request.give_up(&mut self.journal);
        (call.response_over, call.retain) = (true, false);
        if !slot.spool.ended(response) {
            slot.peer.stop_sending(now, response, code::CANCELLED);
        }
        let left = slot.spool.discard(response);
        slot.give_up(now, left, &mut self.journal);
        self.close_near_if_over(peer, request);
    }

    /// Forgets a stored result.
    pub(super) fn drop_result(&mut self, id: OperationId) {
        let now = self.host.now();
        let Some(lane) = self.results.remove(&id) else { return };
        if self.archive.get(lane).is_some() {
            self.remove_archived(lane);
            return;
        }
        let Some(slot) = self.slots.get_mut(&lane.peer) else { return };
        slot.forget_stream(now, lane.peer, lane.stream, &mut self.journal);
    }

    /// The caller reads no more of a response.
    pub(super) fn response_reader_dropped(&mut self, lane: Lane, ended: bool) {
        let request = StreamId::request(lane.stream.exchange());
        let Some(call) = self.near_call(lane.peer, request) else { return };
        let (operation, retain) = (call.operation, call.retain);
        call.reader = false;
        if ended {
            call.response_over = true;
            self.reached(operation, State::Delivered, 0);
            if let Some(entry) = self.near.on_state(operation, State::Done, self.host.unix_ms_signed()) {
                self.note_near(&entry);
            }
        } else if !retain && !self.near.is_cancel_asked(operation) {
            if let Some(entry) = self.near.on_state(operation, State::Cancelled, self.host.unix_ms_signed()) {
                self.note_near(&entry);
            }
            self.give_response_up(lane.peer, request);
        }
        self.close_near_if_over(lane.peer, request);
    }

    /// The response is kept although nobody waits for it now.
    pub(super) fn detach(&mut self, lane: Lane) {
        let now = self.host.now();
        let request = StreamId::request(lane.stream.exchange());
        let Some(call) = self.near_call(lane.peer, request) else { return };
        (call.retain, call.reader) = (true, false);
        let operation = call.operation;
        self.near.promise(operation);
        self.mark_kept(operation, lane, true);
        self.keep_result(now, lane.peer, request, lane.stream);
        // Its end may have come while the caller gave up.
        let Some(slot) = self.slots.get(&lane.peer) else { return };
        let reset = slot.spool.reset_code(lane.stream).is_some();
        if slot.spool.complete(lane.stream) {
            self.response_complete(lane.peer, request, operation);
        } else if reset {
            if let Some(call) = self.near_call(lane.peer, request) {
                call.response_over = true;
            }
            self.close_near_if_over(lane.peer, request);
        }
    }

    /// My request stream got its FIN or its reset.
    pub(super) fn request_ended(&mut self, peer: EndpointId, request: StreamId) {
        if let Some(slot) = self.slots.get_mut(&peer) {
            slot.end_writing(request);
        }
        self.journal.note_behind(&EngineEntry::RequestEnded { peer, stream: request });
        if let Some(call) = self.near_call(peer, request) {
            call.request_ended = true;
        }
        self.close_near_if_over(peer, request);
    }

    /// The far side ended its response as failed.
    pub(super) fn response_reset(&mut self, peer: EndpointId, request: StreamId, why: u64) {
        let Some(call) = self.near_call(peer, request) else { return };
        let (operation, retain, sent_before) = (call.operation, call.retain, call.sent_before);
        call.response_over |= retain;
        if self.near.is_cancel_asked(operation) {
            self.cancel_answered(operation, why, sent_before);
            self.close_near_if_over(peer, request);
            return;
        }
        let (state, kind, executed) = match (why, self.near.answered(operation)) {
            // Whatever the reset says: the head was there before.
            (_, Some(executed)) => (state_of(executed), ProblemKind::ResponseIncomplete, executed),
            (code::REFUSED, None) if !sent_before => (State::Failed, ProblemKind::ResponseIncomplete, Executed::No),
            // It had begun to answer, or it would say that it did not execute; a reset overtakes what it cuts off.
            (code::INCOMPLETE, None) => (State::Unknown, ProblemKind::ResponseIncomplete, Executed::Maybe),
            (_, None) => (State::Unknown, ProblemKind::OutcomeUnknown, Executed::Maybe),
        };
        self.end_operation(operation, state, kind, executed, code::name(why));
        self.close_near_if_over(peer, request);
    }

    /// Ends an operation of whose response a part is gone for good: what is known of the call is what the head said.
    pub(super) fn end_incomplete(&mut self, operation: OperationId, detail: &str) {
        let executed = self.near.answered(operation).unwrap_or(Executed::Maybe);
        self.end_operation(operation, state_of(executed), ProblemKind::ResponseIncomplete, executed, detail);
    }

    /// Ends an operation with a problem.
    pub(super) fn end_operation(
        &mut self,
        operation: OperationId,
        state: State,
        kind: ProblemKind,
        executed: Executed,
        detail: &str,
    ) {
        let problem = Problem::new(kind, detail).of(operation).executed(executed);
        if let Some(entry) = self.near.on_problem(operation, state, &problem, self.host.unix_ms_signed()) {
            self.note_near(&entry);
        }
    }

    /// Closes the streams of a call when both ends are over.
    pub(super) fn close_near_if_over(&mut self, peer: EndpointId, request: StreamId) {
        let now = self.host.now();
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        let Some(call) = slot.near_calls.get(&request) else { return };
        let response = call.response;
        if !(call.request_ended && call.response_over && slot.spool.ended(response)) {
            return;
        }
        let kept = call.retain && slot.spool.complete(response) && !mutated(Mutation::ResultDropped);
        let operation = call.operation;
        if self.near.is_cancel_asked(operation) {
            self.cancel_came_late(peer, request, operation);
        }
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        if let Some(mut call) = slot.near_calls.remove(&request) {
            call.request.give_up(&mut self.journal);
        }
        slot.peer.close_stream(response);
        if !kept {
            slot.forget_stream(now, peer, response, &mut self.journal);
            self.results.remove(&operation);
        }
    }

    /// Where the response of an operation is.
    pub(super) fn stored_result(&self, id: OperationId) -> StoredResult<Lane> {
        let Some(view) = self.near.get(id) else { return StoredResult::Unknown };
        let lane = self.results.get(&id).copied();
        let here = lane.is_some_and(|lane| {
            self.archive.get(lane).is_some()
                || self.slots.get(&lane.peer).is_some_and(|slot| slot.spool.first(lane.stream).is_some())
        });
        match lane {
            Some(lane) if here => StoredResult::Ready(lane),
            _ if view.state.is_terminal() => StoredResult::Gone(view),
            _ => StoredResult::Pending(view),
        }
    }

    pub(super) fn near_call(&mut self, peer: EndpointId, request: StreamId) -> Option<&mut NearCall> {
        self.slots.get_mut(&peer)?.near_calls.get_mut(&request)
    }
}

/// How a call ends of which this is known and no response can be had.
pub(super) const fn state_of(executed: Executed) -> State {
    match executed {
        Executed::Maybe => State::Unknown,
        Executed::Yes | Executed::No => State::Failed,
    }
}

/// The problem that a response stands for, if it is not the upstream's.
pub(super) fn problem_of(head: &ResponseHead) -> Option<Problem> {
    let kind = ProblemKind::from_slug(head.envelope.problem.as_deref()?).unwrap_or(ProblemKind::Internal);
    let mut problem = Problem::new(kind, "");
    problem.status = head.status;
    problem.executed = head.envelope.executed;
    Some(problem)
}

/// Is it harmless to make this call twice? By its method, or because it has a key; what the far side's rules say is not known.
pub(super) fn repeatable(method: &str, head: impl FnOnce() -> Option<Bytes>) -> bool {
    let keyed = || head().and_then(|payload| RequestHead::decode(&payload).ok());
    layer2_http::far::repeatable(method, false, Retry::Idempotent)
        || keyed().is_some_and(|head| head.envelope.idempotency_key.is_some())
}

#[cfg(test)]
mod tests;
