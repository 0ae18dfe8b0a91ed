//! A driver without threads over a log in memory, and far endpoints that are layer 1 alone, for tests of the driver.
//!
//! Invariant: time passes only when a test says so, and randomness is counted, so a test does the same every time.
//! Begin with [`Bench::talk`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use disk::log::{Log, LogOptions, MemStorage};
use layer0_pipe::Verdict as FileVerdict;
use layer1_replication::{Closure, Config as ReplicationConfig, Entry, Ids, Peer, PeerEvent, Timestamp, Verdict};
use layer2_http::body::BodyCheck;
use layer2_http::envelope::Envelope;
use layer2_http::fields::Fields;
use layer2_http::fin::Fin;
use layer2_http::head::{RequestHead, ResponseHead};
use layer2_http::operation::{Executed, OperationId, OperationView};
use layer2_http::policy::Policy;
use layer2_http::problem::{Problem, ProblemKind};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use wire::control::{Control, EndpointName};
use wire::digest::{Digest, sha256};
use wire::header::{HEADER_LEN, Header};
use wire::record::{Record, kind};
use wire::{EndpointId, Incarnation, PacketNumber, StreamId};

use super::*;
use crate::command::{BeginCall, BeginError, Outgoing, ReadReply, StoredResult};
use crate::entry;
use crate::exchange::{DriverHandle, FarExchange, NearExchange};
use crate::pipe::{OutboxEvent, OutboxJob};
use crate::status::EngineFacts;

pub(super) const SEC: Duration = Duration::from_secs(1);
pub(super) const LOSS_TIMEOUT: Duration = Duration::from_secs(120);
pub(super) const ME: EndpointId = EndpointId::from_bytes([1; 16]);
pub(super) const DEFAULT: EndpointId = EndpointId::from_bytes([2; 16]);

pub(super) fn name() -> EndpointName {
    EndpointName { kind: "pod".to_owned(), name: "x".to_owned() }
}

pub(super) fn settings() -> Settings {
    Settings {
        me: ME,
        facts: EngineFacts::of_test(),
        my_name: name(),
        default_peer: DEFAULT,
        peer_name: "south".to_owned(),
        membership: None,
        replication: ReplicationConfig::default(),
        result_ttl: 3_600 * SEC,
        results_bytes_max: 1 << 20,
        loss_timeout: LOSS_TIMEOUT,
        gather_max: Duration::ZERO,
        forget_after: 86_400 * SEC,
        inbound: Policy::default(),
        pseudonym: "hoft-north".to_owned(),
    }
}

pub(super) fn id(n: usize) -> EndpointId {
    let mut bytes = [0x55; 16];
    bytes[..8].copy_from_slice(&(n as u64 + 1).to_be_bytes());
    EndpointId::from_bytes(bytes)
}

#[derive(Clone)]
pub(super) struct File {
    pub(super) header: Header,
    pub(super) control: Control,
    pub(super) records: Vec<Record>,
}

fn header(sender: (EndpointId, Incarnation), recipient: (EndpointId, Incarnation), pn: PacketNumber) -> Header {
    Header {
        minor: 0,
        suite_number: 1,
        flags: 0,
        header_len: HEADER_LEN as u32,
        control_len: 96,
        frame_count: 0,
        frames_at: 384,
        sender: sender.0,
        recipient: recipient.0,
        sender_incarnation: sender.1,
        recipient_incarnation: recipient.1,
        pn,
        sent_at_ms: 0,
        total_len: 400,
        signing_key: [0; 8],
        kem_key: [0; 8],
        salt: [7; 32],
        commitment: [0; 32],
    }
}

/// A machine whose time stands still until it is told to pass.
#[derive(Debug)]
pub(super) struct TestHost {
    now_us: AtomicU64,
    random: AtomicU64,
}

impl TestHost {
    fn new() -> Self {
        Self { now_us: AtomicU64::new(1_000_000), random: AtomicU64::new(0) }
    }

