//! The real program against kills, power cuts, full disks and restored backups.
//!
//! Two engines, two faulty mirrors and an upstream whose journal is the oracle: what it ran against what its callers were
//! told. Every scenario runs in a mount and a process namespace of its own (`isolate`), so that nothing outlives a run.
//! Read first: `oracle`, then `cutfs`, then `scenarios`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc, reason = "a scenario that panics has failed")]

pub mod caller;
pub mod cutfs;
pub mod dice;
pub mod http;
pub mod isolate;
pub mod line;
pub mod oracle;
pub mod process;
mod product;
pub mod runner;
pub mod scenarios;
pub mod upstream;
pub mod volume;
