//! Carries files across, step by step: reads the source, applies the fate, keeps the profile.
//!
//! Invariants: a step that fails leaves the source as it was and is made again; the source of a
//! moved file is removed only after its first copy arrived (or it was lost on purpose); at most
//! [`HELD_MAX`] files are kept open between steps. It decides nothing about a file's fate and
//! watches no folder. Read first: `tests.rs`.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::fate::{Fate, Growth, Shape, content_is_dropped};
use super::ledger::{Arrival, Ledger, Outcome};
use super::schedule::{Job, Schedule};
use super::transfer::{Source, Target, Trouble};
use super::{MirrorOptions, Profile, lock};

/// Steps that wait with an open source; each holds at most two files, well below the usual limit of 1,024.
const HELD_MAX: usize = 256;

/// How often a step may fail before the file is given up; a folder that is away or full does not count.
const ATTEMPTS_MAX: u32 = 20;

/// Time before a failed step is made again.
const RETRY: Duration = Duration::from_millis(250);

/// Time before a source that changed while it was read is read again.
const RETRY_CHANGED: Duration = Duration::from_millis(50);

/// What is to be done with a file next.
#[derive(Debug)]
pub(super) enum Step {
    /// Read the source and deliver its first copy, or begin to grow it.
    First,
    /// Add a piece to a growing file.
    Grow(Box<Growing>),
    /// Deliver the second copy.
    Again(Box<Held>),
    /// Delete the far copies.
    Delete,
}

/// A file that grows in place.
#[derive(Debug)]
pub(super) struct Growing {
    held: Held,
    copy: fs::File,
    shape: Shape,
    growth: Growth,
    done_steps: u64,
}

/// A source kept open between two steps, so that it can be read after it was removed.
#[derive(Debug)]
pub(super) struct Held {
    source: Source,
    _ticket: Ticket,
}

/// The right to keep files open between steps.
#[derive(Debug)]
struct Ticket(Arc<AtomicUsize>);

impl Ticket {
    fn take(held: &Arc<AtomicUsize>) -> Option<Self> {
        let more = |count| (count < HELD_MAX).then_some(count + 1);
        held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Self(Arc::clone(held)))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What follows a step.
enum Next {
    Done,
    After(Duration, Step),
}

/// One occurrence of a file on its way.
struct Trip<'a> {
    path: &'a Path,
    occurrence: u32,
    fate: Fate,
}

/// The work all copying threads share.
pub(super) struct Courier<'a> {
    options: &'a MirrorOptions,
    schedule: &'a Schedule,
    ledger: &'a Ledger,
    stop: &'a AtomicBool,
    target: Target,
    held: Arc<AtomicUsize>,
    released: Mutex<Vec<(Arc<Path>, u32)>>,
}

impl<'a> Courier<'a> {
    pub(super) fn new(
        options: &'a MirrorOptions,
        schedule: &'a Schedule,
        ledger: &'a Ledger,
        stop: &'a AtomicBool,
    ) -> Self {
        Self {
            options,
            schedule,
            ledger,
            stop,
            target: Target::new(&options.to),
            held: Arc::default(),
            released: Mutex::default(),
        }
    }

    /// Whether sources are kept open between steps.
    pub(super) fn holds_sources(&self) -> bool {
        self.held.load(Ordering::Relaxed) > 0
    }

    pub(super) fn sweep_old_temporaries(&self) {
        self.target.sweep_old_temporaries();
    }

    /// Sources the mirror has removed since the last call, with their occurrence.
    pub(super) fn take_released(&self) -> Vec<(Arc<Path>, u32)> {
        std::mem::take(&mut *lock(&self.released))
    }

    /// Does one job after the other until the mirror stops.
    pub(super) fn work(&self) {
        while let Some(job) = self.schedule.take(self.stop) {
            let (path, was_delete) = (Arc::clone(&job.path), matches!(job.step, Step::Delete));
            match self.carry(job) {
                Some((after, job)) => self.schedule.go_on(Instant::now() + after, job),
                None => self.schedule.end(&path, was_delete),
            }
        }
    }

