//! Callbacks over the bench: what of them outlives a restart, a checkpoint and the time of their operation.

use std::time::Duration;

use disk::log::MemStorage;
use layer2_http::callbacks::{DEAD_TTL_MS, Dead, Line};
use layer2_http::operation::State;
use tokio::sync::oneshot;

use super::*;
use crate::command::{Asked, BeginCall, Command};
use crate::driver::testbench::{Bench, DEFAULT, Far, operation, request_head, settings};

fn wanted(n: u8) -> Wanted {
    let url = |path: &str| Some(format!("http://localhost:9000/{path}"));
    Wanted { id: operation(n), callback: url("done"), events: url("events") }
}

fn begin(bench: &mut Bench, n: u8) {
    let (reply, mut answer) = oneshot::channel();
    let call = BeginCall {
        operation: operation(n),
        retain: true,
        head: request_head(operation(n), "POST", None),
        method: "POST".to_owned(),
        target: "http://up.example/".to_owned(),
        route: None,
        deadline_ms: None,
        asked: Box::new(Asked { key: None, callbacks: Some(wanted(n)) }),
    };
    bench.driver.handle_command(Command::Begin { call, reply });
    bench.driver.settle().unwrap();
    answer.try_recv().unwrap().unwrap();
    bench.take_commands();
}

fn end(bench: &mut Bench, n: u8) {
    let now_ms = bench.driver.host.unix_ms_signed();
    if let Some(entry) = bench.driver.near.on_state(operation(n), State::Done, now_ms) {
        bench.driver.note_near(&entry);
    }
    bench.driver.settle().unwrap();
}

fn ask(bench: &mut Bench, ask: CallbackAsk) {
    bench.driver.handle_command(Command::Callbacks(ask));
    bench.driver.settle().unwrap();
}

fn dead(bench: &Bench, n: u8) -> Dead {
    let at_ms = bench.driver.host.unix_ms_signed();
    Dead { id: operation(n), line: Line::Result, number: 7, at_ms, reason: "status 500".to_owned(), attempts: 3 }
}

#[test]
fn callbacks_outlive_a_restart_and_a_checkpoint() {
    let storage = MemStorage::new();
    let mut bench = Bench::start(&storage);
    let mut far = Far::new(DEFAULT, 3, 1);
    bench.talk(&mut far);
    begin(&mut bench, 1);
    end(&mut bench, 1);
    ask(&mut bench, CallbackAsk::Delivered { id: operation(1), line: Line::Events, number: 9, last: false });
    let letter = dead(&bench, 1);
    ask(&mut bench, CallbackAsk::Died(letter));
    bench.driver.checkpoint().unwrap();
    for _ in 0..2 {
        drop(bench);
        bench = Bench::start(&storage);
        let pending = bench.driver.callbacks.table.all_pending();
        assert_eq!(pending.len(), 1, "{pending:?}");
        assert_eq!((pending[0].line, pending[0].delivered), (Line::Events, 9));
        assert_eq!(bench.driver.callbacks.table.dead_letters(9).len(), 1);
    }
    let (reply, mut revived) = oneshot::channel();
    ask(&mut bench, CallbackAsk::Revive { id: operation(1), line: Line::Result, reply });
    assert!(revived.try_recv().unwrap().is_some_and(|pending| pending.since_ms > 0));
    drop(bench);
    let bench = Bench::start(&storage);
    assert_eq!(bench.driver.callbacks.table.counts(), (2, 0));
}

#[test]
fn an_operation_is_kept_until_its_callbacks_are_over() {
    let settings = || crate::driver::Settings { result_ttl: Duration::from_secs(60), ..settings() };
    let storage = MemStorage::new();
    let mut bench = Bench::start_with(&storage, settings());
    let mut far = Far::new(DEFAULT, 3, 1);
    bench.talk(&mut far);
    for n in [1, 2] {
        begin(&mut bench, n);
        end(&mut bench, n);
        ask(&mut bench, CallbackAsk::Delivered { id: operation(n), line: Line::Events, number: 9, last: true });
    }
    let pass = |bench: &mut Bench, time: Duration| {
        bench.host.pass(time);
        bench.driver.expire();
        bench.driver.settle().unwrap();
    };
    pass(&mut bench, Duration::from_secs(3_600));
    ask(&mut bench, CallbackAsk::Delivered { id: operation(1), line: Line::Result, number: 1, last: true });
    let letter = dead(&bench, 2);
    ask(&mut bench, CallbackAsk::Died(letter));
    pass(&mut bench, Duration::from_secs(1));
    assert!(bench.driver.near.get(operation(1)).is_none() && bench.driver.near.get(operation(2)).is_some());
    drop(bench);
    bench = Bench::start_with(&storage, settings());
    assert_eq!(bench.driver.callbacks.table.counts(), (0, 1));
    pass(&mut bench, Duration::from_millis(u64::try_from(DEAD_TTL_MS).unwrap()) + Duration::from_secs(3_700));
    assert!(bench.driver.near.get(operation(2)).is_none());
    assert_eq!(bench.driver.callbacks.table.counts(), (0, 0), "it outlived its operation");
}
