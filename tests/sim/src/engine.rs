//! One start of an engine without its threads: the product's driver, inbox, outbox and exchanges, called in turns.
//!
//! Invariants: everything the driver sees comes through its queue, as in the product; the inbox is answered while it looks, as its
//! thread would be; when an engine ends, what was not in its log is gone. The driver is dropped first: what tasks say while they
//! end, nobody hears. Test to read first: `a_quiet_world_answers_every_call`.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use disk::log::{Log, LogError, LogOptions, LogReader, Storage};
use layer0_pipe::{Inbox, InboxOptions, Layout, Local, Outbox, OutboxOptions, PublishSync};
use layer2_http::operation::{OperationId, OperationView};
use layer2_http::policy::{HostPattern, Policy, Retry, Rule};
use sidecar_app::command::{Command, StoredResult};
use sidecar_app::driver::{Driver, DriverError, Event, MembershipSettings, Outlets, RecoverError, Settings};
use sidecar_app::exchange::{DriverHandle, FarExchange};
use sidecar_app::pipe::{self, FRAMES_AHEAD_MAX, InboxCommand, InboxDesk, InboxEvent, Obeyed, OutboxJob};
use sidecar_app::status::{EngineFacts, EngineStatus};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use wire::limits::MIN_MAX_FRAME;
use wire::{EndpointId, Incarnation, Suite};

use crate::callers::UPSTREAM;
use crate::executor::Executor;
use crate::folder::SimDir;
use crate::place::Place;
use crate::rng::Rng;
use crate::shared::Shared;
use crate::time::{EPOCH_MS, SimHost};
use crate::upstream;

/// Hints do not make the inbox look more often than this.
const LOOK_PERIOD_MIN_US: u64 = 5_000;
/// Rounds within one moment beyond which an engine is busy with nothing.
const ROUNDS_MAX: u32 = 20_000;

/// Why an engine is no longer running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// Its log failed: it ended itself.
    Log,
    /// It was killed.
    Killed,
    /// It was told to stop.
    Stopped,
    /// It begins again with a new incarnation.
    NewLife,
}

/// Why an engine did not start.
#[derive(Debug)]
pub enum StartError {
    /// The disk failed while the log was opened: another start may work.
    Disk(String),
    /// The log is not what its writer must have left.
    Damage(String),
}

/// A packet about to be published.
#[derive(Clone, Debug)]
pub struct Planned {
    /// For whom.
    pub recipient: EndpointId,
    /// In which life of mine.
    pub incarnation: Incarnation,
    /// Addressed to which life.
    pub recipient_incarnation: Incarnation,
    /// Its number.
    pub pn: u64,
    /// The numbers of its records.
    pub seqs: Vec<u64>,
    /// Number, stream and kind of each.
    pub records: Vec<[u64; 3]>,
    /// What it says.
    pub control: wire::Control,
}

/// What an engine did that others must know.
#[derive(Debug)]
pub enum Deed {
    /// It publishes a packet; the folder's deeds say under which name, if it did.
    Publishes(Box<Planned>),
    /// Its inbox verified a packet.
    Verified(Box<wire::Header>),
    /// Its driver was given these records of a packet: number and digest of each. Only told once somebody went back in time.
    Given(EndpointId, Incarnation, Vec<(u64, wire::Digest)>),
}

/// A running engine.
pub struct Engine {
    driver: Driver,
    events: Receiver<Event>,
    tasks: Executor,
    egress: UnboundedReceiver<FarExchange>,
    send: Sender<Event>,
    /// What callers use.
    pub handle: DriverHandle,
    desk: InboxDesk,
    inbox_commands: Receiver<InboxCommand>,
    outbox: Outbox,
    outbox_jobs: Receiver<OutboxJob>,
    jobs: VecDeque<OutboxJob>,
    log: LogReader,
    host: Arc<SimHost>,
    shared: Rc<Shared>,
    node: usize,
    rng: Rng,
    driver_due: u64,
    inbox_due: u64,
    looked: u64,
    job_due: Option<u64>,
    /// Turns until it is killed.
    pub turns_left: Option<u64>,
    /// Turns so far.
    pub turns: u64,
    deeds: Vec<Deed>,
    /// It was told to drain; answered once nothing new is executed and nothing is under way.
    draining: Option<oneshot::Receiver<()>>,
    drained: bool,
}

