//! End to end: the real binary `hoft`, two engines and two mirrors as child processes, a real upstream, real callers.
//!
//! Invariants: everything is on loopback and in temporary folders; nothing asserts how long something took (limits on
//! waiting are there so that a hang becomes a failure); every child is ended with the test process, however that ends.
//! Read first: `doors.rs`, `a_call_through_the_proxy_reaches_the_upstream_and_comes_back`; then `harness.rs`.
//! `HOFT_REQUIRE=curl,python,root,fuse` turns skipped tests of those programs, of processes of other users, and of shares that are
//! mounted, into failures.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a panic is how a test fails")]

mod access_log;
mod any_to_any;
mod asynchronous;
mod bad_config;
mod bad_input;
mod bad_packets;
mod big;
mod cache;
mod callbacks;
mod callers;
mod cancelling;
mod client;
mod crash;
mod damage;
mod doors;
mod events;
mod exchanges;
mod far_servers;
mod far_side;
mod forgotten;
mod garbage;
mod gates;
mod h2c;
mod habits;
mod harness;
mod http;
mod idempotency;
mod interception;
mod many;
mod modes;
mod odd_share;
mod openapi;
mod operations;
mod origin;
mod outages;
mod pods;
mod probe;
mod problems;
mod process;
mod programs;
mod quotas;
mod recovery;
mod refusals;
mod results;
mod rotation;
mod shared;
mod shares;
mod smuggling;
mod ssrf;
mod status_page;
mod targets;
mod tools;
mod tunnels;
mod upstream;
mod users;
mod wire_forms;
