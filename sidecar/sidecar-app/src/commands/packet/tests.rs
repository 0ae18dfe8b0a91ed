//! Packets as an engine writes them, looked at whole, cut, changed and with keys of all sorts.
//!
//! Everything here goes through `look` and the verdicts of both commands; the real binary is run in the crate's
//! integration tests. Read `cuts` first.

mod cuts;
mod extracting;
mod files;
mod hostile;
mod origin;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use identity::{Identity, PeerKeys, PrefixInput, build_prefix};
use wire::control::{EndpointName, LogState};
use wire::header::{Header, align8_usize, end_marker};
use wire::record::{Record, batch_entry, chunk_entry, encode_batch, kind};
use wire::{Control, EndpointId, FrameEntry, Incarnation, PacketNumber, Seq, StreamId, Suite, endpoint_id, side_id};

use super::keys::{KeyArgs, Keyring};
use super::look::look;
use super::report::{Report, Verdict};
use super::{status, verify::why_not};

pub(super) fn side(name: &str) -> Identity {
    let seed = name.as_bytes()[0];
    Identity::from_seeds(name, &[seed; 32], &[seed + 1; 32], &[seed + 2; 32]).unwrap()
}

pub(super) fn token(name: &str) -> String {
    side(name).bundle(1, 0, 0).to_token().unwrap()
}

fn gateway(of: &str, other: &str) -> EndpointId {
    endpoint_id(&side_id("", of, other), "gateway", "0")
}

/// Text that does not repeat within a frame.
pub(super) fn text(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 | 1).collect()
}

fn record(seq: u64, stream: u64, offset: u64, kind: u8, payload: &[u8]) -> Record {
    Record::new(Seq::new(seq), StreamId::new(stream).unwrap(), offset, kind, Bytes::copy_from_slice(payload))
}

/// The records of frame 0 (a batch), and those of frames 1 and 2 (a chunk each): two bodies, one of them in two pieces.
fn frames() -> Vec<Vec<Record>> {
    let (long, short) = (text(5_001), text(700));
    vec![
        vec![
            record(1, 2, 0, kind::HEAD, b"head of the first"),
            record(4, 2, 17 + 5_001, kind::FIN, &[7; 40]),
            record(5, 4, 0, kind::HEAD, b"head of the second"),
            record(6, 4, 18, kind::DATA, &short),
        ],
        vec![record(2, 2, 17, kind::DATA, &long[..3_000])],
        vec![record(3, 2, 17 + 3_000, kind::DATA, &long[3_000..])],
    ]
}

/// A packet with three frames from north to south, with `change` applied to its header's input.
pub(super) fn packet_with(suite: Suite, control: &Control, frames: &[Vec<Record>]) -> Vec<u8> {
    let mut entries: Vec<FrameEntry> = Vec::new();
    let mut clear: Vec<Vec<u8>> = Vec::new();
    for records in frames {
        match records.as_slice() {
            [one] if one.head.kind == kind::DATA => {
                entries.push(chunk_entry(one, suite.tag_len()));
                clear.push(one.payload.to_vec());
            }
            records => {
                let mut bytes = Vec::new();
                encode_batch(records, &mut bytes).unwrap();
                entries.push(batch_entry(records, &bytes, suite.tag_len()));
                clear.push(bytes);
            }
        }
    }
    let input = PrefixInput {
        suite,
        sender: gateway("north", "south"),
        recipient: gateway("south", "north"),
        sender_incarnation: Incarnation { generation: 1, random: [0x11; 8] },
        recipient_incarnation: Incarnation::from_bytes(&[0; 16]),
        pn: PacketNumber::new(7).unwrap(),
        sent_at_ms: 1_795_436_196_123,
        ext: &[],
        control: &control.encode(),
        entries: &entries,
    };
    let peer = PeerKeys::from_tokens(&[&token("south")], "south", &[Suite::Sealed], 0).unwrap();
    let built = build_prefix(Some(&side("north")), &peer, &input).unwrap();
    let mut file = built.bytes;
    for (index, (entry, mut bytes)) in entries.iter().zip(clear).enumerate() {
        built.frames.seal(index as u64, entry, &mut bytes).unwrap();
        file.extend_from_slice(&bytes);
        file.resize(align8_usize(file.len()), 0);
    }
    file.extend_from_slice(&end_marker(&built.salt));
    assert_eq!(file.len() as u64, built.total_len);
    file
}

