//! What is asked of the driver about callbacks. A dropped reply means that the engine stops.

use layer2_http::callbacks::{Dead, DeadLetter, Line, Pending};
use layer2_http::operation::OperationId;
use tokio::sync::oneshot;

use crate::command::{Command, Stopping};
use crate::exchange::DriverHandle;

/// A question about callbacks, or a word on one.
#[derive(Debug)]
pub enum CallbackAsk {
    /// What is still to be delivered.
    Pending {
        /// The answer.
        reply: oneshot::Sender<Vec<Pending>>,
    },
    /// Everything up to this event was delivered.
    Delivered {
        /// Of which operation.
        id: OperationId,
        /// By which line.
        line: Line,
        /// The event; 1 for a result.
        number: u64,
        /// Nothing more is to come.
        last: bool,
    },
    /// An attempt failed, and there will be another one.
    Failed,
    /// A line is given up.
    Died(Dead),
    /// The dead letters.
    Letters {
        /// At most so many.
        limit: usize,
        /// The answer, the latest first.
        reply: oneshot::Sender<Vec<DeadLetter>>,
    },
    /// Try a dead letter again.
    Revive {
        /// Of which operation.
        id: OperationId,
        /// Which line.
        line: Line,
        /// What is to be delivered; `None` if there is no such letter.
        reply: oneshot::Sender<Option<Pending>>,
    },
    /// Remove a dead letter.
    Drop {
        /// Of which operation.
        id: OperationId,
        /// Which line.
        line: Line,
        /// Whether there was one.
        reply: oneshot::Sender<bool>,
    },
}

impl DriverHandle {
    async fn ask_callbacks<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> CallbackAsk) -> Result<T, Stopping> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Callbacks(ask(reply)));
        answer.await.map_err(|_| Stopping)
    }

    /// What is still to be delivered, to anybody.
    ///
    /// # Errors
    /// The driver is gone.
    pub async fn pending_callbacks(&self) -> Result<Vec<Pending>, Stopping> {
        self.ask_callbacks(|reply| CallbackAsk::Pending { reply }).await
    }

    /// The dead letters, the latest first.
    ///
    /// # Errors
    /// The driver is gone.
    pub async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, Stopping> {
        self.ask_callbacks(|reply| CallbackAsk::Letters { limit, reply }).await
    }

    /// Makes a dead letter pending again; `None` if there is no such letter.
    ///
    /// # Errors
    /// The driver is gone.
    pub async fn revive_callback(&self, id: OperationId, line: Line) -> Result<Option<Pending>, Stopping> {
        self.ask_callbacks(|reply| CallbackAsk::Revive { id, line, reply }).await
    }

    /// Removes a dead letter; false if there is no such letter.
    ///
    /// # Errors
    /// The driver is gone.
    pub async fn drop_callback(&self, id: OperationId, line: Line) -> Result<bool, Stopping> {
        self.ask_callbacks(|reply| CallbackAsk::Drop { id, line, reply }).await
    }

    /// Everything up to an event was delivered.
    pub fn callback_delivered(&self, id: OperationId, line: Line, number: u64, last: bool) {
        self.send(Command::Callbacks(CallbackAsk::Delivered { id, line, number, last }));
    }

    /// An attempt failed, and there will be another one.
    pub fn callback_failed(&self) {
        self.send(Command::Callbacks(CallbackAsk::Failed));
    }

    /// A line is given up.
    pub fn callback_died(&self, dead: Dead) {
        self.send(Command::Callbacks(CallbackAsk::Died(dead)));
    }
}
