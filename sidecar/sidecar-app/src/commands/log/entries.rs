//! `hoft log show --entries`: every entry on a line.
//!
//! Invariants: no byte of a payload is shown unless asked for, and the secret of a life never; lines come in log order, and
//! damage is said where it lies.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use disk::log::Entry as LogEntry;
use layer1_replication::Entry;
use layer2_http::callbacks::CallbackEntry;
use layer2_http::far::FarEntry;
use layer2_http::keys::KeyEntry;
use layer2_http::near::NearEntry;
use serde::Serialize;
use wire::record::RecordHeader;
use wire::{EndpointId, StreamId};

use crate::entry::{self, ENGINE_FIRST, EngineEntry, FAR_FIRST, LAYER2_FIRST};

/// How entries are shown.
#[derive(Clone, Copy)]
pub(super) struct Format {
    pub(super) json: bool,
    pub(super) payload: bool,
}

#[derive(Debug, Default, Serialize)]
struct Line {
    position: String,
    kind: u8,
    name: &'static str,
    in_checkpoint: bool,
    len: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<Record>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
}

#[derive(Debug, Serialize)]
struct Record {
    offset: u64,
    raw_len: u32,
    stored_len: u32,
    kind: u8,
    flags: u8,
}

/// Runs the subcommand; true if nothing was damaged.
pub(super) fn run(dir: &Path, format: Format, out: &mut dyn Write) -> Result<bool> {
    let files = super::open(dir)?;
    if let (Some(holder), false) = (files.holder(), format.json) {
        writeln!(out, "# {}", super::running(holder))?;
    }
    let mut whole = true;
    for segment in files.segments() {
        let mut written = Ok(());
        let walk = files.walk(segment.number, &mut |entry| {
            if written.is_ok() {
                written = print(&entry, format, out);
            }
        });
        written?;
        whole &= walk.findings.is_empty();
        for finding in walk.findings {
            let text = format!("DAMAGE {} offset {}: {}", finding.file, finding.offset, finding.what);
            if format.json {
                writeln!(out, "{}", serde_json::json!({ "damage": text }))?;
            } else {
                writeln!(out, "{text}")?;
            }
        }
    }
    Ok(whole)
}

fn print(entry: &LogEntry, format: Format, out: &mut dyn Write) -> Result<()> {
    let mut line = line(entry);
    if format.payload {
        line.payload = Some(payload(entry));
    }
    if format.json {
        serde_json::to_writer(&mut *out, &line)?;
        writeln!(out)?;
        return Ok(());
    }
    let mark = if line.in_checkpoint { "= " } else { "" };
    write!(out, "{}  {mark}{} {}  len {}", line.position, line.kind, line.name, line.len)?;
    let texts = [("peer", &line.peer), ("operation", &line.operation), ("at", &line.at)];
    let numbers = [("seq", line.seq), ("stream", line.stream)].map(|(name, n)| (name, n.map(|n| n.to_string())));
    for (name, value) in texts.into_iter().chain(numbers.iter().map(|(name, text)| (*name, text))) {
        if let Some(value) = value {
            write!(out, "  {name} {value}")?;
        }
    }
    if let Some(Record { offset, raw_len, stored_len, kind, flags }) = &line.record {
        write!(out, "  record {kind}/{flags} offset {offset} raw {raw_len} stored {stored_len}")?;
    }
    if let Some(payload) = &line.payload {
        write!(out, "  {payload}")?;
    }
    writeln!(out)?;
    Ok(())
}

