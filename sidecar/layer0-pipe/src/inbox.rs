//! The inbox: finds packet files, waits for those that grow, verifies them, and hands over what they hold.
//!
//! Invariants: nothing of a packet counts before its whole prefix verified, no frame before its digest did; a file
//! that fails changes nothing. Files are opened, read and closed within one scan, never through links. Work per scan,
//! memory and the list of useless files are bounded; neither a sender's flood nor whatever else somebody puts into the
//! folder stops the others. A file is removed
//! only by the rules of the mirror's profile, and never before the driver said that its content is durable.
//! What this file does not do: judge associations, acknowledgements or credit, sleep, or keep anything over a restart:
//! a new start sees the files that are still there again.
//! Specification: wire format §11, protocol §1, §3 "Garbage collection", §6.
//! Read first: `every_suite_and_shape_goes_round` in the tests.

mod arrival;
mod counters;
mod crawl;
mod discovery;
mod due;
mod frames;
mod known;
mod listing;
mod local;
mod numbers;
mod options;
mod packet;
mod prefix;
mod quiet;
mod removal;
mod spent;
mod tracked;
mod work;

#[cfg(test)]
mod tests;

pub use arrival::{Alarm, Arrival, Closure, FileId, Verdict};
pub use counters::{CUT_POSITIONS, Counters};
pub use local::Local;
pub use options::{InboxOptions, Profile};

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use disk::dir::Dir;
use wire::{EndpointId, Incarnation, Reject};

use crate::poll::Pace;
use known::Discovery;
use numbers::Memory;
use quiet::Quiet;
use removal::Removed;
use spent::Spent;
use tracked::{Files, Standing, State};

/// Where arrivals go. The answer matters for [`Arrival::Packet`] only.
pub type Sink<'a> = dyn FnMut(Arrival<'_>) -> Verdict + 'a;

/// What a scan asked of the file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScanCost {
    /// Folders listed, a page of a large one counted as one.
    pub folders_listed: u64,
    /// Names of all kinds that the listings gave.
    pub names_listed: u64,
    /// Files opened, or tried.
    pub files_opened: u64,
    /// Bytes read from files.
    pub bytes_read: u64,
}

/// What a scan did.
#[derive(Debug)]
pub struct ScanReport {
    /// When to scan again, unless a hint (inotify) says that something came up before.
    pub next_after: Duration,
    /// Whether anything was found, handed over or removed, or is left to do at once.
    pub progressed: bool,
    /// Why the root could not be listed, if so: the folder is gone or its mount is dead.
    pub error: Option<io::Error>,
    /// What it cost.
    pub cost: ScanCost,
}

/// Reads the packets of one folder that are addressed to this engine.
pub struct Inbox {
    dir: Arc<dyn Dir>,
    locals: Vec<Local>,
    options: InboxOptions,
    files: Files,
    memory: Memory,
    quiet: Quiet,
    discovery: Discovery,
    removed: Removed,
    spent: Spent,
    counters: Counters,
    cost: ScanCost,
    pace: Pace,
    /// Raised by everything that happens; a scan compares it with its value before.
    progress: u64,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("locals", &self.locals).field("options", &self.options).finish_non_exhaustive()
    }
}

impl Inbox {
    /// An inbox over `dir` for these peerings.
    #[must_use]
    pub fn new(dir: Arc<dyn Dir>, locals: Vec<Local>, options: InboxOptions) -> Self {
        let predict = options.predict.unwrap_or_else(|| dir.is_network());
        Self {
            discovery: Discovery::new(predict),
            quiet: Quiet::new(options.quiet_min, options.quiet_max),
            pace: Pace::new(options.poll_min, options.poll_max),
            dir,
            locals,
            options,
            files: Files::default(),
            memory: Memory::default(),
            removed: Removed::default(),
            spent: Spent::default(),
            cost: ScanCost::default(),
            counters: Counters::default(),
            progress: 0,
        }
    }

