//! The start: the log is replayed into layer 1, layer 2 and the indexes, then every exchange goes on or gets its end.
//!
//! What a crash can leave, and what becomes of it:
//!
//! | found | done |
//! |---|---|
//! | a call whose association ended | as `closing.rs` decides: see `lost.rs` |
//! | an operation without its head in the log | forgotten: nobody was told that it was accepted |
//! | a request without its end | its stream is reset: the caller's connection is gone with the process |
//! | a response, whole or in part, that nobody took yet | kept as a stored result |
//! | a response of which a part was given up to its reader | given up; the operation fails as incomplete |
//! | a request, not dispatched | executed |
//! | dispatched, no response | tried again if that is harmless, else *outcome unknown* |
//! | a response without its end | reset as incomplete |
//!
//! Invariant: nothing is sent before all of this is durable. Test to read first: `tests/line`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use disk::log::{Log, LogError, Position, Recovered};
use layer1_replication::{Entry, Peer, PeerEvent};
use layer2_http::callbacks::CallbackEntry;
use layer2_http::far::{Executions, FarEntry};
use layer2_http::fin::code;
use layer2_http::head::RequestHead;
use layer2_http::keys::{KeyEntry, Keys};
use layer2_http::near::{NearEntry, Operations};
use layer2_http::operation::{OperationId, State};
use wire::record::{FIRST_STORED_KIND, decode_code, kind};
use wire::{EndpointId, StreamId};

use super::archive::Archive;
use super::callbacks::CallbackState;
use super::carry::Carry;
use super::forget::Watch;
use super::gather::Gather;
use super::journal::Journal;
use super::kept::KeptRequest;
use super::lost::{Outlived, end_of_association};
use super::membership::Membership;
use super::slot::{NearCall, Slot};
use super::{Driver, EXPIRY_PERIOD, Host, Outlets, Settings};
use crate::command::Found;
use crate::entry::{self, ENGINE_FIRST, EngineEntry, FAR_FIRST, LAYER2_FIRST, Life, SentPlace};
use crate::pipe::OutboxJob;

/// Why an engine cannot go on from its log.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The log cannot be read or written.
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    /// An entry is not what its kind says.
    #[error("log entry {position} of kind {kind} cannot be understood; was it written by a later hoft?")]
    Entry {
        /// Where it lies.
        position: String,
        /// Its kind.
        kind: u8,
    },
    /// No randomness.
    #[error("the system gives no randomness for a new incarnation: {0}")]
    Random(getrandom::Error),
}

/// What the replay gathers besides the state itself. All of it is about the newest association with each peer.
#[derive(Default)]
pub(super) struct Gathered {
    requests_ended: BTreeSet<(EndpointId, StreamId)>,
    /// Streams of mine that have a record in the log.
    pub(super) begun_streams: BTreeSet<(EndpointId, StreamId)>,
    /// Operations begun after the checkpoint.
    pub(super) begun: Vec<(OperationId, EndpointId, StreamId)>,
    /// Responses that are stored results.
    pub(super) kept: BTreeMap<(EndpointId, StreamId), OperationId>,
    /// Requests that have their answer.
    far_over: BTreeSet<(EndpointId, StreamId)>,
    /// Responses of mine that the caller does not want.
    unwanted: BTreeSet<(EndpointId, StreamId)>,
    /// What outlives associations.
    pub(super) outlived: Outlived,
    /// Endpoints whose association ended, and the journal of executions does not know.
    pub(super) far_closed: BTreeSet<EndpointId>,
}

impl Gathered {
    /// The association with a peer ended: what was gathered of it is void.
    pub(super) fn forget_peer(&mut self, peer: EndpointId) {
        self.requests_ended.retain(|(of, _)| *of != peer);
        self.begun_streams.retain(|(of, _)| *of != peer);
        self.begun.retain(|(_, of, _)| *of != peer);
        self.kept.retain(|(of, _), _| *of != peer);
        self.far_over.retain(|(of, _)| *of != peer);
        self.unwanted.retain(|(of, _)| *of != peer);
    }

    /// A number may have been given to a call before of which nothing was sent.
    fn stream_begins(&mut self, entry: &NearEntry) {
        let (peer, stream) = match entry {
            NearEntry::Begun(begun) => (begun.peer, begun.stream),
            NearEntry::Moved { peer, stream, .. } => (*peer, *stream),
            NearEntry::State(_) | NearEntry::Forgotten { .. } | NearEntry::CancelAsked { .. } => return,
        };
        self.kept.remove(&(peer, stream.response_of()));
        self.requests_ended.remove(&(peer, stream));
    }

