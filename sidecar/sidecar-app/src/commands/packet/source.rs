//! A file that is looked at: opened without following links or waiting, read in pieces, never trusted to keep its length.
//!
//! Invariants: nothing but a regular file is read; opening never blocks on a pipe and never follows the last link of a
//! name; what is read at once is bounded by the caller. It does not interpret what it reads. Test: `../tests/files.rs`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, SeekFrom};

/// Bytes that are read at once when looking for zeros.
const PIECE: u64 = 1 << 20;
/// Bytes for which the file system is asked at once whether they were ever written.
const HOLE: u64 = 1 << 30;

/// Why a file was not opened.
#[derive(Debug)]
pub(super) enum NotOpened {
    /// It is something else than a file: what.
    NotRegular(&'static str),
    /// The file system refused.
    Io(io::Error),
}

impl From<io::Error> for NotOpened {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A regular file.
#[derive(Debug)]
pub(super) struct PacketFile {
    file: File,
    len: u64,
}

impl PacketFile {
    pub(super) fn open(path: &Path) -> Result<Self, NotOpened> {
        // The name is looked at first: opening a device may already do something.
        regular(&std::fs::symlink_metadata(path)?)?;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).unwrap_or(0);
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let facts = file.metadata()?;
        regular(&facts)?;
        Ok(Self { file, len: facts.len() })
    }

    /// Length when it was opened.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Reads from `at` until `buf` is full or the file ends; how much.
    pub(super) fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.file.read_at(&mut buf[done..], at + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// The bytes [at, at + len), or as many of them as there are. For lengths that the format bounds.
    pub(super) fn bytes(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let there = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(there)];
        let read = self.read_at(at, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// From where on all bytes before `end` are zeros; `end` if the last one is not.
    pub(super) fn zeros_from(&self, end: u64) -> io::Result<u64> {
        let mut end = end.min(self.len);
        let mut piece = Vec::new();
        while end > 0 {
            if end.is_multiple_of(HOLE) && self.hole(end - HOLE, end) {
                end -= HOLE;
                continue;
            }
            let at = (end - 1) / PIECE * PIECE;
            if !self.hole(at, end) {
                piece.resize(usize::try_from(end - at).unwrap_or(0), 0);
                let read = self.read_at(at, &mut piece)?;
                if let Some(last) = piece[..read].iter().rposition(|byte| *byte != 0) {
                    return Ok(at + last as u64 + 1);
                }
            }
            end = at;
        }
        Ok(0)
    }

    /// Whether the file system says that nothing was ever written there. Any other answer means that it has to be read.
    fn hole(&self, at: u64, end: u64) -> bool {
        match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
            Ok(data) => data >= end,
            Err(error) => error == rustix::io::Errno::NXIO,
        }
    }
}

fn regular(facts: &std::fs::Metadata) -> Result<(), NotOpened> {
    let kind = facts.file_type();
    let what = if kind.is_file() {
        return Ok(());
    } else if kind.is_symlink() {
        "a link (links are not followed: name the file itself)"
    } else if kind.is_dir() {
        "a folder (name the files in it)"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(NotOpened::NotRegular(what))
}
