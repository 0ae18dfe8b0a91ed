//! The stage: folders, keys and configurations of two sides, and the four children on it.
//!
//! Invariants: `north` calls and `south` executes; only `out` and `in` are mirrored; everything lies in one folder that only
//! its owner can read, which is removed at the end unless it is to be kept. Test to read first:
//! `the_configurations_pass_their_own_check`.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use sidecar_config::file::{Destination, InboundRule, OutboundRule, Tls};
use sidecar_config::{ByteSize, ConfigFile, Folders, Layout, PublishSync, Retry};

use super::call::ROUTE;
use super::child::Child;
use super::client::Client;
use super::progress::Progress;
use crate::commands::keygen;
use crate::mirror::FaultLevel;

/// The side that calls.
pub(super) const NEAR: &str = "north";
/// The side that executes.
pub(super) const FAR: &str = "south";
/// How long an engine may take until it is ready.
const START_TIME_MAX: Duration = Duration::from_secs(20);
/// How long a child may take to end when it is asked to.
const STOP_TIME_MAX: Duration = Duration::from_secs(8);
/// How often ports are chosen anew, and a restart tried again, when something else took a port in between.
const PORT_ATTEMPTS: u32 = 10;

/// The folder in which a run takes place.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    keep: AtomicBool,
}

impl Folder {
    /// The folder that was asked for, to be kept, or a temporary one.
    ///
    /// # Errors
    /// When it cannot be made, or there is something in it.
    pub(super) fn make(asked: Option<&Path>) -> Result<Self> {
        let path = match asked {
            Some(path) => path.to_owned(),
            None => std::env::temp_dir().join(format!("hoft-demo-{}", std::process::id())),
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
        }
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists && asked.is_some() && is_empty(&path) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                bail!("{} is not empty: name another folder with --keep, or remove it", path.display())
            }
            Err(error) => return Err(error).with_context(|| format!("{} cannot be made", path.display())),
        }
        let path = std::fs::canonicalize(&path).with_context(|| format!("{}", path.display()))?;
        Ok(Self { path, keep: AtomicBool::new(asked.is_some()) })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
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
            tracing::debug!(%error, "the demo's folder could not be removed");
        }
    }
}

fn is_empty(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// An engine as a child process.
#[derive(Debug)]
pub(super) struct Engine {
    /// Name of its side.
    pub(super) side: &'static str,
    /// Its local port.
    pub(super) proxy: SocketAddr,
    /// Speaks to its admin port.
    pub(super) admin: Client,
    /// Whether it is to run: not from a kill until it is ready again.
    up: AtomicBool,
    child: Child,
}

/// A mirror as a child process.
#[derive(Debug)]
pub(super) struct Mirror {
    /// Its journal.
    pub(super) journal: PathBuf,
    name: String,
    child: Child,
}

/// The four children.
#[derive(Debug)]
pub(super) struct Stage {
    /// The engine that calls.
    pub(super) near: Engine,
    /// The engine that executes.
    pub(super) far: Engine,
    /// From near to far, and back.
    pub(super) mirrors: [Mirror; 2],
}

/// What a stage is made from.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    /// Where everything lies.
    pub(super) folder: &'a Path,
    /// Where the upstream listens.
    pub(super) upstream: SocketAddr,
    /// How bad the mirrors are.
    pub(super) faults: FaultLevel,
    /// Seed of the run.
    pub(super) seed: u64,
}

/// The ports of both sides: local port and admin port of each.
type Ports = [(SocketAddr, SocketAddr); 2];

