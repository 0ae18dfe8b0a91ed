//! Tests that hold the house together: read `arrows.rs` first.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod arrows;
mod size;
