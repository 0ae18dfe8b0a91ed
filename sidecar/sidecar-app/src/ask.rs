//! What the doors ask of the driver about operations: what happened, what is known, and that one is to end.
//!
//! Every question carries its own reply; a dropped reply means that the engine stops. Nothing here does I/O.

use layer2_http::event::OperationEvent;
use layer2_http::operation::{OperationId, OperationView, State};
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
}
