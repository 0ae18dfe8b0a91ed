//! The near engine, or either one, is killed again and again while its callers call.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use sidecar_config::Profile;

use super::{assert_calls, assert_idle, both_ways_to, ended, in_parallel, restart, start_both_ways};
use crate::harness::{Engine, Line, Options, operation_id};
use crate::upstream::Upstream;

const CALLS: usize = 30;

/// What callers were told of operations with ids of their choice: the status, or nothing where the connection broke.
type Told = BTreeMap<String, Option<u16>>;

/// POSTs with chosen ids, begun a few at a time.
fn call_all(engine: &Engine, upstream: &Upstream, calls: usize) -> Told {
    in_parallel(calls, |number| {
        let id = operation_id();
        thread::sleep(Duration::from_millis(70) * u32::try_from(number).unwrap());
        let body = vec![b'x'; 10 + (number % 4) * 120_000];
        let call = engine.door().call("POST", &upstream.url(&format!("/echo/{id}"))).field("Hoft-Operation-Id", &id);
        let told = call.body(&body).try_send().ok().map(|answer| {
            assert!(answer.status != 200 || answer.body == body, "the answer of {id} is another one's");
            answer.status
        });
        (id, told)
    })
    .into_iter()
    .collect()
}

/// Each operation is unknown and was not made, or has an end that fits what was told and seen.
#[track_caller]
fn assert_ends(engine: &Engine, upstream: &Upstream, told: &Told) {
    for (id, told) in told {
        let known = engine.door().get(&format!("/v1/operations/{id}")).status != 404;
        let view = if known { ended(engine, id) } else { serde_json::Value::Null };
        // Counted when nothing more can come.
        let made = upstream.calls(&format!("/echo/{id}")).len();
        assert!(made <= 1, "{id} was made {made} times");
        if !known {
            assert_eq!((made, *told == Some(200)), (0, false), "{id} is forgotten, and its caller was told {told:?}");
            continue;
        }
        match (view["state"].as_str(), view["executed"].as_str()) {
            (Some("done"), _) => {
                let stored = engine.result(id).expect_status(200);
                assert_eq!(made, 1, "{view}");
                assert!(stored.body.iter().all(|byte| *byte == b'x'));
            }
            (Some("failed"), Some("no")) => assert_eq!(made, 0, "{view}"),
            (Some("failed" | "unknown"), Some(_)) => assert_ne!(*told, Some(200), "{view}"),
            _ => panic!("no end: {view}"),
        }
    }
}

#[test]
fn operations_are_forgotten_or_made_twice_when_the_near_engine_dies_again_and_again() {
    let line = Line::start(&Options::default());
    line.assert_works();
    let told = thread::scope(|scope| {
        let callers = scope.spawn(|| call_all(&line.near, &line.upstream, CALLS));
        for pause in [200, 30, 150, 400, 10, 300] {
            thread::sleep(Duration::from_millis(pause));
            restart(&line.near);
        }
        callers.join().unwrap()
    });
    assert_ends(&line.near, &line.upstream, &told);
    line.assert_works();
    assert_idle(&line.far);
}

/// Both engines call, and both die.
fn both_die(options: &Options, upstream: std::sync::Arc<Upstream>) {
    let line = Line::start_with(options, upstream);
    assert_calls(&line.near, &line.upstream);
    assert_calls(&line.far, &line.upstream);
    let told = thread::scope(|scope| {
        let callers = [&line.near, &line.far].map(|engine| scope.spawn(|| call_all(engine, &line.upstream, CALLS)));
        for (engine, pause) in [&line.near, &line.far].into_iter().cycle().zip([300, 100, 20, 250, 60, 0, 350, 120]) {
            thread::sleep(Duration::from_millis(pause));
            restart(engine);
        }
        line.near.kill();
        line.far.kill();
        line.far.start_again();
        line.near.start_again();
        callers.map(|callers| callers.join().unwrap())
    });
    for (engine, told) in [&line.near, &line.far].into_iter().zip(&told) {
        assert_ends(engine, &line.upstream, told);
    }
    assert_calls(&line.near, &line.upstream);
    assert_calls(&line.far, &line.upstream);
    assert_idle(&line.near);
    assert_idle(&line.far);
}

