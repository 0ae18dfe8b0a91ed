//! The two threads between the driver and the folders: the outbox builds packets, the inbox verifies what arrived.
//!
//! Invariants: the driver never waits for a folder (both sides are queues); the inbox never runs ahead of the driver by
//! more than [`FRAMES_AHEAD_MAX`] frames, so memory does not grow with what lies in the folder. Neither thread decides
//! anything: verdicts come from the driver. Test to read first: `tests/line`.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use disk::log::{LogReader, Position};
use layer0_pipe::{
    Alarm, Arrival, Closure, Counters, FileId, Inbox, Outbox, Pace, PacketFloor, PacketPlan, Payloads, PublishError,
    Published, Verdict,
};
use wire::control::Control;
use wire::header::Header;
use wire::record::{Record, RecordHeader};
use wire::{EndpointId, Incarnation, PacketNumber};

use crate::canary::Folder;
use crate::driver::Event;
use crate::entry;

/// Frames that may wait for the driver.
pub const FRAMES_AHEAD_MAX: usize = 16;
/// Hints do not make the inbox look more often than this.
const LOOK_PERIOD_MIN: Duration = Duration::from_millis(5);

/// What the driver asks of the outbox thread.
pub enum OutboxJob {
    /// Build and publish a packet.
    Publish(Box<PublishJob>),
    /// Remove everything for this endpoint.
    Forget(EndpointId),
    /// Remove what earlier starts and interrupted writes left.
    Sweep(Vec<PacketFloor>),
    /// Remove a packet that is not needed any more.
    Remove {
        /// Its recipient.
        recipient: EndpointId,
        /// My incarnation when it was sent.
        incarnation: Incarnation,
        /// Its number.
        pn: PacketNumber,
    },
}

/// A packet to build, with the places of its payloads.
pub struct PublishJob {
    /// The plan.
    pub plan: PacketPlan,
    /// Where each record's payload lies.
    pub places: BTreeMap<u64, Position>,
    /// Payloads of those that are not in the log: tombstones.
    pub given: BTreeMap<u64, Bytes>,
}

/// What the outbox thread says.
#[derive(Debug)]
pub enum OutboxEvent {
    /// A packet lies in the folder.
    Published {
        /// For whom.
        recipient: EndpointId,
        /// Its number.
        pn: PacketNumber,
        /// Its size.
        bytes: u64,
    },
    /// A packet could not be published.
    Failed {
        /// For whom.
        recipient: EndpointId,
        /// Its number.
        pn: PacketNumber,
        /// Why.
        error: PublishError,
    },
    /// No packet is wanted for so long: a budget is used up, or the folder failed. What was said before does not count any more.
    Rest(Duration),
}

/// What the driver asks of the inbox thread.
#[derive(Debug)]
pub enum InboxCommand {
    /// Everything usable of the file is durable.
    Done(FileId),
    /// Packets below this number are closed.
    Floor {
        /// The sender.
        sender: EndpointId,
        /// Its incarnation.
        incarnation: Incarnation,
        /// The number.
        floor: u64,
    },
    /// This sender is gone: what lies here of it is not wanted.
    Forget(EndpointId),
    /// Look now: something may have arrived.
    Wake,
    /// A peer's incarnation was confirmed: files that waited for that are looked at again.
    Confirmed,
    /// End.
    Stop,
}

/// What the inbox thread found.
#[derive(Debug)]
pub enum InboxEvent {
    /// A verified prefix; the inbox waits for the verdict.
    Packet {
        /// The file.
        file: FileId,
        /// Its header.
        header: Box<Header>,
        /// Its control block.
        control: Box<Control>,
        /// Where the verdict goes.
        verdict: SyncSender<Verdict>,
    },
    /// A verified frame.
    Frame {
        /// Who sent it.
        sender: EndpointId,
        /// In which life.
        incarnation: Incarnation,
        /// In which packet.
        pn: PacketNumber,
        /// What it carries.
        records: Vec<Record>,
        /// Given back when the driver took it.
        slot: GateSlot,
    },
    /// The file is closed.
    Closed {
        /// The file.
        file: FileId,
        /// Who sent it.
        sender: EndpointId,
        /// In which life.
        incarnation: Incarnation,
        /// Its number.
        pn: PacketNumber,
        /// How.
        closure: Closure,
    },
    /// Something a person must look at.
    Alarm(String),
    /// Two different packets of a sender under one number, both genuine.
    Forked {
        /// Who sent them.
        sender: EndpointId,
        /// In which life.
        incarnation: Incarnation,
        /// The same in words for a person.
        alarm: String,
    },
    /// The folder can be read again.
    Recovered,
    /// The counters after a scan that saw something.
    Counters(Box<Counters>),
}

