//! Callbacks of the near side: who wants to hear of an operation, how far that was told, and what could not be.
//!
//! An operation has two lines at most: its *result* (one delivery) and its *events* (one after the other, by their numbers). A line is
//! pending until its last delivery arrived, or dead: after the last attempt, or when its receiver said that it is gone. Contract: every
//! verb gives an entry for the log; `replay` them in log order. Whoever delivers may repeat what was delivered after the last durable
//! entry: deliveries arrive at least once. Invariants: a line that is over stays over; nothing outlives its operation (`forget`), and an
//! operation is not to be forgotten while [`Callbacks::holds`] it. It sends nothing and knows no clock. Test to read first:
//! `a_line_is_pending_until_its_last_delivery`.

mod entry;

pub use entry::{CallbackEntry, Dead, Delivered, Revived, Wanted};

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use serde::Serialize;

use crate::cloudevent::without_query;
use crate::operation::OperationId;

/// How long a dead letter is kept, with its operation: a week.
pub const DEAD_TTL_MS: i64 = 7 * 86_400_000;

/// One of the two lines of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Line {
    /// The result, once.
    #[n(0)]
    Result,
    /// Status events, in order.
    #[n(1)]
    Events,
}

impl Line {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Result, Self::Events];

    /// The word for names and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Result => "result",
            Self::Events => "events",
        }
    }
}

/// What is still to be delivered by a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The operation.
    pub operation: OperationId,
    /// Which line.
    pub line: Line,
    /// Where to.
    pub url: String,
    /// Everything up to this event was delivered; 0 for nothing.
    pub delivered: u64,
    /// Time counts from here on, if that is later than the event: somebody asked for another try. Unix ms.
    pub since_ms: i64,
}

/// A line whose deliveries were given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    /// Its name: operation and line.
    pub id: String,
    /// The operation.
    pub operation: OperationId,
    /// Which line.
    pub line: Line,
    /// Where to, without its query.
    pub url: String,
    /// The event that was not delivered; of a result, the one that ended the operation.
    pub number: u64,
    /// When it was given up: Unix ms.
    pub at_ms: i64,
    /// Attempts made.
    pub attempts: u32,
    /// Why the last one failed.
    pub reason: String,
}

/// The name of a dead letter, read back.
#[must_use]
pub fn parse_letter(name: &str) -> Option<(OperationId, Line)> {
    let (id, line) = name.split_at_checked(36)?;
    let line = Line::ALL.into_iter().find(|known| line.strip_prefix('-') == Some(known.name()))?;
    Some((OperationId::parse(id).ok()?, line))
}

#[derive(Clone, Debug, Default)]
struct Standing {
    delivered: u64,
    over: bool,
    since_ms: i64,
    dead: Option<Dead>,
}

#[derive(Clone, Debug)]
struct Followed {
    wanted: Wanted,
    lines: [Standing; 2],
}

impl Followed {
    fn url(&self, line: Line) -> Option<&str> {
        match line {
            Line::Result => self.wanted.callback.as_deref(),
            Line::Events => self.wanted.events.as_deref(),
        }
    }

    fn standing(&self, line: Line) -> &Standing {
        &self.lines[line as usize]
    }

    fn is_pending(&self, line: Line) -> bool {
        let standing = self.standing(line);
        self.url(line).is_some() && !standing.over && standing.dead.is_none()
    }
}

/// All operations that somebody wants to hear of.
#[derive(Clone, Debug, Default)]
pub struct Callbacks {
    followed: BTreeMap<OperationId, Followed>,
}

impl Callbacks {
    /// Somebody wants to hear of an operation that begins.
    pub fn want(&mut self, wanted: Wanted) -> CallbackEntry {
        self.noted(CallbackEntry::Wanted(wanted))
    }

    /// Everything up to this event was delivered; `last` if nothing more will come. `None` if the line is not pending.
    pub fn delivered(&mut self, id: OperationId, line: Line, number: u64, last: bool) -> Option<CallbackEntry> {
        self.followed.get(&id).filter(|followed| followed.is_pending(line))?;
        Some(self.noted(CallbackEntry::Delivered(Delivered { id, line, number, last })))
    }

    /// A line is given up. `None` if it is not pending.
    pub fn died(&mut self, dead: Dead) -> Option<CallbackEntry> {
        self.followed.get(&dead.id).filter(|followed| followed.is_pending(dead.line))?;
        Some(self.noted(CallbackEntry::Dead(dead)))
    }

    /// A dead line is to be tried again, from `at_ms` on. `None` if it is not dead.
    pub fn revive(&mut self, id: OperationId, line: Line, at_ms: i64) -> Option<CallbackEntry> {
        self.dead(id, line)?;
        Some(self.noted(CallbackEntry::Revived(Revived { id, line, at_ms })))
    }

    /// A dead line is not wanted any more. `None` if it is not dead.
    pub fn drop_dead(&mut self, id: OperationId, line: Line) -> Option<CallbackEntry> {
        let number = self.dead(id, line)?.number;
        Some(self.noted(CallbackEntry::Delivered(Delivered { id, line, number, last: true })))
    }

