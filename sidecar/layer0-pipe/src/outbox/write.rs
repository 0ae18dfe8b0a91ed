//! Writing one packet: the table first, then prefix, frames and end marker in one pass.
//!
//! Invariants: one frame is in memory at a time; batches are built from the log again when keeping them would cost
//! too much, and sealing compares each frame with the signed table, so a log that changed meanwhile is noticed.
//! What this file does not do: choose the path. Specification: wire format §2, §5 "Writing order", §6 GREASE.
//! Read first: `a_packet_of_60_mb_needs_memory_for_one_frame`.

use std::io::{self, Write};

use bytes::Bytes;
use disk::dir::TempFile;
use identity::{BuiltPrefix, PrefixInput, SealError, build_prefix};
use wire::digest::sha256;
use wire::header::{align8_usize, end_marker};
use wire::limits::MAX_GREASE_LEN;
use wire::record::{Record, batch_entry, encode_batch};
use wire::table::{self, FrameEntry};
use wire::{Control, EndpointId};

use super::{Outbox, PacketPlan, Payloads, PlannedRecord, PublishError};
use crate::framing::{Frame, arrange};
use crate::limits::{BATCHES_KEPT_BYTES, GREASE_ONE_IN};

/// A packet whose prefix is built and whose frames are still to be written.
pub(super) struct Draft<'a> {
    plan: &'a PacketPlan,
    frames: Vec<PlannedFrame>,
    prefix: BuiltPrefix,
    tag_len: usize,
}

struct PlannedFrame {
    frame: Frame,
    entry: FrameEntry,
    /// Clear bytes of a small batch.
    kept: Option<Bytes>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(outbox: &Outbox, plan: &'a PacketPlan, payloads: &dyn Payloads) -> Result<Self, PublishError> {
        let suite = outbox.options.suite;
        let tag_len = suite.tag_len();
        let arranged = arrange(&plan.records, outbox.options.frame_bytes)
            .map_err(|_| PublishError::Plan("it needs more than 65,536 frames"))?;
        let mut frames = Vec::with_capacity(arranged.len());
        let mut kept_bytes = 0;
        for frame in arranged {
            let planned = match &frame {
                Frame::Chunk(index) => {
                    let entry = chunk_entry(record(plan, *index)?, tag_len)?;
                    PlannedFrame { frame, entry, kept: None }
                }
                Frame::Batch(members) => {
                    let (clear, entry) = batch(plan, members, payloads, tag_len)?;
                    let keep = kept_bytes + clear.len() <= BATCHES_KEPT_BYTES;
                    kept_bytes += if keep { clear.len() } else { 0 };
                    PlannedFrame { frame, entry, kept: keep.then(|| Bytes::from(clear)) }
                }
            };
            frames.push(planned);
        }
        let entries: Vec<FrameEntry> = frames.iter().map(|frame| frame.entry.clone()).collect();
        let control = encode_control(&plan.control, outbox.options.grease)?;
        let input = PrefixInput {
            suite,
            sender: plan.sender,
            recipient: plan.recipient,
            sender_incarnation: plan.sender_incarnation,
            recipient_incarnation: plan.recipient_incarnation,
            pn: plan.pn,
            sent_at_ms: plan.sent_at_ms,
            ext: &[],
            control: &control,
            entries: &entries,
        };
        let prefix = build_prefix(outbox.identity.as_deref(), &outbox.peer, &input)?;
        Ok(Self { plan, frames, prefix, tag_len })
    }

    pub(super) const fn frame_count(&self) -> usize {
        self.frames.len()
    }

    /// Writes the file and publishes it at `path`; with `direct` it is visible while it is written.
    pub(super) fn write(
        &self,
        outbox: &Outbox,
        payloads: &dyn Payloads,
        path: &str,
        direct: bool,
    ) -> Result<u64, PublishError> {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut made_folders = false;
        let mut file = match open(outbox, path, direct) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                outbox.dir.create_dirs(folder).map_err(folder_error)?;
                made_folders = true;
                open(outbox, path, direct)
            }
            result => result,
        }
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists if direct => PublishError::Exists { path: path.to_owned() },
            _ => folder_error(error),
        })?;
        file.write_all(&self.prefix.bytes).map_err(folder_error)?;
        for (index, planned) in (0u64..).zip(&self.frames) {
            let mut bytes = self.clear(planned, payloads)?;
            self.prefix.frames.seal(index, &planned.entry, &mut bytes).map_err(|error| match error {
                SealError::Frame { .. } => damaged(planned.entry.seq),
                _ => PublishError::Seal(error),
            })?;
            bytes.resize(align8_usize(bytes.len()), 0);
            file.write_all(&bytes).map_err(folder_error)?;
        }
        file.write_all(&end_marker(&self.prefix.salt)).map_err(folder_error)?;
        file.flush().map_err(folder_error)?;
        publish(outbox, file, path, folder, made_folders)?;
        Ok(self.prefix.total_len)
    }

    fn clear(&self, planned: &PlannedFrame, payloads: &dyn Payloads) -> Result<Vec<u8>, PublishError> {
        let room = planned.entry.stored_len as usize + 8;
        match (&planned.kept, &planned.frame) {
            (Some(kept), _) => Ok(with_room(kept, room)),
            (None, Frame::Batch(members)) => batch(self.plan, members, payloads, self.tag_len).map(|(clear, _)| clear),
            (None, Frame::Chunk(index)) => {
                let payload = payload(payloads, self.plan.recipient, record(self.plan, *index)?)?;
                Ok(with_room(&payload, room))
            }
        }
    }
}