    pub(super) fn pass(&self, time: Duration) {
        self.now_us.fetch_add(u64::try_from(time.as_micros()).unwrap(), Ordering::Relaxed);
    }
}

impl Host for TestHost {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now_us.load(Ordering::Relaxed))
    }

    fn unix_ms(&self) -> u64 {
        1_700_000_000_000 + self.now_us.load(Ordering::Relaxed) / 1_000
    }

    fn fill_random(&self, buffer: &mut [u8]) -> Result<(), getrandom::Error> {
        for byte in buffer {
            *byte = (self.random.fetch_add(1, Ordering::Relaxed) % 251) as u8;
        }
        Ok(())
    }
}

/// A request as a far endpoint got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) stream: StreamId,
    pub(super) operation: OperationId,
    /// Its content, once it is whole.
    pub(super) content: Option<Vec<u8>>,
}

/// An endpoint of the far side.
pub(super) struct Far {
    pub(super) id: EndpointId,
    pub(super) life: Incarnation,
    pub(super) peer: Peer,
    pub(super) now: Timestamp,
    payloads: BTreeMap<u64, Bytes>,
    /// What was received of each stream: offset, kind and payload.
    pub(super) received: BTreeMap<StreamId, BTreeMap<u64, (u8, Bytes)>>,
    pub(super) resets: BTreeMap<StreamId, u64>,
}

impl Far {
    pub(super) fn new(id: EndpointId, secret: u8, first_pn: u64) -> Self {
        Self::with_life(id, 9, secret, first_pn)
    }

    pub(super) fn with_life(id: EndpointId, life: u8, secret: u8, first_pn: u64) -> Self {
        Self::with_config(id, life, secret, first_pn, ReplicationConfig::default())
    }

    pub(super) fn with_config(id: EndpointId, life: u8, secret: u8, first_pn: u64, config: ReplicationConfig) -> Self {
        let life = Incarnation { generation: 0, random: [life; 8] };
        let ids = Ids { me: id, my_name: name(), my_incarnation: life, peer: ME, nonce_secret: [secret; 32] };
        let now = Timestamp::from_micros(0);
        let mut peer = Peer::new(ids, config, now);
        peer.replay(Entry::PnBlock { reserved_below: first_pn, floor: first_pn });
        peer.replay_done(now);
        let (payloads, received, resets) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { id, life, peer, now, payloads, received, resets }
    }

    fn persist(&mut self) {
        while let Some(persist) = self.peer.poll_persist() {
            match &persist.entry {
                Entry::Sent { head, .. } => drop(self.payloads.insert(head.seq.get(), persist.payload.clone())),
                Entry::Received(meta) => {
                    let (stream, offset) = (meta.head.stream, meta.head.offset);
                    let record = (meta.head.kind, persist.payload.clone());
                    if meta.head.kind >= 32 {
                        assert!(self.received.entry(stream).or_default().insert(offset, record).is_none());
                    }
                }
                _ => {}
            }
            self.peer.handle_persisted(self.now, persist.token);
        }
        while let Some(event) = self.peer.poll_event() {
            match event {
                PeerEvent::StreamReset { stream, code, .. } => drop(self.resets.insert(stream, code)),
                PeerEvent::AssociationClosed { .. } => self.received.clear(),
                _ => {}
            }
        }
    }

    /// Everything it sends within the next seconds.
    pub(super) fn send(&mut self) -> Vec<File> {
        let mut files = Vec::new();
        self.now = self.now.after(2 * SEC);
        self.peer.handle_timeout(self.now);
        self.persist();
        while let Some(transmit) = self.peer.poll_transmit(self.now) {
            self.peer.handle_published(self.now, transmit.pn, 5_000);
            let header = header((self.id, self.life), (ME, transmit.recipient_incarnation), transmit.pn);
            let record =
                |head: &wire::RecordHeader| Record { head: *head, payload: self.payloads[&head.seq.get()].clone() };
            let records = transmit.records.iter().map(|(head, _)| record(head)).collect();
            files.push(File { header, control: transmit.control, records });
            self.persist();
        }
        files
    }

