//! The file behind [`StdDir`](super::StdDir)'s `create_temp` and `create_direct`.
//!
//! Invariants: dropped without being published, the file is removed; published, it is never touched again.
//! The handle is closed before the rename, because network file systems send the last bytes when a file is
//! closed. It does not sync by itself. Test: `dir/conformance.rs`.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, unlinkat};

use super::publish::rename_noreplace_at;
use super::std_dir::Folders;
use super::{PublishError, TempFile, path};

pub(super) struct StdTempFile {
    pub(super) folders: Folders,
    /// The folder that holds the temporary name.
    pub(super) folder: OwnedFd,
    pub(super) name: String,
    pub(super) file: Option<File>,
    /// Set if the name is the final one already: the path it must be published as.
    pub(super) direct: Option<String>,
    pub(super) published: bool,
}

impl StdTempFile {
    fn file(&mut self) -> io::Result<&mut File> {
        self.file.as_mut().ok_or_else(|| io::Error::other("the file is closed"))
    }
}

impl Write for StdTempFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file()?.flush()
    }
}

impl TempFile for StdTempFile {
    fn sync(&mut self) -> io::Result<()> {
        self.file()?.sync_all()
    }

    fn publish_noreplace(mut self: Box<Self>, path: &str) -> Result<(), PublishError> {
        self.file = None;
        if let Some(direct) = &self.direct {
            if direct != path {
                let why = "a file written under its final name keeps that name";
                return Err(PublishError::Io(io::Error::new(io::ErrorKind::InvalidInput, why)));
            }
        } else {
            let (parts, name) = path::split(path)?;
            let target = self.folders.walk(&parts)?;
            rename_noreplace_at(self.folder.as_fd(), &self.name, target.as_fd(), name)?;
        }
        self.published = true;
        Ok(())
    }
}

impl Drop for StdTempFile {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        self.file = None;
        if let Err(error) = unlinkat(&self.folder, self.name.as_str(), AtFlags::empty()) {
            tracing::warn!(name = %self.name, %error, "an unpublished file could not be removed");
        }
    }
}
