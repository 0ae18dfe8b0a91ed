//! The far side's journal of executions: no call is made twice silently, whatever is cut off when.
//!
//! Contract: `dispatch` gives an entry that must be durable *before* the first byte goes upstream, `response_begun` one
//! that must be durable before the head of the response is appended. After a restart `replay` the entries, then ask
//! `recover` for each request stream that is whole. Invariants: an execution that may have had an effect is repeated
//! only if repeating it is harmless, and at most [`MAX_ATTEMPTS`] times in all; an operation id that came back on
//! another stream is recognised. It holds no bodies and no clock. Test to read first: `the_recovery_table`.

mod entry;

pub use entry::{Dispatched, FarEntry};

use crate::limits::{MAX_ATTEMPTS, MAX_EXECUTIONS};
use crate::mutation::{Mutation, mutated};
use crate::operation::OperationId;
use crate::policy::Retry;
use std::collections::{BTreeMap, BTreeSet};
use wire::{EndpointId, StreamId};

/// Is it harmless to make this call again when it is not known whether it was made? By method (RFC 9110 §9.2.2), by
/// Idempotency-Key, or by the rule.
#[must_use]
pub fn repeatable(method: &str, has_idempotency_key: bool, retry: Retry) -> bool {
    let idempotent = matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE");
    match retry {
        Retry::Idempotent => idempotent || has_idempotency_key,
        Retry::Always => true,
        Retry::Never => false,
    }
}

/// What is to be done about a request stream that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// It was never dispatched: make the call.
    Run {
        /// Number of the attempt.
        attempt: u32,
    },
    /// It was dispatched, and making the call again is harmless.
    RunAgain {
        /// Number of the attempt.
        attempt: u32,
    },
    /// It was dispatched and must not be repeated: answer with the problem `outcome-unknown`, `executed: maybe`.
    OutcomeUnknown,
    /// Its response had begun and cannot be continued: reset the response stream (`incomplete`).
    ResponseIncomplete,
    /// Its response is whole in the log: nothing to do.
    Finished,
    /// Its operation is under way on another stream of this association: refuse it.
    Duplicate,
}

/// How far an execution has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Dispatched,
    ResponseBegun,
    Done,
    /// The near side holds the whole response durably.
    Acked,
}

/// Why no call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DispatchError {
    /// All attempts are spent, or this one is not the next.
    #[error("attempt {attempt} may not be made after {made}")]
    Attempt {
        /// The attempt asked for.
        attempt: u32,
        /// Attempts made.
        made: u32,
    },
    /// A response has begun.
    #[error("the operation has a response already")]
    Answered,
    /// No execution can make room: of none is the response known to be at the near side.
    #[error("{MAX_EXECUTIONS} calls are under way, or may have had their effect without their caller knowing it")]
    Full,
}

#[derive(Clone, Debug)]
struct Execution {
    dispatched: Dispatched,
    phase: Phase,
    /// When the association it came by ended, in Unix ms; `None` while it stands.
    closed_ms: Option<i64>,
}

impl Execution {
    const fn is_live(&self) -> bool {
        self.closed_ms.is_none()
    }

    /// Nothing more will be entered about it.
    fn is_over(&self) -> bool {
        self.phase >= Phase::Done || !self.is_live()
    }
}

/// All executions the far side remembers.
#[derive(Clone, Debug, Default)]
pub struct Executions {
    executions: BTreeMap<OperationId, Execution>,
    by_stream: BTreeMap<(EndpointId, StreamId), OperationId>,
    /// Those that are over: acked ones first, which can make room, then those that only time ends; the oldest of each first.
    finished: BTreeSet<(bool, i64, OperationId)>,
}

impl Executions {
    /// No executions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is to be done about the whole request on `stream`; `harmless` is what [`repeatable`] says of it.
    #[must_use]
    pub fn recover(&self, peer: &EndpointId, stream: StreamId, operation: OperationId, harmless: bool) -> Recovery {
        let here = self.by_stream.get(&(*peer, stream));
        if here.is_some_and(|known| *known != operation) {
            // One stream, two operations: whatever happened, nothing may be made of it.
            return Recovery::OutcomeUnknown;
        }
        let Some(execution) = self.executions.get(&operation) else { return Recovery::Run { attempt: 1 } };
        let made = execution.dispatched.attempt;
        let again = harmless && made < MAX_ATTEMPTS;
        let again = if again { Recovery::RunAgain { attempt: made + 1 } } else { Recovery::OutcomeUnknown };
        match (here, execution.phase) {
            _ if mutated(Mutation::DedupeOff) => Recovery::RunAgain { attempt: made + 1 },
            (Some(_), Phase::Dispatched) => again,
            (Some(_), Phase::ResponseBegun) => Recovery::ResponseIncomplete,
            (Some(_), Phase::Done | Phase::Acked) => Recovery::Finished,
            (None, _) if execution.is_live() => Recovery::Duplicate,
            // It came by an association that is gone, and the response with it.
            (None, _) => again,
        }
    }

