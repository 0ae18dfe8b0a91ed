//! A folder with the habits of bad file systems: stale listings, files that a scanner holds, and no rename without replacing.
//! It counts what it is asked.
//!
//! Invariants: everything else is passed on unchanged. What this file does not do: lose or damage files.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use disk::dir::{Dir, DirEntry, Page, PublishError, ReadFile, TempFile};

/// A wrapped folder; clones share it.
#[derive(Clone)]
pub(crate) struct FakeDir {
    pub(crate) inner: Arc<dyn Dir>,
    /// Names that no listing shows.
    pub(crate) hidden: Arc<Mutex<Vec<String>>>,
    /// Names that are held by somebody else: opening and removing them is refused.
    pub(crate) held: Arc<Mutex<Vec<String>>>,
    /// Whether it says that it is on a network.
    pub(crate) network: bool,
    /// Whether files can be renamed without replacing others.
    pub(crate) renames: bool,
    /// Names that listings gave.
    pub(crate) listed: Arc<AtomicU64>,
    /// Files opened for reading, or tried.
    pub(crate) opened: Arc<AtomicU64>,
}

impl FakeDir {
    pub(crate) fn over(dir: impl Dir + 'static) -> Self {
        Self {
            inner: Arc::new(dir),
            hidden: Arc::default(),
            held: Arc::default(),
            network: false,
            renames: true,
            listed: Arc::default(),
            opened: Arc::default(),
        }
    }
}

impl FakeDir {
    fn check_held(&self, path: &str) -> io::Result<()> {
        let held = self.held.lock().unwrap().iter().any(|name| path.ends_with(name.as_str()));
        if held { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
    }
}

struct NoRename(Box<dyn TempFile>);

impl Write for NoRename {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl TempFile for NoRename {
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }

    fn publish_noreplace(self: Box<Self>, _: &str) -> Result<(), PublishError> {
        Err(PublishError::Io(io::ErrorKind::Unsupported.into()))
    }
}

impl Dir for FakeDir {
    fn list_limited(&self, path: &str, max: usize) -> io::Result<Vec<DirEntry>> {
        let hidden = self.hidden.lock().unwrap();
        let mut entries = self.inner.list_limited(path, max)?;
        entries.retain(|entry| !hidden.contains(&entry.name));
        self.listed.fetch_add(entries.len() as u64, Ordering::Relaxed);
        Ok(entries)
    }

    fn list_page(&self, path: &str, from: u64, max: usize, measured: &dyn Fn(&str) -> bool) -> io::Result<Page> {
        let hidden = self.hidden.lock().unwrap();
        let mut page = self.inner.list_page(path, from, max, measured)?;
        page.entries.retain(|entry| !hidden.contains(&entry.name));
        self.listed.fetch_add(page.entries.len() as u64, Ordering::Relaxed);
        Ok(page)
    }

    fn open_read(&self, path: &str) -> io::Result<Box<dyn ReadFile>> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.check_held(path)?;
        self.inner.open_read(path)
    }

    fn create_temp(&self, near: &str) -> io::Result<Box<dyn TempFile>> {
        let file = self.inner.create_temp(near)?;
        Ok(if self.renames { file } else { Box::new(NoRename(file)) })
    }

    fn create_direct(&self, path: &str) -> io::Result<Box<dyn TempFile>> {
        self.inner.create_direct(path)
    }

    fn create_dirs(&self, path: &str) -> io::Result<()> {
        self.inner.create_dirs(path)
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        self.check_held(path)?;
        self.inner.remove_file(path)
    }

    fn remove_empty_dirs(&self, path: &str) -> io::Result<()> {
        self.inner.remove_empty_dirs(path)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.inner.sync_dir(path)
    }

    fn rename_noreplace(&self, from: &str, to: &str) -> Result<(), PublishError> {
        self.inner.rename_noreplace(from, to)
    }

    fn free_space(&self) -> io::Result<u64> {
        self.inner.free_space()
    }

    fn is_network(&self) -> bool {
        self.network
    }
}
