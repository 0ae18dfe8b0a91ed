//! Tests of `near`.

use super::*;
use crate::entry::EntryError;
use crate::problem::ProblemKind;
use proptest::prelude::*;

fn id(n: u64) -> OperationId {
    OperationId::v7(
        1,
        &[
            0,
            0,
            (n >> 56) as u8,
            (n >> 48) as u8,
            (n >> 40) as u8,
            (n >> 32) as u8,
            (n >> 24) as u8,
            (n >> 16) as u8,
            (n >> 8) as u8,
            n as u8,
        ],
    )
}

fn peer(n: u8) -> EndpointId {
    EndpointId::from_bytes([n; 16])
}

fn begun(n: u64) -> Begun {
    Begun {
        id: id(n),
        peer: peer(1),
        stream: StreamId::request(n + 1),
        retain: true,
        method: "POST".to_owned(),
        target: "https://erp.south.svc/v1/".to_owned(),
        route: Some("erp".to_owned()),
        begun_ms: n as i64,
        number: None,
        deadline_ms: None,
    }
}

fn with(n: u64) -> Operations {
    let mut operations = Operations::new();
    operations.begin(begun(n)).unwrap();
    operations
}

#[test]
fn an_operation_goes_its_way_and_is_forgotten() {
    let mut operations = with(7);
    for (now, state) in [(8, State::Queued), (9, State::Sent), (11, State::Acked), (12, State::Executing)] {
        assert!(operations.on_state(id(7), state, now).is_some());
        assert_eq!(operations.get(id(7)).unwrap().state, state);
    }
    operations.on_response_head(id(7), 201, Executed::Yes, 13).unwrap();
    assert!(!operations.get(id(7)).unwrap().result);
    let ready = operations.on_state(id(7), State::ResponseReady, 14).unwrap();
    assert!(ready.urgent());
    assert!(operations.get(id(7)).unwrap().result);
    operations.on_state(id(7), State::Delivered, 15).unwrap();
    operations.on_state(id(7), State::Done, 16).unwrap();
    let view = operations.get(id(7)).unwrap();
    assert_eq!((view.begun_ms, view.ended_ms, view.status), (7, Some(16), Some(201)));
    assert_eq!((view.executed, view.problem, view.result), (Some(Executed::Yes), None, true));
    assert_eq!(operations.expire(1015, 1000), []);
    assert_eq!(operations.expire(1016, 1000), [NearEntry::Forgotten { id: id(7) }]);
    assert_eq!(operations.get(id(7)), None);
    assert!(operations.is_empty());
}

#[test]
fn the_json_of_an_operation_is_what_the_local_api_says() {
    let mut operations = with(7);
    operations.on_response_head(id(7), 200, Executed::Yes, 9);
    let view = operations.get(id(7)).unwrap();
    assert_eq!(
        serde_json::to_value(view).unwrap(),
        serde_json::json!({
            "id": id(7).to_string(), "state": "response_started", "method": "POST", "target": "https://erp.south.svc/v1/",
            "route": "erp", "peer": "01010101-0101-0101-0101-010101010101", "begun_ms": 7, "ended_ms": null, "status": 200,
            "executed": "yes", "problem": null, "result": false,
        })
    );
}

#[test]
fn a_duplicate_id_is_refused_and_changes_nothing() {
    let mut operations = with(7);
    operations.on_state(id(7), State::Acked, 9);
    let again = Begun { method: "GET".into(), ..begun(7) };
    assert_eq!(operations.begin(again), Err(BeginError::Duplicate { id: id(7) }));
    assert_eq!(operations.get(id(7)).unwrap().method, "POST");
}

