//! One endpoint of the simulated world: disk, folders, and the loop that a driver runs.

mod driver;

use super::app::App;
use super::{BookKey, File, Options, Rng, World};
use crate::config::Ids;
use crate::entry::Entry;
use crate::event::PersistToken;
use crate::peer::Peer;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use wire::control::EndpointName;
use wire::record::kind;
use wire::{EndpointId, Header, Incarnation, PacketNumber};

/// An entry as it stands on the disk.
#[derive(Clone, Debug)]
pub(crate) struct DiskEntry {
    token: PersistToken,
    kind: u8,
    bytes: Vec<u8>,
    pub(crate) payload: Bytes,
    /// The life of the peer it was written under.
    peer_life: Option<Incarnation>,
}

impl DiskEntry {
    pub(crate) fn entry(&self) -> Entry {
        Entry::decode(self.kind, &self.bytes).unwrap()
    }
}

/// A file in the inbox.
#[derive(Clone, Debug)]
pub(crate) struct InboxFile {
    pub(crate) file: Rc<File>,
    arrives: usize,
    /// When it is presented, or (presented) closed.
    at: Option<u64>,
    presented: bool,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) index: usize,
    pub(crate) incarnation: Incarnation,
    nonce_secret: [u8; 32],
    pub(crate) peer: Option<Peer>,
    pub(crate) app: App,
    /// What the peer's replay reads: a checkpoint and what follows.
    log: Vec<DiskEntry>,
    /// Everything ever durable of this life, for the application's own state.
    pub(crate) history: Vec<DiskEntry>,
    /// Appended, not durable.
    pending: Vec<DiskEntry>,
    commit: Option<(u64, usize)>,
    publishing: Vec<(u64, File)>,
    pub(crate) outbox: BTreeSet<u64>,
    pub(crate) inbox: BTreeMap<u64, InboxFile>,
    next_file: u64,
    restart_at: Option<u64>,
    crash_at: Option<u64>,
    /// Events of this start.
    received_events: BTreeSet<u64>,
    released: u64,
    /// Payloads taken in this association.
    taken: BTreeMap<u64, Bytes>,
    pub(crate) association: Option<Incarnation>,
    pub(crate) unbound: BTreeMap<u64, (wire::RecordHeader, Bytes)>,
}

fn endpoint(index: usize) -> EndpointId {
    EndpointId::from_bytes([index as u8 + 1; 16])
}

fn new_life(rng: &mut Rng, generation: u64) -> (Incarnation, [u8; 32]) {
    let mut secret = [0; 32];
    secret[..8].copy_from_slice(&rng.next().to_le_bytes());
    (Incarnation { generation, random: rng.next().to_le_bytes() }, secret)
}

impl Node {
    pub(crate) fn new(index: usize, options: &Options, rng: &mut Rng) -> Self {
        let generation = if rng.percent(50) { 1 } else { 0 };
        let (incarnation, nonce_secret) = new_life(rng, generation);
        Self {
            index,
            incarnation,
            nonce_secret,
            peer: None,
            app: App::new(index, options),
            log: Vec::new(),
            history: Vec::new(),
            pending: Vec::new(),
            commit: None,
            publishing: Vec::new(),
            outbox: BTreeSet::new(),
            inbox: BTreeMap::new(),
            next_file: 0,
            restart_at: None,
            crash_at: None,
            received_events: BTreeSet::new(),
            released: 0,
            taken: BTreeMap::new(),
            association: None,
            unbound: BTreeMap::new(),
        }
    }

    pub(crate) fn next(&self, now: u64) -> Option<u64> {
        let timer = self.peer.as_ref().and_then(Peer::poll_timeout).map(|at| at.as_micros());
        let files = self.inbox.values().filter(|_| self.peer.is_some()).filter_map(|slot| slot.at);
        let begin = self.peer.as_ref().and_then(|_| self.app.next(now));
        let times = [timer, begin, self.restart_at, self.crash_at, self.commit.map(|(at, _)| at)];
        times.into_iter().flatten().chain(files).chain(self.publishing.iter().map(|(at, _)| *at)).min()
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        let done = self.peer.as_ref().is_some_and(|peer| {
            let status = peer.status(crate::Timestamp::ZERO);
            status.backlog_records == 0 && status.in_flight_packets == 0
        });
        done && self.app.is_at_rest()
    }

