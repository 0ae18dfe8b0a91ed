//! Packets as they must be for ever: made by the product, read by it, and by a second decoder that shares no line with it.
//!
//! `packets/*.hft` with what each says (`*.json`) are the golden vectors; `second/` is the other decoder, in Python, written from the
//! description of the wire alone; `reader.json` is who reads. This library makes the packets ([`packets`]), reads them with the product's
//! code ([`reading`], [`engine`]), and cuts and damages them ([`places`], [`damage`]); the comparisons are in `tests/vectors`.
//! Invariant: a byte of a vector never changes while the major version stays.
//! Test to read first: `every_vector_is_made_again_and_says_what_it_said`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a library for tests: it fails by panicking")]

pub mod damage;
pub mod engine;
pub mod packets;
pub mod places;
pub mod reader;
pub mod reading;
pub mod second;

use std::path::{Path, PathBuf};

/// A file of this folder.
#[must_use]
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
