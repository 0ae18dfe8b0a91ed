//! Why a folder of the operating system cannot be used.
//!
//! Invariant: every message names the folder, the cause and the remedy. Test: `dir/tests.rs`,
//! `bad_roots_are_named_with_their_remedy`.

use std::io;
use std::path::{Path, PathBuf};

/// Why a folder cannot be used. The message names the folder and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// There is nothing of that name.
    #[error("folder {path} does not exist; create it, or mount the volume that holds it", path = .path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// The name stands for something else.
    #[error("{path} is not a folder; name the folder itself", path = .path.display())]
    NotADirectory {
        /// What was named.
        path: PathBuf,
    },
    /// It cannot be listed.
    #[error(
        "folder {path} cannot be read: {source}{who}", path = .path.display(), who = crate::who::refused(.source, "read and execute"))]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A file cannot be written, read back and removed.
    #[error(
        "folder {path} cannot be written: {source}; {remedy}", path = .path.display(), remedy = write_remedy(.path, .source))]
    NotWritable {
        /// The folder.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The folder for temporary files is on another volume, so that files cannot be renamed out of it.
    #[error("temporary folder {temp} is not on the same file system as {path}; choose one beside it", path = .path.display(), temp = .temp.display())]
    TempElsewhere {
        /// The folder.
        path: PathBuf,
        /// The temporary folder.
        temp: PathBuf,
    },
}

/// What would let a folder be written.
fn write_remedy(path: &Path, refusal: &io::Error) -> String {
    match refusal.kind() {
        io::ErrorKind::PermissionDenied => crate::who::write_remedy(path),
        io::ErrorKind::ReadOnlyFilesystem => "it is mounted read-only: mount its volume for writing".to_owned(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space on its volume".to_owned(),
        _ => "look after its volume".to_owned(),
    }
}

impl DirError {
    pub(super) fn new(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { path },
            io::ErrorKind::NotADirectory => Self::NotADirectory { path },
            _ => Self::Unreadable { path, source },
        }
    }
}
