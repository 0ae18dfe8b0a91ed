//! Writing out the bodies in a packet, for programs that scan files.
//!
//! A body is a run of DATA records of one stream without a gap; a packet may hold a part of one only. Each run becomes a file
//! `<prefix>-stream-<id>-offset-<offset>.body`, where the offset is that of the stream, its HEAD included.
//! Invariants: only frames that verify give anything; a file that exists is left alone and ends the run; what is written is
//! bounded, compressed or not; one frame is in memory at a time. Test: `tests/extracting.rs`.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use wire::record::{Record, kind};

use super::look::Readable;

/// DATA records of one packet that are written out, at most: what is remembered of each is small, but not nothing.
const RECORDS_MAX: usize = 1_000_000;
/// Files of one packet, at most.
const FILES_MAX: usize = 10_000;

/// A DATA record: its place in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    stream: u64,
    offset: u64,
    len: u64,
}

/// A run of pieces without a gap.
#[derive(Debug)]
struct Run {
    stream: u64,
    offset: u64,
    end: u64,
}

/// Writes the bodies of a packet into `folder`, `bytes_max` bytes in all at most; the files written.
pub(super) fn extract(readable: &Readable, prefix: &str, folder: &Path, bytes_max: u64) -> Result<Vec<PathBuf>> {
    let mut pieces = Vec::new();
    each(readable, &mut |record| {
        let piece = piece(record);
        if pieces.len() == RECORDS_MAX {
            bail!("it holds more than {RECORDS_MAX} DATA records");
        }
        pieces.push(piece);
        Ok(())
    })?;
    pieces.sort_unstable();
    let runs = runs(&pieces);
    let bytes: u64 = runs.iter().fold(0, |sum, run| sum.saturating_add(run.end - run.offset));
    if bytes > bytes_max {
        bail!("its bodies have {bytes} bytes, and no more than {bytes_max} are written (--extract-max)");
    }
    if runs.len() > FILES_MAX {
        bail!("it holds pieces of more than {FILES_MAX} bodies");
    }
    let mut paths = Vec::new();
    for run in &runs {
        let path = folder.join(format!("{prefix}-stream-{}-offset-{}.body", run.stream, run.offset));
        let made = OpenOptions::new().write(true).create_new(true).open(&path);
        made.with_context(|| format!("{} cannot be made (what exists is not overwritten)", path.display()))?;
        paths.push(path);
    }
    // In the order of the file, each frame once; one file is open at a time.
    let mut open: Option<(usize, File)> = None;
    each(readable, &mut |record| {
        let piece = piece(record);
        let at = runs.partition_point(|run| (run.stream, run.offset) <= (piece.stream, piece.offset)).checked_sub(1);
        let (Some(index), Some(run), Some(path)) =
            (at, at.and_then(|at| runs.get(at)), at.and_then(|at| paths.get(at)))
        else {
            bail!("the file changed while it was read");
        };
        if run.stream != piece.stream || piece.offset + piece.len > run.end {
            bail!("the file changed while it was read");
        }
        let unwritten = || format!("{} cannot be written", path.display());
        let file = match open.take() {
            Some((was, file)) if was == index => file,
            _ => OpenOptions::new().write(true).open(path).with_context(unwritten)?,
        };
        file.write_all_at(&raw(record)?, piece.offset - run.offset).with_context(unwritten)?;
        open = Some((index, file));
        Ok(())
    })?;
    Ok(paths)
}

/// Every DATA record that verifies, in the order of the file.
fn each(readable: &Readable, take: &mut dyn FnMut(&Record) -> Result<()>) -> Result<()> {
    for index in 0..readable.table.entries.len() {
        let Some((_, records, _)) = readable.table.read(&readable.file, index)? else { break };
        for record in records.iter().filter(|record| record.head.kind == kind::DATA && record.head.is_known()) {
            take(record)?;
        }
    }
    Ok(())
}

fn piece(record: &Record) -> Piece {
    let head = &record.head;
    Piece { stream: head.stream.get(), offset: head.offset, len: head.raw_len.into() }
}

/// The content as its sender had it.
fn raw(record: &Record) -> Result<Bytes> {
    if !record.head.is_compressed() {
        return Ok(record.payload.clone());
    }
    layer0_pipe::inflate(&record.payload, record.head.raw_len)
        .with_context(|| format!("record {} of stream {}", record.head.seq, record.head.stream))
}

/// Runs of sorted pieces. A record that is there twice, or overlaps another, is in one run with it.
fn runs(pieces: &[Piece]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for piece in pieces {
        let end = piece.offset + piece.len;
        match runs.last_mut() {
            Some(run) if run.stream == piece.stream && piece.offset <= run.end => run.end = run.end.max(end),
            _ => runs.push(Run { stream: piece.stream, offset: piece.offset, end }),
        }
    }
    runs
}
