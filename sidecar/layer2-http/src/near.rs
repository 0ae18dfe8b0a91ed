//! The near side's table of operations: what callers may ask about (http semantics: polling is the base).
//!
//! Contract: every `begin`, `on_*`, `move_to` and `expire` gives entries that must be appended to the log in order;
//! what they say may be told to callers once those of them that are `urgent` are durable. After a restart, `replay`
//! them in log order. Invariants: a state only advances; an operation never has two entries for one state; the table is
//! bounded, and ended operations make room. It holds no bodies and no clock. Test to read first:
//! `an_operation_goes_its_way_and_is_forgotten`. File: `way.rs` which states an operation reached, and what is told of that.

mod entry;
mod shown;
mod way;

pub use entry::{Begun, NearEntry, Reached};
pub use shown::{ShownOperation, Traffic};

use crate::envelope::Envelope;
use crate::event::Mark;
use crate::limits::MAX_OPERATIONS;
use crate::operation::{Executed, OperationId, OperationView, State};
use crate::problem::Problem;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wire::{EndpointId, StreamId};

/// Why no operation was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeginError {
    /// The id is in use.
    #[error("operation {id} exists already")]
    Duplicate {
        /// The id.
        id: OperationId,
    },
    /// No operation has ended that could make room.
    #[error("{MAX_OPERATIONS} operations are under way")]
    Full,
}

#[derive(Clone, Debug)]
struct Operation {
    begun: Begun,
    state: State,
    ended_ms: Option<i64>,
    status: Option<u16>,
    executed: Option<Executed>,
    problem: Option<String>,
    way: Vec<Mark>,
    cancel_asked: bool,
}

/// All operations the near side knows.
#[derive(Clone, Debug, Default)]
pub struct Operations {
    operations: BTreeMap<OperationId, Operation>,
    by_stream: BTreeMap<(EndpointId, StreamId), OperationId>,
    by_begin: BTreeSet<(i64, OperationId)>,
    /// Ended ones: those that nobody was promised first, then by age.
    ended: BTreeSet<(bool, i64, OperationId)>,
    /// Ended ones whose whole way is kept, the oldest first.
    ended_ways: VecDeque<OperationId>,
    /// The number given last.
    last_number: u64,
    traffic: BTreeMap<OperationId, Traffic>,
}

impl Operations {
    /// No operations.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins an operation in the state `accepted`. The entries are the new one, and before it the forgotten one that made room.
    ///
    /// # Errors
    /// If the id is in use, or no ended operation can make room.
    pub fn begin(&mut self, begun: Begun) -> Result<Vec<NearEntry>, BeginError> {
        self.begin_unless(begun, |_| false)
    }

