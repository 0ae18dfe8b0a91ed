//! Tests of the chart `charts/hoft`, its alerts, and the Dockerfile, by the programs that people use them with: helm,
//! promtool, buildah.
//!
//! A program that is missing is skipped with a message; `HOFT_REQUIRE=helm,promtool,buildah` makes that a failure.
//! Whether the API server takes what is rendered here is tested in `tests/e2e`. Test to read first:
//! `every_value_changes_something` in `values.rs`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod admission;
mod alerts;
mod definition;
mod image;
mod invariants;
mod operator;
mod programs;
mod rbac;
mod render;
mod values;