    pub(super) fn receive(&mut self, files: &[File]) {
        let me = self.id;
        for file in files.iter().filter(|file| file.header.recipient == me) {
            let (life, pn) = (file.header.sender_incarnation, file.header.pn);
            if self.peer.handle_packet(self.now, &file.header, &file.control) == Verdict::Use {
                self.peer.handle_records(self.now, life, pn, file.records.clone());
                self.peer.handle_closed(self.now, life, pn, Closure::Complete);
            }
            self.persist();
        }
    }

    /// The head of a request; what it says does not matter here.
    pub(super) fn call(&mut self) -> StreamId {
        let stream = self.peer.open_exchange();
        self.append(stream, kind::HEAD, Bytes::from_static(b"no head"));
        stream
    }

    pub(super) fn append(&mut self, stream: StreamId, kind: u8, payload: Bytes) {
        let len = u32::try_from(payload.len()).unwrap();
        self.peer.append(self.now, stream, kind, 0, len, sha256(&[&payload]), payload).unwrap();
    }

    /// A whole request.
    pub(super) fn request(&mut self, operation: OperationId, method: &str, content: &[u8]) -> StreamId {
        let stream = self.peer.open_exchange();
        self.append(stream, kind::HEAD, request_head(operation, method, None));
        self.end(stream, content);
        stream
    }

    /// Content, and the end.
    fn end(&mut self, stream: StreamId, content: &[u8]) {
        let mut body = BodyCheck::new();
        if !content.is_empty() {
            let data = Outgoing::plain(kind::DATA, Bytes::copy_from_slice(content));
            body.on_data(data.raw_len, &data.pd);
            self.append(stream, kind::DATA, data.payload);
        }
        self.append(stream, kind::FIN, Outgoing::fin(&body).payload);
    }

    /// The head of a response.
    pub(super) fn begin_answer(&mut self, request: StreamId, status: u16) {
        let head = ResponseHead { envelope: Envelope::default(), status, fields: Fields::default() };
        self.append(request.response_of(), kind::HEAD, head.encode().unwrap());
    }

    /// The head of a refusal: the call was not made.
    pub(super) fn begin_refusal(&mut self, request: StreamId) {
        let problem = Problem::new(ProblemKind::RouteDenied, "no").executed(Executed::No);
        let (head, _) = crate::egress::problem_head(&problem, "far");
        self.append(request.response_of(), kind::HEAD, head);
    }

    /// A whole response.
    pub(super) fn answer(&mut self, request: StreamId, content: &[u8]) {
        self.begin_answer(request, 200);
        self.end(request.response_of(), content);
    }

    /// The requests it got, by stream.
    pub(super) fn asked(&self) -> Vec<Asked> {
        let requests = self.received.iter().filter(|(stream, _)| stream.is_request());
        let asked = requests.filter_map(|(stream, records)| {
            let (_, head) = records.get(&0)?;
            let operation = RequestHead::decode(head).unwrap().envelope.operation.unwrap();
            let whole = records.values().next_back().is_some_and(|(kind, _)| *kind == kind::FIN);
            let content = whole.then(|| content_of(records));
            Some(Asked { stream: *stream, operation, content })
        });
        asked.collect()
    }

    pub(super) fn associated(&self) -> bool {
        self.peer.status(self.now).peer_incarnation.is_some()
    }
}

