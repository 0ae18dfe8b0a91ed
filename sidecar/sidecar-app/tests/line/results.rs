//! Stored responses, whole and in parts.

use std::fs;

use crate::client::Answer;
use crate::harness::operation_id;
use crate::process::folder;
use crate::programs::{is_there, program};
use crate::shared::line;

const LENGTH: usize = 2_000_000;

/// A stored response of [`LENGTH`] octets: its path and its content.
fn stored() -> (String, Vec<u8>) {
    let line = line();
    let id = operation_id();
    let call = line.door().call("GET", &line.url(&format!("/source/{LENGTH}"))).field("Hoft-Operation-Id", &id);
    let content = call.send().expect_status(200).body;
    assert_eq!(content.len(), LENGTH);
    line.near.operation_when(&id, "done", |view| view["state"] == "done");
    (format!("/v1/operations/{id}/result"), content)
}

fn ask(path: &str, method: &str, fields: &[(&str, &str)]) -> Answer {
    let call = line().door().call(method, path);
    fields.iter().fold(call, |call, (name, value)| call.field(name, value)).send()
}

#[test]
fn a_result_is_given_in_parts_that_fit_together() {
    let (path, content) = stored();
    let whole = ask(&path, "GET", &[]).expect_status(200);
    let etag = whole.get("etag").unwrap().to_owned();
    assert_eq!(whole.get("accept-ranges"), Some("bytes"));
    assert!(whole.body == content);
    for (range, first, last) in [
        ("bytes=0-0", 0, 0),
        ("bytes=262143-262144", 262_143, 262_144),
        ("bytes=100-699999", 100, 699_999),
        ("bytes=1999990-", 1_999_990, LENGTH - 1),
        ("bytes=-5", LENGTH - 5, LENGTH - 1),
        ("bytes=524288-99999999", 524_288, LENGTH - 1),
    ] {
        let part = ask(&path, "GET", &[("Range", range), ("If-Range", &etag)]).expect_status(206);
        assert_eq!(part.get("content-range"), Some(format!("bytes {first}-{last}/{LENGTH}").as_str()), "{range}");
        assert_eq!(part.get("content-length"), Some((last - first + 1).to_string().as_str()));
        assert_eq!(part.get("etag"), Some(etag.as_str()));
        assert!(part.body == content[first..=last], "{range} is another part");
    }
    for range in ["bytes=0-1,5-6", "lines=1-2", "bytes=x"] {
        assert!(ask(&path, "GET", &[("Range", range)]).expect_status(200).body == content, "{range}");
    }
    let other = ask(&path, "GET", &[("Range", "bytes=0-1"), ("If-Range", "\"another\"")]).expect_status(200);
    assert_eq!(other.body.len(), LENGTH);
}

#[test]
fn a_part_that_is_not_there_and_a_result_that_is_known_are_not_sent() {
    let (path, _) = stored();
    let beyond = ask(&path, "GET", &[("Range", "bytes=2000000-")]).expect_status(416);
    assert_eq!(beyond.get("content-range"), Some("bytes */2000000"));
    let head = ask(&path, "HEAD", &[("Range", "bytes=0-1")]).expect_status(200);
    assert_eq!((head.get("content-length"), head.body.len()), (Some("2000000"), 0));
    let etag = head.get("etag").unwrap();
    for method in ["GET", "HEAD"] {
        let known = ask(&path, method, &[("If-None-Match", etag)]).expect_status(304);
        assert_eq!((known.get("etag"), known.body.len()), (Some(etag), 0));
    }
    ask(&path, "GET", &[("If-None-Match", "\"another\"")]).expect_status(200);
}

#[test]
fn a_result_that_is_not_200_is_given_whole() {
    let line = line();
    let id = operation_id();
    line.door().call("GET", &line.url("/status/404")).field("Hoft-Operation-Id", &id).send().expect_status(404);
    line.near.operation_when(&id, "done", |view| view["state"] == "done");
    let answer = ask(&format!("/v1/operations/{id}/result"), "GET", &[("Range", "bytes=0-1")]).expect_status(404);
    assert_eq!((answer.text().as_str(), answer.get("accept-ranges")), ("upstream says 404", None));
}

#[test]
fn curl_resumes_a_result_where_it_was_cut() {
    if !is_there("curl", "curl") {
        return;
    }
    let (path, content) = stored();
    let place = folder();
    let file = place.path().join("result");
    fs::write(&file, &content[..777_777]).unwrap();
    let url = format!("http://localhost:{}{path}", line().door().port);
    let mut curl = program("curl");
    curl.args(["--silent", "--show-error", "--fail", "--continue-at", "-", "--dump-header", "-", "--output"]);
    let output = curl.arg(&file).arg(&url).output().unwrap();
    let head = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{head}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(head.contains("206") && head.contains("bytes 777777-1999999/2000000"), "{head}");
    assert!(fs::read(&file).unwrap() == content, "the resumed result differs");
}
