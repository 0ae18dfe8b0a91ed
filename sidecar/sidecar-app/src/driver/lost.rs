//! The end of an association as a replay finds it: the same decisions as in `closing.rs`, from what the log says.
//!
//! The log does not say what was decided about each call; it shows it. One that ended has its end; one that was sent again has moved
//! (`NearEntry::Moved`), and what follows in its new stream are copies of its records, in order; of any other one nothing was
//! told or done, so it is decided here. Callers are gone with the process: what a call still brings becomes a stored result.
//! Invariant: whatever is needed again is pinned before a segment may go. Test to read first: `closing/tests.rs`.

use std::collections::BTreeMap;

use disk::log::Position;
use layer1_replication::PeerEvent;
use layer2_http::near::{NearEntry, Operations};
use layer2_http::operation::{Executed, OperationId, State};
use layer2_http::problem::ProblemKind;
use wire::record::{FIRST_STORED_KIND, RecordHeader, kind};
use wire::{EndpointId, Seq, StreamId};

use super::Driver;
use super::closing::{Circumstances, Fate, Moving};
use super::kept::{KeptRequest, own_head};
use super::near::problem_of;
use super::recover::Gathered;
use super::slot::{NearCall, Writing};
use crate::command::{Found, Lane};
use crate::spool::Spool;

/// A call whose association ended, and of which no decision is in the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost {
    /// Some of it may have left this endpoint.
    sent: bool,
    /// Its caller was given some of the response.
    given: bool,
}

/// What a replay gathers of requests and of ended associations.
#[derive(Default)]
pub(super) struct Outlived {
    /// Requests of mine, as far as they are known from the log.
    pub(super) requests: BTreeMap<OperationId, KeptRequest>,
    /// Whole responses of associations that ended.
    pub(super) responses: BTreeMap<OperationId, (EndpointId, Spool)>,
    lost: BTreeMap<OperationId, Lost>,
    /// Operations that were begun in an association that ended, without their head in the log.
    headless: Vec<OperationId>,
}

impl Outlived {
    /// A record of mine stands in the log.
    pub(super) fn sent(&mut self, operation: Option<OperationId>, found: Found) {
        // A call that is lost has no stream: the number is another one's.
        let Some(operation) = operation.filter(|operation| !self.lost.contains_key(operation)) else { return };
        if found.head.kind >= FIRST_STORED_KIND {
            let _kept = self.requests.entry(operation).or_default().append(found);
        }
    }

    pub(super) fn near_entry(&mut self, entry: &NearEntry) {
        match entry {
            NearEntry::Moved { id, .. } => drop(self.lost.remove(id)),
            NearEntry::Begun(_) | NearEntry::State(_) | NearEntry::Forgotten { .. } | NearEntry::CancelAsked { .. } => {
            }
        }
    }

    /// A record of mine was carried on.
    pub(super) fn record_moved(&mut self, operation: OperationId, head: &RecordHeader, to: Position) {
        if let Some(request) = self.requests.get_mut(&operation) {
            let _before = request.move_to(head, to);
        }
    }

    pub(super) fn response_record(&mut self, peer: EndpointId, operation: OperationId, mut found: Found) {
        found.credited = true;
        let (_, spool) = self.responses.entry(operation).or_insert_with(|| (peer, Spool::default()));
        let _unwanted = spool.add(found);
    }
}

impl Driver {
    /// The association with a peer ended, at this place of the log.
    pub(super) fn replay_closed(&mut self, peer: EndpointId, una: Seq, sent: &[Seq], gathered: &mut Gathered) {
        let slot = self.open_slot(peer);
        let mut spool = std::mem::take(&mut slot.spool);
        slot.sent.clear();
        for ((_, stream), operation) in gathered.kept.iter().filter(|((of, _), _)| *of == peer) {
            if spool.complete(*stream) {
                gathered.outlived.responses.insert(*operation, (peer, spool.split_off(*stream)));
            }
        }
        let outlived = &mut gathered.outlived;
        let headless = |(_, of, stream): &&(OperationId, EndpointId, StreamId)| {
            *of == peer && !gathered.begun_streams.contains(&(*of, *stream))
        };
        outlived.headless.extend(gathered.begun.iter().filter(headless).map(|(operation, _, _)| *operation));
        for (begun, _) in self.near.open().filter(|(begun, _)| begun.peer == peer) {
            let response = begun.stream.response_of();
            if outlived.lost.contains_key(&begun.id) {
                continue;
            }
            if spool.complete(response) && spool.taken(response) == 0 {
                outlived.responses.insert(begun.id, (peer, spool.split_off(response)));
            }
            let request = outlived.requests.entry(begun.id).or_default();
            let sent = request.any_appended(|seq| seq <= una || sent.contains(&seq)) || !request.is_unsent();
            outlived.lost.insert(begun.id, Lost { sent, given: spool.taken(response) > 0 });
            request.association_closed();
        }
        gathered.forget_peer(peer);
        gathered.far_closed.insert(peer);
    }