/// The content of a whole stream, checked against its end.
fn content_of(records: &BTreeMap<u64, (u8, Bytes)>) -> Vec<u8> {
    let (mut body, mut content, mut next) = (BodyCheck::new(), Vec::new(), 0);
    for (offset, (kind, payload)) in records {
        assert_eq!(*offset, next, "a gap");
        next += payload.len() as u64;
        match *kind {
            kind::DATA => {
                body.on_data(u32::try_from(payload.len()).unwrap(), &sha256(&[payload]));
                content.extend_from_slice(payload);
            }
            kind::HEAD => body.on_head(&sha256(&[payload])),
            kind::FIN => body.on_fin(&Fin::decode(payload).unwrap()).unwrap(),
            _ => {}
        }
    }
    content
}

/// The payload of a request's head.
pub(super) fn request_head(operation: OperationId, method: &str, key: Option<&str>) -> Bytes {
    let envelope =
        Envelope { operation: Some(operation), idempotency_key: key.map(str::to_owned), ..Envelope::default() };
    let head = RequestHead {
        envelope,
        method: method.to_owned(),
        scheme: "http".to_owned(),
        authority: "up.example".to_owned(),
        path: "/".to_owned(),
        fields: Fields::default(),
    };
    head.encode().unwrap()
}

pub(super) fn operation(n: u8) -> OperationId {
    OperationId::v7(1, &[n; 10])
}

/// A driver, and the other ends of its queues.
pub(super) struct Bench {
    pub(super) driver: Driver,
    pub(super) host: Arc<TestHost>,
    pub(super) outbox: Receiver<OutboxJob>,
    pub(super) inbox: Receiver<InboxCommand>,
    pub(super) egress: UnboundedReceiver<FarExchange>,
    events: Receiver<Event>,
    log: disk::log::LogReader,
}

/// A call begun at a bench, as its caller holds it.
pub(super) struct Caller {
    /// Digest of the head that it wrote.
    head: Digest,
    pub(super) operation: OperationId,
    /// Dropped, it says that the caller is gone.
    _exchange: NearExchange,
    pub(super) request: Lane,
    pub(super) response: Lane,
}

impl Caller {
    /// What its end must say, before any content.
    pub(super) fn body(&self) -> BodyCheck {
        let mut body = BodyCheck::new();
        body.on_head(&self.head);
        body
    }
}

impl Bench {
    pub(super) fn start(storage: &MemStorage) -> Self {
        Self::start_with(storage, settings())
    }

    pub(super) fn start_with(storage: &MemStorage, settings: Settings) -> Self {
        Self::try_start(storage, settings).unwrap()
    }

    /// As a start whose disk may fail.
    pub(super) fn try_start(storage: &MemStorage, settings: Settings) -> Option<Self> {
        let (log, recovered) = Log::open_on(Arc::new(storage.clone()), *ME.as_bytes(), LogOptions::default()).ok()?;
        let ((outbox_jobs, outbox), (inbox_commands, inbox)) = (channel(), channel());
        let ((sender, events), (egress_jobs, egress)) = (channel(), unbounded_channel());
        let (reader, host) = (log.reader(), Arc::new(TestHost::new()));
        let handle = DriverHandle::new(sender, log.reader());
        let outlets = Outlets { egress: egress_jobs, outbox: outbox_jobs, inbox: inbox_commands, handle };
        let shared: Arc<dyn Host> = host.clone();
        let mut driver = Driver::recover(settings, log, recovered, outlets, shared).ok()?;
        driver.settle().ok()?;
        Some(Self { driver, host, outbox, inbox, egress, events, log: reader })
    }

    pub(super) fn receive(&mut self, files: &[File]) -> Vec<FileVerdict> {
        self.try_receive(files).unwrap()
    }

    pub(super) fn try_receive(&mut self, files: &[File]) -> Result<Vec<FileVerdict>, DriverError> {
        let mut verdicts = Vec::new();
        for file in files {
            let (life, pn) = (file.header.sender_incarnation, file.header.pn);
            let verdict = self.driver.judge_packet(&file.header, &file.control)?;
            if verdict == FileVerdict::Use {
                let now = self.driver.host.now();
                let slot = self.driver.slots.get_mut(&file.header.sender).unwrap();
                slot.peer.handle_records(now, life, pn, file.records.clone());
                slot.peer.handle_closed(now, life, pn, Closure::Complete);
            }
            self.driver.settle()?;
            verdicts.push(verdict);
        }
        Ok(verdicts)
    }

