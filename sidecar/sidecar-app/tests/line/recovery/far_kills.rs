//! The far engine is killed again and again while requests arrive and are executed.

use std::io;
use std::thread;
use std::time::Duration;

use super::{assert_idle, ended, in_parallel, restart};
use crate::client::Answer;
use crate::harness::{Line, Options, operation_id};
use crate::process::eventually;

const CALLS: usize = 40;

/// What the caller was told is what the upstream saw.
#[track_caller]
fn assert_once(line: &Line, id: &str, path: &str, outcome: &io::Result<Answer>) {
    let view = ended(&line.near, id);
    // Counted when nothing more can come.
    let made = line.upstream.calls(path).len();
    assert!(made <= 1, "{path} was made {made} times");
    let answer = match outcome {
        Ok(answer) => answer,
        Err(error) => {
            // The head of its answer had been passed on when the rest was lost.
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{path}: no answer: {error}");
            assert_eq!(made, 1);
            assert_eq!(view["problem"], "response-incomplete", "{view}");
            return;
        }
    };
    match answer.status {
        200 => {
            assert_eq!(made, 1);
            assert_eq!(answer.text(), id);
            assert_eq!(view["state"], "done", "{view}");
        }
        _ => match answer.json()["executed"].as_str() {
            Some("no") => assert_eq!(made, 0, "{path} was made, but {}", answer.text()),
            Some("yes") => assert_eq!(made, 1, "{path} was not made, but {}", answer.text()),
            _ => assert_eq!(view["state"], "unknown", "{view}"),
        },
    }
}

#[test]
fn a_post_is_made_twice_or_never_ends_when_the_far_engine_dies_before_its_dispatch() {
    let line = Line::start(&Options::default());
    line.assert_works();
    let ids: Vec<String> = (0..CALLS).map(|_| operation_id()).collect();
    let outcomes = thread::scope(|scope| {
        let callers = scope.spawn(|| {
            in_parallel(CALLS, |number| {
                // A few at a time, so that every kill meets some of them in every stage.
                thread::sleep(Duration::from_millis(60) * u32::try_from(number).unwrap());
                let call = line.door().call("POST", &line.url(&format!("/echo/{}", ids[number])));
                call.field("Hoft-Operation-Id", &ids[number]).body(ids[number].as_bytes()).try_send()
            })
        });
        for pause in [300, 40, 150, 90, 10, 250, 60, 0] {
            thread::sleep(Duration::from_millis(pause));
            restart(&line.far);
        }
        callers.join().unwrap()
    });
    for (id, outcome) in ids.iter().zip(&outcomes) {
        assert_once(&line, id, &format!("/echo/{id}"), outcome);
    }
    let answered = outcomes.iter().flatten().filter(|answer| answer.status == 200).count();
    println!("{answered} of {CALLS} calls were answered by the upstream");
    line.assert_works();
    assert_idle(&line.far);
}

#[test]
fn requests_that_wait_in_the_inbox_are_lost_or_made_twice_by_an_engine_that_dies_while_it_starts() {
    let line = Line::start(&Options::default());
    line.assert_works();
    assert_eq!(line.far.stop().code(), Some(0));
    let ids: Vec<String> = (0..CALLS).map(|_| operation_id()).collect();
    let outcomes = thread::scope(|scope| {
        let callers = scope.spawn(|| {
            in_parallel(CALLS, |number| {
                let call = line.door().call("POST", &line.url(&format!("/echo/{}", ids[number])));
                call.field("Hoft-Operation-Id", &ids[number]).body(ids[number].as_bytes()).try_send()
            })
        });
        for id in &ids {
            line.near.operation_when(id, "accepted", |_| true);
        }
        for pause in [0, 5, 15, 30, 60, 120, 240] {
            line.far.start_again();
            thread::sleep(Duration::from_millis(pause));
            line.far.kill();
        }
        line.far.start_again();
        callers.join().unwrap()
    });
    for (id, outcome) in ids.iter().zip(&outcomes) {
        assert_once(&line, id, &format!("/echo/{id}"), outcome);
    }
    line.assert_works();
    assert_idle(&line.far);
}

#[test]
fn idempotent_calls_are_not_answered_when_the_far_engine_dies_again_and_again() {
    let line = Line::start(&Options::default());
    line.assert_works();
    let bodies = thread::scope(|scope| {
        let callers = scope.spawn(|| {
            in_parallel(CALLS, |number| {
                thread::sleep(Duration::from_millis(60) * u32::try_from(number).unwrap());
                let length = 1000 * number;
                (length, line.door().call("GET", &line.url(&format!("/fixed/{length}"))).try_send())
            })
        });
        for pause in [300, 40, 150, 90] {
            thread::sleep(Duration::from_millis(pause));
            restart(&line.far);
        }
        callers.join().unwrap()
    });
    for (length, outcome) in bodies {
        // An answer that had begun may be cut: it is not made again, because its caller has seen its head.
        let Ok(answer) = outcome else { continue };
        if answer.status == 200 {
            assert_eq!(answer.body.len(), length);
        } else {
            assert_eq!(answer.json()["type"], "urn:hoft:problem:response-incomplete", "{}", answer.text());
        }
    }
    line.assert_works();
}

#[test]
fn a_large_answer_hangs_when_the_far_engine_dies_in_its_middle() {
    let line = Line::start(&Options::default());
    for named in [true, false] {
        let id = operation_id();
        let call = line.door().call("GET", &line.url("/source/60000000"));
        let call = if named { call.field("Hoft-Operation-Id", &id) } else { call };
        let mut exchange = call.begin().unwrap();
        let (head, mut body) = exchange.head().unwrap();
        assert_eq!(head.status(), 200);
        assert!(body.next(&mut exchange.conn).unwrap().is_some());
        restart(&line.far);
        match body.rest(&mut exchange.conn) {
            Ok(rest) => assert!(rest.len() < 60_000_000),
            Err(error) => assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "neither goes on nor ends"),
        }
        if named {
            let view = ended(&line.near, &id);
            assert!(matches!(view["state"].as_str(), Some("failed" | "done")), "{view}");
        }
        line.assert_works();
    }
    eventually("every operation has an end", || {
        let list = line.door().get("/v1/operations").expect_status(200).json();
        list.as_array()?.iter().all(|view| !view["ended_ms"].is_null()).then_some(())
    });
    assert_idle(&line.far);
}
