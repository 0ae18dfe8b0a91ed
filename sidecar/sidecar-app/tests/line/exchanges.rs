//! The shapes of an exchange: streaming in both directions, trailers, no body, interim answers, bodies that are cut.

use std::thread;

use crate::http::{Body, Conn, field};
use crate::shared::line;

/// Reads pieces until all of `wanted` came.
#[track_caller]
fn expect_piece(body: &mut Body, conn: &mut Conn, wanted: &str) {
    let mut got = Vec::new();
    while got.len() < wanted.len() {
        got.extend(body.next(conn).unwrap().expect("the body ended before what was expected"));
    }
    assert_eq!(String::from_utf8_lossy(&got), wanted);
}

#[test]
fn the_first_piece_of_a_request_arrives_before_the_last_is_sent() {
    let line = line();
    let call = line.door().call("POST", &line.url("/stream-echo")).field("Transfer-Encoding", "chunked");
    let mut exchange = call.begin().unwrap();
    exchange.conn.write_chunk(b"first").unwrap();
    let (head, mut body) = exchange.head().unwrap();
    assert_eq!(head.status(), 200);
    // Nothing but the first piece has been sent so far.
    expect_piece(&mut body, &mut exchange.conn, "first");
    exchange.conn.write_chunk(b"second").unwrap();
    expect_piece(&mut body, &mut exchange.conn, "second");
    exchange.conn.write_last_chunk(&[]).unwrap();
    assert!(body.next(&mut exchange.conn).unwrap().is_none());
}

#[test]
fn the_first_piece_of_a_response_arrives_before_the_last_is_made() {
    let line = line();
    let gate = "response-in-chunks";
    let mut exchange = line.door().call("GET", &line.url(&format!("/chunks/{gate}/3"))).begin().unwrap();
    let (head, mut body) = exchange.head().unwrap();
    assert_eq!(head.status(), 200);
    expect_piece(&mut body, &mut exchange.conn, "chunk 0\n");
    line.upstream.gates.let_one_pass(gate);
    expect_piece(&mut body, &mut exchange.conn, "chunk 1\n");
    line.upstream.gates.let_one_pass(gate);
    expect_piece(&mut body, &mut exchange.conn, "chunk 2\n");
    assert!(body.next(&mut exchange.conn).unwrap().is_none());
}

#[test]
fn trailers_of_a_response_are_carried() {
    let line = line();
    let gate = "response-trailers";
    line.upstream.gates.open(gate);
    let call = line.door().call("GET", &line.url(&format!("/chunks/{gate}/2"))).field("TE", "trailers");
    let answer = call.send().expect_status(200);
    assert_eq!(answer.text(), "chunk 0\nchunk 1\n");
    assert_eq!(field(&answer.trailers, "x-sum"), Some("all of it"), "{:?}", answer.fields);
}

#[test]
fn trailers_of_a_request_are_carried() {
    let line = line();
    let call = line.door().call("POST", &line.url("/fields/trailers"));
    let call = call.field("Transfer-Encoding", "chunked").field("Trailer", "X-Sum");
    let mut exchange = call.begin().unwrap();
    exchange.conn.write_chunk(b"content").unwrap();
    exchange.conn.write_last_chunk(&[("X-Sum", "of the content")]).unwrap();
    let report = exchange.answer().unwrap().expect_status(200).json();
    assert_eq!(report["length"], 7);
    let trailers = report["trailers"].as_array().unwrap();
    let named = trailers.iter().find(|field| field[0].as_str().unwrap().eq_ignore_ascii_case("x-sum"));
    assert_eq!(named.map(|field| &field[1]), Some(&"of the content".into()), "{report}");
}

#[test]
fn head_has_the_fields_of_get_and_no_body() {
    let line = line();
    let answer = line.door().call("HEAD", &line.url("/fixed/123")).send().expect_status(200);
    assert_eq!(answer.get("content-length"), Some("123"));
    assert!(answer.body.is_empty());
    assert_eq!(line.upstream.calls("/fixed/123")[0].method, "HEAD");
}