    /// Makes one step; returns the job that follows it, if any.
    fn carry(&self, job: Job) -> Option<(Duration, Job)> {
        let Job { path, occurrence, attempts, step } = job;
        let fate = Fate::draw(&self.options.faults, self.options.seed, &path, occurrence);
        let trip = Trip { path: &path, occurrence, fate };
        // A growing file that met trouble starts anew; the other steps are made again as they are.
        let (made, same_again) = match step {
            Step::First => (self.first(&trip), Step::First),
            Step::Grow(growing) => (self.grow(&trip, growing), Step::First),
            Step::Again(mut held) => (self.again(&trip, &mut held.source).map(|()| Next::Done), Step::Again(held)),
            Step::Delete => (self.delete(&trip).map(|()| Next::Done), Step::Delete),
        };
        let (after, attempts, step) = match made {
            Ok(Next::Done) => return None,
            Ok(Next::After(after, step)) => (after, 0, step),
            Err(trouble) => {
                let (after, attempts) = self.bear(&trip, trouble, attempts, &same_again)?;
                (after, attempts, same_again)
            }
        };
        Some((after, Job { path, occurrence, attempts, step }))
    }

    /// When a step in trouble is made again, and how many attempts it has behind it; `None` gives up.
    fn bear(&self, trip: &Trip<'_>, trouble: Trouble, attempts: u32, step: &Step) -> Option<(Duration, u32)> {
        let error = match trouble {
            Trouble::Stopped => return Some((Duration::ZERO, attempts)),
            // The second copy of a source that is written to any longer is not worth waiting for.
            Trouble::Changed if matches!(step, Step::Again(_)) => return None,
            Trouble::Changed => {
                self.ledger.retried();
                return Some((RETRY_CHANGED, attempts));
            }
            Trouble::Io(error) => error,
        };
        self.ledger.retried();
        if self.is_outside_trouble(&error) {
            tracing::debug!(file = %trip.path.display(), %error, "a file waits for its folder");
            return Some((RETRY, attempts));
        }
        let attempts = attempts + 1;
        if attempts < ATTEMPTS_MAX {
            tracing::debug!(file = %trip.path.display(), %error, attempts, "a step failed; it is made again");
            return Some((RETRY, attempts));
        }
        tracing::warn!(file = %trip.path.display(), %error, attempts, "a file is given up; check the permissions of both folders");
        if matches!(step, Step::First) {
            self.ledger.gone(trip.path, Outcome::Failed, 0);
        }
        None
    }

    fn is_outside_trouble(&self, error: &io::Error) -> bool {
        matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
            || !self.options.from.is_dir()
            || !self.options.to.is_dir()
    }

