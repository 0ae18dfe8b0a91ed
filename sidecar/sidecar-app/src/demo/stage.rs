//! The stage: two engines and two mirrors as children, and how they come and go.
//!
//! Invariants: an engine counts as running only once it says that it is ready; engines end before the mirrors, whose
//! counts are final then. What the children are told is made in `sides.rs`. Test to read first:
//! `only_a_taken_port_is_tried_again`; the rest is seen only when it runs.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::child::Child;
use super::client::Client;
use super::progress::Progress;
use super::sides::{Adjust, FAR, NEAR, Setting, fault_word, make_sides, write_configurations};

/// How long an engine may take until it is ready.
const START_TIME_MAX: Duration = Duration::from_secs(20);
/// How long a child may take to end when it is asked to.
const STOP_TIME_MAX: Duration = Duration::from_secs(8);
/// How often ports are chosen anew, and a restart tried again, when something else took a port in between.
const PORT_ATTEMPTS: u32 = 10;

/// An engine as a child process.
#[derive(Debug)]
pub(crate) struct Engine {
    /// Name of its side.
    pub(super) side: &'static str,
    /// Its local port.
    pub(crate) proxy: SocketAddr,
    /// Speaks to its admin port.
    pub(crate) admin: Client,
    /// Whether it is to run: not from a kill until it is ready again.
    up: AtomicBool,
    child: Child,
}

/// A mirror as a child process.
#[derive(Debug)]
pub(crate) struct Mirror {
    /// Its journal.
    pub(super) journal: PathBuf,
    name: String,
    child: Child,
}

/// The four children.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The engine that calls.
    pub(crate) near: Engine,
    /// The engine that executes.
    pub(crate) far: Engine,
    /// From near to far, and back.
    pub(super) mirrors: [Mirror; 2],
}

impl Stage {
    /// Makes folders and keys, and starts all children; returns when both engines are ready.
    ///
    /// # Errors
    /// When something cannot be made, or a child does not get ready.
    pub(super) async fn build(setting: &Setting<'_>) -> Result<Self> {
        Self::build_with(setting, &|_| {}).await
    }

    /// The same with configurations that are adjusted before they are written.
    ///
    /// # Errors
    /// As [`Stage::build`].
    pub(crate) async fn build_with(setting: &Setting<'_>, adjust: Adjust<'_>) -> Result<Self> {
        let program = std::env::current_exe().context("this program's own file is not known")?;
        make_sides(setting.folder)?;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let ports = write_configurations(setting, adjust)?;
            let stage = Self {
                near: engine(&program, setting.folder, NEAR, ports[0]),
                far: engine(&program, setting.folder, FAR, ports[1]),
                mirrors: [mirror(&program, setting, NEAR, FAR, 0), mirror(&program, setting, FAR, NEAR, 1)],
            };
            match stage.start().await {
                Ok(()) => return Ok(stage),
                Err(error) if attempt < PORT_ATTEMPTS && port_taken(&error) => stage.kill().await,
                Err(error) => {
                    stage.kill().await;
                    return Err(error);
                }
            }
        }
    }

    async fn start(&self) -> Result<()> {
        for mirror in &self.mirrors {
            mirror.child.start().await?;
        }
        self.far.child.start().await?;
        self.near.child.start().await?;
        self.far.ready().await?;
        self.near.ready().await
    }

    /// A child that ended although nobody asked it to, in words.
    pub(crate) async fn fallen(&self) -> Option<String> {
        let engines = [&self.near, &self.far].into_iter().filter(|engine| engine.up.load(Ordering::Relaxed));
        let engines = engines.map(|engine| (format!("the engine of {}", engine.side), &engine.child));
        let mirrors = self.mirrors.iter().map(|mirror| (mirror.name.clone(), &mirror.child));
        for (name, child) in engines.chain(mirrors) {
            if let Some(status) = child.ended().await {
                return Some(format!("{name} ended by itself with {status}; its log ends with:\n{}", child.log_tail()));
            }
        }
        None
    }

    /// Ends all children in order: engines first, then the mirrors, whose counts are final then. Returns what was wrong.
    pub(crate) async fn stop(&self) -> Vec<String> {
        let mut findings = Vec::new();
        for engine in [&self.near, &self.far] {
            if let Err(error) = engine.child.stop(STOP_TIME_MAX).await {
                findings.push(format!("the engine of {}: {error}", engine.side));
            }
        }
        for mirror in &self.mirrors {
            if let Err(error) = mirror.child.stop(STOP_TIME_MAX).await {
                findings.push(format!("{}: {error}", mirror.name));
            }
        }
        findings
    }

    /// Ends all children at once.
    pub(crate) async fn kill(&self) {
        let children = [&self.near.child, &self.far.child, &self.mirrors[0].child, &self.mirrors[1].child];
        for child in children {
            child.kill().await;
        }
    }
}

