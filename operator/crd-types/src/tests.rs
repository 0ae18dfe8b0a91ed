//! Tests of the definition: read `rules.rs` first.

mod bounds;
mod definition;
mod offline;
mod rules;
mod sampled;
mod structural;
