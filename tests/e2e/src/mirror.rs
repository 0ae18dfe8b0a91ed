//! What carries files between the clusters, as a process of this machine: `hoft mirror` with faults, or rsync in a loop.
//!
//! A mirror is two [`Direction`]s, each started, paused and stopped by itself. Invariants: a direction's process is
//! recorded below the state folder, so ending the test bed ends it even after a killed run; what it delivers can be
//! written by the group of the shared folders, as the pods need it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::place::Place;
use crate::process::Component;

/// How files are carried one way.
#[derive(Clone, Debug)]
pub enum Carrier {
    /// `hoft mirror` with these further arguments: see `hoft mirror --help`.
    Hoft(Vec<String>),
    /// rsync once more as soon as it is done, after this pause; deletions are carried too.
    Rsync(Duration),
}

impl Carrier {
    /// `hoft mirror` without faults.
    #[must_use]
    pub const fn perfect() -> Self {
        Self::Hoft(Vec::new())
    }

    /// `hoft mirror` with a set of faults (`none`, `mild`, `harsh`), drawn from the seed.
    #[must_use]
    pub fn faulty(faults: &str, seed: u64) -> Self {
        Self::Hoft(vec!["--faults".into(), faults.into(), "--seed".into(), seed.to_string()])
    }

    /// The same, with each file this long under way. Only for `hoft mirror`; rsync has no such setting.
    #[must_use]
    pub fn delayed(mut self, least: Duration, most: Duration) -> Self {
        if let Self::Hoft(arguments) = &mut self {
            arguments.push("--delay-ms".into());
            arguments.push(format!("{}..{}", least.as_millis(), most.as_millis()));
        }
        self
    }

    /// The same, with the far copy deleted when the source is. rsync does it anyway.
    #[must_use]
    pub fn deleting(mut self) -> Self {
        if let Self::Hoft(arguments) = &mut self {
            arguments.extend(["--profile".into(), "sync".into()]);
        }
        self
    }
}

/// One way of a mirror.
#[derive(Debug)]
pub struct Direction {
    component: Component,
    command: Vec<String>,
    journal: PathBuf,
}

impl Direction {
    /// A direction that does not run yet; the name is for its files and must be unique while it exists.
    ///
    /// # Errors
    /// The folders for its files cannot be made, or there is no `hoft` to run.
    pub fn new(
        place: &Place,
        hoft: &Path,
        name: &str,
        from: &Path,
        to: &Path,
        carrier: &Carrier,
    ) -> anyhow::Result<Self> {
        let exchange = place.state.join("exchange");
        let (run, logs) = (exchange.join("run"), exchange.join("logs"));
        for folder in [&run, &logs] {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let journal = logs.join(format!("{name}.jsonl"));
        let (from, to) = (from.display().to_string(), to.display().to_string());
        // The umask and modes, because a subfolder that root delivers must be writable for the pods' group too.
        let script = match carrier {
            Carrier::Hoft(_) => "umask 0002; exec \"$@\"".to_owned(),
            Carrier::Rsync(pause) => format!(
                "umask 0002; while :; do rsync -r --times --omit-dir-times --chmod=Dg+rwxs,Fg+rw --delete \"$1/\" \"$2/\"; sleep {}; done",
                pause.as_secs_f64()
            ),
        };
        let mut command = vec!["/bin/sh".to_owned(), "-c".to_owned(), script, "mirror".to_owned()];
        match carrier {
            Carrier::Hoft(arguments) => {
                ensure!(hoft.is_file(), "there is no {}: `cargo run -p e2e -- build` makes it", hoft.display());
                command.extend([hoft.display().to_string(), "mirror".into(), "--from".into(), from, "--to".into(), to]);
                command.extend(["--journal".into(), journal.display().to_string()]);
                command.extend(arguments.iter().cloned());
            }
            Carrier::Rsync(_) => command.extend([from, to]),
        }
        Ok(Self { component: Component::new(name, &run, &logs), command, journal })
    }

    /// Starts it; it carries what it finds, too.
    ///
    /// # Errors
    /// It runs already, or cannot be started.
    pub fn start(&self) -> anyhow::Result<()> {
        ensure!(!self.component.is_alive(), "the mirror {} runs already", self.component.name);
        self.component.start(&self.command, &[]).map(drop)
    }

    /// Ends it in the middle of whatever it does; what is under way is lost to this run of it.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT);
        self.signal(Signal::TERM);
        self.component.stop(Duration::from_secs(3))
    }

    /// Freezes it: an outage that loses nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Goes on after [`Self::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Fails if it has ended by itself.
    ///
    /// # Errors
    /// It does not run; the message has the end of its log.
    pub fn check(&self) -> anyhow::Result<()> {
        self.component.check()
    }

    /// What `hoft mirror` has counted so far (a second old at most); none for rsync.
    #[must_use]
    pub fn counts(&self) -> Option<Value> {
        let mut path = self.journal.clone().into_os_string();
        path.push(".summary.json");
        serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
    }

    fn signal(&self, signal: Signal) {
        if let Some(record) = self.component.recorded() {
            record.process.signal_group(signal);
        }
    }
}

impl Drop for Direction {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("a mirror does not end: {error:#}");
        }
    }
}

/// Both ways between an outbox and an inbox in each cluster.
#[derive(Debug)]
pub struct Mirror {
    /// From the first cluster's outbox to the second's inbox.
    pub a_to_b: Direction,
    /// From the second cluster's outbox to the first's inbox.
    pub b_to_a: Direction,
}

impl Mirror {
    /// Starts both ways.
    ///
    /// # Errors
    /// One cannot be started.
    pub fn start(&self) -> anyhow::Result<()> {
        self.a_to_b.start()?;
        self.b_to_a.start()
    }

    /// Ends both ways.
    ///
    /// # Errors
    /// One does not end.
    pub fn stop(&self) -> anyhow::Result<()> {
        self.a_to_b.stop()?;
        self.b_to_a.stop()
    }
}

/// Ends every mirror that is recorded below the state folder.
pub(crate) fn end_all(state: &Path) {
    let run = state.join("exchange/run");
    let names = fs::read_dir(&run)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    for name in names.collect::<Vec<_>>() {
        let component = Component::new(&name, &run, &state.join("exchange/logs"));
        if let Some(record) = component.recorded() {
            record.process.signal_group(Signal::KILL);
            let _ = component.stop(Duration::ZERO);
        }
    }
}
