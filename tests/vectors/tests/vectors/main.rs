//! The golden packets, whole, cut and damaged, before the product's decoder, its inbox, and the second decoder.
//!
//! `HOFT_GOLDEN=write cargo test -p vectors made_again` writes the files anew. Without Python and its packages the comparisons with the second
//! decoder are skipped with a message; `HOFT_REQUIRE=pyvectors` makes that a failure.
//! `HOFT_VECTORS_DAMAGED=20000` damages them more often.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod golden;
mod verdicts;
