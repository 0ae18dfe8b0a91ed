//! What it takes to make a few octets durable: the price that every promise of the engines pays at least once.
//!
//! Invariant: the file grows as a log does, on the file system that the engines use, and is gone at the end. Test to
//! read first: `each_sync_takes_some_time`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Octets of one write: about a record with its entry.
const PIECE: usize = 4096;

/// A file that is appended to and synced.
#[derive(Debug)]
pub(super) struct Disk {
    file: File,
    path: PathBuf,
}

impl Disk {
    /// Makes the file in `folder`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        let path = folder.join("synced");
        let file = File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(Self { file, path })
    }

    /// Appends a piece and waits until it is durable (fdatasync). Blocks; says how long the wait was.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn sync(&mut self) -> Result<Duration> {
        let failed = || format!("{} cannot be written", self.path.display());
        self.file.write_all(&[0x5a; PIECE]).with_context(failed)?;
        let began = Instant::now();
        self.file.sync_data().with_context(failed)?;
        Ok(began.elapsed())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sync_takes_some_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = Disk::new(folder.path()).unwrap();
        assert!(disk.sync().unwrap() + disk.sync().unwrap() > Duration::ZERO);
        assert_eq!(std::fs::metadata(&disk.path).unwrap().len(), 2 * PIECE as u64);
        drop(disk);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