impl Engine {
    /// Starts an engine at a place, from what its log holds.
    ///
    /// # Errors
    /// When the log cannot be opened.
    pub fn start(
        shared: &Rc<Shared>,
        node: usize,
        place: &Place,
        storage: Arc<dyn Storage>,
        folders: (&SimDir, &SimDir),
        host: Arc<SimHost>,
        mut rng: Rng,
    ) -> Result<Self, StartError> {
        let options = LogOptions { segment_bytes: shared.options.segment_bytes };
        let (log, recovered) = Log::open_on(storage, *place.me.as_bytes(), options).map_err(|error| refusal(&error))?;
        let reader = log.reader();
        let ((jobs, outbox_jobs), (commands, inbox_commands)) = (channel(), channel());
        let ((send, events), (far, egress)) = (channel(), unbounded_channel());
        let handle = DriverHandle::new(send.clone(), log.reader());
        let outlets = Outlets { egress: far, outbox: jobs, inbox: commands, handle: handle.clone() };
        let settings = settings(shared, place)?;
        let driver = Driver::recover(settings, log, recovered, outlets, host.clone()).map_err(|error| match error {
            RecoverError::Log(error) => refusal(&error),
            other => StartError::Damage(other.to_string()),
        })?;
        let tag = u32::try_from(rng.below(1 << 32)).unwrap_or(0);
        let now = shared.clock.now();
        Ok(Self {
            driver,
            events,
            tasks: Executor::default(),
            egress,
            send,
            handle,
            desk: InboxDesk::new(inbox(shared, place, folders.1)),
            inbox_commands,
            outbox: outbox(shared, place, folders.0, tag)?,
            outbox_jobs,
            jobs: VecDeque::new(),
            log: reader,
            host,
            shared: Rc::clone(shared),
            node,
            rng,
            driver_due: now,
            inbox_due: now,
            looked: now,
            job_due: None,
            turns_left: None,
            turns: 0,
            deeds: Vec::new(),
            draining: None,
            drained: false,
        })
    }

