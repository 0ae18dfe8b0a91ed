//! One side of the bench: a driver with its log, its folders' ends, its callers and its upstream.
//!
//! Invariant: a caller and an execution are futures that wait for the driver only, so polling them after each turn suffices. What this file does
//! not do: carry files (`pair`).

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use disk::dir::MemDir;
use disk::log::{Log, LogOptions, LogReader, MemStorage, Storage};
use layer0_pipe::{Arrival, Inbox, InboxOptions, Local, Outbox, OutboxOptions, Profile, Published, Verdict};
use layer1_replication::{Config, Timestamp};
use layer2_http::envelope::Envelope;
use layer2_http::fields::Fields;
use layer2_http::head::{RequestHead, ResponseHead};
use layer2_http::operation::OperationId;
use layer2_http::policy::Policy;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use wire::control::EndpointName;
use wire::record::kind;
use wire::{EndpointId, Suite, endpoint_id, side_id};

use crate::command::BeginCall;
use crate::driver::{Driver, DriverError, Event, Host, Outlets, Settings};
use crate::exchange::{DriverHandle, FarExchange, NearExchange};
use crate::pipe::{GateSlot, InboxCommand, InboxEvent, OutboxEvent, OutboxJob, PlacedPayloads};
use crate::record::Incoming;
use crate::status::EngineFacts;

/// How long results are kept.
pub(super) const RESULT_TTL: Duration = Duration::from_secs(300);
/// The largest packet lifetime.
pub(super) const MPL: Duration = Duration::from_secs(600);

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// No content either way.
    Plain,
    /// Content of several records each way.
    Upload,
    /// The caller chose the id, and the result is kept.
    Kept,
    /// The caller goes away while it waits, and the result is kept.
    Detached,
    /// The caller goes away before its request is whole.
    Cancelled,
    /// The upstream fails in the middle of its response.
    Broken,
    /// As that, and the result was to be kept.
    KeptBroken,
    /// The upstream answers without reading the request.
    Unread,
    /// The caller reads the head of the response and no more.
    Half,
}

impl Kind {
    pub(super) const ALL: [Self; 9] = [
        Self::Plain,
        Self::Upload,
        Self::Kept,
        Self::Detached,
        Self::Cancelled,
        Self::Broken,
        Self::KeptBroken,
        Self::Unread,
        Self::Half,
    ];
}

/// A machine whose clock the test moves.
pub(super) struct Machine {
    now_us: AtomicU64,
    random: AtomicU64,
}

impl Machine {
    pub(super) fn new(seed: u64) -> Self {
        Self { now_us: AtomicU64::new(1_000_000), random: AtomicU64::new(seed) }
    }

    pub(super) fn pass(&self, time: Duration) {
        self.now_us.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    pub(super) fn elapsed(&self) -> Duration {
        Duration::from_micros(self.now_us.load(Ordering::Relaxed))
    }
}

impl Host for Machine {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now_us.load(Ordering::Relaxed))
    }

    fn unix_ms(&self) -> u64 {
        1_700_000_000_000 + self.now_us.load(Ordering::Relaxed) / 1_000
    }

    fn fill_random(&self, buffer: &mut [u8]) -> Result<(), getrandom::Error> {
        for byte in buffer {
            let x = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            *byte = ((x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56) as u8;
        }
        Ok(())
    }
}

type Task = Pin<Box<dyn Future<Output = ()>>>;
type Outcomes = Arc<Mutex<BTreeMap<&'static str, u64>>>;

/// One side.
pub(super) struct Side {
    pub(super) driver: Option<Driver>,
    pub(super) storage: MemStorage,
    pub(super) peer: EndpointId,
    machine: Arc<Machine>,
    profile: Profile,
    names: (&'static str, &'static str),
    /// Where its packets go, and where the peer's come.
    pub(super) out: MemDir,
    pub(super) folder: MemDir,
    outbox: Outbox,
    inbox: Inbox,
    pub(super) next_scan: Duration,
    reader: LogReader,
    handle: DriverHandle,
    jobs: Receiver<OutboxJob>,
    commands: Receiver<InboxCommand>,
    events: Receiver<Event>,
    egress: UnboundedReceiver<FarExchange>,
    tasks: Vec<Task>,
    /// Callers and upstream stand still.
    pub(super) held: bool,
    calls: u64,
    outcomes: Outcomes,
}

fn of(own: &str, other: &str) -> EndpointId {
    endpoint_id(&side_id("", own, other), "gateway", "0")
}

