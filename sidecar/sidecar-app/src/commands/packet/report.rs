//! What is said of a file: the shape of `--json`, and the verdict over all of it.
//!
//! Invariants: a field that stands here keeps its name and meaning (docs/inspecting-packets.md has them; fields may be
//! added); `whole` is said only of a file without one byte too few, too many or different, as far as it can be read.
//! Test to read first: `../tests/cuts.rs`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use wire::Reject;

use super::control::ControlReport;
use super::frames::{Frame, FrameState};
use super::keys::{Origin, OriginResult};
use super::parts::{Part, Place};

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// A packet of which nothing is missing or different, as far as it can be read.
    Whole,
    /// The beginning of a packet; what is there is good, as far as it can be read.
    Cut,
    /// As long as it should be, but its end is zeros: space that a mirror set aside and did not fill.
    Unfilled,
    /// Something in it is not what its sender wrote.
    Damaged,
    /// Intact, but this version does not take it.
    Refused,
    /// No packet.
    NoPacket,
    /// It cannot be read.
    Unreadable,
}

/// Whether what the signature covers can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Content {
    /// It is not sealed.
    Clear,
    /// The given keys opened it.
    Opened,
    /// It is sealed, and no key that opens it was given.
    Sealed,
    /// It was not tried: too little is there, or its signature is not good.
    NotReached,
    /// It could not be read: `reject` says why.
    Failed,
}

/// The end of the file, against the one its header announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EndMarker {
    There,
    Missing,
    Zeros,
    Wrong,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct EndpointReport {
    pub(super) id: String,
    /// `None`: unknown (all zeros).
    pub(super) incarnation: Option<String>,
    /// Who that is, as far as a configuration tells.
    pub(super) name: Option<String>,
}

/// What the header says.
#[derive(Debug, Clone, Serialize)]
pub(super) struct HeaderReport {
    pub(super) version: String,
    pub(super) suite: &'static str,
    pub(super) suite_number: u16,
    pub(super) flags: u16,
    pub(super) sender: EndpointReport,
    pub(super) recipient: EndpointReport,
    pub(super) packet_number: u64,
    /// RFC 3339, by the sender's clock.
    pub(super) sent_at: String,
    pub(super) sent_at_ms: i64,
    pub(super) total_bytes: u64,
    pub(super) frame_count: u32,
    pub(super) signing_key: Option<String>,
    pub(super) kem_key: Option<String>,
    pub(super) salt: String,
    /// Whether the file's name says the same packet number; `None` if it is no name of a packet.
    pub(super) name_agrees: Option<bool>,
}

/// How many frames are how.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Frames {
    pub(super) count: u64,
    pub(super) verified: u64,
    pub(super) unknown: u64,
    pub(super) cut: u64,
    pub(super) missing: u64,
    pub(super) unfilled: u64,
    pub(super) bad: u64,
    pub(super) malformed: u64,
    /// Stored bytes of the frames that verified.
    pub(super) verified_bytes: u64,
    pub(super) list: Vec<Frame>,
}

impl Frames {
    pub(super) fn add(&mut self, frame: Frame) {
        let (count, good) = match frame.state {
            FrameState::Verified => (&mut self.verified, true),
            FrameState::Unknown => (&mut self.unknown, true),
            FrameState::Cut => (&mut self.cut, false),
            FrameState::Missing => (&mut self.missing, false),
            FrameState::Unfilled => (&mut self.unfilled, false),
            FrameState::Bad => (&mut self.bad, false),
            FrameState::Malformed => (&mut self.malformed, false),
        };
        *count += 1;
        self.verified_bytes += if good { frame.stored_bytes.into() } else { 0 };
        self.count += 1;
        self.list.push(frame);
    }
}

/// Everything that is said of a file.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    pub(super) file: String,
    pub(super) verdict: Verdict,
    /// The first check that fails, by its name in metrics and logs.
    pub(super) reject: Option<&'static str>,
    /// What is wrong or worth knowing, for people.
    pub(super) findings: Vec<String>,
    pub(super) bytes: Option<u64>,
    pub(super) header: Option<HeaderReport>,
    pub(super) parts: Vec<Part>,
    /// Where the file ends before its time.
    pub(super) cut: Option<Place>,
    /// Where the zeros begin that the file ends with.
    pub(super) zeros: Option<Place>,
    pub(super) end_marker: Option<EndMarker>,
    /// Bytes after the packet's end.
    pub(super) trailing_bytes: u64,
    /// Bytes of padding that are not zero, as far as padding can be found.
    pub(super) padding_not_zero: u64,
    pub(super) origin: Option<Origin>,
    pub(super) content: Content,
    pub(super) control: Option<ControlReport>,
    pub(super) frames: Option<Frames>,
    /// Files written by `--extract`.
    pub(super) extracted: Vec<String>,
}

impl Report {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            file: path.to_string_lossy().into_owned(),
            verdict: Verdict::Whole,
            reject: None,
            findings: Vec::new(),
            bytes: None,
            header: None,
            parts: Vec::new(),
            cut: None,
            zeros: None,
            end_marker: None,
            trailing_bytes: 0,
            padding_not_zero: 0,
            origin: None,
            content: Content::NotReached,
            control: None,
            frames: None,
            extracted: Vec::new(),
        }
    }

    pub(super) fn say(&mut self, finding: impl Into<String>) {
        self.findings.push(finding.into());
    }

    /// Keeps the first check that failed.
    pub(super) fn failed(&mut self, reject: Reject) {
        self.reject.get_or_insert(reject.name());
    }

    pub(super) fn end(&mut self, verdict: Verdict, reject: Option<Reject>, finding: impl Into<String>) {
        self.verdict = verdict;
        self.reject = self.reject.or(reject.map(Reject::name));
        self.say(finding);
    }

    /// What all of it comes to, for a file with a good header.
    pub(super) fn judge(&mut self) {
        let origin = self.origin.as_ref().map(|origin| origin.result);
        let vouched = matches!(origin, Some(OriginResult::Verified | OriginResult::OutOfTime | OriginResult::Unproven));
        let bad_frames = self.frames.as_ref().map_or(0, |frames| frames.bad + frames.malformed + frames.unfilled);
        let altered = self.padding_not_zero > 0 || self.trailing_bytes > 0 || self.end_marker == Some(EndMarker::Wrong);
        self.verdict = if self.end_marker == Some(EndMarker::Zeros) {
            Verdict::Unfilled
        } else if origin == Some(OriginResult::Bad) {
            Verdict::Damaged
        } else if self.content == Content::Failed {
            if vouched { Verdict::Refused } else { Verdict::Damaged }
        } else if bad_frames > 0 || altered {
            Verdict::Damaged
        } else if self.end_marker == Some(EndMarker::Missing) {
            Verdict::Cut
        } else {
            Verdict::Whole
        };
    }

    /// Records by kind in the frames that verified.
    pub(super) fn kinds(&self) -> BTreeMap<&'static str, u64> {
        let mut kinds = BTreeMap::new();
        for (kind, count) in self.frames.iter().flat_map(|frames| &frames.list).flat_map(|frame| &frame.kinds) {
            *kinds.entry(*kind).or_default() += count;
        }
        kinds
    }
}
