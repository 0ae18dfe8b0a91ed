//! The start: the log is replayed into layer 1, layer 2 and the indexes, then every exchange goes on or gets its end.
//!
//! What a crash can leave, and what becomes of it:
//!
//! | found | done |
//! |---|---|
//! | an operation without its head in the log | forgotten: nobody was told that it was accepted |
//! | a request without its end | its stream is reset: the caller's connection is gone with the process |
//! | a response, whole or in part, that nobody took yet | kept as a stored result |
//! | a response of which a part was given up to its reader | given up; the operation fails as incomplete |
//! | a request, not dispatched | executed |
//! | dispatched, no response | tried again if that is harmless, else *outcome unknown* |
//! | a response without its end | reset as incomplete |
//!
//! Invariant: nothing is sent before all of this is durable. Test to read first: `tests/line`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use disk::log::{Log, LogError, Recovered};
use layer1_replication::{Entry, Ids, Peer};
use layer2_http::far::{Executions, FarEntry};
use layer2_http::fin::code;
use layer2_http::head::RequestHead;
use layer2_http::near::{NearEntry, Operations};
use layer2_http::operation::{Executed, OperationId, State};
use layer2_http::problem::ProblemKind;
use wire::record::kind;
use wire::{EndpointId, Incarnation, StreamId};

use super::journal::Journal;
use super::slot::{NearCall, Slot};
use super::{Clock, Driver, EXPIRY_PERIOD, Outlets, Settings};
use crate::command::{Found, Lane};
use crate::entry::{self, ENGINE_FIRST, EngineEntry, LAYER2_FIRST, SentPlace};

/// First kind of the far side's entries of layer 2.
const FAR_FIRST: u8 = 96;

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

/// What the replay gathers besides the state itself.
#[derive(Default)]
struct Gathered {
    requests_ended: BTreeSet<Lane>,
    /// Streams of mine that have a record in the log.
    begun_streams: BTreeSet<Lane>,
    /// Operations begun after the checkpoint.
    begun: Vec<(OperationId, Lane)>,
}

impl Driver {
    /// Makes the driver from what the log holds.
    ///
    /// # Errors
    /// When the log cannot be understood or written.
    pub fn recover(settings: Settings, log: Log, recovered: Recovered, outlets: Outlets) -> Result<Self, RecoverError> {
        let facts = (recovered.torn_bytes, recovered.segments);
        let mut driver = Self::empty(settings, Journal::new(log), outlets)?;
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
        driver.finish_replay()?;
        driver.resume_near(&gathered);
        driver.resume_far();
        driver.journal.make_urgent();
        Ok(driver)
    }

    fn empty(settings: Settings, journal: Journal, outlets: Outlets) -> Result<Self, RecoverError> {
        let (mut random, mut nonce_secret) = ([0; 8], [0; 32]);
        getrandom::fill(&mut random).map_err(RecoverError::Random)?;
        getrandom::fill(&mut nonce_secret).map_err(RecoverError::Random)?;
        Ok(Self {
            settings,
            clock: Clock { began: Instant::now() },
            // Used only if the log knows no earlier life.
            incarnation: Incarnation { generation: 0, random },
            nonce_secret,
            life_known: false,
            journal,
            slots: BTreeMap::new(),
            near: Operations::new(),
            far: Executions::new(),
            outlets,
            publishing: false,
            counters: layer0_pipe::Counters::default(),
            inbox_alarm: None,
            outbox_failure: None,
            results: BTreeMap::new(),
            results_bytes: 0,
            deferred: Vec::new(),
            expiry_due: Instant::now() + EXPIRY_PERIOD,
            sweep_due: Instant::now() + EXPIRY_PERIOD,
            next_slot: 0,
            started_ms: Clock::unix_ms(),
        })
    }

    /// Opens a slot for a remote endpoint.
    pub(super) fn open_slot(&mut self, peer: EndpointId) -> &mut Slot {
        let ids = Ids {
            me: self.settings.me,
            my_name: self.settings.my_name.clone(),
            my_incarnation: self.incarnation,
            peer,
            nonce_secret: self.nonce_secret,
        };
        let (config, now) = (self.settings.replication.clone(), self.clock.now());
        self.slots.entry(peer).or_insert_with(|| Slot::new(Peer::new(ids, config, now)))
    }

