//! Fuzz targets: what any bytes from outside must never do to the product. One function per target, over the same functions that run in it.
//!
//! `targets/` (a workspace of its own) makes a program of each for `cargo fuzz`; `tests/fuzz` replays the committed corpora in `cargo test`.
//! Each asserts more than "no panic": what was read is written again as the same bytes, or reads again as the same value, and memory stays
//! within a bound that follows from the length of the input. Here, `cargo fuzz run --fuzz-dir targets --sanitizer none TARGET corpus/TARGET`
//! looks for more; what it finds is kept in the corpus under the name of what it did.
//! Test to read first: `corpora_are_replayed`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a fuzz target fails by panicking")]

mod bound;
mod config;
mod control;
mod fields;
mod log;
mod names;
mod packet;
pub mod seeds;
mod table;

pub use bound::alone;
pub use config::fuzz_config;
pub use control::fuzz_control;
pub use fields::fuzz_fields;
pub use log::fuzz_log;
pub use names::fuzz_names;
pub use packet::fuzz_packet;
pub use table::fuzz_table;

/// A target: any bytes in; it panics where a promise does not hold.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 7] = [
    ("packet", fuzz_packet),
    ("control", fuzz_control),
    ("table", fuzz_table),
    ("names", fuzz_names),
    ("config", fuzz_config),
    ("fields", fuzz_fields),
    ("log", fuzz_log),
];
