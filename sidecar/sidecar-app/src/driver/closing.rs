//! The end of an association: what becomes of each call of mine that went by it (protocol §3, "Re-bind, per message").
//!
//! | the call | what becomes of it |
//! |---|---|
//! | its response is whole here | it stays: as a stored result, or until its reader has it |
//! | its caller was given a part of the response | *response incomplete*; a stored result is asked for anew |
//! | its request is intact here, and it is repeatable or never left this endpoint | it is sent again, as the same operation |
//! | it never left this endpoint, but is not intact | failed, not executed |
//! | anything else | *outcome unknown* |
//!
//! A call that is sent again gets a new stream at once; its records are copied as the far side gives credit, and writers and
//! readers keep their lanes, which lead to the new streams ([`Driver::present`]). If some of it may have been sent before, its head
//! says so by the number of its attempt, and neither side says any more that it was not executed. Invariants: an original is given up only
//! when its copy is durable, so that a crash at any time leaves the request intact; a call has one stream. Whether the far side
//! made it before is the far side's to know: it is the same operation. Test to read first: `closing/tests.rs`.

use std::collections::BTreeSet;
use std::mem;

use layer2_http::fin::code;
use layer2_http::operation::{Executed, State};
use layer2_http::problem::ProblemKind;
use wire::{EndpointId, Seq, StreamId};

use super::Driver;
use super::near::state_of;
use super::progress::Tally;
use super::slot::{NearCall, Parked, Progress, Reader, Writing};
use crate::command::{Command, Lane};
use crate::entry::EngineEntry;

/// What becomes of a call whose response is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is sent again.
    SentAgain,
    /// It ends.
    Ends(State, ProblemKind, Executed),
}

/// What its fate depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    /// Making it twice is harmless.
    pub(super) repeatable: bool,
    /// Some of it may have left this endpoint.
    pub(super) sent: bool,
    /// All that was written of it is here, and the rest may still be.
    pub(super) intact: bool,
    /// Its caller was given some of the response.
    pub(super) given: bool,
    /// What the head of its response says of the call, if one came.
    pub(super) answered: Option<Executed>,
}

impl Fate {
    pub(super) fn of(call: Circumstances) -> Self {
        let incomplete = |executed| Self::Ends(state_of(executed), ProblemKind::ResponseIncomplete, executed);
        if call.given {
            return incomplete(call.answered.unwrap_or(Executed::Maybe));
        }
        match (call.intact && (call.repeatable || !call.sent), call.sent) {
            (true, _) => Self::SentAgain,
            (false, false) => Self::Ends(State::Failed, ProblemKind::PeerSilent, Executed::No),
            (false, true) => call
                .answered
                .map_or(Self::Ends(State::Unknown, ProblemKind::OutcomeUnknown, Executed::Maybe), incomplete),
        }
    }
}

/// A call on its way to a new stream.
pub(super) struct Moving {
    pub(super) call: NearCall,
    /// Where its caller still writes the request, and what of it waits.
    pub(super) writer: Option<(Lane, Parked)>,
    /// Where its caller reads the response, and who waits.
    pub(super) reader: Option<(Lane, Vec<Reader>)>,
}

impl Moving {
    /// A call whose caller is gone.
    pub(super) fn alone(call: NearCall) -> Self {
        Self { call, writer: None, reader: None }
    }
}