    fn replay(&mut self, entry: &disk::log::Entry, gathered: &mut Gathered) -> Option<()> {
        match entry.kind {
            kind if kind >= ENGINE_FIRST => {
                let entry = EngineEntry::decode(kind, &entry.payload)?;
                self.replay_engine(entry, gathered);
            }
            kind if kind >= FAR_FIRST => self.far.replay(&FarEntry::decode(kind, &entry.payload).ok()?),
            kind if kind >= LAYER2_FIRST => {
                let near = NearEntry::decode(kind, &entry.payload).ok()?;
                if let NearEntry::Begun(begun) = &near {
                    let lane = Lane { peer: begun.peer, stream: begun.stream };
                    if !entry.in_checkpoint {
                        gathered.begun.push((begun.id, lane));
                    }
                    self.open_slot(begun.peer).spool.keep(begun.stream.response_of(), begun.retain);
                }
                self.near.replay(&near);
            }
            kind => {
                let (peer, rest) = entry::split_peer(&entry.payload)?;
                let replayed = decode_layer1(kind, rest)?;
                let position = entry.position;
                let in_checkpoint = entry.in_checkpoint;
                let slot = self.open_slot(peer);
                match &replayed {
                    Entry::Sent { head, .. } if !in_checkpoint => {
                        gathered.begun_streams.insert(Lane { peer, stream: head.stream });
                        slot.place_sent(SentPlace {
                            seq: head.seq,
                            stream: head.stream,
                            kind: head.kind,
                            stored_len: head.stored_len,
                            position,
                        });
                    }
                    Entry::Received(meta) if !in_checkpoint && meta.head.kind >= 32 => {
                        let found = Found { head: meta.head, pd: meta.link_digest, position, credited: false };
                        // Nothing is pinned yet: what is not wanted needs no giving up.
                        let _unwanted = slot.spool.add(found);
                    }
                    _ => {}
                }
                slot.peer.replay(replayed);
            }
        }
        Some(())
    }

    fn replay_engine(&mut self, entry: EngineEntry, gathered: &mut Gathered) {
        match entry {
            EngineEntry::Life { incarnation, nonce_secret } => {
                (self.incarnation, self.nonce_secret) = (incarnation, nonce_secret);
                self.life_known = true;
            }
            EngineEntry::SentAt { peer, place } => self.open_slot(peer).place_sent(place),
            EngineEntry::Spooled { peer, found } => {
                let _unwanted = self.open_slot(peer).spool.add(found.0);
            }
            EngineEntry::Taken { peer, stream, below } => {
                drop(self.open_slot(peer).spool.take_below(stream, below));
            }
            EngineEntry::Forgotten { peer, stream } => drop(self.open_slot(peer).spool.forget(stream)),
            EngineEntry::Mark { peer, mark } => self.open_slot(peer).spool.restore_mark(mark),
            EngineEntry::RequestEnded { peer, stream } => {
                gathered.requests_ended.insert(Lane { peer, stream });
            }
        }
    }

    /// Ends the replay: what is released goes, what stays is pinned, and a first life is noted.
    fn finish_replay(&mut self) -> Result<(), RecoverError> {
        if !self.life_known {
            let life = EngineEntry::Life { incarnation: self.incarnation, nonce_secret: self.nonce_secret };
            self.journal.append(life.kind(), &[&life.encode()], true)?;
            self.life_known = true;
        }
        self.open_slot(self.settings.default_peer);
        let now = self.clock.now();
        for slot in self.slots.values_mut() {
            slot.peer.replay_done(now);
            let una = slot.peer.status(now).una;
            slot.drop_released(una);
            for place in slot.sent.values() {
                self.journal.pin(place.position);
            }
            for found in slot.spool.records() {
                self.journal.pin(found.position);
            }
            slot.alarm = slot.peer.status(now).halted.map(|alarm| format!("{alarm}; {}", alarm.remedy()));
        }
        self.journal.reclaim();
        Ok(())
    }

    fn resume_near(&mut self, gathered: &Gathered) {
        for (operation, lane) in &gathered.begun {
            let state = self.near.get(*operation).map(|view| view.state);
            if state == Some(State::Accepted) && !gathered.begun_streams.contains(lane) {
                self.note_near_replayed(NearEntry::Forgotten { id: *operation });
            }
        }
        let open: Vec<_> = self.near.open().map(|(begun, _)| (begun.id, begun.peer, begun.stream)).collect();
        for (operation, peer, request) in open {
            self.resume_call(operation, peer, request, gathered);
        }
        for view in self.near.list(None, usize::MAX) {
            let Some(begun) = self.near.begun(view.id).filter(|_| view.state.is_terminal()) else { continue };
            let lane = Lane { peer: begun.peer, stream: begun.stream.response_of() };
            let Some(slot) = self.slots.get(&lane.peer) else { continue };
            if slot.spool.kept(lane.stream) && slot.spool.first(lane.stream).is_some() {
                self.results_bytes += slot.spool.stream_bytes(lane.stream);
                self.results.insert(view.id, lane);
            }
        }
    }

