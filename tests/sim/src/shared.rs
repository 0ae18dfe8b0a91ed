//! What callers, upstreams, nodes and the mirror of one world share.
//!
//! Invariant: no borrow outlives a call, and none is held across an await.

use std::cell::RefCell;
use std::collections::BTreeMap;

use layer2_http::operation::OperationId;

use crate::faults::{Counts, Fault};
use crate::options::Options;
use crate::oracle::{Op, Oracle};
use crate::time::Clock;
use crate::trace::Trace;

/// One node's going back in time without a fence outside its state folder: restored, or cloned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewind {
    /// Whose endpoint.
    pub node: usize,
    /// When the image was taken.
    pub image_at: u64,
}

/// The common ground of one world.
pub struct Shared {
    /// Time.
    pub clock: Clock,
    /// What was drawn.
    pub options: Options,
    /// What really happened.
    pub oracle: RefCell<Oracle>,
    /// The history.
    pub trace: RefCell<Trace>,
    /// Injected faults.
    pub counts: RefCell<Counts>,
    /// Who went back in time.
    pub rewinds: RefCell<Vec<Rewind>>,
    /// Starts of each node so far.
    pub starts: RefCell<BTreeMap<usize, u64>>,
    /// Of which node a clone is one.
    pub originals: RefCell<BTreeMap<usize, usize>>,
    /// Which server drained, fell silent or was gone, and when.
    pub server_events: RefCell<Vec<(usize, u64)>>,
    /// Whose state folder was lost, and when.
    pub losses: RefCell<Vec<(usize, u64)>>,
}

impl Shared {
    /// Of a new world.
    #[must_use]
    pub fn new(options: Options, trace: Trace) -> Self {
        Self {
            clock: Clock::default(),
            options,
            oracle: RefCell::default(),
            trace: RefCell::new(trace),
            counts: RefCell::default(),
            rewinds: RefCell::default(),
            starts: RefCell::default(),
            originals: RefCell::default(),
            server_events: RefCell::default(),
            losses: RefCell::default(),
        }
    }

    /// A fault was injected.
    pub fn count(&self, fault: Fault) {
        self.counts.borrow_mut().add(fault);
    }

    /// Something happened to a call.
    pub fn note(&self, what: &'static str, details: &[u64]) {
        self.note_at(99, what, details);
    }

    /// Something happened at a node.
    pub fn note_at(&self, who: usize, what: &'static str, details: &[u64]) {
        self.trace.borrow_mut().note(self.clock.now(), who, what, details);
    }

    /// Something is held against an engine.
    pub fn blame(&self, property: &'static str, what: String) {
        self.oracle.borrow_mut().blame(property, what);
    }

    /// Works on a call.
    pub fn with_op<T>(&self, id: OperationId, work: impl FnOnce(&mut Op) -> T) -> Option<T> {
        self.oracle.borrow_mut().op(id).map(work)
    }

    /// The place of a call among all.
    #[must_use]
    pub fn number(&self, id: OperationId) -> u64 {
        self.oracle.borrow().ops.get(&id).map_or(u64::MAX, |op| op.number)
    }

    /// Status and length of what an upstream answered to this call in this execution.
    #[must_use]
    pub fn answer(&self, id: OperationId, execution: usize) -> Option<(usize, u16, u64)> {
        let oracle = self.oracle.borrow();
        let found = oracle.executions.get(execution).filter(|found| found.operation == id)?;
        found.answer.map(|(status, len)| (execution, status, len))
    }
}