#[test]
fn a_state_that_was_passed_gives_no_entry() {
    let mut operations = with(7);
    operations.on_state(id(7), State::Executing, 9).unwrap();
    for state in [State::Accepted, State::Queued, State::Sent, State::Acked, State::Executing] {
        assert_eq!(operations.on_state(id(7), state, 10), None);
    }
    operations.on_state(id(7), State::Cancelled, 11).unwrap();
    for state in State::ALL {
        assert_eq!(operations.on_state(id(7), state, 12), None);
    }
    assert_eq!(operations.get(id(7)).unwrap().ended_ms, Some(11));
    assert_eq!(operations.on_state(id(8), State::Done, 12), None);
}

#[test]
fn a_problem_ends_an_operation_and_says_whether_it_was_executed() {
    let mut operations = with(7);
    let problem = Problem::outcome_unknown(id(7));
    let entry = operations.on_problem(id(7), State::Unknown, &problem, 9).unwrap();
    assert!(entry.urgent());
    let view = operations.get(id(7)).unwrap();
    assert_eq!((view.state, view.status, view.executed), (State::Unknown, Some(502), Some(Executed::Maybe)));
    assert_eq!((view.problem.as_deref(), view.result), (Some("outcome-unknown"), false));
    let mut other = with(8);
    other.on_problem(id(8), State::Executing, &Problem::new(ProblemKind::Internal, ""), 9).unwrap();
    assert_eq!(other.get(id(8)).unwrap().state, State::Failed);
}

#[test]
fn an_event_counts_only_from_the_endpoint_that_executes_and_only_up_to_executing() {
    let mut operations = with(7);
    let event = |state| Envelope::event(id(7), state, 5);
    assert_eq!(operations.on_event(&peer(2), &event(State::Executing), 9), None);
    for state in [State::ResponseReady, State::Done, State::Failed, State::Cancelled] {
        assert_eq!(operations.on_event(&peer(1), &event(state), 9), None);
    }
    assert_eq!(operations.on_event(&peer(1), &Envelope::default(), 9), None);
    assert!(operations.on_event(&peer(1), &event(State::Executing), 9).is_some());
    assert_eq!(operations.get(id(7)).unwrap().state, State::Executing);
}

#[test]
fn an_operation_is_found_by_its_stream_until_it_ends_or_moves() {
    let mut operations = with(7);
    let stream = begun(7).stream;
    assert_eq!(operations.by_stream(&peer(1), stream), Some(id(7)));
    assert_eq!(operations.by_stream(&peer(2), stream), None);
    let moved = operations.move_to(id(7), peer(2), StreamId::request(1)).unwrap();
    assert!(moved.urgent());
    assert_eq!(operations.by_stream(&peer(1), stream), None);
    assert_eq!(operations.by_stream(&peer(2), StreamId::request(1)), Some(id(7)));
    operations.on_state(id(7), State::Done, 9);
    assert_eq!(operations.by_stream(&peer(2), StreamId::request(1)), None);
    assert_eq!(operations.move_to(id(7), peer(1), stream), None);
}

#[test]
fn an_ended_operation_does_not_take_the_stream_of_the_next_one_with_it() {
    let mut operations = with(1);
    let next = Begun { id: id(2), ..begun(1) };
    operations.begin(next).unwrap();
    operations.on_state(id(1), State::Failed, 9);
    assert_eq!(operations.by_stream(&peer(1), begun(1).stream), Some(id(2)));
}

#[test]
fn the_list_is_newest_first_and_by_state() {
    let mut operations = Operations::new();
    for n in [3, 1, 2] {
        operations.begin(begun(n)).unwrap();
    }
    operations.on_state(id(2), State::Done, 9);
    let ids = |state, limit| operations.list(state, limit).into_iter().map(|view| view.id).collect::<Vec<_>>();
    assert_eq!(ids(None, 10), [id(3), id(2), id(1)]);
    assert_eq!(ids(None, 2), [id(3), id(2)]);
    assert_eq!(ids(Some(State::Done), 10), [id(2)]);
    assert_eq!(operations.open().map(|(begun, _)| begun.id).collect::<Vec<_>>(), [id(1), id(3)]);
}