    /// Applies and notes an entry that the replay itself brings about.
    fn note_near_replayed(&mut self, entry: NearEntry) {
        self.near.replay(&entry);
        self.note_near(&entry);
    }

    fn resume_call(&mut self, operation: OperationId, peer: EndpointId, request: StreamId, gathered: &Gathered) {
        let now = self.clock.now();
        let response = request.response_of();
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        let mut call = NearCall::new(operation, response, true);
        call.request_ended = gathered.requests_ended.contains(&Lane { peer, stream: request })
            || slot.sent.values().any(|place| place.stream == request && ends(place.kind));
        slot.spool.open(response);
        let given_up = slot.spool.taken(response) > 0;
        let (ended, reset) = (call.request_ended, slot.spool.reset_code(response));
        slot.near_calls.insert(request, call);
        if !ended {
            slot.peer.reset_stream(now, request, code::INCOMPLETE);
            self.request_ended(peer, request);
        }
        if given_up {
            self.end_operation(operation, State::Failed, ProblemKind::ResponseIncomplete, Executed::Yes, "restarted");
            self.give_response_up(peer, request);
            return;
        }
        if let Some(slot) = self.slots.get_mut(&peer) {
            slot.spool.keep(response, true);
        }
        self.results.insert(operation, Lane { peer, stream: response });
        let first = self.slots.get(&peer).and_then(|slot| slot.spool.first(response));
        if let Some(found) = first.filter(|found| found.head.kind == kind::HEAD) {
            self.response_arrived(peer, request, &found);
        }
        if let Some(code) = reset {
            self.response_reset(peer, request, code);
        }
    }

    fn resume_far(&mut self) {
        let lanes: Vec<Lane> = self
            .slots
            .iter()
            .flat_map(|(peer, slot)| slot.spool.streams().map(|stream| Lane { peer: *peer, stream }))
            .filter(|lane| lane.stream.is_request())
            .collect();
        for Lane { peer, stream } in lanes {
            let Some(slot) = self.slots.get(&peer) else { continue };
            let response = stream.response_of();
            let finished = slot.sent.values().any(|place| place.stream == response && ends(place.kind));
            if finished
                && let Some(operation) = self.far.by_stream(&peer, stream)
                && let Some(entry) = self.far.done(operation)
            {
                self.note_far(&entry);
            }
            let Some(slot) = self.slots.get(&peer) else { continue };
            let reset = slot.spool.reset_code(stream).is_some();
            let first = slot.spool.first(stream);
            let dispatched = self.far.by_stream(&peer, stream).is_some();
            if dispatched {
                let head = first
                    .and_then(|found| self.journal.payload(&found))
                    .and_then(|payload| RequestHead::decode(&payload).ok());
                // A request that was cut off after its dispatch cannot be made again.
                self.execute(peer, stream, head.as_ref().filter(|_| !reset));
            } else if reset {
                self.request_reset(peer, stream);
            } else if self.slots.get(&peer).is_some_and(|slot| slot.spool.taken(stream) > 0) {
                // Not whole any more and never dispatched: it was answered without being executed.
                self.refuse(peer, stream);
            } else {
                self.request_arrived(peer, stream);
            }
        }
    }

    /// Nobody can have this response whole any more.
    fn give_response_up(&mut self, peer: EndpointId, request: StreamId) {
        let now = self.clock.now();
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        let Some(call) = slot.near_calls.get_mut(&request) else { return };
        let response = call.response;
        (call.response_over, call.retain) = (true, false);
        if !slot.spool.ended(response) {
            slot.peer.stop_sending(now, response, code::CANCELLED);
        }
        let left = slot.spool.discard(response);
        slot.give_up(now, left, &mut self.journal);
        self.close_near_if_over(peer, request);
    }
}

/// True for the records that end a stream.
fn ends(record_kind: u8) -> bool {
    matches!(record_kind, kind::FIN | kind::RESET_STREAM)
}

/// A layer-1 entry; one that carries a payload has it behind its own bytes.
fn decode_layer1(kind: u8, rest: &[u8]) -> Option<Entry> {
    Entry::decode_prefix(kind, rest).ok().map(|(entry, _)| entry)
}
