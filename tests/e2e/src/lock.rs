//! One run at a time on a machine: the network namespaces, links and addresses of the clusters have fixed names.
//!
//! Invariants: the lock is the kernel's (`flock`), so it ends with its holder, however that dies; the file only says
//! who holds it and in which folder that run keeps its state. Clusters that stay up without a holder are noted in the
//! file as detached, which refuses a second run too. Read first: the tests at the end.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// The lock of this machine. Not in the state folder: runs with other state folders would collide too.
pub const MACHINE_LOCK: &str = "/run/hoft-e2e.lock";

/// What the file says about its holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process that took it.
    pub pid: u32,
    /// What it was started as.
    pub command: String,
    /// Where its run keeps its state; a later run cleans up there if this one was killed.
    pub state: PathBuf,
    /// The clusters stay up after that process ends, until they are taken down.
    pub detached: bool,
}

/// The lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock; also gives what its last holder left written, which names a killed or a detached run.
    ///
    /// # Errors
    /// Another process holds it (the message names it), or the file cannot be used.
    pub fn take(path: &Path) -> anyhow::Result<(Self, Option<Holder>)> {
        let mut patience = 100;
        loop {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
            let mut file = file.with_context(|| format!("cannot open the lock {}", path.display()))?;
            let holder = read(&mut file);
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                // A child that this process is just starting holds what its parent held, until it runs its program.
                if patience > 0 && holder.as_ref().is_none_or(|holder| holder.pid == std::process::id()) {
                    patience -= 1;
                    std::thread::sleep(std::time::Duration::from_millis(10));
                    continue;
                }
                bail!("{}", refusal(path, holder.as_ref()));
            }
            // Its last holder may have removed the file between our open and our lock.
            let ours = file.metadata()?.ino();
            if fs::metadata(path).is_ok_and(|now| now.ino() == ours) {
                let holder = read(&mut file);
                return Ok((Self { file, path: path.to_path_buf() }, holder));
            }
        }
    }

    /// Writes who holds it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, state: &Path, detached: bool) -> anyhow::Result<()> {
        let command = std::env::args().collect::<Vec<_>>().join(" ");
        let holder = Holder { pid: std::process::id(), command, state: state.to_path_buf(), detached };
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(serde_json::to_string(&holder)?.as_bytes())?;
        Ok(())
    }

    /// Removes the file: nothing is up.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn clear(self) -> anyhow::Result<()> {
        fs::remove_file(&self.path).with_context(|| format!("cannot remove the lock {}", self.path.display()))
    }
}

fn read(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn refusal(path: &Path, holder: Option<&Holder>) -> String {
    match holder {
        Some(holder) => format!(
            "the clusters are in use by process {} (`{}`), and a machine has room for one run: wait for it or end it, \
             then try again",
            holder.pid, holder.command
        ),
        None => format!("another process holds {} and has not said who it is: try again", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let (mut lock, before) = Lock::take(&path).unwrap();
        assert_eq!(before, None);
        lock.write(Path::new("/somewhere"), false).unwrap();
        let said = Lock::take(&path).unwrap_err().to_string();
        assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
    }

    #[test]
    fn what_a_killed_holder_wrote_is_given_to_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let (mut lock, _) = Lock::take(&path).unwrap();
        lock.write(Path::new("/somewhere"), true).unwrap();
        drop(lock);
        let (lock, before) = Lock::take(&path).unwrap();
        let before = before.unwrap();
        assert_eq!((before.state, before.detached), (PathBuf::from("/somewhere"), true));
        lock.clear().unwrap();
        assert!(!path.exists());
    }
}
