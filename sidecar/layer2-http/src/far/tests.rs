//! Tests of `far`.

use super::*;
use crate::entry::EntryError;
use proptest::prelude::*;

fn id(n: u64) -> OperationId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&n.to_be_bytes());
    OperationId::v7(1, &random)
}

fn peer(n: u8) -> EndpointId {
    EndpointId::from_bytes([n; 16])
}

fn dispatched(n: u64, attempt: u32) -> Dispatched {
    Dispatched { peer: peer(1), stream: StreamId::request(n + 1), operation: id(n), attempt, at_ms: n as i64 }
}

fn recover(executions: &Executions, n: u64, harmless: bool) -> Recovery {
    executions.recover(&peer(1), StreamId::request(n + 1), id(n), harmless)
}

#[test]
fn the_recovery_table() {
    let mut executions = Executions::new();
    for harmless in [false, true] {
        assert_eq!(recover(&executions, 1, harmless), Recovery::Run { attempt: 1 });
    }
    executions.dispatch(dispatched(1, 1)).unwrap();
    assert_eq!(recover(&executions, 1, false), Recovery::OutcomeUnknown);
    assert_eq!(recover(&executions, 1, true), Recovery::RunAgain { attempt: 2 });
    executions.dispatch(dispatched(1, 2)).unwrap();
    assert_eq!(recover(&executions, 1, true), Recovery::RunAgain { attempt: 3 });
    executions.dispatch(dispatched(1, 3)).unwrap();
    assert_eq!(recover(&executions, 1, true), Recovery::OutcomeUnknown);
    executions.response_begun(id(1)).unwrap();
    for harmless in [false, true] {
        assert_eq!(recover(&executions, 1, harmless), Recovery::ResponseIncomplete);
    }
    executions.done(id(1)).unwrap();
    assert_eq!(recover(&executions, 1, true), Recovery::Finished);
    executions.acked(id(1)).unwrap();
    assert_eq!(recover(&executions, 1, false), Recovery::Finished);
}

#[test]
fn what_is_harmless_to_repeat() {
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        assert!(repeatable(method, false, Retry::Idempotent), "{method}");
        assert!(!repeatable(method, true, Retry::Never));
    }
    for method in ["POST", "PATCH", "CONNECT", "get", "PURGE"] {
        assert!(!repeatable(method, false, Retry::Idempotent), "{method}");
        assert!(repeatable(method, true, Retry::Idempotent), "{method} with a key");
        assert!(repeatable(method, false, Retry::Always));
        assert!(!repeatable(method, true, Retry::Never));
    }
}

#[test]
fn an_attempt_is_made_once_and_in_order() {
    let mut executions = Executions::new();
    assert_eq!(executions.dispatch(dispatched(1, 2)), Err(DispatchError::Attempt { attempt: 2, made: 0 }));
    executions.dispatch(dispatched(1, 1)).unwrap();
    assert_eq!(executions.dispatch(dispatched(1, 1)), Err(DispatchError::Attempt { attempt: 1, made: 1 }));
    executions.dispatch(dispatched(1, 2)).unwrap();
    executions.dispatch(dispatched(1, 3)).unwrap();
    assert_eq!(executions.dispatch(dispatched(1, 4)), Err(DispatchError::Attempt { attempt: 4, made: 3 }));
    let mut answered = Executions::new();
    answered.dispatch(dispatched(1, 1)).unwrap();
    answered.response_begun(id(1));
    assert_eq!(answered.dispatch(dispatched(1, 2)), Err(DispatchError::Answered));
}

#[test]
fn an_operation_that_comes_by_another_stream_is_recognised() {
    let mut executions = Executions::new();
    executions.dispatch(dispatched(1, 1)).unwrap();
    assert!(executions.seen(id(1)));
    assert!(!executions.seen(id(2)));
    let by = |executions: &Executions, stream, harmless| {
        executions.recover(&peer(1), StreamId::request(stream), id(1), harmless)
    };
    assert_eq!(by(&executions, 9, true), Recovery::Duplicate);
    executions.done(id(1));
    executions.peer_closed(peer(1), 0);
    assert_eq!(by(&executions, 9, false), Recovery::OutcomeUnknown, "its response went with the association");
    assert_eq!(by(&executions, 9, true), Recovery::RunAgain { attempt: 2 });
    assert_eq!(by(&executions, 2, false), Recovery::OutcomeUnknown, "the stream number is used again");
    let again = Dispatched { stream: StreamId::request(9), ..dispatched(1, 2) };
    executions.dispatch(again).unwrap();
    assert_eq!(by(&executions, 9, true), Recovery::RunAgain { attempt: 3 });
}

