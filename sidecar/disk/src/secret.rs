//! Key files: read with a check of who else can read them, written whole and never over an existing file.
//!
//! Invariants: a file appears under its name only complete and durable (temporary file, fsync, rename without
//! replacing, fsync of the folder), and what was there before is never replaced; bytes read are wiped when
//! dropped. Links are followed on reading, because a Kubernetes Secret volume is made of links. It does not
//! know what the bytes mean. Test: `secret/tests.rs`.

#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use zeroize::Zeroizing;

use crate::dir::{PublishError, read_full_at, rename_noreplace_at};

/// The largest secret file read, in bytes.
pub const SECRET_FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a secret file was not read. The message names the file and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// There is no such file.
    #[error("secret file {path} does not exist", path = .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner can read it.
    #[error(
        "secret file {path} can be used by other users (mode {mode:04o}); run: chmod 600 {path}", path = .path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is a folder, pipe or device.
    #[error("secret file {path} is not a regular file", path = .path.display())]
    NotRegular {
        /// The name given.
        path: PathBuf,
    },
    /// No secret is that long.
    #[error("secret file {path} has {len} bytes; at most {SECRET_FILE_BYTES_MAX} are read", path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
    },
    /// The file system refused.
    #[error("secret file {path} cannot be read: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

/// Why a new file was not written.
#[derive(Debug, thiserror::Error)]
pub enum NewFileError {
    /// The name is taken; what it holds was left alone.
    #[error("{path} exists already and is not overwritten; remove it first, or choose another name", path = .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused. Nothing is there under that name, unless only the last step failed: then it
    /// is whole but may be gone after a power failure.
    #[error("{path} cannot be written: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

/// Reads a secret file whole. Unless `allow_readable`, the file must give no permission to anyone but its
/// owner (mode 0600 or stricter).
///
/// # Errors
/// A [`SecretFileError`] that names the file and the cause.
pub fn read_secret_file(path: &Path, allow_readable: bool) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => SecretFileError::Missing { path: path.into() },
        _ => SecretFileError::Io { path: path.into(), source },
    };
    // Without NONBLOCK, opening a pipe would wait for its writer.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    if !facts.is_file() {
        return Err(SecretFileError::NotRegular { path: path.into() });
    }
    let mode = facts.mode() & 0o7777;
    if !allow_readable && mode & 0o077 != 0 {
        return Err(SecretFileError::Readable { path: path.into(), mode });
    }
    let len = facts.len();
    if len > SECRET_FILE_BYTES_MAX {
        return Err(SecretFileError::TooLarge { path: path.into(), len });
    }
    // One allocation, one byte more than expected: growing would leave copies, and growth would be seen.
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(len).unwrap_or(0) + 1]);
    let read = read_full_at(&file, 0, &mut bytes).map_err(failed)?;
    if read as u64 != len {
        return Err(failed(io::Error::other("the file changed while it was read")));
    }
    bytes.truncate(read);
    Ok(bytes)
}

/// Writes a secret file with mode 0600, durably, refusing to overwrite.
///
/// # Errors
/// [`NewFileError::Exists`] if the name is taken, else [`NewFileError::Io`].
pub fn write_secret_file(path: &Path, bytes: &[u8]) -> Result<(), NewFileError> {
    write_new_file(path, bytes, 0o600)
}

/// Writes a new file with these permission bits (less the umask), durably, refusing to overwrite. Its folder
/// must exist.
///
/// # Errors
/// [`NewFileError::Exists`] if the name is taken, else [`NewFileError::Io`].
pub fn write_new_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), NewFileError> {
    let failed = |source: io::Error| NewFileError::Io { path: path.into(), source };
    let no_name = || failed(io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"));
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(no_name)?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    // Said before the work is done; the rename decides.
    if path.symlink_metadata().is_ok() {
        return Err(NewFileError::Exists { path: path.into() });
    }
    // In a container every process is number 1: the time keeps a leftover of a crash out of the way.
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let temp = format!(".{name}.{nanos:x}-{}.part", COUNT.fetch_add(1, Ordering::Relaxed));
    let temp_path = folder.join(&temp);
    let publish = || -> Result<(), PublishError> {
        let handle = File::open(folder)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temp_path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        drop(file);
        rename_noreplace_at(handle.as_fd(), &temp, handle.as_fd(), name)?;
        Ok(handle.sync_all()?)
    };
    publish().map_err(|error| {
        // Gone already if the rename was done; the first error is the one that matters.
        let _ = std::fs::remove_file(&temp_path);
        match error {
            PublishError::Exists => NewFileError::Exists { path: path.into() },
            PublishError::Io(source) => failed(source),
        }
    })
}
