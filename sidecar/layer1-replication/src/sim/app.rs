//! The application of the simulated world: opens exchanges, writes requests, answers them, checks every byte, and recovers from its log.

use super::Options;
use super::node::DiskEntry;
use crate::entry::Entry;
use crate::event::{AppendError, PeerEvent};
use crate::peer::Peer;
use crate::time::Timestamp;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bytes::Bytes;
use wire::digest::sha256;
use wire::record::kind;
use wire::{RecordHeader, StreamId};

const HEAD_LEN: u64 = 24;
const FIN_LEN: u64 = 8;

/// A message: its head says who asks what and how long the answer is; content follows from the offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Message {
    operation: u64,
    body: u64,
    answer: u64,
}

impl Message {
    fn length(&self) -> u64 {
        HEAD_LEN + self.body + FIN_LEN
    }

    fn head(&self) -> Vec<u8> {
        [self.operation, self.body, self.answer].iter().flat_map(|n| n.to_le_bytes()).collect()
    }

    fn parse(head: &[u8]) -> Self {
        let number = |i: usize| u64::from_le_bytes(head[i * 8..i * 8 + 8].try_into().unwrap());
        Self { operation: number(0), body: number(1), answer: number(2) }
    }

    /// Kind and payload of the record at `offset`, of at most `chunk` bytes.
    fn record(&self, offset: u64, chunk: u64) -> (u8, Bytes) {
        if offset == 0 {
            return (kind::HEAD, self.head().into());
        }
        let left = (HEAD_LEN + self.body).saturating_sub(offset);
        if left == 0 {
            return (kind::FIN, Bytes::copy_from_slice(&self.operation.to_le_bytes()));
        }
        let from = (self.operation * 61 + offset) as usize;
        (kind::DATA, content().slice(from..from + left.min(chunk) as usize))
    }
}

/// What bodies are cut from: no two places look alike.
fn content() -> &'static Bytes {
    static CONTENT: std::sync::OnceLock<Bytes> = std::sync::OnceLock::new();
    CONTENT
        .get_or_init(|| (0..300_000_u64).map(|at| (at.wrapping_mul(7) ^ (at >> 8)) as u8).collect::<Vec<u8>>().into())
}

#[derive(Clone, Debug)]
struct Writing {
    message: Message,
    offset: u64,
    last_seq: u64,
}

#[derive(Clone, Debug, Default)]
struct Reading {
    /// By offset: what came and was not consumed.
    waiting: BTreeMap<u64, (RecordHeader, Bytes)>,
    offset: u64,
    message: Option<Message>,
}

impl Reading {
    fn is_complete(&self) -> bool {
        self.message.is_some_and(|message| self.offset == message.length())
    }
}

#[derive(Debug)]
pub(crate) struct App {
    operations: u64,
    /// Operations begin this far apart.
    pace: u64,
    body_max: u64,
    chunk_max: u64,
    /// Of the operations: cancelled once, in percent.
    cancels: u64,
    /// Operations that were; it need not be remembered over a crash that loses the call.
    cancelled: BTreeSet<u64>,
    /// Streams that were reset, by their writer: mine and the peer's.
    resets: BTreeSet<(bool, StreamId)>,
    writing: BTreeMap<StreamId, Writing>,
    reading: BTreeMap<StreamId, Reading>,
    /// Exchanges of this association that ended, by the peer's stream.
    closed: BTreeSet<StreamId>,
    una: u64,
}

impl App {
    pub(crate) fn new(index: usize, options: &Options) -> Self {
        Self {
            operations: options.operations[index],
            pace: options.faults_for / (options.operations[index] + 1),
            body_max: options.body_max,
            chunk_max: options.chunk_max,
            cancels: options.cancels,
            cancelled: BTreeSet::new(),
            resets: BTreeSet::new(),
            writing: BTreeMap::new(),
            reading: BTreeMap::new(),
            closed: BTreeSet::new(),
            una: 0,
        }
    }

    fn forget(&mut self) {
        self.writing.clear();
        self.reading.clear();
        self.closed.clear();
        self.resets.clear();
        self.una = 0;
    }