impl Engine {
    /// Kills it without warning (SIGKILL).
    pub(super) async fn kill(&self) {
        self.up.store(false, Ordering::Relaxed);
        self.child.kill().await;
    }

    /// Starts it again with the same configuration and state, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get ready.
    pub(super) async fn restart(&self) -> Result<()> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            self.child.start().await?;
            match self.ready().await {
                Err(error) if attempt < PORT_ATTEMPTS && port_taken(&error) => {
                    self.child.kill().await;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                result => return result,
            }
        }
    }

    async fn ready(&self) -> Result<()> {
        let asked = async {
            loop {
                if self.admin.get("/readyz").await.is_ok_and(|answer| answer.status == 200) {
                    self.up.store(true, Ordering::Relaxed);
                    return Ok(());
                }
                if let Some(status) = self.child.ended().await {
                    let tail = self.child.log_tail();
                    return Err(anyhow!("the engine of {} ended with {status}; its log ends with:\n{tail}", self.side));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(START_TIME_MAX, asked).await {
            Ok(result) => result,
            Err(_) => Err(anyhow!(
                "the engine of {} was not ready within {} s; its log ends with:\n{}",
                self.side,
                START_TIME_MAX.as_secs(),
                self.child.log_tail()
            )),
        }
    }
}

/// Did an engine fail because something else took its port between choosing and opening it?
fn port_taken(error: &anyhow::Error) -> bool {
    error.to_string().contains("cannot be opened; stop what uses it")
}

fn engine(program: &Path, folder: &Path, side: &'static str, (proxy, admin): (SocketAddr, SocketAddr)) -> Engine {
    let arguments: Vec<OsString> =
        vec!["sidecar".into(), "--config".into(), folder.join(side).join("hoft.yaml").into()];
    // What the admin port says is no part of the calls' bytes, so it has counters of its own.
    let admin = Client::new(admin, Arc::new(Progress::default()));
    let child = Child::new(program, arguments, folder.join(format!("{side}.log")));
    Engine { side, proxy, admin, up: AtomicBool::new(false), child }
}

fn mirror(program: &Path, setting: &Setting<'_>, from: &str, to: &str, direction: u64) -> Mirror {
    let name = format!("mirror-{from}-{to}");
    let journal = setting.folder.join(format!("{name}.jsonl"));
    let seed = setting.seed.wrapping_mul(2).wrapping_add(direction);
    let arguments: Vec<OsString> = vec![
        "mirror".into(),
        "--from".into(),
        setting.folder.join(from).join("out").into(),
        "--to".into(),
        setting.folder.join(to).join("in").into(),
        "--faults".into(),
        fault_word(setting.faults).into(),
        "--seed".into(),
        seed.to_string().into(),
        "--journal".into(),
        journal.clone().into(),
        "--poll-ms".into(),
        "10".into(),
    ];
    let log = setting.folder.join(format!("{name}.log"));
    Mirror { journal, name: format!("the mirror from {from} to {to}"), child: Child::new(program, arguments, log) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_taken_port_is_tried_again() {
        assert!(port_taken(&anyhow!("listen.proxy: 127.0.0.1:1 cannot be opened; stop what uses it, or choose")));
        assert!(!port_taken(&anyhow!("the log cannot be recovered")));
    }
}
