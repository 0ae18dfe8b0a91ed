//! What HTTP says beside head and body: 1xx, trailers, repeated fields, octets beyond ASCII, answers without content.
//!
//! The upstream here is a bare socket, so that what arrives is compared octet by octet. Read first:
//! `fields_keep_their_octets_and_their_order`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use crate::harness::{Line, Options, SharedLine, destination, free_port, inbound, outbound};
use crate::shared::line;

/// Only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A line with a route `bare` to a port that the tests listen on themselves, one at a time.
fn bare() -> (SharedLine, &'static TcpListener) {
    static LINE: OnceLock<(Line, TcpListener)> = OnceLock::new();
    let (line, listener) = LINE.get_or_init(|| {
        let port = free_port();
        let options = Options {
            near: Box::new(move |file| {
                let target = Some(format!("http://127.0.0.1:{port}/"));
                file.outbound.allow.push(outbound("bare", destination("http", "127.0.0.1", port), target));
            }),
            far: Box::new(move |file| {
                file.inbound.allow.push(inbound("bare", destination("http", "127.0.0.1", port)));
            }),
            ..Options::default()
        };
        (Line::start(&options), TcpListener::bind(("127.0.0.1", port)).unwrap())
    });
    (SharedLine(line), listener)
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        let mut octet = [0];
        assert_eq!(stream.read(&mut octet).unwrap(), 1, "ended after {}", read.escape_ascii());
        read.push(octet[0]);
    }
    read
}

/// One call of raw octets to `bare`, answered with raw octets: what the upstream got (up to the end of its head), and the
/// client's end.
fn exchange(request: &[u8], response: &[u8]) -> (Vec<u8>, TcpStream) {
    let (line, listener) = bare();
    let mut client = connect(line.door().port);
    client.write_all(request).unwrap();
    let (mut upstream, _) = listener.accept().unwrap();
    upstream.set_read_timeout(Some(PATIENCE)).unwrap();
    let got = until(&mut upstream, b"\r\n\r\n");
    upstream.write_all(response).unwrap();
    (got, client)
}

