//! Models of the replication protocol, searched exhaustively within bounds: every order of steps, packets and faults.
//!
//! Each module says what its state, actions, faults and properties are, what was abstracted away, and how large it is. The models follow
//! the *rules of the specification*; where the engine does something else, the module says so. Invariant of the whole: every property
//! that is claimed has a switch that breaks one rule and a test that finds the property broken, so no claim can hold vacuously.
//! Findings in the rules as they are written are numbered through `association`, `handover` and `tickets`; a test shows each of them.
//! They are no tests of the code: that is what the simulations next to it are for.
//! Tests to read first: `tests/model/log.rs`, then `tests/model/association.rs`.

#![allow(clippy::panic, reason = "this crate serves tests only, which fail by panicking")]

pub mod association;
pub mod check;
pub mod handover;
pub mod log;
pub mod nonce;
pub mod progress;
pub mod tickets;