impl PublishJob {
    /// The stored payload of one of its records.
    ///
    /// # Errors
    /// If the log cannot give it, or it is not the plan's.
    pub fn payload(&self, log: &LogReader, head: &RecordHeader) -> std::io::Result<Bytes> {
        if let Some(given) = self.given.get(&head.seq.get()) {
            return Ok(given.clone());
        }
        let place =
            self.places.get(&head.seq.get()).ok_or_else(|| std::io::Error::other("a record without a place"))?;
        let (kind, body) = log.read(*place).map_err(std::io::Error::other)?;
        entry::record_payload(kind, &body, head.stored_len)
            .ok_or_else(|| std::io::Error::other("a log entry that is not the record it should be"))
    }
}

/// Payloads of one packet, read from the log when their frame is built.
pub struct PlacedPayloads<'a> {
    /// The log.
    pub log: &'a LogReader,
    /// What is published.
    pub job: &'a PublishJob,
}

impl Payloads for PlacedPayloads<'_> {
    fn payload(&self, _recipient: EndpointId, head: &RecordHeader) -> std::io::Result<Bytes> {
        self.job.payload(self.log, head)
    }
}

/// How often the files in the outbox are counted while they are too many.
const RECOUNT_PERIOD: Duration = Duration::from_secs(5);

/// The outbox with what its thread keeps between two jobs.
struct OutboxDesk<'a> {
    outbox: Outbox,
    pace: Pace,
    folder: &'a Folder,
    counted: Option<Duration>,
}

/// Runs the outbox until its queue closes. `folder` knows whether it is still the one that was there at the start.
pub fn run_outbox(
    outbox: Outbox,
    pace: Pace,
    folder: &Folder,
    log: &LogReader,
    jobs: &Receiver<OutboxJob>,
    events: &Sender<Event>,
) {
    let began = Instant::now();
    let mut desk = OutboxDesk { outbox, pace, folder, counted: None };
    for job in jobs {
        let Some(event) = desk.do_job(log, began.elapsed(), job) else { continue };
        // Said first, so that no packet is planned in between.
        let rest = desk.rest(began.elapsed(), &event);
        let mut said = rest.into_iter().chain([event]).map(|event| events.send(Event::Outbox(event)).is_ok());
        if !said.all(|said| said) {
            return;
        }
    }
}

impl OutboxDesk<'_> {
    fn do_job(&self, log: &LogReader, now: Duration, job: OutboxJob) -> Option<OutboxEvent> {
        if let OutboxJob::Publish(job) = &job
            && let Err(error) = self.folder.is_mounted()
        {
            // Below an empty mount point a packet would be on the wrong disk, and hidden as soon as the volume is back.
            let (recipient, pn) = (job.plan.recipient, job.plan.pn);
            return Some(OutboxEvent::Failed { recipient, pn, error: PublishError::Io(error) });
        }
        if let OutboxJob::Remove { recipient, incarnation, pn } = job {
            if let Some(stayed) = remove(&self.outbox, recipient, incarnation, pn) {
                self.folder.packet_removed(stayed);
            }
            return None;
        }
        do_job(&self.outbox, log, now, job)
    }

    /// How long to rest after what was done; `None`: not at all.
    fn rest(&mut self, now: Duration, done: &OutboxEvent) -> Option<OutboxEvent> {
        let rest = match done {
            OutboxEvent::Published { bytes, .. } => {
                let mut held = self.outbox.held();
                let is_due = self.counted.is_none_or(|counted| now.saturating_sub(counted) >= RECOUNT_PERIOD);
                if self.pace.is_crowded(held) && is_due {
                    // Mirrors take files away without a word.
                    self.counted = Some(now);
                    held = self.outbox.recount().unwrap_or(held);
                }
                self.pace.published(now, *bytes, held)
            }
            OutboxEvent::Failed { error, .. } if error.is_of_the_folder() => {
                self.folder.suspect();
                self.pace.failed()
            }
            OutboxEvent::Failed { .. } | OutboxEvent::Rest(_) => Duration::ZERO,
        };
        (!rest.is_zero()).then_some(OutboxEvent::Rest(rest))
    }
}

