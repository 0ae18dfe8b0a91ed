//! Looking at one file: the checks of a reader, in their order, without an engine's memory.
//!
//! Invariants: whatever the file holds, this ends with a verdict; at most the prefix (5 MiB by the format's limits) and one
//! frame are in memory; a sealed packet whose signature is not good is not opened. What depends on state (packet numbers,
//! associations, credit) is not judged. Specification: wire format §11. Test to read first: `../tests/cuts.rs`.

use std::io;
use std::path::Path;

use identity::{OpenedPrefix, open_prefix};
use wire::digest::hex;
use wire::header::{END_MARKER_LEN, HEADER_LEN, MAGIC, end_marker};
use wire::name::parse_file_name;
use wire::table::check_table;
use wire::{EndpointId, Header, Incarnation, Reject, Suite};

use super::control;
use super::frames::{FrameState, Table};
use super::keys::{Keyring, Origin, OriginResult, key_text};
use super::parts::{parts, place};
use super::report::{Content, EndMarker, EndpointReport, Frames, HeaderReport, Report, Verdict};
use super::source::{NotOpened, PacketFile};
use crate::commands::when::rfc3339;

/// Numbers of frames that a finding names.
const NUMBERS_SHOWN: usize = 8;

/// What can be read of a packet, after it was looked at.
pub(super) struct Readable {
    pub(super) file: PacketFile,
    pub(super) table: Table,
}

/// Looks at a file.
pub(super) fn look(path: &Path, ring: &Keyring, now_ms: i64) -> (Report, Option<Readable>) {
    let mut report = Report::new(path);
    let file = match PacketFile::open(path) {
        Ok(file) => file,
        Err(NotOpened::NotRegular(what)) => {
            report.end(Verdict::Unreadable, Some(Reject::NotRegular), format!("it is {what}"));
            return (report, None);
        }
        Err(NotOpened::Io(error)) => {
            report.end(Verdict::Unreadable, None, format!("it cannot be read: {error}"));
            return (report, None);
        }
    };
    report.bytes = Some(file.len());
    match read(&file, ring, now_ms, &mut report) {
        Ok(table) => (report, table.map(|table| Readable { file, table })),
        Err(error) => {
            report.end(Verdict::Unreadable, None, format!("it cannot be read to its end: {error}"));
            (report, None)
        }
    }
}

fn read(file: &PacketFile, ring: &Keyring, now_ms: i64, report: &mut Report) -> io::Result<Option<Table>> {
    let head = file.bytes(0, HEADER_LEN)?;
    let header = match Header::parse(&head) {
        Ok(header) => header,
        Err(reject) => {
            no_header(&head, reject, report);
            return Ok(None);
        }
    };
    report.header = Some(header_report(&header, &head, ring, report));
    report.parts = parts(&header, file.len());
    look_at_end(file, &header, report)?;
    let prefix = file.bytes(0, header.frames_at as usize)?;
    let whole_prefix = prefix.len() == header.frames_at as usize;
    let origin = if whole_prefix { ring.origin(&header, &prefix, now_ms) } else { Origin::new(OriginResult::Cut) };
    if !whole_prefix {
        report.failed(Reject::PrefixCut);
    } else if matches!(origin.result, OriginResult::Bad | OriginResult::Revoked) {
        report.reject = report.reject.or(origin.reject);
    }
    // What is sealed is opened only for those who vouch for it.
    let checked = !matches!(origin.result, OriginResult::Bad | OriginResult::Revoked);
    let usable = whole_prefix && (checked || header.suite() != Ok(Suite::Sealed));
    report.origin = Some(origin);
    let mut table = None;
    if usable {
        let layout = header.layout();
        report.padding_not_zero = not_zero(prefix.get(layout.sig_end..layout.frames_at).unwrap_or(&[]));
        match open(ring, &header, &prefix, report) {
            Ok(opened) => table = opened,
            // Of a packet that nobody vouches for, the signature is what is wrong first.
            Err(reject) if checked => {
                report.failed(reject);
                report.content = Content::Failed;
            }
            Err(_) => report.content = Content::Failed,
        }
    }
    if let Some(table) = &table {
        read_frames(file, table, report)?;
    }
    let offsets = table.as_ref().map_or(&[][..], |table| &table.offsets);
    report.cut = place(&report.parts, offsets, file.len());
    report.zeros = report.zeros.take().and_then(|zeros| place(&report.parts, offsets, zeros.at));
    report.judge();
    explain(&header, report);
    Ok(table)
}