fn settings(me: EndpointId, peer: EndpointId) -> Settings {
    let replication = Config {
        expected_latency: Duration::from_millis(200),
        heartbeat: Some(Duration::from_secs(30)),
        mpl: MPL,
        ..Config::default()
    };
    Settings {
        me,
        facts: EngineFacts::of_test(),
        my_name: EndpointName { kind: "gateway".to_owned(), name: "0".to_owned() },
        default_peer: peer,
        peer_name: "peer".to_owned(),
        membership: None,
        replication,
        result_ttl: RESULT_TTL,
        results_bytes_max: 1 << 20,
        loss_timeout: Duration::from_secs(120),
        gather_max: Duration::from_millis(1),
        forget_after: Duration::from_secs(86_400),
        inbound: Policy::default(),
        pseudonym: "hoft".to_owned(),
    }
}

impl Side {
    pub(super) fn new(
        names: (&'static str, &'static str),
        machine: Arc<Machine>,
        profile: Profile,
        (out, folder): (MemDir, MemDir),
    ) -> Self {
        Self::start(names, machine, profile, (out, folder), MemStorage::new(), Outcomes::default(), 0)
    }

    /// The same side after its process ended.
    pub(super) fn again(self) -> Self {
        let Self { names, machine, profile, out, folder, storage, outcomes, calls, driver, tasks, .. } = self;
        drop((driver, tasks));
        storage.restart();
        Self::start(names, machine, profile, (out, folder), storage, outcomes, calls)
    }

    /// The same side after it lost its state.
    pub(super) fn without_state(self) -> Self {
        let Self { names, machine, profile, out, folder, outcomes, calls, .. } = self;
        Self::start(names, machine, profile, (out, folder), MemStorage::new(), outcomes, calls)
    }

    fn start(
        names: (&'static str, &'static str),
        machine: Arc<Machine>,
        profile: Profile,
        (out, folder): (MemDir, MemDir),
        storage: MemStorage,
        outcomes: Outcomes,
        calls: u64,
    ) -> Self {
        let (me, peer) = (of(names.0, names.1), of(names.1, names.0));
        let options = LogOptions { segment_bytes: 64 << 10 };
        let (log, recovered) = Log::open_on(Arc::new(storage.clone()), *me.as_bytes(), options).unwrap();
        let ((outbox_jobs, jobs), (inbox_commands, commands), (sender, events)) = (channel(), channel(), channel());
        let (executions, egress) = unbounded_channel();
        let reader = log.reader();
        let handle = DriverHandle::new(sender, log.reader());
        let outlets =
            Outlets { egress: executions, outbox: outbox_jobs, inbox: inbox_commands, handle: handle.clone() };
        let driver = Driver::recover(settings(me, peer), log, recovered, outlets, machine.clone()).unwrap();
        let options = OutboxOptions { suite: Suite::Checksum, mpl: MPL, ..OutboxOptions::default() };
        let outbox = Outbox::new(Arc::new(out.clone()), me, None, Arc::default(), options).unwrap();
        let local = Local {
            endpoint: me,
            side: side_id("", names.0, names.1),
            remote_side: side_id("", names.1, names.0),
            remote_name: names.1.to_owned(),
            identity: None,
            peer_keys: Arc::default(),
            suites: vec![Suite::Checksum],
        };
        let options = InboxOptions { profile, mpl: MPL, poll_max: Duration::from_secs(10), ..InboxOptions::default() };
        let inbox = Inbox::new(Arc::new(folder.clone()), vec![local], options);
        let next_scan = machine.elapsed();
        Self {
            driver: Some(driver),
            storage,
            peer,
            machine,
            profile,
            names,
            out,
            folder,
            outbox,
            inbox,
            next_scan,
            reader,
            handle,
            jobs,
            commands,
            events,
            egress,
            tasks: Vec::new(),
            held: false,
            calls,
            outcomes,
        }
    }