#[test]
fn a_full_table_makes_room_by_what_is_needed_least_and_never_by_what_is_under_way() {
    let mut operations = Operations::new();
    for n in 0..MAX_OPERATIONS as u64 {
        operations.begin(Begun { retain: n % 2 == 0, ..begun(n) }).unwrap();
    }
    let next = MAX_OPERATIONS as u64;
    assert_eq!(operations.begin(begun(next)), Err(BeginError::Full));
    for n in [4, 5, 7] {
        operations.on_state(id(n), State::Done, n as i64);
    }
    for (n, room) in [5, 7, 4].into_iter().enumerate() {
        let entries = operations.begin(begun(next + n as u64)).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0], NearEntry::Forgotten { id: id(room) });
        assert_eq!(operations.len(), MAX_OPERATIONS);
    }
    assert_eq!(operations.begin(begun(next + 9)), Err(BeginError::Full));
}

#[test]
fn calls_that_failed_made_room_before_ones_that_nobody_was_promised() {
    let mut operations = Operations::new();
    for n in 0..MAX_OPERATIONS as u64 {
        operations.begin(Begun { retain: n < 2, ..begun(n) }).unwrap();
    }
    // Their keys and callbacks go with the operation, and a call with the same key would be made once more.
    operations.on_state(id(0), State::Unknown, 1);
    operations.on_state(id(1), State::Failed, 2);
    operations.on_state(id(2), State::Done, 3);
    operations.on_state(id(3), State::Done, 4);
    operations.promise(id(3));
    let next = MAX_OPERATIONS as u64;
    for (n, room) in [2, 1, 3].into_iter().enumerate() {
        let entries = operations.begin_unless(begun(next + n as u64), |other| other == id(0)).unwrap();
        assert_eq!(entries[0], NearEntry::Forgotten { id: id(room) });
    }
    let full = operations.begin_unless(begun(next + 9), |other| other == id(0));
    assert_eq!(full, Err(BeginError::Full), "a callback of it is pending");
}

#[test]
fn entries_read_back_as_written() {
    let reached = Reached {
        status: Some(502),
        executed: Some(Executed::No),
        problem: Some("dns-error".to_owned()),
        number: Some(9),
        figure: Some(3),
        way: Some(vec![Mark { number: 8, state: State::Accepted, at_ms: -6, figure: 0 }]),
        ..Reached::new(id(1), State::Failed, -5)
    };
    let bare = Reached::new(id(1), State::Failed, -5);
    let entries = [
        NearEntry::Begun(begun(1)),
        NearEntry::Begun(Begun { route: None, retain: false, ..begun(2) }),
        NearEntry::State(reached),
        NearEntry::State(bare),
        NearEntry::Forgotten { id: id(1) },
        NearEntry::Moved { id: id(1), peer: peer(9), stream: StreamId::request(4) },
        NearEntry::CancelAsked { id: id(1) },
    ];
    for entry in entries {
        let mut payload = Vec::new();
        entry.encode(&mut payload);
        assert!((64..=95).contains(&entry.kind()));
        assert_eq!(NearEntry::decode(entry.kind(), &payload), Ok(entry.clone()));
        for len in 0..payload.len() {
            let cut = NearEntry::decode(entry.kind(), &payload[..len]);
            assert!(matches!(cut, Err(EntryError::Shape { .. })), "{entry:?} cut to {len}");
        }
    }
    assert_eq!(NearEntry::decode(95, &[]), Err(EntryError::Kind { kind: 95 }));
}

fn views(operations: &Operations) -> Vec<OperationView> {
    operations.list(None, usize::MAX)
}

