//! What the log asks of a folder: a handful of calls whose durability is explicit, so that a test can crash
//! between any two of them.
//!
//! Invariants: data is durable after [`StoredFile::sync`], names after [`Storage::sync_dir`], nothing else is;
//! `rename` is atomic. [`FolderStorage`] makes files of mode 0600 in a folder of mode 0700 and follows no link.
//! It does not lock. Test: `log/tests/crash.rs` runs on [`MemStorage`](super::MemStorage), `log/tests.rs` on both.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FallocateFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::error::LogError;
use crate::dir::read_full_at;

/// An open file of the log.
pub trait StoredFile: Send + Sync {
    /// Length in bytes.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn len(&self) -> io::Result<u64>;

    /// True if the file has no bytes.
    ///
    /// # Errors
    /// As [`StoredFile::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads at `offset` until `buf` is full or the file ends.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes all bytes at `offset`, not yet durable. After an error any of them may have been written.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file, not yet durable.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the file this long and takes the space for it from the disk now. After an error it has its length of before.
    ///
    /// # Errors
    /// Whatever the file system reports; no space is `StorageFull`.
    fn set_aside(&self, len: u64) -> io::Result<()>;

    /// Makes contents and length durable. After an error nothing may be assumed.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn sync(&self) -> io::Result<()>;
}

/// The folder of a log. Names are plain file names.
pub trait Storage: Send + Sync {
    /// The names of all files.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates a file for reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists`, or whatever the file system reports.
    fn create(&self, name: &str) -> io::Result<Arc<dyn StoredFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, or whatever the file system reports.
    fn open(&self, name: &str) -> io::Result<Arc<dyn StoredFile>>;

    /// Renames a file atomically, not yet durable.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file, not yet durable. Open handles stay usable.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names durable.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn sync_dir(&self) -> io::Result<()>;

    /// How full the volume is; `None` where that means nothing.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn volume(&self) -> io::Result<Option<Volume>> {
        Ok(None)
    }

    /// A file's name as a person would look for it.
    fn describe(&self, name: &str) -> String;
}

/// How much fits on a volume, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// What this process may still write.
    pub free: u64,
    /// That and what is used.
    pub total: u64,
}

/// A log's folder in the file system.
pub(super) struct FolderStorage {
    path: PathBuf,
    folder: OwnedFd,
}

impl FolderStorage {
    /// Opens the folder, creating it and those above it durably with mode 0700.
    pub(super) fn open(path: PathBuf) -> Result<Self, LogError> {
        let failed = |action: &'static str| {
            let file = path.display().to_string();
            move |source: io::Error| LogError::io(file, action, source)
        };
        create_folder(&path).map_err(failed("create this folder"))?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder =
            rustix::fs::open(&path, flags, Mode::empty()).map_err(|error| failed("open this folder")(error.into()))?;
        Ok(Self { path, folder })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.path
    }

    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<Arc<dyn StoredFile>> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, name, flags, Mode::RUSR | Mode::WUSR)?;
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Arc::new(DiskFile(File::from(file))))
    }
}

// A folder whose own name is lost in a crash takes the log with it. One that is there may have been made a
// moment before a crash, so its name is synced again; but its parent may not be ours to open.
fn create_folder(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    if path.is_dir() {
        let _ = File::open(parent).and_then(|parent| parent.sync_all());
        return Ok(());
    }
    create_folder(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    File::open(parent)?.sync_all()
}

impl Storage for FolderStorage {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.folder)? {
            if let Ok(name) = entry?.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        self.open_file(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        self.open_file(name, OFlags::RDWR)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.folder, from, &self.folder, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.folder)?)
    }

    fn volume(&self) -> io::Result<Option<Volume>> {
        let stat = rustix::fs::fstatvfs(&self.folder)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        let used = bytes(stat.f_blocks.saturating_sub(stat.f_bfree));
        let free = bytes(stat.f_bavail);
        Ok(Some(Volume { free, total: used.saturating_add(free) }))
    }

    fn describe(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

/// A log's folder that is only looked at: whatever would change it is refused.
pub(super) struct ReadOnlyFolder {
    folder: FolderStorage,
}

impl ReadOnlyFolder {
    /// Opens the folder; it is not created.
    pub(super) fn open(path: &Path) -> Result<Self, LogError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| LogError::io(path.display().to_string(), "open this folder", error.into()))?;
        Ok(Self { folder: FolderStorage { path: path.to_owned(), folder } })
    }
}

fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Storage for ReadOnlyFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        self.folder.list()
    }

    fn create(&self, _name: &str) -> io::Result<Arc<dyn StoredFile>> {
        read_only()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        self.folder.open_file(name, OFlags::RDONLY)
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        read_only()
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        read_only()
    }

    fn sync_dir(&self) -> io::Result<()> {
        read_only()
    }

    fn describe(&self, name: &str) -> String {
        self.folder.describe(name)
    }
}

struct DiskFile(File);

impl DiskFile {
    fn fill(&self, from: u64, to: u64) -> io::Result<()> {
        let zeros = vec![0; 1 << 20];
        let mut at = from;
        while at < to {
            let len = (to - at).min(zeros.len() as u64);
            self.0.write_all_at(&zeros[..usize::try_from(len).unwrap_or(zeros.len())], at)?;
            at += len;
        }
        Ok(())
    }
}

impl StoredFile for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        read_full_at(&self.0, offset, buf)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn set_aside(&self, len: u64) -> io::Result<()> {
        let before = self.len()?;
        let done = match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            // Not everywhere; written zeros take their space, too.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.fill(before, len),
            other => Ok(other?),
        };
        done.inspect_err(|_| {
            let _ = self.0.set_len(before);
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
