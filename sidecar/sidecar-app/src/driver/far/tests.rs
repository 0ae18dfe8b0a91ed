//! Executions, over the bench.

use disk::log::MemStorage;
use layer2_http::head::ResponseHead;
use layer2_http::limits::MAX_EXECUTIONS;
use layer2_http::policy::{HostPattern, Policy, Retry, Rule};

use super::*;
use crate::driver::Settings;
use crate::driver::testbench::{Bench, DEFAULT, Far, SEC, operation, request_head, settings};

/// Settings under which what is idempotent may be tried again.
fn allowing_everything() -> Settings {
    let rule = Rule {
        name: "up".to_owned(),
        schemes: vec!["http".to_owned()],
        hosts: vec![HostPattern::parse("up.example").unwrap()],
        ports: Vec::new(),
        path_prefixes: vec!["/".to_owned()],
        methods: vec!["*".to_owned()],
        callers: Vec::new(),
        addresses: Vec::new(),
        timeout: SEC,
        max_body: None,
        retry: Retry::Idempotent,
    };
    Settings { inbound: Policy::new(vec![rule]).unwrap(), ..settings() }
}

fn dispatched(n: u64, at_ms: i64) -> Dispatched {
    let mut random = [0xee; 10];
    random[2..].copy_from_slice(&n.to_be_bytes());
    let (operation, stream) = (OperationId::v7(2, &random), StreamId::request(n + 1));
    Dispatched { peer: EndpointId::from_bytes([0x77; 16]), stream, operation, attempt: 1, at_ms }
}

#[test]
fn a_full_journal_of_executions_answers_with_a_problem_until_it_has_room() {
    let mut bench = Bench::start(&MemStorage::new());
    let mut far = Far::new(DEFAULT, 3, 1);
    bench.talk(&mut far);
    let now_ms = bench.driver.host.unix_ms_signed();
    for n in 0..MAX_EXECUTIONS as u64 {
        bench.driver.far.dispatch(dispatched(n, now_ms)).unwrap();
    }
    let request = far.request(operation(1), "POST", b"x");
    bench.talk(&mut far);
    let head = ResponseHead::decode(&far.received[&request.response_of()][&0].1).unwrap();
    assert_eq!((head.status, head.envelope.executed), (503, Some(Executed::No)));
    assert_eq!(head.envelope.problem.as_deref(), Some("log-full"));
    assert!(head.fields.get("retry-after").is_some());
    assert!(bench.egress.try_recv().is_err(), "it was executed");
    // Their association ended, and then their time.
    bench.driver.far.peer_closed(dispatched(0, 0).peer, now_ms);
    bench.host.pass(2 * settings().replication.mpl - 60 * SEC);
    bench.driver.expire();
    assert_eq!(bench.driver.far.len(), MAX_EXECUTIONS);
    bench.host.pass(60 * SEC);
    bench.driver.expire();
    assert_eq!(bench.driver.far.len(), 0);
    far.request(operation(2), "POST", b"x");
    bench.talk(&mut far);
    assert!(bench.egress.try_recv().is_ok());
}

#[test]
fn an_operation_that_comes_back_after_its_association_ended_is_known() {
    for (method, again) in [("GET", true), ("POST", false)] {
        let storage = MemStorage::new();
        let mut bench = Bench::start_with(&storage, allowing_everything());
        let mut far = Far::new(DEFAULT, 3, 1);
        bench.talk(&mut far);
        let request = far.request(operation(1), method, b"x");
        bench.talk(&mut far);
        let execution = bench.egress.try_recv().unwrap();
        let (lane, (reply, _)) = (bench.driver.slots[&DEFAULT].lane(DEFAULT, request), oneshot::channel());
        bench.driver.dispatch(lane, execution.attempt, reply);
        bench.driver.settle().unwrap();
        // The caller took another life, and sends the call again.
        let mut next = Far::with_life(DEFAULT, 8, 4, 1);
        bench.talk(&mut next);
        let request = next.request(operation(1), method, b"x");
        bench.talk(&mut next);
        assert_eq!(bench.egress.try_recv().map(|execution| execution.attempt).ok(), again.then_some(2), "{method}");
        if !again {
            let head = ResponseHead::decode(&next.received[&request.response_of()][&0].1).unwrap();
            assert_eq!(head.envelope.problem.as_deref(), Some("outcome-unknown"));
        }
    }
}

