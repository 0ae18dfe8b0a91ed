//! Callbacks of calls begun here: who wants to hear of them, as the log knows it, and how far that was told.
//!
//! Invariants: the entry that names the URLs lies behind the operation's own and before its request's head; an operation is not
//! forgotten while a line of it is pending, or dead for less than a week. What was delivered is noted with the next commit: a crash before
//! it delivers once more. It sends nothing: `crate::callbacks` does. Test to read first: `callbacks/tests.rs`.

use layer2_http::callbacks::{CallbackEntry, Callbacks, Wanted};

use super::Driver;
use crate::callbacks::CallbackAsk;

/// The table with what was counted since the start.
#[derive(Debug, Default)]
pub(super) struct CallbackState {
    pub(super) table: Callbacks,
    pub(super) delivered: u64,
    pub(super) failed: u64,
    pub(super) given_up: u64,
}

impl Driver {
    /// Somebody wants to hear of an operation that has just begun.
    pub(super) fn want_callbacks(&mut self, wanted: &Wanted) {
        let entry = self.callbacks.table.want(wanted.clone());
        self.note_callback(&entry, true);
    }

    fn note_callback(&mut self, entry: &CallbackEntry, urgent: bool) {
        self.journal.note(entry.kind(), &entry.encode(), urgent);
    }

    pub(super) fn answer_callbacks(&mut self, ask: CallbackAsk) {
        match ask {
            CallbackAsk::Pending { reply } => drop(reply.send(self.callbacks.table.all_pending())),
            CallbackAsk::Letters { limit, reply } => drop(reply.send(self.callbacks.table.dead_letters(limit))),
            CallbackAsk::Failed => self.callbacks.failed += 1,
            CallbackAsk::Delivered { id, line, number, last } => {
                self.callbacks.delivered += 1;
                if let Some(entry) = self.callbacks.table.delivered(id, line, number, last) {
                    self.note_callback(&entry, last);
                }
            }
            CallbackAsk::Died(dead) => {
                if let Some(entry) = self.callbacks.table.died(dead) {
                    self.callbacks.given_up += 1;
                    self.note_callback(&entry, true);
                }
            }
            CallbackAsk::Revive { id, line, reply } => {
                let now_ms = self.host.unix_ms_signed();
                if let Some(entry) = self.callbacks.table.revive(id, line, now_ms) {
                    self.note_callback(&entry, true);
                    let _ = reply.send(self.callbacks.table.pending(id, line));
                } else {
                    let _ = reply.send(None);
                }
            }
            CallbackAsk::Drop { id, line, reply } => {
                let entry = self.callbacks.table.drop_dead(id, line);
                if let Some(entry) = &entry {
                    self.note_callback(entry, true);
                }
                let _ = reply.send(entry.is_some());
            }
        }
    }
}

#[cfg(test)]
mod tests;