    fn book(&self, peer_life: Incarnation) -> BookKey {
        (self.index, self.incarnation, peer_life)
    }
}

impl World {
    pub(crate) fn start(&mut self, index: usize) {
        let now = self.timestamp();
        let config = self.options.config.clone();
        let node = &mut self.nodes[index];
        let ids = Ids {
            me: endpoint(index),
            my_name: EndpointName { kind: String::from("gateway"), name: String::from("0") },
            my_incarnation: node.incarnation,
            peer: endpoint(1 - index),
            nonce_secret: node.nonce_secret,
        };
        let mut peer = Peer::new(ids, config, now);
        node.association = None;
        node.unbound.clear();
        for entry in &node.log {
            peer.replay(entry.entry());
        }
        while peer.poll_event().is_some() {}
        peer.replay_done(now);
        node.peer = Some(peer);
        node.restart_at = None;
        node.received_events.clear();
        node.released = 0;
        for slot in node.inbox.values_mut() {
            (slot.presented, slot.at) = (false, Some(self.now));
        }
        self.rebuild_books(index);
        let node = &mut self.nodes[index];
        let history = node.history.clone();
        node.app.rebuild(&history);
        let every = self.options.crash_every;
        node.crash_at = (self.faults && every > 0).then(|| self.now + self.rng.between(every / 4, every * 2));
        self.drain(index);
    }

    /// After a crash the written records are those that are durable: numbers of others are given out again.
    fn rebuild_books(&mut self, index: usize) {
        let history = self.nodes[index].history.clone();
        let mut current = BTreeMap::new();
        let mut durable_pairs = BTreeSet::new();
        let (mut association, life) = (None, self.nodes[index].incarnation);
        for disk in &history {
            match disk.entry() {
                Entry::Sent { head, .. } => {
                    current.insert(head.seq.get(), (head, disk.payload.clone()));
                }
                Entry::Associated { peer_incarnation, .. } => {
                    durable_pairs.insert(peer_incarnation);
                    if association.replace(peer_incarnation).is_some() {
                        current.clear();
                    }
                }
                _ => {}
            }
        }
        self.nodes[index].association = association;
        // An association that was not durable never was: nothing of it left this endpoint.
        self.truth.written.retain(|key, _| key.0 != index || key.1 != life || durable_pairs.contains(&key.2));
        match association {
            Some(peer_life) => {
                self.truth.written.insert((index, life, peer_life), current);
            }
            None => self.nodes[index].unbound = current,
        }
    }

    fn crash(&mut self, index: usize) {
        let lose_disk = self.rng.percent(self.options.disk_lost);
        let survive = self.rng.below(self.nodes[index].pending.len() as u64 + 1) as usize;
        let publish_anyway = self.rng.percent(50);
        let restart_at = self.now + self.rng.between(1_000, 3_000_000);
        let node = &mut self.nodes[index];
        node.peer = None;
        node.crash_at = None;
        node.commit = None;
        node.restart_at = Some(restart_at);
        let publishing = core::mem::take(&mut node.publishing);
        // What was written but not synced may have reached the disk all the same, in order.
        let pending = core::mem::take(&mut node.pending);
        for entry in pending.into_iter().take(survive) {
            self.made_durable(index, entry);
        }
        let node = &mut self.nodes[index];
        if lose_disk {
            node.log.clear();
            node.history.clear();
            node.inbox.clear();
            node.outbox.clear();
            let generation = if node.incarnation.generation == 0 { 0 } else { node.incarnation.generation + 1 };
            (node.incarnation, node.nonce_secret) = new_life(&mut self.rng, generation);
        }
        if publish_anyway {
            for (_, file) in publishing {
                self.publish(index, file);
            }
        }
    }