    fn forget_stream(&mut self, peer: EndpointId, stream: StreamId) {
        self.kept.remove(&(peer, stream));
        self.far_over.remove(&(peer, stream));
        self.unwanted.remove(&(peer, stream.response_of()));
    }
}

impl Driver {
    /// Makes the driver from what the log holds.
    ///
    /// # Errors
    /// When the log cannot be understood or written.
    pub fn recover(
        settings: Settings,
        log: Log,
        recovered: Recovered,
        outlets: Outlets,
        host: Arc<dyn Host>,
    ) -> Result<Self, RecoverError> {
        let facts = (recovered.torn_bytes, recovered.segments);
        let mut driver = Self::empty(settings, Journal::new(log, Arc::clone(&host)), outlets, host)?;
        let mut gathered = Gathered::default();
        let mut count: u64 = 0;
        for entry in recovered {
            let entry = entry?;
            driver
                .replay(&entry, &mut gathered)
                .ok_or_else(|| RecoverError::Entry { position: entry.position.to_string(), kind: entry.kind })?;
            count += 1;
        }
        tracing::info!(entries = count, torn_bytes = facts.0, segments = facts.1, "log replayed");
        let events = driver.finish_replay(&mut gathered)?;
        driver.check_places(&gathered)?;
        driver.resume_near(&mut gathered);
        driver.watch_deadlines();
        driver.resume_far(&gathered);
        driver.close_orphans(&gathered);
        for (peer, event) in events {
            driver.handle_peer_event(peer, event);
        }
        driver.journal.make_urgent();
        Ok(driver)
    }

    fn empty(
        settings: Settings,
        journal: Journal,
        outlets: Outlets,
        host: Arc<dyn Host>,
    ) -> Result<Self, RecoverError> {
        let now = host.now();
        let membership =
            settings.membership.as_ref().map(|membership| Membership::new(membership, settings.loss_timeout, now));
        let gather = Gather::new(settings.gather_max);
        Ok(Self {
            settings,
            // Used only if the log knows no earlier life.
            life: Life::random(host.as_ref()).map_err(RecoverError::Random)?,
            life_known: false,
            anew: None,
            journal,
            slots: BTreeMap::new(),
            membership,
            is_draining: false,
            draining: None,
            watch: Watch::new(now),
            near: Operations::new(),
            far: Executions::new(),
            keys: Keys::default(),
            callbacks: CallbackState::default(),
            outlets,
            carry: Carry::default(),
            tight: false,
            publishing: false,
            counters: layer0_pipe::Counters::default(),
            published_bytes: 0,
            inbox_alarm: None,
            outbox_failure: None,
            archive: Archive::default(),
            lanes: BTreeMap::new(),
            results: BTreeMap::new(),
            waiting_begins: VecDeque::new(),
            blocked: BTreeSet::new(),
            replaying: true,
            news: super::news::News::default(),
            carrying: None,
            deadlines: super::withdraw::Deadlines::default(),
            expiry_due: now.after(EXPIRY_PERIOD),
            rest_until: now,
            gather,
            sweep_due: now.after(EXPIRY_PERIOD),
            pressure: 0,
            space_due: now.after(super::space::LOOK_PERIOD),
            next_slot: 0,
            began: now,
            started_ms: host.unix_ms(),
            host,
        })
    }

    /// Opens a slot for a remote endpoint.
    pub(super) fn open_slot(&mut self, peer: EndpointId) -> &mut Slot {
        let (ids, first_pn, epoch) = (self.ids(peer), self.life.first_pn, self.watch.epoch);
        let (config, now, replaying) = (self.settings.replication.clone(), self.host.now(), self.replaying);
        let tight = self.tight;
        self.slots.entry(peer).or_insert_with(|| {
            let mut slot = Slot::new(Peer::new(ids, config, now));
            slot.epoch = epoch;
            slot.tight = tight;
            if !replaying {
                // Nothing of this peer is in the log: its replay is over before it began. But it may have been forgotten.
                slot.peer.replay(Entry::PnBlock { reserved_below: first_pn, floor: first_pn });
                slot.peer.replay_done(now);
                slot.peer.hold_credit(now, tight);
            }
            slot
        })
    }