impl Stage {
    /// Makes folders and keys, and starts all children; returns when both engines are ready.
    ///
    /// # Errors
    /// When something cannot be made, or a child does not get ready.
    pub(super) async fn build(setting: &Setting<'_>) -> Result<Self> {
        let program = std::env::current_exe().context("this program's own file is not known")?;
        make_sides(setting.folder)?;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let ports = write_configurations(setting)?;
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
    pub(super) async fn fallen(&self) -> Option<String> {
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
    pub(super) async fn stop(&self) -> Vec<String> {
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
    pub(super) async fn kill(&self) {
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

/// The word of the command line.
pub(super) fn fault_word(faults: FaultLevel) -> String {
    faults.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// How long the mirrors take one way, as a person would write it down.
const fn expected_latency(faults: FaultLevel) -> Duration {
    match faults {
        FaultLevel::None => Duration::from_millis(100),
        FaultLevel::Mild => Duration::from_millis(200),
        FaultLevel::Harsh => Duration::from_millis(500),
    }
}

fn make_sides(folder: &Path) -> Result<()> {
    for side in [NEAR, FAR] {
        let home = folder.join(side);
        for name in ["out", "in", "state"] {
            let path = home.join(name);
            std::fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        }
        keygen::write_keys(side, &home.join("secret.key"), Some(&home.join("public.token")))?;
    }
    Ok(())
}

fn write_configurations(setting: &Setting<'_>) -> Result<Ports> {
    let ports = free_ports()?;
    for ((side, other), (proxy, admin)) in [(NEAR, FAR), (FAR, NEAR)].into_iter().zip(ports) {
        let mut file = configuration(setting, side, other);
        file.listen.proxy = proxy.to_string();
        file.listen.admin = admin.to_string();
        let path = setting.folder.join(side).join("hoft.yaml");
        let text = file.to_yaml()?;
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(ports)
}

/// Four ports that nobody used a moment ago.
fn free_ports() -> Result<Ports> {
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port on 127.0.0.1")?);
    }
    let address = |place: usize| held[place].local_addr().context("a port that was just opened");
    Ok([(address(0)?, address(1)?), (address(2)?, address(3)?)])
}

fn configuration(setting: &Setting<'_>, side: &'static str, other: &str) -> ConfigFile {
    let home = setting.folder.join(side);
    let folders = Folders {
        outbox: home.join("out"),
        inbox: home.join("in"),
        layout: Layout::default(),
        publish_sync: PublishSync::default(),
    };
    let mut file = ConfigFile::new(side, other, folders, home.join("state"));
    file.remote.key_files = vec![setting.folder.join(other).join("public.token")];
    file.identity.secret_file = Some(home.join("secret.key"));
    file.mirror.expected_latency = expected_latency(setting.faults);
    file.mirror.poll_max = Some(Duration::from_millis(20));
    file.mirror.quiet_min = Duration::from_millis(300);
    file.mirror.packet_size = ByteSize::mb(4);
    file.heartbeat.interval = Some(Duration::from_secs(2));
    if side == NEAR {
        file.outbound.allow.push(OutboundRule {
            name: ROUTE.to_owned(),
            destinations: vec![destination(setting.upstream, &["/open", "/guarded"])],
            target: Some(format!("http://{}/", setting.upstream)),
            timeout: Duration::from_secs(30),
        });
    } else {
        file.inbound.allow.push(InboundRule {
            name: ROUTE.to_owned(),
            destinations: vec![destination(setting.upstream, &["/open"])],
            addresses: vec!["127.0.0.1/32".to_owned()],
            timeout: Duration::from_secs(30),
            retry: Retry::default(),
            max_body: None,
            tls: Tls::default(),
        });
    }
    file
}

fn destination(upstream: SocketAddr, paths: &[&str]) -> Destination {
    Destination {
        schemes: vec!["http".to_owned()],
        host: upstream.ip().to_string(),
        port: Some(upstream.port()),
        methods: vec!["GET".to_owned(), "POST".to_owned()],
        paths: paths.iter().map(|&path| path.to_owned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_configurations_pass_their_own_check() {
        let folder = tempfile::tempdir().unwrap();
        for faults in [FaultLevel::None, FaultLevel::Mild, FaultLevel::Harsh] {
            let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, 4321));
            let home = folder.path().join(fault_word(faults));
            let setting = Setting { folder: &home, upstream, faults, seed: 1 };
            make_sides(setting.folder).unwrap();
            let ports = write_configurations(&setting).unwrap();
            let all: std::collections::BTreeSet<_> = ports.iter().flat_map(|(proxy, admin)| [proxy, admin]).collect();
            assert_eq!(all.len(), 4);
            for side in [NEAR, FAR] {
                let config = sidecar_config::load(&setting.folder.join(side).join("hoft.yaml")).unwrap();
                assert_eq!(config.local.name.as_str(), side);
                assert_eq!(config.outbound.allow.len() + config.inbound.allow.len(), 1);
            }
        }
    }

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

    #[test]
    fn only_a_taken_port_is_tried_again() {
        assert!(port_taken(&anyhow!("listen.proxy: 127.0.0.1:1 cannot be opened; stop what uses it, or choose")));
        assert!(!port_taken(&anyhow!("the log cannot be recovered")));
    }
}
