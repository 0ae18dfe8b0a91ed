//! The folder in which a run takes place.
//!
//! Invariant: only its owner can read it, because keys lie in it; it goes at the end unless it is to be kept. It is never
//! made where something lies already. Test to read first: `a_temporary_folder_goes_and_a_kept_one_stays`.

use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};

/// The folder in which a run takes place.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    keep: AtomicBool,
}

impl Folder {
    /// The folder that was asked for, to be kept, or a temporary one.
    ///
    /// # Errors
    /// When it cannot be made, or there is something in it.
    pub(super) fn make(asked: Option<&Path>) -> Result<Self> {
        match asked {
            Some(path) => Self::at(path, true),
            None => Self::temporary(&std::env::temp_dir(), "hoft-demo"),
        }
    }

    /// A folder within `parent` that goes at the end; its name begins with `name`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn temporary(parent: &Path, name: &str) -> Result<Self> {
        Self::at(&parent.join(format!("{name}-{}", std::process::id())), false)
    }

    fn at(path: &Path, keep: bool) -> Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
        }
        match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists && keep && is_empty(path) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                bail!("{} is not empty: name another folder with --keep, or remove it", path.display())
            }
            Err(error) => return Err(error).with_context(|| format!("{} cannot be made", path.display())),
        }
        let path = std::fs::canonicalize(path).with_context(|| format!("{}", path.display()))?;
        Ok(Self { path, keep: AtomicBool::new(keep) })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps it after the end.
    pub(super) fn keep(&self) {
        self.keep.store(true, Ordering::Relaxed);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep.load(Ordering::Relaxed)
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::debug!(%error, "the folder of the run could not be removed");
        }
    }
}

fn is_empty(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_temporary_folder_goes_and_a_kept_one_stays() {
        let parent = tempfile::tempdir().unwrap();
        let temporary = Folder::make(None).unwrap();
        let place = temporary.path().to_owned();
        assert_eq!(std::fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o700);
        drop(temporary);
        assert!(!place.exists());
        let asked = parent.path().join("a/b");
        let kept = Folder::make(Some(&asked)).unwrap();
        std::fs::write(kept.path().join("x"), "x").unwrap();
        drop(kept);
        assert!(asked.join("x").exists());
        assert!(Folder::make(Some(&asked)).unwrap_err().to_string().contains("--keep"));
    }
}
