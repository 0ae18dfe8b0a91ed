//! A folder as the rooms above see it: the trait [`Dir`] and its two backings, [`StdDir`] and [`MemDir`].
//!
//! Invariants: every path is relative to one root and can never leave it, no operation follows a link below
//! the root, an existing name is never replaced, and no handle outlives the call or the value that shows it.
//! It does not interpret names or contents, and it does not retry: what a failure means is the caller's policy.
//! Method of working against a mirrored folder: open, read, close; a long-lived handle on a network share
//! serves a stale view. Read `dir/conformance.rs` first: every backing passes it.

mod error;
mod mem_dir;
mod path;
mod publish;
mod std_dir;
mod temp_file;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;

pub use error::DirError;
pub use mem_dir::MemDir;
pub use std_dir::{CHECK_BEGIN, StdDir};

pub(crate) use publish::rename_noreplace_at;
pub(crate) use std_dir::read_full_at;

use std::io::{self, Write};

/// The most entries [`Dir::list`] returns.
pub const LIST_ENTRIES_MAX: usize = 1 << 20;

/// What a name in a folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A link, socket, pipe or device: never opened.
    Other,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name, without its folder.
    pub name: String,
    /// What the name stands for.
    pub kind: EntryKind,
    /// Length in bytes of a regular file, 0 for everything else.
    pub len: u64,
}

/// One name of a [`Page`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageEntry {
    /// The name, without its folder.
    pub name: String,
    /// What the name stands for.
    pub kind: EntryKind,
    /// Length in bytes of a regular file, where it was asked for or is known anyway.
    pub len: Option<u64>,
}

/// A part of a folder; see [`Dir::list_page`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The names, in no particular order.
    pub entries: Vec<PageEntry>,
    /// Where the next page begins; `None` at the end of the folder.
    pub next: Option<u64>,
}

/// Why a file was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The name is taken; what it holds was left alone.
    #[error("a file of that name exists already")]
    Exists,
    /// The folder refused; nothing was published.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A regular file opened for reading.
// A file is not a collection: its length alone is asked for.
#[allow(clippy::len_without_is_empty)]
pub trait ReadFile: Send {
    /// Length in bytes when the file was opened.
    fn len(&self) -> u64;

    /// Reads at `offset` until `buf` is full or the file ends, and returns the number of bytes read: fewer
    /// than asked only at the end of the file.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// As [`Self::read_at`], into memory of its own that is not filled with zeros first where that can be spared: for a frame
    /// that costs as much as a tenth of verifying it.
    ///
    /// # Errors
    /// As [`Self::read_at`].
    fn read_vec(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let got = self.read_at(offset, &mut bytes)?;
        bytes.truncate(got);
        Ok(bytes)
    }
}

/// A file being written that nobody sees under its final name yet. Dropping it removes it.
pub trait TempFile: Write + Send {
    /// Makes what was written durable (not its name: see [`Dir::sync_dir`]).
    ///
    /// # Errors
    /// Whatever the file system reports. The contents must then be given up: asking again may lie.
    fn sync(&mut self) -> io::Result<()>;

    /// Gives the file its final name, whose folder must exist, and never replaces an existing one.
    ///
    /// # Errors
    /// [`PublishError::Exists`] if the name is taken, else [`PublishError::Io`]; the temporary file is
    /// removed in both cases.
    fn publish_noreplace(self: Box<Self>, path: &str) -> Result<(), PublishError>;
}