/// Lines of a head that begin with `x-`, in order, names in lower case.
fn own_lines(head: &[u8]) -> Vec<Vec<u8>> {
    let lines = head.split(|octet| *octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let own = lines.filter(|line| line.len() > 2 && line[..2].eq_ignore_ascii_case(b"x-"));
    own.map(|line| {
        let colon = line.iter().position(|octet| *octet == b':').unwrap();
        [line[..colon].to_ascii_lowercase(), line[colon..].to_vec()].concat()
    })
    .collect()
}

#[test]
fn fields_keep_their_octets_and_their_order() {
    let lines: [&[u8]; 5] =
        [b"x-a: one", b"x-latin: caf\xe9 \xff\x80", b"x-a: two, \"three,four\"", b"x-tab: a\tb", b"x-empty: "];
    let request =
        [b"GET /to/bare/x HTTP/1.1\r\nHost: localhost\r\n", &lines.join(&b"\r\n"[..])[..], b"\r\n\r\n"].concat();
    let response = [b"HTTP/1.1 200 Fine\r\nContent-Length: 0\r\n", &lines.join(&b"\r\n"[..])[..], b"\r\n\r\n"].concat();
    let (got, mut client) = exchange(&request, &response);
    // Lines of one name stay in their order; where they stand among others may change (RFC 9110 §5.3).
    let grouped: Vec<&[u8]> = vec![lines[0], lines[2], lines[4], lines[1], lines[3]];
    let sorted = |head: &[u8]| {
        let mut own = own_lines(head);
        own.sort_by_key(|line| line.iter().take_while(|octet| **octet != b':').copied().collect::<Vec<_>>());
        own
    };
    assert_eq!(sorted(&got), grouped, "{}", got.escape_ascii());
    let head = until(&mut client, b"\r\n\r\n");
    assert_eq!(sorted(&head), grouped, "{}", head.escape_ascii());
}

#[test]
fn interim_responses_are_passed_over_and_the_final_one_arrives() {
    let request = b"GET /to/bare/hints HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let response = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
        HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";
    let (_, mut client) = exchange(request, response);
    let answer = until(&mut client, b"done");
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", answer.escape_ascii());
}

#[test]
fn a_body_is_asked_for_only_after_the_call_was_admitted() {
    let line = line();
    let up = line.upstream.port;
    let expecting = |target: &str, host: &str| {
        let mut client = connect(line.door().port);
        let fields = "Expect: 100-continue\r\nContent-Length: 5\r\n";
        write!(client, "POST {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n").unwrap();
        let head = String::from_utf8(until(&mut client, b"\r\n\r\n")).unwrap();
        (client, head)
    };
    let (mut client, head) = expecting(&format!("http://127.0.0.1:{up}/echo"), &format!("127.0.0.1:{up}"));
    assert!(head.starts_with("HTTP/1.1 100 "), "{head}");
    client.write_all(b"hello").unwrap();
    let answer = String::from_utf8(until(&mut client, b"hello")).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // The upstream is not asked: its answer would cost a round trip.
    let echoes = line.upstream.calls("/echo");
    assert!(echoes.iter().all(|call| call.fields.iter().all(|(name, _)| !name.eq_ignore_ascii_case("expect"))));
    for (target, host, status) in [
        ("http://nowhere.example/", "nowhere.example", "403"),
        ("/to/nobody/", "localhost", "404"),
        ("/to/up/", "evil.example", "421"),
    ] {
        let (_, head) = expecting(target, host);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
}

#[test]
fn trailers_pass_both_ways_and_framing_fields_in_them_do_not() {
    let line = line();
    let call = line.door().call("POST", &line.url("/fields/trailers"));
    let call = call
        .field("Transfer-Encoding", "chunked")
        .field("TE", "trailers")
        .field("Trailer", "X-Sum, Host, Content-Length");
    let mut exchange = call.begin().unwrap();
    exchange.conn.write_chunk(b"hello").unwrap();
    let trailers = [("X-Sum", "5d41"), ("Host", "evil.example"), ("Content-Length", "3"), ("Transfer-Encoding", "x")];
    exchange.conn.write_last_chunk(&trailers).unwrap();
    let report = exchange.answer().unwrap().expect_status(200).json();
    assert_eq!(report["length"], 5);
    assert_eq!(report["trailers"], serde_json::json!([["x-sum", "5d41"]]), "{report}");
    let answer =
        line.door().call("GET", &line.url("/chunks/trailers/1")).field("TE", "trailers").send().expect_status(200);
    assert_eq!(crate::http::field(&answer.trailers, "x-sum"), Some("all of it"), "{answer:?}");
}

#[test]
fn answers_without_content_leave_the_connection_in_step() {
    let line = line();
    let mut conn = line.door().connect().unwrap();
    for (method, path, status) in [
        ("HEAD", "/fixed/500", 200),
        ("GET", "/status/204", 204),
        ("GET", "/status/304", 304),
        ("HEAD", "/status/404", 404),
        ("GET", "/fixed/3", 200),
    ] {
        let host = format!("127.0.0.1:{}", line.upstream.port);
        conn.write(format!("{method} {} HTTP/1.1\r\nHost: {host}\r\n\r\n", line.url(path)).as_bytes()).unwrap();
        let head = conn.read_head().unwrap().unwrap();
        assert_eq!(head.status(), status, "{method} {path}: {head:?}");
        if method == "HEAD" && path == "/fixed/500" {
            assert_eq!(head.get("content-length"), Some("500"));
        }
        let content = head.response_body(method).rest(&mut conn).unwrap();
        assert_eq!(content.len(), if path == "/fixed/3" { 3 } else { 0 });
    }
}