    /// The replay is over: ends what my new life ends, and pins what may be needed again.
    pub(super) fn keep_outlived(&mut self, gathered: &mut Gathered) {
        let outlived = &mut gathered.outlived;
        for operation in std::mem::take(&mut outlived.headless) {
            outlived.requests.remove(&operation);
            if self.near.get(operation).is_some_and(|view| view.state == State::Accepted) {
                let entry = NearEntry::Forgotten { id: operation };
                self.near.replay(&entry);
                self.note_near(&entry);
            }
        }
        outlived.requests.retain(|operation, _| is_open(&self.near, *operation));
        let mut stale = Vec::new();
        for (operation, request) in &mut outlived.requests {
            let Some(begun) = self.near.begun(*operation) else { continue };
            let Some(slot) = self.slots.get(&begun.peer) else { continue };
            let una = slot.peer.status(self.host.now()).una;
            let response = begun.stream.response_of();
            if request.is_unbegun() && !outlived.lost.contains_key(operation) {
                // It gets another stream: this number is free again, and may be given to the next one.
                stale.push((begun.peer, response));
            }
            request.released_up_to(una);
            // As it was given up while the engine ran, when it was released.
            if request.any_appended(|seq| seq <= una) && !self.is_repeatable(*operation, request) {
                request.forget_appended();
            }
            for (found, _) in request.records() {
                self.journal.pin(found.position);
            }
        }
        for (peer, response) in stale {
            gathered.kept.remove(&(peer, response));
            if let Some(slot) = self.slots.get_mut(&peer) {
                drop(slot.spool.forget(response));
            }
        }
        outlived.responses.retain(|operation, (_, spool)| {
            let whole = spool.streams().all(|stream| spool.complete(stream) && spool.first(stream).is_some());
            if !whole && is_open(&self.near, *operation) {
                // What its reader had is not here any more.
                outlived.lost.insert(*operation, Lost { sent: true, given: true });
            }
            whole && self.near.get(*operation).is_some()
        });
        for (_, spool) in outlived.responses.values() {
            for found in spool.records() {
                self.journal.pin(found.position);
            }
        }
    }

    /// Whether the operation may be called again without harm, by its method or the key in its head. One whose head was given up may
    /// not.
    pub(super) fn is_repeatable(&mut self, operation: OperationId, request: &KeptRequest) -> bool {
        let journal = &mut self.journal;
        let head = || request.records().next().and_then(|(found, _)| journal.payload_if_held(found));
        self.near.begun(operation).is_some_and(|begun| super::near::repeatable(&begun.method, head))
    }

    /// Whether a request may have been sent before: its head says so, or is not held any more.
    pub(super) fn was_attempted(&mut self, request: &KeptRequest) -> bool {
        let head = request.records().next().filter(|(found, _)| found.head.kind == kind::HEAD);
        let payload = head.and_then(|(found, _)| self.journal.payload_if_held(found));
        let head = payload.and_then(|payload| own_head(&payload));
        head.is_none_or(|head| head.envelope.attempts_before() > 0)
    }