fn payload(entry: &LogEntry) -> String {
    if matches!(EngineEntry::decode(entry.kind, &entry.payload), Some(EngineEntry::Life(_))) || entry.kind == 128 {
        return "(a secret: not shown)".to_owned();
    }
    entry.payload.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn line(entry: &LogEntry) -> Line {
    let mut line = Line {
        position: entry.position.to_string(),
        kind: entry.kind,
        name: kind_name(entry.kind),
        in_checkpoint: entry.in_checkpoint,
        len: entry.payload.len(),
        ..Line::default()
    };
    match entry.kind {
        kind if kind >= ENGINE_FIRST => line.of_engine(kind, &entry.payload),
        kind if kind >= FAR_FIRST => line.of_far(kind, &entry.payload),
        kind if KeyEntry::has_kind(kind) => line.of_key(kind, &entry.payload),
        kind if CallbackEntry::has_kind(kind) => line.of_callback(kind, &entry.payload),
        kind if kind >= LAYER2_FIRST => line.of_near(kind, &entry.payload),
        kind => line.of_layer1(kind, &entry.payload),
    }
    line
}

impl Line {
    fn stream(&mut self, peer: EndpointId, stream: StreamId) {
        (self.peer, self.stream) = (Some(peer.to_string()), Some(stream.get()));
    }

    fn record(&mut self, head: &RecordHeader) {
        (self.seq, self.stream) = (Some(head.seq.get()), Some(head.stream.get()));
        let RecordHeader { offset, raw_len, stored_len, kind, flags, .. } = *head;
        self.record = Some(Record { offset, raw_len, stored_len, kind, flags });
    }

    fn of_layer1(&mut self, kind: u8, payload: &[u8]) {
        let Some((peer, rest)) = entry::split_peer(payload) else { return };
        self.peer = Some(peer.to_string());
        let Ok((entry, _)) = Entry::decode_prefix(kind, rest) else { return };
        match entry {
            Entry::Sent { head, .. } | Entry::Unreleased { head, .. } => self.record(&head),
            Entry::Received(meta) | Entry::Held(meta) => self.record(&meta.head),
            Entry::Acked { una, .. } | Entry::SendBase { una, .. } => self.seq = Some(una),
            Entry::ReceiveBase { cum, .. } => self.seq = Some(cum),
            Entry::StreamGranted { stream, .. }
            | Entry::StreamClosed { stream }
            | Entry::Consumed { stream, .. }
            | Entry::SendStream { stream, .. }
            | Entry::ReceiveStream { stream, .. } => self.stream = Some(stream.get()),
            _ => {}
        }
    }

    fn of_near(&mut self, kind: u8, payload: &[u8]) {
        match NearEntry::decode(kind, payload) {
            Ok(NearEntry::Begun(begun)) => {
                self.operation = Some(begun.id.to_string());
                self.stream(begun.peer, begun.stream);
            }
            Ok(NearEntry::State(reached)) => self.operation = Some(reached.id.to_string()),
            Ok(NearEntry::Forgotten { id } | NearEntry::CancelAsked { id }) => self.operation = Some(id.to_string()),
            Ok(NearEntry::Moved { id, peer, stream }) => {
                self.operation = Some(id.to_string());
                self.stream(peer, stream);
            }
            Err(_) => {}
        }
    }

    fn of_key(&mut self, kind: u8, payload: &[u8]) {
        self.operation = KeyEntry::decode(kind, payload).ok().map(|entry| entry.id().to_string());
    }

    fn of_callback(&mut self, kind: u8, payload: &[u8]) {
        self.operation = CallbackEntry::decode(kind, payload).ok().map(|entry| entry.id().to_string());
    }

    fn of_far(&mut self, kind: u8, payload: &[u8]) {
        match FarEntry::decode(kind, payload) {
            Ok(FarEntry::Dispatched(dispatched)) => {
                self.operation = Some(dispatched.operation.to_string());
                self.stream(dispatched.peer, dispatched.stream);
            }
            Ok(
                FarEntry::ResponseBegun { operation }
                | FarEntry::Done { operation }
                | FarEntry::Acked { operation }
                | FarEntry::Forgotten { operation },
            ) => self.operation = Some(operation.to_string()),
            Ok(FarEntry::PeerClosed { peer, .. }) => self.peer = Some(peer.to_string()),
            Err(_) => {}
        }
    }

    fn of_engine(&mut self, kind: u8, payload: &[u8]) {
        match EngineEntry::decode(kind, payload) {
            Some(EngineEntry::SentAt { peer, place }) => {
                self.stream(peer, place.stream);
                (self.seq, self.at) = (Some(place.seq.get()), Some(place.position.to_string()));
            }
            Some(EngineEntry::Spooled { peer, found }) => {
                self.record(&found.0.head);
                (self.peer, self.at) = (Some(peer.to_string()), Some(found.0.position.to_string()));
            }
            Some(EngineEntry::Moved { peer, head, .. }) => {
                self.record(&head);
                self.peer = Some(peer.to_string());
            }
            Some(
                EngineEntry::RequestAt { peer, operation, found, .. }
                | EngineEntry::ResultAt { peer, operation, found },
            ) => {
                self.record(&found.0.head);
                (self.peer, self.at) = (Some(peer.to_string()), Some(found.0.position.to_string()));
                self.operation = Some(operation.to_string());
            }
            Some(EngineEntry::Kept { peer, stream, operation, .. }) => {
                self.stream(peer, stream);
                self.operation = Some(operation.to_string());
            }
            Some(EngineEntry::Mark { peer, mark }) => self.stream(peer, mark.stream),
            Some(
                EngineEntry::Taken { peer, stream, .. }
                | EngineEntry::Forgotten { peer, stream }
                | EngineEntry::RequestEnded { peer, stream }
                | EngineEntry::FarOver { peer, stream },
            ) => self.stream(peer, stream),
            Some(EngineEntry::Life(_)) | None => {}
        }
    }
}

/// What a kind is called in the description of the log.
pub(super) fn kind_name(kind: u8) -> &'static str {
    match kind {
        16 => "associated",
        17 => "sent",
        18 => "received",
        19 => "acked",
        20 => "peer_join",
        21 => "pn_block",
        22 => "granted",
        23 => "stream_granted",
        24 => "stream_closed",
        25 => "consumed",
        26 => "charged",
        27 => "dissociated",
        32 => "association_state",
        33 => "send_base",
        34 => "receive_base",
        35 => "send_stream",
        36 => "receive_stream",
        37 => "closed_exchanges",
        38 => "unreleased",
        39 => "held",
        64 => "near_begun",
        65 => "near_state",
        66 => "near_forgotten",
        67 => "near_moved",
        68 => "near_cancel_asked",
        80 => "key_taken",
        81 => "key_body",
        84 => "callback_wanted",
        85 => "callback_delivered",
        86 => "callback_dead",
        87 => "callback_revived",
        96 => "far_dispatched",
        97 => "far_response_begun",
        98 => "far_done",
        99 => "far_acked",
        100 => "far_forgotten",
        101 => "far_peer_closed",
        128 => "life",
        129 => "sent_at",
        130 => "spooled",
        131 => "taken",
        132 => "forgotten",
        133 => "mark",
        134 => "request_ended",
        135 => "kept",
        136 => "far_over",
        137 => "moved",
        138 => "request_at",
        139 => "result_at",
        _ => "unknown",
    }
}
