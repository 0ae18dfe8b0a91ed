//! A line: side `north` (near, it calls), side `south` (far, it executes), two mirrors between them, an upstream.
//!
//! Everything runs as a user would run it: `hoft keygen`, a configuration file each, `hoft mirror`, `hoft sidecar`. Of each
//! side, the folder `disk` has `state`, `out` and `in`; what is mounted there is the scenario's choice. Invariant: a line
//! that is dropped ends its children. Read first: [`Line::start`].

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use sidecar_config::file::{Destination, InboundRule, OutboundRule};
use sidecar_config::{ConfigFile, Folders, Layout, LogLevel, PublishSync};

use crate::caller::{Mix, Target, Traffic};
use crate::http;
use crate::isolate::Inside;
use crate::oracle::{Record, Verdict, judge};
use crate::process::{PATIENCE, Process, eventually, run, tail};
use crate::upstream::Upstream;

/// What mirrors do to files: faults that cost little time.
const FAULTS: [&str; 10] =
    ["--loss", "0.05", "--cut", "0.08", "--duplicate", "0.05", "--reorder", "0.05", "--delay-ms", "0..20"];

/// Changes a configuration before it is written.
pub type Change = fn(&mut ConfigFile);

/// Which of the two engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one that callers call.
    Near,
    /// The one that calls the upstream.
    Far,
}

impl Which {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Near, Self::Far];

    /// The side's name.
    #[must_use]
    pub fn side(self) -> &'static str {
        match self {
            Self::Near => "north",
            Self::Far => "south",
        }
    }
}

/// The folders of a line, made before its engines start so that something can be mounted on them.
#[derive(Debug)]
pub struct Place {
    folder: tempfile::TempDir,
    hoft: PathBuf,
}

impl Place {
    /// Makes the folders and the keys.
    #[must_use]
    pub fn new(inside: &Inside) -> Self {
        let folder = tempfile::Builder::new().prefix("line-").tempdir_in(&inside.place).unwrap();
        let place = Self { folder, hoft: inside.hoft.clone() };
        for which in Which::BOTH {
            std::fs::create_dir_all(place.disk(which)).unwrap();
            let (home, side) = (place.home(which), which.side());
            let path = |end: &str| home.join(format!("{side}.{end}"));
            let mut keygen = place.hoft();
            keygen.args(["keygen", "--side", side, "--out"]).arg(path("key")).arg("--public").arg(path("pub"));
            run(&mut keygen).unwrap();
        }
        place
    }

    /// Where everything of a side is.
    #[must_use]
    pub fn home(&self, which: Which) -> PathBuf {
        self.folder.path().join(which.side())
    }

    /// The folder of `state`, `out` and `in`.
    #[must_use]
    pub fn disk(&self, which: Which) -> PathBuf {
        self.home(which).join("disk")
    }

    /// The state folder of a side.
    #[must_use]
    pub fn state(&self, which: Which) -> PathBuf {
        self.disk(which).join("state")
    }

    /// The program under test.
    #[must_use]
    pub fn hoft(&self) -> Command {
        let mut command = Command::new(&self.hoft);
        for name in ["RUST_LOG", "HOFT_TERMINATION_LOG", "HOFT_CONFIG", "HOFT_ENDPOINT", "HOFT_KIND", "HOFT_NAMESPACE"]
        {
            command.env_remove(name);
        }
        command
    }
}

/// What carries files from the outbox of either side to the inbox of the other, until it is dropped. What it has to say goes
/// to `mirror.log` in the home of the side that it carries from.
pub trait Mirrors: std::fmt::Debug {
    /// Carries nothing from this side, until [`Mirrors::resume`].
    fn stop(&mut self, from: Which);

    /// Goes on.
    fn resume(&mut self, from: Which);
}

/// `hoft mirror`, one for each way, with faults that cost little time.
#[derive(Debug)]
pub struct Faulty([Process; 2]);

impl Faulty {
    /// Starts them, between the folders `out` and `in`.
    #[must_use]
    pub fn start(place: &Place, seed: u64, profile: &str) -> Self {
        let start = |from, to, seed| faulty(place, from, to, seed, profile);
        Self([start(Which::Near, Which::Far, seed), start(Which::Far, Which::Near, seed + 1)])
    }
}

impl Mirrors for Faulty {
    fn stop(&mut self, from: Which) {
        self.0[usize::from(from == Which::Far)].signal(Signal::STOP);
    }

    fn resume(&mut self, from: Which) {
        self.0[usize::from(from == Which::Far)].signal(Signal::CONT);
    }
}

/// Nothing carries anything.
#[derive(Debug)]
struct Nothing;

impl Mirrors for Nothing {
    fn stop(&mut self, _: Which) {}

    fn resume(&mut self, _: Which) {}
}

