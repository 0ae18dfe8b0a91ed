//! The probe's own files: their names, and removing them on both sides, however the probe ends.
//!
//! Invariants: every name that is made holds this run's mark, and only names that hold it are ever removed; links are not
//! followed. Measurements of the folder alone lie in a hidden folder that mirrors leave alone by its name; only what is to
//! cross has a visible one. Test to read first: `only_what_bears_the_mark_is_removed`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How deep own folders go.
const DEPTH_MAX: usize = 600;

/// Where a probe works, and the mark on its names.
#[derive(Clone, Debug)]
pub(super) struct Scratch {
    pub(super) near: PathBuf,
    pub(super) far: Option<PathBuf>,
    mark: String,
}

impl Scratch {
    /// A probe of these folders, with a mark of its own.
    pub(super) fn new(near: &Path, far: Option<&Path>) -> io::Result<Self> {
        let number = getrandom::u32().map_err(|error| io::Error::other(error.to_string()))?;
        let (near, far) = (near.to_owned(), far.map(Path::to_owned));
        Ok(Self { near, far, mark: format!("hoft-probe-{number:08x}") })
    }

    /// The mark: all names of this run hold it.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    /// The hidden folder for what is not to cross.
    pub(super) fn hidden(&self) -> PathBuf {
        self.near.join(format!(".{}.part", self.mark))
    }

    /// Name of a file that is to cross.
    pub(super) fn name(&self, label: &str) -> String {
        format!("{}-{label}.hft", self.mark)
    }

    /// Removes all files of this run here and on the far side. Gives the folders in which something could not be removed, and
    /// why.
    pub(super) fn clean(&self) -> Vec<(PathBuf, io::Error)> {
        let folders = std::iter::once(&self.near).chain(&self.far);
        folders.filter_map(|folder| Some((folder.clone(), self.clean_one(folder).err()?))).collect()
    }

    /// Is anything of this run in the far folder?
    pub(super) fn is_left_far(&self) -> bool {
        self.far.as_deref().and_then(|far| self.own(far).ok()).is_some_and(|own| !own.is_empty())
    }

    fn clean_one(&self, folder: &Path) -> io::Result<()> {
        let mut result = Ok(());
        for path in self.own(folder)? {
            match remove(&path, DEPTH_MAX) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => result = Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        result
    }

    /// What bears the mark in a folder; some file systems show it in capitals.
    fn own(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut own = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().to_ascii_lowercase().contains(&self.mark) {
                own.push(entry.path());
            }
        }
        Ok(own)
    }
}

/// Removes a file, or a folder with all that is in it.
fn remove(path: &Path, depth: usize) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return fs::remove_file(path);
    }
    if depth > 0 {
        for entry in fs::read_dir(path)? {
            match remove(&entry?.path(), depth - 1) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
    }
    fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    //! Real folders.
    use super::*;

    #[test]
    fn only_what_bears_the_mark_is_removed() {
        let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let scratch = Scratch::new(near.path(), Some(far.path())).unwrap();
        let other = Scratch::new(near.path(), None).unwrap();
        fs::create_dir_all(scratch.hidden().join("a/b")).unwrap();
        fs::write(scratch.hidden().join("a/b/c"), "x").unwrap();
        std::os::unix::fs::symlink(near.path(), scratch.hidden().join("link")).unwrap();
        fs::write(near.path().join(other.name("1")), "x").unwrap();
        fs::write(near.path().join("packet.hft"), "x").unwrap();
        let far_name = scratch.name("1").to_ascii_uppercase().replace(".HFT", " (1).HFT");
        fs::write(far.path().join(far_name), "x").unwrap();
        assert!(scratch.is_left_far());
        assert!(scratch.clean().is_empty());
        let mut left: Vec<_> = fs::read_dir(near.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [other.name("1").as_str(), "packet.hft"]);
        assert_eq!(fs::read_dir(far.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_gone_is_said() {
        let near = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(&near.path().join("gone"), None).unwrap();
        let failed = scratch.clean();
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].1.kind(), io::ErrorKind::NotFound);
    }
}