/// A folder and everything below it.
///
/// Paths are relative to the root, separated by `/`, with no empty, `.` or `..` part, no leading `/` and no
/// NUL; `""` is the root itself. Any other path is refused with [`io::ErrorKind::InvalidInput`]. All calls
/// block.
pub trait Dir: Send + Sync {
    /// Lists a folder in no particular order, up to [`LIST_ENTRIES_MAX`] entries.
    ///
    /// # Errors
    /// As [`Dir::list_limited`].
    fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        self.list_limited(path, LIST_ENTRIES_MAX)
    }

    /// Lists at most `max` entries of a folder in no particular order; exactly `max` means that there may be
    /// more. Names that are not UTF-8 are left out, as is what vanishes meanwhile.
    ///
    /// # Errors
    /// `NotFound` or `NotADirectory` for the folder, or whatever the file system reports.
    fn list_limited(&self, path: &str, max: usize) -> io::Result<Vec<DirEntry>>;

    /// Lists the next part of a folder: at most `max` names (at least one) from the place `from`, which is 0 or the
    /// `next` of the page before. Lengths are asked for only where `measured` says so, because each costs a call.
    /// In a folder that changes meanwhile a name may be shown twice or not at all until the next round.
    ///
    /// # Errors
    /// As [`Dir::list_limited`].
    fn list_page(&self, path: &str, from: u64, max: usize, measured: &dyn Fn(&str) -> bool) -> io::Result<Page> {
        let _ = measured; // these lengths are known anyway
        let skipped = usize::try_from(from).unwrap_or(usize::MAX);
        let end = skipped.saturating_add(max.max(1));
        let entries = self.list_limited(path, end)?;
        let next = (entries.len() >= end).then_some(end as u64);
        let part = entries.into_iter().skip(skipped);
        let entries = part.map(|entry| PageEntry {
            len: (entry.kind == EntryKind::File).then_some(entry.len),
            name: entry.name,
            kind: entry.kind,
        });
        Ok(Page { entries: entries.collect(), next })
    }

    /// When a file was last changed, by the clock of its file system, in seconds since 1970; `None` where that is not
    /// known. Clocks of file servers go wrong: it may tell old from new within one folder, and never an order.
    ///
    /// # Errors
    /// `NotFound`, or whatever the file system reports.
    fn modified_s(&self, path: &str) -> io::Result<Option<i64>> {
        let _ = path;
        Ok(None)
    }

    /// Opens, reads at `offset` until `buf` is full or the file ends, and closes: fewer bytes than asked
    /// only at the end of the file.
    ///
    /// # Errors
    /// As [`Dir::open_read`].
    fn read_at(&self, path: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.open_read(path)?.read_at(offset, buf)
    }

    /// Opens a regular file for reading, without following links and without waiting for a pipe's writer.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` ("not a regular file") for anything that is not a regular file.
    fn open_read(&self, path: &str) -> io::Result<Box<dyn ReadFile>>;

    /// Creates the temporary file for what shall be published as `near`: `.NAME.part` in the same folder,
    /// or in the temporary folder this backing was given. The folder of `near` must exist.
    ///
    /// # Errors
    /// `AlreadyExists` if such a temporary file is there (it is left alone), `NotFound` without the folder.
    fn create_temp(&self, near: &str) -> io::Result<Box<dyn TempFile>>;

    /// Creates a file under its final name at once, for folders that can neither rename nor link without
    /// replacing. Publish it under the same path; a reader may see it in pieces until then.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken, `NotFound` without the folder.
    fn create_direct(&self, path: &str) -> io::Result<Box<dyn TempFile>>;

    /// Creates a folder and those above it; existing ones are fine. Nothing is synced.
    ///
    /// # Errors
    /// `NotADirectory` if a part of the path is something else, a link included.
    fn create_dirs(&self, path: &str) -> io::Result<()>;

    /// Removes a file (or a link itself, never what it points to).
    ///
    /// # Errors
    /// `NotFound`, or whatever the file system reports; a folder is refused.
    fn remove_file(&self, path: &str) -> io::Result<()>;

    /// Removes a folder if it is empty, then the one above if that is empty, and so on below the root. A
    /// folder that is gone already counts as removed.
    ///
    /// # Errors
    /// Whatever the file system reports, except for a folder that is not empty: that one ends the work.
    fn remove_empty_dirs(&self, path: &str) -> io::Result<()>;

    /// Makes the names in a folder durable. Where the file system cannot, this does nothing.
    ///
    /// # Errors
    /// `NotFound`, or whatever the file system reports.
    fn sync_dir(&self, path: &str) -> io::Result<()>;

    /// Renames a file without replacing anything.
    ///
    /// # Errors
    /// [`PublishError::Exists`] if the new name is taken, else [`PublishError::Io`].
    fn rename_noreplace(&self, from: &str, to: &str) -> Result<(), PublishError>;

    /// Bytes this process may still write.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn free_space(&self) -> io::Result<u64>;

    /// True if the folder is on a network or user-space file system, or if that cannot be told.
    fn is_network(&self) -> bool;
}
