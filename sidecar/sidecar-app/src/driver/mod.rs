//! The driver: the one loop that owns the log, layer 1, layer 2 and their indexes.
//!
//! One turn: take the events that wait, hand each to layer 1 or 2, append everything `poll_persist` gives to the log,
//! commit once, then let out what may leave now: acknowledgements, packets, replies. So whatever gathers during a
//! commit shares the next one.
//!
//! Invariants: nothing leaves before what it promises is durable; a failed append or commit ends the loop with an error,
//! because retrying an fsync would lie; the loop never waits for a folder or a socket. It knows no HTTP beyond the heads
//! of layer 2. Files: `slot.rs` one peer, `near.rs` calls begun here, `far.rs` calls executed here, `peer_events.rs`
//! what layer 1 reports, `closing.rs` the end of an association, `kept.rs` and `archive.rs` what outlives it, `journal.rs` the
//! log, `keys.rs` repeats of a call, `callbacks.rs` who is told, `carry.rs` what is left in old segments, `space.rs` a full disk,
//! `recover.rs` the start,
//! `forget.rs` endpoints that are gone, `life.rs` a new incarnation, `asks.rs` questions about operations, `news.rs` what is told
//! of them, `progress.rs` how far they came, `withdraw.rs` those that end early, `far_time.rs` the same where they are executed,
//! `membership.rs` who gets calls, `gather.rs` heads that wait for their message, `host.rs` time and randomness. Test to read
//! first: `tests/line`.

mod archive;
mod asks;
mod callbacks;
mod carry;
mod checkpoint;
mod closing;
mod commands;
#[cfg(test)]
mod drain;
mod far;
mod far_time;
mod forget;
mod gather;
mod host;
mod journal;
mod kept;
mod keys;
mod life;
mod lost;
mod membership;
mod near;
mod news;
mod peer_events;
mod pipe_events;
mod progress;
mod recover;
mod relief;
mod report;
mod shown;
mod slot;
mod space;
#[cfg(test)]
mod testbench;
mod withdraw;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use disk::log::LogError;
use layer0_pipe::Counters;
use layer1_replication::{Config as ReplicationConfig, Timestamp};
use layer2_http::far::Executions;
use layer2_http::keys::Keys;
use layer2_http::near::Operations;
use layer2_http::operation::OperationId;
use layer2_http::policy::Policy;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use wire::EndpointId;
use wire::control::EndpointName;

use self::archive::Archive;
use self::callbacks::CallbackState;
use self::carry::Carry;
use self::forget::Watch;
use self::gather::Gather;
pub use self::host::{Host, System, unix_ms};
use self::journal::Journal;
use self::membership::Membership;
pub use self::membership::MembershipSettings;
use self::near::WaitingBegin;
use self::news::News;
pub use self::pipe_events::chain;
use self::progress::Carrying;
pub use self::recover::RecoverError;
use self::slot::Slot;
use self::withdraw::Deadlines;
use crate::command::{Command, Lane};
use crate::entry::Life;
use crate::exchange::{DriverHandle, FarExchange};
use crate::pipe::{InboxCommand, InboxEvent, OutboxEvent, OutboxJob};
use crate::status::EngineFacts;

/// Events that one turn takes at most before it commits.
const TURN_EVENTS_MAX: usize = 256;
/// Octets that one turn gathers at most before it commits.
const TURN_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How often results and operations are looked through for what is over.
const EXPIRY_PERIOD: Duration = Duration::from_secs(10);
/// A peer that is silent for so many loss timeouts while others are heard is probably gone for good.
const GONE_AFTER: u32 = 10;
/// How often the outbox is looked through for what earlier starts left.
const SWEEP_PERIOD: Duration = Duration::from_secs(120);

/// What reaches the driver.
#[derive(Debug)]
pub enum Event {
    /// From a door.
    Command(Command),
    /// From the inbox thread.
    Inbox(InboxEvent),
    /// From the outbox thread.
    Outbox(OutboxEvent),
    /// Execute nothing new and say so. Answered when that is done and what was under way has ended: before that, stopping cuts it off.
    Drain(oneshot::Sender<()>),
    /// End the loop: what is in the log stays, what is not was never promised.
    Stop,
}

/// What the driver is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// My endpoint.
    pub me: EndpointId,
    /// Who I am, for people and the operator.
    pub facts: EngineFacts,
    /// What my endpoint id is derived from.
    pub my_name: EndpointName,
    /// Whom calls are addressed to while no server is known.
    pub default_peer: EndpointId,
    /// Its name, for people.
    pub peer_name: String,
    /// Who else may execute calls, and whether this endpoint does. `None`: only the default peer is called, and nothing is announced.
    pub membership: Option<MembershipSettings>,
    /// For layer 1.
    pub replication: ReplicationConfig,
    /// How long a stored result is kept.
    pub result_ttl: Duration,
    /// Octets of stored results kept at most.
    pub results_bytes_max: u64,
    /// Silence after which the peer counts as lost.
    pub loss_timeout: Duration,
    /// How long the head of a message may wait for the rest of it; zero: not at all.
    pub gather_max: Duration,
    /// Silence after which an endpoint that is not the default peer is forgotten.
    pub forget_after: Duration,
    /// What the far side may call: says which calls may be tried again after a crash.
    pub inbound: Policy,
    /// What this engine calls itself in Via and Proxy-Status.
    pub pseudonym: String,
}

