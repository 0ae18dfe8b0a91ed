//! Bodies far larger than any buffer: memory does not grow with them, and every octet is the same on the other side.
//!
//! `HOFT_BIG_BODY=10GB` sends one of that size more, each way: it takes about twice that on the disk, and its time.

use std::sync::Arc;
use std::time::Duration;

use sidecar_config::{ByteSize, ConfigFile, Profile};
use wire::digest::{Sha256Stream, hex};

use crate::harness::{Line, Options};
use crate::upstream::Content;

/// Octets of the smaller body and of the larger one.
const BODIES: [u64; 2] = [256 << 20, 1 << 30];
/// What an engine may hold in memory, at its peak.
const MEMORY_MAX: u64 = 64 << 20;
/// By how much the peaks may differ although nothing grows: pages that the allocator keeps, threads that come and go.
const NOISE: u64 = 8 << 20;
/// Only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);

#[test]
fn a_large_body_takes_no_more_memory_than_a_smaller_one() {
    let more = std::env::var("HOFT_BIG_BODY").ok().map(|text| text.parse::<ByteSize>().unwrap().as_u64());
    let most = ByteSize::b(more.unwrap_or(0).max(BODIES[1]));
    let large = move |file: &mut ConfigFile| {
        file.limits.body_max = most;
        file.log.level = sidecar_config::LogLevel::Info;
        for rule in &mut file.outbound.allow {
            rule.timeout = PATIENCE;
        }
        for rule in &mut file.inbound.allow {
            rule.timeout = PATIENCE;
            rule.max_body = Some(most);
        }
    };
    let large = Arc::new(large);
    let (near, far) = (Arc::clone(&large), large);
    let options = Options {
        profile: Profile::Move,
        near: Box::new(move |file| near(file)),
        far: Box::new(move |file| far(file)),
        ..Options::default()
    };
    let line = Line::start(&options);
    let mut peaks = Vec::new();
    for body in BODIES.into_iter().chain(more) {
        let Some(peak) = peaks_of(&line, body) else {
            println!("SKIPPED the check of memory: this system has no /proc/PID/status");
            continue;
        };
        for (engine, peak) in [&line.near, &line.far].into_iter().zip(peak) {
            println!("`{}`: {} MiB there and back, peak {} KiB", engine.side, body >> 20, peak >> 10);
            assert!(peak <= MEMORY_MAX, "`{}` held {} MiB at its peak", engine.side, peak >> 20);
        }
        peaks.push(peak);
    }
    line.assert_works();
    for pair in peaks.windows(2) {
        for (smaller, larger) in pair[0].into_iter().zip(pair[1]) {
            assert!(larger <= smaller + NOISE, "the peak grows with the body: {peaks:?}");
        }
    }
}

/// A body there and another back; the peaks of both engines meanwhile.
fn peaks_of(line: &Line, body: u64) -> Option<[u64; 2]> {
    for engine in [&line.near, &line.far] {
        engine.forget_peak();
    }
    upload(line, body);
    download(line, body);
    Some([line.near.peak_memory()?, line.far.peak_memory()?])
}

fn upload(line: &Line, body: u64) {
    let door = line.door().patient_for(PATIENCE);
    let call = door.call("POST", &line.url("/sink")).field("Content-Length", &body.to_string());
    let mut exchange = call.begin().unwrap();
    let mut content = Content::new(body);
    while let Some(piece) = content.next_piece() {
        exchange.conn.write(piece).unwrap();
    }
    let seen = exchange.answer().unwrap().expect_status(200).json();
    assert_eq!(seen["length"], body);
    assert_eq!(seen["sha256"], content.digest());
}

fn download(line: &Line, length: u64) {
    let door = line.door().patient_for(PATIENCE);
    let mut exchange = door.call("GET", &line.url(&format!("/source/{length}"))).begin().unwrap();
    let (head, mut body) = exchange.head().unwrap();
    assert_eq!(head.status(), 200, "{head:?}");
    let mut hash = Sha256Stream::new();
    let mut read = 0;
    while let Some(piece) = body.next(&mut exchange.conn).unwrap() {
        hash.update(&piece);
        read += piece.len() as u64;
    }
    let mut content = Content::new(length);
    while content.next_piece().is_some() {}
    assert_eq!(read, length);
    assert_eq!(hex(&hash.finish()), content.digest());
}
