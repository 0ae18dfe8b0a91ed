//! What was found, as text for people.
//!
//! Invariants: nothing that a stranger wrote reaches the terminal unescaped; a packet of thousands of frames does not
//! scroll what matters away unless all of them are asked for. Test: `../tests/cuts.rs`.

use std::io::{self, Write};

use super::frames::{Frame, FrameState};
use super::keys::{Origin, OriginResult};
use super::report::{Content, EndMarker, EndpointReport, Frames, HeaderReport, Report, Verdict};

/// Frames that are listed unless all are asked for.
const FRAMES_LISTED: usize = 20;

/// Prints all that is known of a file.
pub(super) fn print(report: &Report, all_frames: bool, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", printable(&report.file))?;
    writeln!(out, "  verdict    {}", verdict_words(report))?;
    for finding in &report.findings {
        writeln!(out, "             - {}", printable(finding))?;
    }
    if let Some(header) = &report.header {
        print_header(header, out)?;
    }
    if let (Some(bytes), Some(header)) = (report.bytes, &report.header) {
        writeln!(out, "  size       {bytes} bytes of {}", header.total_bytes)?;
    } else if let Some(bytes) = report.bytes {
        writeln!(out, "  size       {bytes} bytes")?;
    }
    if let Some(origin) = &report.origin {
        writeln!(out, "  origin     {}", origin_words(origin, report))?;
    }
    if report.header.is_some() {
        writeln!(out, "  content    {}", content_words(report.content))?;
        let parts = report.parts.iter().filter(|part| part.bytes > 0).map(|part| {
            let missing = if part.present < part.bytes { format!(" ({} there)", part.present) } else { String::new() };
            format!("{} {}{missing}", part.part, part.bytes)
        });
        writeln!(out, "  parts      {}", parts.collect::<Vec<_>>().join(", "))?;
    }
    if let Some(marker) = report.end_marker {
        writeln!(out, "  end marker {}", marker_words(marker))?;
    }
    print_control(report, out)?;
    if let Some(frames) = &report.frames {
        print_frames(report, frames, all_frames, out)?;
    }
    for path in &report.extracted {
        writeln!(out, "  extracted  {}", printable(path))?;
    }
    Ok(())
}

fn print_header(header: &HeaderReport, out: &mut dyn Write) -> io::Result<()> {
    let HeaderReport { suite, suite_number, version, packet_number, sent_at, .. } = header;
    let how = match *suite {
        "sealed" => "signed and encrypted",
        "signed" => "signed, readable by anyone",
        _ => "proves nothing about who wrote it",
    };
    writeln!(out, "  suite      {suite} (number {suite_number}: {how}), version {version}")?;
    for (word, EndpointReport { id, incarnation, name }) in [("from", &header.sender), ("to", &header.recipient)] {
        let name = name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        let life = incarnation.as_deref().unwrap_or("unknown");
        writeln!(out, "  {word:10} {id}{name}, incarnation {life}")?;
    }
    writeln!(out, "  packet     number {packet_number}, written {sent_at} by its sender's clock")?;
    let key = |id: &Option<String>| id.clone().unwrap_or_else(|| "none".to_owned());
    writeln!(out, "  keys       signing {}, KEM {}", key(&header.signing_key), key(&header.kem_key))
}

fn print_control(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let Some(control) = &report.control else { return Ok(()) };
    writeln!(out, "  control    {}", control.types.join(", "))?;
    if let Some(endpoint) = &control.endpoint {
        writeln!(out, "             sender is {endpoint}")?;
    }
    if let Some(versions) = &control.versions {
        writeln!(out, "             software {}", printable(&versions.software))?;
    }
    if let Some(log) = &control.log {
        writeln!(out, "             log: next {}, oldest {}, pn floor {}", log.next, log.oldest, log.pn_floor)?;
    }
    if let Some(ack) = &control.ack {
        let sack: Vec<String> = ack.sack.iter().map(|(low, high)| format!("{low}-{high}")).collect();
        let sack = if sack.is_empty() { String::new() } else { format!(", and {}", sack.join(" ")) };
        writeln!(out, "             acknowledges to seq {}{sack}; has seen {} acknowledged", ack.cum, ack.una_seen)?;
    }
    if let Some(packets) = &control.packets {
        let count =
            |ranges: &[(u64, u64)]| ranges.iter().map(|(low, high)| (high - low).saturating_add(1)).sum::<u64>();
        writeln!(
            out,
            "             packets heard to {}: {} complete, {} partial, {} unopenable listed",
            packets.largest,
            count(&packets.complete),
            count(&packets.partial),
            count(&packets.unopenable)
        )?;
    }
    if let Some(presence) = &control.presence {
        let what = if presence.draining {
            "is draining"
        } else if presence.executes {
            "executes calls"
        } else {
            "is there"
        };
        writeln!(out, "             presence: {what}, weight {}, for {} ms", presence.weight, presence.valid_ms)?;
    }
    Ok(())
}