    /// The call is about to be made: attempt 1, or the one `recover` gave. The entries are this one, and before it the
    /// forgotten one that made room.
    ///
    /// # Errors
    /// If it is not the next attempt, a response has begun, or there is no room.
    pub fn dispatch(&mut self, dispatched: Dispatched) -> Result<Vec<FarEntry>, DispatchError> {
        let attempt = dispatched.attempt;
        let known = self.executions.get(&dispatched.operation);
        let made = known.map_or(0, |execution| execution.dispatched.attempt);
        if attempt != made + 1 || attempt > MAX_ATTEMPTS {
            return Err(DispatchError::Attempt { attempt, made });
        }
        let answered = known.is_some_and(|execution| execution.is_live() && execution.phase != Phase::Dispatched);
        if answered && !mutated(Mutation::DedupeOff) {
            return Err(DispatchError::Answered);
        }
        let mut entries = Vec::with_capacity(2);
        if known.is_none() && self.executions.len() >= MAX_EXECUTIONS {
            let operation = self.first_acked().ok_or(DispatchError::Full)?;
            entries.push(FarEntry::Forgotten { operation });
        }
        entries.push(FarEntry::Dispatched(dispatched));
        for entry in &entries {
            self.replay(entry);
        }
        Ok(entries)
    }