/// Says why there is no header.
fn no_header(head: &[u8], reject: Reject, report: &mut Report) {
    let number = |at: usize| head.get(at..at + 2).and_then(|two| two.try_into().ok()).map_or(0, u16::from_le_bytes);
    let of_magic = head.len().min(MAGIC.len());
    let begins = head[..of_magic] == MAGIC[..of_magic] && !head.is_empty();
    let (verdict, text) = match reject {
        Reject::Short if head.is_empty() => (Verdict::NoPacket, "it is empty".to_owned()),
        Reject::Short if begins => {
            let text = format!("it ends after {} of the header's {HEADER_LEN} bytes", head.len());
            report.cut = Some(super::parts::Place {
                at: head.len() as u64,
                part: "header",
                into: head.len() as u64,
                frame: None,
            });
            (Verdict::Cut, text)
        }
        _ if head.iter().all(|byte| *byte == 0) => {
            let text = "it begins with zeros: space that a mirror set aside and did not fill, or no packet at all";
            (Verdict::NoPacket, text.to_owned())
        }
        Reject::Magic if head.starts_with(&MAGIC[..4]) => {
            let text = "its first bytes are those of a packet with changed line ends: it was transferred as text";
            (Verdict::Damaged, text.to_owned())
        }
        Reject::Short | Reject::Magic => (Verdict::NoPacket, "it does not begin as a packet does".to_owned()),
        Reject::Crc => (Verdict::Damaged, "its header is damaged: the header's own checksum does not match".to_owned()),
        Reject::Major => {
            let text =
                format!("it is a packet of major version {}; this program reads version 1: use a newer one", number(8));
            (Verdict::Refused, text)
        }
        Reject::SuiteUnknown => {
            let text = format!("it is protected by suite {}, which this program does not have", number(12));
            (Verdict::Refused, text)
        }
        Reject::Flags => {
            (Verdict::Refused, format!("it has critical flags ({:#06x}) that this program does not know", number(14)))
        }
        _ => (Verdict::Refused, "the lengths in its header do not agree with each other".to_owned()),
    };
    report.end(verdict, Some(reject), text);
}

fn header_report(header: &Header, head: &[u8], ring: &Keyring, report: &Report) -> HeaderReport {
    let endpoint = |id: &EndpointId, life: &Incarnation| EndpointReport {
        id: id.to_string(),
        incarnation: (!life.is_unknown()).then(|| life.to_string()),
        name: ring.name(id).map(str::to_owned),
    };
    let name = Path::new(&report.file).file_name().and_then(|name| name.to_str()).and_then(parse_file_name);
    HeaderReport {
        version: format!("{}.{}", head.get(8).copied().unwrap_or(0), header.minor),
        suite: header.suite().map_or("unknown", Suite::name),
        suite_number: header.suite_number,
        flags: header.flags,
        sender: endpoint(&header.sender, &header.sender_incarnation),
        recipient: endpoint(&header.recipient, &header.recipient_incarnation),
        packet_number: header.pn.get(),
        sent_at: rfc3339(header.sent_at_ms),
        sent_at_ms: header.sent_at_ms,
        total_bytes: header.total_len,
        frame_count: header.frame_count,
        signing_key: key_text(header.signing_key),
        kem_key: key_text(header.kem_key),
        salt: hex(&header.salt),
        name_agrees: name.map(|(pn, _)| pn == header.pn),
    }
}

/// The end marker, what comes after it, and zeros in place of it.
fn look_at_end(file: &PacketFile, header: &Header, report: &mut Report) -> io::Result<()> {
    report.trailing_bytes = file.len().saturating_sub(header.total_len);
    let marker = file.bytes(header.total_len - END_MARKER_LEN as u64, END_MARKER_LEN)?;
    let found = if marker.len() < END_MARKER_LEN {
        EndMarker::Missing
    } else if marker == end_marker(&header.salt) {
        EndMarker::There
    } else if marker.iter().all(|byte| *byte == 0) {
        EndMarker::Zeros
    } else {
        EndMarker::Wrong
    };
    report.end_marker = Some(found);
    if matches!(found, EndMarker::Zeros | EndMarker::Missing) {
        let end = file.len().min(header.total_len);
        let from = file.zeros_from(end)?;
        if end - from >= END_MARKER_LEN as u64 {
            report.zeros = place(&report.parts, &[], from);
        }
    }
    Ok(())
}

/// Checks 14 to 17: what the signature covers. `None` where it is sealed and the keys are not there.
fn open(ring: &Keyring, header: &Header, prefix: &[u8], report: &mut Report) -> Result<Option<Table>, Reject> {
    let sealed = header.suite().is_ok_and(Suite::sealed);
    let holds = ring.identity().filter(|identity| identity.kem_ids().contains(&header.kem_key));
    if sealed && holds.is_none() {
        report.content = Content::Sealed;
        return Ok(None);
    }
    let OpenedPrefix { control: block, entries, frames: opener, .. } = open_prefix(holds, header, prefix)?;
    report.content = if sealed { Content::Opened } else { Content::Clear };
    let (control, to_a_side) = control::decode(&block, ring.is_side(&header.recipient))?;
    report.control = Some(control::report(&block, &control));
    if to_a_side && header.frame_count > 0 {
        return Err(Reject::ControlScope);
    }
    ring.check_endpoint(&control, &header.sender)?;
    let tag_len = header.suite().map_or(0, Suite::tag_len);
    let offsets = check_table(&entries, header.frames_at, header.total_len, tag_len)?;
    Ok(Some(Table { entries, offsets, opener }))
}

