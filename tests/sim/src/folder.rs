//! A side's folder as one engine sees it: the shared folder in memory, with faults of its own and a record of what the engine
//! did.
//!
//! Invariants: a fault concerns calls, never what lies in the folder; what was published or removed is noted in order.
//! The mirror works on the folder beneath and meets no faults.

use std::io;
use std::sync::{Arc, Mutex};

use disk::dir::{Dir, DirEntry, MemDir, PublishError, ReadFile, TempFile};

use crate::faults::{Counts, Fault};
use crate::time::lock;

/// What an engine did in its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A file appeared under its final name.
    Published(String),
    /// A file was removed, which held so many octets.
    Removed(String, u64),
}

#[derive(Default)]
struct Notes {
    trouble: Option<Fault>,
    deeds: Vec<Deed>,
    met: Counts,
}

/// One engine's view of a folder. Clones share it.
#[derive(Clone)]
pub struct SimDir {
    inner: MemDir,
    notes: Arc<Mutex<Notes>>,
}

impl SimDir {
    /// A view of `inner` without faults.
    #[must_use]
    pub fn new(inner: MemDir) -> Self {
        Self { inner, notes: Arc::default() }
    }

    /// From now on calls fail so, or no longer.
    pub fn set_trouble(&self, trouble: Option<Fault>) {
        lock(&self.notes).trouble = trouble;
    }

    /// Whether a copy of this file lies beside it under a name that the mirror made up, whatever is wrong with the folder.
    #[must_use]
    pub fn has_copy(&self, path: &str) -> bool {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let stem = name.strip_suffix(".hft").unwrap_or(name);
        let entries = self.inner.list_limited(folder, usize::MAX).unwrap_or_default();
        entries.iter().any(|entry| entry.name != name && entry.name.starts_with(stem))
    }

    /// What was done since the last time, and the faults that calls met.
    #[must_use]
    pub fn take_deeds(&self) -> (Vec<Deed>, Counts) {
        let mut notes = lock(&self.notes);
        (std::mem::take(&mut notes.deeds), std::mem::take(&mut notes.met))
    }

    fn check(&self) -> io::Result<()> {
        let mut notes = lock(&self.notes);
        if notes.trouble == Some(Fault::FolderBroken) {
            notes.met.add(Fault::FolderBroken);
            return Err(io::Error::other("input/output error"));
        }
        Ok(())
    }

    fn check_space(&self) -> io::Result<()> {
        let mut notes = lock(&self.notes);
        if notes.trouble == Some(Fault::FolderFull) {
            notes.met.add(Fault::FolderFull);
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn note(&self, deed: Deed) {
        lock(&self.notes).deeds.push(deed);
    }

    fn temp(&self, inner: Box<dyn TempFile>) -> Box<dyn TempFile> {
        Box::new(SimTemp { inner, dir: self.clone() })
    }
}

impl Dir for SimDir {
    fn list_limited(&self, path: &str, max: usize) -> io::Result<Vec<DirEntry>> {
        self.check()?;
        self.inner.list_limited(path, max)
    }

    fn open_read(&self, path: &str) -> io::Result<Box<dyn ReadFile>> {
        self.check()?;
        self.inner.open_read(path)
    }

    fn create_temp(&self, near: &str) -> io::Result<Box<dyn TempFile>> {
        self.check()?;
        Ok(self.temp(self.inner.create_temp(near)?))
    }

    fn create_direct(&self, path: &str) -> io::Result<Box<dyn TempFile>> {
        self.check()?;
        Ok(self.temp(self.inner.create_direct(path)?))
    }

    fn create_dirs(&self, path: &str) -> io::Result<()> {
        self.check()?;
        self.inner.create_dirs(path)
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        self.check()?;
        let len = self.inner.open_read(path).map_or(0, |file| file.len());
        self.inner.remove_file(path)?;
        self.note(Deed::Removed(path.to_owned(), len));
        Ok(())
    }

    fn remove_empty_dirs(&self, path: &str) -> io::Result<()> {
        self.check()?;
        self.inner.remove_empty_dirs(path)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.check()?;
        self.inner.sync_dir(path)
    }

    fn rename_noreplace(&self, from: &str, to: &str) -> Result<(), PublishError> {
        self.check()?;
        self.inner.rename_noreplace(from, to)
    }

    fn free_space(&self) -> io::Result<u64> {
        self.inner.free_space()
    }

    fn is_network(&self) -> bool {
        self.inner.is_network()
    }
}

struct SimTemp {
    inner: Box<dyn TempFile>,
    dir: SimDir,
}

impl io::Write for SimTemp {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.dir.check()?;
        self.dir.check_space()?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl TempFile for SimTemp {
    fn sync(&mut self) -> io::Result<()> {
        self.dir.check()?;
        self.inner.sync()
    }

    fn publish_noreplace(self: Box<Self>, path: &str) -> Result<(), PublishError> {
        self.dir.check()?;
        let Self { inner, dir } = *self;
        inner.publish_noreplace(path)?;
        dir.note(Deed::Published(path.to_owned()));
        Ok(())
    }
}
