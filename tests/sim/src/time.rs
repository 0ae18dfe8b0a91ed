//! Simulated time: one clock for all, a host for each start of an engine, and sleeps for tasks.
//!
//! Invariants: time moves only when the world says so; a host's monotonic time begins with its engine's start and never
//! jumps, its wall time may. Nothing here reads a real clock.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use layer1_replication::Timestamp;
use sidecar_app::driver::Host;

use crate::rng::Rng;

/// One second in microseconds.
pub const SEC: u64 = 1_000_000;
/// Unix time in milliseconds when the simulation begins.
pub const EPOCH_MS: u64 = 1_800_000_000_000;

/// What a lock guards is whole whatever happened: the simulator has one thread per world.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The world's time in microseconds, and who sleeps until when.
#[derive(Clone, Default)]
pub struct Clock {
    now_us: Arc<AtomicU64>,
    sleepers: Arc<Mutex<Sleepers>>,
}

#[derive(Default)]
struct Sleepers {
    due: BTreeMap<(u64, u64), Waker>,
    next: u64,
}

impl Clock {
    /// The present.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now_us.load(Ordering::Relaxed)
    }

    /// Moves on; never back.
    pub fn set(&self, now_us: u64) {
        self.now_us.store(now_us.max(self.now()), Ordering::Relaxed);
    }

    /// When the next sleeper wakes.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        lock(&self.sleepers).due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Wakes whoever is due.
    pub fn wake_due(&self) {
        let now = self.now();
        loop {
            let mut sleepers = lock(&self.sleepers);
            let Some(first) = sleepers.due.first_entry().filter(|entry| entry.key().0 <= now) else { return };
            let waker = first.remove();
            drop(sleepers);
            waker.wake();
        }
    }

    /// Sleeps so many microseconds.
    #[must_use]
    pub fn sleep(&self, us: u64) -> Sleep {
        Sleep { clock: self.clone(), due: self.now() + us }
    }
}

/// A sleep.
pub struct Sleep {
    clock: Clock,
    due: u64,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.clock.now() >= self.due {
            return Poll::Ready(());
        }
        let mut sleepers = lock(&self.clock.sleepers);
        let tie = sleepers.next;
        sleepers.next += 1;
        sleepers.due.insert((self.due, tie), context.waker().clone());
        Poll::Pending
    }
}

/// The machine of one start of an engine.
pub struct SimHost {
    clock: Clock,
    began: u64,
    /// What the machine's wall clock is off, in milliseconds.
    wall_off_ms: Arc<AtomicI64>,
    rng: Mutex<Rng>,
}

impl SimHost {
    /// A machine whose monotonic time begins now.
    #[must_use]
    pub fn new(clock: Clock, wall_off_ms: Arc<AtomicI64>, rng: Rng) -> Self {
        Self { began: clock.now(), clock, wall_off_ms, rng: Mutex::new(rng) }
    }

    /// Microseconds since the start.
    #[must_use]
    pub fn since_start(&self) -> u64 {
        self.clock.now() - self.began
    }

    /// The world's time of a moment of this start.
    #[must_use]
    pub fn world_time(&self, since_start_us: u64) -> u64 {
        self.began.saturating_add(since_start_us)
    }
}

impl Host for SimHost {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.since_start())
    }

    fn unix_ms(&self) -> u64 {
        (EPOCH_MS + self.clock.now() / 1_000).saturating_add_signed(self.wall_off_ms.load(Ordering::Relaxed))
    }

    fn fill_random(&self, buffer: &mut [u8]) -> Result<(), getrandom::Error> {
        lock(&self.rng).fill(buffer);
        Ok(())
    }
}