    /// Adds a task of a caller.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + 'static) {
        self.tasks.spawn(task);
    }

    /// When it has something to do next.
    #[must_use]
    pub fn due(&self) -> u64 {
        let now = self.shared.clock.now();
        let ready = if self.tasks.is_ready() { now } else { u64::MAX };
        self.driver_due.min(self.inbox_due).min(self.job_due.unwrap_or(u64::MAX)).min(ready)
    }

    /// Says that something may have arrived.
    pub fn hint(&mut self) {
        self.obey(InboxCommand::Wake);
    }

    /// What it did since the last time.
    pub fn take_deeds(&mut self) -> Vec<Deed> {
        std::mem::take(&mut self.deeds)
    }

    /// Does everything there is to do at this moment.
    ///
    /// # Errors
    /// When it is no longer running.
    pub fn run(&mut self) -> Result<(), Down> {
        let now = self.shared.clock.now();
        let mut rounds = 0;
        loop {
            let mut busy = self.tasks.run();
            while let Ok(command) = self.inbox_commands.try_recv() {
                self.obey(command);
            }
            self.drained |= self.draining.as_mut().is_some_and(|answer| answer.try_recv().is_ok());
            while let Ok(exchange) = self.egress.try_recv() {
                if self.drained {
                    self.shared.blame("S3", format!("engine {} executes a call after it drained", self.node));
                }
                let rng = Rng::new(self.rng.next());
                self.tasks.spawn(upstream::run(Rc::clone(&self.shared), self.node, exchange, rng));
                busy = true;
            }
            busy |= self.work_on_jobs(now);
            if let Ok(event) = self.events.try_recv() {
                self.turn(Some(event))?;
                busy = true;
            } else if self.driver_due <= now {
                self.turn(None)?;
                busy = true;
            } else if self.inbox_due <= now {
                self.look(now)?;
                busy = true;
            }
            if !busy {
                return Ok(());
            }
            rounds += 1;
            if rounds > ROUNDS_MAX {
                self.shared.blame("L2", format!("engine {} does not come to rest within one moment", self.node));
                return Err(Down::Killed);
            }
        }
    }

    /// Tasks of callers and executions that have not ended.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    fn ask<T>(&mut self, command: Command, mut answer: oneshot::Receiver<T>) -> Option<T> {
        let _ = self.send.send(Event::Command(command));
        self.run().ok()?;
        answer.try_recv().ok()
    }

    /// What it says of itself.
    pub fn status(&mut self) -> Option<EngineStatus> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Status { reply }, answer)
    }

    /// The operations that it knows.
    pub fn operations(&mut self) -> Vec<OperationView> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Operations { limit: usize::MAX, reply }, answer).unwrap_or_default()
    }

    /// Whether the response of an operation is there for whoever asks for it.
    pub fn has_result(&mut self, id: OperationId) -> bool {
        let (reply, answer) = oneshot::channel();
        matches!(self.ask(Command::StoredResult { id, reply }, answer), Some(StoredResult::Ready(_)))
    }

    /// Tells it to execute nothing new.
    pub fn drain(&mut self) {
        let (reply, answer) = oneshot::channel();
        let _ = self.send.send(Event::Drain(reply));
        self.draining = Some(answer);
        self.driver_due = self.driver_due.min(self.shared.clock.now());
    }

    /// Stops it in order, as a signal does.
    pub fn stop(&mut self) {
        let _ = self.send.send(Event::Stop);
    }

    fn obey(&mut self, command: InboxCommand) {
        if self.desk.obey(command) == Obeyed::Look {
            self.inbox_due = self.inbox_due.min((self.looked + LOOK_PERIOD_MIN_US).max(self.shared.clock.now()));
        }
    }

    fn work_on_jobs(&mut self, now: u64) -> bool {
        self.jobs.extend(self.outbox_jobs.try_iter());
        if self.job_due.is_none() && !self.jobs.is_empty() {
            self.job_due = Some(now + self.rng.below(self.shared.options.publish_us));
        }
        if self.job_due.is_none_or(|due| due > now) {
            return false;
        }
        self.job_due = None;
        // A packet takes its time; the rest is done with it.
        while let Some(job) = self.jobs.pop_front() {
            let publishes = matches!(job, OutboxJob::Publish(_));
            if let OutboxJob::Publish(job) = &job {
                self.deeds.push(Deed::Publishes(Box::new(planned(&job.plan))));
            }
            let now = Duration::from_micros(self.host.since_start());
            if let Some(event) = pipe::do_job(&self.outbox, &self.log, now, job) {
                let _ = self.send.send(Event::Outbox(event));
            }
            if publishes {
                break;
            }
        }
        true
    }

    fn turn(&mut self, first: Option<Event>) -> Result<(), Down> {
        let batch = self.rng.below(40);
        turn(&mut self.driver, &self.events, first, batch, &mut self.turns_left, &mut self.turns)?;
        let wait = u64::try_from(self.driver.wait().as_micros()).unwrap_or(u64::MAX);
        self.driver_due = self.shared.clock.now() + wait.max(1);
        Ok(())
    }

    /// Looks at the inbox; the driver answers meanwhile.
    fn look(&mut self, now: u64) -> Result<(), Down> {
        let Self { desk, driver, events, send, rng, deeds, turns_left, turns, host, shared, .. } = self;
        let forks = !shared.rewinds.borrow().is_empty();
        let mut down = None;
        let mut ahead = 0;
        let ahead_max = rng.between(1, FRAMES_AHEAD_MAX as u64 - 1);
        let next_after = desk.look(Duration::from_micros(host.since_start()), &mut |event| {
            if down.is_some() {
                return false;
            }
            let waits = matches!(event, InboxEvent::Packet { .. });
            if let InboxEvent::Packet { header, .. } = &event {
                deeds.push(Deed::Verified(header.clone()));
            }
            if let InboxEvent::Frame { sender, incarnation, records, .. } = &event
                && forks
            {
                let records = records.iter().filter(|record| record.head.occupies());
                let given = records.map(|record| (record.head.seq.get(), record.payload_digest()));
                deeds.push(Deed::Given(*sender, *incarnation, given.collect()));
            }
            ahead += u64::from(matches!(event, InboxEvent::Frame { .. }));
            let _ = send.send(Event::Inbox(event));
            if waits || ahead >= ahead_max || rng.percent(10) {
                ahead = 0;
                while let Ok(event) = events.try_recv() {
                    if let Err(why) = turn(driver, events, Some(event), rng.below(40), turns_left, turns) {
                        down = Some(why);
                        // Whoever waits for an answer learns that there will be none.
                        while events.try_recv().is_ok() {}
                        return false;
                    }
                }
            }
            true
        });
        if let Some(down) = down {
            return Err(down);
        }
        self.looked = now;
        self.inbox_due =
            now + next_after.map_or(0, |after| u64::try_from(after.as_micros()).unwrap_or(u64::MAX)).max(1);
        self.driver_due = self.driver_due.min(now);
        Ok(())
    }
}

