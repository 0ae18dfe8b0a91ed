//! Cut and damaged packets: the inbox and the second decoder come to the verdict of the product's decoder.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use vectors::{damage, engine, places, reader, reading, second};

use crate::golden::{names, packet, packet_file, said};

/// The path that the packet has under the mirrored folder.
const PATH: &str = "packet.hft";

fn cuts_of(name: &str) -> Vec<usize> {
    let bytes = packet(name);
    places::cuts(&bytes, &said(name))
}

#[test]
fn the_inbox_comes_to_the_same_verdicts() {
    let local = reader::local();
    for name in names() {
        let bytes = packet(&name);
        for len in cuts_of(&name) {
            let reading = reading::read(&bytes[..len], &local);
            assert_eq!(engine::run(&bytes[..len], PATH, &local), engine::expected(&reading), "{name} cut at {len}");
        }
    }
}

#[test]
fn the_inbox_comes_to_the_same_verdicts_on_damaged_packets() {
    let local = reader::local();
    for (name, bytes) in damaged() {
        let (outcome, reading) = (engine::run(&bytes, PATH, &local), reading::read(&bytes, &local));
        assert!(engine::expected(&reading).fits(&outcome), "{name}: {outcome:?}, {reading}");
    }
}

#[test]
fn every_cut_keeps_the_whole_frames_before_it() {
    let local = reader::local();
    for name in names().iter().filter(|name| said(name)["verdict"] == "ok") {
        let (bytes, whole) = (packet(name), said(name));
        let frames = whole["frames"].as_array().unwrap();
        for len in cuts_of(name) {
            let cut = reading::read(&bytes[..len], &local);
            if (len as u64) < whole["header"]["frames_at"].as_u64().unwrap() {
                let expected = if len < 256 { "short" } else { "prefix_cut" };
                assert_eq!(cut["verdict"], expected, "{name} cut at {len}");
                continue;
            }
            for (index, frame) in frames.iter().enumerate() {
                let end = frame["at"].as_u64().unwrap() + whole["table"][index]["stored_len"].as_u64().unwrap();
                let kept = &cut["frames"][index];
                if end <= len as u64 {
                    assert_eq!(kept, frame, "{name} cut at {len}, frame {index}");
                } else {
                    assert_eq!(kept["verdict"], "frame_cut", "{name} cut at {len}, frame {index}");
                }
            }
        }
    }
}

#[test]
fn the_second_decoder_agrees_on_every_vector() {
    let Some(python) = second::python() else { return };
    let names = names();
    let jobs: Vec<Value> = names.iter().map(|name| json!({ "file": packet_file(name) })).collect();
    for (name, answer) in names.iter().zip(second::answers(&python, &jobs)) {
        assert_eq!(answer, said(name), "{name}: left the second decoder, right the vector");
    }
}

#[test]
fn the_second_decoder_agrees_on_every_cut() {
    let Some(python) = second::python() else { return };
    let local = reader::local();
    let (mut jobs, mut readings) = (Vec::new(), Vec::new());
    for name in names() {
        let bytes = packet(&name);
        for len in cuts_of(&name) {
            jobs.push(json!({ "file": packet_file(&name), "len": len }));
            readings.push(reading::read(&bytes[..len], &local));
        }
    }
    for ((job, answer), reading) in jobs.iter().zip(second::answers(&python, &jobs)).zip(readings) {
        assert_eq!(answer, reading, "{job}: left the second decoder, right the product");
    }
    println!("{} cuts agree", jobs.len());
}

/// Damaged packets with names to find them by; `HOFT_VECTORS_DAMAGED` is how often each that can be mended is damaged (300).
fn damaged() -> Vec<(String, Vec<u8>)> {
    let times = std::env::var("HOFT_VECTORS_DAMAGED").map_or(300, |times| times.parse().unwrap());
    let mut all = Vec::new();
    let mut add = |name: &str, how: &str, packets: Vec<Vec<u8>>| {
        all.extend(packets.into_iter().enumerate().map(|(i, bytes)| (format!("{name} {how} {i}"), bytes)));
    };
    for name in names() {
        let bytes = packet(&name);
        add(&name, "flipped", damage::flipped(&bytes, &cuts_of(&name)));
        if name.starts_with("checksum-") {
            add(&name, "stepped", damage::stepped(&bytes));
            add(&name, "mended", damage::mended(&bytes, times));
        }
    }
    all
}

#[test]
fn the_second_decoder_agrees_on_damaged_packets() {
    let Some(python) = second::python() else { return };
    let local = reader::local();
    let damaged = damaged();
    let folder = std::env::temp_dir().join(format!("hoft-vectors-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    let mut jobs = Vec::new();
    for (index, (_, bytes)) in damaged.iter().enumerate() {
        let path = folder.join(index.to_string());
        fs::write(&path, bytes).unwrap();
        jobs.push(json!({ "file": path }));
    }
    let answers = second::answers(&python, &jobs);
    fs::remove_dir_all(&folder).unwrap();
    let mut met = BTreeSet::new();
    for ((name, bytes), answer) in damaged.iter().zip(answers) {
        let reading = reading::read(bytes, &local);
        assert_eq!(answer, reading, "{name}: left the second decoder, right the product");
        note(&reading, &mut met);
    }
    let expected = [
        "ok",
        "major",
        "suite_unknown",
        "flags",
        "length",
        "recipient",
        "key_unknown",
        "checksum",
        "signature_ed25519",
        "signature_mldsa",
        "ext_malformed",
        "ext_critical",
        "control_malformed",
        "control_critical",
        "endpoint",
        "table",
        "frame_seal",
        "frame_digest",
        "frame_kind",
        "records",
        "record_kind",
        "inflate",
    ];
    let missed: Vec<_> = expected.iter().filter(|name| !met.contains(**name)).collect();
    assert!(missed.is_empty(), "no damage led to {missed:?}; met: {met:?}");
    println!("{} damaged packets agree; met: {met:?}", damaged.len());
}

/// Every verdict in a reading, of packet, frames and records.
fn note(reading: &Value, met: &mut BTreeSet<String>) {
    match reading {
        Value::Object(fields) => {
            met.extend(fields.get("verdict").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| note(value, met));
        }
        Value::Array(values) => values.iter().for_each(|value| note(value, met)),
        _ => {}
    }
}