/// Why the loop ended without being told to.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The log failed: going on would break promises.
    #[error("the log failed; the engine stops, because what it promised may not be durable")]
    Log(#[from] LogError),
    /// A new life of this endpoint stands in the log: everything that reads or writes for the old one must end, and start again.
    #[error("the engine must start again: it goes on with a new incarnation")]
    NewLife,
}

/// Where the driver reaches the other threads and tasks.
pub struct Outlets {
    /// Executions for the egress.
    pub egress: UnboundedSender<FarExchange>,
    /// Jobs for the outbox thread; at most one packet at a time.
    pub outbox: Sender<OutboxJob>,
    /// Commands for the inbox thread.
    pub inbox: Sender<InboxCommand>,
    /// What readers and writers of exchanges talk to.
    pub handle: DriverHandle,
}

/// The driver. Make one with [`Driver::recover`], then [`Driver::run`] it on a thread of its own.
pub struct Driver {
    settings: Settings,
    host: Arc<dyn Host>,
    life: Life,
    life_known: bool,
    /// On whose word a new life is to begin.
    anew: Option<EndpointId>,
    /// The log is being replayed: slots are not complete yet.
    replaying: bool,
    journal: Journal,
    slots: BTreeMap<EndpointId, Slot>,
    membership: Option<Membership>,
    /// Nothing new is executed; whoever waits for what is under way.
    is_draining: bool,
    draining: Option<oneshot::Sender<()>>,
    watch: Watch,
    near: Operations,
    far: Executions,
    /// Idempotency keys of calls begun here.
    keys: Keys,
    /// Who wants to hear of them.
    callbacks: CallbackState,
    outlets: Outlets,
    /// Records to be carried out of nearly empty segments.
    carry: Carry,
    /// Not all of the space for what was promised is set aside: the disk is full.
    tight: bool,
    /// A packet is being built: the next ones wait, and records gather meanwhile.
    publishing: bool,
    /// The outbox wants no packet before.
    rest_until: Timestamp,
    gather: Gather,
    counters: Counters,
    published_bytes: u64,
    inbox_alarm: Option<String>,
    outbox_failure: Option<String>,
    /// Whole responses of associations that ended.
    archive: Archive,
    /// Where the streams of calls that moved are today, by where their callers know them.
    lanes: BTreeMap<Lane, Lane>,
    /// Where stored results lie.
    results: BTreeMap<OperationId, Lane>,
    /// Calls that wait until the far side allows another exchange.
    waiting_begins: VecDeque<WaitingBegin>,
    /// The servers that they wait for.
    blocked: BTreeSet<EndpointId>,
    /// What is to be told of operations.
    news: News,
    /// Requests of which the packet that is being built carries something for the first time.
    carrying: Option<Carrying>,
    deadlines: Deadlines,
    expiry_due: Timestamp,
    sweep_due: Timestamp,
    space_due: Timestamp,
    /// Of the disk, 0 to 3.
    pressure: u8,
    next_slot: usize,
    began: Timestamp,
    started_ms: u64,
}

impl Driver {
    /// Runs until told to stop.
    ///
    /// # Errors
    /// When the log fails: the caller ends the process then. Or when a new life must begin: the caller starts the engine again.
    pub fn run(mut self, events: &Receiver<Event>) -> Result<(), DriverError> {
        self.settle()?;
        loop {
            let first = match events.recv_timeout(self.wait()) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            if self.turn(first, &mut || events.try_recv().ok())?.is_break() {
                return Ok(());
            }
        }
    }

    /// One turn: takes the first event and what `more` gives, as far as a turn goes, then settles. Breaks at the end.
    ///
    /// # Errors
    /// When the log fails, or a new life must begin. Whoever runs the driver drops it.
    pub fn turn(
        &mut self,
        first: Option<Event>,
        more: &mut dyn FnMut() -> Option<Event>,
    ) -> Result<ControlFlow<()>, DriverError> {
        let mut next = first;
        let mut taken = 0;
        while let Some(event) = next {
            if matches!(event, Event::Stop) {
                self.settle()?;
                return Ok(ControlFlow::Break(()));
            }
            self.handle(event)?;
            taken += 1;
            let full = taken >= TURN_EVENTS_MAX || self.journal.gathered_bytes() >= TURN_BYTES_MAX;
            next = if full { None } else { more() };
        }
        self.handle_timeouts()?;
        self.settle()?;
        Ok(ControlFlow::Continue(()))
    }

    fn handle(&mut self, event: Event) -> Result<(), DriverError> {
        match event {
            Event::Command(command) => self.handle_command(command),
            Event::Inbox(event) => self.handle_inbox(event)?,
            Event::Outbox(event) => self.handle_outbox(event)?,
            Event::Drain(reply) => self.drain(reply),
            Event::Stop => {}
        }
        Ok(())
    }

