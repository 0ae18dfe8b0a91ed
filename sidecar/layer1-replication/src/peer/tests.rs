//! Two peers side by side, and a mirror in the hands of each test. (Whatever needs chance is in the simulator.)

mod bounds;
mod contact;
mod flow;
mod garbage;
mod missing;
mod pressure;
mod recovery;
mod restart;
mod tombstones;

use super::*;
use crate::event::{AppendError, Closure, Transmit, Verdict};
use crate::sim::header;
use alloc::collections::BTreeMap;
use alloc::vec;
use wire::control::EndpointName;
use wire::digest::sha256;
use wire::record::kind;
use wire::{Control, EndpointId, Header, Record, RecordHeader, Seq, StreamId};

const SEC: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn life(generation: u64, random: u8) -> Incarnation {
    Incarnation { generation, random: [random; 8] }
}

fn ids(index: usize, incarnation: Incarnation) -> Ids {
    Ids {
        me: EndpointId::from_bytes([index as u8 + 1; 16]),
        my_name: EndpointName { kind: "gateway".into(), name: "0".into() },
        my_incarnation: incarnation,
        peer: EndpointId::from_bytes([2 - index as u8; 16]),
        nonce_secret: [incarnation.random[0]; 32],
    }
}

fn config() -> Config {
    Config { heartbeat: Some(60 * SEC), ..Config::default() }
}

/// A published file.
#[derive(Clone, Debug)]
struct File {
    header: Header,
    control: Control,
    records: Vec<Record>,
}

/// One endpoint with its log.
struct Side {
    index: usize,
    life: Incarnation,
    peer: Peer,
    log: Vec<Entry>,
    payloads: BTreeMap<u64, Bytes>,
    events: Vec<PeerEvent>,
    retired: Vec<u64>,
}

impl Side {
    fn new(index: usize, life: Incarnation, config: Config) -> Self {
        Self::with_log(index, life, config, Vec::new(), at(0))
    }

    fn with_log(index: usize, life: Incarnation, config: Config, log: Vec<Entry>, now: Timestamp) -> Self {
        let mut peer = Peer::new(ids(index, life), config, now);
        for entry in &log {
            peer.replay(entry.clone());
        }
        peer.replay_done(now);
        Self { index, life, peer, log, payloads: BTreeMap::new(), events: Vec::new(), retired: Vec::new() }
    }

    /// Writes entries without making them durable.
    fn write(&mut self) -> Option<crate::PersistToken> {
        let mut last = None;
        while let Some(persist) = self.peer.poll_persist() {
            if let Entry::Sent { head, .. } = &persist.entry {
                self.payloads.insert(head.seq.get(), persist.payload);
            }
            self.log.push(persist.entry);
            last = Some(persist.token);
        }
        last
    }

    fn persist(&mut self, now: Timestamp) {
        while let Some(token) = self.write() {
            self.peer.handle_persisted(now, token);
        }
        while let Some(event) = self.peer.poll_event() {
            match event {
                PeerEvent::PacketRetired { pn } => self.retired.push(pn.get()),
                other => self.events.push(other),
            }
        }
    }

    fn transmit(&mut self, now: Timestamp) -> Option<Transmit> {
        let transmit = self.peer.poll_transmit(now)?;
        self.peer.handle_published(now, transmit.pn, 5_000);
        Some(transmit)
    }

    /// Everything that goes out now.
    fn send(&mut self, now: Timestamp) -> Vec<File> {
        let mut files = Vec::new();
        self.persist(now);
        while let Some(transmit) = self.transmit(now) {
            let mut records: Vec<_> = transmit.records.iter().map(|(head, _)| self.record(head)).collect();
            records.extend(transmit.tombstones);
            records.sort_by_key(|record| record.head.seq);
            let header = header(self.index, self.life, transmit.recipient_incarnation, transmit.pn, records.len());
            files.push(File { header, control: transmit.control, records });
            self.persist(now);
        }
        files
    }

    fn record(&self, head: &RecordHeader) -> Record {
        Record { head: *head, payload: self.payloads[&head.seq.get()].clone() }
    }

