//! `hoft log show`: the state that the log tells, and what holds each of its segments.
//!
//! Invariant: what is shown is what a start would find, before it does anything about it. Payloads are not looked at.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use disk::log::LogFiles;
use layer2_http::operation::State;
use serde::Serialize;
use wire::EndpointId;

use super::entries::kind_name;
use super::state::{LogState, Need};
use crate::spool::Spool;
use crate::status::count_states;

#[derive(Debug, Serialize)]
struct Report {
    folder: String,
    endpoint: Option<String>,
    incarnation: Option<String>,
    running: Option<String>,
    /// False if something was damaged: what is shown is incomplete.
    whole: bool,
    bytes: u64,
    segments: Vec<Segment>,
    /// Entries of the newest segment by kind, its checkpoint included.
    kinds: Vec<Kind>,
    peers: Vec<PeerLine>,
    /// Operations begun here, by state.
    operations: BTreeMap<&'static str, u64>,
    /// Executions that are remembered here.
    executions: usize,
    results: Vec<ResultLine>,
}

#[derive(Debug, Serialize)]
struct Segment {
    number: u64,
    bytes: u64,
    created_ms: u64,
    newest: bool,
    checkpoint_entries: u64,
    entries: u64,
    /// What keeps it.
    holds: Vec<Hold>,
}

#[derive(Debug, Serialize)]
struct Hold {
    peer: String,
    why: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    records: u64,
}

#[derive(Debug, Serialize)]
struct Kind {
    kind: u8,
    name: &'static str,
    entries: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct PeerLine {
    peer: String,
    associated_with: Option<String>,
    associations: u64,
    /// My records up to here are acknowledged.
    una: u64,
    /// My next record.
    next: u64,
    /// Its records up to here are held here.
    cum: u64,
    unacknowledged_records: u64,
    unacknowledged_bytes: u64,
    /// Received and still needed.
    held_records: u64,
    held_bytes: u64,
}

#[derive(Debug, Serialize)]
struct ResultLine {
    operation: String,
    state: &'static str,
    peer: String,
    stream: u64,
    bytes: u64,
}

/// Runs the subcommand; true if nothing was damaged.
pub(super) fn run(dir: &Path, json: bool, out: &mut dyn Write) -> Result<bool> {
    Ok(super::report((dir, json), look, print, out)?.whole)
}

fn look(dir: &Path, files: &LogFiles) -> Report {
    let newest = files.newest().unwrap_or_default();
    let mut state = LogState::new(EndpointId::from_bytes(files.owner().unwrap_or_default()));
    let mut kinds: BTreeMap<u8, (u64, u64)> = BTreeMap::new();
    let (mut whole, mut segments) = (true, Vec::new());
    for file in files.segments() {
        let walk = files.walk(file.number, &mut |entry| {
            if file.number == newest {
                let (count, bytes) = kinds.entry(entry.kind).or_default();
                (*count, *bytes) = (*count + 1, *bytes + entry.payload.len() as u64);
                whole &= state.take(&entry).is_some();
            }
        });
        whole &= walk.findings.is_empty();
        let (number, bytes, created_ms) = (file.number, file.bytes, file.created_ms);
        let (checkpoint_entries, entries) = (walk.checkpoint_entries, walk.entries);
        let newest = number == newest;
        segments.push(Segment { number, bytes, created_ms, newest, checkpoint_entries, entries, holds: Vec::new() });
    }
    state.finish();
    add_holds(&state, &mut segments);
    let kinds = kinds.into_iter().map(|(kind, (entries, bytes))| Kind { kind, name: kind_name(kind), entries, bytes });
    Report {
        folder: dir.display().to_string(),
        endpoint: files.owner().map(|owner| EndpointId::from_bytes(owner).to_string()),
        incarnation: state.incarnation.map(|incarnation| incarnation.to_string()),
        running: files.holder().map(str::to_owned),
        whole,
        bytes: segments.iter().map(|segment| segment.bytes).sum(),
        segments,
        kinds: kinds.collect(),
        peers: state.peers.iter().map(|(peer, one)| peer_line(*peer, one)).collect(),
        operations: operations(&state),
        executions: state.far.len(),
        results: results(&state),
    }
}

fn operations(state: &LogState) -> BTreeMap<&'static str, u64> {
    let counts = count_states(state.near.list(None, usize::MAX).into_iter().map(|view| view.state));
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}