    /// How long the next turn may be waited for if nothing happens.
    pub fn wait(&self) -> Duration {
        if self.carry.is_under_way() {
            return Duration::ZERO;
        }
        let now = self.host.now();
        let timers = self.slots.values().filter_map(|slot| slot.peer.poll_timeout());
        let rests = now < self.rest_until;
        let membership = self.membership.as_ref().and_then(|membership| membership.wakes(self.publishing || rests));
        // While the outbox is busy its answer wakes the driver.
        let gathered = self.gather.due().filter(|_| !self.publishing && !rests);
        let next = timers
            .chain(membership)
            .chain(rests.then_some(self.rest_until))
            .chain(gathered)
            .chain(self.news.due())
            .chain(self.deadlines.next())
            .min()
            .map_or(EXPIRY_PERIOD, |due| due.since(now));
        next.min(if self.tight { space::LOOK_PERIOD } else { EXPIRY_PERIOD })
    }

    fn handle_timeouts(&mut self) -> Result<(), DriverError> {
        let now = self.host.now();
        for slot in self.slots.values_mut() {
            if slot.peer.poll_timeout().is_some_and(|due| due <= now) {
                slot.peer.handle_timeout(now);
            }
        }
        self.members_timeout();
        self.news_timeout(now);
        self.deadlines_timeout(now);
        if now >= self.expiry_due {
            self.expiry_due = now.after(EXPIRY_PERIOD);
            self.expire();
            self.feel_pressure(now);
            self.hush();
            self.forget_servers();
            self.forget_gone()?;
        }
        self.look_for_space(now);
        if now >= self.sweep_due {
            self.sweep_due = now.after(SWEEP_PERIOD);
            self.sweep();
        }
        Ok(())
    }

    /// Expects nothing more of peers that are silent for long while others are heard through the same folders: pods that were
    /// replaced. Each heartbeat is a file that nobody would take away.
    fn hush(&mut self) {
        let now = self.host.now();
        let silence = |slot: &Slot| slot.peer.status(now).last_heard_us_ago.map(Duration::from_micros);
        let alive = |slot: &Slot| silence(slot).is_some_and(|silence| silence <= self.settings.loss_timeout);
        if !self.slots.values().any(alive) {
            return;
        }
        let gone_after = self.settings.loss_timeout.saturating_mul(GONE_AFTER);
        let running = now.since(self.began);
        for slot in self.slots.values_mut() {
            if silence(slot).unwrap_or(running) > gone_after {
                slot.peer.expect_nothing(now);
            }
        }
    }

    /// Drains every output: persist, commit, events, packets, until nothing is left to do.
    fn settle(&mut self) -> Result<(), DriverError> {
        self.watch_space();
        self.carry_on()?;
        loop {
            self.persist_all()?;
            if !self.take_peer_events()? {
                break;
            }
        }
        self.transmit();
        self.answer_drained();
        if self.journal.needs_checkpoint() {
            self.checkpoint()?;
        }
        if self.live_anew()? { Err(DriverError::NewLife) } else { Ok(()) }
    }

    /// Appends what layer 1 wants durable and commits if anything waits for that.
    fn persist_all(&mut self) -> Result<(), DriverError> {
        for (peer, slot) in &mut self.slots {
            slot.append_persists(*peer, &mut self.journal)?;
        }
        if let Some(membership) = &mut self.membership {
            membership.append_persists(&mut self.journal)?;
        }
        self.journal.append_behind();
        if self.journal.commit_if_urgent()? {
            let now = self.host.now();
            for slot in self.slots.values_mut() {
                slot.confirm_persisted(now);
            }
            if let Some(membership) = &mut self.membership {
                membership.confirm_persisted();
            }
            self.journal.answer_durable();
            self.news.tell(&self.outlets.handle);
        }
        Ok(())
    }

    /// Gives the outbox the next packet, taking turns between peers.
    fn transmit(&mut self) {
        let now = self.host.now();
        if self.publishing || now < self.rest_until {
            return;
        }
        if let Some(job) = self.announcement() {
            self.publishing = self.outlets.outbox.send(OutboxJob::Publish(Box::new(job))).is_ok();
            return;
        }
        if self.gather.holds(now) || self.slots.is_empty() {
            return;
        }
        let turn = self.next_slot % self.slots.len();
        let order: Vec<EndpointId> =
            self.slots.keys().skip(turn).chain(self.slots.keys().take(turn)).copied().collect();
        for peer in order {
            let Some(slot) = self.slots.get_mut(&peer) else { continue };
            let Some(transmit) = slot.peer.poll_transmit(now) else { continue };
            self.packet_planned(peer, &transmit);
            let Some(slot) = self.slots.get(&peer) else { continue };
            let job =
                slot.publish_job(&self.settings.me, peer, self.life.incarnation, self.host.unix_ms_signed(), transmit);
            self.publishing = self.outlets.outbox.send(OutboxJob::Publish(Box::new(job))).is_ok();
            self.next_slot = self.next_slot.wrapping_add(1);
            return;
        }
        self.gather.all_left();
    }
}