proptest! {
    /// What is told to callers is the same after a restart, from the entries and from a checkpoint of them.
    #[test]
    fn a_restart_recreates_the_table(steps in proptest::collection::vec((0_u8..6, 0_u64..6, 0_usize..14), 0..80)) {
        let mut operations = Operations::new();
        let mut log = Vec::new();
        for (now, (what, n, state)) in steps.into_iter().enumerate() {
            let now = now as i64;
            match what {
                0 => log.extend(operations.begin(Begun { begun_ms: now, ..begun(n) }).unwrap_or_default()),
                1 => log.extend(operations.on_response_head(id(n), 200, Executed::Yes, now)),
                2 => log.extend(operations.move_to(id(n), peer(2), StreamId::request(now as u64 + 100))),
                3 => log.extend(operations.expire(now, 20)),
                4 if state == 0 => log.extend(operations.ask_cancel(id(n))),
                _ => log.extend(operations.on_state(id(n), State::ALL[state], now)),
            }
        }
        let mut replayed = Operations::new();
        for entry in &log {
            let mut payload = Vec::new();
            entry.encode(&mut payload);
            replayed.replay(&NearEntry::decode(entry.kind(), &payload).unwrap());
        }
        prop_assert_eq!(views(&replayed), views(&operations));
        let mut restored = Operations::new();
        for entry in operations.checkpoint() {
            restored.replay(&entry);
        }
        prop_assert_eq!(views(&restored), views(&operations));
        prop_assert_eq!(&restored.by_stream, &operations.by_stream);
        prop_assert_eq!(&restored.ended, &operations.ended);
        prop_assert_eq!(&replayed.by_stream, &operations.by_stream);
        let told = operations.all_events_since(0, usize::MAX);
        prop_assert_eq!(&replayed.all_events_since(0, usize::MAX), &told);
        prop_assert_eq!(&restored.all_events_since(0, usize::MAX), &told);
        prop_assert!(told.is_sorted_by(|a, b| a.number < b.number));
        for n in 0..6 {
            prop_assert_eq!(replayed.is_cancel_asked(id(n)), operations.is_cancel_asked(id(n)));
            prop_assert_eq!(restored.is_cancel_asked(id(n)), operations.is_cancel_asked(id(n)));
        }
    }
}

#[test]
fn whoever_kept_a_number_gets_what_came_after_it() {
    let mut operations = with(7);
    let entries = [
        operations.on_state(id(7), State::Queued, 8),
        operations.on_state_with(id(7), State::Sent, 41, 9),
        operations.on_state_with(id(7), State::Acked, 1_000, 9),
        operations.on_response_head(id(7), 201, Executed::Yes, 9),
        operations.on_state(id(7), State::Done, 10),
    ];
    let told: Vec<_> = entries.iter().map(|entry| operations.event(entry.as_ref().unwrap()).unwrap()).collect();
    let all = operations.events_since(id(7), 0).unwrap();
    assert_eq!(all[0].state, State::Accepted);
    assert_eq!(&all[1..], told);
    assert_eq!((told[1].packet, told[2].octets, told[4].status), (Some(41), Some(1_000), Some(201)));
    assert_eq!(operations.events_since(id(7), told[2].number).unwrap(), told[3..]);
    assert_eq!(operations.events_since(id(7), told[4].number).unwrap(), []);
    assert_eq!(operations.events_since(id(8), 0), None);
    operations.begin(begun(8)).unwrap();
    let newest = operations.all_events_since(told[3].number, 10);
    assert_eq!(newest.iter().map(|event| event.operation).collect::<Vec<_>>(), [id(7), id(8)]);
    assert_eq!(operations.all_events_since(0, 1), newest[1..], "the newest ones");
    assert_eq!(operations.event(&NearEntry::Forgotten { id: id(7) }), None);
}

#[test]
fn a_table_of_before_there_were_numbers_gives_them() {
    let mut operations = Operations::new();
    operations.replay(&NearEntry::Begun(begun(7)));
    operations.replay(&NearEntry::State(Reached::new(id(7), State::Acked, 9)));
    let events = operations.events_since(id(7), 0).unwrap();
    assert_eq!(events.len(), 2);
    assert!(events[0].number > 0 && events[0].number < events[1].number);
}