#[test]
fn an_answer_without_a_body_stays_one() {
    let line = line();
    for code in [204, 304] {
        let answer = line.door().get(&line.url(&format!("/status/{code}"))).expect_status(code);
        assert!(answer.body.is_empty());
        assert_eq!(answer.get("x-upstream"), Some("yes"));
        assert_eq!(answer.get("transfer-encoding"), None, "{:?}", answer.fields);
    }
}

#[test]
fn errors_of_the_upstream_pass_through_untouched() {
    let line = line();
    for code in [301, 400, 401, 403, 404, 418, 500, 502, 503, 504] {
        let answer = line.door().get(&line.url(&format!("/status/{code}"))).expect_status(code);
        assert_eq!(answer.text(), format!("upstream says {code}"));
        assert_eq!(answer.get("x-upstream"), Some("yes"));
        assert_eq!(answer.get("proxy-status"), None, "{:?}", answer.fields);
    }
}

#[test]
fn a_body_is_sent_after_100_continue() {
    let line = line();
    let call = line.door().call("POST", &line.url("/echo"));
    let mut exchange = call.field("Expect", "100-continue").field("Content-Length", "4").begin().unwrap();
    let interim = exchange.conn.read_head().unwrap().unwrap();
    assert_eq!(interim.status(), 100, "{interim:?}");
    exchange.conn.write(b"body").unwrap();
    let answer = exchange.answer().unwrap().expect_status(200);
    assert_eq!(answer.text(), "body");
    let seen = line.upstream.calls("/echo");
    assert!(seen.iter().all(|call| field(&call.fields, "expect").is_none()), "Expect is answered here, not there");
}

#[test]
fn an_answer_that_the_upstream_cuts_never_looks_whole() {
    let line = line();
    for path in ["/cut/100000", "/cut-chunked/100000"] {
        let outcome = line.door().call("GET", &line.url(path)).try_send();
        // Either no part of it was passed on yet, and there is a problem; or the body is cut here as well.
        if let Ok(answer) = outcome {
            answer.expect_problem(502, "response-incomplete", "http_response_incomplete");
        }
    }
    line.assert_works();
}

#[test]
fn an_upstream_that_closes_without_an_answer_leaves_the_outcome_open() {
    let line = line();
    let answer = line.door().post(&line.url("/close"), b"x");
    let problem = answer.expect_problem(502, "upstream-closed", "connection_terminated");
    assert_eq!(problem["executed"], "maybe");
    assert_eq!(line.upstream.calls("/close").len(), 1, "a call that may have had an effect was made again");
}

#[test]
fn a_request_that_its_caller_cuts_is_never_whole_at_the_upstream() {
    let line = line();
    let call = line.door().call("POST", &line.url("/stream-echo/cut")).field("Transfer-Encoding", "chunked");
    let mut exchange = call.begin().unwrap();
    exchange.conn.write_chunk(b"only the beginning").unwrap();
    let (_, mut body) = exchange.head().unwrap();
    expect_piece(&mut body, &mut exchange.conn, "only the beginning");
    drop(exchange);
    line.assert_works();
    // `/gate` is reached by a body that ends; this one must not end.
    let call = line.door().call("POST", &line.url("/gate/never-whole")).field("Content-Length", "100");
    let mut exchange = call.begin().unwrap();
    exchange.conn.write(b"fifty").unwrap();
    drop(exchange);
    line.assert_works();
    assert_eq!(line.upstream.gates.arrivals("never-whole"), 0);
}

#[test]
fn a_slow_reader_holds_up_nobody_else() {
    let line = line();
    let mut slow = line.door().call("GET", &line.url("/source/50000000")).begin().unwrap();
    let (head, mut body) = slow.head().unwrap();
    assert_eq!(head.status(), 200);
    // It does not read while others call.
    let (door, url) = (line.door(), line.url("/echo"));
    let others: Vec<_> = (0..4)
        .map(|_| {
            let url = url.clone();
            thread::spawn(move || drop(door.post(&url, b"meanwhile").expect_status(200)))
        })
        .collect();
    for other in others {
        other.join().unwrap();
    }
    let mut length = 0;
    while let Some(piece) = body.next(&mut slow.conn).unwrap() {
        length += piece.len();
    }
    assert_eq!(length, 50_000_000);
}