    fn replay(&mut self, entry: &disk::log::Entry, gathered: &mut Gathered) -> Option<()> {
        match entry.kind {
            kind if kind >= ENGINE_FIRST => {
                let (position, entry) = (entry.position, EngineEntry::decode(kind, &entry.payload)?);
                self.replay_engine(entry, position, gathered);
            }
            kind if kind >= FAR_FIRST => {
                let far = FarEntry::decode(kind, &entry.payload).ok()?;
                if let FarEntry::PeerClosed { peer, .. } = &far {
                    gathered.far_closed.remove(peer);
                }
                self.far.replay(&far);
            }
            kind if KeyEntry::has_kind(kind) => self.keys.replay(&KeyEntry::decode(kind, &entry.payload).ok()?),
            kind if CallbackEntry::has_kind(kind) => {
                self.callbacks.table.replay(&CallbackEntry::decode(kind, &entry.payload).ok()?);
            }
            kind if kind >= LAYER2_FIRST => {
                let near = NearEntry::decode(kind, &entry.payload).ok()?;
                if let NearEntry::Begun(begun) = &near
                    && !entry.in_checkpoint
                {
                    gathered.begun.push((begun.id, begun.peer, begun.stream));
                    self.open_slot(begun.peer).spool.open(begun.stream.response_of());
                }
                if let NearEntry::Moved { peer, stream, .. } = &near {
                    self.open_slot(*peer).spool.open(stream.response_of());
                }
                if let NearEntry::Forgotten { id } = &near {
                    self.keys.forget(*id);
                    self.callbacks.table.forget(*id);
                }
                gathered.stream_begins(&near);
                gathered.outlived.near_entry(&near);
                self.near.replay(&near);
            }
            kind => {
                let (peer, rest) = entry::split_peer(&entry.payload)?;
                let (replayed, payload) = Entry::decode_prefix(kind, rest).ok()?;
                if self.membership.as_mut().is_some_and(|membership| membership.replay(peer, &replayed)) {
                    return Some(());
                }
                self.replay_layer1(peer, replayed, payload, entry, gathered);
            }
        }
        Some(())
    }

    fn replay_layer1(
        &mut self,
        peer: EndpointId,
        replayed: Entry,
        payload: &[u8],
        entry: &disk::log::Entry,
        gathered: &mut Gathered,
    ) {
        let position = entry.position;
        if let Entry::Sent { head, payload_digest, .. } = &replayed {
            let found = Found { head: *head, pd: *payload_digest, position, credited: true };
            gathered.outlived.sent(self.near.by_stream(&peer, head.stream), found);
        }
        let slot = self.open_slot(peer);
        match &replayed {
            Entry::Sent { head, .. } if !entry.in_checkpoint => {
                if head.kind >= FIRST_STORED_KIND {
                    // Another one may be about a stream of the peer, of the same number.
                    gathered.begun_streams.insert((peer, head.stream));
                }
                slot.place_sent(SentPlace { seq: head.seq, stream: head.stream, kind: head.kind, position });
            }
            Entry::Received(meta) if !entry.in_checkpoint => match meta.head.kind {
                kind::RESET_STREAM => {
                    slot.spool.open(meta.head.stream);
                    slot.spool.reset(meta.head.stream, decode_code(payload).unwrap_or(code::INTERNAL));
                }
                kind::STOP_SENDING => {
                    gathered.unwanted.insert((peer, meta.head.stream));
                }
                kind::TOMBSTONE => {
                    slot.spool.open(meta.head.stream);
                    slot.spool.reset(meta.head.stream, layer1_replication::TOMBSTONED);
                }
                kind if kind >= FIRST_STORED_KIND => {
                    let found = Found { head: meta.head, pd: meta.link_digest, position, credited: false };
                    // Nothing is pinned yet: what is not wanted needs no giving up.
                    let _unwanted = slot.spool.add(found);
                }
                _ => {}
            },
            _ => {}
        }
        slot.peer.replay(replayed);
        let mut closed = None;
        while let Some(event) = slot.peer.poll_event() {
            closed = closed.or_else(|| end_of_association(&event));
        }
        if let Some((una, sent)) = closed {
            self.replay_closed(peer, una, &sent, gathered);
        }
    }