    /// Everything it sends.
    pub(super) fn send(&mut self) -> Vec<File> {
        self.try_send().unwrap()
    }

    pub(super) fn try_send(&mut self) -> Result<Vec<File>, DriverError> {
        let mut files = Vec::new();
        for _ in 0..2_000 {
            self.driver.settle()?;
            let Ok(job) = self.outbox.try_recv() else { break };
            let OutboxJob::Publish(job) = job else { continue };
            let plan = job.plan;
            let recipient = (plan.recipient, plan.recipient_incarnation);
            let header = header((ME, plan.sender_incarnation), recipient, plan.pn);
            let record = |head: wire::RecordHeader| {
                let payload = match job.given.get(&head.seq.get()) {
                    Some(tombstone) => tombstone.clone(),
                    None => {
                        let (kind, body) = self.log.read(job.places[&head.seq.get()])?;
                        entry::record_payload(kind, &body, head.stored_len).unwrap()
                    }
                };
                Ok(Record { head, payload })
            };
            let records: Result<_, DriverError> = plan.records.iter().map(|planned| record(planned.head)).collect();
            let records = records?;
            files.push(File { header, control: plan.control, records });
            let published = OutboxEvent::Published { recipient: plan.recipient, pn: plan.pn, bytes: 5_000 };
            self.driver.handle_outbox(published).unwrap();
        }
        Ok(files)
    }

    /// A far endpoint asks for a first contact and is answered. Gives what it says then, which opens an association.
    pub(super) fn meet(&mut self, far: &mut Far) -> Vec<File> {
        let hello = far.send();
        self.receive(&hello);
        let answer = self.send();
        far.receive(&answer);
        self.host.pass(2 * SEC);
        far.send()
    }

    /// Lets a far endpoint and the driver talk; gives what the far endpoint sent.
    pub(super) fn talk(&mut self, far: &mut Far) -> Vec<File> {
        self.try_talk(far).unwrap()
    }

    pub(super) fn try_talk(&mut self, far: &mut Far) -> Result<Vec<File>, DriverError> {
        let mut sent = Vec::new();
        for _ in 0..6 {
            let files = far.send();
            self.try_receive(&files)?;
            sent.extend(files);
            let answers = self.try_send()?;
            far.receive(&answers);
            // Answers are sent once a second, acknowledgements a little later.
            self.host.pass(2 * SEC);
            let now = self.host.now();
            for slot in self.driver.slots.values_mut() {
                slot.peer.handle_timeout(now);
            }
        }
        Ok(sent)
    }

    pub(super) fn knows(&self, far: &Far) -> bool {
        self.driver.slots.contains_key(&far.id)
    }

    pub(super) fn associated(&self, far: &Far) -> bool {
        let now = self.driver.host.now();
        self.driver.slots.get(&far.id).is_some_and(|slot| slot.peer.status(now).peer_incarnation.is_some())
    }

