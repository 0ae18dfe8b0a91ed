//! A line: side `north` (near, it calls) and side `south` (far, it executes), two mirrors between them, an upstream.
//!
//! Everything runs as a user would run it: `hoft keygen`, a configuration file each, `hoft mirror`, `hoft sidecar`.
//! Invariants: nothing listens beyond loopback; a line that is dropped ends its children; when a test that holds a line
//! panics, the ends of all logs are printed. Read first: [`Line::start`].

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::TcpListener;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use sidecar_config::file::{Destination, InboundRule, OutboundRule};
use sidecar_config::{ConfigFile, Folders, Layout, LogLevel, Profile, PublishSync};

use crate::client::{Answer, Door};
use crate::process::{PATIENCE, Paused, Process, eventually, folder, hoft, run, tail};
use crate::upstream::Upstream;

/// How often a start is tried again because somebody took the port in between.
const PORT_ATTEMPTS: usize = 5;

type Change = Box<dyn Fn(&mut ConfigFile)>;

/// What is not as usual on a line.
pub(crate) struct Options {
    /// Named set of faults of both mirrors.
    pub(crate) faults: &'static str,
    /// Seed of the near side's mirror; the other one has the next.
    pub(crate) seed: u64,
    pub(crate) profile: Profile,
    pub(crate) layout: Layout,
    /// `Sealed`, `Signed` or `Checksum`, in both directions.
    pub(crate) mode: &'static str,
    /// Changes the near side's file before it is written.
    pub(crate) near: Change,
    /// Changes the far side's file before it is written.
    pub(crate) far: Change,
    /// Done in the folder of everything before anything runs there.
    pub(crate) prepare: Box<dyn Fn(&Path)>,
    /// More arguments of both mirrors.
    pub(crate) mirror_arguments: Vec<&'static str>,
    /// Variables in the near side's environment.
    pub(crate) near_variables: Vec<(&'static str, String)>,
    /// Variables in the far side's environment.
    pub(crate) far_variables: Vec<(&'static str, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            faults: "none",
            seed: 1,
            profile: Profile::Copy,
            layout: Layout::Tree,
            mode: "Sealed",
            near: Box::new(|_| {}),
            far: Box::new(|_| {}),
            prepare: Box::new(|_| {}),
            mirror_arguments: Vec::new(),
            near_variables: Vec::new(),
            far_variables: Vec::new(),
        }
    }
}

/// Two engines with what is between and behind them. The folder of everything goes last.
pub(crate) struct Line {
    pub(crate) near: Engine,
    pub(crate) far: Engine,
    pub(crate) upstream: Arc<Upstream>,
    mirrors: [Process; 2],
    pub(crate) folder: tempfile::TempDir,
}

impl Line {
    /// Starts everything and waits until both engines are ready. Both sides allow every method and path on the upstream;
    /// the route to it is `up`.
    pub(crate) fn start(options: &Options) -> Self {
        Self::start_with(options, Upstream::start())
    }

    /// As [`Self::start`], with an upstream that the options know.
    pub(crate) fn start_with(options: &Options, upstream: Arc<Upstream>) -> Self {
        let folder = folder();
        let place = folder.path();
        for side in ["north", "south"] {
            for name in ["out", "in", "state"] {
                std::fs::create_dir_all(place.join(side).join(name)).unwrap();
            }
            keygen(place, side);
        }
        (options.prepare)(place);
        let mirrors = [
            mirror(place, "north", "south", options, options.seed),
            mirror(place, "south", "north", options, options.seed + 1),
        ];
        let near = Engine::start_with(place, "north", "south", options.near_variables.clone(), &|file| {
            usual(file, options);
            let up = Destination { ..destination("http", "127.0.0.1", upstream.port) };
            file.outbound.allow.push(outbound("up", up, Some(upstream.url("/"))));
            (options.near)(file);
        });
        let far = Engine::start_with(place, "south", "north", options.far_variables.clone(), &|file| {
            usual(file, options);
            file.inbound.allow.push(inbound("up", destination("http", "127.0.0.1", upstream.port)));
            (options.far)(file);
        });
        Self { near, far, upstream, mirrors, folder }
    }

    /// The port that callers use.
    pub(crate) fn door(&self) -> Door {
        self.near.door()
    }

