//! The committed lists of header and smuggling cases, driven over raw sockets through both engines: `smuggling.tsv` for HTTP/1.1
//! and `smuggling-h2.tsv` for HTTP/2, each row with its source.
//!
//! Invariants: every row is tried; what is refused never reaches the upstream; nobody ever asks the upstream for `smuggled`; what
//! is passed on has one framing. Read first: [`Row`].

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::h2c::h2_calls;
use crate::http::field;
use crate::programs::pyclients;
use crate::shared::line;

const HTTP1: &str = include_str!("smuggling.tsv");
const HTTP2: &str = include_str!("smuggling-h2.tsv");
/// Only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(120);

/// One case.
struct Row {
    name: &'static str,
    /// What its answer may be.
    expect: Vec<&'static str>,
    /// The columns after `expect`.
    rest: Vec<&'static str>,
}

fn rows(table: &'static str) -> Vec<Row> {
    let rows: Vec<Row> = table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            assert!(columns.len() >= 4 && columns[1].len() > 8, "no source, or no request: {line}");
            Row { name: columns[0], expect: columns[2].split('|').collect(), rest: columns[3..].to_vec() }
        })
        .collect();
    let names: BTreeSet<_> = rows.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), rows.len(), "names repeat");
    rows
}

fn octets(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'\\' {
            octets.push(octet);
            continue;
        }
        octets.push(match rest.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => panic!("escape {other:?} in {text}"),
        });
    }
    octets
}

/// What the local port answers to these octets: the statuses of all answers, in order.
fn answers(port: u16, request: &[u8], cut: bool) -> Vec<String> {
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    // The port may answer and close before everything is written.
    let _ = client.write_all(request);
    if cut {
        let _ = client.shutdown(Shutdown::Write);
    }
    let mut got = Vec::new();
    let mut piece = [0; 4096];
    // It closes after most refusals; after an answer it stays open.
    while let Ok(read @ 1..) = client.read(&mut piece) {
        got.extend_from_slice(&piece[..read]);
        client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    }
    let text = String::from_utf8_lossy(&got).into_owned();
    text.match_indices("HTTP/1.1 ").map(|(at, _)| text[at + 9..].chars().take(3).collect()).collect()
}

#[test]
fn no_case_of_http1_smuggles_anything() {
    let line = line();
    let (port, up) = (line.door().port, format!("127.0.0.1:{}", line.upstream.port));
    let rows = rows(HTTP1);
    assert!(rows.len() >= 60, "{} rows", rows.len());
    let answers: Vec<Vec<String>> = thread::scope(|scope| {
        let parts: Vec<_> = rows
            .chunks(rows.len().div_ceil(8))
            .map(|part| {
                let up = &up;
                let drive = move |row: &Row| {
                    let request = octets(&row.rest[0].replace("{up}", up).replace("{name}", row.name));
                    answers(port, &request, row.expect == ["cut"])
                };
                scope.spawn(move || part.iter().map(drive).collect::<Vec<_>>())
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    // What was on its way has arrived by then.
    line.assert_works();
    let failures: Vec<String> =
        rows.iter().zip(&answers).filter_map(|(row, answers)| http1_failure(row, answers)).collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), rows.len(), failures.join("\n"));
    assert!(line.upstream.calls("/fields/smuggled").is_empty());
}

/// What is wrong with how a row was dealt with, if anything.
fn http1_failure(row: &Row, answers: &[String]) -> Option<String> {
    let line = line();
    let cut = row.expect == ["cut"];
    let first = answers.first().map_or("close", String::as_str);
    let fail = |what: String| Some(format!("{}: {what}; answers {answers:?}", row.name));
    if !cut && !row.expect.contains(&first) {
        return fail(format!("answered {first}, not {:?}", row.expect));
    }
    let seen = line.upstream.calls(&format!("/fields/{}", row.name));
    let seen: Vec<_> = seen.iter().filter(|call| call.target.ends_with(row.name)).collect();
    if first != "200" {
        return if seen.is_empty() || cut { None } else { fail(format!("it reached the upstream: {seen:?}")) };
    }
    let checks = row.rest.get(1).unwrap_or(&"");
    if *checks == "unsent" {
        return if seen.is_empty() { None } else { fail(format!("it reached the upstream: {seen:?}")) };
    }
    let [call] = seen[..] else { return fail(format!("it reached the upstream {} times", seen.len())) };
    let framings = ["content-length", "transfer-encoding"]
        .map(|name| call.fields.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name)).count());
    if framings.iter().sum::<usize>() > 1 {
        return fail(format!("framed in two ways: {:?}", call.fields));
    }
    let whole = format!("{} {} {:?}", call.method, call.target, call.fields).to_lowercase();
    for check in checks.split_whitespace() {
        let (kind, what) = check.split_once('=').unwrap();
        let good = match kind {
            "length" => {
                framings[1] == 1 || field(&call.fields, "content-length").unwrap_or("0").parse::<u64>() == what.parse()
            }
            "seen" => match what.split_once(':') {
                Some((name, value)) => field(&call.fields, name) == Some(value),
                None => field(&call.fields, what).is_some(),
            },
            "unseen" => !whole.contains(what),
            _ => panic!("no such check: {check}"),
        };
        if !good {
            return fail(format!("{check} does not hold: {whole}"));
        }
    }
    None
}

#[test]
fn no_case_of_http2_smuggles_anything() {
    let Some(mut python) = pyclients() else { return };
    let line = line();
    let port = line.door().port;
    let rows = rows(HTTP2);
    assert!(rows.len() >= 25, "{} rows", rows.len());
    let requests: Vec<Value> = rows
        .iter()
        .map(|row| {
            let fields = row.rest[0].replace("{here}", &format!("127.0.0.1:{port}")).replace("{name}", row.name);
            let fields: Value = serde_json::from_str(&fields).unwrap();
            json!({"fields": fields, "body": serde_json::from_str::<Value>(row.rest[1]).unwrap()})
        })
        .collect();
    let answers = h2_calls(&mut python, port, &json!(requests));
    let mut failures = Vec::new();
    for (row, answer) in rows.iter().zip(&answers) {
        let end = match (answer["status"].as_u64(), answer["reset"].as_u64()) {
            (Some(status), _) => status.to_string(),
            (None, Some(_)) => "reset".to_owned(),
            (None, None) => "closed".to_owned(),
        };
        // A connection that is closed carries no stream either.
        let refused = row.expect.contains(&end.as_str()) || (end == "closed" && row.expect.contains(&"reset"));
        let seen = line.upstream.calls(&format!("/fields/{}", row.name));
        if !refused || !seen.is_empty() {
            failures.push(format!("{}: ended as {end}, not {:?}; {seen:?} {answer}", row.name, row.expect));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), rows.len(), failures.join("\n"));
    for smuggled in ["/fields/smuggled", "/smuggled"] {
        assert!(line.upstream.calls(smuggled).is_empty());
    }
    line.assert_works();
}
