//! Keys over the bench: one holder at a time, over restarts and checkpoints.

use disk::log::MemStorage;
use layer1_replication::Timestamp;
use layer2_http::fin::code;
use layer2_http::keys::{KeyClaim, KeyScope};
use layer2_http::operation::State;
use tokio::sync::oneshot;

use super::*;
use crate::command::{Asked, BeginError, Command, Lane};
use crate::driver::testbench::{Bench, DEFAULT, Far, operation, request_head};
use crate::exchange::NearExchange;

fn claim(key: &str) -> KeyClaim {
    let scope = KeyScope { caller: None, route: None, origin: "http://up.example" };
    KeyClaim::new(scope, key, "POST", "http://up.example/")
}

/// Begins a call with a key; its caller's end if it began.
fn begin(bench: &mut Bench, n: u8, key: &str) -> Result<Box<NearExchange>, BeginError> {
    let (reply, mut answer) = oneshot::channel();
    let call = BeginCall {
        operation: operation(n),
        retain: true,
        head: request_head(operation(n), "POST", Some(key)),
        method: "POST".to_owned(),
        target: "http://up.example/".to_owned(),
        route: None,
        deadline_ms: None,
        asked: Box::new(Asked { key: Some(claim(key)), callbacks: None }),
    };
    bench.driver.handle_command(Command::Begin { call, reply });
    bench.driver.settle().unwrap();
    answer.try_recv().unwrap()
}

#[track_caller]
fn holder(bench: &mut Bench, key: &str) -> Holder {
    match begin(bench, 99, key) {
        Err(BeginError::KeyInUse(in_use)) => in_use.holder,
        other => panic!("{other:?}"),
    }
}

fn checkpoint(bench: &mut Bench) {
    bench.driver.checkpoint().unwrap();
}

#[test]
fn a_key_is_known_after_a_restart_and_from_a_checkpoint_until_its_operation_is_forgotten() {
    let storage = MemStorage::new();
    let mut bench = Bench::start(&storage);
    let mut far = Far::new(DEFAULT, 3, 1);
    bench.talk(&mut far);
    let _exchange = begin(&mut bench, 1, "k").unwrap();
    assert!(begin(&mut bench, 2, "other").is_ok());
    assert!(matches!(holder(&mut bench, "k"), Holder::UnderWay(view) if view.id == operation(1)));
    bench.driver.handle_command(Command::RequestBody { id: operation(1), digest: [7; 32] });
    bench.driver.settle().unwrap();
    let entry = bench.driver.near.on_state(operation(1), State::Done, 1).unwrap();
    bench.driver.note_near(&entry);
    bench.driver.settle().unwrap();
    for with_checkpoint in [false, true, false] {
        if with_checkpoint {
            checkpoint(&mut bench);
        }
        drop(bench);
        bench = Bench::start(&storage);
        let known = holder(&mut bench, "k");
        assert!(matches!(known, Holder::Ended { view, body: Some([7, ..]) } if view.id == operation(1)));
    }
    bench.driver.expire();
    bench.driver.settle().unwrap();
    for _ in 0..2 {
        assert!(bench.driver.near.get(operation(1)).is_none());
        assert!(bench.driver.keys.on_body(operation(1), [7; 32]).is_none(), "it outlived its operation");
        drop(bench);
        bench = Bench::start(&storage);
    }
    assert!(begin(&mut bench, 3, "k").is_ok());
}

#[test]
fn a_key_is_free_again_when_its_call_was_surely_not_executed() {
    let storage = MemStorage::new();
    let mut bench = Bench::start(&storage);
    let mut far = Far::new(DEFAULT, 3, 1);
    bench.talk(&mut far);
    for (n, why, is_free) in [(1, code::REFUSED, true), (2, code::INCOMPLETE, false)] {
        let _exchange = begin(&mut bench, n, "k").unwrap();
        bench.talk(&mut far);
        let asked = far.asked().into_iter().find(|asked| asked.operation == operation(n)).unwrap();
        far.peer.reset_stream(far.now, asked.stream.response_of(), why);
        bench.talk(&mut far);
        assert!(bench.view(operation(n)).state.is_terminal());
        let claimed = bench.driver.keys.holder(&claim("k"), |id| bench.driver.near.get(id));
        assert_eq!(claimed == Holder::Nobody, is_free, "{claimed:?}");
    }
}

#[test]
fn a_call_that_could_not_begin_takes_no_key() {
    let mut bench = Bench::start(&MemStorage::new());
    let mut far = Far::new(DEFAULT, 3, 1);
    bench.talk(&mut far);
    let first = bench.begin(1, "POST", None, true);
    assert!(matches!(begin(&mut bench, 1, "k"), Err(BeginError::Duplicate(_))));
    assert!(begin(&mut bench, 2, "k").is_ok());
    let Lane { peer, .. } = first.request;
    assert_eq!(peer, DEFAULT);
}

#[test]
fn who_asks_too_early_is_told_to_wait_for_half_a_round_trip() {
    let mut bench = Bench::start(&MemStorage::new());
    let mut far = Far::new(DEFAULT, 3, 1);
    bench.talk(&mut far);
    let _exchange = begin(&mut bench, 1, "k").unwrap();
    let Err(BeginError::KeyInUse(in_use)) = begin(&mut bench, 2, "k") else { panic!("it began") };
    assert!((1..=60).contains(&in_use.retry_after_s), "{}", in_use.retry_after_s);
    assert!(bench.driver.host.now() > Timestamp::ZERO);
}
