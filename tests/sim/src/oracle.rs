//! What really happened: every call with its callers' and its upstreams' side of the story.
//!
//! Invariants: it learns only from the simulated callers and upstreams, never from an engine; what it holds against an engine
//! is a [`Violation`]. The checkers in `checkers` judge by it.

use std::collections::BTreeMap;

use layer2_http::operation::{Executed, OperationId, State};

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The property's number, such as `S2`.
    pub property: &'static str,
    /// What was seen.
    pub what: String,
}

/// What repeating a call may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// GET: may be repeated.
    Safe,
    /// POST with an Idempotency-Key: may be repeated.
    Keyed,
    /// POST without one: at most once.
    Once,
}

impl Class {
    /// May the call be made again?
    #[must_use]
    pub const fn repeatable(self) -> bool {
        !matches!(self, Self::Once)
    }
}

/// How a call began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Its caller waits.
    Asked,
    /// It was not accepted.
    Refused,
    /// It was accepted.
    Accepted,
    /// Its engine ended before it answered: nobody was promised anything.
    Unanswered,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Op {
    /// Its place among the calls; the tag of its request's content.
    pub number: u64,
    /// The node that began it.
    pub node: usize,
    /// What repeating it may do.
    pub class: Class,
    /// Its caller chose the id: the result is kept.
    pub chosen: bool,
    /// Octets of its request.
    pub request_len: u64,
    /// When it was asked for.
    pub asked_at: u64,
    /// How it began.
    pub begin: Begin,
    /// Its caller went away, or cut the request short.
    pub gone: bool,
    /// Its caller waits no longer but may come back.
    pub detached: bool,
    /// Its request ends falsely.
    pub false_end: bool,
    /// Places in [`Oracle::executions`].
    pub executions: Vec<usize>,
    /// Whole responses that a caller took.
    pub delivered: u64,
    /// The start of its engine during which the last of them was taken.
    pub delivered_in: u64,
    /// Problems that a caller took in place of a response, by what they say of the execution.
    pub problems: Vec<Option<Executed>>,
    /// The near side's word that was told to a caller and is final.
    pub told: Option<State>,
    /// The caller's engine lost its memory of the call: its state folder was lost, or went back to before.
    pub forgotten: bool,
}

/// One call of an upstream.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Of which call.
    pub operation: OperationId,
    /// At which node.
    pub node: usize,
    /// The attempt's number, as the engine says.
    pub attempt: u32,
    /// When its first octet went.
    pub at: u64,
    /// The request was read to its verified end.
    pub whole: bool,
    /// Status and length of the answer, once it began.
    pub answer: Option<(u16, u64)>,
    /// The answer ends falsely.
    pub false_end: bool,
}

/// All that really happened.
#[derive(Debug, Default)]
pub struct Oracle {
    /// Every call.
    pub ops: BTreeMap<OperationId, Op>,
    /// Every upstream call, in order.
    pub executions: Vec<Execution>,
    /// What is held against the engines.
    pub violations: Vec<Violation>,
}

impl Oracle {
    /// Holds something against an engine.
    pub fn blame(&mut self, property: &'static str, what: String) {
        if self.violations.len() < 20 {
            self.violations.push(Violation { property, what });
        }
    }

    /// Whether a response to this call was ended falsely.
    #[must_use]
    pub fn was_answered_falsely(&self, op: &Op) -> bool {
        op.executions.iter().any(|index| self.executions[*index].false_end)
    }

    /// The call of this id; an id that nobody made is a violation.
    pub fn op(&mut self, id: OperationId) -> Option<&mut Op> {
        if !self.ops.contains_key(&id) {
            self.blame("S4", format!("an operation {id} that nobody began"));
        }
        self.ops.get_mut(&id)
    }
}
