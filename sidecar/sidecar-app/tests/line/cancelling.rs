//! Operations that are ended by DELETE, or by their deadline.

use std::thread;
use std::time::Duration;

use crate::asynchronous::promised;
use crate::client::Answer;
use crate::harness::{Engine, Line, Options, operation_id};
use crate::process::eventually;
use crate::shared::line;

fn delete(engine: &Engine, id: &str) -> Answer {
    engine.door().call("DELETE", &format!("/v1/operations/{id}")).send()
}

#[test]
fn a_call_that_is_cancelled_before_its_dispatch_is_never_made() {
    let line = line();
    let id = operation_id();
    let call = line.door().call("POST", &line.url("/echo/cancelled-before")).field("Hoft-Operation-Id", &id);
    // Its head is at the far side, which waits for the first octet of the body.
    let exchange = call.field("Transfer-Encoding", "chunked").begin().unwrap();
    line.near.operation_when(&id, "at the far side", |view| view["state"] == "partially_acked");
    let answer = delete(&line.near, &id).expect_status(202);
    assert_eq!(answer.get("location"), Some(format!("/v1/operations/{id}").as_str()));
    // Whoever waits is told at once.
    exchange.answer().unwrap().expect_problem(410, "cancelled", "http_request_error");
    let view = line.near.operation_when(&id, "cancelled", |view| view["state"] == "cancelled");
    assert_eq!((&view["executed"], &view["problem"]), (&"no".into(), &"cancelled".into()), "{view}");
    assert_eq!(delete(&line.near, &id).expect_status(200).json()["state"], "cancelled", "it is idempotent");
    line.assert_works();
    assert!(line.upstream.calls("/echo/cancelled-before").is_empty(), "the call was made");
}

#[test]
fn a_call_that_is_cancelled_while_it_is_made_says_so() {
    let line = line();
    let gate = "cancelled-after";
    let call = line.door().call("POST", &line.url(&format!("/gate/{gate}"))).field("Prefer", "respond-async");
    let id = promised(&call.body(b"x").send());
    line.upstream.gates.wait_for_arrivals(gate, 1);
    let answer = delete(&line.near, &id);
    assert!(matches!(answer.status, 200 | 202), "{answer:?}");
    let view = line.near.operation_when(&id, "cancelled", |view| view["state"] == "cancelled");
    assert_eq!(view["executed"], "maybe", "{view}");
    let result = line.door().get(&format!("/v1/operations/{id}/result"));
    result.expect_problem(410, "cancelled", "http_request_error");
    line.upstream.gates.open(gate);
    line.assert_works();
    assert_eq!(line.upstream.gates.arrivals(gate), 1);
}

#[test]
fn what_is_not_there_or_has_ended_is_not_cancelled() {
    let line = line();
    let id = operation_id();
    delete(&line.near, &id).expect_problem(404, "unknown-operation", "http_request_error");
    let call = line.door().call("POST", &line.url("/echo")).field("Hoft-Operation-Id", &id);
    call.body(b"x").send().expect_status(200);
    line.near.operation_when(&id, "done", |view| view["state"] == "done");
    let answer = delete(&line.near, &id);
    let problem = answer.expect_problem(409, "operation-ended", "http_request_error");
    assert_eq!(problem["executed"], "yes");
    assert_eq!(line.near.result(&id).expect_status(200).text(), "x");
    for (path, allow) in [
        (format!("/v1/operations/{id}"), "GET, HEAD, DELETE"),
        (format!("/v1/operations/{id}/result"), "GET, HEAD"),
        ("/v1/operations".to_owned(), "GET, HEAD"),
    ] {
        let answer = line.door().call("PATCH", &path).send().expect_status(405);
        assert_eq!(answer.get("allow"), Some(allow), "{path}");
    }
}

