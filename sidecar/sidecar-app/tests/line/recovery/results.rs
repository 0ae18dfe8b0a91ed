//! Stored results: they are there after restarts and checkpoints, octet for octet.

use std::time::Duration;

use super::restart;
use crate::client::Answer;
use crate::harness::{Line, Options, destination, inbound, operation_id, outbound};
use crate::upstream::Upstream;

/// A line with a route whose callers are held for one second.
fn start_hasty() -> Line {
    let upstream = Upstream::start();
    let port = upstream.port;
    let options = Options {
        near: Box::new(move |file| {
            let place = destination("http", "localhost", port);
            let mut hasty = outbound("hasty", place, Some(format!("http://localhost:{port}/")));
            hasty.timeout = Duration::from_secs(1);
            file.outbound.allow.push(hasty);
        }),
        far: Box::new(move |file| file.inbound.allow.push(inbound("hasty", destination("http", "localhost", port)))),
        ..Options::default()
    };
    Line::start_with(&options, upstream)
}

/// Names and values, in order.
type Lines = Vec<(String, String)>;

/// What of an answer must stay the same; the time of day is of the answer's own making.
fn lasting(answer: &Answer) -> (u16, Lines, Lines) {
    let mut fields = answer.fields.clone();
    fields.retain(|(name, _)| !name.eq_ignore_ascii_case("date"));
    (answer.status, fields, answer.trailers.clone())
}

/// Calls of many shapes with chosen ids: each id with its stored result.
fn call_all(line: &Line) -> Vec<(String, Answer)> {
    line.upstream.gates.open("results");
    let shapes = [
        ("POST", "/echo/result", 200),
        ("GET", "/source/3000000", 200),
        ("GET", "/fixed/0", 200),
        ("GET", "/status/204", 204),
        ("GET", "/status/500", 500),
        ("GET", "/fields/result", 200),
        ("GET", "/chunks/results/5", 200),
        ("HEAD", "/fixed/123", 200),
    ];
    let call = |(method, path, status): (&str, &str, u16)| {
        let id = operation_id();
        let call = line.door().call(method, &line.url(path)).field("Hoft-Operation-Id", &id).field("TE", "trailers");
        let call = if method == "POST" { call.body(&[7; 200_000]) } else { call };
        let first = call.send().expect_status(status);
        let stored = line.near.result(&id).expect_status(status);
        assert!(first.body == stored.body, "the stored result of {method} {path} differs");
        (id, stored)
    };
    shapes.into_iter().map(call).collect()
}

#[track_caller]
fn assert_same(line: &Line, results: &[(String, Answer)], when: &str) {
    for (id, before) in results {
        let now = line.near.result(id);
        assert_eq!(lasting(&now), lasting(before), "{when}");
        assert!(
            now.body == before.body,
            "{when}: the body of {id} differs: {} octets of {}",
            now.body.len(),
            before.body.len()
        );
        let view = line.near.operation_when(id, "done", |view| view["state"] == "done");
        assert_eq!(view["status"], before.status, "{when}: {view}");
    }
}

#[test]
fn stored_results_are_lost_or_changed_by_restarts() {
    let line = Line::start(&Options::default());
    let results = call_all(&line);
    for round in 0..2 {
        restart(&line.near);
        assert_same(&line, &results, &format!("after restart {round} of the near engine"));
    }
    restart(&line.far);
    line.assert_works();
    assert_same(&line, &results, "after a restart of the far engine");
    let more = call_all(&line);
    restart(&line.near);
    assert_same(&line, &results, "after the last restart");
    assert_same(&line, &more, "after the last restart");
}

#[test]
fn stored_results_are_lost_or_changed_by_checkpoints() {
    let line = Line::start(&Options::default());
    let results = call_all(&line);
    for round in 0..2 {
        // More than a segment of the log holds.
        let passed = line.door().get(&line.url("/source/75000000")).expect_status(200);
        assert_eq!(passed.body.len(), 75_000_000);
        assert_same(&line, &results, &format!("after checkpoint {round}"));
        restart(&line.near);
        assert_same(&line, &results, &format!("after checkpoint {round} and a restart"));
    }
    restart(&line.far);
    line.assert_works();
}

#[test]
fn an_answer_that_came_too_late_for_its_caller_is_lost_by_a_restart() {
    let line = start_hasty();
    let id_of = |answer: &Answer| answer.get("hoft-operation-id").unwrap().to_owned();
    let over = |gate: &str| {
        let answer = line.door().get(&format!("/to/hasty/gate/{gate}"));
        answer.expect_problem(504, "wait-over", "http_response_timeout");
        id_of(&answer)
    };
    // Answered while the engine is down, and before it goes down.
    let (down, before) = (over("down"), over("before"));
    line.upstream.gates.open("before");
    let early = line.near.result(&before).expect_status(200);
    line.near.kill();
    line.upstream.gates.open("down");
    line.near.start_again();
    let late = line.near.result(&down).expect_status(200);
    assert_eq!(late.text(), "the gate was opened");
    let results = [(down, late), (before, early)];
    assert_same(&line, &results, "after the first restart");
    restart(&line.near);
    assert_same(&line, &results, "after the second restart");
    assert_eq!(line.upstream.gates.arrivals("down"), 1);
    assert_eq!(line.upstream.gates.arrivals("before"), 1);
    line.assert_works();
}

