//! The state that a log tells, replayed as a start would do it, without starting anything.
//!
//! Invariants: entries are taken in log order, from the newest segment alone; nothing is written. It decides nothing: what a
//! start would then do with what it found is the driver's.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use disk::log::{Entry as LogEntry, Position};
use layer1_replication::{Config, Entry, Ids, Peer, PeerEvent, PeerStatus, Timestamp};
use layer2_http::callbacks::CallbackEntry;
use layer2_http::far::{Executions, FarEntry};
use layer2_http::keys::KeyEntry;
use layer2_http::near::{NearEntry, Operations};
use layer2_http::operation::OperationId;
use wire::control::EndpointName;
use wire::record::{FIRST_STORED_KIND, RecordHeader, kind};
use wire::{EndpointId, Incarnation, Seq, StreamId};

use crate::command::Found;
use crate::entry::{self, ENGINE_FIRST, EngineEntry, FAR_FIRST, LAYER2_FIRST, SentPlace};
use crate::spool::Spool;

/// One remote endpoint.
pub(super) struct PeerState {
    peer: Peer,
    pub(super) sent: BTreeMap<Seq, SentPlace>,
    pub(super) spool: Spool,
}

/// What a record is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// It is not acknowledged.
    Unacknowledged,
    /// It was received and not read, or must be readable again.
    Received,
    /// It is part of a stored result.
    Result(OperationId),
}

/// A place that the state refers to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) peer: EndpointId,
    pub(super) seq: Seq,
    pub(super) need: Need,
}

/// The state of a log.
pub(super) struct LogState {
    me: EndpointId,
    pub(super) incarnation: Option<Incarnation>,
    secret: [u8; 32],
    pub(super) near: Operations,
    pub(super) far: Executions,
    pub(super) peers: BTreeMap<EndpointId, PeerState>,
    kept: BTreeMap<(EndpointId, StreamId), OperationId>,
    /// Requests that have their answer.
    over: BTreeSet<(EndpointId, StreamId)>,
}

impl LogState {
    pub(super) fn new(me: EndpointId) -> Self {
        Self {
            me,
            incarnation: None,
            secret: [0; 32],
            near: Operations::new(),
            far: Executions::new(),
            peers: BTreeMap::new(),
            kept: BTreeMap::new(),
            over: BTreeSet::new(),
        }
    }

    /// Takes the next entry; `None` if it cannot be understood.
    pub(super) fn take(&mut self, entry: &LogEntry) -> Option<()> {
        match entry.kind {
            kind if kind >= ENGINE_FIRST => {
                self.take_engine(EngineEntry::decode(kind, &entry.payload)?, entry.position)
            }
            kind if kind >= FAR_FIRST => self.far.replay(&FarEntry::decode(kind, &entry.payload).ok()?),
            // Whose they are is not shown.
            kind if KeyEntry::has_kind(kind) => drop(KeyEntry::decode(kind, &entry.payload).ok()?),
            kind if CallbackEntry::has_kind(kind) => drop(CallbackEntry::decode(kind, &entry.payload).ok()?),
            kind if kind >= LAYER2_FIRST => self.near.replay(&NearEntry::decode(kind, &entry.payload).ok()?),
            kind => {
                let (peer, rest) = entry::split_peer(&entry.payload)?;
                let (replayed, _) = Entry::decode_prefix(kind, rest).ok()?;
                self.take_layer1(peer, replayed, entry);
            }
        }
        Some(())
    }

    fn take_layer1(&mut self, peer: EndpointId, replayed: Entry, entry: &LogEntry) {
        let position = entry.position;
        let state = self.peer(peer);
        match &replayed {
            Entry::Sent { head, .. } if !entry.in_checkpoint => {
                let place = SentPlace { seq: head.seq, stream: head.stream, kind: head.kind, position };
                state.sent.insert(head.seq, place);
            }
            Entry::Received(meta) if !entry.in_checkpoint && meta.head.kind >= FIRST_STORED_KIND => {
                let found = Found { head: meta.head, pd: meta.link_digest, position, credited: false };
                let _unwanted = state.spool.add(found);
            }
            _ => {}
        }
        state.peer.replay(replayed);
        let mut closed = false;
        while let Some(event) = state.peer.poll_event() {
            closed |= matches!(event, PeerEvent::AssociationClosed { .. });
        }
        if closed {
            state.spool = Spool::default();
            state.sent.clear();
            self.kept.retain(|(of, _), _| *of != peer);
            self.over.retain(|(of, _)| *of != peer);
            self.far.replay(&FarEntry::PeerClosed { peer, at_ms: 0 });
        }
    }

