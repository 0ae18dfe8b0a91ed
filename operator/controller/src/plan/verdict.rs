//! What is said of one condition, before it is compared with what was said last.
//!
//! Invariant: a verdict holds nothing that changes by itself (no ages, no counters), or the status would be written again
//! and again. Test to read first: `tests/turns.rs`.

use crd_types::{ConditionStatus, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Most bytes of a message.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// Status, reason and message of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) status: ConditionStatus,
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Verdict {
    pub(super) fn holds(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(ConditionStatus::True, reason, message.into())
    }

    pub(super) fn fails(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(ConditionStatus::False, reason, message.into())
    }

    pub(super) fn unknown(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(ConditionStatus::Unknown, reason, message.into())
    }

    fn new(status: ConditionStatus, reason: Reason, message: String) -> Self {
        Self { status, reason, message: clip(&message, MESSAGE_BYTES_MAX) }
    }

    /// What was written last.
    pub(super) fn of(condition: &Condition) -> Option<Self> {
        let all = [ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown];
        let status = all.into_iter().find(|status| status.as_str() == condition.status)?;
        let reason = Reason::ALL.iter().copied().find(|reason| reason.as_str() == condition.reason)?;
        Some(Self::new(status, reason, condition.message.clone()))
    }

    pub(super) fn is_true(&self) -> bool {
        self.status == ConditionStatus::True
    }
}

/// A text of at most `bytes_max` bytes, without control characters: parts of it come from outside.
pub(super) fn clip(text: &str, bytes_max: usize) -> String {
    let mut clipped = String::with_capacity(text.len().min(bytes_max));
    for c in text.trim().chars() {
        let c = if c.is_control() && c != '\n' { ' ' } else { c };
        if clipped.len() + c.len_utf8() > bytes_max {
            let room = bytes_max.saturating_sub('…'.len_utf8());
            while clipped.len() > room {
                clipped.pop();
            }
            if room > 0 {
                clipped.push('…');
            }
            break;
        }
        clipped.push(c);
    }
    clipped
}

#[cfg(test)]
mod tests {
    //! Texts from outside.
    use super::*;

    #[test]
    fn a_clipped_text_fits_and_says_that_it_was_clipped() {
        assert_eq!(clip("  a\tb\n", 10), "a b");
        assert_eq!(clip("äöü", 6), "äöü");
        assert_eq!(clip("äöüx", 6), "ä…");
        assert_eq!(clip("abc", 2), "");
        for bytes_max in 0..20 {
            assert!(clip("ein Straßenzug…", bytes_max).len() <= bytes_max);
        }
    }
}
