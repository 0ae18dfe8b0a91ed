//! What happens to operations, as server-sent events.

use serde_json::Value;

use crate::asynchronous::promised;
use crate::client::{Door, Exchange};
use crate::harness::{Line, Options, operation_id};
use crate::http::Body;
use crate::shared::line;

/// One event: its id and its data.
#[derive(Clone, Debug, PartialEq)]
struct Event {
    number: u64,
    data: Value,
}

impl Event {
    fn state(&self) -> &str {
        self.data["state"].as_str().unwrap()
    }
}

/// A stream of events that is being read.
struct Stream {
    exchange: Exchange,
    body: Body,
    text: String,
}

impl Stream {
    fn open(door: Door, path: &str, after: Option<u64>) -> Self {
        let mut call = door.call("GET", path);
        if let Some(after) = after {
            call = call.field("Last-Event-ID", &after.to_string());
        }
        let mut exchange = call.begin().unwrap();
        let (head, body) = exchange.head().unwrap();
        assert_eq!((head.status(), head.get("content-type")), (200, Some("text/event-stream")));
        Self { exchange, body, text: String::new() }
    }

    /// The next event; `None` at the end, also if that is the engine's.
    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let line = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let (Some(number), Some(data)) = (line("id: "), line("data: ")) else { continue };
                return Some(Event { number: number.parse().unwrap(), data: serde_json::from_str(&data).unwrap() });
            }
            let piece = self.body.next(&mut self.exchange.conn).ok().flatten()?;
            self.text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }

    /// Events up to one of this state, that one included.
    fn up_to(&mut self, state: &str) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next() {
            events.push(event);
            if events.last().unwrap().state() == state {
                break;
            }
        }
        events
    }

    fn rest(mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// Numbers only rise, no state comes twice, and all of these come in this order.
#[track_caller]
fn assert_way(events: &[Event], wanted: &[&str]) {
    assert!(events.is_sorted_by(|a, b| a.number < b.number), "{events:?}");
    let states: Vec<_> = events.iter().map(Event::state).collect();
    let told: Vec<_> = states.iter().filter(|state| wanted.contains(state)).copied().collect();
    assert_eq!(told, wanted, "of {states:?}");
}

const WAY: [&str; 9] =
    ["accepted", "queued", "sent", "acked", "executing", "response_started", "response_ready", "delivered", "done"];

#[test]
fn every_state_is_told_as_it_is_reached_and_the_stream_ends_with_the_operation() {
    let line = line();
    let gate = "told-as-reached";
    let call = line.door().call("POST", &line.url(&format!("/gate/{gate}"))).field("Prefer", "respond-async");
    let id = promised(&call.body(b"some octets").send());
    let path = format!("/v1/operations/{id}/events");
    let mut stream = Stream::open(line.door(), &path, None);
    let mut events = stream.up_to("executing");
    assert_eq!(events.last().unwrap().data["attempt"], 1);
    // Only now does the upstream answer: what was told before was told while it happened.
    line.upstream.gates.open(gate);
    events.extend(stream.rest());
    assert_way(&events, &WAY);
    let of = |state: &str| events.iter().find(|event| event.state() == state).unwrap();
    assert!(of("sent").data["packet"].as_u64().is_some_and(|packet| packet > 0));
    assert_eq!(of("acked").data["octets"], 11);
    assert_eq!((&of("done").data["status"], &of("done").data["executed"]), (&200.into(), &"yes".into()));
    // Whoever comes again gets what he missed, and whoever has all is told not to come again.
    let again = Stream::open(line.door(), &path, Some(events[2].number)).rest();
    assert_eq!(again, events[3..]);
    assert_eq!(Stream::open(line.door(), &path, None).rest(), events);
    let last = events.last().unwrap().number.to_string();
    line.door().call("GET", &path).field("Last-Event-ID", &last).send().expect_status(204);
    // The history of the operation says the same.
    let history = line.door().get(&format!("/v1/operations/{id}")).json()["history"].clone();
    let told: Vec<Value> = events.iter().map(|event| event.data.clone()).collect();
    assert_eq!(history, Value::Array(told));
}

#[test]
fn a_client_comes_back_after_a_kill_and_misses_nothing() {
    let line = Line::start(&Options::default());
    line.assert_works();
    let gate = "events-over-a-kill";
    let call = line.door().call("POST", &line.url(&format!("/gate/{gate}"))).field("Prefer", "respond-async");
    let id = promised(&call.body(b"x").send());
    let path = format!("/v1/operations/{id}/events");
    let mut stream = Stream::open(line.door(), &path, None);
    let mut events = stream.up_to("executing");
    line.near.kill();
    assert_eq!(stream.next(), None);
    line.near.start_again();
    let stream = Stream::open(line.door(), &path, Some(events.last().unwrap().number));
    line.upstream.gates.open(gate);
    events.extend(stream.rest());
    assert_way(&events, &WAY);
    assert_eq!(events.len(), events.iter().map(Event::state).collect::<std::collections::BTreeSet<_>>().len());
    // All of it is in the log.
    line.near.kill();
    line.near.start_again();
    assert_eq!(Stream::open(line.door(), &path, None).rest(), events);
}

#[test]
fn events_of_all_operations_are_told_in_one_stream() {
    let line = line();
    let id = operation_id();
    let mut all = Stream::open(line.door(), "/v1/events", None);
    let call = line.door().call("POST", &line.url("/echo")).field("Hoft-Operation-Id", &id);
    call.body(b"x").send().expect_status(200);
    let mut own = Vec::new();
    let mut last = 0;
    while own.last().is_none_or(|event: &Event| event.state() != "done") {
        let event = all.next().unwrap();
        assert!(event.number > last, "{event:?}");
        last = event.number;
        if event.data["operation"] == id {
            own.push(event);
        }
    }
    assert_eq!(own[0].state(), "accepted");
    // From there on, what others do in this test's shadow aside, nothing of it is told again.
    let mut again = Stream::open(line.door(), "/v1/events", Some(own[0].number));
    let next = std::iter::from_fn(|| again.next()).find(|event| event.data["operation"] == id).unwrap();
    assert_eq!(next, own[1]);
}

#[test]
fn what_is_no_event_or_no_operation_is_refused() {
    let line = line();
    let unknown = format!("/v1/operations/{}/events", operation_id());
    line.door().get(&unknown).expect_problem(404, "unknown-operation", "http_request_error");
    let call = line.door().call("GET", "/v1/events").field("Last-Event-ID", "yesterday");
    call.send().expect_problem(400, "bad-request", "http_request_error");
    for path in [unknown.as_str(), "/v1/events"] {
        let answer = line.door().post(path, b"x").expect_status(405);
        assert_eq!(answer.get("allow"), Some("GET"), "{path}");
    }
}

#[test]
fn a_stopping_engine_ends_the_streams_of_its_clients() {
    let line = Line::start(&Options::default());
    let mut stream = Stream::open(line.door(), "/v1/events", None);
    assert!(line.near.stop().success());
    assert_eq!(stream.next(), None);
    line.near.start_again();
}
