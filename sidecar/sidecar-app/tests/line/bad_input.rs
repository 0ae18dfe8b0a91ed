//! Requests that no honest client sends: each is refused or its connection closed, and the next good call works.

use crate::client::Door;
use crate::http::Conn;
use crate::shared::line;

/// Sends octets as they are and asserts that the answer is a 4xx or 5xx, or a closed connection; then that all is well.
#[track_caller]
fn assert_refused(request: &str) {
    let line = line();
    let status = line.door().raw(request.as_bytes());
    let shown: String = request.chars().take(300).collect();
    assert!(status.is_none_or(|status| (400..600).contains(&status)), "{status:?} for {shown:?}");
    line.assert_works();
}

/// The request line and Host of a call that would be allowed.
fn opening(path: &str) -> String {
    let line = line();
    format!("POST {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n", line.url(path), line.upstream.port)
}

/// How many calls to the path the upstream saw.
fn calls(path: &str) -> usize {
    line().upstream.calls(path).len()
}

#[test]
fn two_framings_are_refused() {
    let mut carried = Vec::new();
    for framing in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
    ] {
        let inner = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
        line().door().raw(format!("{}{framing}\r\n0\r\n\r\n{inner}", opening("/framing")).as_bytes());
        line().assert_works();
        if calls("/framing") > carried.len() {
            carried.push(framing);
        }
    }
    assert!(carried.is_empty(), "the upstream was called for {carried:#?}");
    assert_eq!(calls("/smuggled"), 0);
}

#[test]
fn broken_header_lines_are_refused() {
    for fields in [
        "X-Folded: one\r\n two\r\n",
        "X-Nul: a\0b\r\n",
        "X-Bare: a\rb\r\n",
        "X Space: a\r\n",
        "X-Space : a\r\n",
        ": nameless\r\n",
        "no colon at all\r\n",
        "X-\u{e9}: a\r\n",
        "Host: another.example\r\n",
        "Host: user@127.0.0.1\r\n",
    ] {
        assert_refused(&format!("{}{fields}Content-Length: 0\r\n\r\n", opening("/lines")));
    }
    assert_eq!(calls("/lines"), 0);
}

#[test]
fn broken_request_lines_are_refused() {
    let port = line().upstream.port;
    for first in [
        "GET".to_owned(),
        "GET / HTTP/9.9".to_owned(),
        format!("GET http://127.0.0.1:{port}/a b HTTP/1.1"),
        format!("GET http://127.0.0.1:{port}/\u{1} HTTP/1.1"),
        format!("GE(T http://127.0.0.1:{port}/request-line HTTP/1.1"),
        format!("GET http://127.0.0.1:{port}\\@elsewhere.example/request-line HTTP/1.1"),
        format!("GET http://127.0.0.1:{port}#/request-line HTTP/1.1"),
        "\u{16}\u{3}\u{1}\u{2}".to_owned(),
        "PRI * HTTP/2.0".to_owned(),
        "* / HTTP/1.1".to_owned(),
    ] {
        assert_refused(&format!("{first}\r\nHost: 127.0.0.1:{port}\r\n\r\n"));
    }
    assert_eq!(calls("/request-line"), 0);
}

#[test]
fn a_broken_chunk_never_ends_a_body_well() {
    for chunk in
        ["zz\r\nhello\r\n0\r\n\r\n", "5\r\nhelloEXTRA0\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n", "fffffffffffffffff\r\nx"]
    {
        assert_refused(&format!("{}Transfer-Encoding: chunked\r\n\r\n{chunk}", opening("/gate/broken-chunk")));
    }
    assert_eq!(line().upstream.gates.arrivals("broken-chunk"), 0, "a body that broke looked whole");
}

#[test]
fn an_oversized_header_section_is_refused() {
    let line = line();
    let many: String = (0..2000).map(|number| format!("X-{number}: v\r\n")).collect();
    let long = format!("X-Long: {}\r\n", "v".repeat(70_000));
    let huge = format!("X-Huge: {}\r\n", "v".repeat(2_000_000));
    for fields in [many, long, huge] {
        let request = format!("{}{fields}Content-Length: 0\r\n\r\n", opening("/oversized"));
        let status = line.door().raw(request.as_bytes());
        assert!(status.is_none_or(|status| matches!(status, 400 | 431)), "{status:?}");
        line.assert_works();
    }
    assert_refused(&format!("GET http://127.0.0.1:1/{} HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n", "a".repeat(100_000)));
    assert_eq!(calls("/oversized"), 0);
}

#[test]
fn a_foreign_host_is_refused() {
    let line = line();
    for (target, host) in [
        ("/to/up/foreign", "evil.example"),
        ("/to/up/foreign", "localhost.evil.example"),
        ("/to/up/foreign", "127.0.0.1.evil.example:8470"),
        ("/v1/operations", "evil.example"),
    ] {
        let answer = line.door().call("GET", target).field("Host", host).send();
        answer.expect_problem(421, "foreign-host", "http_request_denied");
    }
    let status = line.door().raw(b"GET /to/up/foreign HTTP/1.1\r\n\r\n");
    assert_eq!(status, Some(400));
    let status = line.door().raw(b"GET /to/up/foreign HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n");
    assert_eq!(status, Some(400));
    assert_eq!(calls("/foreign"), 0);
    line.assert_works();
}

#[test]
fn a_foreign_origin_is_refused() {
    let line = line();
    for origin in ["http://evil.example", "null", "https://localhost.evil.example", "file://"] {
        for target in ["/to/up/origin".to_owned(), line.url("/origin"), "/v1/operations".to_owned()] {
            let answer = line.door().call("GET", &target).field("Origin", origin).send();
            answer.expect_problem(403, "foreign-origin", "http_request_denied");
        }
    }
    assert_eq!(calls("/origin"), 0);
    let answer = line.door().call("GET", "/to/up/fixed/2").field("Origin", "http://localhost:8080").send();
    answer.expect_status(200);
}

#[test]
fn the_admin_port_is_not_for_foreign_names() {
    let line = line();
    for (host, status) in [("evil.example", 421), ("localhost", 200), ("127.0.0.1:1", 200)] {
        let answer = line.near.admin().call("GET", "/statusz").field("Host", host).send();
        assert_eq!(answer.status, status, "{host}");
    }
    assert_eq!(line.near.admin().get("/nowhere").status, 404);
    assert_eq!(line.near.admin().post("/statusz", b"").status, 405);
}

#[test]
fn connections_that_say_nothing_hold_up_nobody() {
    let line = line();
    let idle: Vec<Conn> = (0..50).map(|_| line.door().connect().unwrap()).collect();
    let mut halves: Vec<Conn> = (0..50).map(|_| line.door().connect().unwrap()).collect();
    for half in &mut halves {
        half.write(b"GET http://127.0.0.1/ HT").unwrap();
    }
    line.assert_works();
    drop((idle, halves));
    line.assert_works();
}

#[test]
fn octets_that_are_no_http_are_refused_on_every_port() {
    let line = line();
    let garbage: Vec<u8> = (0..8192_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for door in [line.near.door(), line.near.admin(), line.far.door(), line.far.admin()] {
        let status = Door::raw(door, &garbage);
        assert!(status.is_none_or(|status| status == 400), "{status:?}");
    }
    line.assert_works();
    assert!(line.near.runs() && line.far.runs());
}
