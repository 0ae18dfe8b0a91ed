//! `hoft log verify`: every segment from end to end, then every place that the state refers to.
//!
//! Invariant: whatever an engine would refuse to start from is found here, and what lies in older segments too, at which an
//! engine looks only when it needs it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use disk::log::{Finding, LogFiles, Position};
use serde::Serialize;
use wire::EndpointId;

use super::state::{LogState, Need, Place, record_of};

const REMEDY: &str = "nothing was changed, and an engine repairs nothing either: it refuses to start when it needs what is \
     damaged. Restore the folder from a copy or a snapshot of before the damage, or move it away to start with a new log: \
     what was under way is then reported as outcome unknown";

#[derive(Debug, Serialize)]
struct Report {
    folder: String,
    endpoint: Option<String>,
    /// Who has it open.
    running: Option<String>,
    whole: bool,
    segments: Vec<Segment>,
    torn_tail: Option<Torn>,
    /// Segments that were being prepared.
    leftovers: usize,
    /// Places that the state refers to.
    places: usize,
    findings: Vec<Found>,
    remedy: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Segment {
    number: u64,
    file: String,
    bytes: u64,
    checkpoint_entries: u64,
    entries: u64,
    findings: usize,
    /// The running engine removed it meanwhile.
    removed: bool,
}

#[derive(Debug, Serialize)]
struct Torn {
    file: String,
    offset: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Found {
    file: String,
    offset: u64,
    flaw: &'static str,
    what: String,
}

impl From<Finding> for Found {
    fn from(finding: Finding) -> Self {
        Self { file: finding.file, offset: finding.offset, flaw: finding.flaw.name(), what: finding.what }
    }
}

/// Runs the subcommand; true if the log is whole.
pub(super) fn run(dir: &Path, json: bool, out: &mut dyn Write) -> Result<bool> {
    Ok(super::report((dir, json), look, print, out)?.whole)
}

fn look(dir: &Path, files: &LogFiles) -> Report {
    let mut report = Report {
        folder: dir.display().to_string(),
        endpoint: files.owner().map(|owner| EndpointId::from_bytes(owner).to_string()),
        running: files.holder().map(str::to_owned),
        whole: false,
        segments: Vec::new(),
        torn_tail: None,
        leftovers: files.leftovers(),
        places: 0,
        findings: Vec::new(),
        remedy: None,
    };
    let mut state = LogState::new(EndpointId::from_bytes(files.owner().unwrap_or_default()));
    let newest = files.newest().unwrap_or_default();
    let mut strange = Vec::new();
    // The newest first: it says which places of the others are needed.
    let mut own_places = Vec::new();
    report.walk(files, newest, &mut |entry| {
        own_places.extend(record_of(entry.kind, &entry.payload).map(|record| (entry.position, record)));
        if state.take(&entry).is_none() {
            strange.push((entry.position, entry.kind));
        }
    });
    state.finish();
    for (position, kind) in strange {
        let what = format!("an entry of kind {kind} cannot be understood; was it written by a later hoft?");
        report.find(files, position, "unknown", what);
    }
    let mut needed = state.places();
    report.places = needed.len();
    for (position, (peer, head, sent)) in own_places {
        strike(&mut needed, position, (peer, head.seq.get(), sent));
    }
    for segment in files.segments().iter().rev().filter(|segment| segment.number != newest) {
        report.walk(files, segment.number, &mut |entry| {
            if let Some((peer, head, sent)) = record_of(entry.kind, &entry.payload) {
                strike(&mut needed, entry.position, (peer, head.seq.get(), sent));
            }
        });
    }
    report.missing(files, needed);
    report.segments.sort_by_key(|segment| segment.number);
    report.findings.sort_by(|a, b| (&a.file, a.offset).cmp(&(&b.file, b.offset)));
    report.whole = report.findings.is_empty();
    report.remedy = (!report.whole).then_some(REMEDY);
    report
}

/// A needed place was found, if the record in it is the one.
fn strike(needed: &mut BTreeMap<Position, Place>, position: Position, (peer, seq, sent): (EndpointId, u64, bool)) {
    let same = |place: &Place| (place.peer, place.seq.get(), place.need == Need::Unacknowledged) == (peer, seq, sent);
    if needed.get(&position).is_some_and(same) {
        needed.remove(&position);
    }
}

impl Report {
    fn walk(&mut self, files: &LogFiles, number: u64, entry: &mut dyn FnMut(disk::log::Entry)) {
        let walk = files.walk(number, entry);
        let Some(file) = files.segments().iter().find(|segment| segment.number == number) else { return };
        if walk.torn_bytes > 0 {
            self.torn_tail = Some(Torn { file: file.file.clone(), offset: walk.torn_at, bytes: walk.torn_bytes });
        }
        self.segments.push(Segment {
            number,
            file: file.file.clone(),
            bytes: file.bytes,
            checkpoint_entries: walk.checkpoint_entries,
            entries: walk.entries,
            findings: walk.findings.len(),
            removed: walk.removed,
        });
        self.findings.extend(walk.findings.into_iter().map(Found::from));
    }