/// Does one job of the outbox; `now` is monotonic time since its start. Says what became of a packet.
pub fn do_job(outbox: &Outbox, log: &LogReader, now: Duration, job: OutboxJob) -> Option<OutboxEvent> {
    match job {
        OutboxJob::Publish(job) => {
            let (recipient, pn) = (job.plan.recipient, job.plan.pn);
            let payloads = PlacedPayloads { log, job: &job };
            return Some(match outbox.publish(&job.plan, &payloads) {
                Ok(Published { bytes, .. }) => OutboxEvent::Published { recipient, pn, bytes },
                Err(error) => OutboxEvent::Failed { recipient, pn, error },
            });
        }
        OutboxJob::Sweep(floors) => match outbox.sweep(now, &floors) {
            Ok(report) if report.removed > 0 || report.leftovers > 0 => {
                tracing::info!(packets = report.removed, leftovers = report.leftovers, "outbox swept");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the outbox could not be swept; it is tried again"),
        },
        OutboxJob::Forget(recipient) => match outbox.forget(recipient) {
            Ok(report) => tracing::debug!(%recipient, packets = report.removed, "its packets were removed"),
            Err(error) => tracing::debug!(%recipient, %error, "its packets go by age: they could not be removed"),
        },
        OutboxJob::Remove { recipient, incarnation, pn } => {
            let _stayed = remove(outbox, recipient, incarnation, pn);
        }
    }
    None
}

/// Removes a packet; true if it was there, `None` if that could not be done.
fn remove(outbox: &Outbox, recipient: EndpointId, incarnation: Incarnation, pn: PacketNumber) -> Option<bool> {
    let removed = outbox.remove(recipient, incarnation, pn);
    if let Err(error) = &removed {
        tracing::debug!(%recipient, pn = pn.get(), %error, "a packet could not be removed from the outbox");
    }
    removed.ok()
}

/// Runs the inbox until it is told to stop or the driver is gone.
pub fn run_inbox(inbox: Inbox, commands: &Receiver<InboxCommand>, events: &Sender<Event>) {
    let began = Instant::now();
    let mut desk = InboxDesk::new(inbox);
    let (mut due, mut looked) = (began, began);
    loop {
        match commands.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
            Ok(first) => {
                let mut wake = false;
                for command in std::iter::once(first).chain(commands.try_iter()) {
                    match desk.obey(command) {
                        Obeyed::Stop => return,
                        Obeyed::Look => wake = true,
                        Obeyed::Done => {}
                    }
                }
                if wake {
                    due = due.min(looked + LOOK_PERIOD_MIN);
                }
                if Instant::now() < due {
                    continue;
                }
            }
        }
        looked = Instant::now();
        match desk.look(began.elapsed(), &mut |event| events.send(Event::Inbox(event)).is_ok()) {
            Some(next_after) => due = Instant::now() + next_after,
            None => return,
        }
    }
}

/// What a command asks of whoever runs the inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obeyed {
    /// Nothing more.
    Done,
    /// To look soon.
    Look,
    /// To end.
    Stop,
}

/// The inbox with what its thread keeps between two looks.
#[derive(Debug)]
pub struct InboxDesk {
    inbox: Inbox,
    gate: Gate,
    trouble: Option<String>,
    told: Counters,
}

impl InboxDesk {
    /// Nothing was looked at yet.
    #[must_use]
    pub fn new(inbox: Inbox) -> Self {
        Self { inbox, gate: Gate::new(FRAMES_AHEAD_MAX), trouble: None, told: Counters::default() }
    }

