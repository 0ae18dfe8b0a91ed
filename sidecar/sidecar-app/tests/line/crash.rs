//! Engines that are killed, stopped and started again: nothing accepted is lost, nothing is done twice silently.
//!
//! Each test has a line of its own and a few steps on it, because a line costs four processes.

use crate::harness::{Engine, Line, Options, keygen, operation_id};
use crate::process::{eventually, hoft};

#[test]
fn a_call_survives_the_near_engine() {
    let line = Line::start(&Options::default());
    line.assert_works();
    // Killed while the upstream works on it.
    let (id, gate) = (operation_id(), "near-killed");
    let call = line.door().call("POST", &line.url(&format!("/gate/{gate}"))).field("Hoft-Operation-Id", &id);
    let exchange = call.body(b"x").begin().unwrap();
    line.upstream.gates.wait_for_arrivals(gate, 1);
    line.near.kill();
    assert!(exchange.answer().is_err(), "the connection outlived the engine");
    line.upstream.gates.open(gate);
    line.near.start_again();
    assert_eq!(line.near.result(&id).expect_status(200).text(), "the gate was opened");
    assert_eq!(line.upstream.gates.arrivals(gate), 1);
    // Killed with an answer that was never read.
    let (id, gate) = (operation_id(), "near-killed-later");
    let call = line.door().call("POST", &line.url(&format!("/gate/{gate}"))).field("Hoft-Operation-Id", &id);
    let _exchange = call.body(b"x").begin().unwrap();
    line.upstream.gates.open(gate);
    line.near.operation_when(&id, "done", |view| view["state"] == "done");
    line.near.kill();
    line.near.start_again();
    assert_eq!(line.near.result(&id).expect_status(200).text(), "the gate was opened");
    assert_eq!(line.upstream.gates.arrivals(gate), 1);
    line.assert_works();
}

#[test]
fn a_call_that_the_far_engine_was_making_when_it_was_killed_is_reported_or_made_again() {
    let line = Line::start(&Options::default());
    let gates = &line.upstream.gates;
    let post = line.door().call("POST", &line.url("/gate/post-cut")).body(b"x").begin().unwrap();
    let get = line.door().call("GET", &line.url("/gate/get-cut")).begin().unwrap();
    let keyed = line.door().call("POST", &line.url("/gate/keyed-cut")).field("Idempotency-Key", "\"k1\"").body(b"x");
    let keyed = keyed.begin().unwrap();
    for gate in ["post-cut", "get-cut", "keyed-cut"] {
        gates.wait_for_arrivals(gate, 1);
    }
    line.far.kill();
    line.far.start_again();
    let problem = post.answer().unwrap().expect_problem(502, "outcome-unknown", "connection_terminated");
    assert_eq!(problem["executed"], "maybe");
    gates.wait_for_arrivals("get-cut", 2);
    gates.wait_for_arrivals("keyed-cut", 2);
    for gate in ["post-cut", "get-cut", "keyed-cut"] {
        gates.open(gate);
    }
    assert_eq!(get.answer().unwrap().expect_status(200).text(), "the gate was opened");
    assert_eq!(keyed.answer().unwrap().expect_status(200).text(), "the gate was opened");
    line.assert_works();
    assert_eq!(gates.arrivals("post-cut"), 1, "a call that is not idempotent was made twice");
    assert_eq!(gates.arrivals("get-cut"), 2);
    assert_eq!(gates.arrivals("keyed-cut"), 2);
}

#[test]
fn an_engine_that_is_asked_to_end_does_so_well_and_its_calls_go_on_after_the_next_start() {
    let line = Line::start(&Options::default());
    line.assert_works();
    assert_eq!(line.far.stop().code(), Some(0));
    // Accepted while the far engine is away.
    let (id, body) = (operation_id(), b"written while you were out");
    let call = line.door().call("POST", &line.url("/echo")).field("Hoft-Operation-Id", &id);
    let exchange = call.body(body).begin().unwrap();
    line.near.operation_when(&id, "accepted", |_| true);
    assert_eq!(line.near.stop().code(), Some(0));
    drop(exchange);
    line.near.start_again();
    line.far.start_again();
    assert_eq!(line.near.result(&id).expect_status(200).body, body);
    assert_eq!(line.upstream.calls("/echo").len(), 2);
    // A caller that waits through the far engine's absence.
    assert_eq!(line.far.stop().code(), Some(0));
    let waiting = line.door().call("POST", &line.url("/echo")).body(body).begin().unwrap();
    line.far.start_again();
    assert_eq!(waiting.answer().unwrap().expect_status(200).body, body);
    line.assert_works();
}

#[test]
fn an_upload_that_the_near_engines_end_cuts_is_not_whole_at_the_upstream() {
    let line = Line::start(&Options::default());
    let id = operation_id();
    let call = line.door().call("POST", &line.url("/gate/half")).field("Hoft-Operation-Id", &id);
    let mut exchange = call.field("Transfer-Encoding", "chunked").begin().unwrap();
    exchange.conn.write_chunk(&vec![7; 600_000]).unwrap();
    line.near.operation_when(&id, "known", |_| true);
    line.near.kill();
    line.near.start_again();
    let view = line.near.operation_when(&id, "ended", |view| !view["ended_ms"].is_null());
    assert_ne!(view["state"], "done", "{view}");
    assert_eq!(line.upstream.gates.arrivals("half"), 0);
    line.assert_works();
}

#[test]
fn a_state_folder_has_one_engine() {
    let line = Line::start(&Options::default());
    line.assert_works();
    // The same file but for its ports.
    let mut text = std::fs::read_to_string(line.near.config()).unwrap();
    for door in [line.near.door(), line.near.admin()] {
        text = text.replace(&format!("127.0.0.1:{}", door.port), "127.0.0.1:0");
    }
    let twin = line.near.folder.join("twin.yaml");
    std::fs::write(&twin, text).unwrap();
    let output = hoft().arg("sidecar").arg("--config").arg(&twin).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("is in use by") && said.contains("state"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert!(line.near.runs());
    line.assert_works();
}

#[test]
fn packets_of_an_unknown_key_are_counted_and_not_used() {
    // The far side pins a key that is not the near side's.
    let stranger = crate::process::folder();
    std::fs::create_dir(stranger.path().join("north")).unwrap();
    keygen(stranger.path(), "north");
    let token = stranger.path().join("north/north.pub");
    let options =
        Options { far: Box::new(move |file| file.remote.key_files = vec![token.clone()]), ..Options::default() };
    let line = Line::start(&options);
    let _unanswered = line.door().call("POST", &line.url("/gate/unreached")).body(b"x").begin().unwrap();
    let status = eventually("the far engine counts packets of an unknown key", || {
        let status = line.far.statusz();
        status["inbox"]["rejects"]["key_unknown"].as_u64().filter(|count| *count > 0).map(|_| status)
    });
    assert_eq!(status["inbox"]["packets_used"], 0, "{status}");
    assert_eq!(line.upstream.gates.arrivals("unreached"), 0);
    assert_diagnosis(&line.far, "key_mismatch");
}

#[track_caller]
fn assert_diagnosis(engine: &Engine, name: &str) {
    eventually(&format!("`{}` diagnoses {name}", engine.side), || {
        let status = engine.statusz();
        let peer = status["peers"].as_array()?.iter().find(|peer| peer["diagnosis_name"] == name)?.clone();
        peer["diagnosis"].as_str().filter(|text| !text.is_empty()).map(|_| ())
    });
}
