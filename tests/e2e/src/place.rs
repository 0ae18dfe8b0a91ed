//! Where everything of the test bed lies on this machine: programs, images, state, artefacts.
//!
//! Invariant: what a run writes while it is up lies below [`Place::state`] (besides what the kernel holds: network
//! namespaces, links, cgroups, mounts), so removing that folder and those leaves nothing. It builds nothing itself.
//! Read first: [`crate::cluster::Layout`], the part of one cluster.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rustix::fs::{FlockOperation, flock};

/// How the names of folders begin that a build has not finished.
pub(crate) const UNFINISHED: &str = "build-";

/// The longest state folder: the sockets below it must fit into a socket address (108 bytes).
const STATE_LENGTH_MAX: usize = 48;

/// The folders of the test bed.
#[derive(Clone, Debug)]
pub struct Place {
    /// The repository this crate was built from.
    pub repository: PathBuf,
    /// What outlives runs: built programs and images.
    pub cache: PathBuf,
    /// What a run writes; removed with it.
    pub state: PathBuf,
    /// Where a failed scenario leaves its evidence.
    pub artefacts: PathBuf,
    /// Where `cargo` builds the product.
    pub target: PathBuf,
}

impl Place {
    /// The folders as the environment has them: `HOFT_CACHE`, `HOFT_E2E_STATE`, `HOFT_ARTEFACTS`, `CARGO_TARGET_DIR`.
    ///
    /// # Errors
    /// A folder is relative, or the state folder's path is too long for the sockets below it.
    pub fn from_environment() -> anyhow::Result<Self> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .context("this crate does not lie two folders below the repository's root")?
            .to_path_buf();
        let home = PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into()));
        let target = folder("CARGO_TARGET_DIR", || repository.join("target"))?;
        let place = Self {
            cache: folder("HOFT_CACHE", || home.join(".cache/hoft"))?.join("cluster"),
            state: folder("HOFT_E2E_STATE", || PathBuf::from("/var/lib/hoft-e2e"))?,
            artefacts: folder("HOFT_ARTEFACTS", || repository.join("target/e2e-artefacts"))?,
            target,
            repository,
        };
        ensure!(
            place.state.as_os_str().len() <= STATE_LENGTH_MAX,
            "the state folder {} is longer than {STATE_LENGTH_MAX} bytes, so the sockets in it would have no address: \
             set HOFT_E2E_STATE to a shorter path",
            place.state.display()
        );
        Ok(place)
    }

    /// The folder with the modules whose tools the clusters are made of.
    #[must_use]
    pub fn modules(&self) -> PathBuf {
        self.repository.join("tests/e2e/cluster")
    }

    /// Waits for the right to build into the cache, held until the file is dropped: one build at a time, the next
    /// finds what the first one made.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub fn lock_cache(&self) -> anyhow::Result<File> {
        fs::create_dir_all(&self.cache).with_context(|| format!("cannot create {}", self.cache.display()))?;
        let path = self.cache.join("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            println!("waiting for another build into {}", self.cache.display());
            flock(&file, FlockOperation::LockExclusive)?;
        }
        Ok(file)
    }
}

/// Removes what interrupted builds left in a folder of the cache; the caller holds the lock.
pub(crate) fn remove_unfinished(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn folder(variable: &str, default: impl FnOnce() -> PathBuf) -> anyhow::Result<PathBuf> {
    let path = env::var_os(variable).filter(|value| !value.is_empty()).map_or_else(default, PathBuf::from);
    ensure!(path.is_absolute(), "{variable} is the relative path {}: give an absolute one", path.display());
    Ok(path)
}