    /// Does what the driver asks.
    pub fn obey(&mut self, command: InboxCommand) -> Obeyed {
        match command {
            InboxCommand::Stop => return Obeyed::Stop,
            InboxCommand::Wake => return Obeyed::Look,
            InboxCommand::Confirmed => {
                self.inbox.retry_waiting();
                return Obeyed::Look;
            }
            InboxCommand::Done(file) => self.inbox.done(file),
            InboxCommand::Forget(sender) => self.inbox.forget_sender(sender),
            InboxCommand::Floor { sender, incarnation, floor } => self.inbox.set_floor(sender, incarnation, floor),
        }
        Obeyed::Done
    }

    /// Looks at the folder once; `now` is monotonic time since its start. `give` takes what was found to the driver and says
    /// whether that still runs. It waits for verdicts, and for the driver to take frames. Returns after how long to look
    /// again, or `None` when the driver is gone.
    pub fn look(&mut self, now: Duration, give: &mut dyn FnMut(InboxEvent) -> bool) -> Option<Duration> {
        let gate = &self.gate;
        let report = self.inbox.scan(now, &mut |arrival| forward(arrival, give, gate));
        if *self.inbox.counters() != self.told {
            self.told = self.inbox.counters().clone();
            if !give(InboxEvent::Counters(Box::new(self.told.clone()))) {
                return None;
            }
        }
        let error = report.error.map(|error| error.to_string());
        if error != self.trouble {
            give(match &error {
                Some(error) => InboxEvent::Alarm(format!("the inbox cannot be read: {error}; it is tried again")),
                None => InboxEvent::Recovered,
            });
            self.trouble = error;
        }
        Some(report.next_after)
    }
}

/// Hands an arrival to the driver. When the driver is gone the file is left for the next start.
fn forward(arrival: Arrival<'_>, give: &mut dyn FnMut(InboxEvent) -> bool, gate: &Gate) -> Verdict {
    let event = match arrival {
        Arrival::Packet { file, header, control } => {
            let (verdict, answer) = std::sync::mpsc::sync_channel(1);
            let event = InboxEvent::Packet {
                file,
                header: Box::new(header.clone()),
                control: Box::new(control.clone()),
                verdict,
            };
            give(event);
            return answer.recv().unwrap_or(Verdict::Wait);
        }
        Arrival::Frame { pn, sender, sender_incarnation, records, .. } => {
            InboxEvent::Frame { sender, incarnation: sender_incarnation, pn, records, slot: gate.enter() }
        }
        Arrival::Closed { file, sender, sender_incarnation, pn, closure, .. } => {
            InboxEvent::Closed { file, sender, incarnation: sender_incarnation, pn, closure }
        }
        Arrival::Alarm(Alarm::Forked { header, path }) => {
            let (sender, incarnation, pn) = (header.sender, header.sender_incarnation, header.pn.get());
            let alarm = format!("two packets numbered {pn} of endpoint {sender}: a clone of it is alive ({path})");
            InboxEvent::Forked { sender, incarnation, alarm }
        }
    };
    if give(event) { Verdict::Use } else { Verdict::Wait }
}

/// Bounds how many frames wait for the driver.
#[derive(Clone, Debug)]
struct Gate(Arc<(Mutex<usize>, Condvar)>);

impl Gate {
    fn new(slots: usize) -> Self {
        Self(Arc::new((Mutex::new(slots), Condvar::new())))
    }

    /// Waits for a free slot.
    fn enter(&self) -> GateSlot {
        let (free, changed) = &*self.0;
        let mut free = free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = changed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        GateSlot(self.clone())
    }
}

/// A place in the queue to the driver; dropping it lets another frame in.
#[derive(Debug)]
pub struct GateSlot(Gate);

impl Drop for GateSlot {
    fn drop(&mut self) {
        let (free, changed) = &*self.0.0;
        *free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        changed.notify_one();
    }
}

#[cfg(test)]
impl GateSlot {
    /// A place in a queue that is never full.
    pub(crate) fn of_test() -> Self {
        Gate::new(1).enter()
    }
}
