//! Every error of the local port is a problem with a cause, whatever is wrong: the request's bytes, its path, its
//! method, or how many connections there are.

use std::thread;

use crate::client::{Answer, Door};
use crate::harness::{Line, Options};
use crate::http::field;
use crate::shared::line;

/// Sends octets as they are and reads the whole answer.
#[track_caller]
fn answer_to(door: Door, request: &[u8]) -> Answer {
    let mut conn = door.connect().unwrap();
    // The port may answer and close before everything is written.
    let _ = conn.write(request);
    let head = conn.read_head().unwrap().unwrap_or_else(|| panic!("no answer to {}", String::from_utf8_lossy(request)));
    let mut body = head.response_body("GET");
    let content = body.rest(&mut conn).unwrap();
    Answer { status: head.status(), fields: head.fields, body: content, trailers: body.trailers }
}

#[test]
fn malformed_requests_are_answered_with_their_cause() {
    let line = line();
    let host = format!("Host: 127.0.0.1:{}\r\n", line.upstream.port);
    let url = line.url("/problems");
    let post = |fields: &str| format!("POST {url} HTTP/1.1\r\n{host}{fields}\r\n");
    for (request, status, slug) in [
        ("\u{16}\u{3}\u{1}\u{2}\r\n\r\n".to_owned(), 400, "bad-request"),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), 400, "bad-request"),
        (format!("GE(T {url} HTTP/1.1\r\n{host}\r\n"), 400, "bad-request"),
        (format!("GET /{} HTTP/1.1\r\n{host}\r\n", "a".repeat(70_000)), 414, "bad-request"),
        (post("X-Folded: one\r\n two\r\n"), 400, "bad-request"),
        (post("X-Nul: a\0b\r\n"), 400, "bad-request"),
        (post("X-Space : a\r\n"), 400, "bad-request"),
        (post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400, "bad-request"),
        (post("Content-Length: 5\r\nContent-Length: 5\r\n"), 400, "bad-request"),
        (post("Content-Length: 5, 5\r\n"), 400, "bad-request"),
        (post("Transfer-Encoding: xchunked\r\n"), 400, "bad-request"),
        (post("Host: another.example\r\n"), 400, "bad-request"),
        (post(&"X-Line: v\r\n".repeat(300)), 431, "fields-too-large"),
        (post(&format!("X-Long: {}\r\n", "v".repeat(75_000))), 431, "fields-too-large"),
        (post(&format!("X-Longer: {}\r\n", "v".repeat(200_000))), 431, "fields-too-large"),
    ] {
        let answer = answer_to(line.door(), request.as_bytes());
        let problem = answer.expect_problem(status, slug, "http_request_error");
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{problem}");
    }
    assert!(line.upstream.calls("/problems").is_empty());
    line.assert_works();
}

#[test]
fn a_bad_request_behind_a_good_one_is_answered_after_it() {
    let line = line();
    let good = format!("GET {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", line.url("/fixed/5"), line.upstream.port);
    let mut conn = line.door().connect().unwrap();
    conn.write(format!("{good}nonsense\r\n\r\n{good}").as_bytes()).unwrap();
    let head = conn.read_head().unwrap().unwrap();
    assert_eq!(head.status(), 200, "{head:?}");
    assert_eq!(head.response_body("GET").rest(&mut conn).unwrap().len(), 5);
    let head = conn.read_head().unwrap().unwrap();
    assert_eq!((head.status(), field(&head.fields, "content-type")), (400, Some("application/problem+json")));
    head.response_body("GET").rest(&mut conn).unwrap();
    assert!(conn.read_head().unwrap().is_none(), "the connection goes on after a request that was refused");
}

#[test]
fn a_client_that_says_its_request_was_refused_is_served_as_any() {
    let line = line();
    let answer = line.door().call("GET", &line.url("/fixed/6")).field("Hoft-Refused", "1").send();
    assert_eq!(answer.expect_status(200).body.len(), 6);
}

#[test]
fn paths_and_methods_that_the_port_does_not_have_are_problems() {
    let line = line();
    for path in ["/v1", "/v1/nothing", "/v2/operations", "/to", "/favicon.ico"] {
        line.door().get(path).expect_problem(404, "unknown-route", "http_request_denied");
    }
    let answer = line.door().call("PUT", "/v1/operations").send();
    answer.expect_problem(405, "method-not-allowed", "http_request_error");
    assert!(answer.get("allow").unwrap().contains("GET"), "{:?}", answer.fields);
    line.door().get("/v1/operations/nothing").expect_problem(404, "unknown-operation", "http_request_error");
    let answer = line.door().call("GET", &line.url("/x")).field("Host", "other.example").send();
    assert!(matches!(answer.status, 400 | 421), "{answer:?}");
    answer.expect_problem(
        answer.status,
        if answer.status == 400 { "bad-request" } else { "foreign-host" },
        "http_request_",
    );
}

#[test]
fn a_connection_too_many_is_told_so_and_the_next_one_is_served() {
    let line = Line::start(&Options { near: Box::new(|file| file.limits.connections = 3), ..Options::default() });
    let request = format!("GET {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", line.url("/fixed/2"), line.upstream.port);
    let held: Vec<_> = (0..3)
        .map(|_| {
            // Only one that was answered surely has a place.
            let mut conn = line.door().connect().unwrap();
            conn.write(request.as_bytes()).unwrap();
            let head = conn.read_head().unwrap().unwrap();
            assert_eq!(head.response_body("GET").rest(&mut conn).unwrap().len(), 2);
            conn
        })
        .collect();
    let answers: Vec<_> = (0..2)
        .map(|_| {
            let (door, url) = (line.door(), line.url("/fixed/1"));
            thread::spawn(move || door.get(&url))
        })
        .collect();
    for answer in answers {
        let answer = answer.join().unwrap();
        answer.expect_problem(503, "too-many-connections", "connection_limit_reached");
        assert_eq!(answer.get("retry-after"), Some("1"));
    }
    drop(held);
    crate::process::eventually("a place is free again", || {
        (line.door().get(&line.url("/fixed/1")).status == 200).then_some(())
    });
}