fn turn(
    driver: &mut Driver,
    events: &Receiver<Event>,
    first: Option<Event>,
    batch: u64,
    turns_left: &mut Option<u64>,
    turns: &mut u64,
) -> Result<(), Down> {
    if let Some(left) = turns_left {
        if *left == 0 {
            return Err(Down::Killed);
        }
        *left -= 1;
    }
    *turns += 1;
    let mut taken = 0;
    let ended = driver.turn(first, &mut || {
        taken += 1;
        if taken > batch { None } else { events.try_recv().ok() }
    });
    match ended {
        Ok(flow) if flow.is_continue() => Ok(()),
        Ok(_) => Err(Down::Stopped),
        Err(DriverError::Log(_)) => Err(Down::Log),
        Err(DriverError::NewLife) => Err(Down::NewLife),
    }
}

fn planned(plan: &layer0_pipe::PacketPlan) -> Planned {
    Planned {
        recipient: plan.recipient,
        incarnation: plan.sender_incarnation,
        recipient_incarnation: plan.recipient_incarnation,
        pn: plan.pn.get(),
        seqs: plan.records.iter().map(|record| record.head.seq.get()).collect(),
        records: plan
            .records
            .iter()
            .map(|record| [record.head.seq.get(), record.head.stream.get(), u64::from(record.head.kind)])
            .collect(),
        control: plan.control.clone(),
    }
}

fn refusal(error: &LogError) -> StartError {
    match error {
        LogError::Io { .. } | LogError::Full { .. } | LogError::Poisoned => StartError::Disk(error.to_string()),
        other => StartError::Damage(other.to_string()),
    }
}

fn settings(shared: &Shared, place: &Place) -> Result<Settings, StartError> {
    let rule = Rule {
        name: "all".to_owned(),
        schemes: vec!["http".to_owned()],
        hosts: HostPattern::parse(UPSTREAM).into_iter().collect(),
        ports: vec![80],
        path_prefixes: vec!["/".to_owned()],
        methods: vec!["*".to_owned()],
        callers: Vec::new(),
        max_body: None,
        addresses: Vec::new(),
        timeout: Duration::from_secs(60),
        retry: Retry::Idempotent,
    };
    let facts = EngineFacts {
        endpoint: place.me,
        side: place.side.to_owned(),
        kind: place.kind,
        endpoint_name: place.name.clone(),
        public_key: None,
        fingerprint: None,
    };
    let options = &shared.options;
    Ok(Settings {
        me: place.me,
        facts,
        my_name: place.endpoint_name(),
        default_peer: place.default_peer,
        peer_name: place.far_side.to_owned(),
        membership: options.servers.map(|_| MembershipSettings {
            my_side: place.my_side(),
            remote_side: place.remote_side(),
            weight: place.is_gateway().then_some(1),
        }),
        replication: options.replication.clone(),
        result_ttl: Duration::from_secs(30 * 86_400),
        results_bytes_max: options.results_bytes_max,
        loss_timeout: Duration::from_micros(options.latency_us * 20).max(Duration::from_secs(60)),
        gather_max: Duration::ZERO,
        forget_after: Duration::from_secs(30 * 86_400),
        inbound: Policy::new(vec![rule]).map_err(|error| StartError::Damage(error.to_string()))?,
        pseudonym: format!("hoft-{}", place.side),
    })
}

fn outbox(shared: &Shared, place: &Place, dir: &SimDir, tag: u32) -> Result<Outbox, StartError> {
    let options = OutboxOptions {
        layout: Layout::Tree,
        suite: suite(shared),
        sync: PublishSync::Never,
        grease: false,
        tag: Some(tag),
        ..OutboxOptions::default()
    };
    let keys = place.keys();
    Outbox::new(Arc::new(dir.clone()), place.me, Some(keys.mine), keys.theirs, options)
        .map_err(|error| StartError::Disk(error.to_string()))
}

fn inbox(shared: &Shared, place: &Place, dir: &SimDir) -> Inbox {
    let options = &shared.options;
    let keys = place.keys();
    let local = Local {
        endpoint: place.me,
        side: place.my_side(),
        remote_side: place.remote_side(),
        remote_name: place.far_side.to_owned(),
        identity: Some(keys.mine),
        peer_keys: keys.theirs,
        suites: vec![suite(shared)],
    };
    let options = InboxOptions {
        profile: options.profile,
        quiet_min: options.quiet_min,
        poll_min: options.poll.0,
        poll_max: options.poll.1,
        max_frame: MIN_MAX_FRAME,
        unix_ms_at_zero: i64::try_from(EPOCH_MS + shared.clock.now() / 1_000).unwrap_or(i64::MAX),
        ..InboxOptions::default()
    };
    Inbox::new(Arc::new(dir.clone()), vec![local], options)
}

/// The suite of all packets of a world.
#[must_use]
pub fn suite(shared: &Shared) -> Suite {
    if shared.options.sealed { Suite::Sealed } else { Suite::Checksum }
}
