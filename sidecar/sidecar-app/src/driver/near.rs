//! Calls begun here: from the first command to the stored result.
//!
//! Invariants: a call is accepted only when its head is durable; its response is given up record by record as it is read,
//! or kept whole where the caller chose the operation's id, within the results' quota; streams are closed when both ends
//! are over. Operation states only move forward: layer 2 sees to that.

use layer1_replication::Timestamp;
use layer2_http::ResponseHead;
use layer2_http::fin::code;
use layer2_http::near::{Begun as BegunEntry, NearEntry};
use layer2_http::operation::{Executed, OperationId, State};
use layer2_http::problem::{Problem, ProblemKind};
use tokio::sync::oneshot;
use wire::record::kind;
use wire::{EndpointId, StreamId};

use super::journal::WhenDurable;
use super::slot::{NearCall, Writing};
use super::{Clock, Driver};
use crate::command::{BeginCall, BeginError, Begun, Found, Lane, Outgoing, StoredResult};
use crate::entry::EngineEntry;

impl Driver {
    pub(super) fn note_near(&mut self, entry: &NearEntry) {
        let mut payload = Vec::new();
        entry.encode(&mut payload);
        self.journal.note(entry.kind(), &payload, entry.urgent());
        if let NearEntry::Forgotten { id } = entry {
            self.drop_result(*id);
        }
    }

