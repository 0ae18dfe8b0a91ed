//! How files leave the inbox's care: removed, left to their sender, or put aside as useless.
//!
//! Invariants: under profile sync nothing is ever removed; a file that comes back twice after it was removed is left to its
//! sender (somebody undoes our deletions, or copies it again), and removed again seldom, because a mirror that copies does not
//! take it along when the sender removes its own; junk is removed only if it lies in a folder of mine or names me, and only after
//! the largest packet lifetime; the list of useless files is bounded, and of the oldest only a mark is kept.
//! What this file does not do: decide which packets are finished. Specification: protocol §3 "Garbage collection".
//! Read first: `a_file_that_comes_back_twice_is_left_to_its_sender`.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use wire::Reject;

use super::Inbox;
use super::arrival::FileId;
use super::tracked::{Standing, State, Tracked, split};
use crate::limits::{LEFT_MIN, REAPPEARANCES_MAX, RECHECK_MAX, REMOVED_KEPT};

/// How often each path was removed, for the newest removals.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    times: BTreeMap<String, u8>,
    order: VecDeque<String>,
}

impl Removed {
    fn times(&self, path: &str) -> u8 {
        self.times.get(path).copied().unwrap_or(0)
    }

    fn note(&mut self, path: &str) {
        if let Some(times) = self.times.get_mut(path) {
            *times = times.saturating_add(1);
            return;
        }
        if self.order.len() >= REMOVED_KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.times.remove(&oldest);
        }
        self.times.insert(path.to_owned(), 1);
        self.order.push_back(path.to_owned());
    }
}

/// How long a file is left that came back so often: its sender usually has its acknowledgement by then.
fn left_for(times: u8) -> Duration {
    let doublings = u32::from(times.saturating_sub(REAPPEARANCES_MAX)).min(16);
    LEFT_MIN.saturating_mul(1 << doublings).min(RECHECK_MAX)
}

impl Inbox {
    /// Ends the work on a file (taken out of the tracked ones): it goes, or it stays and is never opened again. One that was
    /// left before goes.
    pub(crate) fn dispose(&mut self, id: FileId, mut tracked: Tracked, now: Duration) {
        let times = self.removed.times(&tracked.path);
        let deletes = self.options.profile.receiver_deletes();
        let is_left = matches!(tracked.state, State::Leaving);
        if !deletes || (times >= REAPPEARANCES_MAX && !is_left) {
            self.counters.reappeared += u64::from(times > 0);
            if deletes && self.files.may_leave() {
                tracked.state = State::Leaving;
                tracked.next_try = Some(now.saturating_add(left_for(times)));
                self.files.put(id, tracked);
            } else {
                self.spent.note_left(&tracked.path, now);
                self.forget(id, &tracked);
            }
            return;
        }
        match self.dir.remove_file(&tracked.path) {
            Ok(()) => {
                self.counters.removed += 1;
                self.counters.reappeared += u64::from(times > 0);
                self.progress += 1;
                self.removed.note(&tracked.path);
                self.forget(id, &tracked);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.forget(id, &tracked),
            Err(_) if !self.files.may_leave() => {
                self.counters.io_errors += 1;
                self.spent.note_left(&tracked.path, now);
                self.forget(id, &tracked);
            }
            Err(error) => {
                tracing::debug!(path = tracked.path, %error, "an inbox file could not be removed yet");
                self.counters.io_errors += 1;
                tracked.state = State::Leaving;
                tracked.back_off(now, RECHECK_MAX, None);
                self.files.put(id, tracked);
            }
        }
    }

    /// Ends the tracking of a file; a closed shard whose last one it was may go.
    fn forget(&mut self, id: FileId, tracked: &Tracked) {
        self.files.forget(id, tracked);
        let (folder, _) = split(&tracked.path);
        let deletes = self.options.profile.receiver_deletes();
        let empty = self.files.folders.get(folder).is_none_or(|folder| folder.files.is_empty());
        if deletes && empty && self.is_old_shard(folder) && self.discovery.emptied.back().is_none_or(|b| b != folder) {
            self.discovery.emptied.push_back(folder.to_owned());
        }
    }

    /// Puts a file aside that cannot be used. Counted when it gets there, not each time it is looked at again.
    pub(crate) fn quarantine(&mut self, id: FileId, mut tracked: Tracked, reject: Reject, now: Duration) {
        let was = match tracked.state {
            State::Quarantined { reject, .. } => Some(reject),
            _ => None,
        };
        let len = tracked.len.or(tracked.listed_len).unwrap_or(0);
        if was != Some(reject) {
            self.counters.count(reject);
            self.counters.quarantined += u64::from(was.is_none());
            tracing::debug!(path = tracked.path, reject = reject.name(), len, "a file cannot be used");
        }
        // Addressed to somebody else, it is somebody else's to remove.
        tracked.mine |= reject.check() > Reject::Recipient.check();
        // A pinned key may also get into its time.
        let recoverable = reject.waits() || reject == Reject::KeyUnknown;
        tracked.state = State::Quarantined { reject, recoverable };
        tracked.standing = Standing::Unknown; // whatever its place promised
        let expires = tracked.mine.then(|| tracked.first_seen.saturating_add(self.options.mpl));
        if expires.is_some_and(|at| at <= now) {
            return self.dispose(id, tracked, now);
        }
        if recoverable {
            tracked.back_off_recheck(now, self.quiet.time());
        } else {
            tracked.next_try = expires;
        }
        self.files.put(id, tracked);
        while self.files.quarantined() > self.options.quarantine_max.max(1) {
            let Some(oldest) = self.files.oldest_quarantined() else { break };
            if let Some(tracked) = self.files.take(oldest) {
                let len = tracked.len.or(tracked.listed_len).unwrap_or(0);
                self.spent.note_useless(&tracked.path, len, now);
                self.files.forget(oldest, &tracked);
                self.counters.overflowed += 1;
            }
        }
    }
}
