//! Callbacks: results and events are delivered to a receiver that nobody here wrote a line of hoft for, whatever it does, and
//! whatever becomes of the engine meanwhile.
//!
//! The receiver is `receiver.py` beside this file (Flask, of `requirements.txt`): it verifies signatures with code of its own.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sidecar_config::{CallbackRetry, CallbackTarget, Callbacks};

use crate::client::{Answer, Door};
use crate::harness::{Line, Options, free_port, operation_id};
use crate::process::{Process, eventually};
use crate::programs::pyclients;

/// Two keys, of which one takes over from the other.
const KEYS: &str = "# old\nwhsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n# new\nwhsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\n";

/// A receiver and the port it listens on, now or later.
struct Receiver {
    port: u16,
    keys: PathBuf,
    process: Option<Process>,
}

impl Receiver {
    /// One that is down. `None` where Flask is missing.
    fn new(folder: &Path) -> Option<Self> {
        pyclients()?;
        let keys = folder.join("receiver.keys");
        std::fs::write(&keys, KEYS).unwrap();
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).unwrap();
        Some(Self { port: free_port(), keys, process: None })
    }

    fn start(&mut self) {
        let mut python = pyclients().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/line/receiver.py");
        python.arg(script).arg(self.port.to_string()).arg(&self.keys);
        self.process = Some(Process::start(python, &self.keys.with_extension("log")));
        eventually("the receiver listens", || self.door().call("GET", "/seen").try_send().ok());
    }

    fn door(&self) -> Door {
        Door::at(self.port)
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Deliveries to a path, in order of arrival.
    fn seen(&self, path: &str) -> Vec<Value> {
        let all = self.door().get("/seen").expect_status(200).json();
        all.as_array().unwrap().iter().filter(|seen| seen["path"] == path).cloned().collect()
    }

    /// The deliveries to a path, once there are so many.
    #[track_caller]
    fn wait_for(&self, path: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} deliveries to {path}"), || {
            Some(self.seen(path)).filter(|seen| seen.len() >= count)
        })
    }

    /// A rule for it, with short pauses.
    fn allow(&self, give_up_after: Duration) -> Callbacks {
        let rule = CallbackTarget {
            name: "receiver".to_owned(),
            url: self.url("/"),
            addresses: vec!["127.0.0.1".to_owned()],
            secret_files: vec![self.keys.clone()],
            ca_file: None,
        };
        let retry =
            CallbackRetry { first: Duration::from_millis(100), max: Duration::from_millis(400), for_: give_up_after };
        Callbacks { allow: vec![rule], retry, timeout: Duration::from_secs(3), ..Callbacks::default() }
    }
}

/// A line whose near side may call the receiver.
fn start(receiver: &Receiver, give_up_after: Duration) -> Line {
    let callbacks = receiver.allow(give_up_after);
    Line::start(&Options { near: Box::new(move |file| file.callbacks = callbacks.clone()), ..Options::default() })
}

const LONG: Duration = Duration::from_secs(600);

fn call(line: &Line, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut call = line.door().call("POST", &line.url(path));
    for (name, value) in fields {
        call = call.field(name, value);
    }
    call.body(body).send()
}

fn letters(line: &Line) -> Vec<Value> {
    line.door().get("/v1/dead-letters").expect_status(200).json().as_array().unwrap().clone()
}

#[track_caller]
fn letter_of(line: &Line, id: &str) -> Value {
    eventually("the delivery is given up", || letters(line).into_iter().find(|letter| letter["operation"] == id))
}

