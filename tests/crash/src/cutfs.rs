//! A disk of our own under the unmodified program: it knows what was synced, loses the rest at a power cut, and kills the
//! program at any of its calls.
//!
//! It is a FUSE file system in memory, served by this process. `store` is what it holds, `watch` who is killed and where,
//! `serve` the calls of the kernel. Invariants: the kernel caches nothing of it (direct I/O, no lifetime of names or
//! attributes), so that after a cut only what survived is read; without power every call fails and has no effect. Memory
//! maps and O_DIRECT are not supported. Read first: `store`.

mod serve;
mod store;
mod watch;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{BackgroundSession, Config, MountOption};

use crate::dice::Dice;
pub use store::{CutReport, Loss};
pub use watch::{Act, Phase, Trigger};

/// What the serving thread and the test share.
#[derive(Debug)]
struct Disk {
    store: store::Store,
    watch: watch::Watch,
    power: bool,
    /// Syncs are answered and not done, as by hardware that lies.
    lies: bool,
    /// Renames without replacing are refused, as some network file systems do.
    plain_renames_only: bool,
    next_handle: u64,
    listings: std::collections::BTreeMap<u64, Vec<(u64, bool, std::ffi::OsString)>>,
}

impl Disk {
    fn new(role: &'static str) -> Self {
        Self {
            store: store::Store::new(role),
            watch: watch::Watch::new(),
            power: true,
            lies: false,
            plain_renames_only: false,
            next_handle: 1,
            listings: std::collections::BTreeMap::new(),
        }
    }
}

/// A mounted disk. Dropping it unmounts it.
#[derive(Debug)]
pub struct CutDisk {
    disk: Arc<Mutex<Disk>>,
    session: Option<BackgroundSession>,
}

impl CutDisk {
    /// Mounts an empty disk on a folder: a state folder.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn mount_state(folder: &Path) -> io::Result<Self> {
        Self::mount(folder, "state-dir")
    }

    /// Mounts an empty disk on a folder that gets `state`, `out` and `in`.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn mount_side(folder: &Path) -> io::Result<Self> {
        Self::mount(folder, "top")
    }

    fn mount(folder: &Path, role: &'static str) -> io::Result<Self> {
        let disk = Arc::new(Mutex::new(Disk::new(role)));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("hoft-crash".to_owned()), MountOption::NoAtime];
        let session = fuser::spawn_mount(serve::Served(Arc::clone(&disk)), folder, &config)?;
        Ok(Self { disk, session: Some(session) })
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes everything on it durable.
    pub fn settle(&self) {
        self.disk().store.settle();
    }

    /// From here on syncs are answered and not done.
    pub fn lie(&self) {
        self.disk().lies = true;
    }

    /// From here on renames that must not replace are refused.
    pub fn refuse_exclusive_renames(&self, refuse: bool) {
        self.disk().plain_renames_only = refuse;
    }

    /// Watches a child of this process, which has not been waited for.
    ///
    /// # Errors
    /// There is no such process.
    pub fn arm(&self, pid: u32, trigger: Trigger) -> io::Result<()> {
        self.disk().watch.arm(Some(pid), trigger)
    }

    /// Watches the next engine that uses the disk, from its first call on.
    pub fn arm_next(&self, trigger: Trigger) {
        // Only a process that is named may be missing.
        let _ = self.disk().watch.arm(None, trigger);
    }

    /// Watches nobody.
    pub fn disarm(&self) {
        self.disk().watch.disarm();
    }

    /// Where the victim was killed, if it was.
    #[must_use]
    pub fn fired(&self) -> Option<(Act, Phase)> {
        self.disk().watch.fired
    }

    /// How often victims did this.
    #[must_use]
    pub fn met(&self, act: Act) -> u64 {
        self.disk().watch.met.get(&act).copied().unwrap_or(0)
    }

    /// What victims did that is not among these.
    #[must_use]
    pub fn unknown(&self, known: &[Act]) -> Vec<Act> {
        self.disk().watch.unknown(known).into_iter().collect()
    }

    /// The power fails at once: no call has an effect until [`CutDisk::cut`].
    pub fn power_off(&self) {
        self.disk().power = false;
    }

    /// Loses what a cut loses, and the power comes back. The victim must have ended.
    pub fn cut(&self, loss: Loss, dice: &mut Dice) -> CutReport {
        let mut disk = self.disk();
        disk.watch.disarm();
        disk.listings.clear();
        let report = disk.store.cut(loss, dice);
        disk.power = true;
        report
    }
}

impl Drop for CutDisk {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        if let Err(error) = session.umount_and_join() {
            eprintln!("a disk of a crash test could not be unmounted: {error}");
        }
    }
}
