//! Tests of `callbacks`.

use super::*;
use crate::entry::EntryError;

fn id(n: u8) -> OperationId {
    OperationId::v7(u64::from(n), &[n; 10])
}

fn wanted(n: u8, callback: bool, events: bool) -> Wanted {
    let url = |path: &str| format!("http://localhost:9000/{path}?token=secret");
    Wanted { id: id(n), callback: callback.then(|| url("done")), events: events.then(|| url("events")) }
}

fn dead(n: u8, line: Line, number: u64) -> Dead {
    Dead { id: id(n), line, number, at_ms: 100, reason: "status 500".to_owned(), attempts: 9 }
}

/// The same table, made from a checkpoint of it.
fn again(table: &Callbacks) -> Callbacks {
    let mut again = Callbacks::default();
    for entry in table.checkpoint() {
        again.replay(&entry);
    }
    again
}

#[test]
fn a_line_is_pending_until_its_last_delivery() {
    let mut table = Callbacks::default();
    table.want(wanted(1, true, true));
    assert_eq!(table.counts(), (2, 0));
    table.delivered(id(1), Line::Events, 5, false).unwrap();
    let events = again(&table).pending(id(1), Line::Events).unwrap();
    assert_eq!((events.delivered, events.url.as_str()), (5, "http://localhost:9000/events?token=secret"));
    table.delivered(id(1), Line::Events, 9, true).unwrap();
    assert_eq!(table.delivered(id(1), Line::Events, 10, false), None);
    assert_eq!(table.pending(id(1), Line::Events), None);
    assert!(table.holds(id(1), 0), "the result is still to come");
    table.delivered(id(1), Line::Result, 1, true).unwrap();
    for table in [&table, &again(&table)] {
        assert!(!table.holds(id(1), 0) && table.all_pending().is_empty());
        assert_eq!(table.counts(), (0, 0));
    }
    table.forget(id(1));
    assert!(table.checkpoint().is_empty());
    assert_eq!(table.delivered(id(1), Line::Result, 1, true), None);
}

#[test]
fn only_what_is_wanted_is_pending() {
    let mut table = Callbacks::default();
    table.want(wanted(1, true, false));
    table.want(wanted(2, false, true));
    let lines: Vec<_> = table.all_pending().iter().map(|pending| (pending.operation, pending.line)).collect();
    assert_eq!(lines, [(id(1), Line::Result), (id(2), Line::Events)]);
    assert_eq!(table.delivered(id(1), Line::Events, 1, true), None);
    assert_eq!(table.died(dead(3, Line::Result, 0)), None);
}

#[test]
fn a_dead_letter_is_listed_without_its_query_and_tried_again_or_dropped() {
    let mut table = Callbacks::default();
    table.want(wanted(1, true, true));
    table.died(dead(1, Line::Events, 7)).unwrap();
    assert_eq!(table.died(dead(1, Line::Events, 8)), None);
    for table in [&table, &again(&table)] {
        let letters = table.dead_letters(10);
        assert_eq!(letters.len(), 1);
        let json = serde_json::to_value(&letters[0]).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "id": format!("{}-events", id(1)), "operation": id(1).to_string(), "line": "events",
                "url": "http://localhost:9000/events", "number": 7, "at_ms": 100, "attempts": 9, "reason": "status 500",
            })
        );
        assert_eq!(parse_letter(&letters[0].id), Some((id(1), Line::Events)));
        assert_eq!(table.pending(id(1), Line::Events), None);
        assert!(table.dead_letters(0).is_empty());
    }
    assert_eq!(table.revive(id(1), Line::Result, 200), None, "it is not dead");
    table.revive(id(1), Line::Events, 200).unwrap();
    assert_eq!(again(&table).pending(id(1), Line::Events).unwrap().since_ms, 200);
    table.died(dead(1, Line::Events, 7)).unwrap();
    table.drop_dead(id(1), Line::Events).unwrap();
    assert_eq!((table.drop_dead(id(1), Line::Events), again(&table).counts()), (None, (1, 0)));
}

#[test]
fn a_dead_letter_holds_its_operation_for_a_week() {
    let mut table = Callbacks::default();
    table.want(wanted(1, true, false));
    table.died(dead(1, Line::Result, 0)).unwrap();
    assert!(table.holds(id(1), 100 + DEAD_TTL_MS - 1));
    assert!(!table.holds(id(1), 100 + DEAD_TTL_MS));
}

#[test]
fn what_names_no_letter_is_none() {
    for name in ["", "x", &id(1).to_string(), &format!("{}-", id(1)), &format!("{}-other", id(1)), "é", &"é".repeat(30)]
    {
        assert_eq!(parse_letter(name), None, "{name}");
    }
}

#[test]
fn entries_read_back_as_written() {
    let entries = [
        CallbackEntry::Wanted(wanted(1, true, false)),
        CallbackEntry::Wanted(wanted(1, false, true)),
        CallbackEntry::Delivered(Delivered { id: id(1), line: Line::Events, number: 1 << 50, last: true }),
        CallbackEntry::Dead(dead(1, Line::Result, 3)),
        CallbackEntry::Revived(Revived { id: id(1), line: Line::Events, at_ms: -1 }),
    ];
    for entry in entries {
        assert!(CallbackEntry::has_kind(entry.kind()));
        let mut payload = entry.encode();
        assert_eq!(CallbackEntry::decode(entry.kind(), &payload), Ok(entry.clone()));
        assert!(CallbackEntry::decode(entry.kind(), &payload[..payload.len() - 1]).is_err());
        // A map of n becomes one of n + 1.
        payload[0] += 1;
        payload.extend_from_slice(&[0x18, 99, 1]);
        assert_eq!(CallbackEntry::decode(entry.kind(), &payload), Ok(entry));
    }
    assert_eq!(CallbackEntry::decode(88, &[]), Err(EntryError::Kind { kind: 88 }));
}
