//! Logs as an engine writes them, looked at whole and with every kind of damage.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use disk::log::{Log, LogOptions, Position};
use layer1_replication::{Config, Ids, Peer, Timestamp};
use layer2_http::near::{Begun, Operations};
use layer2_http::operation::{OperationId, State};
use serde_json::Value;
use wire::control::EndpointName;
use wire::digest::sha256;
use wire::record::{RecordHeader, kind};
use wire::{EndpointId, Incarnation, Seq, StreamId};

use super::*;
use crate::command::Found;
use crate::entry::{EngineEntry, FoundEq, Life, SentPlace};

const ME: EndpointId = EndpointId::from_bytes([1; 16]);
const PEER: EndpointId = EndpointId::from_bytes([2; 16]);
const SECRET: [u8; 32] = [0xc3; 32];
fn life() -> Life {
    let incarnation = Incarnation { generation: 0, random: [5; 8] };
    Life { incarnation, nonce_secret: SECRET, first_pn: 1, words: Vec::new() }
}

/// Writes what a driver would.
struct Writer {
    log: Log,
    peer: Peer,
    near: Operations,
    sent: BTreeMap<u64, SentPlace>,
}

impl Writer {
    fn new(dir: &Path) -> Self {
        let (mut log, _) = Log::open(dir.to_owned(), *ME.as_bytes(), LogOptions { segment_bytes: 4096 }).unwrap();
        let entry = EngineEntry::Life(life());
        log.append(entry.kind(), &[&entry.encode()]).unwrap();
        let ids = Ids {
            me: ME,
            my_name: EndpointName { kind: "pod".to_owned(), name: "x".to_owned() },
            my_incarnation: life().incarnation,
            peer: PEER,
            nonce_secret: SECRET,
        };
        let mut peer = Peer::new(ids, Config::default(), Timestamp::from_micros(0));
        peer.replay_done(Timestamp::from_micros(0));
        Self { log, peer, near: Operations::new(), sent: BTreeMap::new() }
    }

    /// Begins a call whose head has this payload.
    fn call(&mut self, id: OperationId, payload: &'static [u8]) {
        let stream = self.peer.open_exchange();
        let len = u32::try_from(payload.len()).unwrap();
        let now = Timestamp::from_micros(0);
        let payload = Bytes::from_static(payload);
        self.peer.append(now, stream, kind::HEAD, 0, len, sha256(&[&payload]), payload).unwrap();
        while let Some(persist) = self.peer.poll_persist() {
            let mut body = PEER.as_bytes().to_vec();
            persist.entry.encode(&mut body);
            let position = self.log.append(persist.entry.kind(), &[&body, &persist.payload]).unwrap();
            if let layer1_replication::Entry::Sent { head, .. } = persist.entry {
                let place = SentPlace { seq: head.seq, stream: head.stream, kind: head.kind, position };
                self.log.pin(position);
                self.sent.insert(head.seq.get(), place);
            }
            self.peer.handle_persisted(now, persist.token);
        }
        let begun = Begun {
            id,
            peer: PEER,
            stream,
            retain: true,
            method: "POST".to_owned(),
            target: "http://south/secret-path".to_owned(),
            route: None,
            begun_ms: 1,
            number: None,
            deadline_ms: None,
        };
        for entry in self.near.begin(begun).unwrap() {
            let mut payload = Vec::new();
            entry.encode(&mut payload);
            self.log.append(entry.kind(), &[&payload]).unwrap();
        }
        self.log.commit().unwrap();
    }

    fn roll(&mut self) {
        let mut entries = vec![(128, EngineEntry::Life(life()).encode())];
        for entry in self.near.checkpoint() {
            let mut payload = Vec::new();
            entry.encode(&mut payload);
            entries.push((entry.kind(), payload));
        }
        for entry in self.peer.checkpoint() {
            let mut payload = PEER.as_bytes().to_vec();
            entry.encode(&mut payload);
            entries.push((entry.kind(), payload));
        }
        for place in self.sent.values() {
            let entry = EngineEntry::SentAt { peer: PEER, place: *place };
            entries.push((entry.kind(), entry.encode()));
        }
        self.log.roll(entries.into_iter()).unwrap();
    }
}

fn id(n: u8) -> OperationId {
    let mut bytes = [n; 16];
    bytes[6] = 0x70 | (n & 0xf);
    bytes[8] = 0x80 | (n & 0xf);
    OperationId::from_bytes(bytes).unwrap()
}