#[test]
fn a_call_that_outlives_two_engines_is_lost() {
    let line = start_hasty();
    let id = operation_id();
    let call = line.door().call("GET", "/to/hasty/gate/outlives").field("Hoft-Operation-Id", &id);
    call.send().expect_problem(504, "wait-over", "http_response_timeout");
    restart(&line.near);
    restart(&line.near);
    restart(&line.far);
    line.upstream.gates.wait_for_arrivals("outlives", 2);
    restart(&line.near);
    line.upstream.gates.open("outlives");
    assert_eq!(line.near.result(&id).expect_status(200).text(), "the gate was opened");
    line.assert_works();
}

#[test]
fn results_beyond_the_quota_fill_the_disk_or_cut_their_readers() {
    let quota = 4_u64 << 20;
    let line = Line::start(&Options {
        near: Box::new(move |file| file.state.results = sidecar_config::ByteSize::b(quota)),
        ..Options::default()
    });
    let mut ids = Vec::new();
    for round in 0..3 {
        for length in [1_500_000_u64, 1_500_000, 6_000_000, 10] {
            let id = operation_id();
            let call = line.door().call("GET", &line.url(&format!("/source/{length}"))).field("Hoft-Operation-Id", &id);
            assert_eq!(call.send().expect_status(200).body.len() as u64, length);
            ids.push((id, length));
        }
        if round > 0 {
            restart(&line.near);
        }
        for (id, length) in &ids {
            let view = super::ended(&line.near, id);
            assert_eq!(view["state"], "done", "{view}");
            let stored = line.door().get(&format!("/v1/operations/{id}/result"));
            match stored.status {
                200 => assert_eq!(stored.body.len() as u64, *length),
                _ => drop(super::assert_problem(&stored)),
            }
        }
        let held = line.near.statusz()["results_bytes"].as_u64().unwrap();
        assert!(held <= quota, "{held} octets of results are kept");
        // The newest is the last to go.
        line.near.result(&ids.last().unwrap().0).expect_status(200);
    }
    line.assert_works();
}

#[test]
fn results_of_a_new_association_are_lost_with_those_of_the_old_one() {
    let few = |file: &mut sidecar_config::ConfigFile| file.limits.max_in_flight = 4;
    let line = Line::start(&Options { near: Box::new(few), far: Box::new(few), ..Options::default() });
    line.assert_works();
    let old = call_all(&line);
    // The initial allowance of an association is larger than the limit: fill that too.
    let held: Vec<_> =
        (0..16).map(|_| line.door().call("POST", &line.url("/gate/held")).body(b"x").begin().unwrap()).collect();
    line.upstream.gates.wait_for_arrivals("held", 4);
    let ids: Vec<String> = (0..20).map(|_| operation_id()).collect();
    let call = |id: &String| {
        let call = line.door().call("POST", &line.url(&format!("/echo/{id}"))).field("Hoft-Operation-Id", id);
        call.body(id.as_bytes()).begin().unwrap()
    };
    let waiting: Vec<_> = ids.iter().map(call).collect();
    super::lose_state(&line.far);
    // Those of them that waited for an exchange themselves are made now.
    line.upstream.gates.open("held");
    for exchange in held {
        let _ = exchange.answer().unwrap();
    }
    let mut done = Vec::new();
    for (id, exchange) in ids.iter().zip(waiting) {
        let answer = exchange.answer().unwrap();
        if answer.status == 200 {
            assert_eq!(answer.text(), *id);
            done.push((id.clone(), line.near.result(id).expect_status(200)));
        }
    }
    println!("{} of {} calls that waited were answered", done.len(), ids.len());
    for round in 0..2 {
        restart(&line.near);
        assert_same(&line, &done, &format!("after restart {round}"));
    }
    for (id, _) in &old {
        let gone = line.door().get(&format!("/v1/operations/{id}/result"));
        assert!(gone.status != 409, "{gone:?}");
    }
    line.assert_works();
}

#[test]
fn a_caller_is_held_beyond_its_timeout_while_it_waits_for_an_exchange() {
    let few = |file: &mut sidecar_config::ConfigFile| file.limits.max_in_flight = 2;
    let upstream = Upstream::start();
    let port = upstream.port;
    let options = Options {
        near: Box::new(move |file| {
            few(file);
            let place = destination("http", "localhost", port);
            let mut hasty = outbound("hasty", place, Some(format!("http://localhost:{port}/")));
            hasty.timeout = Duration::from_secs(1);
            file.outbound.allow.push(hasty);
        }),
        far: Box::new(move |file| {
            few(file);
            file.inbound.allow.push(inbound("hasty", destination("http", "localhost", port)));
        }),
        ..Options::default()
    };
    let line = Line::start_with(&options, upstream);
    line.assert_works();
    let held: Vec<_> =
        (0..40).map(|_| line.door().call("POST", &line.url("/gate/held")).body(b"x").begin().unwrap()).collect();
    line.upstream.gates.wait_for_arrivals("held", 2);
    // None of the exchanges ends before this is answered.
    let door = line.door().patient_for(Duration::from_secs(30));
    let answer = door.call("POST", "/to/hasty/echo/late").body(b"x").try_send();
    let answer = answer.unwrap_or_else(|error| panic!("no answer while all exchanges are in use: {error}"));
    assert!(matches!(answer.status, 503 | 504), "{answer:?}");
    line.upstream.gates.open("held");
    for exchange in held {
        exchange.answer().unwrap().expect_status(200);
    }
    line.assert_works();
}
