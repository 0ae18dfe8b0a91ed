//! A deterministic simulator that runs the product's own engines: driver, inbox, outbox, log and exchanges, on a simulated clock,
//! mirror and disk, with simulated callers and upstreams.
//!
//! One seed decides everything. A world runs with faults first and without them then; checkers judge at every step and at the end.
//! Read first: `world.rs`, then `checkers`. Test to read first: `a_quiet_world_answers_every_call`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking"))]

pub mod callers;
pub mod checkers;
pub mod content;
pub mod disk;
pub mod engine;
pub mod executor;
pub mod fate;
pub mod faults;
pub mod folder;
pub mod forge;
pub mod liars;
pub mod mirror;
pub mod node;
pub mod options;
pub mod oracle;
pub mod place;
mod rest;
pub mod rng;
pub mod servers;
pub mod shared;
pub mod time;
pub mod trace;
pub mod troubles;
pub mod upstream;
pub mod world;

use options::Options;
use trace::Trace;
use world::{Report, World};

/// Runs a seed.
#[must_use]
pub fn run_seed(seed: u64, keep_events: bool, print: bool) -> Report {
    World::new(Options::draw(seed), Trace::new(keep_events, print)).run()
}
