//! The baseline: files that are copied into a folder, carried by the same mirror program, and copied out at its far end.
//!
//! Invariants: what arrives is as durable as `cp` and fsync make it; a file appears under its name only when it is whole;
//! nothing that was carried stays. Test to read first: `a_file_that_is_carried_arrives_whole_and_leaves_nothing`.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::pattern::Pattern;
use crate::demo::child::Child;

/// Octets copied between two looks whether to stop.
const PIECE: u64 = 8 << 20;
/// Time between two looks for a file.
const LOOK: Duration = Duration::from_micros(500);
/// How long a file may be under way.
const PATIENCE: Duration = Duration::from_secs(600);
/// Octets of the small file that is timed: about an engine's packet with one call.
const SMALL: u64 = 5_000;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Way {
    /// From the caller's side to the upstream's.
    Up,
    /// Back.
    Down,
}

/// A mirrored folder and its far end.
#[derive(Clone, Debug)]
struct Road {
    outbox: PathBuf,
    inbox: PathBuf,
}

/// Two mirrors and their folders. Cheap to clone; the mirrors are in [`Mirrors`].
#[derive(Clone, Debug)]
pub(super) struct Carrier {
    home: PathBuf,
    up: Road,
    down: Road,
    stop: Arc<AtomicBool>,
}

/// The mirrors of a carrier; they end, and copies that go on are given up, when this is dropped.
#[derive(Debug)]
pub(super) struct Mirrors {
    children: Vec<Child>,
    stop: Arc<AtomicBool>,
}

impl Drop for Mirrors {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Mirrors {
    /// A mirror that ended although nobody asked it to, in words.
    pub(super) async fn fallen(&self) -> Option<String> {
        for child in &self.children {
            if let Some(status) = child.ended().await {
                return Some(format!(
                    "a mirror ended by itself with {status}; its log ends with:\n{}",
                    child.log_tail()
                ));
            }
        }
        None
    }

    /// Ends them at once.
    pub(super) async fn kill(&self) {
        for child in &self.children {
            child.kill().await;
        }
    }
}

impl Carrier {
    /// Makes folders within `home`.
    ///
    /// # Errors
    /// When they cannot be made.
    pub(super) fn new(home: &Path) -> Result<Self> {
        let road = |name: &str| Road { outbox: home.join(name).join("out"), inbox: home.join(name).join("in") };
        let carrier = Self { home: home.to_owned(), up: road("up"), down: road("down"), stop: Arc::default() };
        for folder in [&carrier.up.outbox, &carrier.up.inbox, &carrier.down.outbox, &carrier.down.inbox] {
            std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        Ok(carrier)
    }

    /// Starts the mirrors, as fast as those of the engines.
    ///
    /// # Errors
    /// When they cannot be started.
    pub(super) async fn start(&self, program: &Path) -> Result<Mirrors> {
        let mut mirrors = Mirrors { children: Vec::new(), stop: Arc::clone(&self.stop) };
        for (name, road) in [("up", &self.up), ("down", &self.down)] {
            let mut arguments: Vec<std::ffi::OsString> =
                ["mirror", "--faults", "none", "--poll-ms", "10", "--from"].map(Into::into).to_vec();
            arguments.extend([road.outbox.clone().into(), "--to".into(), road.inbox.clone().into()]);
            let child = Child::new(program, arguments, self.home.join(format!("mirror-{name}.log")));
            child.start().await?;
            mirrors.children.push(child);
        }
        Ok(mirrors)
    }

    /// Where it works.
    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    const fn road(&self, way: Way) -> &Road {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }

    /// Makes the file that is carried.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn make_source(&self, pattern: &Pattern, size: u64) -> Result<()> {
        let path = self.source();
        let mut file = File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
        let mut at = 0;
        while at < size && !self.stop.load(Ordering::Relaxed) {
            let piece = pattern.piece(at, size - at);
            file.write_all(&piece).with_context(|| format!("{} cannot be written", path.display()))?;
            at += piece.len() as u64;
        }
        file.sync_all().with_context(|| format!("{} cannot be synced", path.display()))
    }

    fn source(&self) -> PathBuf {
        self.home.join("source")
    }