#[test]
fn a_call_that_must_not_be_repeated_was_made_again_when_the_far_side_had_lost_its_journal() {
    for (retry, again) in [(Retry::Idempotent, true), (Retry::Always, true), (Retry::Never, false)] {
        let mut settings = allowing_everything();
        let rules = settings.inbound.rules().iter().cloned().map(|rule| Rule { retry, ..rule });
        settings.inbound = Policy::new(rules.collect()).unwrap();
        let mut bench = Bench::start_with(&MemStorage::new(), settings);
        let mut far = Far::new(DEFAULT, 3, 1);
        bench.talk(&mut far);
        for (n, attempt, runs) in [(1, None, true), (2, Some(2), again)] {
            let mut head = RequestHead::decode(&request_head(operation(n), "GET", None)).unwrap();
            head.envelope.attempt = attempt;
            let request = far.peer.open_exchange();
            far.append(request, kind::HEAD, head.encode().unwrap());
            bench.talk(&mut far);
            assert_eq!(bench.egress.try_recv().is_ok(), runs, "{retry:?} {attempt:?}");
            if !runs {
                let head = ResponseHead::decode(&far.received[&request.response_of()][&0].1).unwrap();
                assert_eq!(head.envelope.problem.as_deref(), Some("outcome-unknown"));
                assert_eq!(head.envelope.executed, Some(Executed::Maybe));
            }
        }
    }
}

#[test]
fn an_attempt_after_one_that_may_have_arrived_does_not_vouch_for_it() {
    let mut bench = Bench::start(&MemStorage::new());
    let mut far = Far::new(DEFAULT, 3, 1);
    bench.talk(&mut far);
    let mut head = RequestHead::decode(&request_head(operation(1), "GET", None)).unwrap();
    head.envelope.attempt = Some(3);
    let request = far.peer.open_exchange();
    far.append(request, kind::HEAD, head.encode().unwrap());
    bench.talk(&mut far);
    let execution = bench.egress.try_recv().unwrap();
    assert_eq!(execution.attempt, 3);
    // It is the first one that this journal knows of.
    let (lane, (reply, mut answer)) = (bench.driver.slots[&DEFAULT].lane(DEFAULT, request), oneshot::channel());
    bench.driver.dispatch(lane, 1, reply);
    bench.driver.settle().unwrap();
    assert!(answer.try_recv().is_ok());
}

/// Settings of a receive pool that three large records fill by more than half.
fn with_little_room() -> Settings {
    let mut settings = allowing_everything();
    settings.replication.receive_pool_bytes = 300_000;
    settings
}

/// The head and the first large record of a request that may be repeated.
fn begun(far: &mut Far, n: u8) -> StreamId {
    let request = far.peer.open_exchange();
    far.append(request, kind::HEAD, request_head(operation(n), "PUT", None));
    far.append(request, kind::DATA, vec![n; 60_000].into());
    request
}

#[test]
fn requests_that_held_the_pool_stopped_every_other_stream() {
    let mut bench = Bench::start_with(&MemStorage::new(), with_little_room());
    let mut far = Far::new(DEFAULT, 3, 1);
    bench.talk(&mut far);
    let (first, second) = (begun(&mut far, 1), begun(&mut far, 2));
    bench.talk(&mut far);
    let executions = [bench.egress.try_recv().unwrap(), bench.egress.try_recv().unwrap()];
    for (request, execution) in [first, second].into_iter().zip(&executions) {
        let lane = bench.driver.slots[&DEFAULT].lane(DEFAULT, request);
        // What is read before the mark stands is kept, and so is all of it while there is room.
        bench.driver.request_read_to(lane, 60_000);
        bench.driver.dispatch(lane, execution.attempt, oneshot::channel().0);
    }
    let held = |bench: &Bench| bench.driver.slots[&DEFAULT].peer.unconsumed_bytes();
    assert!(held(&bench) > 120_000);
    // Neither of them says anything more: it is another stream that needs the room.
    begun(&mut far, 3);
    bench.talk(&mut far);
    assert!(held(&bench) < 150_000, "{}", held(&bench));
    assert!(!bench.driver.slots[&DEFAULT].far_calls[&first].replayable);
    assert!(bench.driver.slots[&DEFAULT].far_calls[&second].replayable, "no more is given up than is needed");
}

#[test]
fn a_request_that_waited_to_be_whole_held_the_room_that_its_rest_needed() {
    let mut bench = Bench::start_with(&MemStorage::new(), with_little_room());
    let mut far = Far::new(DEFAULT, 3, 1);
    bench.talk(&mut far);
    for n in 10..20 {
        bench.call(n, "GET", None, false);
        let asked = bench.send();
        bench.host.pass(20 * SEC);
        far.receive(&asked);
        let files = far.send();
        bench.receive(&files);
    }
    let slow = bench.driver.slots[&DEFAULT].peer.round_trip().unwrap();
    assert!(slow > 5 * SEC, "{slow:?}");
    begun(&mut far, 1);
    begun(&mut far, 2);
    bench.talk(&mut far);
    assert!(bench.egress.try_recv().is_err(), "a slow link makes them wait until they are whole");
    begun(&mut far, 3);
    bench.talk(&mut far);
    let begun: Vec<_> = std::iter::from_fn(|| bench.egress.try_recv().ok()).collect();
    assert_eq!(begun.len(), 3, "only who reads them makes room");
}