    fn first(&self, trip: &Trip<'_>) -> Result<Next, Trouble> {
        let mut source = match Source::open(&self.options.from.join(trip.path)) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.options.from.is_dir() => {
                self.ledger.gone(trip.path, Outcome::Vanished, 0);
                return Ok(Next::Done);
            }
            opened => opened?,
        };
        if let Some(outcome) = self.never_arrives(trip, &mut source)? {
            self.ledger.gone(trip.path, outcome, source.len());
            self.release(trip);
            return Ok(Next::Done);
        }
        let shape = trip.fate.damage.shape(source.len(), self.options.faults.cut_above);
        if let Some(growth) = trip.fate.growth {
            let Some(ticket) = Ticket::take(&self.held) else {
                return Ok(Next::After(RETRY_CHANGED, Step::First));
            };
            let copy = self.target.create_in_place(&trip.fate.first_name(trip.path))?;
            if growth.preallocated {
                copy.set_len(shape.len)?;
            }
            let held = Held { source, _ticket: ticket };
            let growing = Growing { held, copy, shape, growth, done_steps: 0 };
            return Ok(Next::After(Duration::ZERO, Step::Grow(Box::new(growing))));
        }
        self.target.deliver(&mut source, shape, &trip.fate.first_name(trip.path), self.stop)?;
        self.finish_first(trip, source, shape, None)
    }

    fn never_arrives(&self, trip: &Trip<'_>, source: &mut Source) -> Result<Option<Outcome>, Trouble> {
        if trip.fate.lost {
            return Ok(Some(Outcome::Lost));
        }
        let faults = &self.options.faults;
        let dropped =
            faults.content_drop > 0.0 && content_is_dropped(faults, self.options.seed, source.content_hash(self.stop)?);
        Ok(dropped.then_some(Outcome::ContentDropped))
    }

    fn grow(&self, trip: &Trip<'_>, mut growing: Box<Growing>) -> Result<Next, Trouble> {
        let Growing { held, copy, shape, growth, done_steps } = &mut *growing;
        let end_of = |step: u64| share_of(shape.len, step, growth.steps);
        held.source.copy_range(copy, end_of(*done_steps)..end_of(*done_steps + 1), *shape, self.stop)?;
        *done_steps += 1;
        if *done_steps < growth.steps {
            return Ok(Next::After(growth.gap, Step::Grow(growing)));
        }
        held.source.check_unchanged()?;
        let Growing { held, shape, .. } = *growing;
        let Held { source, _ticket: ticket } = held;
        self.finish_first(trip, source, shape, Some(ticket))
    }

    /// The first copy has arrived: notes it, removes a moved source, and sees to the second copy.
    fn finish_first(
        &self,
        trip: &Trip<'_>,
        mut source: Source,
        shape: Shape,
        ticket: Option<Ticket>,
    ) -> Result<Next, Trouble> {
        let mut outcomes = damage(shape, source.len());
        outcomes.extend(trip.fate.growth.map(|_| Outcome::Slow));
        outcomes.extend(trip.fate.renamed.then_some(Outcome::Renamed));
        outcomes.extend(trip.fate.reordered.then_some(Outcome::Reordered));
        let name = trip.fate.first_name(trip.path);
        self.note(trip, &name, shape, source.len(), outcomes);
        self.release(trip);
        let Some(again) = &trip.fate.again else { return Ok(Next::Done) };
        match ticket.or_else(|| Ticket::take(&self.held)) {
            Some(ticket) => Ok(Next::After(again.after, Step::Again(Box::new(Held { source, _ticket: ticket })))),
            None => {
                // Too many files are open already, so the second copy comes at once.
                if let Err(trouble) = self.again(trip, &mut source) {
                    tracing::debug!(file = %trip.path.display(), ?trouble, "a second copy was not delivered");
                }
                Ok(Next::Done)
            }
        }
    }

    fn again(&self, trip: &Trip<'_>, source: &mut Source) -> Result<(), Trouble> {
        let (Some(again), Some(name)) = (&trip.fate.again, trip.fate.second_name(trip.path)) else { return Ok(()) };
        source.rewind()?;
        let shape = again.damage.shape(source.len(), self.options.faults.cut_above);
        self.target.deliver(source, shape, &name, self.stop)?;
        let mut outcomes = vec![Outcome::Duplicated];
        outcomes.extend(damage(shape, source.len()));
        outcomes.extend(again.renamed.then_some(Outcome::Renamed));
        self.note(trip, &name, shape, source.len(), outcomes);
        Ok(())
    }

    fn delete(&self, trip: &Trip<'_>) -> Result<(), Trouble> {
        let source = self.options.from.join(trip.path);
        if source.symlink_metadata().is_ok() {
            // It came back meanwhile, and has been delivered anew.
            return Ok(());
        }
        if !self.options.from.is_dir() {
            return Err(Trouble::Io(ErrorKind::NotFound.into()));
        }
        let first = trip.fate.first_name(trip.path);
        let second = trip.fate.second_name(trip.path).filter(|second| *second != first);
        for name in [Some(first), second].into_iter().flatten() {
            if self.target.remove(&name)? {
                self.ledger.deleted(trip.path, &name);
            }
        }
        self.target.prune_folders(trip.path, &self.options.from);
        Ok(())
    }

    /// Removes the source of a file that needs it no more, if the profile says so.
    fn release(&self, trip: &Trip<'_>) {
        if self.options.profile != Profile::Move {
            return;
        }
        match fs::remove_file(self.options.from.join(trip.path)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(file = %trip.path.display(), %error, "a moved file cannot be removed from the source; it stays there");
            }
            Ok(()) | Err(_) => lock(&self.released).push((Arc::from(trip.path), trip.occurrence)),
        }
    }

    fn note(&self, trip: &Trip<'_>, name: &Path, shape: Shape, len: u64, outcomes: Vec<Outcome>) {
        self.ledger.arrived(Arrival { path: trip.path, name, len, kept: shape.true_len, bytes: shape.len, outcomes });
    }
}

fn damage(shape: Shape, len: u64) -> Vec<Outcome> {
    let cut = (shape.len < len).then_some(Outcome::Cut);
    let zero_tail = (shape.true_len < shape.len).then_some(Outcome::ZeroTail);
    cut.into_iter().chain(zero_tail).collect()
}

/// `len · part / whole`, without overflow.
fn share_of(len: u64, part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(len) * u128::from(part) / u128::from(whole.max(1))).unwrap_or(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_files_are_held_open_than_the_limit() {
        let held = Arc::default();
        let mut tickets: Vec<_> = (0..HELD_MAX).map(|_| Ticket::take(&held).unwrap()).collect();
        assert!(Ticket::take(&held).is_none());
        tickets.pop();
        assert!(Ticket::take(&held).is_some());
    }

    #[test]
    fn pieces_of_a_growing_file_add_up_to_its_length() {
        assert_eq!(share_of(u64::MAX, 3, 3), u64::MAX);
        assert_eq!((share_of(10, 0, 3), share_of(10, 1, 3), share_of(10, 2, 3)), (0, 3, 6));
    }
}
