//! The mirror's main loop: looks at the source, puts files under way, keeps outages and the summary.
//!
//! Invariants: during an outage, and while one of the two folders is away, nothing is taken up and
//! nothing is handed to the copying threads; a folder that is away is never mistaken for an empty
//! one, and nothing of it is kept open. It copies nothing itself. Read first: `tests.rs`, `during_an_outage_nothing_arrives`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::courier::{Courier, Step};
use super::fate::Fate;
use super::ledger::Ledger;
use super::scan::{Event, Scanner};
use super::schedule::{Job, PENDING_MAX, Schedule};
use super::{MirrorOptions, Profile};

/// The longest sleep, so that stopping, outages and the summary are not late.
const TICK_MAX: Duration = Duration::from_millis(20);

/// Time between two summary files.
const SUMMARY_EVERY: Duration = Duration::from_secs(1);

/// The state of the main loop.
pub(super) struct Watch<'a> {
    options: &'a MirrorOptions,
    schedule: &'a Schedule,
    ledger: &'a Ledger,
    courier: &'a Courier<'a>,
    scanner: Scanner,
    started: Instant,
    outage: Option<u128>,
    away: Option<&'a Path>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        options: &'a MirrorOptions,
        schedule: &'a Schedule,
        ledger: &'a Ledger,
        courier: &'a Courier<'a>,
    ) -> Self {
        let settle = Duration::from_millis(options.settle_ms);
        Self {
            options,
            schedule,
            ledger,
            courier,
            scanner: Scanner::new(&options.from, options.pick_up_temporary, settle),
            started: Instant::now(),
            outage: None,
            away: None,
        }
    }

    pub(super) fn run_until(mut self, stop: &AtomicBool) {
        let poll = Duration::from_millis(self.options.poll_ms.max(1));
        let mut look_at = self.started;
        let mut summary_at = self.started;
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let held = self.is_out(now) | self.is_away();
            self.schedule.hold(held);
            // An open file keeps a file system that failed from being unmounted and repaired.
            if self.away == Some(&self.options.from) && self.courier.holds_sources() {
                self.schedule.let_go();
            }
            if !held && now >= look_at {
                self.look(now);
                // A look that takes long must not take all the time there is.
                look_at = Instant::now() + poll.max(now.elapsed());
            }
            if now >= summary_at {
                self.ledger.write_summary(self.schedule.pending());
                summary_at = now + SUMMARY_EVERY;
            }
            let next = if held { now + TICK_MAX } else { look_at };
            thread::sleep(next.saturating_duration_since(Instant::now()).min(TICK_MAX));
        }
    }

    /// Whether an outage goes on; notes the beginning of one.
    fn is_out(&mut self, now: Instant) -> bool {
        let Some(every) = self.options.faults.outage_every_ms else { return false };
        let elapsed_ms = now.duration_since(self.started).as_millis();
        let (number, within) = (elapsed_ms / u128::from(every), elapsed_ms % u128::from(every));
        if number == 0 || within >= u128::from(self.options.faults.outage_ms) {
            return false;
        }
        if self.outage.replace(number) != Some(number) {
            self.ledger.outage(self.options.faults.outage_ms);
        }
        true
    }

    /// Whether one of the folders cannot be reached; says so once, and once more when it is back.
    fn is_away(&mut self) -> bool {
        let away = [&self.options.from, &self.options.to]
            .into_iter()
            .map(AsRef::as_ref)
            .find(|folder: &&Path| !folder.is_dir());
        match (self.away, away) {
            (None, Some(folder)) => {
                tracing::warn!(folder = %folder.display(), "a folder of the mirror is gone; waiting until it is back");
            }
            (Some(folder), None) => tracing::info!(folder = %folder.display(), "the folder of the mirror is back"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        self.away = away;
        away.is_some()
    }

    fn look(&mut self, now: Instant) {
        for (path, occurrence) in self.courier.take_released() {
            self.scanner.release(&path, occurrence);
        }
        let room = PENDING_MAX.saturating_sub(self.schedule.pending());
        let events = match self.scanner.look(now, room) {
            Ok(events) => events,
            Err(error) => {
                tracing::debug!(folder = %self.options.from.display(), %error, "the folder cannot be listed; it is tried again");
                return;
            }
        };
        // Counted before any of them can arrive, so a summary never shows more delivered than seen.
        self.ledger.saw(events.iter().filter(|event| matches!(event, Event::New(..))).count() as u64);
        for event in events {
            match event {
                Event::New(path, occurrence) => {
                    let due = now + self.fate(&path, occurrence).delay;
                    self.begin(due, path, occurrence, Step::First);
                }
                Event::Gone(path, occurrence) if self.options.profile == Profile::Sync => {
                    let due = now + self.fate(&path, occurrence).delete_delay;
                    self.begin(due, path, occurrence, Step::Delete);
                }
                Event::Gone(..) => {}
            }
        }
    }

    fn fate(&self, path: &Path, occurrence: u32) -> Fate {
        Fate::draw(&self.options.faults, self.options.seed, path, occurrence)
    }

    fn begin(&self, due: Instant, path: Arc<Path>, occurrence: u32, step: Step) {
        self.schedule.begin(due, Job { path, occurrence, attempts: 0, step });
    }
}
