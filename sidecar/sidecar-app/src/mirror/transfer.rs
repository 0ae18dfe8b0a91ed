//! Moving bytes from a source into a copy: whole, cut, zero-tailed, or a piece at a time.
//!
//! Invariants: memory use is constant, whatever the file size (the kernel copies where it can); a
//! failed copy leaves no temporary behind; the far root is never created, so a mount that is away
//! is not written beside. It draws no fate and counts nothing.
//! Read first: `tests.rs`, `no_faults_delivers_every_file_whole`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::fate::{ContentHash, Shape};
use super::scan::OWN_TEMPORARY;

/// Bytes copied between two looks whether to stop.
const PIECE: u64 = 8 << 20;

/// Buffer for reading a content through.
const BUFFER: usize = 256 << 10;

/// How many names are tried for a temporary file.
const TEMPORARY_TRIES: u32 = 1000;

/// Temporaries of killed mirrors are removed at start once they are this old.
const TEMPORARY_AGE: Duration = Duration::from_secs(600);

/// Why a copy did not come about.
#[derive(Debug)]
pub(super) enum Trouble {
    /// A file operation failed.
    Io(io::Error),
    /// The source changed while it was read.
    Changed,
    /// The mirror was told to stop.
    Stopped,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// An open source and what it looked like when it was opened.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    len: u64,
    modified: Option<SystemTime>,
}

impl Source {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(ErrorKind::NotFound.into());
        }
        Ok(Self { len: found.len(), modified: found.modified().ok(), file })
    }

    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn rewind(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0)).map(drop)
    }

    pub(super) fn check_unchanged(&self) -> Result<(), Trouble> {
        let found = self.file.metadata()?;
        if found.len() == self.len && found.modified().ok() == self.modified { Ok(()) } else { Err(Trouble::Changed) }
    }

    /// The hash of the whole content; leaves the source at its start.
    pub(super) fn content_hash(&mut self, stop: &AtomicBool) -> Result<u64, Trouble> {
        let mut hash = ContentHash::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            if stop.load(Ordering::Relaxed) {
                return Err(Trouble::Stopped);
            }
            match self.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => hash.update(buffer.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.rewind()?;
        Ok(hash.value())
    }

    /// Appends the bytes of `range` to a copy of that shape, continuing where the source stands.
    pub(super) fn copy_range(
        &mut self,
        copy: &mut File,
        range: Range<u64>,
        shape: Shape,
        stop: &AtomicBool,
    ) -> Result<(), Trouble> {
        let mut at = range.start;
        let true_end = range.end.min(shape.true_len);
        while at < true_end {
            if stop.load(Ordering::Relaxed) {
                return Err(Trouble::Stopped);
            }
            let copied = io::copy(&mut (&mut self.file).take(PIECE.min(true_end - at)), copy)?;
            if copied == 0 {
                return Err(Trouble::Changed);
            }
            at += copied;
        }
        // Zeros need not be written: a file made longer reads as zeros there.
        if range.end > true_end && copy.metadata()?.len() < range.end {
            copy.set_len(range.end)?;
        }
        Ok(())
    }
}

/// The far folder and the way files get into it.
pub(super) struct Target {
    root: PathBuf,
    temporaries: AtomicU64,
}

impl Target {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf(), temporaries: AtomicU64::new(0) }
    }

    /// Copies under a hidden temporary name beside the final one, then renames over whatever is there.
    pub(super) fn deliver(
        &self,
        source: &mut Source,
        shape: Shape,
        name: &Path,
        stop: &AtomicBool,
    ) -> Result<(), Trouble> {
        let path = self.root.join(name);
        let (temporary, mut copy) = self.create_temporary(&path)?;
        let done = source
            .copy_range(&mut copy, 0..shape.len, shape, stop)
            .and_then(|()| source.check_unchanged())
            .and_then(|()| fs::rename(&temporary, &path).map_err(Trouble::from));
        if done.is_err()
            && let Err(error) = fs::remove_file(&temporary)
        {
            tracing::debug!(file = %temporary.display(), %error, "a temporary file stays behind");
        }
        done
    }

    /// An empty file under the final name, instead of whatever was there.
    pub(super) fn create_in_place(&self, name: &Path) -> io::Result<File> {
        let path = self.root.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.create_new(&path)
    }

    /// Removes a far copy; false if there is none.
    pub(super) fn remove(&self, name: &Path) -> io::Result<bool> {
        match fs::remove_file(self.root.join(name)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes the folders above `name` that are empty and have no counterpart below `from`.
    pub(super) fn prune_folders(&self, name: &Path, from: &Path) {
        for folder in name.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
            if from.join(folder).exists() || fs::remove_dir(self.root.join(folder)).is_err() {
                return;
            }
        }
    }

    /// Removes what mirrors that were killed have left behind.
    pub(super) fn sweep_old_temporaries(&self) {
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let name = name.as_encoded_bytes();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                    Ok(kind)
                        if kind.is_file()
                            && name.starts_with(OWN_TEMPORARY.as_bytes())
                            && name.ends_with(b".part")
                            && is_old(&entry) =>
                    {
                        if let Err(error) = fs::remove_file(entry.path()) {
                            tracing::debug!(file = %entry.path().display(), %error, "an old temporary file stays behind");
                        }
                    }
                    Ok(_) | Err(_) => {}
                }
            }
        }
    }

    fn create_temporary(&self, path: &Path) -> io::Result<(PathBuf, File)> {
        for _ in 0..TEMPORARY_TRIES {
            let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
            let temporary = path.with_file_name(format!("{OWN_TEMPORARY}{}-{number}.part", process::id()));
            match self.create_new(&temporary) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                other => return other.map(|file| (temporary, file)),
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    /// A new file; its folders are created, but not the root.
    fn create_new(&self, path: &Path) -> io::Result<File> {
        let create = || OpenOptions::new().write(true).create_new(true).open(path);
        match create() {
            Err(error) if error.kind() == ErrorKind::NotFound && self.root.is_dir() => {
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent)?;
                }
                create()
            }
            other => other,
        }
    }
}

fn is_old(entry: &fs::DirEntry) -> bool {
    let modified = entry.metadata().and_then(|found| found.modified());
    modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > TEMPORARY_AGE))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_source_that_is_written_to_meanwhile_is_not_delivered() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("x"), root.path().join("to"));
        fs::write(&from, "content").unwrap();
        fs::create_dir(&to).unwrap();
        let mut source = Source::open(&from).unwrap();
        OpenOptions::new().append(true).open(&from).unwrap().write_all(b" and more").unwrap();
        let shape = Shape { len: 7, true_len: 7 };
        let made = Target::new(&to).deliver(&mut source, shape, Path::new("x"), &AtomicBool::new(false));
        assert!(matches!(made, Err(Trouble::Changed)));
        assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
    }

    #[test]
    fn a_far_root_that_is_away_is_not_created() {
        let root = tempfile::tempdir().unwrap();
        let from = root.path().join("x");
        fs::write(&from, "content").unwrap();
        let target = Target::new(&root.path().join("away"));
        let shape = Shape { len: 7, true_len: 7 };
        let made = target.deliver(&mut Source::open(&from).unwrap(), shape, Path::new("a/x"), &AtomicBool::new(false));
        assert!(matches!(made, Err(Trouble::Io(error)) if error.kind() == ErrorKind::NotFound));
        assert!(!root.path().join("away").exists());
    }
}
