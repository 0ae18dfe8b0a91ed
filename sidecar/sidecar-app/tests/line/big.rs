//! Bodies far larger than any buffer: memory does not grow with them, and every octet is the same on the other side.

use std::sync::Arc;
use std::time::Duration;

use sidecar_config::{ByteSize, ConfigFile, Profile};
use wire::digest::{Sha256Stream, hex};

use crate::harness::{Line, Options};
use crate::upstream::Content;

/// Octets of each body.
const BODY: u64 = 2 << 30;
/// What an engine may hold in memory, at its peak.
const MEMORY_MAX: u64 = 128 << 20;
/// Only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(3600);

#[test]
fn two_gibibytes_each_way_pass_in_bounded_memory() {
    let large = |file: &mut ConfigFile| {
        file.limits.body_max = ByteSize::gib(4);
        file.log.level = sidecar_config::LogLevel::Info;
        for rule in &mut file.outbound.allow {
            rule.timeout = PATIENCE;
        }
        for rule in &mut file.inbound.allow {
            rule.timeout = PATIENCE;
            rule.max_body = Some(ByteSize::gib(4));
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
    upload(&line);
    report(&line, "after the upload");
    download(&line);
    report(&line, "after the download");
    line.assert_works();
    for engine in [&line.near, &line.far] {
        let Some(peak) = engine.peak_memory() else {
            println!("SKIPPED the check of memory: this system has no /proc/PID/status");
            return;
        };
        assert!(peak <= MEMORY_MAX, "`{}` held {} MiB at its peak", engine.side, peak >> 20);
    }
}

fn upload(line: &Line) {
    let door = line.door().patient_for(PATIENCE);
    let call = door.call("POST", &line.url("/sink")).field("Content-Length", &BODY.to_string());
    let mut exchange = call.begin().unwrap();
    let mut content = Content::new(BODY);
    while let Some(piece) = content.next_piece() {
        exchange.conn.write(piece).unwrap();
    }
    let seen = exchange.answer().unwrap().expect_status(200).json();
    assert_eq!(seen["length"], BODY);
    assert_eq!(seen["sha256"], content.digest());
}

fn download(line: &Line) {
    let door = line.door().patient_for(PATIENCE);
    let mut exchange = door.call("GET", &line.url(&format!("/source/{BODY}"))).begin().unwrap();
    let (head, mut body) = exchange.head().unwrap();
    assert_eq!(head.status(), 200, "{head:?}");
    let mut hash = Sha256Stream::new();
    let mut length = 0;
    while let Some(piece) = body.next(&mut exchange.conn).unwrap() {
        hash.update(&piece);
        length += piece.len() as u64;
    }
    let mut content = Content::new(BODY);
    while content.next_piece().is_some() {}
    assert_eq!(length, BODY);
    assert_eq!(hex(&hash.finish()), content.digest());
}

fn report(line: &Line, when: &str) {
    for engine in [&line.near, &line.far] {
        let peak = engine.peak_memory().map_or_else(|| "unknown".to_owned(), |peak| format!("{} KiB", peak >> 10));
        println!("peak resident memory of `{}` {when}: {peak}", engine.side);
    }
}