fn read_frames(file: &PacketFile, table: &Table, report: &mut Report) -> io::Result<()> {
    let mut frames = Frames::default();
    for index in 0..table.entries.len() {
        let Some((frame, _, pads)) = table.read(file, index)? else { break };
        report.padding_not_zero += pads;
        if !matches!(frame.state, FrameState::Verified | FrameState::Unknown) {
            report.reject = report.reject.or(frame.reject);
        }
        frames.add(frame);
    }
    report.frames = Some(frames);
    Ok(())
}

fn not_zero(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte != 0).count() as u64
}

/// Says in words what was found.
fn explain(header: &Header, report: &mut Report) {
    if let Some(cut) = report.cut.clone() {
        let text = format!("it is cut: {} of {} bytes are there; it ends at {}", cut.at, header.total_len, cut.words());
        report.say(text);
    }
    if let (Some(zeros), Some(bytes)) = (report.zeros.clone(), report.bytes) {
        let count = bytes.min(header.total_len) - zeros.at;
        report.say(format!("its last {count} bytes are zeros: they begin at {}", zeros.words()));
    }
    explain_origin(header, report);
    match report.content {
        Content::Sealed => {
            let key = key_text(header.kem_key).unwrap_or_default();
            report.say(format!(
                "control block and frames are sealed to KEM key {key}: `--config` of an engine that holds it opens them"
            ));
        }
        Content::Failed => {
            let reject = report.reject.unwrap_or("unknown");
            report.say(format!("its control block or frame table is refused: {reject}"));
        }
        Content::Clear | Content::Opened | Content::NotReached => {}
    }
    for (state, one, several) in [
        (
            FrameState::Bad,
            "differs from what the frame table says of it",
            "differ from what the frame table says of them",
        ),
        (FrameState::Unfilled, "is nothing but zeros", "are nothing but zeros"),
        (FrameState::Malformed, "holds no well-formed records", "hold no well-formed records"),
        (FrameState::Unknown, "is of an unknown kind: good, and skipped", "are of an unknown kind: good, and skipped"),
    ] {
        let list = report.frames.iter().flat_map(|frames| &frames.list);
        let indexes: Vec<u32> = list.filter(|frame| frame.state == state).map(|frame| frame.index).collect();
        match indexes.as_slice() {
            [] => {}
            [index] => report.say(format!("frame {index} {one}")),
            many => report.say(format!("frames {} {several}", listed(many))),
        }
    }
    if report.end_marker == Some(EndMarker::Wrong) {
        report.say("its end marker is wrong");
    }
    let (pads, trailing) = (report.padding_not_zero, report.trailing_bytes);
    if pads > 0 {
        report.say(format!("{pads} bytes of padding are not zero: nobody reads them, and no signature covers them"));
    }
    if trailing > 0 {
        report
            .say(format!("{trailing} bytes follow the packet's end: nobody reads them, and no signature covers them"));
    }
    if report.header.as_ref().is_some_and(|header| header.name_agrees == Some(false)) {
        report.say("its name claims another packet number: a renamed file (nothing depends on the name)");
    }
}

/// Some of many numbers.
fn listed(numbers: &[u32]) -> String {
    let shown: Vec<String> = numbers.iter().take(NUMBERS_SHOWN).map(u32::to_string).collect();
    match numbers.len().saturating_sub(NUMBERS_SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn explain_origin(header: &Header, report: &mut Report) {
    let Some(origin) = report.origin.clone() else { return };
    let key = key_text(header.signing_key).unwrap_or_default();
    let side = origin.side.as_deref().unwrap_or("unknown");
    let text = match origin.result {
        OriginResult::Verified => return,
        OriginResult::Bad if origin.side.is_none() => "its checksum does not match: it is damaged".to_owned(),
        OriginResult::Bad => {
            format!("its signature is not one of side {side} over these bytes: it is damaged or forged")
        }
        OriginResult::OutOfTime => {
            format!("its signature is of side {side}, but the token given for key {key} is not valid now")
        }
        OriginResult::Revoked => {
            format!("it names signing key {key} of side {side}, which is revoked: anybody may have signed it")
        }
        OriginResult::UnknownKey => format!("it names signing key {key}, which none of the given keys is"),
        OriginResult::NotChecked => {
            format!("who signed was not checked (signing key {key}): give --key or --config")
        }
        OriginResult::Unproven => "suite checksum proves nothing about who wrote it".to_owned(),
        OriginResult::Cut => "its signature is not all there, so nothing in it is vouched for".to_owned(),
    };
    report.say(text);
}
