//! Idempotency-Key: a call is made once per key, however often and by however many it is repeated.

use std::sync::Barrier;
use std::thread;

use sidecar_config::Retry;

use crate::client::{Answer, Call};
use crate::harness::{Engine, Line, Options, operation_id};
use crate::shared::line;

/// A POST with this key.
fn keyed(engine: &Engine, target: &str, key: &str, body: &[u8]) -> Call {
    engine.door().call("POST", target).field("Idempotency-Key", key).body(body)
}

fn is_replay(answer: &Answer) -> bool {
    answer.get("idempotency-replayed") == Some("true")
}

#[test]
fn a_repeat_is_answered_with_the_first_response_and_not_made() {
    let line = line();
    let (key, url) = (operation_id(), line.url("/status/201?a=repeat"));
    let first = keyed(&line.near, &url, &key, b"once").send().expect_status(201);
    assert!(!is_replay(&first));
    let id = first.get("hoft-operation-id").unwrap().to_owned();
    for _ in 0..2 {
        let again = keyed(&line.near, &url, &key, b"once").send().expect_status(201);
        assert!(is_replay(&again), "{again:?}");
        assert_eq!((again.text(), again.get("x-upstream")), (first.text(), Some("yes")));
        assert_eq!(again.get("hoft-operation-id"), Some(id.as_str()));
    }
    // However the content is cut on its way.
    let call = line.door().call("POST", &url).field("Idempotency-Key", &key).field("Transfer-Encoding", "chunked");
    let mut pieces = call.begin().unwrap();
    for piece in [&b"on"[..], b"ce"] {
        pieces.conn.write_chunk(piece).unwrap();
    }
    pieces.conn.write_last_chunk(&[]).unwrap();
    assert!(is_replay(&pieces.answer().unwrap().expect_status(201)));
    let made = line.upstream.calls("/status/201?a=repeat");
    assert_eq!(made.len(), 1);
    // The upstream has the key too.
    assert!(made[0].fields.iter().any(|(name, value)| name.eq_ignore_ascii_case("idempotency-key") && *value == key));
}

#[test]
fn a_key_of_another_request_is_refused() {
    let line = line();
    let (key, url) = (operation_id(), line.url("/echo?a=reused"));
    let first = keyed(&line.near, &url, &key, b"mine").send().expect_status(200);
    let id = first.get("hoft-operation-id").unwrap().to_owned();
    let other_target = line.url("/echo?a=reused-elsewhere");
    let put = line.door().call("PUT", &url).field("Idempotency-Key", &key).body(b"mine");
    let longer = [&b"mine"[..], &vec![b'x'; 700_000]].concat();
    for call in [
        keyed(&line.near, &url, &key, b"yours"),
        keyed(&line.near, &url, &key, b""),
        keyed(&line.near, &url, &key, &longer),
        keyed(&line.near, &other_target, &key, b"mine"),
        put,
    ] {
        let answer = call.send();
        answer.expect_problem(422, "idempotency-key-reused", "http_request_error");
        assert_eq!(answer.get("hoft-operation-id"), Some(id.as_str()));
        assert!(!is_replay(&answer));
    }
    assert_eq!(line.upstream.calls("/echo?a=reused").len(), 1);
    // Elsewhere it is another key: a route has keys of its own.
    let by_route = keyed(&line.near, "/to/up/echo?a=reused-by-route", &key, b"yours").send().expect_status(200);
    assert!(!is_replay(&by_route));
}