    fn take_engine(&mut self, entry: EngineEntry, position: Position) {
        match entry {
            EngineEntry::Life(life) => (self.incarnation, self.secret) = (Some(life.incarnation), life.nonce_secret),
            EngineEntry::SentAt { peer, place } => drop(self.peer(peer).sent.insert(place.seq, place)),
            EngineEntry::Spooled { peer, found } => drop(self.peer(peer).spool.add(found.0)),
            EngineEntry::Taken { peer, stream, below } => drop(self.peer(peer).spool.take_below(stream, below)),
            EngineEntry::Moved { peer, sent: true, head } => {
                if let Some(place) = self.peer(peer).sent.get_mut(&head.seq) {
                    place.position = position;
                }
            }
            EngineEntry::Moved { peer, head, .. } => {
                let _held = self.peer(peer).spool.move_to(&head, position);
            }
            EngineEntry::Forgotten { peer, stream } => {
                drop(self.peer(peer).spool.forget(stream));
                self.kept.remove(&(peer, stream));
                self.over.remove(&(peer, stream));
            }
            EngineEntry::Mark { peer, mark } => self.peer(peer).spool.restore_mark(mark),
            EngineEntry::Kept { peer, stream, operation, kept: true } => {
                self.kept.insert((peer, stream), operation);
            }
            EngineEntry::Kept { peer, stream, .. } => drop(self.kept.remove(&(peer, stream))),
            EngineEntry::FarOver { peer, stream } => drop(self.over.insert((peer, stream))),
            EngineEntry::RequestEnded { .. } | EngineEntry::RequestAt { .. } | EngineEntry::ResultAt { .. } => {}
        }
    }

    fn peer(&mut self, peer: EndpointId) -> &mut PeerState {
        let ids = Ids {
            me: self.me,
            // Names are for what is sent, and nothing is.
            my_name: EndpointName { kind: String::new(), name: String::new() },
            my_incarnation: self.incarnation.unwrap_or(Incarnation { generation: 0, random: [0; 8] }),
            peer,
            nonce_secret: self.secret,
        };
        self.peers.entry(peer).or_insert_with(|| PeerState {
            peer: Peer::new(ids, Config::default(), Timestamp::from_micros(0)),
            sent: BTreeMap::new(),
            spool: Spool::default(),
        })
    }

    /// Ends the replay: what is released goes.
    pub(super) fn finish(&mut self) {
        for state in self.peers.values_mut() {
            state.peer.replay_done(Timestamp::from_micros(0));
            let una = state.status().una;
            state.sent = state.sent.split_off(&una.next());
        }
    }

    /// Every place that the state refers to.
    pub(super) fn places(&self) -> BTreeMap<Position, Place> {
        let mut places = BTreeMap::new();
        for (peer, state) in &self.peers {
            for place in state.sent.values() {
                let (peer, seq) = (*peer, place.seq);
                places.insert(place.position, Place { peer, seq, need: Need::Unacknowledged });
            }
            let needed: BTreeSet<StreamId> =
                state.spool.streams().filter(|stream| self.is_needed(*peer, state, *stream)).collect();
            for found in state.spool.records().filter(|found| needed.contains(&found.head.stream)) {
                let result = self.result(*peer, found.head.stream);
                let need = result.map_or(Need::Received, Need::Result);
                places.insert(found.position, Place { peer: *peer, seq: found.head.seq, need });
            }
        }
        places
    }

    // What a start gives up at once is needed no more, and its segments may be gone. The driver does the same.
    fn is_needed(&self, peer: EndpointId, state: &PeerState, stream: StreamId) -> bool {
        if !stream.is_request() {
            let request = StreamId::request(stream.exchange());
            let open = || self.near.by_stream(&peer, request).and_then(|operation| self.near.get(operation));
            return self.result(peer, stream).is_some() || open().is_some_and(|view| !view.state.is_terminal());
        }
        let response = stream.response_of();
        let ends = |place: &SentPlace| place.stream == response && matches!(place.kind, kind::FIN | kind::RESET_STREAM);
        !self.over.contains(&(peer, stream)) && state.peer.is_receiving(stream) && !state.sent.values().any(ends)
    }

    /// The operation whose stored result the stream is.
    fn result(&self, peer: EndpointId, stream: StreamId) -> Option<OperationId> {
        self.kept.get(&(peer, stream)).copied().filter(|operation| self.near.get(*operation).is_some())
    }

    /// Operations with a stored result, and where it lies.
    pub(super) fn results(&self) -> BTreeSet<(OperationId, EndpointId, StreamId)> {
        let known = self.kept.iter().filter(|(_, operation)| self.near.get(**operation).is_some());
        known.map(|((peer, stream), operation)| (*operation, *peer, *stream)).collect()
    }
}

impl PeerState {
    pub(super) fn status(&self) -> PeerStatus {
        self.peer.status(Timestamp::from_micros(0))
    }
}

/// Peer, header and direction (sent by us: true) of a record that lies in an entry.
pub(super) fn record_of(kind: u8, payload: &Bytes) -> Option<(EndpointId, RecordHeader, bool)> {
    entry::placed_record(kind, payload).map(|placed| (placed.peer, placed.head, placed.sent))
}