fn print_frames(report: &Report, frames: &Frames, all: bool, out: &mut dyn Write) -> io::Result<()> {
    let kinds: Vec<String> = report.kinds().iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let records = if kinds.is_empty() { String::new() } else { format!("; records: {}", kinds.join(", ")) };
    writeln!(
        out,
        "  frames     {} of {} verify ({} bytes){records}",
        frames.verified + frames.unknown,
        frames.count,
        frames.verified_bytes
    )?;
    let shown = |frame: &&Frame| all || (frame.index as usize) < FRAMES_LISTED || bad(frame.state);
    let mut listed = 0;
    for frame in frames.list.iter().filter(shown) {
        if !all && listed == 2 * FRAMES_LISTED {
            break;
        }
        listed += 1;
        writeln!(out, "    {}", frame_words(frame))?;
    }
    if listed < frames.list.len() {
        writeln!(out, "    … and {} more (--frames lists all)", frames.list.len() - listed)?;
    }
    Ok(())
}

const fn bad(state: FrameState) -> bool {
    matches!(state, FrameState::Bad | FrameState::Unfilled | FrameState::Malformed | FrameState::Cut)
}

fn frame_words(frame: &Frame) -> String {
    let Frame { index, at, stored_bytes, raw_bytes, kind, .. } = frame;
    let seqs = match (frame.seq, frame.seq_last) {
        (Some(first), Some(last)) if first != last => format!(" seq {first}-{last}"),
        (Some(first), None) if frame.records > 1 => format!(" seq from {first}"),
        (Some(first), _) => format!(" seq {first}"),
        (None, _) => String::new(),
    };
    let place = match (frame.stream, frame.offset) {
        (Some(stream), Some(offset)) => format!(" stream {stream} offset {offset}"),
        _ if frame.records > 0 => format!(" {} records", frame.records),
        _ => String::new(),
    };
    let packed = if frame.compressed { ", compressed" } else { "" };
    let state = match frame.state {
        FrameState::Verified => "verifies",
        FrameState::Unknown => "verifies, of unknown kind",
        FrameState::Cut => "CUT: the file ends in it",
        FrameState::Missing => "missing",
        FrameState::Unfilled => "UNFILLED: only zeros",
        FrameState::Bad => "BAD: not what the frame table says",
        FrameState::Malformed => "MALFORMED: no well-formed records",
    };
    format!("{index:5} {kind:6}{seqs}{place}, {raw_bytes} bytes ({stored_bytes} stored{packed}) at {at}: {state}")
}

/// The verdict in one line.
pub(super) fn verdict_words(report: &Report) -> &'static str {
    match report.verdict {
        Verdict::Whole if report.content == Content::Sealed => "WHOLE, as far as it can be seen without the keys",
        Verdict::Whole => "WHOLE",
        Verdict::Cut => "CUT",
        Verdict::Unfilled => "UNFILLED: as long as announced, but its end is zeros",
        Verdict::Damaged => "DAMAGED",
        Verdict::Refused => "REFUSED: this version does not take it",
        Verdict::NoPacket => "NO PACKET",
        Verdict::Unreadable => "UNREADABLE",
    }
}

/// Who signed, in words.
pub(super) fn origin_words(origin: &Origin, report: &Report) -> String {
    let key = report.header.as_ref().and_then(|header| header.signing_key.clone()).unwrap_or_default();
    let side = origin.side.as_deref().unwrap_or("unknown");
    let fingerprint = origin.fingerprint.as_deref().unwrap_or("unknown");
    match origin.result {
        OriginResult::Verified if origin.own => format!("VERIFIED: signed by this side itself, {side} ({fingerprint})"),
        OriginResult::Verified => format!("VERIFIED: signed by side {side} ({fingerprint})"),
        OriginResult::Bad if origin.side.is_none() => "BAD checksum".to_owned(),
        OriginResult::Bad => format!("BAD: not signed by side {side} ({fingerprint}), whose key it names"),
        OriginResult::OutOfTime => format!("signed by side {side}, whose token ({fingerprint}) is NOT VALID NOW"),
        OriginResult::Revoked => format!("REVOKED: signing key {key} of side {side} is believed no more"),
        OriginResult::UnknownKey => format!("UNKNOWN: signing key {key} is none of those given"),
        OriginResult::NotChecked => "not checked: no key was given".to_owned(),
        OriginResult::Unproven => "unproven: the checksum is good, and anyone could have written it".to_owned(),
        OriginResult::Cut => "not known: the signature is not all there".to_owned(),
    }
}

const fn content_words(content: Content) -> &'static str {
    match content {
        Content::Clear => "readable by anyone",
        Content::Opened => "opened with the given keys",
        Content::Sealed => "sealed: only origin, ids and sizes can be read",
        Content::NotReached => "not looked at",
        Content::Failed => "refused",
    }
}

const fn marker_words(marker: EndMarker) -> &'static str {
    match marker {
        EndMarker::There => "there",
        EndMarker::Missing => "not there: the file is too short",
        EndMarker::Zeros => "zeros in its place",
        EndMarker::Wrong => "wrong",
    }
}

/// Text without what would move a cursor: control characters are shown as escapes.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        // Marks that change the direction of what follows would do so, too.
        if character.is_control()
            || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}