#[test]
fn a_key_in_progress_is_a_conflict_that_says_where_to_ask() {
    let line = line();
    let (key, gate) = (operation_id(), "key-in-progress");
    let url = line.url(&format!("/gate/{gate}"));
    let first = keyed(&line.near, &url, &key, b"x").begin().unwrap();
    line.upstream.gates.wait_for_arrivals(gate, 1);
    let second = keyed(&line.near, &url, &key, b"x").send();
    let problem = second.expect_problem(409, "idempotency-key-in-progress", "http_request_error");
    let id = second.get("hoft-operation-id").unwrap().to_owned();
    assert_eq!(second.get("location"), Some(format!("/v1/operations/{id}").as_str()));
    assert_eq!(problem["operation"], id);
    assert!(second.get("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    // The first one's caller goes away: what it asked for goes on.
    drop(first);
    line.upstream.gates.open(gate);
    line.near.operation_when(&id, "done", |view| view["state"] == "done");
    let third = keyed(&line.near, &url, &key, b"x").send().expect_status(200);
    assert!(is_replay(&third));
    assert_eq!(third.text(), "the gate was opened");
    assert_eq!(line.upstream.gates.arrivals(gate), 1);
}

#[test]
fn of_many_calls_at_once_with_one_key_one_is_made() {
    const CALLERS: usize = 8;
    let line = line();
    let (key, gate) = (operation_id(), "at-once");
    let url = line.url(&format!("/gate/{gate}"));
    let ready = Barrier::new(CALLERS);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let call = || {
            ready.wait();
            keyed(&line.near, &url, &key, b"x").send().status
        };
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(call)).collect();
        line.upstream.gates.wait_for_arrivals(gate, 1);
        // All but one are told of the conflict while nothing is answered yet.
        while callers.iter().filter(|caller| caller.is_finished()).count() < CALLERS - 1 {
            thread::sleep(std::time::Duration::from_millis(10));
        }
        line.upstream.gates.open(gate);
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), CALLERS - 1, "{statuses:?}");
    assert_eq!(line.upstream.gates.arrivals(gate), 1);
    assert!(is_replay(&keyed(&line.near, &url, &key, b"x").send().expect_status(200)));
}

#[test]
fn a_key_is_free_again_when_its_call_was_surely_not_made() {
    let line = line();
    let key = operation_id();
    // The far side refuses.
    let refused = || keyed(&line.near, "http://elsewhere.example/x", &key, b"x").send();
    let answers = [refused(), refused()];
    for answer in &answers {
        let problem = answer.expect_problem(403, "route-denied", "http_request_denied");
        assert_eq!(problem["executed"], "no");
        assert!(!is_replay(answer));
    }
    assert_ne!(answers[0].get("hoft-operation-id"), answers[1].get("hoft-operation-id"));
    // An upload that its caller cut: nothing was executed, and the whole request may come later.
    let (key, url) = (operation_id(), line.url("/gate/key-of-a-cut-upload"));
    let call = line.door().call("POST", &url).field("Idempotency-Key", &key).field("Content-Length", "4");
    let mut cut = call.begin().unwrap();
    cut.conn.write(b"ab").unwrap();
    drop(cut);
    line.upstream.gates.open("key-of-a-cut-upload");
    let whole = crate::process::eventually("the key is free", || {
        let answer = keyed(&line.near, &url, &key, b"abcd").send();
        (answer.status != 409).then_some(answer)
    });
    // If some of it was sent on, that is not known to have had no effect.
    assert!(matches!(whole.status, 200 | 502), "{whole:?}");
    assert_eq!(whole.status == 502, is_replay(&whole), "{whole:?}");
}

#[test]
fn what_is_no_key_is_refused_and_a_key_of_a_safe_method_is_the_upstreams_alone() {
    let line = line();
    let url = line.url("/fixed/9?no-key");
    for key in ["", &"x".repeat(256)] {
        keyed(&line.near, &url, key, b"x").send().expect_problem(400, "bad-request", "http_request_error");
    }
    let twice = keyed(&line.near, &url, "a", b"x").field("Idempotency-Key", "b");
    twice.send().expect_problem(400, "bad-request", "http_request_error");
    assert!(line.upstream.calls("/fixed/9?no-key").is_empty());
    for made in 1..=2 {
        let answer = line.door().call("GET", &url).field("Idempotency-Key", "of-a-get").send().expect_status(200);
        assert!(!is_replay(&answer));
        assert_eq!(line.upstream.calls("/fixed/9?no-key").len(), made);
    }
}