#[test]
fn the_streams_of_a_closed_association_are_free_for_other_operations() {
    let mut executions = Executions::new();
    executions.dispatch(dispatched(1, 1)).unwrap();
    let stream = StreamId::request(2);
    assert_eq!(executions.recover(&peer(1), stream, id(5), true), Recovery::OutcomeUnknown);
    assert_eq!(executions.recover(&peer(2), stream, id(5), true), Recovery::Run { attempt: 1 });
    executions.peer_closed(peer(1), 0);
    assert_eq!(executions.by_stream(&peer(1), stream), None);
    assert_eq!(executions.recover(&peer(1), stream, id(5), false), Recovery::Run { attempt: 1 });
}

#[test]
fn a_result_is_for_the_endpoint_that_made_the_call() {
    let mut executions = Executions::new();
    executions.dispatch(dispatched(1, 1)).unwrap();
    assert!(executions.may_claim(id(1), &peer(1)));
    assert!(!executions.may_claim(id(1), &peer(2)));
    assert!(!executions.may_claim(id(2), &peer(1)));
}

#[test]
fn steps_are_entered_once() {
    let mut executions = Executions::new();
    assert_eq!(executions.response_begun(id(1)), None);
    let entries = executions.dispatch(dispatched(1, 1)).unwrap();
    assert!(entries[0].urgent());
    assert!(executions.response_begun(id(1)).unwrap().urgent());
    assert_eq!(executions.response_begun(id(1)), None);
    assert!(!executions.done(id(1)).unwrap().urgent());
    assert_eq!(executions.response_begun(id(1)), None);
    assert_eq!(executions.done(id(1)), None);
}

#[test]
fn only_finished_executions_expire() {
    let mut executions = Executions::new();
    for n in 1..=3 {
        executions.dispatch(dispatched(n, 1)).unwrap();
    }
    executions.done(id(2));
    executions.done(id(3));
    executions.acked(id(3));
    assert_eq!(executions.expire(1001, 1000), []);
    let forgotten = executions.expire(i64::MAX, 0);
    assert_eq!(forgotten.len(), 2);
    assert!(executions.seen(id(1)) && !executions.seen(id(2)) && !executions.seen(id(3)));
    assert_eq!(executions.len(), 1);
}

#[test]
fn a_full_journal_makes_room_by_acked_executions_only() {
    let mut executions = Executions::new();
    for n in 0..MAX_EXECUTIONS as u64 {
        executions.dispatch(dispatched(n, 1)).unwrap();
    }
    let next = MAX_EXECUTIONS as u64;
    assert_eq!(executions.dispatch(dispatched(next, 1)), Err(DispatchError::Full));
    assert!(executions.dispatch(dispatched(5, 2)).is_ok(), "another attempt needs no room");
    executions.done(id(1));
    executions.done(id(9));
    assert!(!executions.has_room());
    executions.acked(id(9));
    assert!(executions.has_room());
    let entries = executions.dispatch(dispatched(next, 1)).unwrap();
    assert_eq!(entries[0], FarEntry::Forgotten { operation: id(9) });
    executions.peer_closed(peer(1), 0);
    assert!(!executions.has_room(), "of these it may matter that they were made");
    assert_eq!(executions.dispatch(dispatched(next + 2, 1)), Err(DispatchError::Full));
    assert_eq!(executions.len(), MAX_EXECUTIONS);
}

#[test]
fn executions_that_were_cut_off_with_their_association_leave_the_journal_in_time() {
    let mut executions = Executions::new();
    executions.dispatch(dispatched(1, 1)).unwrap();
    executions.dispatch(dispatched(2, 1)).unwrap();
    executions.response_begun(id(2));
    assert_eq!(executions.expire(i64::MAX, 0), [], "they are under way");
    executions.peer_closed(peer(1), 500);
    executions.peer_closed(peer(1), 9_000);
    let mut restored = Executions::new();
    executions.checkpoint().iter().for_each(|entry| restored.replay(entry));
    for mut executions in [executions, restored] {
        assert_eq!(executions.expire(1_499, 1_000), [], "counted from the end of their association");
        assert_eq!(executions.expire(1_500, 1_000).len(), 2);
        assert!(executions.is_empty() && executions.checkpoint().is_empty());
    }
}