    /// Does what the doors and executions asked for meanwhile.
    pub(super) fn take_commands(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.driver.handle(event).unwrap();
        }
        self.driver.settle().unwrap();
    }

    /// Begins a call; the answer to `Begin` may be that it has to wait.
    pub(super) fn begin(&mut self, n: u8, method: &str, key: Option<&str>, retain: bool) -> Caller {
        self.begin_until(n, method, key, retain, None)
    }

    fn begin_until(
        &mut self,
        n: u8,
        method: &str,
        key: Option<&str>,
        retain: bool,
        deadline_ms: Option<i64>,
    ) -> Caller {
        let operation = operation(n);
        let (reply, mut answer) = oneshot::channel::<Result<Box<NearExchange>, BeginError>>();
        let written = request_head(operation, method, key);
        let head = sha256(&[&written]);
        let call = BeginCall {
            operation,
            retain,
            head: written,
            method: method.to_owned(),
            target: "http://up.example/".to_owned(),
            route: None,
            deadline_ms,
            asked: Default::default(),
        };
        self.driver.handle_command(Command::Begin { call, reply });
        self.driver.settle().unwrap();
        let exchange = *answer.try_recv().unwrap().unwrap();
        let begun = self.driver.near.begun(operation).unwrap();
        let request = self.driver.slots[&begun.peer].lane(begun.peer, begun.stream);
        let response = Lane { stream: request.stream.response_of(), ..request };
        Caller { head, operation, _exchange: exchange, request, response }
    }

    /// Writes content of a request without its end.
    pub(super) fn write(&mut self, caller: &Caller, content: &[u8], body: &mut BodyCheck) {
        let data = Outgoing::plain(kind::DATA, Bytes::copy_from_slice(content));
        body.on_data(data.raw_len, &data.pd);
        self.append(caller.request, data);
    }

    pub(super) fn append(&mut self, lane: Lane, outgoing: Outgoing) {
        let (reply, _) = oneshot::channel();
        self.driver.handle_command(Command::Append { lane, outgoing, reply });
        self.driver.settle().unwrap();
    }

    /// Begins a call and writes its whole request.
    pub(super) fn call(&mut self, n: u8, method: &str, key: Option<&str>, retain: bool) -> Caller {
        let caller = self.begin(n, method, key, retain);
        self.write_all(n, &caller);
        caller
    }

    /// As [`Self::call`], with a deadline.
    pub(super) fn call_until(&mut self, n: u8, method: &str, deadline_ms: Option<i64>) -> Caller {
        let caller = self.begin_until(n, method, None, true, deadline_ms);
        self.write_all(n, &caller);
        caller
    }

    fn write_all(&mut self, n: u8, caller: &Caller) {
        let mut body = caller.body();
        self.write(caller, &[n; 100], &mut body);
        self.append(caller.request, Outgoing::fin(&body));
    }

    pub(super) fn view(&self, operation: OperationId) -> OperationView {
        self.driver.near.get(operation).unwrap()
    }

    /// What a reader finds at an offset, as soon as it is there.
    pub(super) fn ask(&mut self, lane: Lane, offset: u64, keep: bool) -> oneshot::Receiver<ReadReply> {
        let (reply, answer) = oneshot::channel();
        self.driver.handle_command(Command::Read { lane, offset, records_max: 64, keep, reply });
        self.driver.settle().unwrap();
        answer
    }

    /// The content of a stream whose reader was given this at first, read to its end.
    pub(super) fn content(&mut self, lane: Lane, first: ReadReply) -> Vec<u8> {
        let (mut content, mut reply) = (Vec::new(), first);
        loop {
            let ReadReply::Records(found) = reply else { panic!("{reply:?}") };
            for found in &found {
                match found.head.kind {
                    kind::DATA => content.extend_from_slice(&self.driver.journal.payload(found).unwrap()),
                    kind::FIN => return content,
                    _ => {}
                }
            }
            let last = found.last().unwrap().head;
            reply = self.ask(lane, last.offset + u64::from(last.raw_len), true).try_recv().unwrap();
        }
    }

    /// The content of a response, if it is here.
    pub(super) fn response(&mut self, lane: Lane) -> Option<Vec<u8>> {
        let first = self.ask(lane, 0, false).try_recv().ok()?;
        Some(self.content(lane, first))
    }

    /// The content of a stored result.
    pub(super) fn result(&mut self, operation: OperationId) -> Option<Vec<u8>> {
        let StoredResult::Ready(lane) = self.driver.stored_result(operation) else { return None };
        let first = self.ask(lane, 0, true).try_recv().ok()?;
        Some(self.content(lane, first))
    }
}