fn metric(line: &Line, name: &str) -> String {
    let text = line.near.admin().get("/metrics").expect_status(200).text();
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    found.unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

#[test]
fn a_result_and_its_events_are_delivered_signed_and_in_order() {
    let folder = crate::process::folder();
    let Some(mut receiver) = Receiver::new(folder.path()) else { return };
    receiver.start();
    let line = start(&receiver, LONG);
    let (result, events) = (receiver.url("/ok/result?token=hush"), receiver.url("/ok/events"));
    let fields = [("Hoft-Callback", result.as_str()), ("Hoft-Events", events.as_str()), ("Content-Type", "text/plain")];
    let answer = call(&line, "/echo?q=1", &fields, b"tell me").expect_status(200);
    let id = answer.get("hoft-operation-id").unwrap().to_owned();
    let seen = receiver.wait_for("/ok/result?token=hush", 1).remove(0);
    assert_eq!((seen["signed"].as_bool(), seen["type"].as_str()), (Some(true), Some("application/cloudevents+json")));
    assert!(seen["agent"].as_str().unwrap().starts_with("hoft/"), "{seen}");
    let event = &seen["event"];
    assert_eq!((&event["specversion"], &event["id"]), (&"1.0".into(), &seen["id"]), "{event}");
    assert_eq!((&event["type"], &event["subject"]), (&"dev.hoft.operation.result".into(), &id.as_str().into()));
    let data = &event["data"];
    assert_eq!((&data["state"], &data["status"], &data["executed"]), (&"done".into(), &200.into(), &"yes".into()));
    assert_eq!((&data["data_base64"], &data["content_type"]), (&"dGVsbCBtZQ==".into(), &"text/plain".into()), "{data}");
    assert_eq!(data["target"], line.url("/echo"), "{data}");
    // What it names is there.
    let link = data["result"].as_str().unwrap();
    assert_eq!(line.door().get(link).expect_status(200).text(), "tell me");

    let told = eventually("the last event is delivered", || {
        let seen = receiver.seen("/ok/events");
        seen.last().is_some_and(|last| last["event"]["type"] == "dev.hoft.operation.done").then_some(seen)
    });
    assert!(told.iter().all(|seen| seen["signed"] == true && seen["event"]["subject"] == id.as_str()), "{told:?}");
    let numbers: Vec<_> = told.iter().map(|seen| seen["event"]["data"]["number"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert_eq!(told[0]["event"]["type"], "dev.hoft.operation.accepted");

    // A caller who does not wait is called when it is over.
    let (waitless, gate) = (receiver.url("/ok/waitless"), "callback-waitless");
    let asked = [("Hoft-Callback", waitless.as_str()), ("Prefer", "respond-async")];
    call(&line, &format!("/gate/{gate}"), &asked, b"x").expect_status(202);
    line.upstream.gates.wait_for_arrivals(gate, 1);
    assert!(receiver.seen("/ok/waitless").is_empty(), "the result was told before it was there");
    line.upstream.gates.open(gate);
    assert_eq!(receiver.wait_for("/ok/waitless", 1)[0]["event"]["data"]["status"], 200);

    // A large one is told by its link.
    let large = receiver.url("/ok/large");
    call(&line, "/echo", &[("Hoft-Callback", &large)], &vec![b'x'; 70_000]).expect_status(200);
    let event = receiver.wait_for("/ok/large", 1).remove(0)["event"].clone();
    assert!(event["data"]["result"].is_string() && event["data"]["data_base64"].is_null(), "{event}");
    // A failure has no response, but says what is known.
    let failed = receiver.url("/ok/failed");
    let refused = line.door().call("POST", "http://elsewhere.example/x").field("Hoft-Callback", &failed).body(b"x");
    refused.send().expect_problem(403, "route-denied", "http_request_denied");
    assert!(receiver.seen("/ok/failed").is_empty(), "nothing was accepted, and something was told");
    assert!(letters(&line).is_empty());
    eventually("all is delivered", || (metric(&line, "hoft_callbacks_pending") == "0").then_some(()));
    let log = std::fs::read_to_string(line.near.log()).unwrap();
    assert!(!log.contains("hush"), "the log shows the query of a callback's URL");
}

#[test]
fn a_url_that_no_rule_lists_is_refused_before_anything_is_accepted() {
    let line = crate::shared::line();
    for (field, url, status) in [
        ("Hoft-Callback", "http://127.0.0.1:9/x", 403),
        ("Hoft-Events", "https://shop.example/x", 403),
        ("Hoft-Callback", "http://169.254.169.254/latest/meta-data/", 403),
        ("Hoft-Events", "/x", 400),
        ("Hoft-Callback", "http://user:pass@shop.example/x", 400),
    ] {
        let answer =
            line.door().call("POST", &line.url("/echo?forbidden-callback")).field(field, url).body(b"x").send();
        let slug = if status == 403 { "callback-denied" } else { "bad-request" };
        let token = if status == 403 { "http_request_denied" } else { "http_request_error" };
        let problem = answer.expect_problem(status, slug, token);
        assert!(!answer.text().contains("pass@"), "{}", answer.text());
        assert_eq!((problem["executed"].as_str(), answer.get("location")), (Some("no"), None));
    }
    assert!(line.upstream.calls("/echo?forbidden-callback").is_empty());
    let list = line.door().get("/v1/operations").expect_status(200).text();
    assert!(!list.contains("forbidden-callback"), "{list}");
    assert_eq!(line.door().get("/v1/dead-letters").expect_status(200).text(), "[]");
    for (method, path, status) in [
        ("POST", "/v1/dead-letters", 405),
        ("GET", "/v1/dead-letters/x", 405),
        ("DELETE", "/v1/dead-letters/x", 404),
        ("POST", "/v1/dead-letters/x", 405),
        ("POST", "/v1/dead-letters/x/retry", 404),
    ] {
        assert_eq!(
            line.door().call(method, path).field("Content-Length", "0").send().status,
            status,
            "{method} {path}"
        );
    }
    let name = format!("/v1/dead-letters/{}-result", operation_id());
    assert_eq!(line.door().call("DELETE", &name).send().status, 404);
}

#[test]
fn a_receiver_that_fails_hangs_or_is_gone_gets_it_again_or_makes_a_dead_letter() {
    let folder = crate::process::folder();
    let Some(mut receiver) = Receiver::new(folder.path()) else { return };
    receiver.start();
    let line = start(&receiver, LONG);
    let begin = |path: &str| {
        let answer = call(&line, "/echo", &[("Hoft-Callback", &receiver.url(path))], b"x").expect_status(200);
        answer.get("hoft-operation-id").unwrap().to_owned()
    };
    let again = ["/fail/3/x", "/busy/1/x", "/hang/1/x"];
    let ids: Vec<String> = again.iter().map(|path| begin(path)).collect();
    let gone = begin("/gone/x?secret=hush");
    for ((path, tries), id) in again.iter().zip([4, 2, 2]).zip(&ids) {
        let seen = receiver.wait_for(path, tries);
        assert!(seen.iter().all(|seen| seen["id"] == format!("{id}-result") && seen["signed"] == true), "{seen:?}");
    }
    let letter = letter_of(&line, &gone);
    assert_eq!(letter["id"], format!("{gone}-result"));
    assert_eq!((letter["line"].as_str(), letter["attempts"].as_u64()), (Some("result"), Some(1)), "{letter}");
    assert_eq!(letter["url"], receiver.url("/gone/x"), "{letter}");
    assert!(letter["reason"].as_str().unwrap().contains("410"), "{letter}");
    assert_eq!((letters(&line).len(), metric(&line, "hoft_dead_letters")), (1, "1".to_owned()));

    // A redirect is not followed: it is a failure like any other.
    let redirected = begin("/redirect/x");
    let seen = receiver.wait_for("/redirect/x", 2);
    assert_eq!(seen[0]["id"], format!("{redirected}-result"));
    assert!(receiver.seen("/ok/redirected").is_empty(), "the redirect was followed");

    // Another try is another answer of the same kind; then it is removed.
    let path = format!("/v1/dead-letters/{gone}-result");
    let retry = || line.door().call("POST", &format!("{path}/retry")).field("Content-Length", "0").send();
    retry().expect_status(202);
    receiver.wait_for("/gone/x?secret=hush", 2);
    letter_of(&line, &gone);
    line.door().call("DELETE", &path).send().expect_status(204);
    assert_eq!((letters(&line).len(), retry().status), (0, 404));
    eventually("only the redirected one is pending", || (metric(&line, "hoft_callbacks_pending") == "1").then_some(()));
    // Nothing came twice that was answered well.
    for (path, tries) in again.iter().zip([4, 2, 2]) {
        assert_eq!(receiver.seen(path).len(), tries, "{path}");
    }
}

#[test]
fn a_callback_outlives_a_killed_engine_and_a_receiver_that_was_down() {
    let folder = crate::process::folder();
    let Some(mut receiver) = Receiver::new(folder.path()) else { return };
    let line = start(&receiver, LONG);
    line.assert_works();
    // The result is there, and nobody takes it.
    let (result, events) = (receiver.url("/ok/late"), receiver.url("/ok/late-events"));
    let fields = [("Hoft-Callback", result.as_str()), ("Hoft-Events", events.as_str())];
    let done = call(&line, "/echo", &fields, b"late").expect_status(200);
    let done = done.get("hoft-operation-id").unwrap().to_owned();
    // This one is killed while the upstream works.
    let gate = "callback-killed";
    let url = line.url(&format!("/gate/{gate}"));
    let open = line.door().call("POST", &url).field("Hoft-Callback", &receiver.url("/ok/later")).body(b"x");
    let open = open.begin().unwrap();
    line.upstream.gates.wait_for_arrivals(gate, 1);
    line.near.kill();
    assert!(open.answer().is_err(), "the connection outlived the engine");
    line.upstream.gates.open(gate);
    receiver.start();
    line.near.start_again();
    let seen = receiver.wait_for("/ok/late", 1);
    assert_eq!(seen[0]["id"], format!("{done}-result"));
    let later = receiver.wait_for("/ok/later", 1);
    assert_eq!(later[0]["event"]["data"]["data_base64"], "dGhlIGdhdGUgd2FzIG9wZW5lZA==", "{later:?}");
    let told = eventually("the last event is delivered", || {
        let seen = receiver.seen("/ok/late-events");
        seen.last().is_some_and(|last| last["event"]["type"] == "dev.hoft.operation.done").then_some(seen)
    });
    eventually("all is delivered", || (metric(&line, "hoft_callbacks_pending") == "0").then_some(()));
    // Killed with all of it delivered: what comes once more has the same ids, and nothing else comes.
    line.near.kill();
    line.near.start_again();
    line.assert_works();
    eventually("nothing is pending", || (metric(&line, "hoft_callbacks_pending") == "0").then_some(()));
    for (path, before) in [("/ok/late", &seen), ("/ok/later", &later), ("/ok/late-events", &told)] {
        for again in receiver.seen(path) {
            assert!(again["signed"] == true && before.iter().any(|seen| seen["id"] == again["id"]), "{again}");
        }
    }
    assert_eq!(line.upstream.gates.arrivals(gate), 1);
}

#[test]
fn a_delivery_whose_time_is_over_is_a_dead_letter_that_can_be_tried_again_after_a_restart() {
    let folder = crate::process::folder();
    let Some(mut receiver) = Receiver::new(folder.path()) else { return };
    let line = start(&receiver, Duration::from_secs(1));
    let answer = call(&line, "/echo", &[("Hoft-Callback", &receiver.url("/ok/dead"))], b"x").expect_status(200);
    let id = answer.get("hoft-operation-id").unwrap().to_owned();
    let letter = letter_of(&line, &id);
    assert!(letter["attempts"].as_u64().unwrap() >= 2, "{letter}");
    assert!(letter["reason"].as_str().unwrap().contains("onnect"), "{letter}");
    line.near.kill();
    line.near.start_again();
    assert_eq!(letters(&line), [letter]);
    receiver.start();
    let retry = format!("/v1/dead-letters/{id}-result/retry");
    line.door().call("POST", &retry).field("Content-Length", "0").send().expect_status(202);
    assert_eq!(receiver.wait_for("/ok/dead", 1)[0]["id"], format!("{id}-result"));
    eventually("nothing is dead or pending", || {
        (letters(&line).is_empty() && metric(&line, "hoft_callbacks_pending") == "0").then_some(())
    });
}
