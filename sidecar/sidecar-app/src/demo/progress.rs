//! What the run has come to so far: counters that every call moves and the picture reads.
//!
//! Invariant: numbers here are for people; the verdict never reads them. Test to read first:
//! `calls_in_flight_are_those_begun_and_not_ended`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Events that are kept to be shown.
const EVENTS_KEPT: usize = 6;

/// The shared counters of one run.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    begun: AtomicU64,
    ok: AtomicU64,
    unknown: AtomicU64,
    wrong: AtomicU64,
    repeated: AtomicU64,
    octets_up: AtomicU64,
    octets_down: AtomicU64,
    sides: [Side; 2],
    events: Mutex<Events>,
}

/// What was done to the engine of a side.
#[derive(Debug, Default)]
struct Side {
    kills: AtomicU64,
    down: AtomicBool,
}

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// The one that calls.
    Near,
    /// The one that executes.
    Far,
}

#[derive(Debug, Default)]
struct Events {
    kept: VecDeque<Event>,
    count: u64,
}

/// Something that happened once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Since the beginning of the run.
    pub(super) at: Duration,
    /// In words.
    pub(super) text: String,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Calls begun.
    pub(super) begun: u64,
    /// Calls with the right answer.
    pub(super) ok: u64,
    /// Calls whose outcome cannot be known.
    pub(super) unknown: u64,
    /// Calls with a wrong answer or none.
    pub(super) wrong: u64,
    /// Attempts after the first, over all calls.
    pub(super) repeated: u64,
    /// Octets of bodies sent.
    pub(super) octets_up: u64,
    /// Octets of bodies received.
    pub(super) octets_down: u64,
}

impl Tally {
    /// Calls that ended, however.
    pub(super) const fn ended(&self) -> u64 {
        self.ok + self.unknown + self.wrong
    }

    /// Calls begun and not ended.
    pub(super) const fn in_flight(&self) -> u64 {
        self.begun.saturating_sub(self.ended())
    }
}

/// How a call ended, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// With the right answer.
    Right,
    /// Nobody knows.
    Unknown,
    /// With a wrong answer, or none.
    Wrong,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            begun: AtomicU64::new(0),
            ok: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            octets_up: AtomicU64::new(0),
            octets_down: AtomicU64::new(0),
            sides: Default::default(),
            events: Mutex::new(Events::default()),
        }
    }
}

impl Progress {
    /// Time since the beginning of the run.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The same in whole milliseconds: the clock of attempts and kills.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A call begins.
    pub(super) fn call_begun(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// A call ended.
    pub(super) fn call_ended(&self, ending: Ending) {
        let counter = match ending {
            Ending::Right => &self.ok,
            Ending::Unknown => &self.unknown,
            Ending::Wrong => &self.wrong,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A call is tried once more.
    pub(super) fn call_repeated(&self) {
        self.repeated.fetch_add(1, Ordering::Relaxed);
    }

    fn side(&self, which: Which) -> &Side {
        let [near, far] = &self.sides;
        match which {
            Which::Near => near,
            Which::Far => far,
        }
    }

    /// An engine is killed.
    pub(super) fn killed(&self, which: Which) {
        self.side(which).kills.fetch_add(1, Ordering::Relaxed);
        self.side(which).down.store(true, Ordering::Relaxed);
    }

    /// An engine runs again.
    pub(super) fn back(&self, which: Which) {
        self.side(which).down.store(false, Ordering::Relaxed);
    }

    /// How often an engine was killed, and whether it is down.
    pub(super) fn fate(&self, which: Which) -> (u64, bool) {
        let side = self.side(which);
        (side.kills.load(Ordering::Relaxed), side.down.load(Ordering::Relaxed))
    }

    /// Octets of a body were sent.
    pub(super) fn sent(&self, octets: usize) {
        self.octets_up.fetch_add(octets as u64, Ordering::Relaxed);
    }

    /// Octets of a body were received.
    pub(super) fn received(&self, octets: usize) {
        self.octets_down.fetch_add(octets as u64, Ordering::Relaxed);
    }

    /// The counters right now.
    pub(super) fn tally(&self) -> Tally {
        // Endings are read before beginnings: a call is never seen ended and not begun.
        let (ok, unknown, wrong) =
            (self.ok.load(Ordering::Acquire), self.unknown.load(Ordering::Acquire), self.wrong.load(Ordering::Acquire));
        Tally {
            begun: self.begun.load(Ordering::Acquire),
            ok,
            unknown,
            wrong,
            repeated: self.repeated.load(Ordering::Relaxed),
            octets_up: self.octets_up.load(Ordering::Relaxed),
            octets_down: self.octets_down.load(Ordering::Relaxed),
        }
    }

    /// Something happened that people should see.
    pub(super) fn event(&self, text: impl Into<String>) {
        let event = Event { at: self.elapsed(), text: text.into() };
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.count += 1;
        events.kept.push_back(event);
        while events.kept.len() > EVENTS_KEPT {
            events.kept.pop_front();
        }
    }

    /// The last events, oldest first.
    pub(super) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).kept.iter().cloned().collect()
    }

    /// The events after the first `seen` ones that are still kept, and how many there were in all.
    pub(super) fn events_after(&self, seen: u64) -> (Vec<Event>, u64) {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = usize::try_from(events.count.saturating_sub(seen)).unwrap_or(usize::MAX);
        let skipped = events.kept.len().saturating_sub(wanted);
        (events.kept.iter().skip(skipped).cloned().collect(), events.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_in_flight_are_those_begun_and_not_ended() {
        let progress = Progress::default();
        for _ in 0..4 {
            progress.call_begun();
        }
        for ending in [Ending::Right, Ending::Unknown, Ending::Wrong] {
            progress.call_ended(ending);
        }
        let tally = progress.tally();
        assert_eq!((tally.begun, tally.ended(), tally.in_flight()), (4, 3, 1));
        assert_eq!((tally.ok, tally.unknown, tally.wrong), (1, 1, 1));
    }

    #[test]
    fn each_event_is_read_once_and_old_ones_go() {
        let progress = Progress::default();
        progress.event("one");
        let (events, seen) = progress.events_after(0);
        assert_eq!((events.len(), seen), (1, 1));
        assert_eq!(progress.events_after(seen), (Vec::new(), 1));
        for number in 0..10 {
            progress.event(format!("{number}"));
        }
        let (events, seen) = progress.events_after(1);
        assert_eq!((events.len(), seen), (EVENTS_KEPT, 11));
        assert_eq!(events[0].text, "4");
        assert_eq!(progress.events(), events);
    }
}
