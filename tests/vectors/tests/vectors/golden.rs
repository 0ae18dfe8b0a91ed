//! The committed packets are made again, and say what they said.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use vectors::packets::{Packet, all};
use vectors::{file, reader, reading};
use wire::digest::{hex, sha256};

/// The names of the committed packets.
pub(crate) fn names() -> Vec<String> {
    let found = fs::read_dir(file("packets")).unwrap().map(|entry| entry.unwrap().path());
    let packets = found.filter(|path| path.extension().is_some_and(|end| end == "hft"));
    let names: BTreeSet<String> = packets.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.into_iter().collect()
}

pub(crate) fn packet_file(name: &str) -> PathBuf {
    file("packets").join(name).with_extension("hft")
}

pub(crate) fn packet(name: &str) -> Vec<u8> {
    fs::read(packet_file(name)).unwrap()
}

pub(crate) fn said(name: &str) -> Value {
    serde_json::from_slice(&fs::read(file("packets").join(name).with_extension("json")).unwrap()).unwrap()
}

fn is_writing() -> bool {
    std::env::var("HOFT_GOLDEN").as_deref() == Ok("write")
}

fn write_json(path: PathBuf, value: &Value) {
    fs::write(path, format!("{}\n", serde_json::to_string_pretty(value).unwrap())).unwrap();
}

/// All but a signature that comes out differently each time.
fn repeatable(packet: &Packet, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if !packet.repeatable && bytes.len() >= packet.signature.end {
        bytes[packet.signature.clone()].fill(0);
    }
    bytes
}

#[test]
fn every_vector_is_made_again_and_says_what_it_said() {
    let local = reader::local();
    if is_writing() {
        fs::create_dir_all(file("packets")).unwrap();
        write_json(file("reader.json"), &reader::settings());
        for made in all() {
            let kept = fs::read(packet_file(&made.name)).unwrap_or_default();
            if repeatable(&made, &kept) != repeatable(&made, &made.bytes) {
                fs::write(packet_file(&made.name), &made.bytes).unwrap();
            }
        }
        for name in names() {
            write_json(file("packets").join(&name).with_extension("json"), &reading::read(&packet(&name), &local));
        }
    }
    let settings: Value = serde_json::from_slice(&fs::read(file("reader.json")).unwrap()).unwrap();
    assert_eq!(settings, reader::settings(), "reader.json");
    let mut made_here = 0;
    for made in all() {
        let kept = packet(&made.name);
        assert!(
            repeatable(&made, &kept) == repeatable(&made, &made.bytes),
            "{}: the bytes of a vector never change while the major version stays",
            made.name
        );
        made_here += 1;
    }
    for name in names() {
        assert_eq!(reading::read(&packet(&name), &local), said(&name), "{name}");
    }
    assert_eq!(names().len() - made_here, foreign().len(), "every file in packets/ has an origin");
}

/// Packets that the second implementation wrote: only read here.
fn foreign() -> Vec<String> {
    names().into_iter().filter(|name| name.starts_with("foreign-")).collect()
}

#[test]
fn the_published_packets_are_among_the_vectors() {
    assert_eq!(
        hex(&sha256(&[&packet("checksum-one")])),
        "26d7f1a524987799359ee06e66d993a2dd6d5ab8fa86e35e6004c15371ab8bd1"
    );
    let sealed = said("sealed-one");
    assert_eq!(sealed["digests"]["signed"], json!("75f1938697c6e048a86fdcbf1742bce24666b0432bdc65698f95bf81b6e521ee"));
    assert_eq!(sealed["header"]["salt"], json!("2aaf17da83066fb4ba45736f3f83262beaf2ec5a664df7c0b423b17b5c80fcb3"));
    let chain = json!("aa793c2cb3cdf49d079112a5268a422424e59fb8fdfe5b1faad5ec7e8ccba2cb");
    for name in ["checksum-one", "signed-one", "sealed-one"] {
        assert_eq!(said(name)["digests"]["chain"], chain, "{name}");
    }
}

#[test]
fn every_suite_has_every_shape() {
    for suite in ["checksum", "signed", "sealed"] {
        for shape in ["control", "one", "batch", "three", "presence", "grease", "filler"] {
            assert_eq!(said(&format!("{suite}-{shape}"))["verdict"], "ok", "{suite}-{shape}");
        }
    }
    assert_eq!(said("checksum-reserved")["header"]["flags"], 0xff00);
    assert_eq!(said("signed-revoked")["verdict"], "key_revoked");
    assert_eq!(said("signed-stranger")["verdict"], "key_unknown");
}

#[test]
fn packets_of_another_writer_are_read_and_faults_behind_a_good_signature_are_named() {
    let verdicts = [
        ("signed-later", "ok"),
        ("sealed-later", "ok"),
        ("sealed-two", "ok"),
        ("sealed-ext-malformed", "ext_malformed"),
        ("sealed-ext-critical", "ext_critical"),
        ("sealed-kem-key", "kem_key"),
        ("sealed-commitment", "commitment"),
        ("sealed-control-seal", "control_seal"),
        ("sealed-control-malformed", "control_malformed"),
        ("sealed-control-critical", "control_critical"),
        ("sealed-endpoint", "endpoint"),
        ("sealed-table-sum", "table"),
        ("sealed-table-short", "table"),
        ("sealed-frames-swapped", "ok"),
        ("sealed-digest", "ok"),
        ("sealed-records", "ok"),
        ("signed-seq-0", "ok"),
    ];
    for (name, verdict) in verdicts {
        assert_eq!(said(&format!("foreign-{name}"))["verdict"], verdict, "{name}");
    }
    assert_eq!(verdicts.len(), foreign().len());
    let frames = |name: &str| -> Vec<Value> {
        let said = said(&format!("foreign-{name}"));
        said["frames"].as_array().unwrap().iter().map(|frame| frame["verdict"].clone()).collect()
    };
    assert_eq!(frames("sealed-later"), ["ok", "filler", "ok", "frame_kind"]);
    assert_eq!(frames("sealed-frames-swapped"), ["frame_seal", "frame_seal"]);
    assert_eq!(frames("sealed-digest"), ["frame_digest", "ok"]);
    assert_eq!(frames("sealed-records"), ["records", "records", "ok"]);
    assert_eq!(frames("signed-seq-0"), ["records", "ok"]);
}
