//! Callers that go away at any moment leave nothing behind: no exchange, no execution, no disk.

use std::path::Path;

use super::{assert_idle, disk_use, in_parallel, restart};
use crate::harness::{Line, Options, operation_id};
use crate::process::eventually;

/// What a state folder may hold when nothing is in flight: a segment being written, one just rolled, and some more.
const IDLE_DISK_MAX: u64 = 160 << 20;

fn assert_nothing_open(line: &Line) {
    eventually("every operation has an end", || {
        let list = line.door().get("/v1/operations").expect_status(200).json();
        list.as_array()?.iter().all(|view| !view["ended_ms"].is_null()).then_some(())
    });
    assert_idle(&line.far);
}

fn assert_small(state: &Path) {
    eventually(&format!("{} is small again", state.display()), || (disk_use(state) < IDLE_DISK_MAX).then_some(()));
}

#[test]
fn callers_that_leave_after_their_head_use_up_the_exchanges() {
    let line = Line::start(&Options::default());
    line.assert_works();
    line.upstream.gates.open("left");
    in_parallel(10, |caller| {
        for number in 0..30 {
            let door = line.door();
            let call = match (caller + number) % 5 {
                0 => door.call("GET", &line.url("/fixed/100")),
                1 => door.call("POST", &line.url("/echo/left")).field("Content-Length", "1000"),
                2 => door.call("POST", &line.url("/gate/left")).body(b"x"),
                3 => door.call("GET", &line.url("/source/1000000")),
                _ => door.call("POST", &line.url("/stream-echo/left")).field("Transfer-Encoding", "chunked"),
            };
            drop(call.begin().unwrap());
        }
    });
    in_parallel(5, |_| {
        for _ in 0..10 {
            line.assert_works();
        }
    });
    assert_nothing_open(&line);
}

#[test]
fn callers_that_leave_while_they_wait_for_an_exchange_use_them_up() {
    let few = |file: &mut sidecar_config::ConfigFile| file.limits.max_in_flight = 4;
    let line = Line::start(&Options { near: Box::new(few), far: Box::new(few), ..Options::default() });
    line.assert_works();
    let held: Vec<_> =
        (0..4).map(|_| line.door().call("POST", &line.url("/gate/held")).body(b"x").begin().unwrap()).collect();
    line.upstream.gates.wait_for_arrivals("held", 4);
    for number in 0..60 {
        let call = line.door().call("POST", &line.url("/echo/left")).body(b"x");
        let call = if number % 3 == 0 { call.field("Hoft-Operation-Id", &operation_id()) } else { call };
        drop(call.begin().unwrap());
    }
    let waiting = line.door().call("POST", &line.url("/echo/stayed")).body(b"stayed").begin().unwrap();
    line.upstream.gates.open("held");
    for exchange in held {
        exchange.answer().unwrap().expect_status(200);
    }
    assert_eq!(waiting.answer().unwrap().expect_status(200).text(), "stayed");
    for _ in 0..10 {
        line.assert_works();
    }
    assert_nothing_open(&line);
}

#[test]
fn downloads_that_are_broken_off_fill_the_disks() {
    let line = Line::start(&Options::default());
    line.assert_works();
    in_parallel(5, |_| {
        for _ in 0..20 {
            let mut exchange = line.door().call("GET", &line.url("/source/6000000")).begin().unwrap();
            let (head, mut body) = exchange.head().unwrap();
            assert_eq!(head.status(), 200);
            let mut got = 0;
            while got < 3_000_000 {
                got += body.next(&mut exchange.conn).unwrap().unwrap().len();
            }
        }
    });
    restart(&line.near);
    for _ in 0..5 {
        line.assert_works();
    }
    assert_nothing_open(&line);
    // A roll of the log is when it is tidied.
    let whole = line.door().get(&line.url("/source/75000000")).expect_status(200);
    assert_eq!(whole.body.len(), 75_000_000);
    for side in ["north", "south"] {
        assert_small(&line.folder.path().join(side).join("state"));
    }
    restart(&line.far);
    line.assert_works();
}

#[test]
fn uploads_that_are_broken_off_fill_the_disks() {
    let line = Line::start(&Options::default());
    line.assert_works();
    let half = vec![7; 1_500_000];
    in_parallel(5, |_| {
        for _ in 0..10 {
            let call = line.door().call("POST", &line.url("/sink")).field("Content-Length", "3000000");
            let mut exchange = call.begin().unwrap();
            exchange.conn.write(&half).unwrap();
        }
    });
    line.assert_works();
    restart(&line.far);
    restart(&line.near);
    line.assert_works();
    assert_nothing_open(&line);
    for side in ["north", "south"] {
        assert_small(&line.folder.path().join(side).join("state"));
    }
}