    fn dead(&self, id: OperationId, line: Line) -> Option<&Dead> {
        self.followed.get(&id)?.standing(line).dead.as_ref()
    }

    /// The operation is not known any more.
    pub fn forget(&mut self, id: OperationId) {
        self.followed.remove(&id);
    }

    /// Is something of this operation still to be delivered, or was it given up not long ago?
    #[must_use]
    pub fn holds(&self, id: OperationId, now_ms: i64) -> bool {
        let fresh = |dead: &Dead| now_ms.saturating_sub(dead.at_ms) < DEAD_TTL_MS;
        self.followed.get(&id).is_some_and(|followed| {
            Line::ALL
                .into_iter()
                .any(|line| followed.is_pending(line) || followed.standing(line).dead.as_ref().is_some_and(fresh))
        })
    }

    /// What is still to be delivered by this line, if it is pending.
    #[must_use]
    pub fn pending(&self, id: OperationId, line: Line) -> Option<Pending> {
        let followed = self.followed.get(&id).filter(|followed| followed.is_pending(line))?;
        let standing = followed.standing(line);
        let (url, delivered) = (followed.url(line)?.to_owned(), standing.delivered);
        Some(Pending { operation: id, line, url, delivered, since_ms: standing.since_ms })
    }

    /// All pending lines.
    #[must_use]
    pub fn all_pending(&self) -> Vec<Pending> {
        let lines = self.followed.keys().flat_map(|id| Line::ALL.map(|line| (*id, line)));
        lines.filter_map(|(id, line)| self.pending(id, line)).collect()
    }

    /// At most `limit` dead letters, the latest first.
    #[must_use]
    pub fn dead_letters(&self, limit: usize) -> Vec<DeadLetter> {
        let lines = self.followed.values().flat_map(|followed| Line::ALL.map(|line| (followed, line)));
        let mut letters: Vec<_> = lines.filter_map(|(followed, line)| letter(followed, line)).collect();
        letters.sort_by(|a, b| (b.at_ms, &b.id).cmp(&(a.at_ms, &a.id)));
        letters.truncate(limit);
        letters
    }

    /// How many lines are pending, and how many dead.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let lines = self.followed.values().flat_map(|followed| Line::ALL.map(|line| (followed, line)));
        lines.fold((0, 0), |(pending, dead), (followed, line)| {
            (pending + u64::from(followed.is_pending(line)), dead + u64::from(followed.standing(line).dead.is_some()))
        })
    }

    /// Entries that recreate this table.
    #[must_use]
    pub fn checkpoint(&self) -> Vec<CallbackEntry> {
        let mut entries = Vec::new();
        for (id, followed) in &self.followed {
            entries.push(CallbackEntry::Wanted(followed.wanted.clone()));
            for line in Line::ALL {
                let Standing { delivered, over, since_ms, dead } = followed.standing(line).clone();
                if delivered > 0 || over {
                    entries.push(CallbackEntry::Delivered(Delivered { id: *id, line, number: delivered, last: over }));
                }
                if since_ms > 0 {
                    entries.push(CallbackEntry::Revived(Revived { id: *id, line, at_ms: since_ms }));
                }
                entries.extend(dead.map(CallbackEntry::Dead));
            }
        }
        entries
    }

    fn noted(&mut self, entry: CallbackEntry) -> CallbackEntry {
        self.replay(&entry);
        entry
    }

    /// Takes an entry of the log, after a restart. One about an operation that is not known changes nothing.
    pub fn replay(&mut self, entry: &CallbackEntry) {
        if let CallbackEntry::Wanted(wanted) = entry {
            let followed = Followed { wanted: wanted.clone(), lines: Default::default() };
            self.followed.insert(wanted.id, followed);
            return;
        }
        let Some(followed) = self.followed.get_mut(&entry.id()) else { return };
        match entry {
            CallbackEntry::Wanted(_) => {}
            CallbackEntry::Delivered(Delivered { line, number, last, .. }) => {
                let standing = &mut followed.lines[*line as usize];
                standing.delivered = standing.delivered.max(*number);
                standing.over |= *last;
                standing.dead = None;
            }
            CallbackEntry::Dead(dead) => followed.lines[dead.line as usize].dead = Some(dead.clone()),
            CallbackEntry::Revived(Revived { line, at_ms, .. }) => {
                let standing = &mut followed.lines[*line as usize];
                (standing.dead, standing.since_ms) = (None, *at_ms);
            }
        }
    }
}

fn letter(followed: &Followed, line: Line) -> Option<DeadLetter> {
    let Dead { id, number, at_ms, reason, attempts, .. } = followed.standing(line).dead.clone()?;
    let url = without_query(followed.url(line)?).to_owned();
    Some(DeadLetter { id: format!("{id}-{}", line.name()), operation: id, line, url, number, at_ms, attempts, reason })
}

#[cfg(test)]
mod tests;
