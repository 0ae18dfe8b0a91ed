//! What the driver asks of the machine it runs on: the time and randomness. Everything else reaches it as events.
//!
//! Invariant: nothing else in the driver reads a clock or makes random numbers, so a simulator that gives both replays a run
//! exactly. Monotonic time orders and ends waits; wall time is for people and for what leaves the engine.

use std::time::Instant;

use layer1_replication::Timestamp;

/// A machine.
pub trait Host: Send + Sync {
    /// Monotonic time since a moment of this start.
    fn now(&self) -> Timestamp;

    /// Unix time in milliseconds.
    fn unix_ms(&self) -> u64;

    /// Fills the buffer with randomness that nobody can guess.
    ///
    /// # Errors
    /// If the system gives none.
    fn fill_random(&self, buffer: &mut [u8]) -> Result<(), getrandom::Error>;

    /// Unix time in milliseconds, as layer 2 writes it.
    fn unix_ms_signed(&self) -> i64 {
        i64::try_from(self.unix_ms()).unwrap_or(i64::MAX)
    }
}

/// The machine that this program runs on.
#[derive(Clone, Copy, Debug)]
pub struct System {
    began: Instant,
}

impl System {
    /// Its time begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { began: Instant::now() }
    }
}

impl Host for System {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn unix_ms(&self) -> u64 {
        unix_ms()
    }

    fn fill_random(&self, buffer: &mut [u8]) -> Result<(), getrandom::Error> {
        getrandom::fill(buffer)
    }
}

/// Unix time in milliseconds.
pub fn unix_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
