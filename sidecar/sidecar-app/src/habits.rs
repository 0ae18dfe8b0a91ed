//! What a mirror does with files, against what `mirror.profile` says that it does.
//!
//! An engine sees by itself whether a packet still lies in its outbox when it is no longer needed, and whether what it removed from its
//! inbox comes back. Where that contradicts the configured profile, a person is told which one fits; nothing is changed, because which
//! side deletes is an agreement of both. Invariants: single files prove nothing, since people and scanners take some: only what is seen
//! so often in a row counts; a folder that cannot be used says nothing. Test to read first: `what_is_always_so_is_a_habit`.

use std::sync::{Mutex, PoisonError};

use sidecar_config::Profile;

/// Packets in a row that did the same.
const IN_A_ROW: u32 = 16;
/// Files that came back.
const CAME_BACK: u64 = 16;

/// How a mirror treats the outbox.
#[derive(Debug)]
pub struct Habits {
    profile: Profile,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// What the last packet did: it lay there still.
    stayed: bool,
    times: u32,
    said: Option<&'static str>,
}

impl Habits {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self { profile, seen: Mutex::default() }
    }

    /// A packet is not needed any more: it was removed, or was not there.
    pub fn removed(&self, stayed: bool) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.times = if seen.stayed == stayed { seen.times.saturating_add(1) } else { 1 };
        seen.stayed = stayed;
        let advice = self.judge(&seen);
        if advice.is_some() && advice != seen.said {
            tracing::warn!(profile = ?self.profile, advice, "the mirror does not do what mirror.profile says");
            seen.said = advice;
        }
    }

    /// What speaks against the profile, and which one fits.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        self.judge(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn judge(&self, seen: &Seen) -> Option<&'static str> {
        if seen.times < IN_A_ROW {
            return None;
        }
        match (self.profile, seen.stayed) {
            (Profile::Move, true) => Some(
                "packets still lie here when they are no longer needed, so the mirror does not move them: set mirror.profile to Copy, \
                 or to Sync if it carries deletions",
            ),
            (Profile::Copy, false) => Some(
                "packets vanish before they are removed: set mirror.profile to Move if the mirror takes them away, or to Sync if it \
                 carries the reader's deletions back",
            ),
            (Profile::Sync, false) => Some(
                "packets vanish before they are removed, so the mirror takes them away, and with Sync nobody removes what arrives: set \
                 mirror.profile to Move on both sides",
            ),
            (Profile::Move, false) | (Profile::Copy | Profile::Sync, true) => None,
        }
    }
}

/// What speaks against the profile in the inbox, where so many removed files came back.
#[must_use]
pub const fn advice_for_inbox(came_back: u64) -> Option<&'static str> {
    if came_back < CAME_BACK {
        return None;
    }
    Some(
        "files that were removed here come back: let the mirror carry deletions and set mirror.profile to Sync on both sides, or let it \
         take files away and set Move",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_always_so_is_a_habit() {
        for (profile, stayed, word) in [
            (Profile::Move, true, Some("Copy")),
            (Profile::Copy, false, Some("Move")),
            (Profile::Sync, false, Some("Move")),
            (Profile::Move, false, None),
            (Profile::Copy, true, None),
            (Profile::Sync, true, None),
        ] {
            let habits = Habits::new(profile);
            for _ in 1..IN_A_ROW {
                habits.removed(stayed);
                assert_eq!(habits.advice(), None, "{profile:?}");
            }
            habits.removed(stayed);
            assert_eq!(habits.advice().is_some(), word.is_some(), "{profile:?}");
            assert!(word.is_none_or(|word| habits.advice().unwrap().contains(word)), "{profile:?}");
            // One that did otherwise begins the count anew.
            habits.removed(!stayed);
            assert_eq!(habits.advice(), None, "{profile:?}");
        }
        assert!(advice_for_inbox(CAME_BACK - 1).is_none() && advice_for_inbox(CAME_BACK).is_some());
    }
}