    /// Whole responses of associations that ended are stored results.
    pub(super) fn resume_responses(&mut self, responses: BTreeMap<OperationId, (EndpointId, Spool)>) {
        for (operation, (peer, spool)) in responses {
            let Some(stream) = spool.streams().next() else { continue };
            let head = spool.first(stream).and_then(|first| self.response_head(&first));
            let answered = head.as_ref().and_then(|head| head.envelope.operation);
            if answered.is_some_and(|answered| answered != operation) {
                for found in spool.records() {
                    self.journal.unpin(found.position);
                }
                let (state, kind) = (State::Unknown, ProblemKind::OutcomeUnknown);
                self.end_operation(operation, state, kind, Executed::Maybe, "what was answered is another call");
                continue;
            }
            let lane = self.archive.lane_after_restart(Lane { peer, stream, epoch: 0 });
            self.archive.insert(lane, operation, spool, true);
            self.results.insert(operation, lane);
            if let Some(head) = head {
                let problem = problem_of(&head);
                self.note_response_head(operation, head.status, problem.as_ref());
                self.response_ready(operation, problem);
            }
            if let Some(entry) = self.near.on_state(operation, State::Done, self.host.unix_ms_signed()) {
                self.note_near(&entry);
            }
        }
    }

    /// Goes on with a call whose association ended, or whose request was being copied. Gives its request back if neither is so.
    pub(super) fn resume_outlived(
        &mut self,
        operation: OperationId,
        (peer, request): (EndpointId, StreamId),
        ended: bool,
        outlived: &mut Outlived,
    ) -> Option<KeptRequest> {
        let mut kept = outlived.requests.remove(&operation).unwrap_or_default();
        let repeatable = self.is_repeatable(operation, &kept);
        let decided_before = !outlived.lost.contains_key(&operation);
        let lost = match outlived.lost.get(&operation) {
            Some(lost) => *lost,
            // It was decided that it is sent again; that it may be was known then.
            None if kept.is_unbegun() && kept.is_whole() => Lost { sent: false, given: false },
            None if kept.is_unbegun() => Lost { sent: true, given: false },
            None if kept.copies_to_end() && !ended => {
                let mut call = NearCall::new(operation, request.response_of(), true, repeatable);
                call.sent_before = self.was_attempted(&kept);
                (call.request, call.reader) = (kept, false);
                self.resume_copy(peer, request, call);
                return None;
            }
            None => return Some(kept),
        };
        let circumstances = Circumstances {
            repeatable,
            // Of one that its caller was still writing it is not known any more whether it was sent before it moved.
            sent: lost.sent || repeatable && !kept.is_whole(),
            intact: kept.is_whole(),
            given: lost.given,
            answered: self.near.answered(operation),
        };
        match Fate::of(circumstances) {
            Fate::SentAgain => {
                let mut call = NearCall::new(operation, request.response_of(), true, repeatable);
                // What was known when it was decided is not known any more; one that may not be repeated was never sent then.
                call.sent_before = circumstances.sent || decided_before && repeatable || self.was_attempted(&kept);
                (call.request, call.reader) = (kept, false);
                self.send_again(peer, Moving::alone(call));
            }
            Fate::Ends(state, kind, executed) => {
                kept.give_up(&mut self.journal);
                self.end_operation(operation, state, kind, executed, "the far side lost its state");
            }
        }
        None
    }

    /// The rest of its request follows what was copied before the restart.
    fn resume_copy(&mut self, peer: EndpointId, request: StreamId, call: NearCall) {
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        let (operation, response) = (call.operation, call.response);
        slot.spool.open(response);
        let lane = slot.lane(peer, response);
        let (given, reset) = (slot.spool.taken(response) > 0, slot.spool.reset_code(response));
        slot.writing.insert(request, Writing::copied());
        slot.near_calls.insert(request, call);
        if given {
            self.end_incomplete(operation, "the engine was restarted");
            self.give_response_up(peer, request);
        } else {
            self.mark_kept(operation, lane, true);
        }
        self.copy_on(peer, request);
        self.resume_response(peer, request);
        if let Some(code) = reset {
            self.response_reset(peer, request, code);
        }
    }
}

fn is_open(near: &Operations, operation: OperationId) -> bool {
    near.get(operation).is_some_and(|view| !view.state.is_terminal())
}

/// What a replayed entry says of the end of an association.
pub(super) fn end_of_association(event: &PeerEvent) -> Option<(Seq, Vec<Seq>)> {
    match event {
        PeerEvent::AssociationClosed { una, sent_seqs, .. } => Some((*una, sent_seqs.clone())),
        _ => None,
    }
}