    /// Reads the first `count` records of a file, which then ends.
    fn read(&mut self, now: Timestamp, file: &File, count: usize) -> Verdict {
        let verdict = self.peer.handle_packet(now, &file.header, &file.control);
        if verdict == Verdict::Use {
            let (life, pn) = (file.header.sender_incarnation, file.header.pn);
            self.peer.handle_records(now, life, pn, file.records[..count].to_vec());
            let closure = if count == file.records.len() { Closure::Complete } else { Closure::Partial };
            self.peer.handle_closed(now, life, pn, closure);
        }
        verdict
    }

    fn receive(&mut self, now: Timestamp, files: &[File]) {
        for file in files {
            self.read(now, file, file.records.len());
            self.persist(now);
        }
    }

    /// Lets time pass until there is something to send, at most until `end`.
    fn wait(&mut self, end: Timestamp) -> (Timestamp, Vec<File>) {
        loop {
            let Some(next) = self.peer.poll_timeout().filter(|next| *next <= end) else { return (end, Vec::new()) };
            self.peer.handle_timeout(next);
            let files = self.send(next);
            if !files.is_empty() {
                return (next, files);
            }
        }
    }

    fn append(&mut self, now: Timestamp, stream: StreamId, kind: u8, payload: Vec<u8>) -> Result<Seq, AppendError> {
        let len = payload.len() as u32;
        self.peer.append(now, stream, kind, 0, len, sha256(&[&payload]), payload.into())
    }

    fn events(&mut self) -> Vec<PeerEvent> {
        core::mem::take(&mut self.events)
    }

    fn received(&mut self) -> Vec<u64> {
        let of = |event: PeerEvent| match event {
            PeerEvent::Received(head) => Some(head.seq.get()),
            _ => None,
        };
        self.events().into_iter().filter_map(of).collect()
    }
}

/// Carries everything to and fro until both are silent, without letting time pass but for acks.
fn settle(now: Timestamp, a: &mut Side, b: &mut Side) -> Timestamp {
    let mut now = now;
    for _ in 0..40 {
        let (to_b, to_a) = (a.send(now), b.send(now));
        b.receive(now, &to_b);
        a.receive(now, &to_a);
        if to_a.is_empty() && to_b.is_empty() {
            let soon = now.after(10 * SEC);
            let due = [&a.peer, &b.peer].into_iter().filter_map(Peer::poll_timeout).filter(|at| *at <= soon).min();
            let Some(due) = due else { return now };
            now = now.max(due);
            a.peer.handle_timeout(now);
            b.peer.handle_timeout(now);
        }
    }
    panic!("never silent");
}

/// Two that are confirmed and silent.
fn pair(config: Config) -> (Side, Side, Timestamp) {
    let (mut a, mut b) = (Side::new(0, life(1, 1), config.clone()), Side::new(1, life(1, 2), config));
    let now = settle(at(0), &mut a, &mut b);
    a.events();
    b.events();
    (a, b, now)
}

#[test]
fn first_contact_and_a_record_each_way() {
    let (mut a, mut b) = (Side::new(0, life(1, 1), config()), Side::new(1, life(1, 2), config()));
    let request = a.peer.open_exchange();
    assert_eq!(a.append(at(0), request, kind::HEAD, vec![1; 10]), Ok(Seq::new(1)));
    let now = settle(at(0), &mut a, &mut b);
    assert_eq!(a.events()[0], PeerEvent::Confirmed { peer_incarnation: life(1, 2) });
    assert_eq!(b.received(), [1]);
    assert_eq!(b.append(now, request.response_of(), kind::HEAD, vec![2; 10]), Ok(Seq::new(1)));
    settle(now, &mut a, &mut b);
    assert_eq!(a.events().iter().filter(|event| matches!(event, PeerEvent::Received(_))).count(), 1);
    let (sa, sb) = (a.peer.status(now), b.peer.status(now));
    assert_eq!((sa.una, sa.cum, sb.una, sb.cum), (Seq::new(1), Seq::new(1), Seq::new(1), Seq::new(1)));
    assert_eq!((sa.in_flight_packets, sb.in_flight_packets), (0, 0));
}
