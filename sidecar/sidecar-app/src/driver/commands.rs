//! What the doors ask for.

use wire::record::kind;

use super::Driver;
use crate::command::{Command, Lane, Outgoing};

impl Driver {
    pub(super) fn handle_command(&mut self, command: Command) {
        let Some(known) = command.lane() else { return self.handle_present(command) };
        // A stream of mine and one of the peer may have the same number; only calls begun here move.
        let begun_here = match &command {
            Command::Append { .. } | Command::Prioritize { .. } | Command::Abort { .. } => known.stream.is_request(),
            Command::Read { .. } | Command::Look { .. } | Command::ReaderDropped { .. } | Command::Detach { .. } => {
                !known.stream.is_request()
            }
            _ => false,
        };
        if !begun_here {
            return self.handle_if_open(known, command);
        }
        let lane = self.present(known);
        let over = match &command {
            Command::ReaderDropped { .. } | Command::Abort { .. } => true,
            Command::Append { outgoing, .. } => outgoing.kind == kind::FIN,
            _ => false,
        };
        if over {
            self.forget_lane(known);
        }
        let command = command.about(lane);
        if self.archive.get(lane).is_some() {
            self.handle_archived(lane, command);
        } else {
            self.handle_if_open(lane, command);
        }
    }

    fn handle_if_open(&mut self, lane: Lane, command: Command) {
        if self.slots.get(&lane.peer).is_some_and(|slot| {
            slot.epoch == lane.epoch || crate::mutation::mutated(crate::mutation::Mutation::StaleLaneAccepted)
        }) {
            self.handle_present(command);
        } else {
            // Of an association that is over: the same stream number may be another exchange's by now.
            command.refuse();
        }
    }

    /// Does what is asked about streams of present associations, or about none.
    fn handle_present(&mut self, command: Command) {
        match command {
            Command::Begin { call, reply } => self.begin(call, reply),
            Command::Append { lane, outgoing, reply } => self.append(lane, outgoing, reply),
            Command::Prioritize { lane, priority } => {
                let now = self.host.now();
                if let Some(slot) = self.slots.get_mut(&lane.peer) {
                    slot.peer.set_priority(now, lane.stream, priority.urgency, priority.incremental);
                }
            }
            Command::Abort { lane, code } => self.abort(lane, code),
            Command::Read { lane, offset, records_max, keep, reply } => {
                if !keep {
                    self.read_to(lane, offset);
                }
                match self.slots.get_mut(&lane.peer) {
                    Some(slot) => slot.read(lane.stream, offset, records_max, reply),
                    None => drop(reply.send(crate::command::ReadReply::Gone)),
                }
            }
            Command::Look { lane, offset, reply } => {
                let slot = self.slots.get(&lane.peer);
                let _ = reply.send(slot.and_then(|slot| slot.spool.covering(lane.stream, offset)));
            }
            Command::ReaderDropped { lane, ended } if lane.stream.is_request() => {
                self.request_reader_dropped(lane, ended);
            }
            Command::ReaderDropped { lane, ended } => self.response_reader_dropped(lane, ended),
            Command::Detach { lane } => self.detach(lane),
            Command::Dispatch { lane, attempt, reply } => self.dispatch(lane, attempt, reply),
            Command::Callbacks(ask) => self.answer_callbacks(ask),
            Command::RequestBody { id, digest } => self.request_body(id, digest),
            Command::Operation { id, reply } => drop(reply.send(self.near.get(id))),
            Command::Operations { limit, reply } => drop(reply.send(self.near.list(None, limit))),
            Command::NewestOperations { of_each_state, reply } => {
                drop(reply.send(self.near.newest_of_each_state(of_each_state)));
            }
            Command::StoredResult { id, reply } => drop(reply.send(self.stored_result(id))),
            Command::RoundTrip { call, reply } => drop(reply.send(self.round_trip_us(&call))),
            Command::Status { reply } => drop(reply.send(self.status())),
            Command::Ask(question) => self.answer_question(question),
        }
    }

    fn append(
        &mut self,
        lane: Lane,
        outgoing: Outgoing,
        reply: tokio::sync::oneshot::Sender<Result<(), crate::command::AppendError>>,
    ) {
        let now = self.host.now();
        self.journal.gather(outgoing.payload.len() as u64);
        if outgoing.kind == kind::HEAD && !lane.stream.is_request() {
            self.response_begun(lane.peer, lane.stream);
        }
        match outgoing.kind {
            kind::HEAD => self.gather.begins(lane),
            kind::FIN => self.gather.ends(lane),
            _ => {}
        }
        self.note_request_traffic(lane, &outgoing);
        let Some(slot) = self.slots.get_mut(&lane.peer) else {
            let _ = reply.send(Err(crate::command::AppendError::Gone));
            return;
        };
        let progress = slot.append(now, lane.stream, outgoing, reply, &self.journal);
        self.stream_progressed(lane.peer, lane.stream, progress);
    }

    /// The FIN of a stream of mine was appended.
    pub(super) fn stream_finished(&mut self, lane: Lane) {
        if lane.stream.is_request() {
            self.request_is_whole(lane.peer, lane.stream);
            self.request_ended(lane.peer, lane.stream);
        } else {
            self.response_finished(lane.peer, lane.stream);
        }
    }

    fn abort(&mut self, lane: Lane, code: u64) {
        let now = self.host.now();
        self.gather.ends(lane);
        if lane.stream.is_request() {
            if self.drop_unbegun(lane.peer, lane.stream) {
                return;
            }
            let Some(slot) = self.slots.get_mut(&lane.peer) else { return };
            if slot.writing.contains_key(&lane.stream) {
                if let Some(call) = slot.near_calls.get_mut(&lane.stream) {
                    call.request.give_up(&mut self.journal);
                }
                // What did not leave yet need not any more.
                slot.peer.cancel_stream(now, lane.stream, code);
                self.request_ended(lane.peer, lane.stream);
            }
        } else if self.slots.get(&lane.peer).is_some_and(|slot| slot.writing.contains_key(&lane.stream)) {
            self.response_aborted(lane.peer, lane.stream, code);
        }
    }

    /// What lies before `offset` was read and is given up, unless it is kept.
    fn read_to(&mut self, lane: Lane, offset: u64) {
        let now = self.host.now();
        if lane.stream.is_request() {
            self.request_read_to(lane, offset);
        } else if let Some(slot) = self.slots.get_mut(&lane.peer)
            && !slot.spool.kept(lane.stream)
        {
            slot.take_below(now, lane.peer, lane.stream, offset, &mut self.journal);
        }
    }

    /// Forgets operations, results and executions whose time is over.
    pub(super) fn expire(&mut self) {
        let now_ms = self.host.unix_ms_signed();
        let ttl_ms = i64::try_from(self.settings.result_ttl.as_millis()).unwrap_or(i64::MAX);
        let kept = |id| self.callbacks.table.holds(id, now_ms);
        for entry in self.near.expire_unless(now_ms, ttl_ms, kept) {
            self.note_near(&entry);
        }
        let mpl_ms = i64::try_from(self.settings.replication.mpl.as_millis()).unwrap_or(i64::MAX);
        for entry in self.far.expire(now_ms, mpl_ms.saturating_mul(2)) {
            self.note_far(&entry);
        }
    }
}