    /// As [`Self::begin`], but no operation that somebody still needs makes room.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn begin_unless(
        &mut self,
        mut begun: Begun,
        is_needed: impl Fn(OperationId) -> bool,
    ) -> Result<Vec<NearEntry>, BeginError> {
        if self.operations.contains_key(&begun.id) {
            return Err(BeginError::Duplicate { id: begun.id });
        }
        let mut entries = Vec::with_capacity(2);
        if self.operations.len() >= MAX_OPERATIONS {
            let (_, _, id) = self.ended.iter().find(|(_, _, id)| !is_needed(*id)).ok_or(BeginError::Full)?;
            entries.push(NearEntry::Forgotten { id: *id });
        }
        begun.number = Some(self.number(None, begun.begun_ms));
        entries.push(NearEntry::Begun(begun));
        self.replay_all(&entries);
        Ok(entries)
    }

    /// The operation reached a state at `now_ms` (Unix ms). `None` if it is unknown, or was there or further already.
    pub fn on_state(&mut self, id: OperationId, state: State, now_ms: i64) -> Option<NearEntry> {
        self.reach(Reached::new(id, state, now_ms))
    }

    /// As [`Self::on_state`], with the figure that belongs to the state (`event::Mark`).
    pub fn on_state_with(&mut self, id: OperationId, state: State, figure: u64, now_ms: i64) -> Option<NearEntry> {
        let figure = (figure > 0).then_some(figure);
        self.reach(Reached { figure, ..Reached::new(id, state, now_ms) })
    }

    /// The head of the response arrived, and says whether the call was made: the far side answers with problems too.
    pub fn on_response_head(
        &mut self,
        id: OperationId,
        status: u16,
        executed: Executed,
        now_ms: i64,
    ) -> Option<NearEntry> {
        let (status, executed) = (Some(status), Some(executed));
        self.reach(Reached { status, executed, ..Reached::new(id, State::ResponseStarted, now_ms) })
    }

    /// The operation ended with a problem, in the ended state `state` (one that has not ended counts as `failed`).
    pub fn on_problem(&mut self, id: OperationId, state: State, problem: &Problem, now_ms: i64) -> Option<NearEntry> {
        let state = if state.is_terminal() { state } else { State::Failed };
        let slug = Some(problem.kind.slug().to_owned());
        let (status, executed) = (Some(problem.status), problem.executed);
        self.reach(Reached { status, executed, problem: slug, ..Reached::new(id, state, now_ms) })
    }

    /// An EVENT of `peer` arrived. It counts only about operations that went to that endpoint, and only up to `executing`:
    /// what follows is known by the response itself.
    pub fn on_event(&mut self, peer: &EndpointId, event: &Envelope, now_ms: i64) -> Option<NearEntry> {
        let (id, state) = (event.operation?, event.event_state?);
        let theirs = self.operations.get(&id).is_some_and(|operation| operation.begun.peer == *peer);
        let attempt = event.attempt.map_or(0, u64::from);
        let counts = theirs && state.rank() <= State::Executing.rank();
        if counts { self.on_state_with(id, state, attempt, now_ms) } else { None }
    }

    /// Its result, or what it ended with, is kept for somebody who comes back for it: by its id, its key or a callback.
    pub fn promise(&mut self, id: OperationId) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        let before = std::mem::replace(&mut operation.begun.retain, true);
        if let Some(ended_ms) = operation.ended_ms
            && self.ended.remove(&(before, ended_ms, id))
        {
            self.ended.insert((true, ended_ms, id));
        }
    }

    /// The operation goes by another stream from here on: what was known of a response there is void.
    pub fn move_to(&mut self, id: OperationId, peer: EndpointId, stream: StreamId) -> Option<NearEntry> {
        self.operations.get(&id).filter(|operation| !operation.state.is_terminal())?;
        let entry = NearEntry::Moved { id, peer, stream };
        self.replay(&entry);
        Some(entry)
    }

    /// Forgets operations that ended `ttl_ms` before `now_ms` or earlier; their results may be deleted.
    pub fn expire(&mut self, now_ms: i64, ttl_ms: i64) -> Vec<NearEntry> {
        self.expire_unless(now_ms, ttl_ms, |_| false)
    }

    /// As [`Self::expire`], but for operations that somebody still needs.
    pub fn expire_unless(
        &mut self,
        now_ms: i64,
        ttl_ms: i64,
        is_needed: impl Fn(OperationId) -> bool,
    ) -> Vec<NearEntry> {
        let until = now_ms.saturating_sub(ttl_ms);
        let old = self.ended.iter().filter(|(_, ended_ms, id)| *ended_ms <= until && !is_needed(*id));
        let entries: Vec<_> = old.map(|(_, _, id)| NearEntry::Forgotten { id: *id }).collect();
        self.replay_all(&entries);
        entries
    }

    /// What the head of its response said of the call; `None` if no head came by the way it goes now.
    #[must_use]
    pub fn answered(&self, id: OperationId) -> Option<Executed> {
        let operation = self.operations.get(&id)?;
        operation.status.and(operation.executed)
    }

    /// One operation, as callers see it.
    #[must_use]
    pub fn get(&self, id: OperationId) -> Option<OperationView> {
        self.operations.get(&id).map(view)
    }

    /// The newest `limit` operations, newest first; with `state`, only those in it.
    #[must_use]
    pub fn list(&self, state: Option<State>, limit: usize) -> Vec<OperationView> {
        let all = self.by_begin.iter().rev().filter_map(|(_, id)| self.operations.get(id));
        all.filter(|operation| state.is_none_or(|state| operation.state == state)).take(limit).map(view).collect()
    }

    /// Operations that have not ended, the oldest first: at most `limit` of them, and how many there are.
    #[must_use]
    pub fn oldest_open(&self, limit: usize) -> (Vec<OperationView>, usize) {
        let all = self.by_begin.iter().filter_map(|(_, id)| self.operations.get(id));
        let open: Vec<_> = all.filter(|operation| !operation.state.is_terminal()).collect();
        (open.iter().take(limit).map(|operation| view(operation)).collect(), open.len())
    }

    /// Operations that have not ended, with what they began with: what a restart has to go on with.
    pub fn open(&self) -> impl Iterator<Item = (&Begun, State)> {
        self.operations.values().filter(|o| !o.state.is_terminal()).map(|o| (&o.begun, o.state))
    }

    /// What the operation began with.
    #[must_use]
    pub fn begun(&self, id: OperationId) -> Option<&Begun> {
        self.operations.get(&id).map(|operation| &operation.begun)
    }

    /// The operation under way on this request stream.
    #[must_use]
    pub fn by_stream(&self, peer: &EndpointId, stream: StreamId) -> Option<OperationId> {
        self.by_stream.get(&(*peer, stream)).copied()
    }

    /// Number of operations, ended ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Entries that recreate this table.
    #[must_use]
    pub fn checkpoint(&self) -> Vec<NearEntry> {
        let entries = self.operations.values().flat_map(|operation| {
            let Operation { begun, state, ended_ms, status, executed, problem, way, cancel_asked } = operation.clone();
            let id = begun.id;
            let last = way.last().copied();
            let reached = (state != State::Accepted).then_some(NearEntry::State(Reached {
                status,
                executed,
                problem,
                number: last.map(|mark| mark.number),
                way: Some(way),
                ..Reached::new(id, state, ended_ms.unwrap_or(begun.begun_ms))
            }));
            let asked = cancel_asked.then_some(NearEntry::CancelAsked { id });
            std::iter::once(NearEntry::Begun(begun)).chain(reached).chain(asked)
        });
        entries.collect()
    }

    /// Takes an entry of the log, after a restart. One about an operation that is not known changes nothing.
    pub fn replay(&mut self, entry: &NearEntry) {
        match entry {
            NearEntry::Begun(begun) => self.insert(begun.clone()),
            NearEntry::State(reached) => {
                self.reach(reached.clone());
            }
            NearEntry::Forgotten { id } => self.remove(*id),
            NearEntry::Moved { id, peer, stream } => {
                if let Some(operation) = self.operations.get_mut(id) {
                    forget_stream(&mut self.by_stream, &operation.begun);
                    (operation.begun.peer, operation.begun.stream) = (*peer, *stream);
                    (operation.status, operation.executed) = (None, None);
                    if let Some(traffic) = self.traffic.get_mut(id) {
                        traffic.response_bytes = 0;
                    }
                    self.by_stream.insert((*peer, *stream), *id);
                }
            }
            NearEntry::CancelAsked { id } => {
                if let Some(operation) = self.operations.get_mut(id) {
                    operation.cancel_asked = true;
                }
            }
        }
    }

    fn replay_all(&mut self, entries: &[NearEntry]) {
        for entry in entries {
            self.replay(entry);
        }
    }

    fn insert(&mut self, mut begun: Begun) {
        self.remove(begun.id);
        let number = self.number(begun.number, begun.begun_ms);
        begun.number = Some(number);
        let way = vec![Mark { number, state: State::Accepted, at_ms: begun.begun_ms, figure: 0 }];
        self.by_stream.insert((begun.peer, begun.stream), begun.id);
        self.by_begin.insert((begun.begun_ms, begun.id));
        let (id, state) = (begun.id, State::Accepted);
        let (ended_ms, status, executed, problem, cancel_asked) = (None, None, None, None, false);
        let operation = Operation { begun, state, ended_ms, status, executed, problem, way, cancel_asked };
        self.operations.insert(id, operation);
    }

    fn remove(&mut self, id: OperationId) {
        self.traffic.remove(&id);
        let Some(operation) = self.operations.remove(&id) else { return };
        forget_stream(&mut self.by_stream, &operation.begun);
        self.by_begin.remove(&(operation.begun.begun_ms, id));
        self.ended.remove(&(operation.begun.retain, operation.ended_ms.unwrap_or_default(), id));
    }

    fn reach(&mut self, mut reached: Reached) -> Option<NearEntry> {
        let operation = self.operations.get(&reached.id)?;
        // After a move, another response may begin.
        let anew = operation.state == reached.state && operation.status.is_none() && reached.status.is_some();
        if !operation.state.may_become(reached.state) && (!anew || operation.state.is_terminal()) {
            return None;
        }
        let number = self.number(reached.number, reached.at_ms);
        reached.number = Some(number);
        let figure = reached.figure.unwrap_or(0);
        let operation = self.operations.get_mut(&reached.id)?;
        let mark = Mark { number, state: reached.state, at_ms: reached.at_ms, figure };
        operation.goes_on(mark, reached.way.as_ref());
        operation.state = reached.state;
        operation.status = reached.status.or(operation.status);
        operation.executed = reached.executed.or(operation.executed);
        operation.problem = reached.problem.clone().or(operation.problem.take());
        if reached.state.is_terminal() {
            operation.ended_ms = Some(reached.at_ms);
            // A stream number is used again by the next association, so it must not find an operation that ended.
            forget_stream(&mut self.by_stream, &operation.begun);
            self.ended.insert((operation.begun.retain, reached.at_ms, reached.id));
            self.way_ended(reached.id);
        }
        Some(NearEntry::State(reached))
    }
}

fn forget_stream(by_stream: &mut BTreeMap<(EndpointId, StreamId), OperationId>, begun: &Begun) {
    let key = (begun.peer, begun.stream);
    if by_stream.get(&key) == Some(&begun.id) {
        by_stream.remove(&key);
    }
}

const fn has_result(operation: &Operation) -> bool {
    operation.begun.retain && matches!(operation.state, State::ResponseReady | State::Delivered | State::Done)
}

fn view(operation: &Operation) -> OperationView {
    let begun = &operation.begun;
    OperationView {
        id: begun.id,
        state: operation.state,
        method: begun.method.clone(),
        target: begun.target.clone(),
        route: begun.route.clone(),
        peer: begun.peer.to_string(),
        begun_ms: begun.begun_ms,
        ended_ms: operation.ended_ms,
        status: operation.status,
        executed: operation.executed,
        problem: operation.problem.clone(),
        result: has_result(operation),
    }
}

#[cfg(test)]
mod tests;