    /// Begins a call.
    pub(super) fn call(&mut self, kind: Kind) {
        self.calls += 1;
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.calls.to_be_bytes());
        random[8] = self.names.0.as_bytes()[0];
        let operation = OperationId::v7(self.machine.unix_ms(), &random);
        let task = call(self.handle.clone(), kind, operation, Arc::clone(&self.outcomes));
        self.tasks.push(Box::pin(task));
    }

    /// How calls ended.
    pub(super) fn outcomes(&self) -> BTreeMap<&'static str, u64> {
        self.outcomes.lock().unwrap().clone()
    }

    pub(super) fn has_tasks(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// One round: the driver's turns, callers and executions, packets out and in. True if anything happened.
    pub(super) fn step(&mut self) -> Result<bool, DriverError> {
        let mut any = self.turns(None)?;
        while let Ok(far) = self.egress.try_recv() {
            any = true;
            self.tasks.push(Box::pin(execute(far)));
        }
        any |= self.poll_tasks();
        any |= self.publish()?;
        any |= self.scan()?;
        any |= self.turns(None)?;
        Ok(any)
    }

    /// Turns of the driver until its queue is empty.
    fn turns(&mut self, first: Option<Event>) -> Result<bool, DriverError> {
        let Some(driver) = &mut self.driver else { return Ok(false) };
        let mut first = first.or_else(|| self.events.try_recv().ok());
        let mut any = false;
        loop {
            any |= first.is_some();
            let done = first.is_none();
            let _ = driver.turn(first, &mut || self.events.try_recv().ok())?;
            if done {
                return Ok(any);
            }
            first = self.events.try_recv().ok();
        }
    }

    fn poll_tasks(&mut self) -> bool {
        if self.held {
            return false;
        }
        let before = self.tasks.len();
        self.tasks.retain_mut(|task| task.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Pending);
        before != self.tasks.len()
    }

    fn publish(&mut self) -> Result<bool, DriverError> {
        let mut any = false;
        while let Ok(job) = self.jobs.try_recv() {
            match job {
                OutboxJob::Publish(job) => {
                    any = true;
                    let (recipient, pn) = (job.plan.recipient, job.plan.pn);
                    let Published { bytes, .. } =
                        self.outbox.publish(&job.plan, &PlacedPayloads { log: &self.reader, job: &job }).unwrap();
                    self.turns(Some(Event::Outbox(OutboxEvent::Published { recipient, pn, bytes })))?;
                }
                OutboxJob::Sweep(floors) => drop(self.outbox.sweep(self.machine.elapsed(), &floors).unwrap()),
                OutboxJob::Forget(recipient) => drop(self.outbox.forget(recipient).unwrap()),
                OutboxJob::Remove { recipient, incarnation, pn } => {
                    let _ = self.outbox.remove(recipient, incarnation, pn).unwrap();
                }
            }
        }
        Ok(any)
    }

    fn scan(&mut self) -> Result<bool, DriverError> {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                InboxCommand::Done(file) => self.inbox.done(file),
                InboxCommand::Floor { sender, incarnation, floor } => self.inbox.set_floor(sender, incarnation, floor),
                InboxCommand::Forget(sender) => self.inbox.forget_sender(sender),
                InboxCommand::Confirmed => self.inbox.retry_waiting(),
                InboxCommand::Wake | InboxCommand::Stop => {}
            }
        }
        let now = self.machine.elapsed();
        let Some(driver) = self.driver.as_mut().filter(|_| now >= self.next_scan) else { return Ok(false) };
        let mut failed = None;
        let report = self.inbox.scan(now, &mut |arrival| {
            let (answer, verdict) = std::sync::mpsc::sync_channel(1);
            let event = match arrival {
                Arrival::Packet { file, header, control } => {
                    let (header, control) = (Box::new(header.clone()), Box::new(control.clone()));
                    InboxEvent::Packet { file, header, control, verdict: answer }
                }
                Arrival::Frame { pn, sender, sender_incarnation, records, .. } => InboxEvent::Frame {
                    sender,
                    incarnation: sender_incarnation,
                    pn,
                    records,
                    slot: GateSlot::of_test(),
                },
                Arrival::Closed { file, sender, sender_incarnation, pn, closure, .. } => {
                    InboxEvent::Closed { file, sender, incarnation: sender_incarnation, pn, closure }
                }
                Arrival::Alarm(alarm) => panic!("{alarm:?}"),
            };
            failed = driver.turn(Some(Event::Inbox(event)), &mut || None).err().or(failed.take());
            verdict.try_recv().unwrap_or(Verdict::Wait)
        });
        self.next_scan = now + report.next_after;
        failed.map_or(Ok(report.progressed), Err)
    }

    pub(super) fn wait(&self) -> Duration {
        let scan = self.next_scan.saturating_sub(self.machine.elapsed());
        self.driver.as_ref().map_or(scan, |driver| driver.wait().min(scan))
    }

    pub(super) fn stored_results(&self) -> usize {
        self.driver.as_ref().unwrap().results.len()
    }

    /// Records of mine that are kept to be sent.
    pub(super) fn unacknowledged(&self) -> usize {
        self.driver.as_ref().unwrap().slots.values().map(|slot| slot.sent.len()).sum()
    }

    /// Begins a new segment, which leaves old ones only where they are needed; their number.
    pub(super) fn roll(&mut self) -> usize {
        let driver = self.driver.as_mut().unwrap();
        driver.checkpoint().unwrap();
        driver.journal.make_urgent();
        driver.settle().unwrap();
        self.storage.list().unwrap().len()
    }

    /// Received records that are kept.
    pub(super) fn spooled(&self) -> usize {
        self.driver.as_ref().unwrap().slots.values().map(|slot| slot.spool.records().count()).sum()
    }

    /// Nothing is left of any exchange, but for what is kept for a time.
    pub(super) fn assert_no_exchange(&self, what: &str) {
        let driver = self.driver.as_ref().unwrap();
        let now = self.machine.now();
        assert_eq!(driver.waiting_begins.len(), 0, "{what}");
        assert_eq!(driver.slots.keys().collect::<Vec<_>>(), [&self.peer], "{what}");
        let slot = &driver.slots[&self.peer];
        slot.assert_empty(what);
        assert_eq!(driver.results.len(), slot.spool.streams().count(), "{what}");
        let status = slot.peer.status(now);
        assert_eq!((status.backlog_records, status.backlog_bytes, status.blocked_records), (0, 0, 0), "{what}");
        assert_eq!((status.in_flight_packets, status.in_flight_bytes, status.unconsumed_bytes), (0, 0, 0), "{what}");
        assert!(status.halted.is_none() && status.alarms.is_empty(), "{what}: {:?}", status.alarms);
    }

    /// Everything is where it was before the first call.
    pub(super) fn assert_baseline(&mut self, what: &str) {
        self.assert_no_exchange(what);
        let driver = self.driver.as_ref().unwrap();
        assert_eq!((driver.results.len(), driver.results_bytes()), (0, 0), "{what}");
        assert_eq!((driver.near.len(), driver.far.len()), (0, 0), "{what}");
        let layer1 = driver.slots[&self.peer].peer.checkpoint();
        assert!(layer1.len() <= 8, "{what}: {layer1:?}");
        // Twice: the second leaves nothing of the segment that was the newest, unless a place in it is still pinned.
        self.roll();
        assert_eq!(self.roll(), 1, "{what}: segments");
        let driver = self.driver.as_ref().unwrap();
        assert!(driver.journal.bytes_on_disk() < 4_096, "{what}: {}", driver.journal.bytes_on_disk());
        assert!(self.out.files().len() <= 3, "{what}: {:?}", self.out.files());
        let in_mind = if self.profile == Profile::Sync { 3 } else { 0 };
        assert!(self.folder.files().len() <= in_mind, "{what}: {:?}", self.folder.files());
        assert!(self.inbox.tracked().0 <= in_mind && self.inbox.tracked().1 == 0, "{what}: {:?}", self.inbox.tracked());
    }
}