fn add_holds(state: &LogState, segments: &mut [Segment]) {
    let mut holds: BTreeMap<(u64, EndpointId, Need), u64> = BTreeMap::new();
    for (position, place) in state.places() {
        *holds.entry((position.segment, place.peer, place.need)).or_default() += 1;
    }
    for ((number, peer, need), records) in holds {
        let (why, operation) = match need {
            Need::Unacknowledged => ("unacknowledged", None),
            Need::Received => ("received", None),
            Need::Result(operation) => ("stored_result", Some(operation.to_string())),
        };
        if let Some(segment) = segments.iter_mut().find(|segment| segment.number == number) {
            segment.holds.push(Hold { peer: peer.to_string(), why, operation, records });
        }
    }
}

fn peer_line(peer: EndpointId, state: &super::state::PeerState) -> PeerLine {
    let status = state.status();
    PeerLine {
        peer: peer.to_string(),
        associated_with: status.peer_incarnation.map(|incarnation| incarnation.to_string()),
        associations: status.confirmations,
        una: status.una.get(),
        next: status.next.get(),
        cum: status.cum.get(),
        unacknowledged_records: status.backlog_records,
        unacknowledged_bytes: status.backlog_bytes,
        held_records: state.spool.records().count() as u64,
        held_bytes: state.spool.records().map(|found| u64::from(found.head.stored_len)).sum(),
    }
}

fn stream_bytes(spool: &Spool, stream: wire::StreamId) -> u64 {
    let of_stream = spool.records().filter(|found| found.head.stream == stream);
    of_stream.map(|found| u64::from(found.head.stored_len)).sum()
}

fn results(state: &LogState) -> Vec<ResultLine> {
    let line = |(operation, peer, stream): &(_, EndpointId, wire::StreamId)| ResultLine {
        operation: format!("{operation}"),
        state: state.near.get(*operation).map_or("unknown", |view| State::name(view.state)),
        peer: peer.to_string(),
        stream: stream.get(),
        bytes: state.peers.get(peer).map_or(0, |one| stream_bytes(&one.spool, *stream)),
    };
    state.results().iter().map(line).collect()
}

fn print(report: &Report, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "log in {}, {} bytes", report.folder, report.bytes)?;
    let unknown = || "unknown".to_owned();
    let (endpoint, life) = (report.endpoint.clone(), report.incarnation.clone());
    writeln!(out, "endpoint {}, incarnation {}", endpoint.unwrap_or_else(unknown), life.unwrap_or_else(unknown))?;
    if let Some(holder) = &report.running {
        writeln!(out, "{}", super::running(holder))?;
    }
    if !report.whole {
        writeln!(out, "DAMAGED: what follows is incomplete; `hoft log verify` names the places")?;
    }
    writeln!(out, "\nsegments")?;
    for segment in &report.segments {
        let (number, bytes, checkpoint) = (segment.number, segment.bytes, segment.checkpoint_entries);
        let newest = if segment.newest { " (newest: it alone tells the state)" } else { "" };
        writeln!(
            out,
            "  {number:016x}  {bytes} bytes, checkpoint of {checkpoint}, {} entries{newest}",
            segment.entries
        )?;
        for hold in &segment.holds {
            let of = hold.operation.as_ref().map(|operation| format!(" of {operation}")).unwrap_or_default();
            writeln!(out, "    kept for {} records: {}{of}, peer {}", hold.records, hold.why, hold.peer)?;
        }
        if segment.holds.is_empty() && !segment.newest {
            writeln!(out, "    nothing refers to it: the next start removes it")?;
        }
    }
    writeln!(out, "\nentries of the newest segment")?;
    for Kind { kind, name, entries, bytes } in &report.kinds {
        writeln!(out, "  {kind:3} {name}: {entries} with {bytes} bytes")?;
    }
    print_state(report, out)
}

fn print_state(report: &Report, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "\npeers")?;
    for peer in &report.peers {
        let with = peer.associated_with.as_deref().map_or_else(
            || "no association".to_owned(),
            |life| format!("associated with its incarnation {life} (association {})", peer.associations),
        );
        writeln!(out, "  {}: {with}", peer.peer)?;
        writeln!(
            out,
            "    sent: acknowledged to {}, next is {}; {} records with {} bytes unacknowledged",
            peer.una, peer.next, peer.unacknowledged_records, peer.unacknowledged_bytes
        )?;
        writeln!(
            out,
            "    received: all to {}; {} records with {} bytes still needed",
            peer.cum, peer.held_records, peer.held_bytes
        )?;
    }
    let states: Vec<String> = report.operations.iter().map(|(state, count)| format!("{count} {state}")).collect();
    writeln!(
        out,
        "\noperations begun here: {}",
        if states.is_empty() { "none".to_owned() } else { states.join(", ") }
    )?;
    writeln!(out, "executions remembered here: {}", report.executions)?;
    writeln!(out, "stored results: {}", report.results.len())?;
    for result in &report.results {
        writeln!(out, "  {} ({}): {} bytes, peer {}", result.operation, result.state, result.bytes, result.peer)?;
    }
    Ok(())
}