    fn find(&mut self, files: &LogFiles, position: Position, flaw: &'static str, what: String) {
        let (file, offset) = (files.describe(position.segment), u64::from(position.offset));
        self.findings.push(Found { file, offset, flaw, what });
    }

    // Of a segment that is not there one finding is enough.
    fn missing(&mut self, files: &LogFiles, needed: BTreeMap<Position, Place>) {
        let mut by_segment: BTreeMap<u64, Vec<(Position, Place)>> = BTreeMap::new();
        for (position, place) in needed {
            by_segment.entry(position.segment).or_default().push((position, place));
        }
        for (number, places) in by_segment {
            let Some(segment) = self.segments.iter().find(|segment| segment.number == number) else {
                let [(first, place), ..] = places[..] else { continue };
                let what = format!(
                    "the file is missing; the state refers to {} records in it, the first of peer {} with seq {}",
                    places.len(),
                    place.peer,
                    place.seq.get()
                );
                self.find(files, first, "missing", what);
                continue;
            };
            if segment.removed {
                continue;
            }
            for (position, place) in places {
                let what = format!(
                    "the state refers to a record here (peer {}, seq {}), and it is not here",
                    place.peer,
                    place.seq.get()
                );
                self.find(files, position, "missing", what);
            }
        }
    }
}

fn print(report: &Report, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "log in {}", report.folder)?;
    writeln!(out, "endpoint {}", report.endpoint.as_deref().unwrap_or("unknown: no segment has a header"))?;
    if let Some(holder) = &report.running {
        writeln!(out, "{}", super::running(holder))?;
    }
    for segment in &report.segments {
        let (checkpoint, entries) = (segment.checkpoint_entries, segment.entries);
        let verdict = match (segment.removed, segment.findings) {
            (true, _) => "removed meanwhile: nothing refers to it".to_owned(),
            (_, 0) => "whole".to_owned(),
            (_, n) => format!("DAMAGED ({n})"),
        };
        let bytes = segment.bytes;
        writeln!(out, "{}: {bytes} bytes, checkpoint of {checkpoint}, {entries} entries: {verdict}", segment.file)?;
    }
    if let Some(torn) = &report.torn_tail {
        let why =
            if report.running.is_some() { "being written" } else { "the torn tail of a crash, cut by the next start" };
        writeln!(out, "{} offset {}: {} bytes: {why}; nobody was promised them", torn.file, torn.offset, torn.bytes)?;
    }
    if report.leftovers > 0 {
        writeln!(out, "{} unfinished segments (.new): without meaning, removed by the next start", report.leftovers)?;
    }
    for finding in &report.findings {
        writeln!(out, "DAMAGE {} offset {}: {}", finding.file, finding.offset, finding.what)?;
    }
    match report.remedy {
        None => {
            writeln!(out, "whole: every entry verifies, and so do all {} places the state refers to", report.places)?
        }
        Some(remedy) => writeln!(out, "damaged in {} places: {remedy}", report.findings.len())?,
    }
    Ok(())
}
