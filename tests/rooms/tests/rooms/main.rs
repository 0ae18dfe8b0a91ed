//! Tests that hold the house together: read `arrows.rs` first.

mod arrows;
mod size;