impl Driver {
    /// The peer lost its state, or I took another life: every call in flight with it is sent again, or ends and says what is known
    /// of it. Of my records, those up to `una` were acknowledged, and those in `sent` may have left this endpoint.
    pub(super) fn association_closed(&mut self, peer: EndpointId, una: Seq, sent: &[Seq]) {
        self.archive_results(peer);
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        let calls = mem::take(&mut slot.near_calls);
        tracing::warn!(%peer, calls = calls.len(), "the association closed: the peer lost its state");
        let sent: BTreeSet<Seq> = sent.iter().copied().collect();
        let (mut moving, mut ending) = (Vec::new(), Vec::new());
        for (request, mut call) in calls {
            if self.near.is_cancel_asked(call.operation) {
                ending.push((call.operation, State::Cancelled, ProblemKind::Cancelled, Executed::Maybe));
                call.request.give_up(&mut self.journal);
                continue;
            }
            let ended = self.near.get(call.operation).is_none_or(|view| view.state.is_terminal());
            if ended || call.response_over || self.archive.get(slot.lane(peer, call.response)).is_some() {
                call.request.give_up(&mut self.journal);
                continue;
            }
            let circumstances = Circumstances {
                repeatable: call.repeatable,
                sent: call.request.any_appended(|seq| seq <= una || sent.contains(&seq))
                    || !call.request.is_intact()
                    || call.sent_before,
                intact: call.request.is_whole()
                    || call.request.is_intact() && slot.writing.get(&request).is_some_and(Writing::is_open),
                given: call.given && !call.retain,
                answered: self.near.answered(call.operation),
            };
            call.sent_before = circumstances.sent;
            match Fate::of(circumstances) {
                Fate::SentAgain => moving.push(slot.take_along(peer, request, call)),
                Fate::Ends(state, kind, executed) => {
                    ending.push((call.operation, state, kind, executed));
                    call.request.give_up(&mut self.journal);
                }
            }
        }
        slot.end_everything(&mut self.journal);
        for (operation, state, kind, executed) in ending {
            self.end_operation(operation, state, kind, executed, "the far side lost its state");
        }
        for moving in moving {
            self.send_again(peer, moving);
        }
        let entry = self.far.peer_closed(peer, self.host.unix_ms_signed());
        self.note_far(&entry);
    }

    /// Whole responses outlive their association.
    fn archive_results(&mut self, peer: EndpointId) {
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        let kept = self.results.iter().filter(|(_, lane)| lane.peer == peer && lane.epoch == slot.epoch);
        let kept: Vec<_> = kept.map(|(operation, lane)| (*operation, *lane)).collect();
        for (operation, lane) in kept {
            if slot.spool.complete(lane.stream) {
                self.archive.insert(lane, operation, slot.spool.split_off(lane.stream), true);
            } else {
                self.results.remove(&operation);
            }
        }
        for call in slot.near_calls.values().filter(|call| call.reader && !call.response_over) {
            if slot.spool.complete(call.response) {
                let lane = slot.lane(peer, call.response);
                self.archive.insert(lane, call.operation, slot.spool.split_off(call.response), false);
            }
        }
    }

    /// Gives a call a stream of the present association, and begins to copy its request to it.
    pub(super) fn send_again(&mut self, peer: EndpointId, moving: Moving) {
        let Moving { mut call, writer, reader } = moving;
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        let request = slot.peer.open_exchange();
        let response = request.response_of();
        let (operation, retain) = (call.operation, call.retain);
        tracing::info!(%operation, %peer, exchange = request.exchange(), "a call is sent again");
        call.request.association_closed();
        (call.response, call.request_ended, call.problem) = (response, false, None);
        call.tally = Tally::default();
        slot.spool.open(response);
        let writing = match writer {
            Some((lane, parked)) => {
                self.lanes.insert(lane, slot.lane(peer, request));
                Writing::going_on(parked)
            }
            None => Writing::copied(),
        };
        slot.writing.insert(request, writing);
        slot.near_calls.insert(request, call);
        let lane = slot.lane(peer, response);
        if let Some((from, readers)) = reader {
            slot.wait(response, readers);
            self.lanes.insert(from, lane);
        }
        if let Some(entry) = self.near.move_to(operation, peer, request) {
            self.note_near(&entry);
        }
        if retain {
            self.mark_kept(operation, lane, true);
        }
        self.copy_on(peer, request);
    }

    /// Appends what there is room for of a request that is sent again.
    pub(super) fn copy_on(&mut self, peer: EndpointId, request: StreamId) {
        let now = self.host.now();
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        let progress = slot.unpark_stream(now, request, &self.journal);
        self.stream_progressed(peer, request, progress);
    }

    pub(super) fn stream_progressed(&mut self, peer: EndpointId, stream: StreamId, progress: Progress) {
        let Some(slot) = self.slots.get(&peer) else { return };
        match progress {
            Progress::Waits => {}
            Progress::Finished => self.stream_finished(slot.lane(peer, stream)),
            Progress::Broken => self.give_call_up(peer, stream, State::Unknown, ProblemKind::Internal),
        }
    }

