//! Deadlines and events where calls are executed, over the bench.

use disk::log::MemStorage;
use layer2_http::Executed;
use layer2_http::head::ResponseHead;
use tokio::sync::oneshot;

use super::*;
use crate::driver::testbench::{Bench, DEFAULT, Far, operation, request_head};

/// A whole request with this envelope besides its operation; gives its stream.
fn ask(far: &mut Far, n: u8, method: &str, envelope: impl FnOnce(&mut Envelope)) -> StreamId {
    let mut head = RequestHead::decode(&request_head(operation(n), method, None)).unwrap();
    envelope(&mut head.envelope);
    let stream = far.peer.open_exchange();
    far.append(stream, kind::HEAD, head.encode().unwrap());
    far.append(stream, kind::FIN, Outgoing::fin(&layer2_http::body::BodyCheck::new()).payload);
    stream
}

/// Asks for the dispatch mark of what is to be executed; true if it may be.
fn dispatch(bench: &mut Bench, request: StreamId) -> bool {
    let execution = bench.egress.try_recv().unwrap();
    let (lane, (reply, mut answer)) = (bench.driver.slots[&DEFAULT].lane(DEFAULT, request), oneshot::channel());
    bench.driver.dispatch(lane, execution.attempt, reply);
    bench.driver.settle().unwrap();
    answer.try_recv().is_ok()
}

#[test]
fn a_call_whose_time_is_over_or_may_be_is_not_made() {
    // Of the far side's clock nothing is known here: the packets of the bench carry no times.
    for (deadline, runs) in [(None, true), (Some(i64::MAX), false), (Some(1), false)] {
        let mut bench = Bench::start(&MemStorage::new());
        let mut far = Far::new(DEFAULT, 3, 1);
        bench.talk(&mut far);
        let request = ask(&mut far, 1, "POST", |envelope| envelope.deadline_ms = deadline);
        bench.talk(&mut far);
        assert_eq!(dispatch(&mut bench, request), runs, "{deadline:?}");
        bench.talk(&mut far);
        if runs {
            continue;
        }
        let head = ResponseHead::decode(&far.received[&request.response_of()][&0].1).unwrap();
        assert_eq!((head.status, head.envelope.executed), (504, Some(Executed::No)));
        assert_eq!(head.envelope.problem.as_deref(), Some("expired"));
        assert!(!bench.driver.far.seen(operation(1)), "it counts as made");
    }
}

#[test]
fn a_call_that_is_cancelled_on_its_way_to_its_dispatch_is_not_made() {
    let mut bench = Bench::start(&MemStorage::new());
    let mut far = Far::new(DEFAULT, 3, 1);
    bench.talk(&mut far);
    let request = ask(&mut far, 1, "POST", |_| {});
    bench.talk(&mut far);
    far.peer.stop_sending(far.now, request.response_of(), layer2_http::fin::code::CANCELLED);
    bench.talk(&mut far);
    assert!(!dispatch(&mut bench, request));
    assert!(!bench.driver.far.seen(operation(1)));
}

#[test]
fn the_near_side_hears_that_its_call_is_being_made_if_it_asked() {
    let mut bench = Bench::start(&MemStorage::new());
    let mut far = Far::new(DEFAULT, 3, 1);
    bench.talk(&mut far);
    let quiet = ask(&mut far, 1, "GET", |_| {});
    bench.talk(&mut far);
    assert!(dispatch(&mut bench, quiet));
    let asked = ask(&mut far, 2, "GET", |envelope| envelope.event_mask = Some(event_bit(State::Executing)));
    bench.talk(&mut far);
    assert!(dispatch(&mut bench, asked));
    bench.talk(&mut far);
    let messages: Vec<_> = far.received[&StreamId::NO_EXCHANGE].values().collect();
    assert_eq!(messages.len(), 1);
    let event = Envelope::decode(&messages[0].1).unwrap();
    assert_eq!((messages[0].0, event.operation, event.attempt), (kind::EVENT, Some(operation(2)), Some(1)));
    assert_eq!(event.event_state, Some(State::Executing));
}