    pub(super) fn begin(&mut self, call: BeginCall, reply: oneshot::Sender<Result<Begun, BeginError>>) {
        match self.try_begin(call) {
            Ok(begun) => self.journal.when_durable(WhenDurable::Begun(reply, begun)),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn try_begin(&mut self, call: BeginCall) -> Result<Begun, BeginError> {
        let now = self.clock.now();
        let peer = self.settings.default_peer;
        if let Some(view) = self.near.get(call.operation) {
            return Err(BeginError::Duplicate(Box::new(view)));
        }
        if !self.slots.contains_key(&peer) {
            self.open_slot(peer);
        }
        let Some(slot) = self.slots.get_mut(&peer) else { return Err(BeginError::Stopping) };
        if let Some(alarm) = &slot.alarm {
            return Err(BeginError::Halted(alarm.clone()));
        }
        let head = Outgoing::plain(kind::HEAD, call.head);
        if slot.sent_bytes + u64::from(head.raw_len) > self.settings.send_log_bytes_max {
            return Err(BeginError::LogFull);
        }
        let request = slot.peer.open_exchange();
        let begun = BegunEntry {
            id: call.operation,
            peer,
            stream: request,
            retain: call.retain,
            method: call.method,
            target: call.target,
            route: call.route,
            begun_ms: Clock::unix_ms_signed(),
        };
        let entries = self.near.begin(begun).map_err(|_| BeginError::LogFull)?;
        for entry in &entries {
            self.note_near(entry);
        }
        let response = request.response_of();
        let offset = u64::from(head.raw_len);
        let Some(slot) = self.slots.get_mut(&peer) else { return Err(BeginError::Stopping) };
        slot.spool.keep(response, call.retain);
        slot.writing.insert(request, Writing::default());
        slot.near_calls.insert(request, NearCall::new(call.operation, response, call.retain));
        if slot.append_now(now, request, head).is_err() {
            self.end_operation(call.operation, State::Failed, ProblemKind::LogFull, Executed::No, "the log refused it");
            return Err(BeginError::LogFull);
        }
        if call.retain {
            self.results.insert(call.operation, Lane { peer, stream: response });
        }
        Ok(Begun { peer, request, response, offset })
    }

    /// A record of a response arrived.
    pub(super) fn response_arrived(&mut self, peer: EndpointId, request: StreamId, found: &Found) {
        let now = self.clock.now();
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        let Some(call) = slot.near_calls.get(&request) else { return };
        let (operation, response, retain) = (call.operation, call.response, call.retain);
        if found.head.kind == kind::HEAD {
            self.response_head_arrived(peer, request, operation, found);
        }
        if retain {
            self.keep_result(now, peer, request, response);
        }
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        if slot.spool.complete(response) {
            self.response_complete(peer, request, operation);
        }
    }

    fn response_head_arrived(&mut self, peer: EndpointId, request: StreamId, operation: OperationId, found: &Found) {
        let head = self.journal.payload(found).and_then(|payload| ResponseHead::decode(&payload).ok());
        let Some(head) = head else { return };
        let problem = head.envelope.problem.as_deref().map(|slug| {
            let kind = ProblemKind::from_slug(slug).unwrap_or(ProblemKind::Internal);
            let mut problem = Problem::new(kind, "");
            problem.status = head.status;
            problem.executed = head.envelope.executed;
            problem
        });
        if let Some(entry) = self.near.on_response_head(operation, head.status, Clock::unix_ms_signed()) {
            self.note_near(&entry);
        }
        if let Some(call) = self.near_call(peer, request) {
            call.problem = problem;
        }
    }

    /// The whole response is in the log.
    fn response_complete(&mut self, peer: EndpointId, request: StreamId, operation: OperationId) {
        let Some(call) = self.near_call(peer, request) else { return };
        let (retain, problem) = (call.retain, call.problem.clone());
        let entry = match problem {
            Some(problem) => {
                let state = if problem.executed == Some(Executed::Maybe) { State::Unknown } else { State::Failed };
                self.near.on_problem(operation, state, &problem, Clock::unix_ms_signed())
            }
            None => self.near.on_state(operation, State::ResponseReady, Clock::unix_ms_signed()),
        };
        if let Some(entry) = &entry {
            self.note_near(entry);
        }
        if retain {
            if let Some(entry) = self.near.on_state(operation, State::Done, Clock::unix_ms_signed()) {
                self.note_near(&entry);
            }
            if let Some(call) = self.near_call(peer, request) {
                call.response_over = true;
            }
            self.close_near_if_over(peer, request);
        }
    }

    /// A kept response gives its credit back as it arrives; beyond the quota older results go, then the keeping itself.
    fn keep_result(&mut self, now: Timestamp, peer: EndpointId, request: StreamId, response: StreamId) {
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        for found in slot.spool.take_credit(response) {
            self.results_bytes += u64::from(found.head.stored_len);
            slot.peer.consume(now, response, &found.head);
        }
        while self.results_bytes > self.settings.results_bytes_max {
            let ended =
                self.results.keys().copied().find(|id| self.near.get(*id).is_none_or(|view| view.state.is_terminal()));
            match ended {
                Some(oldest) => self.drop_result(oldest),
                None => {
                    self.stop_keeping(peer, request);
                    break;
                }
            }
        }
    }

    /// The response is too large to be kept: from now on it is given up as it is read.
    fn stop_keeping(&mut self, peer: EndpointId, request: StreamId) {
        let Some(call) = self.near_call(peer, request) else { return };
        let (operation, response) = (call.operation, call.response);
        call.retain = false;
        tracing::info!(%operation, "the response is larger than the results' quota: it is not kept");
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        slot.spool.keep(response, false);
        self.results_bytes = self.results_bytes.saturating_sub(slot.spool.stream_bytes(response));
        self.results.remove(&operation);
    }

    /// Forgets a stored result.
    pub(super) fn drop_result(&mut self, id: OperationId) {
        let now = self.clock.now();
        let Some(lane) = self.results.remove(&id) else { return };
        let Some(slot) = self.slots.get_mut(&lane.peer) else { return };
        self.results_bytes = self.results_bytes.saturating_sub(slot.spool.stream_bytes(lane.stream));
        slot.forget_stream(now, lane.peer, lane.stream, &mut self.journal);
    }

    /// The caller reads no more of a response.
    pub(super) fn response_reader_dropped(&mut self, lane: Lane, ended: bool) {
        let now = self.clock.now();
        let request = StreamId::request(lane.stream.exchange());
        let Some(call) = self.near_call(lane.peer, request) else { return };
        let (operation, retain) = (call.operation, call.retain);
        if ended {
            call.response_over = true;
            if let Some(entry) = self.near.on_state(operation, State::Done, Clock::unix_ms_signed()) {
                self.note_near(&entry);
            }
        } else if !retain {
            call.response_over = true;
            if let Some(entry) = self.near.on_state(operation, State::Cancelled, Clock::unix_ms_signed()) {
                self.note_near(&entry);
            }
            if let Some(slot) = self.slots.get_mut(&lane.peer) {
                if !slot.spool.ended(lane.stream) {
                    slot.peer.stop_sending(now, lane.stream, code::CANCELLED);
                }
                let left = slot.spool.discard(lane.stream);
                slot.give_up(now, left, &mut self.journal);
            }
        }
        self.close_near_if_over(lane.peer, request);
    }

    /// The response is kept although nobody waits for it now.
    pub(super) fn detach(&mut self, lane: Lane) {
        let now = self.clock.now();
        let request = StreamId::request(lane.stream.exchange());
        let Some(call) = self.near_call(lane.peer, request) else { return };
        call.retain = true;
        let operation = call.operation;
        self.results.insert(operation, lane);
        if let Some(slot) = self.slots.get_mut(&lane.peer) {
            slot.spool.keep(lane.stream, true);
        }
        self.keep_result(now, lane.peer, request, lane.stream);
    }

    /// My request stream got its FIN or its reset.
    pub(super) fn request_ended(&mut self, peer: EndpointId, request: StreamId) {
        if let Some(slot) = self.slots.get_mut(&peer) {
            slot.end_writing(request);
        }
        // Behind the FIN in the log: a mark without its FIN would let the far side wait for ever.
        let entry = EngineEntry::RequestEnded { peer, stream: request };
        self.deferred.push((entry.kind(), entry.encode()));
        if let Some(call) = self.near_call(peer, request) {
            call.request_ended = true;
        }
        self.close_near_if_over(peer, request);
    }

    /// The far side ended its response as failed.
    pub(super) fn response_reset(&mut self, peer: EndpointId, request: StreamId, why: u64) {
        let Some(call) = self.near_call(peer, request) else { return };
        let (operation, retain) = (call.operation, call.retain);
        call.response_over |= retain;
        let begun = self.near.get(operation).is_some_and(|view| view.status.is_some());
        let (state, kind, executed) = match (why, begun) {
            (code::REFUSED, false) => (State::Failed, ProblemKind::ResponseIncomplete, Executed::No),
            (_, true) => (State::Failed, ProblemKind::ResponseIncomplete, Executed::Yes),
            (_, false) => (State::Unknown, ProblemKind::OutcomeUnknown, Executed::Maybe),
        };
        self.end_operation(operation, state, kind, executed, code::name(why));
        self.close_near_if_over(peer, request);
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
        if let Some(entry) = self.near.on_problem(operation, state, &problem, Clock::unix_ms_signed()) {
            self.note_near(&entry);
        }
    }

    /// Closes the streams of a call when both ends are over.
    pub(super) fn close_near_if_over(&mut self, peer: EndpointId, request: StreamId) {
        let now = self.clock.now();
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        let Some(call) = slot.near_calls.get(&request) else { return };
        let response = call.response;
        if !(call.request_ended && call.response_over && slot.spool.ended(response)) {
            return;
        }
        let kept = call.retain && slot.spool.complete(response);
        let operation = call.operation;
        slot.near_calls.remove(&request);
        slot.peer.close_stream(request);
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
        let here = lane
            .is_some_and(|lane| self.slots.get(&lane.peer).is_some_and(|slot| slot.spool.first(lane.stream).is_some()));
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