#[test]
fn the_ways_of_ended_operations_are_bounded() {
    use crate::event::{MAX_ENDED_WAYS, MAX_MARKS};
    let mut operations = Operations::new();
    for n in 0..MAX_ENDED_WAYS as u64 + 2 {
        operations.begin(begun(n)).unwrap();
        operations.on_state(id(n), State::Queued, n as i64);
        operations.on_state(id(n), State::Acked, n as i64);
        operations.on_state(id(n), State::Done, n as i64);
    }
    let states = |n| {
        let events = operations.events_since(id(n), 0).unwrap();
        events.into_iter().map(|event| event.state).collect::<Vec<_>>()
    };
    assert_eq!(states(0), [State::Accepted, State::Done], "how it began and how it ended stays");
    assert_eq!(states(1), [State::Accepted, State::Done]);
    assert_eq!(states(2), [State::Accepted, State::Queued, State::Acked, State::Done]);
    let mut often = with(1);
    for n in 0..MAX_MARKS as u64 * 2 {
        often.on_response_head(id(1), 200, Executed::Yes, n as i64);
        often.move_to(id(1), peer(1), StreamId::request(n + 7)).unwrap();
    }
    assert!(often.events_since(id(1), 0).unwrap().len() <= MAX_MARKS);
}

#[test]
fn an_operation_is_asked_to_end_once_and_only_while_it_is_under_way() {
    let mut operations = with(7);
    let entry = operations.ask_cancel(id(7)).unwrap();
    assert!(entry.urgent() && operations.is_cancel_asked(id(7)));
    assert_eq!(operations.ask_cancel(id(7)), None);
    operations.on_state(id(7), State::Cancelled, 9);
    assert!(!operations.is_cancel_asked(id(7)));
    assert_eq!(operations.ask_cancel(id(7)), None);
    assert_eq!(operations.ask_cancel(id(8)), None);
}

#[test]
fn the_oldest_open_operations_are_found_by_when_they_began() {
    let mut operations = Operations::new();
    // Callers choose ids, so their order says nothing.
    for (n, begun_ms) in [(1, 50), (2, 10), (3, 40), (4, 20)] {
        operations.begin(Begun { begun_ms, ..begun(n) }).unwrap();
    }
    operations.on_state(id(2), State::Cancelled, 60).unwrap();
    let (oldest, total) = operations.oldest_open(2);
    assert_eq!(oldest.iter().map(|view| view.begun_ms).collect::<Vec<_>>(), [20, 40]);
    assert_eq!(total, 3);
}

#[test]
fn after_a_move_another_response_says_its_own_status() {
    let mut operations = with(1);
    operations.on_response_head(id(1), 200, Executed::Yes, 5);
    assert!(operations.on_response_head(id(1), 404, Executed::Yes, 6).is_none(), "one response has one head");
    operations.move_to(id(1), peer(1), StreamId::request(7)).unwrap();
    let view = operations.get(id(1)).unwrap();
    assert_eq!((view.state, view.status, view.executed), (State::ResponseStarted, None, None));
    let entry = operations.on_response_head(id(1), 404, Executed::Yes, 7).unwrap();
    assert_eq!(operations.get(id(1)).unwrap().status, Some(404));
    let mut restored = with(1);
    restored.on_response_head(id(1), 200, Executed::Yes, 5);
    restored.replay(&NearEntry::Moved { id: id(1), peer: peer(1), stream: StreamId::request(7) });
    restored.replay(&entry);
    assert_eq!(restored.get(id(1)), operations.get(id(1)));
    operations.on_state(id(1), State::Cancelled, 8).unwrap();
    assert!(
        operations.on_response_head(id(1), 500, Executed::Yes, 9).is_none(),
        "an ended operation stays as it ended"
    );
}
