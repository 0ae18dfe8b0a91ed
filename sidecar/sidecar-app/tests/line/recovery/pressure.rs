//! Full logs and more callers than exchanges: everybody waits or is told to come back, and all goes on afterwards.

use std::thread;
use std::time::Duration;

use sidecar_config::ByteSize;

use super::{assert_idle, in_parallel};
use crate::client::Answer;
use crate::harness::{Line, Options};
use crate::process::eventually;
use crate::upstream::Content;

fn small_send_logs() -> Options {
    Options {
        near: Box::new(|file| file.state.send_log = ByteSize::mib(8)),
        far: Box::new(|file| file.state.send_log = ByteSize::mib(8)),
        ..Options::default()
    }
}

/// Calls until the engine says that its log is full. Tries that are taken in are broken off; their heads are large, so
/// that few of them fill what the bodies of others leave.
#[track_caller]
fn refused_by_full_log(line: &Line) -> Answer {
    let door = line.door().patient_for(Duration::from_millis(500));
    let filler: String = (0..2000).map(|number| format!("{:x}", number * 7919)).collect();
    eventually("a call is refused because the log is full", || {
        let call = door.call("POST", &line.url("/echo/refused")).field("X-Filler", &filler).body(b"x");
        let answer = call.try_send().ok()?;
        assert_eq!(answer.status, 503, "the mirror stands still: {answer:?}");
        Some(answer)
    })
}

/// Uploads that much; gives the answer.
fn upload(line: &Line, length: u64) -> std::io::Result<Answer> {
    let call = line.door().call("POST", &line.url("/sink")).field("Content-Length", &length.to_string());
    let mut exchange = call.begin()?;
    let mut content = Content::new(length);
    while let Some(piece) = content.next_piece() {
        exchange.conn.write(piece)?;
    }
    let answer = exchange.answer()?.expect_status(200);
    let report = answer.json();
    assert_eq!(report["length"], length);
    assert_eq!(report["sha256"], content.digest().as_str());
    Ok(answer)
}

#[test]
fn a_full_send_log_stops_more_than_the_time_it_is_full() {
    let line = Line::start(&small_send_logs());
    line.assert_works();
    let stopped = line.outage_from(&line.near);
    thread::scope(|scope| {
        let uploading = scope.spawn(|| upload(&line, 40_000_000));
        let answer = refused_by_full_log(&line);
        answer.expect_problem(503, "log-full", "connection_limit_reached");
        assert!(answer.get("retry-after").is_some(), "{:?}", answer.fields);
        assert_eq!(answer.json()["executed"], "no");
        line.door().get("/v1/operations").expect_status(200);
        drop(stopped);
        uploading.join().unwrap().unwrap();
    });
    in_parallel(10, |_| line.assert_works());
    assert_eq!(line.near.statusz()["peers"][0]["alarm"], serde_json::Value::Null);
    assert_idle(&line.far);
}

#[test]
fn a_full_send_log_stays_full_after_a_restart() {
    let line = Line::start(&small_send_logs());
    line.assert_works();
    let stopped = line.outage_from(&line.near);
    thread::scope(|scope| {
        let uploading = scope.spawn(|| upload(&line, 40_000_000));
        refused_by_full_log(&line);
        line.near.kill();
        assert!(uploading.join().unwrap().is_err(), "the connection outlived the engine");
        line.near.start_again();
        drop(stopped);
    });
    eventually("calls are taken in again", || {
        let answer = line.door().call("POST", &line.url("/echo")).body(b"again").try_send().ok()?;
        (answer.status == 200).then_some(())
    });
    in_parallel(10, |_| line.assert_works());
    upload(&line, 20_000_000).unwrap();
    assert_idle(&line.far);
}

#[test]
fn a_caller_that_gives_up_while_the_log_is_full_keeps_it_full() {
    let line = Line::start(&small_send_logs());
    line.assert_works();
    let stopped = line.outage_from(&line.near);
    let call = line.door().call("POST", &line.url("/sink")).field("Content-Length", "40000000");
    let exchange = call.begin().unwrap();
    let (done, gone) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut exchange = exchange;
            let mut content = Content::new(40_000_000);
            while gone.try_recv().is_err() {
                let Some(piece) = content.next_piece() else { break };
                // Piece by piece until the engine takes no more: then the patience of the connection would have to end.
                if piece.chunks(64 * 1024).any(|part| exchange.conn.write(part).is_err()) {
                    break;
                }
            }
        });
        refused_by_full_log(&line);
        let _ = done.send(());
        drop(stopped);
    });
    eventually("what filled the log is acknowledged", || {
        (line.near.statusz()["peers"][0]["backlog_bytes"].as_u64()? < 1_000_000).then_some(())
    });
    in_parallel(10, |_| line.assert_works());
    assert_idle(&line.far);
}

#[test]
fn a_full_send_log_of_the_far_side_cuts_answers() {
    let line = Line::start(&small_send_logs());
    line.assert_works();
    let stopped = line.outage_from(&line.far);
    let mut exchange = line.door().call("GET", &line.url("/source/40000000")).begin().unwrap();
    line.upstream.gates.open("meanwhile");
    let small = line.door().call("GET", &line.url("/gate/meanwhile")).begin().unwrap();
    line.upstream.gates.wait_for_arrivals("meanwhile", 1);
    eventually("the far side's log is full", || {
        let status = line.far.statusz();
        (status["peers"][0]["backlog_bytes"].as_u64()? > 6_000_000).then_some(())
    });
    drop(stopped);
    let (head, mut body) = exchange.head().unwrap();
    assert_eq!(head.status(), 200);
    let mut length = 0;
    while let Some(piece) = body.next(&mut exchange.conn).unwrap() {
        length += piece.len();
    }
    assert_eq!(length, 40_000_000);
    small.answer().unwrap().expect_status(200);
    line.assert_works();
}

#[test]
fn calls_beyond_the_limit_of_exchanges_are_forgotten() {
    let line = Line::start(&Options::default());
    line.assert_works();
    let (calls, gate) = (330, "many");
    let url = line.url(&format!("/gate/{gate}"));
    thread::scope(|scope| {
        let callers = scope.spawn(|| {
            in_parallel(calls, |number| line.door().post(&url, number.to_string().as_bytes()).expect_status(200))
        });
        line.upstream.gates.wait_for_arrivals(gate, 200);
        line.upstream.gates.open(gate);
        assert_eq!(callers.join().unwrap().len(), calls);
    });
    assert_eq!(line.upstream.gates.arrivals(gate), calls);
    assert_idle(&line.far);
    line.assert_works();
}

#[test]
fn calls_that_wait_for_an_exchange_are_forgotten_by_restarts() {
    let few = |file: &mut sidecar_config::ConfigFile| file.limits.max_in_flight = 4;
    let line = Line::start(&Options { near: Box::new(few), far: Box::new(few), ..Options::default() });
    line.assert_works();
    let (calls, gate) = (30, "few");
    let url = line.url(&format!("/gate/{gate}"));
    thread::scope(|scope| {
        let callers = scope
            .spawn(|| in_parallel(calls, |_| line.door().call("GET", &url).try_send().unwrap().expect_status(200)));
        line.upstream.gates.wait_for_arrivals(gate, 4);
        super::restart(&line.far);
        line.upstream.gates.open(gate);
        assert_eq!(callers.join().unwrap().len(), calls);
    });
    assert_idle(&line.far);
    line.assert_works();
}
