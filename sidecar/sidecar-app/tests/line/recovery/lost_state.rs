//! A state folder is lost while calls are in flight: those that may be made again are, the others end and say what is known;
//! what comes afterwards works.

use super::{assert_calls, assert_idle, assert_problem, ended, lose_state, remove_state, restart, start_both_ways};
use crate::client::{Answer, Exchange};
use crate::harness::{Line, operation_id};
use crate::process::eventually;

/// Calls in every stage, begun before the loss.
struct InFlight {
    kept: Answer,
    kept_id: String,
    waiting_id: String,
    waiting: Exchange,
    unnamed: Exchange,
    upload: Exchange,
    download: Exchange,
}

impl InFlight {
    fn begin(line: &Line) -> Self {
        let (kept_id, waiting_id) = (operation_id(), operation_id());
        let door = line.door();
        let named = |path: &str, id: &str| door.call("POST", &line.url(path)).field("Hoft-Operation-Id", id);
        let kept = named("/echo", &kept_id).body(b"kept").send().expect_status(200);
        let waiting = named("/gate/waiting", &waiting_id).body(b"x").begin().unwrap();
        let unnamed = door.call("POST", &line.url("/gate/unnamed")).body(b"x").begin().unwrap();
        let upload = door.call("POST", &line.url("/sink")).field("Transfer-Encoding", "chunked");
        let mut upload = upload.begin().unwrap();
        upload.conn.write_chunk(&vec![7; 300_000]).unwrap();
        let mut download = door.call("GET", &line.url("/source/50000000")).begin().unwrap();
        let (head, mut body) = download.head().unwrap();
        assert_eq!(head.status(), 200);
        assert!(body.next(&mut download.conn).unwrap().is_some());
        line.upstream.gates.wait_for_arrivals("waiting", 1);
        line.upstream.gates.wait_for_arrivals("unnamed", 1);
        eventually("the upload arrives", || (!line.upstream.calls("/sink").is_empty()).then_some(()));
        Self { kept, kept_id, waiting_id, waiting, unnamed, upload, download }
    }

    /// Every call that was in flight when the far side lost its state has an end, and none was made again.
    fn assert_ended(self, line: &Line) {
        for exchange in [self.waiting, self.unnamed] {
            let problem = assert_problem(&exchange.answer().unwrap());
            assert_eq!(problem["executed"], "maybe", "{problem}");
        }
        let view = ended(&line.near, &self.waiting_id);
        assert!(matches!(view["state"].as_str(), Some("unknown" | "failed")), "{view}");
        let mut upload = self.upload;
        // Whether it may still be written depends on how the answer to it is seen.
        let _ = upload.conn.write_chunk(&vec![7; 300_000]).and_then(|()| upload.conn.write_last_chunk(&[]));
        if let Ok(answer) = upload.answer() {
            assert_problem(&answer);
        }
        let mut download = self.download;
        let mut rest = 0;
        loop {
            match download.conn.read_some(1 << 20) {
                Ok(piece) if piece.is_empty() => break,
                Ok(piece) => rest += piece.len(),
                Err(error) => {
                    assert!(
                        !matches!(error.kind(), std::io::ErrorKind::WouldBlock),
                        "the download neither goes on nor ends"
                    );
                    break;
                }
            }
        }
        assert!(rest < 50_000_000, "the far side's log is gone, so the download cannot be whole");
        let again = line.door().get(&format!("/v1/operations/{}/result", self.kept_id)).expect_status(200);
        assert!(again.body == self.kept.body, "a stored result does not need the far side");
        for gate in ["waiting", "unnamed"] {
            line.upstream.gates.open(gate);
            assert_eq!(line.upstream.gates.arrivals(gate), 1, "made again: {gate}");
        }
    }
}

fn assert_restarts(line: &Line) {
    for engine in [&line.far, &line.near] {
        assert_calls(&line.near, &line.upstream);
        assert_calls(&line.far, &line.upstream);
        restart(engine);
        assert_calls(&line.near, &line.upstream);
        assert_calls(&line.far, &line.upstream);
    }
    assert_idle(&line.near);
    assert_idle(&line.far);
}

#[test]
fn calls_in_flight_hang_when_the_far_side_loses_its_state() {
    let line = start_both_ways();
    let in_flight = InFlight::begin(&line);
    let id = in_flight.waiting_id.clone();
    lose_state(&line.far);
    in_flight.assert_ended(&line);
    assert_calls(&line.near, &line.upstream);
    let before = ended(&line.near, &id);
    assert_restarts(&line);
    assert_eq!(ended(&line.near, &id)["state"], before["state"]);
    // Once more, with a history. What is sent before the loss is noticed may end with it.
    lose_state(&line.far);
    eventually("a call is answered", || (line.door().post(&line.url("/echo"), b"x").status == 200).then_some(()));
    assert_restarts(&line);
}