#[test]
fn an_end_of_an_association_without_a_time_reads_as_long_ago() {
    let mut payload = Vec::new();
    FarEntry::PeerClosed { peer: peer(4), at_ms: 5 }.encode(&mut payload);
    // As it was written before: an array of one.
    let old = [&[0x81], &payload[1..18]].concat();
    assert_eq!(FarEntry::decode(101, &old), Ok(FarEntry::PeerClosed { peer: peer(4), at_ms: 0 }));
}

#[test]
fn entries_read_back_as_written() {
    let operation = id(3);
    let entries = [
        FarEntry::Dispatched(dispatched(1, 2)),
        FarEntry::ResponseBegun { operation },
        FarEntry::Done { operation },
        FarEntry::Acked { operation },
        FarEntry::Forgotten { operation },
        FarEntry::PeerClosed { peer: peer(4), at_ms: 5 },
    ];
    for (kind, entry) in (96..).zip(entries) {
        let mut payload = Vec::new();
        entry.encode(&mut payload);
        assert_eq!(entry.kind(), kind);
        assert_eq!(FarEntry::decode(kind, &payload), Ok(entry));
        for len in 0..payload.len() {
            assert!(matches!(FarEntry::decode(kind, &payload[..len]), Err(EntryError::Shape { .. })));
        }
    }
    assert_eq!(FarEntry::decode(102, &[]), Err(EntryError::Kind { kind: 102 }));
}

proptest! {
    /// A crash after any entry: what a restart decides is what was decided before it, from the log and from a checkpoint.
    #[test]
    fn a_restart_decides_as_before(steps in proptest::collection::vec((0_u8..7, 0_u64..5, 0_u64..3), 0..60)) {
        let mut executions = Executions::new();
        let mut log = Vec::new();
        for (what, n, stream) in steps {
            match what {
                0 | 1 => {
                    let stream = StreamId::request(n * 3 + stream + 1);
                    if let Recovery::Run { attempt } | Recovery::RunAgain { attempt } = executions.recover(&peer(1), stream, id(n), true) {
                        log.extend(executions.dispatch(Dispatched { stream, ..dispatched(n, attempt) }).unwrap());
                    }
                }
                2 => log.extend(executions.response_begun(id(n))),
                3 => log.extend(executions.done(id(n))),
                4 => log.extend(executions.acked(id(n))),
                5 => log.push(executions.peer_closed(peer(1), 3 * n as i64)),
                _ => log.extend(executions.expire(n as i64, 1)),
            }
        }
        let mut replayed = Executions::new();
        log.iter().for_each(|entry| replayed.replay(entry));
        let mut restored = Executions::new();
        executions.checkpoint().iter().for_each(|entry| restored.replay(entry));
        for other in [&replayed, &restored] {
            prop_assert_eq!(&other.by_stream, &executions.by_stream);
            prop_assert_eq!(&other.finished, &executions.finished);
            prop_assert_eq!(other.len(), executions.len());
            for n in 0..5 {
                for stream in 1..20 {
                    for harmless in [false, true] {
                        let ask = |of: &Executions| of.recover(&peer(1), StreamId::request(stream), id(n), harmless);
                        prop_assert_eq!(ask(other), ask(&executions));
                    }
                }
            }
        }
    }

    /// A call that is not harmless is dispatched at most once, whatever happens.
    #[test]
    fn nothing_harmful_is_dispatched_twice(steps in proptest::collection::vec((0_u8..6, 1_u64..4, any::<bool>()), 0..60)) {
        let mut executions = Executions::new();
        let mut made = 0;
        for (what, stream, crash) in steps {
            match what {
                0..=2 => {
                    let stream = StreamId::request(stream);
                    if let Recovery::Run { attempt } | Recovery::RunAgain { attempt } = executions.recover(&peer(1), stream, id(0), false) {
                        executions.dispatch(Dispatched { stream, ..dispatched(0, attempt) }).unwrap();
                        made += 1;
                    }
                }
                3 => { executions.response_begun(id(0)); }
                4 => { executions.done(id(0)); }
                _ => { executions.peer_closed(peer(1), 0); }
            }
            if crash {
                let mut after = Executions::new();
                executions.checkpoint().iter().for_each(|entry| after.replay(entry));
                executions = after;
            }
        }
        prop_assert!(made <= 1);
    }
}
