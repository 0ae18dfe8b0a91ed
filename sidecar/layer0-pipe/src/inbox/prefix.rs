//! Reading one file up to its frames: checks 1 to 17 in their order.
//!
//! Invariants: the header is read and judged before anything is allocated; the prefix is read only when the file
//! really has it; nothing changes and nothing is answered for a file that fails before its signature verified.
//! What this file does not do: remember or remove files, read frames, or judge associations.
//! Specification: wire format §11. Read first: the tests in `inbox/tests/hostile.rs`.

use std::io;
use std::time::Duration;

use disk::dir::ReadFile;
use identity::{FrameOpener, open_prefix, verify_prefix};
use wire::header::HEADER_LEN;
use wire::table::{FrameEntry, check_table};
use wire::{Control, Header, Reject};

use super::local::{Local, owner};
use super::numbers::{Known, Memory, PacketKey, Status};

/// What the checks need to know besides the file.
pub(crate) struct Context<'a> {
    pub(crate) locals: &'a [Local],
    pub(crate) memory: &'a Memory,
    /// Monotonic time.
    pub(crate) now: Duration,
    /// Unix time in milliseconds, for the validity of pinned keys.
    pub(crate) unix_ms: i64,
    /// Whether this very file was closed as partial before and its re-check is due.
    pub(crate) revisit: bool,
}

/// What a look at a file found.
#[derive(Debug)]
pub(crate) enum Look {
    /// Not usable yet; final once the file is quiet.
    Wait(Reject),
    /// Never usable.
    Junk(Reject),
    /// Nothing new can come from it: `pn_floor`, `pn_closed` or `incarnation_stale`.
    Closed(Reject),
    /// A copy of a presence packet that was shown.
    ShownBefore(PacketKey),
    /// A copy of a cut file that is not longer than that one yet.
    Repeats,
    /// A second packet of the same number with a good signature.
    Forked(Box<Header>),
    /// Genuine, but rejected by checks 14 to 17.
    Unopenable(Box<Header>, Reject),
    /// Genuine.
    Verified(Box<Verified>),
}

/// A packet whose prefix passed all checks.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) header: Header,
    pub(crate) control: Control,
    pub(crate) presence: bool,
    pub(crate) table: Table,
}

/// Where the frames of a packet are and how they open.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) entries: Vec<FrameEntry>,
    pub(crate) offsets: Vec<u64>,
    pub(crate) opener: FrameOpener,
}

impl Table {
    /// Where a frame ends in the file, without its pad.
    pub(crate) fn end_of(&self, index: u32) -> Option<u64> {
        let entry = self.entries.get(index as usize)?;
        self.offsets.get(index as usize)?.checked_add(u64::from(entry.stored_len))
    }
}

/// Looks at a file. `read` grows by the bytes read from it.
pub(crate) fn look(context: &Context<'_>, file: &dyn ReadFile, read: &mut u64) -> io::Result<Look> {
    let len = file.len();
    let mut head = [0; HEADER_LEN];
    if len < HEADER_LEN as u64 || !fill(file, &mut head, read)? {
        return Ok(Look::Wait(Reject::Short));
    }
    let accepts = |header: &Header| owner(context.locals, &header.recipient).is_none_or(|local| local.accepts(header));
    let header = match Header::parse_accepting(&head, accepts) {
        Ok(header) => header,
        Err(reject) => return Ok(early(reject)),
    };
    let Some(local) = owner(context.locals, &header.recipient) else {
        return Ok(Look::Junk(Reject::Recipient));
    };
    let known = match judge_unverified(context, local, &header, len) {
        Ok(known) => known,
        Err(look) => return Ok(look),
    };
    let frames_at = header.frames_at as usize;
    if len < u64::from(header.frames_at) {
        return Ok(Look::Wait(Reject::PrefixCut));
    }
    let mut prefix = vec![0; frames_at];
    if !fill(file, &mut prefix, read)? {
        return Ok(Look::Wait(Reject::PrefixCut));
    }
    if let Err(reject) = verify_prefix(&header, &prefix, &local.peer_keys) {
        return Ok(early(reject));
    }
    if known == Known::Twin {
        return Ok(Look::Forked(Box::new(header)));
    }
    Ok(match open(local, &header, &prefix) {
        Ok(verified) => Look::Verified(Box::new(verified)),
        Err(reject) if reject.waits() => Look::Wait(reject),
        Err(reject) => Look::Unopenable(Box::new(header), reject),
    })
}

/// Checks 6 to 9, on bytes nobody vouches for yet: they only drop.
fn judge_unverified(context: &Context<'_>, local: &Local, header: &Header, len: u64) -> Result<Known, Look> {
    if context.locals.iter().any(|local| local.owns(&header.sender)) {
        return Err(Look::Junk(Reject::Reflected));
    }
    if header.suite().is_ok_and(|suite| suite.signed()) {
        local.peer_keys.check_signing_key(header.signing_key, context.unix_ms).map_err(Look::Junk)?;
    }
    let key = PacketKey::of(header);
    let known = context.memory.known(&key, &header.salt, local.is_presence(&header.recipient), context.now);
    match known {
        Known::Stale => Err(Look::Closed(Reject::IncarnationStale)),
        Known::BelowFloor => Err(Look::Closed(Reject::PnFloor)),
        Known::Closed if context.memory.is_shown(&key) => Err(Look::ShownBefore(key)),
        Known::Closed => Err(Look::Closed(Reject::PnClosed)),
        Known::Unfinished if !context.revisit && repeats_a_cut_file(context.memory, &key, header, len) => {
            Err(Look::Repeats)
        }
        Known::Unfinished | Known::New | Known::Twin => Ok(known),
    }
}

/// Whether the packet was closed because its file was cut, and this file is not longer than that one.
fn repeats_a_cut_file(memory: &Memory, key: &PacketKey, header: &Header, len: u64) -> bool {
    memory.get(key).is_some_and(|packet| {
        packet.status == Status::Partial && packet.longest < header.total_len && len <= packet.longest
    })
}

/// Checks 14 to 17.
fn open(local: &Local, header: &Header, prefix: &[u8]) -> Result<Verified, Reject> {
    let presence = local.is_presence(&header.recipient);
    let opened = open_prefix(local.identity.as_deref(), header, prefix)?;
    let control = Control::decode(&opened.control, presence)?;
    if presence && header.frame_count > 0 {
        return Err(Reject::ControlScope);
    }
    control.check_endpoint(&local.remote_side, &header.sender)?;
    let tag_len = header.suite().map_or(0, |suite| suite.tag_len());
    let offsets = check_table(&opened.entries, header.frames_at, header.total_len, tag_len)?;
    let table = Table { entries: opened.entries, offsets, opener: opened.frames };
    Ok(Verified { header: header.clone(), control, presence, table })
}

fn early(reject: Reject) -> Look {
    // A prefix whose header changed between two reads is being written.
    if reject.waits() { Look::Wait(reject) } else { Look::Junk(reject) }
}

/// Reads from the start until `buf` is full; false if the file is shorter.
fn fill(file: &dyn ReadFile, buf: &mut [u8], read: &mut u64) -> io::Result<bool> {
    let got = file.read_at(0, buf)?;
    *read += got as u64;
    Ok(got == buf.len())
}