/// Two engines with what is between and behind them.
#[derive(Debug)]
pub struct Line {
    // They go first: an engine that waits for a share cannot be killed before its mount is gone.
    mirrors: Box<dyn Mirrors>,
    engines: [Engine; 2],
    /// What is behind the far engine.
    pub upstream: Arc<Upstream>,
    /// Its folders. They go last.
    pub place: Place,
}

impl Line {
    /// Starts everything and waits until both engines are ready.
    #[must_use]
    pub fn start(place: Place, seed: u64, change: Change) -> Self {
        let mut line = Self::prepare(place, seed, change);
        line.start_engines();
        line
    }

    /// Starts the engines and waits until both are ready.
    pub fn start_engines(&mut self) {
        for which in [Which::Far, Which::Near] {
            self.engine(which).start_and_wait();
        }
    }

    /// Starts everything but the engines.
    #[must_use]
    pub fn prepare(place: Place, seed: u64, change: Change) -> Self {
        Self::prepare_with(place, change, |place| Box::new(Faulty::start(place, seed, "copy")))
    }

    /// Starts everything but the engines, with other mirrors: they are made when the folders are there.
    #[must_use]
    pub fn prepare_with(place: Place, change: Change, mirrors: impl FnOnce(&Place) -> Box<dyn Mirrors>) -> Self {
        for which in Which::BOTH {
            for name in ["state", "out", "in"] {
                std::fs::create_dir_all(place.disk(which).join(name)).unwrap();
            }
        }
        let upstream = Upstream::start();
        let engines = [(Which::Near, Which::Far), (Which::Far, Which::Near)]
            .map(|(which, other)| Engine::configure(&place, which, other, upstream.port, change));
        let mirrors = mirrors(&place);
        Self { engines, mirrors, upstream, place }
    }

    /// Ends everything that uses the folders.
    pub fn end(&mut self) {
        self.engines.iter_mut().for_each(Engine::kill);
        self.mirrors = Box::new(Nothing);
    }

    /// One of the engines.
    pub fn engine(&mut self, which: Which) -> &mut Engine {
        &mut self.engines[usize::from(which == Which::Far)]
    }

    /// Lets callers call.
    #[must_use]
    pub fn traffic(&self, mix: Mix, seed: u64) -> Traffic {
        Traffic::start(self.target(), mix, seed)
    }

    /// Where callers call.
    #[must_use]
    pub fn target(&self) -> Target {
        Target { proxy: self.engines[0].proxy, upstream: self.upstream.port }
    }

    /// Every call comes to its end, and what comes afterwards works; the verdict over all.
    #[must_use]
    pub fn conclude(&mut self, traffic: Traffic) -> Verdict {
        traffic.go_on_for(20);
        self.judge(&traffic.stop())
    }

    /// Waits until nothing is under way; the verdict over these calls.
    #[must_use]
    pub fn judge(&mut self, records: &[Record]) -> Verdict {
        for which in Which::BOTH {
            let engine = self.engine(which);
            eventually("no execution is open", || (engine.status()?["executions"] == 0).then_some(()));
        }
        let mut verdict = judge(records, &self.upstream.journal());
        if !verdict.findings.is_empty() {
            verdict.findings.push(self.logs());
        }
        verdict
    }

    /// Stops a mirror, until [`Line::resume_mirror`].
    pub fn stop_mirror(&mut self, from: Which) {
        self.mirrors.stop(from);
    }

    /// Lets a mirror go on.
    pub fn resume_mirror(&mut self, from: Which) {
        self.mirrors.resume(from);
    }

    /// The ends of all logs.
    #[must_use]
    pub fn logs(&self) -> String {
        let logs = ["engine.log", "mirror.log"].map(|name| Which::BOTH.map(|which| self.place.home(which).join(name)));
        logs.iter().flatten().map(|log| tail(log)).collect()
    }
}

/// One engine: its files, its ports, and the process while it runs.
#[derive(Debug)]
pub struct Engine {
    which: Which,
    home: PathBuf,
    hoft: PathBuf,
    /// Where callers call.
    pub proxy: u16,
    /// Where it says how it is.
    pub admin: u16,
    process: Option<Process>,
}