#[test]
fn a_wish_to_cancel_survives_a_kill_and_an_outage() {
    let line = Line::start(&Options::default());
    line.assert_works();
    let gate = "cancelled-over-a-kill";
    let call = line.door().call("POST", &line.url(&format!("/gate/{gate}"))).field("Prefer", "respond-async");
    let id = promised(&call.body(b"x").send());
    line.upstream.gates.wait_for_arrivals(gate, 1);
    let outage = line.outage_from(&line.near);
    delete(&line.near, &id).expect_status(202);
    line.near.kill();
    line.near.start_again();
    let view = line.door().get(&format!("/v1/operations/{id}")).expect_status(200).json();
    assert_eq!(view["cancelling"], true, "{view}");
    drop(outage);
    let view = line.near.operation_when(&id, "cancelled", |view| view["state"] == "cancelled");
    assert_eq!(view["executed"], "maybe", "{view}");
    line.upstream.gates.open(gate);
    line.assert_works();
}

#[test]
fn the_list_is_of_the_states_that_are_asked_for() {
    let line = line();
    let gate = "listed-by-state";
    let call = line.door().call("POST", &line.url(&format!("/gate/{gate}"))).field("Prefer", "respond-async");
    let id = promised(&call.body(b"x").send());
    line.upstream.gates.wait_for_arrivals(gate, 1);
    let listed = |query: &str| {
        let list = line.door().get(&format!("/v1/operations?{query}")).expect_status(200).json();
        list.as_array().unwrap().iter().any(|view| view["id"] == id.as_str())
    };
    eventually("it is listed as executing", || listed("state=executing,acked&limit=1000").then_some(()));
    assert!(!listed("state=done&state=failed"));
    line.upstream.gates.open(gate);
    line.near.result(&id).expect_status(200);
    eventually("it is listed as done", || listed("state=done").then_some(()));
    assert!(!listed("state=executing"));
    assert_eq!(line.door().get("/v1/operations?limit=1").json().as_array().unwrap().len(), 1);
    for query in ["state=running", "limit=0", "limit=many", "page=1"] {
        let answer = line.door().get(&format!("/v1/operations?{query}"));
        answer.expect_problem(400, "bad-request", "http_request_error");
    }
}

#[test]
fn a_deadline_ends_a_call_and_its_caller_is_told() {
    let line = line();
    let gate = "deadline-ends";
    let url = line.url(&format!("/gate/{gate}"));
    let call = line.door().call("POST", &url).field("Hoft-Deadline", "2").body(b"x");
    let answer = call.send();
    answer.expect_problem(504, "expired", "http_response_timeout");
    let id = answer.get("hoft-operation-id").unwrap();
    let view = line.near.operation_when(id, "expired", |view| view["state"] == "expired");
    assert!(!view["deadline_ms"].is_null(), "{view}");
    line.upstream.gates.open(gate);
    // One that leaves time enough is no hindrance, also where the call must not be repeated.
    let call = line.door().call("POST", &line.url("/echo")).field("Hoft-Deadline", "600").body(b"in time");
    assert_eq!(call.send().expect_status(200).text(), "in time");
}

#[test]
fn a_call_that_arrives_after_its_deadline_is_not_made() {
    let line = Line::start(&Options::default());
    // The very first call of a pair may have a deadline: by then the clocks were compared.
    let first = line.door().call("POST", &line.url("/echo")).field("Hoft-Deadline", "600").body(b"first");
    assert_eq!(first.send().expect_status(200).text(), "first");
    let outage = line.outage_from(&line.near);
    let call = line.door().call("POST", &line.url("/echo/too-late")).field("Hoft-Deadline", "3");
    let id = promised(&call.field("Prefer", "respond-async").body(b"x").send());
    eventually("every record is in a packet", || {
        let status = line.near.statusz();
        let count = |name: &str| status["peers"][0][name].as_u64().unwrap();
        let all = count("records_sent") - count("records_resent") + 1 >= count("next");
        (all && status["publishing"] == false).then_some(())
    });
    // An engine that is gone cannot take its call back: only the far side's own rule keeps it from being made.
    line.near.kill();
    thread::sleep(Duration::from_secs(6));
    drop(outage);
    eventually("the far side refused it", || {
        let log = std::fs::read_to_string(line.far.log()).unwrap();
        log.contains("its deadline passed").then_some(())
    });
    line.near.start_again();
    let view = line.near.operation_when(&id, "expired", |view| view["state"] == "expired");
    assert_ne!(view["executed"], "yes", "{view}");
    line.assert_works();
    assert!(line.upstream.calls("/echo/too-late").is_empty(), "the call was made after its deadline");
}
