//! What every part of a probe shares: the time it has, whether it was told to end, and what it is doing.
//!
//! Invariant: nothing waits longer than [`Session::left`], and every wait ends soon after the end was asked for. A call of the
//! file system may still hang: who runs the probe watches [`Doing`] from another thread. Test to read first:
//! `a_wait_ends_when_it_is_told_to`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How soon a wait notices that the end was asked for.
const NOTICE: Duration = Duration::from_millis(20);

/// It was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub(super) struct Interrupted;

/// What a probe is doing, for whoever shows it.
#[derive(Clone, Debug, Default)]
pub(super) struct Doing(Arc<Mutex<Step>>);

/// A step of a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// What is done.
    pub(super) what: String,
    /// Since when; none before the first step.
    pub(super) since: Option<Instant>,
}

impl Doing {
    pub(super) fn now(&self) -> Step {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, what: &str) {
        let step = Step { what: what.to_owned(), since: Some(Instant::now()) };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }
}

/// The time a probe has, and whether it was told to end.
#[derive(Clone, Debug)]
pub(super) struct Session {
    began: Instant,
    timeout: Duration,
    stop: Arc<AtomicBool>,
    doing: Doing,
}

impl Session {
    pub(super) fn new(timeout: Duration, stop: Arc<AtomicBool>, doing: Doing) -> Self {
        Self { began: Instant::now(), timeout, stop, doing }
    }

    /// Says what is done from here on.
    pub(super) fn step(&self, what: &str) -> Result<(), Interrupted> {
        self.doing.set(what);
        self.check()
    }

    /// What is left of the time.
    pub(super) fn left(&self) -> Duration {
        self.timeout.saturating_sub(self.began.elapsed())
    }

    /// Was the end asked for?
    pub(super) fn check(&self) -> Result<(), Interrupted> {
        if self.stop.load(Ordering::Relaxed) { Err(Interrupted) } else { Ok(()) }
    }

    /// Waits.
    pub(super) fn wait(&self, time: Duration) -> Result<(), Interrupted> {
        let until = Instant::now() + time;
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(NOTICE));
        }
    }
}

#[cfg(test)]
mod tests {
    //! The session by itself.
    use super::*;

    #[test]
    fn a_wait_ends_when_it_is_told_to() {
        let stop = Arc::new(AtomicBool::new(false));
        let session = Session::new(Duration::from_secs(3_600), Arc::clone(&stop), Doing::default());
        assert_eq!(session.wait(Duration::ZERO), Ok(()));
        let waiting = std::thread::spawn(move || session.wait(Duration::from_secs(3_600)));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(waiting.join().unwrap(), Err(Interrupted));
    }

    #[test]
    fn what_is_done_can_be_seen_from_elsewhere() {
        let doing = Doing::default();
        assert_eq!(doing.now(), Step::default());
        let session = Session::new(Duration::ZERO, Arc::default(), doing.clone());
        session.step("listing").unwrap();
        assert_eq!(doing.now().what, "listing");
        assert_eq!(session.left(), Duration::ZERO);
    }
}
