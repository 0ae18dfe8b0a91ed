//! `hoft mirror`: a seeded, faulty stand-in for the file transfer service, for demos and tests.
//!
//! It watches one folder and delivers what appears there to another, late, cut, twice or not at all.
//!
//! Invariants: what happens to a file is drawn from the seed, its relative path and how often that
//! path was seen, so it does not depend on timing; a copy appears whole under its name (hidden
//! temporary, then rename) unless its fate says otherwise; memory does not grow with file sizes.
//!
//! It is no part of an engine: nothing an engine runs can reach this code. It does not follow
//! symbolic links, does not mirror empty folders, does not notice that a file it has already taken
//! was rewritten under the same name between two looks, and remembers nothing across a restart
//! (it then copies what it finds once more, as real mirrors do).
//!
//! Specification: layer 0, the file pipe (what real mirrors do). Read first: `tests.rs`,
//! `no_faults_delivers_every_file_whole`.

mod command;
mod courier;
mod fate;
mod faults;
mod ledger;
mod scan;
mod schedule;
mod transfer;
mod watch;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

pub use command::{FaultLevel, MirrorArgs, main};
pub use faults::Faults;
pub use ledger::{Counts, JournalLine, Outcome, Summary, summary_path};

use courier::Courier;
use ledger::Ledger;
use schedule::Schedule;
use watch::Watch;

/// Threads that copy; two let a small file pass a large one without changing much else.
const WORKERS: usize = 2;

/// What the mirror does with the source and its far copy, as transfer services differ in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// The source is removed once it was read.
    Move,
    /// The source stays; the far copy is independent and is never delivered again once taken.
    Copy,
    /// As copy, and deleting the source deletes the far copy (not the other way round).
    Sync,
}

impl Profile {
    /// The word used on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Move => "move",
            Self::Copy => "copy",
            Self::Sync => "sync",
        }
    }
}

/// Everything one mirror needs to know; see [`MirrorOptions::new`] for the defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct MirrorOptions {
    /// The folder that is watched, with all its subfolders. Must exist.
    pub from: PathBuf,
    /// The folder that is delivered to. Must exist; subfolders are created.
    pub to: PathBuf,
    /// What happens to the source.
    pub profile: Profile,
    /// How unreliable the mirror is.
    pub faults: Faults,
    /// The same seed gives every file the same fate again.
    pub seed: u64,
    /// Append one [`JournalLine`] per event here, and rewrite the counts beside it every second.
    pub journal: Option<PathBuf>,
    /// Milliseconds between two looks at the source.
    pub poll_ms: u64,
    /// Milliseconds a new file must keep its size before it is taken; 0 takes it at first sight.
    pub settle_ms: u64,
    /// Also take files whose names start with `.` or end in `.part`, as careless mirrors do.
    pub pick_up_temporary: bool,
}

impl MirrorOptions {
    /// A mirror without faults: profile copy, seed 0, no journal, a look every 20 ms, no settling,
    /// temporary names left alone.
    #[must_use]
    pub fn new(from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Self {
        Self {
            from: from.into(),
            to: to.into(),
            profile: Profile::Copy,
            faults: Faults::none(),
            seed: 0,
            journal: None,
            poll_ms: 20,
            settle_ms: 0,
            pick_up_temporary: false,
        }
    }

    /// Reports everything that is wrong with the options at once.
    fn check(&self) -> anyhow::Result<()> {
        self.faults.check()?;
        let from = existing_folder(&self.from, "from")?;
        let to = existing_folder(&self.to, "to")?;
        if to.starts_with(&from) || from.starts_with(&to) {
            bail!(
                "the folders {} and {} lie inside one another, so the mirror would copy its own copies: \
                 name two separate folders with --from and --to",
                self.from.display(),
                self.to.display()
            );
        }
        if let Some(journal) = &self.journal {
            let folder = match journal.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            let folder = existing_folder(folder, "journal")?;
            if folder.starts_with(&from) || folder.starts_with(&to) {
                bail!(
                    "the journal {} lies inside a mirrored folder: choose a place outside {} and {}",
                    journal.display(),
                    self.from.display(),
                    self.to.display()
                );
            }
        }
        Ok(())
    }
}

/// Runs the mirror until `stop` is set, blocking the caller.
///
/// Folders that vanish while it runs are waited for; a file it cannot deliver is tried again and
/// in the end counted as failed. What is still on its way when `stop` is set stays undelivered and
/// is counted as pending.
///
/// # Errors
/// The options are wrong (a folder is missing, the folders overlap, a share is not between 0 and
/// 1), or the journal cannot be opened.
pub fn run(options: MirrorOptions, stop: &AtomicBool) -> anyhow::Result<Summary> {
    options.check()?;
    let ledger = Ledger::open(&options)?;
    let schedule = Schedule::new();
    let courier = Courier::new(&options, &schedule, &ledger, stop);
    courier.sweep_old_temporaries();
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| courier.work());
        }
        Watch::new(&options, &schedule, &ledger, &courier).run_until(stop);
    });
    Ok(ledger.close(schedule.pending()))
}

/// The canonical path of a folder that must exist; `flag` is the option that named it.
fn existing_folder(path: &Path, flag: &str) -> anyhow::Result<PathBuf> {
    match fs::metadata(path) {
        Ok(found) if !found.is_dir() => bail!("{} is not a folder: correct --{flag}", path.display()),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "the folder {} does not exist: create it (mkdir -p '{}') or correct --{flag}",
            path.display(),
            path.display()
        ),
        Err(error) => {
            return Err(error).with_context(|| {
                format!("cannot look at the folder {}: check its permissions or correct --{flag}", path.display())
            });
        }
    }
    fs::canonicalize(path).with_context(|| format!("cannot resolve the folder {}", path.display()))
}

/// Locks without caring for poison: every holder leaves the value usable at each step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