/// The control block of an ordinary packet.
pub(super) fn control() -> Control {
    Control {
        hello: Some([9; 16]),
        endpoint: Some(EndpointName { kind: "gateway".to_owned(), name: "0".to_owned() }),
        log: Some(LogState { next: 7, oldest: 1, pn_floor: 2 }),
        ..Control::default()
    }
}

/// An ordinary packet.
pub(super) fn packet(suite: Suite) -> Vec<u8> {
    packet_with(suite, &control(), &frames())
}

/// Where the parts of a packet begin, in order, and its end; frames are those of `packet`.
pub(super) fn boundaries(file: &[u8]) -> Vec<usize> {
    let header = Header::parse(file).unwrap();
    let layout = header.layout();
    let mut at = layout.frames_at;
    let mut places =
        vec![layout.ct_at, layout.control_at, layout.table_at, layout.table_end, layout.sig_at, layout.sig_end, at];
    let tag = header.suite().unwrap().tag_len();
    for records in frames() {
        let mut bytes = Vec::new();
        match records.as_slice() {
            [one] => bytes.extend_from_slice(&one.payload),
            records => encode_batch(records, &mut bytes).unwrap(),
        }
        at += align8_usize(bytes.len() + tag);
        places.push(at);
    }
    places.push(file.len());
    places
}

/// A folder with a file of these bytes.
pub(super) struct Placed {
    pub(super) folder: tempfile::TempDir,
    pub(super) path: PathBuf,
}

pub(super) fn placed(bytes: &[u8]) -> Placed {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0000000000000007-00000001.hft");
    std::fs::write(&path, bytes).unwrap();
    Placed { folder, path }
}

/// A configuration of one side of north and south with its keys, in this folder.
pub(super) fn configured(folder: &Path, local: &str, other: &str) -> PathBuf {
    let secret = side(local).encode_secret();
    disk::secret::write_secret_file(&folder.join(format!("{local}.key")), secret.as_bytes()).unwrap();
    std::fs::write(folder.join(format!("{other}.pub")), token(other)).unwrap();
    let file = folder.join("hoft.yaml");
    let template = sidecar_config::Template::new(local, other).unwrap();
    std::fs::write(&file, sidecar_config::template(&template)).unwrap();
    file
}

/// The keys that the words of a command line name, at a time.
pub(super) fn ring_at(words: &[&str], now_ms: i64) -> anyhow::Result<Keyring> {
    use clap::Parser;
    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        keys: KeyArgs,
    }
    Keyring::read(&Line::try_parse_from([&["hoft"], words].concat())?.keys, now_ms)
}

pub(super) fn ring(words: &[&str]) -> Keyring {
    ring_at(words, 1_000).unwrap()
}

/// What is said of these bytes.
pub(super) fn seen(bytes: &[u8], ring: &Keyring) -> Report {
    let placed = placed(bytes);
    let (report, _) = look(&placed.path, ring, 1_000);
    // Whatever is found can be shown in both ways.
    let mut shown = Vec::new();
    super::text::print(&report, true, &mut shown).unwrap();
    super::json_line(&report, &mut shown).unwrap();
    report
}

/// Whether `hoft verify` lets these bytes pass.
pub(super) fn passes(bytes: &[u8], ring: &Keyring) -> bool {
    why_not(&seen(bytes, ring), &[Suite::Signed, Suite::Sealed]).is_none()
}

/// Frames that verify.
pub(super) fn good(report: &Report) -> u64 {
    report.frames.as_ref().map_or(0, |frames| frames.verified)
}

#[track_caller]
pub(super) fn assert_verdict(report: &Report, verdict: Verdict, what: &str) {
    assert_eq!(report.verdict, verdict, "{what}: {report:#?}");
    assert_eq!(status(report), if verdict == Verdict::Whole { 0 } else { 1 }, "{what}");
}