    /// Stops the mirror that takes away what `engine` writes, until what this gives is dropped.
    pub(crate) fn outage_from(&self, engine: &Engine) -> Paused<'_> {
        self.mirrors[usize::from(engine.side != self.near.side)].pause()
    }

    /// A path of the upstream as absolute target.
    pub(crate) fn url(&self, path: &str) -> String {
        self.upstream.url(path)
    }

    /// A call that must work: proves that whatever happened before has had no effect on others.
    #[track_caller]
    pub(crate) fn assert_works(&self) {
        let answer = self.door().post(&self.url("/echo"), b"still well?").expect_status(200);
        assert_eq!(answer.text(), "still well?");
    }

    /// The ends of all logs, and what the engines say of themselves.
    pub(crate) fn logs(&self) -> String {
        let names = ["north/engine.log", "south/engine.log", "north/mirror.log", "south/mirror.log"];
        let mut text: String = names.iter().map(|name| tail(&self.folder.path().join(name))).collect();
        for engine in [&self.near, &self.far] {
            let status = engine.admin().patient_for(Duration::from_secs(10)).call("GET", "/statusz").try_send();
            let status = status.map_or_else(|error| error.to_string(), |answer| answer.text());
            text.push_str(&format!("--- /statusz of `{}`\n{status}\n", engine.side));
        }
        text
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

/// A line that several tests use. Its children end with the process.
pub(crate) struct SharedLine(pub(crate) &'static Line);

impl Deref for SharedLine {
    type Target = Line;

    fn deref(&self) -> &Line {
        self.0
    }
}

impl Drop for SharedLine {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

/// One engine: its files, its ports, and the process while it runs.
pub(crate) struct Engine {
    pub(crate) side: String,
    pub(crate) folder: PathBuf,
    proxy: u16,
    admin: u16,
    /// Variables of its environment.
    variables: Vec<(&'static str, String)>,
    process: Mutex<Option<Process>>,
}

impl Engine {
    /// Writes a configuration (`change` fills it in) and starts the engine.
    pub(crate) fn start(place: &Path, side: &str, other: &str, change: &dyn Fn(&mut ConfigFile)) -> Self {
        Self::start_with(place, side, other, Vec::new(), change)
    }

    /// As [`Self::start`], with variables in the environment.
    pub(crate) fn start_with(
        place: &Path,
        side: &str,
        other: &str,
        variables: Vec<(&'static str, String)>,
        change: &dyn Fn(&mut ConfigFile),
    ) -> Self {
        let home = place.join(side);
        for _ in 0..PORT_ATTEMPTS {
            let engine = Self {
                side: side.to_owned(),
                folder: home.clone(),
                proxy: free_port(),
                admin: free_port(),
                variables: variables.clone(),
                process: Mutex::default(),
            };
            let folders = Folders {
                outbox: "out".into(),
                inbox: "in".into(),
                layout: Layout::default(),
                publish_sync: PublishSync::default(),
            };
            let mut file = ConfigFile::new(side, other, folders, "state".into());
            file.identity.secret_file = Some(format!("{side}.key").into());
            file.remote.key_files = vec![format!("../{other}/{other}.pub").into()];
            file.listen.proxy = format!("127.0.0.1:{}", engine.proxy);
            file.listen.admin = format!("127.0.0.1:{}", engine.admin);
            change(&mut file);
            std::fs::write(engine.config(), file.to_yaml().unwrap()).unwrap();
            if engine.try_start_again() {
                return engine;
            }
        }
        panic!("no free ports for `{side}` were found");
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.join("hoft.yaml")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("engine.log")
    }

    pub(crate) fn proxy_port(&self) -> u16 {
        self.proxy
    }

    pub(crate) fn door(&self) -> Door {
        Door::at(self.proxy)
    }

    pub(crate) fn admin(&self) -> Door {
        Door::at(self.admin)
    }

    /// Starts it with the same files and ports, and waits until it is ready.
    pub(crate) fn start_again(&self) {
        assert!(self.try_start_again(), "the ports were taken meanwhile:\n{}", tail(&self.log()));
    }

    /// False when a port is in use.
    fn try_start_again(&self) -> bool {
        let mut command = hoft();
        command.arg("sidecar").arg("--config").arg(self.config());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let mut process = Process::start(command, &self.log());
        let began = Instant::now();
        loop {
            if let Some(status) = process.ended() {
                let text = std::fs::read_to_string(self.log()).unwrap_or_default();
                assert!(text.contains("cannot be opened"), "`{}` ended with {status}:\n{text}", self.side);
                return false;
            }
            // The port may be somebody else's until ours is bound, so only this engine's own answer counts.
            if self.admin().call("GET", "/readyz").try_send().is_ok_and(|answer| answer.status == 200) {
                *self.running() = Some(process);
                return true;
            }
            assert!(began.elapsed() < PATIENCE, "`{}` does not get ready:\n{}", self.side, tail(&self.log()));
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) {
        self.running().take().unwrap().kill();
    }

    /// SIGTERM, and its exit status.
    pub(crate) fn stop(&self) -> std::process::ExitStatus {
        let mut process = self.running().take().unwrap();
        process.ask_to_end();
        process.wait()
    }

    /// True while the process runs.
    pub(crate) fn runs(&self) -> bool {
        self.running().as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// Lets the highest resident memory begin anew.
    pub(crate) fn forget_peak(&self) {
        if let Some(process) = self.running().as_ref() {
            process.forget_peak();
        }
    }

    /// The highest resident memory so far, in bytes.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        self.running().as_ref()?.peak_memory()
    }

    /// What `/statusz` says.
    #[track_caller]
    pub(crate) fn statusz(&self) -> Value {
        self.admin().get("/statusz").expect_status(200).json()
    }

    /// What is known of an operation, once `wanted` holds of it.
    #[track_caller]
    pub(crate) fn operation_when(&self, id: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("operation {id} is {what}"), || {
            let answer = self.door().get(&format!("/v1/operations/{id}"));
            (answer.status == 200).then(|| answer.json()).filter(&wanted)
        })
    }

    /// The stored response of an operation, waiting while there is none yet.
    #[track_caller]
    pub(crate) fn result(&self, id: &str) -> Answer {
        eventually(&format!("operation {id} has an outcome"), || {
            let answer = self.door().get(&format!("/v1/operations/{id}/result"));
            let pending = answer.status == 409 && answer.text().contains("result-not-ready");
            (!pending).then_some(answer)
        })
    }
}

fn usual(file: &mut ConfigFile, options: &Options) {
    file.folders.layout = options.layout;
    file.mirror.profile = options.profile;
    file.mirror.expected_latency = Duration::from_millis(200);
    file.mirror.quiet_min = Duration::from_millis(200);
    file.modes.send = options.mode.to_owned();
    file.log.level = LogLevel::Debug;
    if options.mode == "Checksum" {
        file.allow_unauthenticated = true;
        file.identity.secret_file = None;
        file.remote.key_files.clear();
    }
}

fn mirror(place: &Path, from: &str, to: &str, options: &Options, seed: u64) -> Process {
    let profile = match options.profile {
        Profile::Copy => "copy",
        Profile::Move => "move",
        Profile::Sync => "sync",
    };
    let mut command = hoft();
    command.arg("mirror").arg("--from").arg(place.join(from).join("out")).arg("--to").arg(place.join(to).join("in"));
    command.args(["--profile", profile, "--faults", options.faults, "--seed", &seed.to_string()]);
    command.args(&options.mirror_arguments);
    Process::start(command, &place.join(from).join("mirror.log"))
}

/// Makes the keys of a side: `SIDE/SIDE.key` and `SIDE/SIDE.pub`.
pub(crate) fn keygen(place: &Path, side: &str) {
    let home = place.join(side);
    let path = |end: &str| home.join(format!("{side}.{end}")).display().to_string();
    let (status, text) = run(&["keygen", "--side", side, "--out", &path("key"), "--public", &path("pub")]);
    assert!(status.success(), "{text}");
}

/// Every method and path of a place.
pub(crate) fn destination(scheme: &str, host: &str, port: u16) -> Destination {
    Destination {
        schemes: vec![scheme.to_owned()],
        host: host.to_owned(),
        port: Some(port),
        methods: vec!["*".to_owned()],
        paths: vec!["/".to_owned()],
    }
}

/// A rule of the calling side.
pub(crate) fn outbound(name: &str, destination: Destination, target: Option<String>) -> OutboundRule {
    OutboundRule { target, timeout: Duration::from_secs(600), ..OutboundRule::new(name, vec![destination]) }
}

/// A rule of the executing side, which may connect to loopback.
pub(crate) fn inbound(name: &str, destination: Destination) -> InboundRule {
    InboundRule {
        addresses: vec!["127.0.0.0/8".to_owned(), "::1".to_owned()],
        timeout: Duration::from_secs(600),
        ..InboundRule::new(name, vec![destination])
    }
}

/// A port that nobody listens on, outside of the range from which the system gives ports to connections.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Not the process' number: tests with mounts all have the same one in their namespaces.
    static FIRST: LazyLock<u16> =
        LazyLock::new(|| u16::try_from(RandomState::new().build_hasher().finish() % 97).unwrap_or(0) * 200);
    loop {
        let port = 12_000 + (*FIRST + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A fresh operation id.
pub(crate) fn operation_id() -> String {
    uuid::Uuid::now_v7().to_string()
}
