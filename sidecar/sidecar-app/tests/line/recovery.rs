//! What must still hold after engines, folders and callers failed in the middle of traffic.
//!
//! Each test has a line of its own, because it breaks it. Invariants asked of every failure: each call gets an end, a
//! call that is not idempotent is made at most once, and what comes afterwards works. Read first: `far_kills.rs`.

mod both_ways;
mod disconnects;
mod downloads;
mod endpoints;
mod far_kills;
mod lost_state;
mod near_kills;
mod pressure;
mod results;
mod stops;

use std::path::Path;
use std::sync::Arc;
use std::thread;

use serde_json::Value;

use crate::client::Answer;
use crate::harness::{Engine, Line, Options, destination, inbound, outbound};
use crate::process::eventually;
use crate::upstream::Upstream;

/// Does the same `count` times at once; gives the results in order.
fn in_parallel<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let work = &work;
    thread::scope(|scope| {
        let running: Vec<_> = (0..count).map(|number| scope.spawn(move || work(number))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// A line on which the far side may call the upstream through the near side as well.
fn start_both_ways() -> Line {
    let upstream = Upstream::start();
    let options = both_ways_to(&upstream);
    Line::start_with(&options, upstream)
}

fn both_ways_to(upstream: &Arc<Upstream>) -> Options {
    let (port, url) = (upstream.port, upstream.url("/"));
    Options {
        near: Box::new(move |file| file.inbound.allow.push(inbound("up", destination("http", "127.0.0.1", port)))),
        far: Box::new(move |file| {
            let up = destination("http", "127.0.0.1", port);
            file.outbound.allow.push(outbound("up", up, Some(url.clone())));
        }),
        ..Options::default()
    }
}

/// A call by this engine that must work.
#[track_caller]
fn assert_calls(engine: &Engine, upstream: &Upstream) {
    let answer = engine.door().post(&upstream.url("/echo/still-well"), b"still well?").expect_status(200);
    assert_eq!(answer.text(), "still well?");
}

/// The end of an operation.
#[track_caller]
fn ended(engine: &Engine, id: &str) -> Value {
    engine.operation_when(id, "ended", |view| !view["ended_ms"].is_null())
}

/// SIGKILL, a new empty state folder, and a start.
fn lose_state(engine: &Engine) {
    engine.kill();
    remove_state(engine);
    engine.start_again();
}

fn remove_state(engine: &Engine) {
    let state = engine.folder.join("state");
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::create_dir(&state).unwrap();
}

/// SIGKILL and a start.
fn restart(engine: &Engine) {
    engine.kill();
    engine.start_again();
}

/// Waits until no call of the far side is open at this engine.
#[track_caller]
fn assert_idle(engine: &Engine) {
    eventually(&format!("`{}` has no open execution", engine.side), || {
        (engine.statusz()["executions"] == 0).then_some(())
    });
}

/// Octets of all files below a folder.
fn disk_use(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            // Space set aside, always as long.
            _ if entry.file_name() == "reserve" => 0,
            Ok(data) if data.is_dir() => disk_use(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Asserts that this is an answer of an engine that says why there is no response.
#[track_caller]
fn assert_problem(answer: &Answer) -> Value {
    assert!(answer.status >= 400, "{answer:?}");
    assert_eq!(answer.get("content-type"), Some("application/problem+json"), "{:?}\n{}", answer.fields, answer.text());
    answer.json()
}
