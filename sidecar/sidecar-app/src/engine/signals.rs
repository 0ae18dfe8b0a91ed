//! The signals that end an engine.
//!
//! Invariant: they are handled from the moment this is made, also while nobody waits: one that comes early is remembered.
//! That matters for process 1 of a container, to which the kernel delivers no signal that it does not handle.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to handle them.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn install() -> Result<Self> {
        let handle = |kind| signal(kind).context("SIGTERM and SIGINT cannot be handled");
        Ok(Self { terminate: handle(SignalKind::terminate())?, interrupt: handle(SignalKind::interrupt())? })
    }

    /// Waits for one; its name.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