    fn replay_engine(&mut self, entry: EngineEntry, position: Position, gathered: &mut Gathered) {
        match entry {
            EngineEntry::Life(life) => {
                self.life = life;
                self.life_known = true;
            }
            EngineEntry::SentAt { peer, place } => self.open_slot(peer).place_sent(place),
            EngineEntry::Spooled { peer, found } => {
                let _unwanted = self.open_slot(peer).spool.add(found.0);
            }
            EngineEntry::Moved { peer, sent, head } => {
                // Released or read since: then nobody asks for it.
                let _held = self.open_slot(peer).move_record(sent, &head, position);
                if let Some(operation) = self.near.by_stream(&peer, head.stream).filter(|_| sent) {
                    gathered.outlived.record_moved(operation, &head, position);
                }
            }
            EngineEntry::Taken { peer, stream, below } => {
                drop(self.open_slot(peer).spool.take_below(stream, below));
            }
            EngineEntry::Forgotten { peer, stream } => {
                drop(self.open_slot(peer).spool.forget(stream));
                gathered.forget_stream(peer, stream);
            }
            EngineEntry::Mark { peer, mark } => self.open_slot(peer).spool.restore_mark(mark),
            EngineEntry::RequestEnded { peer, stream } => {
                gathered.requests_ended.insert((peer, stream));
            }
            EngineEntry::Kept { peer, stream, operation, kept: true } => {
                gathered.kept.insert((peer, stream), operation);
            }
            EngineEntry::Kept { peer, stream, operation, .. } => {
                // The stream's number may be another one's by now.
                if gathered.kept.get(&(peer, stream)) == Some(&operation) {
                    gathered.kept.remove(&(peer, stream));
                }
                gathered.outlived.responses.remove(&operation);
            }
            EngineEntry::RequestAt { operation, found, to_copy, .. } => {
                gathered.outlived.requests.entry(operation).or_default().restore(found.0, to_copy);
            }
            EngineEntry::ResultAt { peer, operation, found } => {
                gathered.outlived.response_record(peer, operation, found.0);
            }
            EngineEntry::FarOver { peer, stream } => {
                gathered.far_over.insert((peer, stream));
            }
        }
    }

    /// Ends the replay: what is released goes, what stays is pinned, and a first life is noted.
    fn finish_replay(&mut self, gathered: &mut Gathered) -> Result<Vec<(EndpointId, PeerEvent)>, RecoverError> {
        if !self.life_known {
            let life = EngineEntry::Life(self.life.clone());
            self.journal.append(life.kind(), &[&life.encode()], true)?;
            self.life_known = true;
        }
        self.open_slot(self.settings.default_peer);
        self.replaying = false;
        let now = self.host.now();
        let mut events = Vec::new();
        for peer in self.slots.keys().copied().collect::<Vec<_>>() {
            let Some(slot) = self.slots.get_mut(&peer) else { continue };
            slot.peer.replay_done(now);
            let reported: Vec<_> = std::iter::from_fn(|| slot.peer.poll_event()).collect();
            // My life is another one than the association's.
            match reported.iter().find_map(end_of_association) {
                Some((una, sent)) => {
                    self.replay_closed(peer, una, &sent, gathered);
                    // That the association ended lies before everything that follows from it, for the next replay.
                    if let Some(slot) = self.slots.get_mut(&peer) {
                        slot.append_persists(peer, &mut self.journal)?;
                    }
                    // Packets of the former life say nothing to anybody any more.
                    let _ = self.outlets.outbox.send(OutboxJob::Forget(peer));
                }
                None => events.extend(reported.into_iter().map(|event| (peer, event))),
            }
        }
        self.keep_outlived(gathered);
        for slot in self.slots.values_mut() {
            let una = slot.peer.status(now).una;
            slot.drop_released(una);
            for place in slot.sent.values() {
                self.journal.pin(place.position);
            }
            for found in slot.spool.records() {
                self.journal.pin(found.position);
            }
            slot.look_for_alarm(now);
        }
        self.journal.reclaim();
        Ok(events)
    }

    /// Looks at every place that will be read: what is missing or damaged there must stop the start before anything is decided
    /// without it. What is about to be given up may be gone; payloads are verified when they are read.
    fn check_places(&self, gathered: &Gathered) -> Result<(), RecoverError> {
        for (peer, slot) in &self.slots {
            for place in slot.sent.values() {
                self.journal.check_place(place.position)?;
            }
            let needed: BTreeSet<StreamId> =
                slot.spool.streams().filter(|stream| self.is_needed(*peer, slot, *stream, gathered)).collect();
            for found in slot.spool.records().filter(|found| needed.contains(&found.head.stream)) {
                self.journal.check_place(found.position)?;
            }
        }
        Ok(())
    }