#[test]
fn the_far_side_loses_its_state_while_the_near_engine_is_down() {
    let line = start_both_ways();
    let in_flight = InFlight::begin(&line);
    line.near.kill();
    lose_state(&line.far);
    line.near.start_again();
    let view = ended(&line.near, &in_flight.waiting_id);
    assert!(matches!(view["state"].as_str(), Some("unknown" | "failed")), "{view}");
    let again = line.door().get(&format!("/v1/operations/{}/result", in_flight.kept_id));
    assert!(again.status == 200 && again.body == b"kept", "{again:?}");
    line.upstream.gates.open("waiting");
    line.upstream.gates.open("unnamed");
    assert_restarts(&line);
    assert_eq!(line.upstream.gates.arrivals("waiting"), 1);
    assert_eq!(line.upstream.gates.arrivals("unnamed"), 1);
}

#[test]
fn executions_go_on_for_nobody_when_the_near_side_loses_its_state() {
    let line = start_both_ways();
    let in_flight = InFlight::begin(&line);
    lose_state(&line.near);
    assert_calls(&line.near, &line.upstream);
    line.upstream.gates.open("waiting");
    line.upstream.gates.open("unnamed");
    assert_idle(&line.far);
    let unknown = line.door().get(&format!("/v1/operations/{}", in_flight.waiting_id));
    assert_eq!(unknown.status, 404, "{unknown:?}");
    assert_restarts(&line);
    assert_eq!(line.upstream.gates.arrivals("waiting"), 1);
    assert_eq!(line.upstream.gates.arrivals("unnamed"), 1);
}

#[test]
fn an_operation_is_made_twice_because_the_near_side_lost_its_state() {
    let line = start_both_ways();
    let id = operation_id();
    let call = line.door().call("POST", &line.url("/echo/once")).field("Hoft-Operation-Id", &id).body(b"once");
    call.clone().send().expect_status(200);
    lose_state(&line.near);
    let again = call.send();
    assert_problem(&again);
    assert_eq!(line.upstream.calls("/echo/once").len(), 1, "{}", again.text());
}

#[test]
fn both_sides_lose_their_state_at_once() {
    let line = start_both_ways();
    let _in_flight = InFlight::begin(&line);
    line.near.kill();
    line.far.kill();
    remove_state(&line.near);
    remove_state(&line.far);
    line.far.start_again();
    line.near.start_again();
    line.upstream.gates.open("waiting");
    line.upstream.gates.open("unnamed");
    assert_restarts(&line);
}

/// Calls that wait at gates of the upstream.
struct AtGates {
    get: Exchange,
    keyed: Exchange,
    plain: Exchange,
    named: Exchange,
    named_id: String,
}

impl AtGates {
    const MADE_AGAIN: [&str; 3] = ["get", "keyed", "named"];

    fn begin(line: &Line) -> Self {
        let named_id = operation_id();
        let call = |method: &str, gate: &str| line.door().call(method, &line.url(&format!("/gate/{gate}")));
        let get = call("GET", "get").begin().unwrap();
        let keyed = call("POST", "keyed").field("Idempotency-Key", "\"one\"").body(&[7; 500_000]).begin().unwrap();
        let plain = call("POST", "plain").body(b"x").begin().unwrap();
        let named = call("PUT", "named").field("Hoft-Operation-Id", &named_id).body(b"x").begin().unwrap();
        for gate in Self::MADE_AGAIN.into_iter().chain(["plain"]) {
            line.upstream.gates.wait_for_arrivals(gate, 1);
        }
        Self { get, keyed, plain, named, named_id }
    }

    fn wait_until_made_again(line: &Line) {
        for gate in Self::MADE_AGAIN {
            line.upstream.gates.wait_for_arrivals(gate, 2);
        }
        for gate in Self::MADE_AGAIN.into_iter().chain(["plain"]) {
            line.upstream.gates.open(gate);
        }
    }
}

#[test]
fn what_may_be_made_again_is_answered_although_the_far_side_lost_its_state() {
    let line = start_both_ways();
    let calls = AtGates::begin(&line);
    lose_state(&line.far);
    let problem = assert_problem(&calls.plain.answer().unwrap());
    assert_eq!(
        (&problem["executed"], problem["type"].as_str()),
        (&"maybe".into(), Some("urn:hoft:problem:outcome-unknown"))
    );
    AtGates::wait_until_made_again(&line);
    for exchange in [calls.get, calls.keyed, calls.named] {
        assert_eq!(exchange.answer().unwrap().expect_status(200).text(), "the gate was opened");
    }
    assert_eq!(line.near.result(&calls.named_id).expect_status(200).text(), "the gate was opened");
    assert_eq!(line.upstream.gates.arrivals("plain"), 1);
    assert_restarts(&line);
}

#[test]
fn what_may_be_made_again_becomes_a_result_after_both_engines_were_killed_and_one_lost_its_state() {
    let line = start_both_ways();
    let calls = AtGates::begin(&line);
    line.near.kill();
    lose_state(&line.far);
    line.near.start_again();
    AtGates::wait_until_made_again(&line);
    assert_eq!(line.near.result(&calls.named_id).expect_status(200).text(), "the gate was opened");
    assert_eq!(line.upstream.gates.arrivals("plain"), 1);
    assert_restarts(&line);
}
