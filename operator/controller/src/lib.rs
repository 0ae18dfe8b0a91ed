//! The operator of hoft: makes what a `TunnelPeering` asks for, and shows how it is.
//!
//! `plan/` is pure (spec and what was seen → objects and conditions); the rest is a thin shell around it: `reconcile`
//! reads, plans, applies; `poll` asks the engines; `webhook/` copies the rendered engine into pods; `lease` lets one of
//! several operators act. Test to read first: `plan/tests/scene.rs`.

pub mod admin;
pub mod apply;
pub mod cli;
pub mod keys;
pub mod lease;
pub mod memory;
pub mod metrics;
pub mod observe;
pub mod operator;
pub mod plan;
pub mod pods;
pub mod poll;
pub mod reconcile;
pub mod reports;
pub mod stranded;
pub mod webhook;

mod cause;
mod listen;

#[cfg(test)]
mod fake_api;