/// Three segments, each with a call, whose heads the state refers to.
fn written(dir: &Path) -> Vec<Position> {
    let mut writer = Writer::new(dir);
    writer.call(id(1), b"Authorization: one");
    writer.roll();
    writer.call(id(2), b"Authorization: two");
    writer.roll();
    writer.call(id(3), b"Authorization: three");
    writer.sent.values().map(|place| place.position).collect()
}

fn look(command: &[&str], dir: &Path) -> (bool, String) {
    use clap::Parser;
    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: LogCommand,
    }
    let dir = dir.display().to_string();
    let words = ["hoft"].iter().chain(command).copied().chain([dir.as_str()]);
    let mut out = Vec::new();
    let whole = run(&Line::parse_from(words).command, &mut out).unwrap();
    (whole, String::from_utf8(out).unwrap())
}

fn json(command: &[&str], dir: &Path) -> Value {
    let words: Vec<&str> = command.iter().copied().chain(["--json"]).collect();
    serde_json::from_str(&look(&words, dir).1).unwrap()
}

/// What verify finds: name of the file, offset, flaw.
fn flaws(dir: &Path) -> Vec<(String, u64, String)> {
    let report = json(&["verify"], dir);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(report["whole"], findings.is_empty());
    let name = |value: &Value| PathBuf::from(text(value)).file_name().unwrap().to_str().unwrap().to_owned();
    findings.iter().map(|one| (name(&one["file"]), one["offset"].as_u64().unwrap(), text(&one["flaw"]))).collect()
}

fn segment(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.log"))
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn whole_log_is_called_whole_and_is_not_changed() {
    let place = tempfile::tempdir().unwrap();
    written(place.path());
    let before = contents(place.path());
    let (whole, text) = look(&["verify"], place.path());
    assert!(whole, "{text}");
    assert!(text.contains("whole: every entry verifies, and so do all 3 places the state refers to"), "{text}");
    assert_eq!(json(&["verify"], place.path())["segments"].as_array().unwrap().len(), 3);
    look(&["show"], place.path());
    look(&["show", "--entries"], place.path());
    assert_eq!(contents(place.path()), before);
}

#[test]
fn state_and_what_holds_each_segment_are_shown() {
    let place = tempfile::tempdir().unwrap();
    written(place.path());
    let report = json(&["show"], place.path());
    assert_eq!(report["whole"], true);
    assert_eq!(report["endpoint"], ME.to_string());
    let peer = &report["peers"][0];
    assert_eq!((&peer["una"], &peer["next"], &peer["unacknowledged_records"]), (&0.into(), &4.into(), &3.into()));
    assert_eq!(report["operations"], serde_json::json!({ State::Accepted.name(): 3 }));
    for segment in report["segments"].as_array().unwrap() {
        let hold = &segment["holds"][0];
        assert_eq!((&hold["why"], &hold["records"]), (&"unacknowledged".into(), &1.into()), "{segment}");
    }
    let (whole, text) = look(&["show"], place.path());
    assert!(whole && text.contains("kept for 1 records: unacknowledged"), "{text}");
}

#[test]
fn a_stored_result_says_which_segment_it_keeps() {
    let place = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(place.path());
    writer.call(id(1), b"head");
    let stream = StreamId::request(1).response_of();
    let head =
        RecordHeader { seq: Seq::new(1), stream, offset: 0, raw_len: 5, stored_len: 5, kind: kind::HEAD, flags: 0 };
    let meta = layer1_replication::ReceivedMeta {
        head,
        link_digest: sha256(&[b"hello"]),
        link_kind: kind::HEAD,
        link_flags: 0,
        charged: 5,
    };
    let mut body = PEER.as_bytes().to_vec();
    layer1_replication::Entry::Received(meta).encode(&mut body);
    let position = writer.log.append(18, &[&body, b"hello"]).unwrap();
    writer.log.pin(position);
    let kept = EngineEntry::Kept { peer: PEER, stream, operation: id(1), kept: true };
    writer.log.append(kept.kind(), &[&kept.encode()]).unwrap();
    writer.roll();
    let found = Found { head, pd: [0; 32], position, credited: false };
    for entry in [EngineEntry::Spooled { peer: PEER, found: FoundEq(found) }, kept] {
        writer.log.append(entry.kind(), &[&entry.encode()]).unwrap();
    }
    writer.log.commit().unwrap();
    let report = json(&["show"], place.path());
    let holds = report["segments"][0]["holds"].as_array().unwrap();
    let result = holds.iter().find(|hold| hold["why"] == "stored_result").unwrap();
    assert_eq!(result["operation"], id(1).to_string());
    assert_eq!((&report["results"][0]["bytes"], &report["results"][0]["state"]), (&5.into(), &"accepted".into()));
    assert_eq!(flaws(place.path()), []);
}

#[test]
fn entries_are_listed_without_payloads_and_secrets() {
    let place = tempfile::tempdir().unwrap();
    let positions = written(place.path());
    let (whole, text) = look(&["show", "--entries"], place.path());
    assert!(whole);
    for secret in ["Authorization", "secret-path", "417574686f72697a6174696f6e"] {
        assert!(!text.contains(secret), "{secret} is shown:\n{text}");
    }
    let line = text.lines().find(|line| line.starts_with(&format!("{}  17 sent", positions[0]))).unwrap();
    assert!(line.contains("seq 1") && line.contains(&PEER.to_string()), "{line}");
    assert!(text.contains(&format!("at {}", positions[0])), "{text}");
    let (_, text) = look(&["show", "--entries", "--payload"], place.path());
    assert!(text.contains("417574686f72697a6174696f6e"), "{text}");
    assert!(text.contains("(a secret: not shown)") && !text.contains("c3c3c3"), "{text}");
    let (_, text) = look(&["show", "--entries", "--json"], place.path());
    for line in text.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        assert!(entry["payload"].is_null() && entry["name"] != "unknown", "{entry}");
    }
}

