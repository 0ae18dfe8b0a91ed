//! The status page of a real engine: as it is served, as its events come, and in a browser nobody here wrote.
//!
//! The browser (Chromium, by its DevTools protocol) is driven by `status_page/browser.py`, which needs the packages of
//! `requirements.txt`. Screenshots are left in `$HOFT_ARTEFACTS`, or else in `status-page/` of the tests' temporary folder.
//! Without Chromium the test is skipped; `HOFT_REQUIRE=chromium,pyclients` makes that a failure.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::Stdio;

use crate::client::{Call, Door};
use crate::harness::{Line, Options, operation_id};
use crate::process::eventually;
use crate::programs::{is_there, pyclients};
use crate::shared::line;

const SECRET: &str = "token=not-to-be-shown";

fn page(door: Door, path: &str) -> Call {
    door.call("GET", path).field("Accept", "text/html")
}

#[test]
fn the_page_shows_a_call_without_its_query_and_the_far_side() {
    let line = line();
    let id = operation_id();
    let target = line.url(&format!("/echo?{SECRET}"));
    let call = line.door().call("POST", &target).field("Hoft-Operation-Id", &id).body(b"shown");
    call.send().expect_status(200);
    let answer = page(line.door(), "/").send().expect_status(200);
    assert_eq!(answer.get("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(answer.get("x-frame-options"), Some("DENY"));
    assert!(answer.get("content-security-policy").is_some_and(|policy| policy.contains("frame-ancestors 'none'")));
    let text = answer.text();
    for part in [&id, "south", "/echo<", "Packets pass in both directions", "<noscript>"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let fingerprint = line.far.statusz()["fingerprint"].as_str().unwrap().to_owned();
    assert!(text.contains(&fingerprint), "{fingerprint}: {text}");
    assert!(!text.contains("not-to-be-shown"), "{text}");
    let admin = page(line.near.admin(), "/").send().expect_status(200).text();
    assert!(admin.contains(&id) && !admin.contains("not-to-be-shown") && !admin.contains("/echo"), "{admin}");
    let head = line.door().call("HEAD", "/").send().expect_status(200);
    assert!(head.body.is_empty());
}

#[test]
fn the_page_filters_by_state() {
    let line = line();
    let (id, failed) = (operation_id(), operation_id());
    line.door().call("GET", &line.url("/fixed/3")).field("Hoft-Operation-Id", &id).send().expect_status(200);
    let call = line.door().call("GET", "http://elsewhere.example/y").field("Hoft-Operation-Id", &failed);
    call.send().expect_status(403);
    line.near.operation_when(&id, "done", |view| view["state"] == "done");
    line.near.operation_when(&failed, "failed", |view| view["state"] == "failed");
    for (query, shown) in [("?state=failed", [false, true]), ("?state=done", [true, false]), ("?state=", [true, true])]
    {
        let text = line.door().get(&format!("/{query}")).expect_status(200).text();
        assert_eq!([text.contains(&id), text.contains(&failed)], shown, "{query}: {text}");
    }
    line.door().get("/?state=%3Cb%3E").expect_problem(400, "bad-request", "http_request_error");
    let answer = line.door().post("/", b"x");
    answer.expect_problem(405, "bad-request", "http_request_error");
    assert_eq!(answer.get("allow"), Some("GET, HEAD"));
}

#[test]
fn pages_of_other_sites_do_not_get_the_page() {
    let line = line();
    for path in ["/", "/v1/page-events"] {
        let rebound = line.door().call("GET", path).field("Host", "evil.example").send();
        rebound.expect_problem(421, "foreign-host", "http_request_denied");
        let foreign = line.door().call("GET", path).field("Origin", "https://evil.example").send();
        foreign.expect_problem(403, "foreign-origin", "http_request_denied");
        let framed = line.door().call("GET", path).field("Sec-Fetch-Site", "cross-site").send();
        framed.expect_problem(403, "foreign-origin", "http_request_denied");
        let rebound = line.near.admin().call("GET", path).field("Accept", "text/html").field("Host", "evil.example");
        assert_eq!(rebound.send().status, 421);
    }
}

#[test]
fn events_bring_a_change_without_being_asked_and_few_may_listen() {
    let line = line();
    let (id, gate) = (operation_id(), "page-events");
    let mut listening = line.door().call("GET", "/v1/page-events").begin().unwrap();
    let (head, mut body) = listening.head().unwrap();
    assert_eq!(head.status(), 200);
    let call = line.door().call("GET", &line.url(&format!("/gate/{gate}"))).field("Hoft-Operation-Id", &id);
    let exchange = call.begin().unwrap();
    let mut said = String::new();
    let mut until = |conn: &mut crate::http::Conn, wanted: &dyn Fn(&str) -> bool| {
        while !wanted(&said) {
            let piece = body.next(conn).unwrap().expect("the stream of events ended");
            said.push_str(&String::from_utf8_lossy(&piece));
        }
        std::mem::take(&mut said)
    };
    until(&mut listening.conn, &|said| said.contains(&id));
    line.upstream.gates.wait_for_arrivals(gate, 1);
    line.upstream.gates.open(gate);
    exchange.answer().unwrap().expect_status(200);
    let last = until(&mut listening.conn, &|said| said.contains(&id) && said.contains("took "));
    assert!(!last.contains("\n\n\n"), "{last}");
    let mut more = Vec::new();
    let refused = eventually("too many listen", || {
        let mut another = line.door().call("GET", "/v1/page-events").begin().unwrap();
        let (head, _) = another.head().unwrap();
        more.push(another);
        (head.status() != 200).then_some(head.status())
    });
    assert_eq!(refused, 503);
    assert!(more.len() <= 17, "{} listen", more.len());
    drop(more);
    line.door().get("/").expect_status(200);
}

#[test]
fn open_pages_do_not_hold_up_the_end_of_an_engine() {
    let line = Line::start(&Options::default());
    let mut listening = line.door().call("GET", "/v1/page-events").begin().unwrap();
    let (_, mut body) = listening.head().unwrap();
    assert!(line.near.stop().success());
    body.rest(&mut listening.conn).expect("the stream was cut, not ended");
}

/// Where screenshots are kept.
fn artefacts() -> PathBuf {
    let folder = match std::env::var_os("HOFT_ARTEFACTS") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("status-page"),
    };
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn chromium_shows_the_page_and_its_changes_with_and_without_scripts() {
    let Some(mut python) = pyclients().filter(|_| is_there("chromium", "chromium")) else { return };
    let line = Line::start(&Options { faults: "mild", seed: 11, ..Options::default() });
    let (running, gate) = (operation_id(), "browser");
    for n in 0..6 {
        line.door().post(&format!("/to/up/echo?{SECRET}&n={n}"), &vec![b'x'; 40_000 * n]).expect_status(200);
    }
    line.door().get("/to/up/status/404").expect_status(404);
    line.door().get("http://elsewhere.example/refused").expect_status(403);
    let target = line.url(&format!("/gate/{gate}?{SECRET}"));
    let exchange = line.door().call("POST", &target).field("Hoft-Operation-Id", &running).body(b"x").begin().unwrap();
    line.upstream.gates.wait_for_arrivals(gate, 1);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/line/status_page/browser.py");
    let (door, admin) = (line.door().port, line.near.admin().port);
    python.args([script, "chromium", &format!("http://localhost:{door}/"), &format!("http://127.0.0.1:{admin}/")]);
    python.arg(&running).arg(artefacts()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut browser = python.spawn().unwrap();
    let (mut stdin, stdout) = (browser.stdin.take().unwrap(), browser.stdout.take().unwrap());
    let mut stderr = browser.stderr.take().unwrap();
    let said = std::thread::spawn(move || {
        let mut said = String::new();
        let _ = stderr.read_to_string(&mut said);
        said
    });
    let mut lines = Vec::new();
    for text in BufReader::new(stdout).lines() {
        let text = text.unwrap();
        if text == "the call runs" {
            line.upstream.gates.open(gate);
            let _ = stdin.write_all(b"go on\n");
        }
        lines.push(text);
    }
    let status = browser.wait().unwrap();
    let said = said.join().unwrap();
    assert!(status.success(), "{}\n{said}", lines.join("\n"));
    assert_eq!(lines.last().map(String::as_str), Some("all is well"), "{lines:?}\n{said}");
    exchange.answer().unwrap().expect_status(200);
}