    /// Carries the file: cp and fsync into the outbox, the mirror, cp and fsync out of the inbox. Blocks; says how long.
    ///
    /// # Errors
    /// When a copy fails, or nothing arrives.
    pub(super) fn carry(&self, way: Way, name: &str) -> Result<Duration> {
        let road = self.road(way);
        let (sent, arrived, target) = (road.outbox.join(name), road.inbox.join(name), self.home.join("target"));
        let began = Instant::now();
        self.copy(&self.source(), &sent)?;
        self.wait_for(&arrived)?;
        self.copy(&arrived, &target)?;
        let took = began.elapsed();
        for path in [&sent, &arrived, &target] {
            std::fs::remove_file(path).with_context(|| format!("{} cannot be removed", path.display()))?;
        }
        Ok(took)
    }

    /// Sends a small file there and another back, as soon as it is there. Blocks; says how long.
    ///
    /// # Errors
    /// When a file cannot be written, or does not arrive.
    pub(super) fn round_trip(&self, pattern: &Pattern, name: &str) -> Result<Duration> {
        let content = pattern.piece(0, SMALL);
        let began = Instant::now();
        for way in [Way::Up, Way::Down] {
            let road = self.road(way);
            let temporary = hidden(&road.outbox.join(name));
            std::fs::write(&temporary, &content).context("a small file cannot be written")?;
            std::fs::rename(&temporary, road.outbox.join(name)).context("a small file cannot be published")?;
            self.wait_for(&road.inbox.join(name))?;
        }
        let took = began.elapsed();
        for road in [&self.up, &self.down] {
            std::fs::remove_file(road.outbox.join(name)).context("a small file cannot be removed")?;
            std::fs::remove_file(road.inbox.join(name)).context("a small file cannot be removed")?;
        }
        Ok(took)
    }

    /// Waits until what was written to this file system is on the disk, where that can be asked for.
    pub(super) fn flush(&self) {
        #[cfg(target_os = "linux")]
        if let Err(error) = File::open(&self.home).and_then(|folder| Ok(rustix::fs::syncfs(folder)?)) {
            tracing::debug!(%error, "the file system cannot be synced");
        }
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        let temporary = hidden(to);
        let copied = || -> std::io::Result<()> {
            let (mut source, mut copy) = (File::open(from)?, File::create(&temporary)?);
            while !self.stop.load(Ordering::Relaxed) && std::io::copy(&mut (&mut source).take(PIECE), &mut copy)? > 0 {}
            copy.sync_all()?;
            std::fs::rename(&temporary, to)
        };
        copied().with_context(|| format!("{} cannot be copied to {}", from.display(), to.display()))
    }

    fn wait_for(&self, path: &Path) -> Result<()> {
        let began = Instant::now();
        while !path.exists() {
            if self.stop.load(Ordering::Relaxed) {
                bail!("the measurement was ended");
            }
            if began.elapsed() > PATIENCE {
                bail!("{} did not arrive within {} s", path.display(), PATIENCE.as_secs());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

/// A name beside that one which mirrors leave alone.
fn hidden(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::{MirrorOptions, run};

    fn carried(check: impl FnOnce(&Carrier)) {
        let home = tempfile::tempdir().unwrap();
        let carrier = Carrier::new(home.path()).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for road in [&carrier.up, &carrier.down] {
                let options = MirrorOptions { poll_ms: 1, ..MirrorOptions::new(&road.outbox, &road.inbox) };
                scope.spawn(|| run(options, &stop).unwrap());
            }
            check(&carrier);
            stop.store(true, Ordering::Relaxed);
        });
        for road in [&carrier.up, &carrier.down] {
            for folder in [&road.outbox, &road.inbox] {
                assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
            }
        }
    }

    #[test]
    fn a_file_that_is_carried_arrives_whole_and_leaves_nothing() {
        carried(|carrier| {
            carrier.make_source(&Pattern::new(), 9 << 20).unwrap();
            assert!(carrier.carry(Way::Up, "a").unwrap() > Duration::ZERO);
            assert!(carrier.carry(Way::Down, "a").unwrap() > Duration::ZERO);
        });
    }

    #[test]
    fn a_small_file_goes_there_and_back() {
        carried(|carrier| assert!(carrier.round_trip(&Pattern::new(), "b").unwrap() > Duration::ZERO));
    }
}