    /// Looks at the folder once: finds files, and works on those that are due, within the budgets of the options.
    /// `now` is monotonic time since the start of the process and must not go back. Blocks while reading.
    pub fn scan(&mut self, now: Duration, sink: &mut Sink<'_>) -> ScanReport {
        let (before, read_before) = (self.progress, self.counters.bytes_read);
        self.cost = ScanCost::default();
        let error = self.discover(now).err();
        self.predict(now);
        self.work(now, sink);
        let progressed = self.progress != before;
        // What is due of files that cannot all be remembered waits for the next look.
        let hurries = |of: &Standing| *of == Standing::Good || !self.spent.overflows(now);
        let due = Standing::ALL.into_iter().filter(hurries).filter_map(|of| self.files.next_due(of)).min();
        let due = due.map(|at| at.saturating_sub(now));
        self.cost.bytes_read = self.counters.bytes_read - read_before;
        ScanReport { next_after: self.pace.after_scan(progressed, due), progressed, error, cost: self.cost }
    }

    /// The driver's word that everything usable of a closed file is durable: it is removed, or under profile
    /// sync left for its sender to remove. A partial file stays until its number is below the floor: more of it may
    /// still come. Unknown ids, and files that are not closed, are left alone.
    pub fn done(&mut self, file: FileId) {
        let finished = self
            .files
            .get(file)
            .is_some_and(|tracked| matches!(tracked.state, State::Closed { recoverable: false, .. }));
        if finished && let Some(tracked) = self.files.take(file) {
            let now = tracked.changed_at;
            self.dispose(file, tracked, now);
        }
    }

    /// Packet numbers of this sender's life below `floor` are closed: their files go, and no copy of them is opened
    /// again. `u64::MAX` closes a life for good: one packet a minute of it is still shown, to be answered, until one is wanted
    /// after all. A floor never sinks. Presence has no floor.
    pub fn set_floor(&mut self, sender: EndpointId, sender_incarnation: Incarnation, floor: u64) {
        self.memory.set_floor(sender, sender_incarnation, floor);
        for recipient in self.locals.iter().map(|local| local.endpoint) {
            self.discovery.floor(recipient, sender, sender_incarnation);
        }
        let below = self.files.below(sender, sender_incarnation, floor);
        for id in below {
            if let Some(tracked) = self.files.take(id) {
                let now = tracked.changed_at;
                self.dispose(id, tracked, now);
            }
        }
    }

    /// The driver's word that this sender is gone and what it sent is not wanted: its verified files go. Numbers already
    /// seen stay known while there is room, and later files are shown as ever.
    pub fn forget_sender(&mut self, sender: EndpointId) {
        let theirs = self.files.of_sender(sender);
        for id in theirs {
            if let Some(tracked) = self.files.take(id) {
                let now = tracked.changed_at;
                self.dispose(id, tracked, now);
            }
        }
    }

    /// Shows every packet whose verdict was [`Verdict::Wait`] again at the next scan: an association was confirmed.
    pub fn retry_waiting(&mut self) {
        for id in self.files.ids() {
            if self.files.get(id).is_some_and(|tracked| matches!(tracked.state, State::Waiting(_))) {
                self.files.update(id, |tracked| tracked.next_try = Some(Duration::ZERO));
            }
        }
    }

    /// Replaces the peerings and their keys. Files that were put aside are looked at again.
    pub fn set_locals(&mut self, locals: Vec<Local>) {
        self.locals = locals;
        for id in self.files.ids() {
            self.files.update(id, |tracked| {
                let given_up = |reject: Reject| reject != Reject::NotRegular && reject != Reject::Forked;
                if matches!(tracked.state, State::Quarantined { reject, .. } if given_up(reject)) {
                    tracked.state = State::Fresh;
                    tracked.next_try = Some(Duration::ZERO);
                }
            });
        }
    }

    /// What was counted since the inbox was made.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The present quiet time: how long a file must not change before it counts as final.
    #[must_use]
    pub const fn quiet_time(&self) -> Duration {
        self.quiet.time()
    }

    /// Files kept in mind: in work, and put aside as useless.
    #[must_use]
    pub fn tracked(&self) -> (usize, usize) {
        (self.files.count_in_work(), self.files.quarantined())
    }

    fn unix_ms(&self, now: Duration) -> i64 {
        let since = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        self.options.unix_ms_at_zero.saturating_add(since)
    }
}
