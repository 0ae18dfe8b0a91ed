//! One endpoint of the simulated world: disk, folders, and the loop that a driver runs.

use super::app::App;
use super::{BookKey, File, Options, Rng, World};
use crate::config::Ids;
use crate::entry::Entry;
use crate::event::{Closure, PeerEvent, PersistToken, Transmit, Verdict};
use crate::peer::Peer;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use wire::control::EndpointName;
use wire::{EndpointId, Header, Incarnation, PacketNumber, Record};

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
        let (mut association, life) = (None, self.nodes[index].incarnation);
        for disk in &history {
            match disk.entry() {
                Entry::Sent { head, .. } => {
                    current.insert(head.seq.get(), (head, disk.payload.clone()));
                }
                Entry::Associated { peer_incarnation, .. } if association.replace(peer_incarnation).is_some() => {
                    current.clear();
                }
                _ => {}
            }
        }
        self.nodes[index].association = association;
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
            assert_eq!((head, payload), (&meta.head, &disk.payload), "another record was written");
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
        let node = &mut self.nodes[index];
        let peer = node.peer.as_mut().unwrap();
        if due(peer.poll_timeout().map(|at| at.as_micros())) {
            peer.handle_timeout(crate::Timestamp::from_micros(now));
        }
        self.drain(index);
    }

    fn commit(&mut self, index: usize) {
        let (_, count) = self.nodes[index].commit.take().unwrap();
        let entries: Vec<DiskEntry> = self.nodes[index].pending.drain(..count).collect();
        let token = entries.last().unwrap().token;
        for entry in entries {
            self.made_durable(index, entry);
        }
        let now = self.timestamp();
        let roll = self.rng.percent(self.options.roll);
        let node = &mut self.nodes[index];
        let peer = node.peer.as_mut().unwrap();
        peer.handle_persisted(now, token);
        self.drain(index);
        let node = &mut self.nodes[index];
        if roll {
            // A roll commits what is pending first.
            let pending: Vec<DiskEntry> = core::mem::take(&mut node.pending);
            node.commit = None;
            let last = pending.last().map(|entry| entry.token);
            for entry in pending {
                self.made_durable(index, entry);
            }
            let node = &mut self.nodes[index];
            let peer = node.peer.as_mut().unwrap();
            node.log = peer
                .checkpoint()
                .into_iter()
                .map(|entry| on_disk(PersistToken::default(), &entry, Bytes::new(), None))
                .collect();
            if let Some(token) = last {
                peer.handle_persisted(now, token);
            }
            let mut again = Peer::new(peer.ids.clone(), peer.config.clone(), now);
            for disk in &node.log {
                again.replay(disk.entry());
            }
            let same: Vec<Entry> = again.checkpoint();
            let taken: Vec<Entry> = node.log.iter().map(DiskEntry::entry).collect();
            assert_eq!(same, taken, "a checkpoint of a checkpoint");
        }
    }

    fn publish_due(&mut self, index: usize) {
        let now = self.now;
        let due = |(at, _): &(u64, File)| *at <= now;
        while let Some(at) = self.nodes[index].publishing.iter().position(due) {
            let (_, file) = self.nodes[index].publishing.remove(at);
            let pn = file.header.pn;
            let fails = self.faults && self.rng.percent(self.options.publish_fails);
            let stamp = self.timestamp();
            let peer = self.nodes[index].peer.as_mut().unwrap();
            if fails {
                peer.handle_publish_failed(stamp, pn);
            } else {
                peer.handle_published(stamp, pn, 5_000);
                self.nodes[index].outbox.insert(pn.get());
                self.publish(index, file);
            }
            self.drain(index);
        }
    }

    /// Layer 0 reads a file: prefix, frames, end.
    fn present(&mut self, index: usize, id: u64) {
        let now = self.timestamp();
        let Some(mut slot) = self.nodes[index].inbox.get(&id).cloned() else { return };
        let peer = self.nodes[index].peer.as_mut().unwrap();
        let (life, pn) = (slot.file.header.sender_incarnation, slot.file.header.pn);
        let whole = slot.arrives == slot.file.records.len();
        if slot.presented {
            // The file ended, or grew.
            if !whole && self.rng.percent(30) {
                peer.handle_closed(now, life, pn, Closure::Partial);
                peer.handle_records(now, life, pn, slot.file.records[slot.arrives..].to_vec());
                slot.arrives = slot.file.records.len();
                peer.handle_closed(now, life, pn, Closure::Complete);
            } else {
                peer.handle_closed(now, life, pn, if whole { Closure::Complete } else { Closure::Partial });
            }
            slot.at = None;
        } else {
            match peer.handle_packet(now, &slot.file.header, &slot.file.control) {
                Verdict::Use => {
                    for records in slot.file.records[..slot.arrives].chunks(3) {
                        peer.handle_records(now, life, pn, records.to_vec());
                    }
                    slot.presented = true;
                    let grows = if whole { 0 } else { 1_000_000 };
                    slot.at = Some(self.now + self.rng.below(grows + 1));
                }
                Verdict::Wait => slot.at = Some(self.now + 500_000 + self.rng.below(1_000_000)),
                Verdict::Ignore => {
                    self.nodes[index].inbox.remove(&id);
                    self.drain(index);
                    return;
                }
            }
        }
        self.nodes[index].inbox.insert(id, slot);
        self.drain(index);
    }

    /// Drains every output, and lets the application act, until nothing moves.
    pub(crate) fn drain(&mut self, index: usize) {
        loop {
            self.write_entries(index);
            while let Some(event) = self.nodes[index].peer.as_mut().unwrap().poll_event() {
                self.event(index, event);
            }
            let now = self.timestamp();
            while self.nodes[index].publishing.len() < 2 {
                let Some(transmit) = self.nodes[index].peer.as_mut().unwrap().poll_transmit(now) else { break };
                let at = self.now + 100 + self.rng.below(self.options.jitter);
                let file = self.file(index, transmit);
                self.nodes[index].publishing.push((at, file));
            }
            let node = &mut self.nodes[index];
            let peer = node.peer.as_mut().unwrap();
            let moved = node.app.pump(now, peer, &mut self.truth.completed[index]);
            if !moved && !self.write_entries(index) {
                break;
            }
        }
        let status = self.nodes[index].peer.as_ref().unwrap().status(self.timestamp());
        assert_eq!((status.dropped_credit, status.dropped_other), (0, 0), "a record was dropped: {:?}", self.options);
        assert_eq!(status.halted, None, "{:?}", self.options);
        assert!(
            status.granted_log.1 <= status.granted_log.0
                && status.credit_log.1 <= status.credit_log.0.max(status.credit_log.1)
        );
    }

    fn write_entries(&mut self, index: usize) -> bool {
        let mut wrote = false;
        while let Some(persist) = self.nodes[index].peer.as_mut().unwrap().poll_persist() {
            wrote = true;
            self.note_written(index, &persist.entry, &persist.payload);
            let delay = 100 + self.rng.below(self.options.jitter / 2);
            let node = &mut self.nodes[index];
            node.pending.push(on_disk(persist.token, &persist.entry, persist.payload, node.association));
            if persist.urgent && node.commit.is_none() {
                node.commit = Some((self.now + delay, 0));
            }
            if let Some((_, count)) = &mut node.commit {
                *count = node.pending.len();
            }
        }
        wrote
    }

    fn note_written(&mut self, index: usize, entry: &Entry, payload: &Bytes) {
        let node = &mut self.nodes[index];
        match entry {
            Entry::Sent { head, .. } => {
                let record = (*head, payload.clone());
                match node.association {
                    None => node.unbound.insert(head.seq.get(), record),
                    Some(life) => self.truth.written.entry(node.book(life)).or_default().insert(head.seq.get(), record),
                };
            }
            Entry::Received(meta) => {
                node.taken.insert(meta.head.seq.get(), payload.clone());
            }
            Entry::Associated { peer_incarnation, .. } => {
                self.truth.associations += 1;
                node.association = Some(*peer_incarnation);
                node.taken.clear();
                let unbound = core::mem::take(&mut node.unbound);
                let before = self.truth.written.insert(node.book(*peer_incarnation), unbound);
                assert!(before.is_none(), "one pair, two associations: {:?}", self.options);
            }
            _ => {}
        }
    }

    fn event(&mut self, index: usize, event: PeerEvent) {
        let node = &mut self.nodes[index];
        match &event {
            PeerEvent::Received(head) => assert!(node.received_events.insert(head.seq.get()), "told twice: {head:?}"),
            PeerEvent::Confirmed { .. } => {
                node.received_events.clear();
                node.released = 0;
            }
            PeerEvent::Released { up_to } => {
                let key = node.book(node.association.unwrap());
                let durable = self.truth.durable.get(&key);
                for seq in core::mem::replace(&mut node.released, up_to.get()) + 1..=up_to.get() {
                    assert!(
                        durable.is_some_and(|set| set.contains(&seq)),
                        "record {seq} released, but not durable there: {:?}",
                        self.options
                    );
                }
            }
            PeerEvent::PacketRetired { pn } => {
                node.outbox.remove(&pn.get());
            }
            PeerEvent::PacketDurable { sender_incarnation, pn } => {
                let is_it = |file: &InboxFile| {
                    file.file.header.pn == *pn && file.file.header.sender_incarnation == *sender_incarnation
                };
                node.inbox.retain(|_, slot| !(is_it(slot) && slot.presented && slot.at.is_none()));
            }
            _ => {}
        }
        let node = &mut self.nodes[index];
        node.app.event(&event, &node.taken);
    }

    fn file(&mut self, index: usize, transmit: Transmit) -> File {
        let node = &self.nodes[index];
        let life = node.association;
        let payload = |seq: u64| {
            let book = &self.truth.written[&node.book(life.unwrap())];
            book[&seq].1.clone()
        };
        let records: Vec<Record> =
            transmit.records.iter().map(|(head, _)| Record { head: *head, payload: payload(head.seq.get()) }).collect();
        let control = Control::decode(&transmit.control.encode(), false).expect("a control block that decodes");
        let header = header(index, node.incarnation, transmit.recipient_incarnation, transmit.pn, records.len());
        File { header, control, records }
    }
}

use wire::Control;

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
