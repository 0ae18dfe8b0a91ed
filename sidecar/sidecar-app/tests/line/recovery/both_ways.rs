//! Both sides call each other over one pair: exchanges of one direction have nothing to do with those of the other.

use super::{assert_calls, assert_idle, assert_problem, ended, in_parallel, restart, start_both_ways};
use crate::harness::{Engine, operation_id};
use crate::upstream::{Upstream, fixed};

const CALLERS: usize = 10;
const CALLS: usize = 12;

/// Calls of several kinds, one after another.
fn call_often(engine: &Engine, upstream: &Upstream, caller: usize) {
    for number in 0..CALLS {
        let name = format!("{}-{caller}-{number}", engine.side);
        let door = engine.door();
        match number % 4 {
            0 => {
                let answer = door.post(&upstream.url("/echo"), name.as_bytes()).expect_status(200);
                assert_eq!(answer.text(), name);
            }
            1 => {
                let mut body = fixed(100_000 + (caller * CALLS + number) as u64);
                body.extend_from_slice(name.as_bytes());
                let answer = door.post(&upstream.url("/echo"), &body).expect_status(200);
                assert!(answer.body == body, "the answer to {name} is another one's");
            }
            2 => {
                let length = (caller * 1000 + number) as u64;
                let answer = door.get(&upstream.url(&format!("/fixed/{length}"))).expect_status(200);
                assert!(answer.body == fixed(length), "the answer to {name} is another one's");
            }
            _ => drop(door.get(&upstream.url("/status/404")).expect_status(404)),
        }
    }
}

#[test]
fn closing_an_exchange_closes_none_of_the_other_direction() {
    let line = start_both_ways();
    in_parallel(2 * CALLERS, |caller| {
        let engine = if caller % 2 == 0 { &line.near } else { &line.far };
        call_often(engine, &line.upstream, caller);
    });
    assert_idle(&line.near);
    assert_idle(&line.far);
}

#[test]
fn a_cancelled_call_cancels_none_of_the_other_direction() {
    let line = start_both_ways();
    for (round, (leaver, stayer)) in [(&line.near, &line.far), (&line.far, &line.near)].into_iter().enumerate() {
        let (left, stayed) = (format!("left-{round}"), format!("stayed-{round}"));
        let leaving = |engine: &Engine, gate: &str| -> Vec<_> {
            let call = engine.door().call("POST", &line.url(&format!("/gate/{gate}"))).body(b"x");
            (0..CALLERS).map(|_| call.clone().begin().unwrap()).collect()
        };
        let (to_leave, to_stay) = (leaving(leaver, &left), leaving(stayer, &stayed));
        line.upstream.gates.wait_for_arrivals(&left, CALLERS);
        line.upstream.gates.wait_for_arrivals(&stayed, CALLERS);
        drop(to_leave);
        assert_idle(stayer);
        line.upstream.gates.open(&stayed);
        for exchange in to_stay {
            assert_eq!(exchange.answer().unwrap().expect_status(200).text(), "the gate was opened");
        }
        line.upstream.gates.open(&left);
        assert_calls(&line.near, &line.upstream);
        assert_calls(&line.far, &line.upstream);
    }
}

#[test]
fn an_engine_that_is_killed_forgets_neither_its_calls_nor_those_it_executes() {
    let line = start_both_ways();
    for (round, (killed, other)) in [(&line.near, &line.far), (&line.far, &line.near)].into_iter().enumerate() {
        let gate = |name: &str| format!("{name}-{round}");
        let url = |name: &str| line.url(&format!("/gate/{}", gate(name)));
        let id = operation_id();
        let own = killed.door().call("POST", &url("own")).field("Hoft-Operation-Id", &id).body(b"x").begin().unwrap();
        let post = other.door().call("POST", &url("post")).body(b"x").begin().unwrap();
        let get = other.door().call("GET", &url("get")).begin().unwrap();
        for name in ["own", "post", "get"] {
            line.upstream.gates.wait_for_arrivals(&gate(name), 1);
        }
        restart(killed);
        drop(own);
        let problem = assert_problem(&post.answer().unwrap());
        assert_eq!(problem["executed"], "maybe", "{problem}");
        line.upstream.gates.wait_for_arrivals(&gate("get"), 2);
        for name in ["own", "post", "get"] {
            line.upstream.gates.open(&gate(name));
        }
        get.answer().unwrap().expect_status(200);
        assert_eq!(killed.result(&id).expect_status(200).text(), "the gate was opened");
        assert_eq!(ended(killed, &id)["state"], "done");
        assert_eq!(line.upstream.gates.arrivals(&gate("own")), 1);
        assert_eq!(line.upstream.gates.arrivals(&gate("post")), 1);
        in_parallel(4, |caller| {
            call_often(if caller % 2 == 0 { &line.near } else { &line.far }, &line.upstream, caller)
        });
    }
}
