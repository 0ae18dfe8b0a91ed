//! When the time of a call is over, as a side knows it whose clock is not the caller's.
//!
//! The wire carries the deadline by the sender's clock, and no two clocks agree. What is measured is an interval: by how much my
//! clock is ahead of the sender's, at least and at most (layer 1's `offset`). So the deadline, by my clock, lies between
//! `deadline + at least` and `deadline + at most`: before that interval the time is surely not over, behind it it surely is, and
//! within it nobody can tell. Invariants: what is not measured counts as anything; sums that overflow count as far away; nothing
//! here reads a clock. Test to read first: `within_the_interval_nobody_can_tell`.

use crate::operation::Executed;
use crate::problem::{Problem, ProblemKind};

/// Is the time of a call over?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Surely not.
    InTime,
    /// It may be.
    Uncertain,
    /// Surely.
    Over,
}

/// Is the deadline of a call (Unix ms by the sender's clock) over at `now_ms` of my clock? `ahead_ms` says by how much my clock is
/// ahead of the sender's: at least, at most; `None` if that was not measured.
#[must_use]
pub fn judge(deadline_ms: i64, now_ms: i64, ahead_ms: Option<(i64, i64)>) -> Verdict {
    let Some((least, most)) = ahead_ms.filter(|(least, most)| least <= most) else { return Verdict::Uncertain };
    if now_ms < deadline_ms.saturating_add(least) {
        Verdict::InTime
    } else if now_ms >= deadline_ms.saturating_add(most) {
        Verdict::Over
    } else {
        Verdict::Uncertain
    }
}

/// May a call be made? One that is `repeatable` may while it is uncertain whether its time is over: made too late, it does no harm.
/// Any other must not: its caller may have given up and done something else instead.
#[must_use]
pub const fn may_run(verdict: Verdict, repeatable: bool) -> bool {
    match verdict {
        Verdict::InTime => true,
        Verdict::Uncertain => repeatable,
        Verdict::Over => false,
    }
}

/// What the caller is told of a call that was not made.
#[must_use]
pub fn problem(verdict: Verdict) -> Problem {
    let detail = match verdict {
        Verdict::Over => "the deadline passed before the call was made",
        Verdict::Uncertain | Verdict::InTime => {
            "the deadline may have passed before the call was made: the clocks of both sides are known to agree only within \
             more than was left of it, and the call may not be repeated"
        }
    };
    Problem::new(ProblemKind::Expired, detail).executed(Executed::No)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn within_the_interval_nobody_can_tell() {
        // My clock is 100 to 300 ms ahead, so a deadline of 1,000 is between 1,100 and 1,300 by it.
        let at = |now_ms| judge(1_000, now_ms, Some((100, 300)));
        assert_eq!(at(1_099), Verdict::InTime);
        assert_eq!(at(1_100), Verdict::Uncertain);
        assert_eq!(at(1_299), Verdict::Uncertain);
        assert_eq!(at(1_300), Verdict::Over);
    }

    #[test]
    fn a_clock_that_is_behind_moves_the_deadline_back() {
        assert_eq!(judge(1_000, 0, Some((-5_000, -4_000))), Verdict::Over);
        assert_eq!(judge(10_000, 0, Some((-5_000, -4_000))), Verdict::InTime);
    }

    #[test]
    fn what_was_not_measured_may_be_anything() {
        assert_eq!(judge(1_000, 0, None), Verdict::Uncertain);
        assert_eq!(judge(1_000, i64::MAX, None), Verdict::Uncertain);
        assert_eq!(judge(1_000, 0, Some((5, -5))), Verdict::Uncertain, "an interval that contradicts itself");
    }

    #[test]
    fn while_it_is_uncertain_only_what_is_repeatable_runs() {
        for (verdict, repeatable, runs) in [
            (Verdict::InTime, false, true),
            (Verdict::InTime, true, true),
            (Verdict::Uncertain, false, false),
            (Verdict::Uncertain, true, true),
            (Verdict::Over, false, false),
            (Verdict::Over, true, false),
        ] {
            assert_eq!(may_run(verdict, repeatable), runs, "{verdict:?}");
        }
        assert_eq!(problem(Verdict::Over).status, 504);
        assert_eq!(problem(Verdict::Uncertain).executed, Some(Executed::No));
    }

    proptest! {
        /// Whatever the true offset within the interval is, a sure verdict is right.
        #[test]
        fn a_sure_verdict_is_right(
            deadline in -1_000_000_i64..1_000_000,
            theirs in -1_000_000_i64..1_000_000,
            ahead in -1_000_000_i64..1_000_000,
            below in 0_i64..10_000,
            above in 0_i64..10_000,
        ) {
            let over = theirs >= deadline;
            match judge(deadline, theirs + ahead, Some((ahead - below, ahead + above))) {
                Verdict::InTime => prop_assert!(!over),
                Verdict::Over => prop_assert!(over),
                Verdict::Uncertain => prop_assert!((theirs - deadline).abs() <= below.max(above)),
            }
        }

        #[test]
        fn nothing_overflows(deadline: i64, now: i64, least: i64, most: i64) {
            let _ = judge(deadline, now, Some((least, most)));
        }
    }
}