    /// Ends a call whose request cannot be sent to its end.
    pub(super) fn give_call_up(&mut self, peer: EndpointId, request: StreamId, state: State, kind: ProblemKind) {
        let now = self.host.now();
        let Some(call) = self.near_call(peer, request) else { return };
        let (operation, response) = (call.operation, call.response);
        self.end_operation(operation, state, kind, Executed::Maybe, "the request could not be sent again");
        if let Some(slot) = self.slots.get_mut(&peer) {
            slot.spool.reset(response, code::INCOMPLETE);
            slot.wake_reader(response);
            slot.peer.reset_stream(now, request, code::INCOMPLETE);
        }
        self.request_ended(peer, request);
        self.give_response_up(peer, request);
    }

    /// A call of which nothing stands in the present association is over: there is nobody to tell. True if it was one.
    pub(super) fn drop_unbegun(&mut self, peer: EndpointId, request: StreamId) -> bool {
        let now = self.host.now();
        let Some(slot) = self.slots.get_mut(&peer) else { return false };
        if !slot.near_calls.get(&request).is_some_and(|call| call.request.is_unbegun()) {
            return false;
        }
        let Some(mut call) = slot.near_calls.remove(&request) else { return false };
        call.request.give_up(&mut self.journal);
        slot.end_writing(request);
        slot.peer.reset_stream(now, request, code::CANCELLED);
        let lane = slot.lane(peer, call.response);
        if call.retain {
            self.mark_kept(call.operation, lane, false);
        }
        if let Some(slot) = self.slots.get_mut(&peer) {
            // Nothing came by it, so there is nothing to note; its number is free.
            drop(slot.spool.forget(call.response));
            slot.wake_reader(call.response);
        }
        let (state, kind) = (State::Cancelled, ProblemKind::Cancelled);
        self.end_operation(call.operation, state, kind, Executed::Maybe, "it was to be sent again");
        true
    }

    /// Where a lane leads today: its call may have moved to other streams since it was given out.
    pub(super) fn present(&self, lane: Lane) -> Lane {
        let mut lane = lane;
        while let Some(next) = self.lanes.get(&lane) {
            lane = *next;
        }
        lane
    }

    /// Nobody asks by this lane any more.
    pub(super) fn forget_lane(&mut self, lane: Lane) {
        let mut next = self.lanes.remove(&lane);
        while let Some(lane) = next {
            next = self.lanes.remove(&lane);
        }
    }

    /// Does what is asked about an archived response.
    pub(super) fn handle_archived(&mut self, lane: Lane, command: Command) {
        match command {
            Command::Read { offset, records_max, reply, .. } => {
                drop(reply.send(self.archive.read(lane, offset, records_max)));
            }
            Command::Look { offset, reply, .. } => drop(reply.send(self.archive.covering(lane, offset))),
            Command::ReaderDropped { ended, .. } => {
                let Some(archived) = self.archive.get(lane) else { return };
                let (operation, kept) = (archived.operation, archived.kept);
                let state = if ended { State::Done } else { State::Cancelled };
                if (ended || !kept)
                    && let Some(entry) = self.near.on_state(operation, state, self.host.unix_ms_signed())
                {
                    self.note_near(&entry);
                }
                if !kept {
                    self.remove_archived(lane);
                }
            }
            Command::Detach { .. } => {
                let Some(operation) = self.archive.keep(lane) else { return };
                self.results.insert(operation, lane);
                if let Some(entry) = self.near.on_state(operation, State::Done, self.host.unix_ms_signed()) {
                    self.note_near(&entry);
                }
            }
            other => other.refuse(),
        }
    }

    /// Forgets an archived response.
    pub(super) fn remove_archived(&mut self, lane: Lane) {
        let Some(archived) = self.archive.get(lane) else { return };
        let entry =
            EngineEntry::Kept { peer: lane.peer, stream: lane.stream, operation: archived.operation, kept: false };
        self.journal.note(entry.kind(), &entry.encode(), false);
        for found in self.archive.remove(lane) {
            self.journal.unpin(found.position);
        }
    }

    /// The far side wants no more of a request of mine.
    pub(super) fn request_stopped(&mut self, peer: EndpointId, request: StreamId, why: u64) {
        let now = self.host.now();
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        slot.stop(request, why);
        if slot.writing.get(&request).is_some_and(|writing| writing.copy_only) {
            // Its writer would do this.
            slot.peer.reset_stream(now, request, why);
            self.request_ended(peer, request);
        }
    }
}

#[cfg(test)]
mod tests;