    fn is_needed(&self, peer: EndpointId, slot: &Slot, stream: StreamId, gathered: &Gathered) -> bool {
        if stream.is_request() {
            let over = gathered.far_over.contains(&(peer, stream)) || slot.has_end(stream.response_of());
            return !over && slot.peer.is_receiving(stream);
        }
        let request = StreamId::request(stream.exchange());
        let open = || self.near.by_stream(&peer, request).and_then(|operation| self.near.get(operation));
        let kept = gathered.kept.get(&(peer, stream)).is_some_and(|operation| self.near.get(*operation).is_some());
        kept || open().is_some_and(|view| !view.state.is_terminal())
    }

    fn resume_near(&mut self, gathered: &mut Gathered) {
        self.resume_responses(std::mem::take(&mut gathered.outlived.responses));
        for (operation, peer, stream) in &gathered.begun {
            let state = self.near.get(*operation).map(|view| view.state);
            if state == Some(State::Accepted) && !gathered.begun_streams.contains(&(*peer, *stream)) {
                let entry = NearEntry::Forgotten { id: *operation };
                self.near.replay(&entry);
                self.note_near(&entry);
            }
        }
        for ((peer, response), operation) in &gathered.kept {
            if self.near.get(*operation).is_none() {
                continue;
            }
            let now = self.host.now();
            let Some(slot) = self.slots.get_mut(peer) else { continue };
            slot.spool.keep(*response, true);
            self.results.insert(*operation, slot.lane(*peer, *response));
            // Repeated, because the last marks before a crash may be lost: its credit went back as it arrived.
            for found in slot.spool.take_credit(*response) {
                slot.peer.consume(now, *response, &found.head);
            }
        }
        let open: Vec<_> = self.near.open().map(|(begun, _)| (begun.id, begun.peer, begun.stream)).collect();
        for (operation, peer, request) in open {
            let ended = gathered.requests_ended.contains(&(peer, request));
            if let Some(kept) = self.resume_outlived(operation, (peer, request), ended, &mut gathered.outlived) {
                self.resume_call(operation, (peer, request), kept, gathered);
            }
        }
    }

    fn resume_call(
        &mut self,
        operation: OperationId,
        (peer, request): (EndpointId, StreamId),
        kept: KeptRequest,
        gathered: &Gathered,
    ) {
        let now = self.host.now();
        let response = request.response_of();
        let repeatable = self.is_repeatable(operation, &kept);
        let mut call = NearCall::new(operation, response, true, repeatable);
        // One that may not be repeated is sent again only if it never was.
        call.sent_before = repeatable && self.was_attempted(&kept);
        (call.reader, call.request) = (false, kept);
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        call.request_ended = gathered.requests_ended.contains(&(peer, request)) || slot.has_end(request);
        slot.spool.open(response);
        let given_up = slot.spool.taken(response) > 0;
        let (ended, reset, lane) = (call.request_ended, slot.spool.reset_code(response), slot.lane(peer, response));
        slot.near_calls.insert(request, call);
        if !ended {
            if let Some(call) = slot.near_calls.get_mut(&request) {
                call.request.give_up(&mut self.journal);
            }
            slot.peer.reset_stream(now, request, code::INCOMPLETE);
            self.request_ended(peer, request);
        }
        if given_up {
            self.end_incomplete(operation, "the engine was restarted");
            self.give_response_up(peer, request);
            return;
        }
        if self.near.is_cancel_asked(operation) && reset.is_none() {
            self.withdraw(peer, request, code::CANCELLED);
            return;
        }
        self.mark_kept(operation, lane, true);
        self.resume_response(peer, request);
        if let Some(code) = reset {
            self.response_reset(peer, request, code);
        }
    }

    /// Goes on with what is here of a response.
    pub(super) fn resume_response(&mut self, peer: EndpointId, request: StreamId) {
        let now = self.host.now();
        let response = request.response_of();
        let Some(first) = self.slots.get(&peer).and_then(|slot| slot.spool.first(response)) else { return };
        let head = self.response_head(&first);
        if !self.answers_another(peer, &first, head.as_ref()) {
            self.response_arrived(peer, request, &first, head.as_ref());
            return;
        }
        // It was refused, and the crash came before what follows from that.
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        slot.peer.answers_another(now, request);
        let left = slot.spool.discard(response);
        slot.give_up(now, left, &mut self.journal);
    }