async fn call(handle: DriverHandle, kind: Kind, operation: OperationId, outcomes: Outcomes) {
    let outcome = try_call(&handle, kind, operation).await.unwrap_or("failed");
    *outcomes.lock().unwrap().entry(outcome).or_default() += 1;
}

async fn try_call(handle: &DriverHandle, kind: Kind, operation: OperationId) -> Option<&'static str> {
    let head = RequestHead {
        envelope: Envelope { operation: Some(operation), route: Some(format!("{kind:?}")), ..Envelope::default() },
        method: "POST".to_owned(),
        scheme: "http".to_owned(),
        authority: "example.com".to_owned(),
        path: "/".to_owned(),
        fields: Fields::default(),
    };
    let begin = BeginCall {
        operation,
        retain: matches!(kind, Kind::Kept | Kind::KeptBroken),
        head: head.encode().unwrap(),
        method: head.method.clone(),
        target: "http://example.com/".to_owned(),
        route: None,
        deadline_ms: None,
        asked: Default::default(),
    };
    let NearExchange { mut request, mut response } = handle.begin(begin).await.ok()?;
    if kind != Kind::Plain {
        request.data(content(), false).await.ok()?;
    }
    match kind {
        Kind::Cancelled => return Some("cancelled"),
        // What is written of a request that nobody reads depends on when that is heard.
        Kind::Unread => drop(request.finish().await),
        _ => request.finish().await.ok()?,
    }
    if kind == Kind::Detached {
        response.detach();
        return Some("detached");
    }
    loop {
        match response.next().await {
            Ok(Incoming::End) => return Some("answered"),
            Ok(_) if kind == Kind::Half => return Some("half read"),
            Ok(_) => {}
            Err(_) => return Some("cut"),
        }
    }
}

fn content() -> Bytes {
    Bytes::from_iter((0..600_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8))
}

/// What the upstream does follows from the route's name.
async fn execute(mut far: FarExchange) {
    let Ok(Incoming::Head(head)) = far.request.next().await else { return };
    let head = RequestHead::decode(&head).unwrap();
    let does = head.envelope.route.unwrap();
    if does != "Unread" {
        loop {
            match far.request.next().await {
                Ok(Incoming::End) => break,
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
    drop(far.request);
    if !far.dispatch.commit().await {
        return;
    }
    let head = ResponseHead { envelope: Envelope::default(), status: 200, fields: Fields::default() };
    let mut response = far.response;
    if response.head(kind::HEAD, head.encode().unwrap()).await.is_err() {
        return;
    }
    let whole = does == "Plain" || response.data(content(), false).await.is_ok();
    if whole && !does.ends_with("Broken") {
        let _ = response.finish().await;
    }
}
