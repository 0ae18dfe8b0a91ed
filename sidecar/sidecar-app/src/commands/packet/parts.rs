//! The parts a packet consists of, and which of them a byte of its file belongs to.
//!
//! Invariant: the parts follow each other without gap from byte 0 to `total_len`; which frame a byte is in is said only
//! where the frame table could be read. Specification: wire format §2. Test: `../tests/cuts.rs`.

use serde::Serialize;
use wire::Header;
use wire::header::{END_MARKER_LEN, HEADER_LEN};

/// A part and what the file has of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Part {
    pub(super) part: &'static str,
    /// Where it begins, in bytes.
    pub(super) at: u64,
    pub(super) bytes: u64,
    /// Bytes of it that the file is long enough for.
    pub(super) present: u64,
}

/// A place in a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Place {
    /// Byte of the file.
    pub(super) at: u64,
    pub(super) part: &'static str,
    /// Bytes of that part (or frame) that lie before it.
    pub(super) into: u64,
    /// Index of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) frame: Option<u32>,
}

/// The parts of a packet of which the file has `len` bytes.
pub(super) fn parts(header: &Header, len: u64) -> Vec<Part> {
    let layout = header.layout();
    let end_at = header.total_len - END_MARKER_LEN as u64;
    let bounds = [
        ("header", 0),
        ("ext", HEADER_LEN as u64),
        ("kem_ciphertext", layout.ct_at as u64),
        ("control", layout.control_at as u64),
        ("table", layout.table_at as u64),
        ("seal_tag", layout.table_end as u64),
        ("signature", layout.sig_at as u64),
        ("signature_pad", layout.sig_end as u64),
        ("frames", layout.frames_at as u64),
        ("end_marker", end_at),
        ("", header.total_len),
    ];
    let part = |pair: &[(&'static str, u64)]| match pair {
        [(part, at), (_, next)] => {
            let bytes = next.saturating_sub(*at);
            Part { part, at: *at, bytes, present: len.saturating_sub(*at).min(bytes) }
        }
        _ => Part { part: "", at: 0, bytes: 0, present: 0 },
    };
    bounds.windows(2).map(part).collect()
}

/// Where byte `at` is; `frames` says where frames begin, if that is known.
pub(super) fn place(parts: &[Part], frames: &[u64], at: u64) -> Option<Place> {
    let part = parts.iter().find(|part| (part.at..part.at + part.bytes).contains(&at))?;
    let index = frames.partition_point(|begin| *begin <= at).checked_sub(1).filter(|_| part.part == "frames");
    let (frame, begin) = match index.and_then(|index| Some((u32::try_from(index).ok()?, *frames.get(index)?))) {
        Some((index, begin)) => (Some(index), begin),
        None => (None, part.at),
    };
    Some(Place { at, part: part.part, into: at - begin, frame })
}

impl Place {
    /// For people.
    pub(super) fn words(&self) -> String {
        let Self { at, into, .. } = self;
        let part = match self.frame {
            Some(index) => format!("frame {index}"),
            None => match self.part {
                "ext" => "the ext block".to_owned(),
                "kem_ciphertext" => "the KEM ciphertext".to_owned(),
                "control" => "the control block".to_owned(),
                "table" => "the frame table".to_owned(),
                "seal_tag" => "the seal's tag".to_owned(),
                "signature_pad" => "the padding of the signature".to_owned(),
                "end_marker" => "the end marker".to_owned(),
                other => format!("the {other}"),
            },
        };
        format!("byte {at}, {into} bytes into {part}")
    }
}