    fn resume_far(&mut self, gathered: &Gathered) {
        for peer in &gathered.far_closed {
            let entry = self.far.peer_closed(*peer, self.host.unix_ms_signed());
            self.note_far(&entry);
        }
        let requests: Vec<(EndpointId, StreamId)> = self
            .slots
            .iter()
            .flat_map(|(peer, slot)| slot.spool.streams().map(|stream| (*peer, stream)))
            .filter(|(_, stream)| stream.is_request())
            .collect();
        for (peer, request) in requests {
            self.resume_execution(peer, request, gathered);
        }
        self.finish_closed_executions();
    }

    /// The mark that an execution is done lies behind the end of its streams: a crash between them leaves the end alone.
    fn finish_closed_executions(&mut self) {
        let closed = |(peer, request, _): &(EndpointId, StreamId, OperationId)| {
            self.slots.get(peer).is_none_or(|slot| !slot.peer.is_receiving(*request))
        };
        let closed: Vec<_> = self.far.under_way().filter(closed).map(|(.., operation)| operation).collect();
        for entry in closed.into_iter().filter_map(|operation| self.far.done(operation)).collect::<Vec<_>>() {
            self.note_far(&entry);
        }
    }

    fn resume_execution(&mut self, peer: EndpointId, request: StreamId, gathered: &Gathered) {
        let now = self.host.now();
        let response = request.response_of();
        let dispatched = self.far.by_stream(&peer, request).is_some();
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        if !slot.peer.is_receiving(request) {
            // Layer 1 closed it: what is left are late records of an exchange that is over.
            slot.forget_stream(now, peer, request, &mut self.journal);
            return;
        }
        if slot.has_end(response) || gathered.far_over.contains(&(peer, request)) {
            slot.far_over.insert(request);
            let left = slot.spool.discard(request);
            slot.give_up(now, left, &mut self.journal);
            self.response_finished(peer, response);
            self.forget_far_if_ended(peer, request);
            return;
        }
        let reset = slot.spool.reset_code(request).is_some();
        let first = slot.spool.first(request);
        let begun = slot.sent.values().any(|place| place.stream == response && place.kind != kind::STOP_SENDING);
        let unwanted = gathered.unwanted.contains(&(peer, response));
        if dispatched {
            let head =
                first.and_then(|found| self.journal.payload(&found)).and_then(|head| RequestHead::decode(&head).ok());
            // A request that was cut off, or whose caller is gone, is not made again.
            self.execute(peer, request, head.as_ref().filter(|_| !reset && !unwanted));
        } else if reset || unwanted || begun || slot.spool.taken(request) > 0 {
            // Never dispatched, and not to be: its answer was cut off, or nobody waits for one.
            self.refuse(peer, request);
        } else {
            self.request_arrived(peer, request);
        }
    }

    /// Ends responses that belong to no call and are no stored result: their callers went away.
    fn close_orphans(&mut self, gathered: &Gathered) {
        let now = self.host.now();
        let responses: Vec<(EndpointId, StreamId)> = self
            .slots
            .iter()
            .flat_map(|(peer, slot)| slot.spool.streams().map(|stream| (*peer, stream)))
            .filter(|(_, stream)| !stream.is_request())
            .collect();
        for (peer, response) in responses {
            let Some(slot) = self.slots.get_mut(&peer) else { continue };
            let request = StreamId::request(response.exchange());
            if slot.near_calls.contains_key(&request) {
                continue;
            }
            if slot.spool.kept(response) && slot.spool.complete(response) {
                slot.peer.close_stream(response);
                continue;
            }
            slot.spool.keep(response, false);
            if !gathered.requests_ended.contains(&(peer, request)) && !slot.has_end(request) {
                slot.peer.reset_stream(now, request, code::CANCELLED);
            }
            if !slot.spool.ended(response) && slot.peer.is_receiving(response) {
                slot.peer.stop_sending(now, response, code::CANCELLED);
            }
            let left = slot.spool.discard(response);
            slot.give_up(now, left, &mut self.journal);
            if !slot.peer.is_receiving(response) {
                slot.forget_stream(now, peer, response, &mut self.journal);
            }
            self.close_orphan_if_ended(peer, response);
        }
    }
}

#[cfg(test)]
mod tests;
