//! Callers who do not wait: 202 and where to ask, waits that the caller bounds, and what of that survives a kill.

use std::thread;
use std::time::Duration;

use crate::client::Answer;
use crate::harness::{Line, Options, operation_id};
use crate::process::eventually;
use crate::shared::line;

/// Asserts that this is the promise of an operation; gives its id.
#[track_caller]
pub(crate) fn promised(answer: &Answer) -> String {
    assert_eq!(answer.status, 202, "{:?}\n{}", answer.fields, answer.text());
    let id = answer.get("hoft-operation-id").unwrap().to_owned();
    assert_eq!(answer.get("location"), Some(format!("/v1/operations/{id}").as_str()));
    assert!(answer.get("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert!(answer.get("preference-applied").unwrap().contains("respond-async"));
    assert_eq!(answer.json()["id"], id);
    id
}

#[test]
fn a_caller_who_does_not_wait_is_told_where_to_ask() {
    let line = line();
    let gate = "does-not-wait";
    let call = line.door().call("POST", &line.url(&format!("/gate/{gate}"))).field("Prefer", "respond-async");
    let id = promised(&call.body(b"x").send());
    line.upstream.gates.wait_for_arrivals(gate, 1);
    let pending = line.door().get(&format!("/v1/operations/{id}/result"));
    pending.expect_problem(409, "result-not-ready", "http_request_error");
    // A response that overtakes this leaves nothing to tell.
    let view = line.near.operation_when(&id, "executing", |view| view["state"] == "executing");
    assert_eq!(view["attempt"], 1, "{view}");
    line.upstream.gates.open(gate);
    assert_eq!(line.near.result(&id).expect_status(200).text(), "the gate was opened");
    let view = line.near.operation_when(&id, "done", |view| view["state"] == "done");
    assert_eq!(view["request"]["acked"], 1, "{view}");
    assert_eq!(view["response"]["octets"], 19, "{view}");
    assert_eq!(view["history"][0]["state"], "accepted", "{view}");
    assert_eq!(line.upstream.gates.arrivals(gate), 1);
}

#[test]
fn a_caller_waits_as_long_as_he_wishes() {
    let line = line();
    let gate = "as-long-as-he-wishes";
    let url = line.url(&format!("/gate/{gate}"));
    let answer = line.door().call("GET", &url).field("Prefer", "wait=1").send();
    answer.expect_problem(504, "wait-over", "http_response_timeout");
    assert_eq!(answer.get("preference-applied"), Some("wait=1"));
    let id = answer.get("hoft-operation-id").unwrap().to_owned();
    let both = line.door().call("GET", &url).field("Prefer", "respond-async, wait=1").send();
    let other = promised(&both);
    assert_eq!(both.get("preference-applied"), Some("respond-async, wait=1"));
    line.upstream.gates.open(gate);
    for id in [id, other] {
        assert_eq!(line.near.result(&id).expect_status(200).text(), "the gate was opened");
    }
    for wish in ["respond-async, wait=60", "wait=60"] {
        let answer = line.door().call("GET", &line.url("/fixed/10")).field("Prefer", wish).send().expect_status(200);
        assert_eq!(answer.get("preference-applied"), Some("wait=60"), "{wish}");
        assert_eq!(answer.body.len(), 10);
    }
    // No rule lets a caller wait longer than it says.
    let answer = line.door().call("GET", "/to/hasty/fixed/1").field("Prefer", "wait=600").send().expect_status(200);
    assert_eq!(answer.get("preference-applied"), Some("wait=1"));
}

#[test]
fn a_wish_of_ours_that_is_malformed_is_refused() {
    let line = line();
    for (field, value) in [
        ("Hoft-Deadline", "soon"),
        ("Hoft-Deadline", "0"),
        ("Hoft-Callback", "/relative"),
        ("Hoft-Events", "ftp://x/"),
        ("Idempotency-Key", ""),
    ] {
        let call = line.door().call("GET", &line.url("/fixed/31")).field(field, value);
        let problem = call.send().expect_problem(400, "bad-request", "http_request_error");
        assert_eq!(problem["executed"], "no", "{field}: {value}");
    }
    assert!(line.upstream.calls("/fixed/31").is_empty());
}

#[test]
fn a_body_that_breaks_off_is_no_promise_and_no_call() {
    let line = line();
    let id = operation_id();
    let call = line.door().call("POST", &line.url("/echo/breaks-off")).field("Prefer", "respond-async");
    let call = call.field("Hoft-Operation-Id", &id).field("Content-Length", "1000");
    let mut exchange = call.begin().unwrap();
    exchange.conn.write(b"not all of it").unwrap();
    line.near.operation_when(&id, "accepted", |view| view["state"] != "done");
    drop(exchange);
    let view = line.near.operation_when(&id, "ended", |view| !view["ended_ms"].is_null());
    assert!(["failed", "unknown"].contains(&view["state"].as_str().unwrap()), "{view}");
    line.assert_works();
}

#[test]
fn two_hundred_callers_who_do_not_wait_are_all_served_once() {
    const CALLS: usize = 200;
    let line = line();
    let ids: Vec<String> = thread::scope(|scope| {
        let line = &line;
        let call = move |number: usize| {
            let url = line.url(&format!("/echo/many/{number}/"));
            let body = vec![b'a' + u8::try_from(number % 26).unwrap(); number * 7];
            promised(&line.door().call("POST", &url).field("Prefer", "respond-async").body(&body).send())
        };
        let callers: Vec<_> = (0..CALLS).map(|number| scope.spawn(move || call(number))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    for (number, id) in ids.iter().enumerate() {
        let answer = line.near.result(id).expect_status(200);
        assert_eq!(answer.body, vec![b'a' + u8::try_from(number % 26).unwrap(); number * 7], "{number}");
        assert_eq!(line.upstream.calls(&format!("/echo/many/{number}/")).len(), 1, "{number}");
    }
}

#[test]
fn an_operation_of_a_client_that_polls_survives_a_kill() {
    let line = Line::start(&Options::default());
    line.assert_works();
    let gate = "polled-over-a-kill";
    let call = line.door().call("POST", &line.url(&format!("/gate/{gate}"))).field("Prefer", "respond-async");
    let id = promised(&call.body(&[7; 300_000]).send());
    let (near, upstream) = (&line.near, &line.upstream);
    thread::scope(|scope| {
        let polls = scope.spawn(|| {
            eventually("the polled operation is done", || {
                let answer = near.door().call("GET", &format!("/v1/operations/{id}")).try_send().ok()?;
                // While the engine is down there is no answer; when it is back, the operation is there.
                let view = answer.expect_status(200).json();
                thread::sleep(Duration::from_millis(20));
                (view["state"] == "done").then_some(view)
            })
        });
        upstream.gates.wait_for_arrivals(gate, 1);
        near.kill();
        upstream.gates.open(gate);
        near.start_again();
        let view = polls.join().unwrap();
        assert_eq!((view["status"].as_u64(), view["result"].as_bool()), (Some(200), Some(true)), "{view}");
    });
    assert_eq!(line.near.result(&id).expect_status(200).text(), "the gate was opened");
    assert_eq!(line.upstream.gates.arrivals(gate), 1);
}