#[test]
fn operations_of_both_sides_have_no_end_when_both_engines_die_again_and_again() {
    let upstream = Upstream::start();
    both_die(&both_ways_to(&upstream), upstream);
}

#[test]
fn operations_have_no_end_when_engines_die_and_the_mirror_is_faulty() {
    let upstream = Upstream::start();
    both_die(&Options { faults: "harsh", seed: 11, ..both_ways_to(&upstream) }, upstream);
}

#[test]
fn operations_have_no_end_when_engines_die_and_the_mirror_takes_files_away() {
    let upstream = Upstream::start();
    both_die(&Options { profile: Profile::Move, ..both_ways_to(&upstream) }, upstream);
}

#[test]
fn operations_have_no_end_when_engines_die_and_the_mirror_carries_deletions() {
    let upstream = Upstream::start();
    both_die(&Options { profile: Profile::Sync, ..both_ways_to(&upstream) }, upstream);
}

#[test]
fn a_refusal_of_the_far_side_is_reported_as_executed_when_its_engine_dies() {
    let upstream = Upstream::start();
    let line = Line::start_with(
        &Options {
            near: Box::new(|file| {
                let place = crate::harness::destination("http", "elsewhere.example", 80);
                file.outbound.allow.push(crate::harness::outbound("near-only", place, None));
            }),
            ..Options::default()
        },
        upstream,
    );
    line.assert_works();
    let ids = thread::scope(|scope| {
        let callers = scope.spawn(|| {
            in_parallel(5 * CALLS, |number| {
                let id = operation_id();
                thread::sleep(Duration::from_millis(12) * u32::try_from(number).unwrap());
                let call = line.door().call("POST", "http://elsewhere.example/x").field("Hoft-Operation-Id", &id);
                // The head of its answer may come alone.
                let _ = call.body(b"x").try_send();
                id
            })
        });
        for pause in [250, 40, 100, 10, 200, 70, 130, 20, 160] {
            thread::sleep(Duration::from_millis(pause));
            restart(&line.far);
        }
        callers.join().unwrap()
    });
    for id in ids {
        let view = ended(&line.near, &id);
        assert_eq!(view["executed"], "no", "{view}");
    }
}

#[test]
fn a_log_that_went_back_in_time_begins_a_new_life() {
    let line = start_both_ways();
    for (engine, other) in [(&line.near, &line.far), (&line.far, &line.near)] {
        assert_calls(engine, &line.upstream);
        assert_calls(other, &line.upstream);
        let life = || engine.statusz()["peers"][0]["my_incarnation"].clone();
        let before = life();
        let (state, backup) = (engine.folder.join("state"), engine.folder.join("backup"));
        engine.kill();
        copy(&state, &backup);
        engine.start_again();
        for _ in 0..3 {
            assert_calls(engine, &line.upstream);
            assert_calls(other, &line.upstream);
        }
        engine.kill();
        std::fs::remove_dir_all(&state).unwrap();
        std::fs::rename(&backup, &state).unwrap();
        engine.start_again();
        // The one that went back finds out by the first packet it hears, and takes a new incarnation by itself. What is asked
        // of it meanwhile may end with its past, and is never made twice.
        let ids: Vec<String> = (0..3).map(|_| operation_id()).collect();
        for id in &ids {
            let call = engine.door().call("POST", &line.url(&format!("/echo/{id}"))).field("Hoft-Operation-Id", id);
            drop(call.body(b"after the backup").begin());
        }
        crate::process::eventually("both ways work again", || {
            let works = |caller: &Engine| {
                caller
                    .door()
                    .call("POST", &line.url("/echo"))
                    .body(b"well")
                    .try_send()
                    .is_ok_and(|answer| answer.status == 200)
            };
            (works(engine) && works(other)).then_some(())
        });
        assert_ne!(life(), before);
        for id in ids {
            let made = line.upstream.calls(&format!("/echo/{id}")).len();
            assert!(made <= 1, "made {made} times: {id}");
        }
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.metadata().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