#[test]
fn a_key_outlives_a_killed_engine() {
    let line = Line::start(&Options::default());
    line.assert_works();
    let (key, gate) = (operation_id(), "key-near-killed");
    let url = line.url(&format!("/gate/{gate}"));
    let exchange = keyed(&line.near, &url, &key, b"x").begin().unwrap();
    line.upstream.gates.wait_for_arrivals(gate, 1);
    line.near.kill();
    assert!(exchange.answer().is_err(), "the connection outlived the engine");
    line.near.start_again();
    let pending = keyed(&line.near, &url, &key, b"x").send();
    pending.expect_problem(409, "idempotency-key-in-progress", "http_request_error");
    let id = pending.get("hoft-operation-id").unwrap().to_owned();
    line.upstream.gates.open(gate);
    line.near.operation_when(&id, "done", |view| view["state"] == "done");
    for _ in 0..2 {
        let again = keyed(&line.near, &url, &key, b"x").send().expect_status(200);
        assert!(is_replay(&again));
        assert_eq!(again.text(), "the gate was opened");
        keyed(&line.near, &url, &key, b"y").send().expect_problem(422, "idempotency-key-reused", "http_request_error");
        line.near.kill();
        line.near.start_again();
    }
    assert_eq!(line.upstream.gates.arrivals(gate), 1);
}

#[test]
fn an_unknown_outcome_stays_one_and_the_routes_retry_policy_counts() {
    let never = Options { far: Box::new(|file| file.inbound.allow[0].retry = Retry::Never), ..Options::default() };
    let line = Line::start(&never);
    let (key, gate) = (operation_id(), "unknown-outcome");
    let url = line.url(&format!("/gate/{gate}"));
    let exchange = keyed(&line.near, &url, &key, b"x").begin().unwrap();
    let get = line.door().call("GET", &line.url("/gate/get-once")).begin().unwrap();
    line.upstream.gates.wait_for_arrivals(gate, 1);
    line.upstream.gates.wait_for_arrivals("get-once", 1);
    line.far.kill();
    line.far.start_again();
    let first = exchange.answer().unwrap();
    let unknown = |answer: &Answer| {
        let problem = answer.expect_problem(502, "outcome-unknown", "connection_terminated");
        assert_eq!(problem["executed"], "maybe");
    };
    unknown(&first);
    unknown(&get.answer().unwrap());
    for _ in 0..2 {
        let again = keyed(&line.near, &url, &key, b"x").send();
        unknown(&again);
        assert!(is_replay(&again));
        assert_eq!(again.get("hoft-operation-id"), first.get("hoft-operation-id"));
    }
    line.upstream.gates.open(gate);
    line.upstream.gates.open("get-once");
    line.assert_works();
    assert_eq!(line.upstream.gates.arrivals(gate), 1, "a call of unknown outcome was repeated");
    assert_eq!(line.upstream.gates.arrivals("get-once"), 1, "`retry: never` counts for GET too");
}

#[test]
fn a_route_that_is_safe_to_repeat_is_tried_three_times_at_most() {
    let safe = Options { far: Box::new(|file| file.inbound.allow[0].retry = Retry::Safe), ..Options::default() };
    let line = Line::start(&safe);
    let url = line.url("/gate/safe-post");
    let post = line.door().call("POST", &url).body(b"x").begin().unwrap();
    for attempt in 1..=3 {
        line.upstream.gates.wait_for_arrivals("safe-post", attempt);
        line.far.kill();
        line.far.start_again();
    }
    let problem = post.answer().unwrap().expect_problem(502, "outcome-unknown", "connection_terminated");
    assert_eq!(problem["executed"], "maybe");
    line.upstream.gates.open("safe-post");
    line.assert_works();
    assert_eq!(line.upstream.gates.arrivals("safe-post"), 3);
}

#[test]
fn a_call_that_nobody_waits_for_has_its_key_too() {
    let line = line();
    let (key, gate) = (operation_id(), "key-without-waiting");
    let url = line.url(&format!("/gate/{gate}"));
    let waitless = |body: &[u8]| keyed(&line.near, &url, &key, body).field("Prefer", "respond-async").send();
    let first = waitless(b"x").expect_status(202);
    let id = first.get("hoft-operation-id").unwrap().to_owned();
    line.upstream.gates.wait_for_arrivals(gate, 1);
    let second = waitless(b"x");
    second.expect_problem(409, "idempotency-key-in-progress", "http_request_error");
    assert_eq!(second.get("location"), first.get("location"));
    line.upstream.gates.open(gate);
    line.near.operation_when(&id, "done", |view| view["state"] == "done");
    assert!(is_replay(&waitless(b"x").expect_status(200)));
    waitless(b"y").expect_problem(422, "idempotency-key-reused", "http_request_error");
    assert_eq!(line.upstream.gates.arrivals(gate), 1);
}