impl Engine {
    fn configure(place: &Place, which: Which, other: Which, upstream: u16, change: Change) -> Self {
        let (side, home) = (which.side(), place.home(which));
        let engine = Self {
            which,
            home: home.clone(),
            hoft: place.hoft.clone(),
            proxy: free_port(),
            admin: free_port(),
            process: None,
        };
        let folders = Folders {
            outbox: "disk/out".into(),
            inbox: "disk/in".into(),
            layout: Layout::default(),
            publish_sync: PublishSync::default(),
        };
        let mut file = ConfigFile::new(side, other.side(), folders, "disk/state".into());
        file.identity.secret_file = Some(format!("{side}.key").into());
        file.remote.key_files = vec![format!("../{0}/{0}.pub", other.side()).into()];
        file.listen.proxy = format!("127.0.0.1:{}", engine.proxy);
        file.listen.admin = format!("127.0.0.1:{}", engine.admin);
        file.mirror.expected_latency = Duration::from_millis(100);
        // The disks are small, and as much as this is set aside on them.
        file.state.receive_pool = sidecar_config::ByteSize::mib(16);
        file.mirror.quiet_min = Duration::from_millis(100);
        file.log.level = LogLevel::Debug;
        let up = Destination {
            schemes: vec!["http".to_owned()],
            host: "127.0.0.1".to_owned(),
            port: Some(upstream),
            methods: vec!["*".to_owned()],
            paths: vec!["/".to_owned()],
        };
        match which {
            Which::Near => file.outbound.allow.push(OutboundRule {
                target: Some(format!("http://127.0.0.1:{upstream}/")),
                timeout: Duration::from_secs(600),
                ..OutboundRule::new("up", vec![up])
            }),
            Which::Far => file.inbound.allow.push(InboundRule {
                addresses: vec!["127.0.0.0/8".to_owned()],
                timeout: Duration::from_secs(600),
                ..InboundRule::new("up", vec![up])
            }),
        }
        change(&mut file);
        std::fs::write(engine.config(), file.to_yaml().unwrap()).unwrap();
        engine
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.home.join("hoft.yaml")
    }

    /// What it writes.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.home.join("engine.log")
    }

    /// What it has written so far.
    #[must_use]
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Starts the process; gives its number.
    pub fn spawn(&mut self) -> u32 {
        let mut command = Command::new(&self.hoft);
        command.arg("sidecar").arg("--config").arg(self.config());
        for name in ["RUST_LOG", "HOFT_TERMINATION_LOG", "HOFT_ENDPOINT", "HOFT_KIND"] {
            command.env_remove(name);
        }
        let process = Process::start(command, &self.log());
        let id = process.id();
        self.process = Some(process);
        id
    }

    /// The number of its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// True if it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        http::get(self.admin, "/readyz", Duration::from_secs(5)).is_ok_and(|answer| answer.status() == 200)
    }

    /// Starts it and waits until it is ready.
    pub fn start_and_wait(&mut self) -> u32 {
        let id = self.spawn();
        self.wait_until_ready();
        id
    }

    /// Waits until it is ready.
    #[track_caller]
    pub fn wait_until_ready(&mut self) {
        assert!(self.ready_or_ended(), "`{}` ended:\n{}", self.which.side(), tail(&self.log()));
    }

    /// Waits until it is ready, or until it has ended: then false.
    #[track_caller]
    pub fn ready_or_ended(&mut self) -> bool {
        let began = Instant::now();
        loop {
            if self.has_ended() {
                return false;
            }
            if self.is_ready() {
                return true;
            }
            assert!(began.elapsed() < PATIENCE, "`{}` does not get ready:\n{}", self.which.side(), tail(&self.log()));
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// True if the process has ended, or was never started.
    pub fn has_ended(&mut self) -> bool {
        self.process.as_mut().is_none_or(|process| process.ended().is_some())
    }

    /// Waits for its end; gives its exit code.
    #[track_caller]
    pub fn wait_for_end(&mut self) -> Option<i32> {
        self.process.take().unwrap().wait().code()
    }

    /// SIGKILL, and its end.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGKILL and a start.
    pub fn restart(&mut self) {
        self.kill();
        self.start_and_wait();
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.as_ref().unwrap().signal(signal);
    }

    /// What `/statusz` says, if it answers.
    #[must_use]
    pub fn status(&self) -> Option<Value> {
        http::get(self.admin, "/statusz", Duration::from_secs(10)).ok().map(|answer| answer.json())
    }
}

fn faulty(place: &Place, from: Which, to: Which, seed: u64, profile: &str) -> Process {
    let mut command = place.hoft();
    command.arg("mirror").arg("--from").arg(place.disk(from).join("out")).arg("--to").arg(place.disk(to).join("in"));
    command.args(FAULTS).args(["--profile", profile, "--poll-ms", "10", "--seed", &seed.to_string()]);
    Process::start(command, &place.home(from).join("mirror.log"))
}

/// A port that nobody listens on, outside of the range from which the system gives ports to connections.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Different in every process, whose number in its namespace is always the same.
    let first = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_micros() as u64;
    let _ = NEXT.compare_exchange(0, first, Ordering::Relaxed, Ordering::Relaxed);
    loop {
        let port = 12_000 + u16::try_from(NEXT.fetch_add(1, Ordering::Relaxed) % 20_000).unwrap_or(0);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Removes everything in a folder, which itself stays.
pub fn empty(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        std::fs::remove_file(entry.path()).unwrap();
    }
}