#[test]
fn segment_that_the_state_needs_and_that_is_not_there_is_named() {
    let place = tempfile::tempdir().unwrap();
    let positions = written(place.path());
    std::fs::remove_file(segment(place.path(), 2)).unwrap();
    let offset = u64::from(positions[1].offset);
    assert_eq!(flaws(place.path()), [("0000000000000002.log".to_owned(), offset, "missing".to_owned())]);
    let (whole, text) = look(&["verify"], place.path());
    assert!(!whole && text.contains("Restore the folder from a copy"), "{text}");
}

#[test]
fn segment_cut_between_entries_is_found_by_what_the_state_needs_of_it() {
    let place = tempfile::tempdir().unwrap();
    let positions = written(place.path());
    let path = segment(place.path(), 1);
    let offset = u64::from(positions[0].offset);
    std::fs::File::options().write(true).open(&path).unwrap().set_len(offset).unwrap();
    assert_eq!(flaws(place.path()), [("0000000000000001.log".to_owned(), offset, "missing".to_owned())]);
    std::fs::File::options().write(true).open(&path).unwrap().set_len(offset + 5).unwrap();
    let found: Vec<String> = flaws(place.path()).into_iter().map(|(_, _, flaw)| flaw).collect();
    assert_eq!(found, ["cut_short", "missing"]);
}

#[test]
fn swapped_segments_are_named_both() {
    let place = tempfile::tempdir().unwrap();
    written(place.path());
    let [one, two] = [1, 2].map(|number| segment(place.path(), number));
    let aside = place.path().join("aside");
    std::fs::rename(&one, &aside).unwrap();
    std::fs::rename(&two, &one).unwrap();
    std::fs::rename(&aside, &two).unwrap();
    let found = flaws(place.path());
    let renamed: Vec<_> =
        found.iter().filter(|(_, _, flaw)| flaw == "renamed").map(|(file, at, _)| (file, *at)).collect();
    assert_eq!(renamed, [(&"0000000000000001.log".to_owned(), 32), (&"0000000000000002.log".to_owned(), 32)]);
}

#[test]
fn unknown_kind_is_told_from_damage() {
    let place = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(place.path());
    writer.log.append(254, &[b"of a later hoft"]).unwrap();
    writer.log.commit().unwrap();
    let found = flaws(place.path());
    assert_eq!((found.len(), found[0].2.as_str()), (1, "unknown"));
}

#[test]
fn what_is_no_log_is_refused_with_its_name() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    std::fs::write(&file, "x").unwrap();
    for (dir, words) in [
        (place.path(), "holds no log"),
        (&place.path().join("nothing"), "cannot be looked at"),
        (&file, "cannot be looked at"),
    ] {
        let args = VerifyArgs { dir: dir.to_owned(), json: false };
        let error = run(&LogCommand::Verify(args), &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(format!("{error:#}").contains(&dir.display().to_string()), "{error:#}");
    }
}
