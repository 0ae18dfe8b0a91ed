//! What is under way: jobs ordered by the time they are due, handed to the copying threads.
//!
//! Invariants: jobs due at the same time leave in the order they came; all steps of one occurrence
//! form a chain of which one step exists at a time; a deletion waits until no chain of its path is
//! left, so it never precedes a copy it should delete. It does not touch files.
//! Read first: the tests at the end.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};
use std::path::Path;
use std::sync::atomic::{self, AtomicBool};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::courier::Step;
use super::lock;

/// The most files under way at a time; more wait in the source folder.
pub(super) const PENDING_MAX: usize = 65_536;

/// How long a thread sleeps at most before it looks whether it should stop.
const WAIT_MAX: Duration = Duration::from_millis(25);

/// How long a deletion waits before it looks again whether its path is free.
const DELETE_RETRY: Duration = Duration::from_millis(20);

/// One step of carrying one occurrence of a file.
#[derive(Debug)]
pub(super) struct Job {
    /// The file, relative to the watched folder.
    pub(super) path: Arc<Path>,
    /// How often the path was seen before.
    pub(super) occurrence: u32,
    /// How often this step failed so far.
    pub(super) attempts: u32,
    /// What is to be done.
    pub(super) step: Step,
}

impl Job {
    const fn is_delete(&self) -> bool {
        matches!(self.step, Step::Delete)
    }
}

/// The queue of all jobs, shared by all threads.
pub(super) struct Schedule {
    queue: Mutex<Queue>,
    wake: Condvar,
}

struct Queue {
    heap: BinaryHeap<Reverse<Timed>>,
    next_order: u64,
    held: bool,
    chains: BTreeMap<Arc<Path>, u32>,
    open: usize,
}

struct Timed {
    due: Instant,
    order: u64,
    job: Job,
}

impl Schedule {
    pub(super) const fn new() -> Self {
        let queue = Queue { heap: BinaryHeap::new(), next_order: 0, held: false, chains: BTreeMap::new(), open: 0 };
        Self { queue: Mutex::new(queue), wake: Condvar::new() }
    }

    /// Adds the first step of a chain, or a deletion.
    pub(super) fn begin(&self, due: Instant, job: Job) {
        let mut queue = lock(&self.queue);
        queue.open += 1;
        if !job.is_delete() {
            *queue.chains.entry(Arc::clone(&job.path)).or_insert(0) += 1;
        }
        queue.push(due, job);
        drop(queue);
        self.wake.notify_one();
    }

    /// Waits for the next job that is due; `None` once `stop` is set. Every job must be given back by [`Self::end`] or [`Self::go_on`].
    pub(super) fn take(&self, stop: &AtomicBool) -> Option<Job> {
        let mut queue = lock(&self.queue);
        loop {
            if stop.load(atomic::Ordering::Relaxed) {
                return None;
            }
            let now = Instant::now();
            let mut wait = WAIT_MAX;
            if !queue.held {
                match queue.pop_due(now) {
                    Ok(job) => return Some(job),
                    Err(Some(due)) => wait = wait.min(due.saturating_duration_since(now)),
                    Err(None) => {}
                }
            }
            queue = self.wake.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The next step of a chain (or the same once more).
    pub(super) fn go_on(&self, due: Instant, job: Job) {
        lock(&self.queue).push(due, job);
        self.wake.notify_one();
    }

    /// The last step of the chain (or the deletion) of `path` is done.
    pub(super) fn end(&self, path: &Arc<Path>, was_delete: bool) {
        let mut queue = lock(&self.queue);
        queue.open = queue.open.saturating_sub(1);
        if !was_delete && let Some(count) = queue.chains.get_mut(path) {
            *count -= 1;
            if *count == 0 {
                queue.chains.remove(path);
            }
        }
    }

    /// While held, no job is handed out: an outage, or a folder that is away.
    pub(super) fn hold(&self, held: bool) {
        let was_held = std::mem::replace(&mut lock(&self.queue).held, held);
        if was_held && !held {
            self.wake.notify_all();
        }
    }

    /// Closes the sources that waiting steps keep open: growing files begin anew, second copies are not made.
    pub(super) fn let_go(&self) {
        let mut queue = lock(&self.queue);
        let (mut kept, mut ended) = (BinaryHeap::with_capacity(queue.heap.len()), Vec::new());
        for Reverse(mut timed) in queue.heap.drain() {
            match timed.job.step {
                Step::Again(_) => {
                    ended.push(timed.job.path);
                    continue;
                }
                Step::Grow(_) => timed.job.step = Step::First,
                Step::First | Step::Delete => {}
            }
            kept.push(Reverse(timed));
        }
        queue.heap = kept;
        drop(queue);
        ended.iter().for_each(|path| self.end(path, false));
    }

    /// Files under way.
    pub(super) fn pending(&self) -> usize {
        lock(&self.queue).open
    }
}

impl Queue {
    fn push(&mut self, due: Instant, job: Job) {
        let order = self.next_order;
        self.next_order += 1;
        self.heap.push(Reverse(Timed { due, order, job }));
    }

    /// The next job, or when to ask again.
    fn pop_due(&mut self, now: Instant) -> Result<Job, Option<Instant>> {
        loop {
            match self.heap.peek() {
                None => return Err(None),
                Some(Reverse(first)) if first.due > now => return Err(Some(first.due)),
                Some(_) => {}
            }
            let Some(Reverse(Timed { job, .. })) = self.heap.pop() else { return Err(None) };
            if job.is_delete() && self.chains.contains_key(&job.path) {
                self.push(now + DELETE_RETRY, job);
                continue;
            }
            return Ok(job);
        }
    }
}

impl Ord for Timed {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Timed {}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(path: &str, step: Step) -> Job {
        Job { path: Arc::from(Path::new(path)), occurrence: 0, attempts: 0, step }
    }

    #[test]
    fn jobs_leave_by_due_time_then_by_arrival() {
        let schedule = Schedule::new();
        let now = Instant::now();
        for (offset, name) in [(3, "late"), (1, "a"), (1, "b"), (0, "first")] {
            schedule.begin(now + Duration::from_millis(offset), job(name, Step::First));
        }
        let go = AtomicBool::new(false);
        for name in ["first", "a", "b", "late"] {
            assert_eq!(&*schedule.take(&go).unwrap().path, Path::new(name));
        }
        assert_eq!(schedule.pending(), 4);
    }

    #[test]
    fn a_deletion_waits_for_the_copies_of_its_path() {
        let schedule = Schedule::new();
        let now = Instant::now();
        let go = AtomicBool::new(false);
        schedule.begin(now, job("x", Step::First));
        schedule.begin(now, job("x", Step::Delete));
        let first = schedule.take(&go).unwrap();
        assert!(lock(&schedule.queue).pop_due(Instant::now()).is_err());
        schedule.go_on(now + Duration::from_millis(30), first);
        let first = schedule.take(&go).unwrap();
        assert!(!first.is_delete());
        schedule.end(&first.path, false);
        assert!(schedule.take(&go).unwrap().is_delete());
    }

    #[test]
    fn nothing_leaves_while_held_and_stop_ends_the_wait() {
        let schedule = Schedule::new();
        schedule.hold(true);
        schedule.begin(Instant::now(), job("x", Step::First));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let taker = scope.spawn(|| schedule.take(&stop));
            std::thread::sleep(Duration::from_millis(60));
            assert!(!taker.is_finished());
            stop.store(true, atomic::Ordering::Relaxed);
            assert!(taker.join().unwrap().is_none());
        });
        schedule.hold(false);
        assert!(schedule.take(&AtomicBool::new(false)).is_some());
    }
}