    /// The application's state is what its log says.
    pub(crate) fn rebuild(&mut self, history: &[DiskEntry]) {
        self.forget();
        let mut associated = false;
        for disk in history {
            match disk.entry() {
                Entry::Associated { .. } => {
                    if associated {
                        self.forget();
                    }
                    associated = true;
                }
                Entry::Sent { head, .. } if head.occupies() => self.wrote(&head, &disk.payload),
                Entry::Sent { head, .. } if head.kind == kind::RESET_STREAM => {
                    _ = self.resets.insert((true, head.stream))
                }
                Entry::Received(meta) if matches!(meta.head.kind, kind::RESET_STREAM | kind::TOMBSTONE) => {
                    self.resets.insert((false, meta.head.stream));
                }
                Entry::Received(meta) if meta.head.occupies() => self.read(&meta.head, disk.payload.clone()),
                Entry::Acked { una, .. } => self.una = una,
                Entry::StreamClosed { stream } => self.close(stream),
                _ => {}
            }
        }
    }

    fn wrote(&mut self, head: &RecordHeader, payload: &[u8]) {
        if head.kind == kind::HEAD {
            let writing = Writing { message: Message::parse(payload), offset: 0, last_seq: 0 };
            self.writing.insert(head.stream, writing);
        }
        if let Some(writing) = self.writing.get_mut(&head.stream) {
            (writing.offset, writing.last_seq) = (head.end(), head.seq.get());
        }
    }

    fn read(&mut self, head: &RecordHeader, payload: Bytes) {
        if !self.closed.contains(&head.stream) {
            self.reading.entry(head.stream).or_default().waiting.insert(head.offset, (*head, payload));
        }
    }

    fn close(&mut self, stream: StreamId) {
        self.closed.insert(stream);
        self.reading.remove(&stream);
        let mine = if stream.is_request() { stream.response_of() } else { StreamId::request(stream.exchange()) };
        self.writing.remove(&mine);
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        self.reading.is_empty() && self.writing.is_empty()
    }

    /// When the next operation begins.
    pub(crate) fn next(&self, now: u64) -> Option<u64> {
        let cancels = self.writing.values().filter_map(|writing| Some(self.cancels_at(&writing.message)?.1));
        (0..self.operations).map(|operation| self.pace * operation).chain(cancels).filter(|at| *at > now).min()
    }

    pub(crate) fn event(&mut self, event: &PeerEvent, taken: &BTreeMap<u64, Bytes>) {
        match event {
            PeerEvent::AssociationClosed { .. } => self.forget(),
            PeerEvent::Released { up_to } => self.una = up_to.get(),
            PeerEvent::Received(head) => self.read(head, taken[&head.seq.get()].clone()),
            PeerEvent::StreamReset { stream, .. } => _ = self.resets.insert((false, *stream)),
            _ => {}
        }
    }

    /// Reads, writes, opens and closes what is possible; whether anything was.
    pub(crate) fn pump(&mut self, now: Timestamp, peer: &mut Peer, completed: &mut BTreeSet<u64>) -> bool {
        self.cancel(now, peer);
        self.take_resets(now, peer);
        let read = self.pump_reads(now, peer);
        let ended = self.end(peer, completed);
        let begun = self.begin(now, peer, completed);
        let wrote = self.pump_writes(now, peer);
        read || ended || begun || wrote
    }

    fn pump_reads(&mut self, now: Timestamp, peer: &mut Peer) -> bool {
        let mut moved = false;
        for (stream, reading) in &mut self.reading {
            while let Some((head, payload)) = reading.waiting.remove(&reading.offset) {
                moved = true;
                let message = *reading.message.get_or_insert_with(|| Message::parse(&payload));
                let expected = message.record(head.offset, payload.len() as u64);
                assert_eq!((head.kind, &payload), (expected.0, &expected.1), "content of {stream} at {}", head.offset);
                reading.offset = head.end();
                peer.consume(now, *stream, &head);
            }
        }
        moved
    }

    /// Where the writing of a call stops, and when it is cancelled, if it is.
    fn cancels_at(&self, message: &Message) -> Option<(u64, u64)> {
        let mut rng = super::Rng(message.operation ^ 0xca11);
        let cancels = rng.percent(self.cancels) && !self.cancelled.contains(&message.operation);
        let moment = self.pace * message.operation + rng.below(self.pace);
        cancels.then(|| (rng.below(message.length() - 1) + 1, moment))
    }

