//! The way of each operation: which states it reached, when, and what is told of that (`event`).
//!
//! Invariants: marks are in the order of their numbers; one that a restart gives back has the number it was told with. The
//! whole way of an operation that ended is kept for the newest [`MAX_ENDED_WAYS`] only, so that the table stays small. Test to
//! read first: `near::tests::whoever_kept_a_number_gets_what_came_after_it`.

use super::{NearEntry, Operation, Operations};
use crate::event::{MAX_ENDED_WAYS, MAX_MARKS, Mark, OperationEvent, next_number};
use crate::operation::{OperationId, OperationView, State};
use crate::report::OperationReport;

impl Operations {
    /// The number that an event at `at_ms` gets, or has already.
    pub(super) fn number(&mut self, given: Option<u64>, at_ms: i64) -> u64 {
        let number = given.unwrap_or_else(|| next_number(self.last_number, at_ms));
        self.last_number = self.last_number.max(number);
        number
    }

    /// What is to be told of an entry that was just made, if anything is.
    #[must_use]
    pub fn event(&self, entry: &NearEntry) -> Option<OperationEvent> {
        let number = match entry {
            NearEntry::Begun(begun) => begun.number?,
            NearEntry::State(reached) => reached.number?,
            NearEntry::Forgotten { .. } | NearEntry::Moved { .. } | NearEntry::CancelAsked { .. } => return None,
        };
        let operation = self.operations.get(&entry.id())?;
        operation.way.iter().rev().find(|mark| mark.number == number).map(|mark| told(operation, mark))
    }

    /// What happened to an operation after the event `after` (0: from the beginning). `None` if the operation is not known.
    #[must_use]
    pub fn events_since(&self, id: OperationId, after: u64) -> Option<Vec<OperationEvent>> {
        let operation = self.operations.get(&id)?;
        Some(operation.way.iter().filter(|mark| mark.number > after).map(|mark| told(operation, mark)).collect())
    }

    /// What happened to all operations after the event `after`: the newest `limit` events, in their order.
    #[must_use]
    pub fn all_events_since(&self, after: u64, limit: usize) -> Vec<OperationEvent> {
        let mut marks: Vec<(u64, &Operation, &Mark)> = Vec::new();
        for operation in self.operations.values() {
            let later = operation.way.iter().filter(|mark| mark.number > after);
            marks.extend(later.map(|mark| (mark.number, operation, mark)));
        }
        marks.sort_unstable_by_key(|(number, ..)| *number);
        let from = marks.len().saturating_sub(limit);
        marks.drain(..from);
        marks.into_iter().map(|(_, operation, mark)| told(operation, mark)).collect()
    }

    /// The newest `limit` operations in one of these states, newest first; in any state if none is named.
    #[must_use]
    pub fn select(&self, states: &[State], limit: usize) -> Vec<OperationView> {
        let all = self.by_begin.iter().rev().filter_map(|(_, id)| self.operations.get(id));
        let wanted = all.filter(|operation| states.is_empty() || states.contains(&operation.state));
        wanted.take(limit).map(super::view).collect()
    }

    /// Everything about one operation.
    #[must_use]
    pub fn report(&self, id: OperationId) -> Option<OperationReport> {
        let operation = self.operations.get(&id)?;
        let history = operation.way.iter().map(|mark| told(operation, mark)).collect();
        let (view, deadline_ms) = (super::view(operation), operation.begun.deadline_ms);
        Some(OperationReport::new(view, deadline_ms, self.is_cancel_asked(id), history))
    }

    /// Operations that have not ended and have a deadline: Unix ms.
    pub fn deadlines(&self) -> impl Iterator<Item = (OperationId, i64)> {
        self.open().filter_map(|(begun, _)| Some((begun.id, begun.deadline_ms?)))
    }

    /// Its caller wants it no more. `None` if it is unknown, has ended, or that was said before.
    pub fn ask_cancel(&mut self, id: OperationId) -> Option<NearEntry> {
        let known = self.operations.get(&id)?;
        if known.state.is_terminal() || known.cancel_asked {
            return None;
        }
        let entry = NearEntry::CancelAsked { id };
        self.replay(&entry);
        Some(entry)
    }

    /// Does its caller want it no more, while it is not known yet how far it came?
    #[must_use]
    pub fn is_cancel_asked(&self, id: OperationId) -> bool {
        self.operations.get(&id).is_some_and(|operation| operation.cancel_asked && !operation.state.is_terminal())
    }

    /// An operation ended: its way counts among those that are kept whole, and the oldest of them is cut.
    pub(super) fn way_ended(&mut self, id: OperationId) {
        self.ended_ways.push_back(id);
        if self.ended_ways.len() <= MAX_ENDED_WAYS {
            return;
        }
        let oldest = self.ended_ways.pop_front().and_then(|id| self.operations.get_mut(&id));
        if let Some(operation) = oldest.filter(|operation| operation.state.is_terminal() && operation.way.len() > 2) {
            operation.way.drain(1..operation.way.len() - 1);
            operation.way.shrink_to_fit();
        }
    }
}

impl Operation {
    /// Takes the mark of a state; a checkpoint gives the whole way instead.
    pub(super) fn goes_on(&mut self, mark: Mark, way: Option<&Vec<Mark>>) {
        match way {
            Some(way) => self.way = way.iter().take(MAX_MARKS).copied().collect(),
            None if self.way.len() < MAX_MARKS => self.way.push(mark),
            None => {
                // Only a far side that lost its state again and again comes here: how it began and ended matters most.
                self.way.pop();
                self.way.push(mark);
            }
        }
    }
}

fn told(operation: &Operation, mark: &Mark) -> OperationEvent {
    OperationEvent::of(operation.begun.id, mark).with_outcome(
        operation.status,
        operation.executed,
        operation.problem.as_deref(),
    )
}
