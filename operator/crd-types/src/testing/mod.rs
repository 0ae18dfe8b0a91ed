//! What tests of several rooms share: fixtures, specs drawn by chance, and objects that just exceed a bound.
//!
//! Invariants: nothing here runs in the operator; everything is the same for the same seed. It knows no API server: the
//! caller applies what it gets. Test to read first: `tests/sampled.rs`.

pub mod beyond;
pub mod fixtures;
pub mod sample;

mod chance;
