//! Operations: an id of the caller's choice, what becomes of it, and the answer that is picked up later.

use crate::harness::operation_id;
use crate::process::eventually;
use crate::shared::line;

#[test]
fn a_chosen_id_names_the_operation_and_its_answer_can_be_fetched_again() {
    let line = line();
    let id = operation_id();
    let call = line.door().call("POST", &line.url("/echo")).field("Hoft-Operation-Id", &id);
    let answer = call.body(b"once").send().expect_status(200);
    assert_eq!(answer.get("hoft-operation-id"), Some(id.as_str()));
    let view = line.near.operation_when(&id, "done", |view| view["state"] == "done");
    assert_eq!(view["id"], id);
    assert_eq!(view["method"], "POST");
    assert_eq!(view["status"], 200);
    for _ in 0..2 {
        let again = line.near.result(&id).expect_status(200);
        assert_eq!(again.text(), "once");
        assert_eq!(again.get("hoft-operation-id"), Some(id.as_str()));
    }
    let list = line.door().get("/v1/operations").expect_status(200).json();
    assert!(list.as_array().unwrap().iter().any(|view| view["id"] == id), "{list}");
}

#[test]
fn a_large_answer_can_be_fetched_again_whole() {
    let line = line();
    let id = operation_id();
    let call = line.door().call("GET", &line.url("/source/5000000")).field("Hoft-Operation-Id", &id);
    let first = call.send().expect_status(200);
    let again = line.near.result(&id).expect_status(200);
    assert_eq!(first.body.len(), 5_000_000);
    assert!(first.body == again.body, "the stored answer differs");
}

#[test]
fn an_id_is_used_once() {
    let line = line();
    let (id, gate) = (operation_id(), "used-once");
    let call = line.door().call("POST", &line.url(&format!("/gate/{gate}"))).field("Hoft-Operation-Id", &id).body(b"x");
    let first = call.clone().begin().unwrap();
    line.upstream.gates.wait_for_arrivals(gate, 1);
    let second = call.clone().send();
    second.expect_problem(409, "duplicate-operation", "http_request_error");
    assert_eq!(second.get("location"), Some(format!("/v1/operations/{id}").as_str()));
    line.upstream.gates.open(gate);
    first.answer().unwrap().expect_status(200);
    call.send().expect_problem(409, "duplicate-operation", "http_request_error");
    assert_eq!(line.upstream.gates.arrivals(gate), 1);
}

#[test]
fn an_answer_is_picked_up_after_the_connection_broke() {
    let line = line();
    let (id, gate) = (operation_id(), "connection-broke");
    let call = line.door().call("POST", &line.url(&format!("/gate/{gate}"))).field("Hoft-Operation-Id", &id);
    let exchange = call.body(b"x").begin().unwrap();
    line.upstream.gates.wait_for_arrivals(gate, 1);
    drop(exchange);
    let pending = line.door().get(&format!("/v1/operations/{id}/result"));
    pending.expect_problem(409, "result-not-ready", "http_request_error");
    assert!(pending.get("retry-after").is_some());
    line.upstream.gates.open(gate);
    assert_eq!(line.near.result(&id).expect_status(200).text(), "the gate was opened");
    assert_eq!(line.upstream.gates.arrivals(gate), 1);
}

#[test]
fn a_caller_who_is_held_too_long_is_told_where_to_ask() {
    let line = line();
    let gate = "held-too-long";
    let answer = line.door().get(&format!("/to/hasty/gate/{gate}"));
    let problem = answer.expect_problem(504, "wait-over", "http_response_timeout");
    let location = answer.get("location").unwrap().to_owned();
    let id = answer.get("hoft-operation-id").unwrap().to_owned();
    assert_eq!(location, format!("/v1/operations/{id}"));
    assert_eq!(problem["operation"], id);
    line.upstream.gates.open(gate);
    assert_eq!(line.near.result(&id).expect_status(200).text(), "the gate was opened");
    assert_eq!(line.upstream.gates.arrivals(gate), 1);
}

#[test]
fn a_call_nobody_waits_for_is_cancelled() {
    let line = line();
    let gate = "nobody-waits";
    let exchange = line.door().call("POST", &line.url(&format!("/gate/{gate}"))).body(b"x").begin().unwrap();
    line.upstream.gates.wait_for_arrivals(gate, 1);
    drop(exchange);
    eventually("the operation is cancelled", || {
        let list = line.door().get("/v1/operations").expect_status(200).json();
        let own = list.as_array()?.iter().find(|view| view["target"].as_str().is_some_and(|at| at.ends_with(gate)))?;
        (own["state"] == "cancelled").then_some(())
    });
    line.upstream.gates.open(gate);
    line.assert_works();
}

#[test]
fn an_unknown_operation_is_not_found() {
    let line = line();
    let id = operation_id();
    for path in [format!("/v1/operations/{id}"), format!("/v1/operations/{id}/result")] {
        line.door().get(&path).expect_problem(404, "unknown-operation", "http_request_error");
    }
}

#[test]
fn what_is_no_operation_id_is_refused() {
    let line = line();
    for id in ["x", "00000000-0000-0000-0000-000000000000", "0190b3a0a4f17c4e9d0a5b8e6f3c2d1e", "..", "%00"] {
        let answer = line.door().get(&format!("/v1/operations/{id}"));
        assert!(matches!(answer.status, 400 | 404), "{id}: {answer:?}");
        let answer = line.door().call("GET", &line.url("/fixed/8")).field("Hoft-Operation-Id", id).send();
        answer.expect_problem(400, "bad-request", "http_request_error");
    }
    assert!(line.upstream.calls("/fixed/8").is_empty());
    let path = format!("/v1/operations/{}", operation_id());
    assert_eq!(line.door().post(&path, b"x").status, 405);
}

#[test]
fn a_refused_call_by_the_far_side_is_a_failed_operation() {
    let line = line();
    let id = operation_id();
    let call = line.door().call("POST", "http://elsewhere.example/x").field("Hoft-Operation-Id", &id);
    call.body(b"x").send().expect_problem(403, "route-denied", "http_request_denied");
    let view = line.near.operation_when(&id, "ended", |view| !view["ended_ms"].is_null());
    assert_eq!(view["state"], "failed", "{view}");
    assert_eq!(view["executed"], "no", "{view}");
    assert_eq!(view["problem"], "route-denied", "{view}");
}
