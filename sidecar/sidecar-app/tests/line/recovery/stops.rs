//! SIGTERM in mid-traffic: what was accepted goes on after the next start, whatever stage it was in.

use std::thread;
use std::time::Duration;

use super::{assert_calls, assert_idle, ended, in_parallel, start_both_ways};
use crate::harness::{Line, operation_id};

const CALLS: usize = 40;

/// Calls with these ids from one side, begun a few at a time.
fn call_all(line: &Line, ids: &[String]) -> Vec<Option<u16>> {
    in_parallel(ids.len(), |number| {
        thread::sleep(Duration::from_millis(40) * u32::try_from(number).unwrap());
        let call = line.door().call("POST", &line.url(&format!("/echo/{}", ids[number])));
        let body = vec![b'x'; 10 + (number % 4) * 150_000];
        let answer = call.field("Hoft-Operation-Id", &ids[number]).body(&body).try_send().ok()?;
        if answer.status == 200 {
            assert!(answer.body == body);
        }
        Some(answer.status)
    })
}

/// Each operation has an end, and was made at most once; one that was answered keeps its result.
fn assert_ends(line: &Line, ids: &[String], answers: &[Option<u16>]) {
    for (id, answer) in ids.iter().zip(answers) {
        let known = line.door().get(&format!("/v1/operations/{id}")).status != 404;
        let view = if known { ended(&line.near, id) } else { serde_json::Value::Null };
        // Counted when nothing more can come.
        let made = line.upstream.calls(&format!("/echo/{id}")).len();
        assert!(made <= 1, "{id} was made {made} times");
        if !known {
            assert_eq!(made, 0, "an operation that was never accepted was made");
            assert_ne!(*answer, Some(200), "an operation that was answered is forgotten");
            continue;
        }
        match view["state"].as_str() {
            Some("done") => {
                assert_eq!(line.near.result(id).expect_status(200).get("hoft-operation-id"), Some(id.as_str()))
            }
            Some("unknown" | "failed") => assert_ne!(*answer, Some(200), "{view}"),
            other => panic!("{other:?}: {view}"),
        }
    }
}

#[test]
fn operations_have_no_end_after_both_engines_were_stopped() {
    let line = start_both_ways();
    assert_calls(&line.near, &line.upstream);
    let ids: Vec<String> = (0..CALLS).map(|_| operation_id()).collect();
    let gate_id = operation_id();
    let call = line.door().call("POST", &line.url("/gate/stopped")).field("Hoft-Operation-Id", &gate_id).body(b"x");
    let waiting = call.begin().unwrap();
    line.upstream.gates.wait_for_arrivals("stopped", 1);
    let answers = thread::scope(|scope| {
        let callers = scope.spawn(|| call_all(&line, &ids));
        thread::sleep(Duration::from_millis(900));
        let stops = [scope.spawn(|| line.near.stop()), scope.spawn(|| line.far.stop())];
        for stop in stops {
            assert_eq!(stop.join().unwrap().code(), Some(0));
        }
        line.far.start_again();
        line.near.start_again();
        callers.join().unwrap()
    });
    drop(waiting);
    line.upstream.gates.open("stopped");
    assert_ends(&line, &ids, &answers);
    let view = ended(&line.near, &gate_id);
    assert_eq!(line.upstream.gates.arrivals("stopped"), 1, "{view}");
    assert_calls(&line.near, &line.upstream);
    assert_calls(&line.far, &line.upstream);
    assert_idle(&line.far);
    assert_idle(&line.near);
}

#[test]
fn operations_have_no_end_after_engines_were_stopped_in_turns() {
    let line = start_both_ways();
    assert_calls(&line.near, &line.upstream);
    let ids: Vec<String> = (0..CALLS).map(|_| operation_id()).collect();
    let answers = thread::scope(|scope| {
        let callers = scope.spawn(|| call_all(&line, &ids));
        for engine in [&line.far, &line.near, &line.far] {
            thread::sleep(Duration::from_millis(400));
            assert_eq!(engine.stop().code(), Some(0));
            engine.start_again();
        }
        callers.join().unwrap()
    });
    assert_ends(&line, &ids, &answers);
    assert_calls(&line.near, &line.upstream);
    assert_calls(&line.far, &line.upstream);
    assert_idle(&line.far);
}