    /// Loses interest in calls half written, once each.
    fn cancel(&mut self, now: Timestamp, peer: &mut Peer) {
        let mine = self.writing.iter().filter(|(stream, writing)| stream.is_request() && writing.offset > 0);
        let due = |writing: &Writing| {
            self.cancels_at(&writing.message).is_some_and(|(_, moment)| now.as_micros() >= moment)
                && writing.offset < writing.message.length()
        };
        let due: Vec<_> = mine.filter(|(_, writing)| due(writing)).map(|(id, w)| (*id, w.message.operation)).collect();
        for (stream, operation) in due {
            peer.cancel_stream(now, stream, 9);
            self.cancelled.insert(operation);
            self.resets.insert((true, stream));
        }
    }

    /// An exchange whose request was reset is over on both sides; what was answered is cancelled too.
    fn take_resets(&mut self, now: Timestamp, peer: &mut Peer) {
        for (mine, request) in core::mem::take(&mut self.resets) {
            if !request.is_request() {
                continue;
            }
            // After a restart: again.
            peer.cancel_stream(now, if mine { request } else { request.response_of() }, 9);
            let theirs = if mine { request.response_of() } else { request };
            peer.close_stream(theirs);
            self.close(theirs);
        }
    }

    fn end(&mut self, peer: &mut Peer, completed: &mut BTreeSet<u64>) -> bool {
        let mut done = Vec::new();
        for (stream, reading) in self.reading.iter().filter(|(_, reading)| reading.is_complete()) {
            let message = reading.message.unwrap();
            if !stream.is_request() {
                completed.insert(message.operation);
                done.push(*stream);
            } else if let Some(writing) = self.writing.get(&stream.response_of()) {
                if writing.offset == writing.message.length() && writing.last_seq <= self.una {
                    done.push(*stream);
                }
            } else {
                let answer = Message { operation: message.operation, body: message.answer, answer: 0 };
                let writing = Writing { message: answer, offset: 0, last_seq: 0 };
                self.writing.insert(stream.response_of(), writing);
            }
        }
        for stream in &done {
            peer.close_stream(*stream);
            self.close(*stream);
        }
        !done.is_empty()
    }

    /// Opens what is neither done nor under way.
    fn begin(&mut self, now: Timestamp, peer: &mut Peer, completed: &BTreeSet<u64>) -> bool {
        let requests = self.writing.iter().filter(|(stream, _)| stream.is_request());
        let under_way: BTreeSet<u64> = requests.map(|(_, writing)| writing.message.operation).collect();
        let mut begun = false;
        for operation in 0..self.operations {
            if now.as_micros() < self.pace * operation {
                break;
            }
            if completed.contains(&operation) || under_way.contains(&operation) {
                continue;
            }
            let size = |salt: u64| super::Rng(operation.wrapping_mul(977) ^ salt).below(self.body_max);
            let message = Message { operation, body: size(1), answer: size(2) };
            self.writing.insert(peer.open_exchange(), Writing { message, offset: 0, last_seq: 0 });
            begun = true;
        }
        begun
    }

    fn pump_writes(&mut self, now: Timestamp, peer: &mut Peer) -> bool {
        let mut moved = false;
        let chunk_max = self.chunk_max;
        let stops: BTreeMap<StreamId, u64> = self
            .writing
            .iter()
            .filter(|(stream, _)| stream.is_request())
            .filter_map(|(stream, writing)| Some((*stream, self.cancels_at(&writing.message)?.0)))
            .collect();
        for (stream, writing) in &mut self.writing {
            let stop = stops.get(stream).copied().unwrap_or(u64::MAX);
            if writing.offset == 0 {
                let operation = writing.message.operation;
                peer.set_priority(now, *stream, (operation % 9) as u8, operation % 2 == 0);
            }
            while writing.offset < writing.message.length().min(stop) {
                let chunk = super::Rng(writing.offset ^ writing.message.operation).between(1, chunk_max);
                let (kind, payload) = writing.message.record(writing.offset, chunk);
                let len = payload.len() as u32;
                match peer.append(now, *stream, kind, 0, len, sha256(&[&payload]), payload) {
                    Ok(seq) => {
                        moved = true;
                        writing.offset += u64::from(len);
                        writing.last_seq = seq.get();
                    }
                    Err(AppendError::Full | AppendError::Credit(_)) => break,
                    Err(error) => panic!("append to {stream}: {error}"),
                }
            }
        }
        moved
    }
}
