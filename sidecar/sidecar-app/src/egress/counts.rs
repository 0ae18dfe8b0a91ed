//! How executions ended, counted.
//!
//! Invariant: every execution that ends while the engine runs is counted once. Counters only grow and begin at 0 with the
//! process. Test to read first: `a_problem_is_counted_under_its_kind`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use layer2_http::problem::ProblemKind;

const KINDS: usize = ProblemKind::ALL.len();

/// How executions ended since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The upstream's whole response is in the log.
    pub answered: u64,
    /// The upstream's response began, and was cut short or too large.
    pub cut: u64,
    /// The caller did not want the response any more.
    pub cancelled: u64,
    /// Ended by this engine with a problem: those kinds that occurred.
    pub problems: Vec<(ProblemKind, u64)>,
    /// Access tokens that were got, and questions for one that failed.
    pub tokens: (u64, u64),
}

/// Access tokens that were got, and questions for one that failed.
#[derive(Debug, Default)]
pub(super) struct TokenCounters(AtomicU64, AtomicU64);

impl TokenCounters {
    pub(super) fn got(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> (u64, u64) {
        (self.0.load(Ordering::Relaxed), self.1.load(Ordering::Relaxed))
    }
}

/// The counters of an egress, which others may read.
#[derive(Debug)]
pub struct Counters {
    answered: AtomicU64,
    cut: AtomicU64,
    cancelled: AtomicU64,
    problems: [AtomicU64; KINDS],
    /// Shared by the sources of tokens.
    pub(super) tokens: Arc<TokenCounters>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            answered: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            problems: std::array::from_fn(|_| AtomicU64::new(0)),
            tokens: Arc::default(),
        }
    }
}

impl Counters {
    pub(super) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn cut(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn cancelled(&self) {
        self.cancelled.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn problem(&self, kind: ProblemKind) {
        let counters = ProblemKind::ALL.iter().zip(&self.problems);
        if let Some((_, counter)) = counters.into_iter().find(|(of, _)| **of == kind) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What they say now.
    #[must_use]
    pub fn read(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let problems = ProblemKind::ALL.iter().zip(&self.problems).map(|(kind, counter)| (*kind, load(counter)));
        Counts {
            answered: load(&self.answered),
            cut: load(&self.cut),
            cancelled: load(&self.cancelled),
            problems: problems.filter(|(_, count)| *count > 0).collect(),
            tokens: self.tokens.read(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_counted_under_its_kind() {
        let counters = Counters::default();
        counters.problem(ProblemKind::DnsError);
        counters.problem(ProblemKind::DnsError);
        counters.problem(ProblemKind::RouteDenied);
        counters.answered();
        let counts = counters.read();
        assert_eq!(counts.problems, vec![(ProblemKind::RouteDenied, 1), (ProblemKind::DnsError, 2)]);
        assert_eq!((counts.answered, counts.cut, counts.cancelled), (1, 0, 0));
    }
}
