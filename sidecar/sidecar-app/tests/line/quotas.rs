//! Quotas with real engines: what goes beyond them is refused with the rule and the bound, and what ends gives its
//! place back.

use std::thread;
use std::time::{Duration, Instant};

use sidecar_config::{ByteSize, Quota};

use crate::client::Answer;
use crate::harness::{Line, Options, operation_id};
use crate::origin::{Origin, line_to, reply};
use crate::process::eventually;

#[track_caller]
fn assert_over(answer: &Answer, words: &str) -> u64 {
    let problem = answer.expect_problem(429, "quota-exceeded", "http_request_denied");
    assert_eq!(problem["executed"], "no");
    assert!(problem["detail"].as_str().unwrap().contains(words), "{words} in {problem}");
    answer.get("retry-after").expect("Retry-After").parse().unwrap()
}

#[test]
fn calls_and_bytes_beyond_a_quota_are_refused() {
    let origin = Origin::start(|_| reply(200, &[], &"x".repeat(1000)));
    let bounded = |rule: &mut sidecar_config::file::OutboundRule| {
        rule.quota = Quota { requests_per_minute: Some(6), bytes_per_day: Some(ByteSize::kib(64)), ..Quota::default() };
        rule.caller_quota = Quota { requests_per_minute: Some(4), ..Quota::default() };
    };
    let line = line_to(&origin, bounded, |_| {}, |_| {});
    for _ in 0..4 {
        line.door().get(&origin.url("/calls")).expect_status(200);
    }
    let retry_s =
        assert_over(&line.door().get(&origin.url("/calls")), "rule `own`: callerQuota.requestsPerMinute of 4");
    assert!((1..=15).contains(&retry_s), "{retry_s}");
    assert_eq!(origin.asked("/calls").len(), 4);
    // Another rule has nothing to do with it.
    line.assert_works();
    let metrics = line.near.admin().get("/metrics").text();
    let counted = "hoft_quota_refused_total{rule=\"own\",bound=\"requests_per_minute\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.contains("hoft_quota_refused_total{rule=\"own\",bound=\"bytes_per_day\"} 0"), "{metrics}");
}

#[test]
fn bytes_of_a_day_end_with_the_call_that_reaches_them() {
    let origin = Origin::start(|_| reply(200, &[], &"x".repeat(40 * 1024)));
    let bounded = |rule: &mut sidecar_config::file::OutboundRule| {
        rule.quota = Quota { bytes_per_day: Some(ByteSize::kib(64)), ..Quota::default() };
    };
    let line = line_to(&origin, bounded, |_| {}, |_| {});
    for _ in 0..2 {
        // The second one goes beyond, and ends well.
        assert_eq!(line.door().get(&origin.url("/day")).expect_status(200).body.len(), 40 * 1024);
    }
    let retry_s = assert_over(&line.door().get(&origin.url("/day")), "quota.bytesPerDay");
    assert!((1..=86_400).contains(&retry_s));
    assert_eq!(origin.asked("/day").len(), 2);
}

#[test]
fn bodies_beyond_the_rate_are_slowed_and_arrive_whole() {
    let origin = Origin::start(|_| reply(200, &[], &"y".repeat(150_000)));
    let bounded = |rule: &mut sidecar_config::file::OutboundRule| {
        rule.quota = Quota { bytes_per_second: Some(ByteSize::kb(100)), ..Quota::default() };
    };
    let line = line_to(&origin, bounded, |_| {}, |_| {});
    let began = Instant::now();
    let answer = line.door().post(&origin.url("/slow"), &[b'z'; 150_000]).expect_status(200);
    assert_eq!(answer.body.len(), 150_000);
    // 300 kB at 100 kB/s, of which a second's worth may come at once: a slow machine is only slower.
    assert!(began.elapsed() >= Duration::from_millis(1_500), "{:?}", began.elapsed());
}

#[test]
fn a_place_in_flight_is_given_back_whatever_ends_the_call() {
    let line = Line::start(&Options {
        near: Box::new(|file| {
            let rule = &mut file.outbound.allow[0];
            rule.quota = Quota { max_in_flight: Some(2), ..Quota::default() };
        }),
        ..Options::default()
    });
    let url = line.url("/gate/places");
    // Two that wait at the upstream: one caller stays, the other one chose its operation and goes away.
    let stays = {
        let (door, url) = (line.door(), url.clone());
        thread::spawn(move || door.get(&url))
    };
    let id = operation_id();
    let leaves = line.door().call("GET", &url).field("Hoft-Operation-Id", &id).begin().unwrap();
    line.upstream.gates.wait_for_arrivals("places", 2);
    let retry_s = assert_over(&line.door().get(&line.url("/fixed/1")), "quota.maxInFlight of 2");
    assert!(retry_s >= 1);
    drop(leaves);
    // Its operation goes on without it, and so does its place.
    assert_over(&line.door().get(&line.url("/fixed/1")), "quota.maxInFlight");
    line.upstream.gates.open("places");
    assert_eq!(stays.join().unwrap().status, 200);
    line.near.result(&id).expect_status(200);
    // All of them, one after another and of every kind: answered, refused upstream, cut.
    for _ in 0..3 {
        eventually("a place is free", || (line.door().get(&line.url("/fixed/1")).status == 200).then_some(()));
        line.door().get(&line.url("/status/500")).expect_status(500);
        line.door().call("HEAD", &line.url("/fixed/5")).send().expect_status(200);
        let cut = line.door().call("GET", &line.url("/cut/100000")).try_send();
        assert!(cut.is_err() || cut.is_ok_and(|answer| answer.status >= 400), "a response that was cut looks whole");
        line.door().post(&line.url("/echo"), b"still well?").expect_status(200);
    }
    // Two at once still pass.
    let both: Vec<_> = (0..2)
        .map(|_| {
            let (door, url) = (line.door(), line.url("/fixed/3"));
            thread::spawn(move || eventually("a place", || Some(door.get(&url)).filter(|answer| answer.status == 200)))
        })
        .collect();
    for one in both {
        assert_eq!(one.join().unwrap().body.len(), 3);
    }
}

#[test]
fn repeats_of_one_operation_id_used_up_the_places_of_a_rule() {
    let line = Line::start(&Options {
        near: Box::new(|file| file.outbound.allow[0].quota = Quota { max_in_flight: Some(2), ..Quota::default() }),
        ..Options::default()
    });
    let id = operation_id();
    let url = line.url("/gate/repeats");
    let call = || line.door().call("GET", &url).field("Hoft-Operation-Id", &id).field("Prefer", "respond-async").send();
    call().expect_status(202);
    for _ in 0..4 {
        call().expect_problem(409, "duplicate-operation", "http_request_error");
        line.door().get(&line.url("/fixed/1")).expect_status(200);
    }
    line.upstream.gates.open("repeats");
    line.near.result(&id).expect_status(200);
}