    fn made_durable(&mut self, index: usize, disk: DiskEntry) {
        if let Entry::Received(meta) = disk.entry() {
            let key = (1 - index, disk.peer_life.unwrap(), self.nodes[index].incarnation);
            let seq = meta.head.seq.get();
            let written = self.truth.written.get(&key).and_then(|book| book.get(&seq));
            let (head, payload) = written.unwrap_or_else(|| panic!("record {seq} of {key:?} was never written"));
            if meta.head.kind == kind::TOMBSTONE {
                let expected = wire::Record::tombstone(head, &wire::digest::sha256(&[payload]), head.cost() as u32);
                assert_eq!(
                    (expected.head, &expected.payload),
                    (meta.head, &disk.payload),
                    "it stands for another record"
                );
                self.truth.tombstones += 1;
            } else {
                assert_eq!((head, payload), (&meta.head, &disk.payload), "another record was written");
            }
            assert!(
                self.truth.durable.entry(key).or_default().insert(seq),
                "record {seq} was taken twice: {:?}",
                self.options
            );
        }
        let node = &mut self.nodes[index];
        node.history.push(disk.clone());
        node.log.push(disk);
    }

    /// A copy of a file arrives in the inbox.
    pub(crate) fn arrive(&mut self, to: usize, file: Rc<File>, arrives: usize) {
        let node = &mut self.nodes[to];
        node.next_file += 1;
        let slot = InboxFile { file, arrives, at: Some(self.now), presented: false };
        node.inbox.insert(node.next_file, slot);
    }

    /// Everything that is due at one node.
    pub(crate) fn run(&mut self, index: usize) {
        let now = self.now;
        let due = |at: Option<u64>| at.is_some_and(|at| at <= now);
        if due(self.nodes[index].crash_at) {
            if self.faults {
                self.crash(index);
            }
            self.nodes[index].crash_at = None;
        }
        if due(self.nodes[index].restart_at) {
            self.start(index);
        }
        if self.nodes[index].peer.is_none() {
            return;
        }
        if due(self.nodes[index].commit.map(|(at, _)| at)) {
            self.commit(index);
        }
        self.publish_due(index);
        let files: Vec<u64> =
            self.nodes[index].inbox.iter().filter(|(_, slot)| due(slot.at)).map(|(id, _)| *id).collect();
        for id in files {
            self.present(index, id);
        }
        let level =
            if self.faults && self.rng.percent(self.options.pressure) { Some(self.rng.below(4) as u8) } else { None };
        let faults = self.faults;
        let node = &mut self.nodes[index];
        let peer = node.peer.as_mut().unwrap();
        if let Some(level) = level.or((!faults).then_some(0)) {
            peer.set_pressure(crate::Timestamp::from_micros(now), level);
        }
        peer.set_wall_clock(crate::Timestamp::from_micros(now), now as i64 / 1_000);
        if due(peer.poll_timeout().map(|at| at.as_micros())) {
            peer.handle_timeout(crate::Timestamp::from_micros(now));
        }
        self.drain(index);
    }
}

fn on_disk(token: PersistToken, entry: &Entry, payload: Bytes, peer_life: Option<Incarnation>) -> DiskEntry {
    let mut bytes = Vec::new();
    entry.encode(&mut bytes);
    DiskEntry { token, kind: entry.kind(), bytes, payload, peer_life }
}

pub(crate) fn header(from: usize, life: Incarnation, to_life: Incarnation, pn: PacketNumber, records: usize) -> Header {
    Header {
        minor: 0,
        suite_number: 1,
        flags: 0,
        header_len: 256,
        control_len: 8,
        frame_count: u32::from(records > 0),
        frames_at: 0,
        sender: endpoint(from),
        recipient: endpoint(1 - from),
        sender_incarnation: life,
        recipient_incarnation: to_life,
        pn,
        sent_at_ms: 0,
        total_len: 0,
        signing_key: [0; 8],
        kem_key: [0; 8],
        salt: [0; 32],
        commitment: [0; 32],
    }
}
