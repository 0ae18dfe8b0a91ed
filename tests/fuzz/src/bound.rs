//! How much memory a call may take: counted by the allocator of the program that links this crate.
//!
//! Invariant: one measurement at a time. What other threads allocate meanwhile is counted too, so the tests of a program that measures
//! take turns ([`alone`]), and every bound leaves [`SLACK_BYTES`] to the program's own threads.

use std::sync::{Mutex, MutexGuard, PoisonError};

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

static MEASURING: Mutex<()> = Mutex::new(());
static TURN: Mutex<()> = Mutex::new(());

/// What every bound allows besides.
const SLACK_BYTES: usize = 1 << 16;

/// The turn of one test: no other allocates until the guard is dropped.
pub fn alone() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `call` gives, if it never held more than `bytes_max` (and the slack) beyond what was held before.
pub(crate) fn within<T>(bytes_max: usize, call: impl FnOnce() -> T) -> T {
    let _alone = MEASURING.lock().unwrap_or_else(PoisonError::into_inner);
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let value = call();
    let took = ALLOCATOR.peak_usage().saturating_sub(before);
    assert!(took <= bytes_max + SLACK_BYTES, "{took} bytes were held at once, where {bytes_max} are the bound");
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_within_the_bound_is_fine() {
        let _turn = alone();
        assert_eq!(within(1 << 20, || vec![1_u8; 1 << 10].len()), 1 << 10);
    }

    #[test]
    #[should_panic(expected = "are the bound")]
    fn more_than_the_bound_at_once_fails_even_when_it_was_given_back() {
        let _turn = alone();
        within(1 << 20, || drop(std::hint::black_box(vec![1_u8; 1 << 23])));
    }
}
