//! What the doors ask of the driver about operations: what happened, what is known, and that one is to end.
//!
//! Every question carries its own reply; a dropped reply means that the engine stops. Nothing here does I/O.

use std::time::Duration;

use layer2_http::event::OperationEvent;
use layer2_http::operation::{OperationId, OperationView, State};
use layer2_http::report::OperationReport;
use tokio::sync::oneshot;

/// A question about operations.
#[derive(Debug)]
pub enum Ask {
    /// What happened to an operation after an event.
    EventsSince {
        /// Which operation.
        id: OperationId,
        /// The event; 0 for all.
        after: u64,
        /// The answer, in order; `None` if the operation is not known.
        reply: oneshot::Sender<Option<Vec<OperationEvent>>>,
    },
    /// What happened to all operations after an event.
    AllEventsSince {
        /// The event.
        after: u64,
        /// Of more than so many, the newest.
        limit: usize,
        /// The answer, in order.
        reply: oneshot::Sender<Vec<OperationEvent>>,
    },
    /// Operations in some states.
    Select {
        /// The states; any if empty.
        states: Vec<State>,
        /// At most so many.
        limit: usize,
        /// The answer, newest first.
        reply: oneshot::Sender<Vec<OperationView>>,
    },
    /// Answered when everything that was appended so far is durable.
    Durable {
        /// The operation that waits for it.
        id: OperationId,
        /// The answer.
        reply: oneshot::Sender<Promised>,
    },
    /// What is known of an operation right now.
    Known {
        /// Which.
        id: OperationId,
        /// The answer.
        reply: oneshot::Sender<Promised>,
    },
    /// Everything about an operation.
    Report {
        /// Which.
        id: OperationId,
        /// The answer; `None` if it is not known.
        reply: oneshot::Sender<Option<OperationReport>>,
    },
    /// End an operation.
    Cancel {
        /// Which.
        id: OperationId,
        /// The answer, once it is durable.
        reply: oneshot::Sender<Cancelled>,
    },
}

/// What is known of an operation and of the way it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promised {
    /// What is known of it.
    pub view: Option<OperationView>,
    /// The measured round trip to the endpoint it goes to.
    pub round_trip: Option<Duration>,
}

/// What became of the wish to end an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It is not known.
    Unknown,
    /// It had ended before, by itself.
    Ended(OperationView),
    /// It is cancelled.
    Done(OperationView),
    /// It will be: the far side is asked how far it came.
    Asked(OperationView),
}
