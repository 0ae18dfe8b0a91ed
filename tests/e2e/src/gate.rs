//! May the cluster tests run here? What is missing skips them with a message; `HOFT_REQUIRE=cluster` makes it a failure.
//!
//! Invariant: it builds nothing unless the tests are required, so `cargo test` never starts a long build by itself.

use std::env;

use anyhow::{Context, bail};

use crate::bed::ready_to_start;
use crate::images::product::{self, Product};
use crate::place::Place;
use crate::prerequisites;
use crate::tools::Tools;

/// The word in `HOFT_REQUIRE`.
pub const WORD: &str = "cluster";

/// True if the environment demands the cluster tests.
#[must_use]
pub fn is_required() -> bool {
    env::var("HOFT_REQUIRE").unwrap_or_default().split(',').any(|word| word.trim() == WORD)
}

/// The programs of the clusters, if the tests can run; else the reason why they are skipped.
///
/// # Errors
/// They are required, and something is missing or cannot be built.
pub fn cluster_available(place: &Place) -> anyhow::Result<Result<Tools, String>> {
    if is_required() && prerequisites::check().is_empty() && Tools::find(place)?.is_none() {
        Tools::build(place).context("HOFT_REQUIRE names cluster, and its programs cannot be built")?;
    }
    match ready_to_start(place) {
        Ok(tools) => Ok(Ok(tools)),
        Err(missing) if is_required() => bail!("HOFT_REQUIRE names {WORD}: {missing}"),
        Err(missing) => Ok(Err(format!("{missing}"))),
    }
}

/// The product, built if it was built before or is required; else the reason why its scenarios are skipped.
///
/// # Errors
/// It cannot be built.
pub fn product_available(place: &Place) -> anyhow::Result<Result<Product, String>> {
    if !is_required() && !product::was_built(place) {
        return Ok(Err("the product is not built for the clusters: `cargo run -p e2e -- build`".to_owned()));
    }
    product::build(place).map(Ok)
}