    /// Is there room for an operation that is not known? Only one whose response the near side holds makes room: of every other
    /// one it may still matter that it was made.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.executions.len() < MAX_EXECUTIONS || self.first_acked().is_some()
    }

    fn first_acked(&self) -> Option<OperationId> {
        self.finished.first().filter(|(unacked, _, _)| !unacked).map(|(_, _, operation)| *operation)
    }

    /// The head of the response is about to be appended. `None` if that is known, or the operation is not.
    pub fn response_begun(&mut self, operation: OperationId) -> Option<FarEntry> {
        self.advance(operation, Phase::ResponseBegun).then_some(FarEntry::ResponseBegun { operation })
    }

    /// The whole response, or the problem in its place, was appended.
    pub fn done(&mut self, operation: OperationId) -> Option<FarEntry> {
        self.advance(operation, Phase::Done).then_some(FarEntry::Done { operation })
    }

    /// The near side holds the whole response durably (its last record was released).
    pub fn acked(&mut self, operation: OperationId) -> Option<FarEntry> {
        self.advance(operation, Phase::Acked).then_some(FarEntry::Acked { operation })
    }

    /// The association with `peer` was closed at `now_ms` (Unix ms). Its operations stay recognised until their time is over.
    pub fn peer_closed(&mut self, peer: EndpointId, now_ms: i64) -> FarEntry {
        let entry = FarEntry::PeerClosed { peer, at_ms: now_ms };
        self.replay(&entry);
        entry
    }

    /// Forgets executions that are over, and were dispatched, or left behind by their association, `ttl_ms` before `now_ms`
    /// or earlier.
    pub fn expire(&mut self, now_ms: i64, ttl_ms: i64) -> Vec<FarEntry> {
        let until = now_ms.saturating_sub(ttl_ms);
        let old = self.finished.iter().filter(|(_, at_ms, _)| *at_ms <= until);
        let entries: Vec<_> = old.map(|(_, _, operation)| FarEntry::Forgotten { operation: *operation }).collect();
        for entry in &entries {
            self.replay(entry);
        }
        entries
    }

    /// Was a call of this operation ever about to be made, on any stream?
    #[must_use]
    pub fn seen(&self, operation: OperationId) -> bool {
        self.executions.contains_key(&operation)
    }

    /// The operation that was dispatched from this request stream.
    #[must_use]
    pub fn by_stream(&self, peer: &EndpointId, stream: StreamId) -> Option<OperationId> {
        self.by_stream.get(&(*peer, stream)).copied()
    }

    /// Executions of present associations whose response is not whole, by the request streams they came by.
    pub fn under_way(&self) -> impl Iterator<Item = (EndpointId, StreamId, OperationId)> {
        let open = self.executions.iter().filter(|(_, execution)| execution.is_live() && execution.phase < Phase::Done);
        open.map(|(operation, execution)| (execution.dispatched.peer, execution.dispatched.stream, *operation))
    }

    /// May `peer` have the stored result of the operation? Only the endpoint that made the call.
    #[must_use]
    pub fn may_claim(&self, operation: OperationId, peer: &EndpointId) -> bool {
        self.executions.get(&operation).is_some_and(|execution| execution.dispatched.peer == *peer)
    }

    /// Number of executions remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.executions.len()
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.executions.is_empty()
    }

    /// Entries that recreate this journal.
    #[must_use]
    pub fn checkpoint(&self) -> Vec<FarEntry> {
        // PeerClosed touches what stands before it and is not closed: those of one time, then their end, then the next.
        let mut gone: BTreeMap<(i64, EndpointId), Vec<FarEntry>> = BTreeMap::new();
        let mut live = Vec::new();
        for execution in self.executions.values() {
            match execution.closed_ms {
                Some(at_ms) => gone.entry((at_ms, execution.dispatched.peer)).or_default().extend(recreate(execution)),
                None => live.extend(recreate(execution)),
            }
        }
        let ended = |((at_ms, peer), entries): ((i64, EndpointId), Vec<FarEntry>)| {
            entries.into_iter().chain(std::iter::once(FarEntry::PeerClosed { peer, at_ms }))
        };
        gone.into_iter().flat_map(ended).chain(live).collect()
    }

    /// Takes an entry of the log, after a restart. One about an operation that is not known changes nothing.
    pub fn replay(&mut self, entry: &FarEntry) {
        match entry {
            FarEntry::Dispatched(dispatched) => self.insert(dispatched.clone()),
            FarEntry::ResponseBegun { operation } => {
                self.advance(*operation, Phase::ResponseBegun);
            }
            FarEntry::Done { operation } => {
                self.advance(*operation, Phase::Done);
            }
            FarEntry::Acked { operation } => {
                self.advance(*operation, Phase::Acked);
            }
            FarEntry::Forgotten { operation } => self.remove(*operation),
            FarEntry::PeerClosed { peer, at_ms } => {
                self.by_stream.retain(|(of, _), _| of != peer);
                let theirs = self.executions.values_mut().filter(|e| e.dispatched.peer == *peer && e.is_live());
                for execution in theirs {
                    self.finished.remove(&place(execution));
                    execution.closed_ms = Some(*at_ms);
                    self.finished.insert(place(execution));
                }
            }
        }
    }

    fn insert(&mut self, dispatched: Dispatched) {
        self.remove(dispatched.operation);
        self.by_stream.insert((dispatched.peer, dispatched.stream), dispatched.operation);
        let execution = Execution { phase: Phase::Dispatched, closed_ms: None, dispatched };
        self.executions.insert(execution.dispatched.operation, execution);
    }

    fn remove(&mut self, operation: OperationId) {
        let Some(execution) = self.executions.remove(&operation) else { return };
        let key = (execution.dispatched.peer, execution.dispatched.stream);
        if execution.is_live() && self.by_stream.get(&key) == Some(&operation) {
            self.by_stream.remove(&key);
        }
        self.finished.remove(&place(&execution));
    }

    fn advance(&mut self, operation: OperationId, phase: Phase) -> bool {
        let Some(execution) = self.executions.get_mut(&operation) else { return false };
        if phase <= execution.phase {
            return false;
        }
        self.finished.remove(&place(execution));
        execution.phase = phase;
        if execution.is_over() {
            self.finished.insert(place(execution));
        }
        true
    }
}

/// Place of an execution among those that are over.
fn place(execution: &Execution) -> (bool, i64, OperationId) {
    let since_ms = execution.closed_ms.map_or(execution.dispatched.at_ms, |at| at.max(execution.dispatched.at_ms));
    (execution.phase != Phase::Acked, since_ms, execution.dispatched.operation)
}

fn recreate(execution: &Execution) -> impl Iterator<Item = FarEntry> {
    let operation = execution.dispatched.operation;
    let phase = match execution.phase {
        Phase::Dispatched => None,
        Phase::ResponseBegun => Some(FarEntry::ResponseBegun { operation }),
        Phase::Done => Some(FarEntry::Done { operation }),
        Phase::Acked => Some(FarEntry::Acked { operation }),
    };
    std::iter::once(FarEntry::Dispatched(execution.dispatched.clone())).chain(phase)
}

#[cfg(test)]
mod tests;