fn with_room(bytes: &[u8], room: usize) -> Vec<u8> {
    let mut copy = Vec::with_capacity(room.max(bytes.len()));
    copy.extend_from_slice(bytes);
    copy
}

fn open(outbox: &Outbox, path: &str, direct: bool) -> io::Result<Box<dyn TempFile>> {
    if direct { outbox.dir.create_direct(path) } else { outbox.dir.create_temp(path) }
}

fn publish(
    outbox: &Outbox,
    mut file: Box<dyn TempFile>,
    path: &str,
    folder: &str,
    made_folders: bool,
) -> Result<(), PublishError> {
    let syncs = outbox.syncs();
    if syncs {
        file.sync().map_err(folder_error)?;
    }
    file.publish_noreplace(path).map_err(|error| match error {
        disk::dir::PublishError::Exists => PublishError::Exists { path: path.to_owned() },
        disk::dir::PublishError::Io(error) => folder_error(error),
    })?;
    if syncs {
        // From here on the packet is visible: a failing sync must not make it look unpublished.
        let mut at = Some(folder);
        while let Some(folder) = at {
            if let Err(error) = outbox.dir.sync_dir(folder) {
                tracing::warn!(folder, %error, "a published packet's folder could not be synced");
            }
            at = if made_folders && !folder.is_empty() {
                Some(folder.rsplit_once('/').map_or("", |(above, _)| above))
            } else {
                None
            };
        }
    }
    Ok(())
}

fn folder_error(error: io::Error) -> PublishError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            PublishError::Full(error)
        }
        _ => PublishError::Io(error),
    }
}

fn record(plan: &PacketPlan, index: usize) -> Result<&PlannedRecord, PublishError> {
    plan.records.get(index).ok_or(PublishError::Plan("a frame names a record that is not planned"))
}

fn chunk_entry(record: &PlannedRecord, tag_len: usize) -> Result<FrameEntry, PublishError> {
    let head = &record.head;
    head.check().map_err(|_| PublishError::Plan("a record's header is malformed"))?;
    Ok(FrameEntry {
        stored_len: head.stored_len.saturating_add(u32::try_from(tag_len).unwrap_or(u32::MAX)),
        raw_len: head.raw_len,
        kind: table::CHUNK,
        flags: head.flags,
        stream: head.stream.get(),
        seq: head.seq.get(),
        offset: head.offset,
        digest: record.pd,
    })
}

fn payload(payloads: &dyn Payloads, recipient: EndpointId, record: &PlannedRecord) -> Result<Bytes, PublishError> {
    let seq = record.head.seq.get();
    let failed = |source| PublishError::Payload { seq, source };
    let payload = payloads.payload(recipient, &record.head).map_err(failed)?;
    if payload.len() != record.head.stored_len as usize {
        let source = io::Error::new(io::ErrorKind::InvalidData, "its length is not what its header says");
        return Err(failed(source));
    }
    Ok(payload)
}

fn damaged(seq: u64) -> PublishError {
    let source = io::Error::new(io::ErrorKind::InvalidData, "its digest is not the one it was stored with");
    PublishError::Payload { seq, source }
}

fn batch(
    plan: &PacketPlan,
    members: &[usize],
    payloads: &dyn Payloads,
    tag_len: usize,
) -> Result<(Vec<u8>, FrameEntry), PublishError> {
    let mut records = Vec::with_capacity(members.len());
    for index in members {
        let planned = record(plan, *index)?;
        let payload = payload(payloads, plan.recipient, planned)?;
        // A chunk is compared with its table entry when it is sealed; here nobody else would notice.
        if sha256(&[&payload]) != planned.pd {
            return Err(damaged(planned.head.seq.get()));
        }
        records.push(Record { head: planned.head, payload });
    }
    let mut clear = Vec::new();
    encode_batch(&records, &mut clear).map_err(|_| PublishError::Plan("a record's header is malformed"))?;
    let entry = batch_entry(&records, &clear, tag_len);
    Ok((clear, entry))
}

/// The control block, now and then with a TLV that has no meaning, so that readers stay tolerant.
fn encode_control(control: &Control, grease: bool) -> Result<Vec<u8>, PublishError> {
    let mut random = [0u8; 3 + MAX_GREASE_LEN];
    // Without randomness there is no grease: nothing depends on it.
    if grease && getrandom::fill(&mut random).is_ok() && random[0] % GREASE_ONE_IN == 0 {
        let len = usize::from(random[1]) % (MAX_GREASE_LEN + 1);
        let value = random.get(3..3 + len).unwrap_or_default();
        return Ok(control.encode_with_grease(u64::from(random[2]), value));
    }
    Ok(control.encode())
}
