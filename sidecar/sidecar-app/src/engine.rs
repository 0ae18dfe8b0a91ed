//! `hoft sidecar`: an engine from its configuration to its end.
//!
//! Starts, in this order: signals, configuration, keys and folders (all problems together), ports, the log with its
//! recovery, the threads (driver, outbox, inbox), the doors. Readiness follows recovery. SIGTERM and SIGINT end it at any
//! time, within a second and a half and with status 0: doors first, the driver last; what is in the log goes on at the next
//! start. A driver that fails ends the process with status 1. One that took a new incarnation (`driver/life.rs`) lets all of this
//! end and start again, in the same process.

mod last_words;
mod signals;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use disk::dir::Dir;
use disk::log::{Log, LogOptions};
use layer0_pipe::{Inbox, InboxOptions, Layout, Local, Outbox, OutboxOptions, Pace, PaceOptions, Profile, PublishSync};
use layer1_replication::Config as ReplicationConfig;
use sidecar_config::{Config, EndpointKind};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;
use wire::control::EndpointName;
use wire::limits::MIN_MAX_FRAME;

use self::signals::Signals;
use crate::callbacks::Callbacks;
use crate::canary::{Canary, Folder};
use crate::commands::given::GivenArgs;
use crate::driver::{Driver, DriverError, Event, MembershipSettings, Outlets, Settings, System, unix_ms};
use crate::exchange::{DriverHandle, FarExchange};
use crate::page::{Facts, Page};
use crate::pipe::{self, InboxCommand};
use crate::preflight::{Preflight, load_config, suite};
use crate::shares::Demand;
use crate::status::EngineStatus;
use crate::{admin, egress, ingress, logging, policies, watch};

/// Set aside on the volume besides the receive pool: for checkpoints, acknowledgements and marks.
const CHECKPOINT_ROOM_BYTES: u64 = 32 << 20;
/// How long a head waits for the rest of its message: some times what the log and the next task take, and little beside a mirror.
const GATHER_MAX: Duration = Duration::from_millis(1);
/// How long open calls may go on after a signal before their connections are closed. They stay in the log.
const GRACE: Duration = Duration::from_millis(700);
/// How long the driver may take to its end. A disk that hangs is not waited for: what was promised is durable.
const DRIVER_GRACE: Duration = Duration::from_millis(500);
/// How long a folder that hangs may hold up a new life.
const PIPE_GRACE: Duration = Duration::from_secs(5);
/// How long what is left may take.
const RUNTIME_GRACE: Duration = Duration::from_millis(100);
/// The kubelet may give no more than two seconds between SIGTERM and SIGKILL.
const STOP_MS_MAX: u128 = 1_500;
const _: () = assert!(
    GRACE.as_millis() + last_words::PATIENCE.as_millis() + DRIVER_GRACE.as_millis() + RUNTIME_GRACE.as_millis()
        <= STOP_MS_MAX
);

/// Run an engine.
#[derive(Debug, clap::Args)]
pub struct SidecarArgs {
    /// The configuration; `hoft config init` writes a first one.
    #[arg(long, env = "HOFT_CONFIG")]
    config: PathBuf,
    #[command(flatten)]
    given: GivenArgs,
    /// File for a line of JSON at a graceful end: the ids of the calls that are still open. On Kubernetes
    /// /dev/termination-log.
    #[arg(long, env = "HOFT_TERMINATION_LOG")]
    termination_log: Option<PathBuf>,
}

/// Runs the subcommand until a signal ends it.
///
/// # Errors
/// When the engine cannot start, or stops because its log failed.
pub fn main(args: &SidecarArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    let result = runtime.block_on(run(args));
    runtime.shutdown_timeout(RUNTIME_GRACE);
    result
}

async fn run(args: &SidecarArgs) -> Result<()> {
    // First of all: what follows may wait for a disk.
    let mut signals = Signals::install()?;
    let config = load_config(&args.config, &args.given.overrides())?;
    logging::start(&config.log);
    let config = Arc::new(config);
    loop {
        let mut engine = tokio::select! {
            biased;
            name = signals.next() => {
                // Nothing was accepted, and the log is left as a crash would leave it.
                tracing::info!("{name}: ended before the engine was ready");
                return Ok(());
            }
            engine = Engine::start(Arc::clone(&config)) => engine?,
        };
        let by_itself = tokio::select! {
            name = signals.next() => { tracing::info!("{name}: stopping"); false }
            _ = &mut engine.driver_ended => true,
        };
        let last_words = args.termination_log.as_deref().filter(|_| !by_itself);
        match (engine.stop(last_words).await?, by_itself) {
            (_, false) => break,
            (End::NewLife, true) => tracing::info!("the engine starts again, with its new incarnation"),
            (End::Stopped, true) => return Err(anyhow!("the driver ended by itself: this is a bug")),
        }
    }
    tracing::info!("engine stopped");
    Ok(())
}

/// How an engine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stopped,
    /// It goes on, from the start.
    NewLife,
}

/// A running engine.
struct Engine {
    health: Arc<admin::Health>,
    stop: CancellationToken,
    handle: DriverHandle,
    events: Sender<Event>,
    inbox_commands: Sender<InboxCommand>,
    driver: JoinHandle<Result<(), DriverError>>,
    driver_ended: tokio::sync::oneshot::Receiver<()>,
    pipes: [JoinHandle<()>; 2],
    doors: Doors,
    admin: tokio::task::JoinHandle<()>,
    _hint: Option<watch::Hint>,
    _canary: Canary,
}

impl Engine {
    async fn start(config: Arc<Config>) -> Result<Self> {
        let preflight = off_the_runtime({
            let config = Arc::clone(&config);
            move || Preflight::run(&config, Demand::Nameable)
        });
        let preflight = Arc::new(preflight.await?);
        let proxy = bind("listen.proxy", config.listen.proxy).await?;
        let admin = bind("listen.admin", config.listen.admin).await?;
        let (health, stop) = (Arc::new(admin::Health::default()), CancellationToken::new());
        let folders = preflight.watched(&config);
        health.set_folders(folders.to_vec());
        let (folder, owner) = (config.state.folder.clone(), *preflight.me.as_bytes());
        let pool = config.state.receive_pool.as_u64();
        // A small volume is not filled by what is set aside on it.
        let aside = pool.saturating_add(CHECKPOINT_ROOM_BYTES.min(pool / 4));
        let (log, recovered) = off_the_runtime(move || {
            let opened = Log::open(folder.clone(), owner, LogOptions::default()).and_then(|(mut log, recovered)| {
                log.set_aside(aside)?;
                Ok((log, recovered))
            });
            opened.with_context(|| format!("state.folder: {}", folder.display()))
        })
        .await?;
        let (events, inbox_of_driver) = channel();
        let handle = DriverHandle::new(events.clone(), log.reader());
        // The admin port answers while the log is replayed: a long recovery is not a dead engine.
        let before =
            EngineStatus { started: false, ..EngineStatus::new(&preflight.facts(&config), unix_ms(), unix_ms()) };
        let facts =
            Facts::new(&config, preflight.peer_fingerprints.clone(), proxy.local_addr().context("the proxy port")?);
        let page = Page::start(facts, handle.clone(), Arc::clone(&health), before.clone(), stop.clone());
        let (of_admin, ends) = (Arc::clone(&page), stop.clone());
        let admin = tokio::spawn(admin::serve(admin, handle.clone(), Arc::clone(&health), before, of_admin, ends));
        let (egress_jobs, executions) = unbounded_channel();
        let canary = Canary::start(&folders, &events).context("the canary cannot start")?;
        let [outbox_folder, _] = folders;
        let threads = off_the_runtime({
            let (config, preflight) = (Arc::clone(&config), Arc::clone(&preflight));
            let (events, handle) = (events.clone(), handle.clone());
            move || {
                let seen = (outbox_folder, inbox_of_driver);
                Threads::start(&config, &preflight, log, recovered, events, seen, &handle, egress_jobs)
            }
        })
        .await?;
        health.set_started();
        let doors = start_doors(&config, &preflight, proxy, &handle, page, executions, &stop, &health)?;
        tracing::info!(
            side = %config.local.name, endpoint = %preflight.me, peer = %config.remote.name,
            proxy = %doors.address, admin = %config.listen.admin, "engine ready"
        );
        health.set_ready(true);
        let Threads { driver, driver_ended, pipes, inbox_commands, hint } = threads;
        Ok(Self {
            health,
            stop,
            handle,
            events,
            inbox_commands,
            driver,
            driver_ended,
            pipes,
            doors,
            admin,
            _hint: hint,
            _canary: canary,
        })
    }

    /// Ends it, whatever is open, within bounds.
    async fn stop(self, termination_log: Option<&Path>) -> Result<End> {
        self.health.set_ready(false);
        self.stop.cancel();
        let (drained, drains) = tokio::sync::oneshot::channel();
        let _ = self.events.send(Event::Drain(drained));
        let mut ingress = self.doors.ingress;
        // New calls are not wanted from now on, in neither direction; those under way may end.
        let (ended, _) = tokio::join!(tokio::time::timeout(GRACE, &mut ingress), tokio::time::timeout(GRACE, drains));
        if ended.is_err() {
            ingress.abort();
            let _ = ingress.await;
        }
        if let Some(path) = termination_log {
            last_words::leave(path, &self.handle).await;
        }
        // The driver ends before the egress: a call that is cut off here must look like one cut off by a crash, which the
        // next start knows how to go on from, not like one that failed.
        let _ = self.events.send(Event::Stop);
        let _ = self.inbox_commands.send(InboxCommand::Stop);
        let joined = join(self.driver, DRIVER_GRACE).await;
        self.doors.egress.abort();
        self.admin.abort();
        match joined {
            Some(Ok(Err(DriverError::NewLife))) => {
                // The ports, and the folders: whoever used them in the old life is gone before the new one begins.
                let _ = (self.doors.egress.await, self.admin.await);
                for pipe in self.pipes {
                    let _ = join(pipe, PIPE_GRACE).await;
                }
                Ok(End::NewLife)
            }
            Some(Ok(result)) => result.map(|()| End::Stopped).map_err(anyhow::Error::from),
            Some(Err(_)) => {
                Err(anyhow!("the driver panicked: this is a bug; the state folder is as the last commit left it"))
            }
            None => {
                tracing::warn!(
                    "the log did not answer in time: the engine ends without waiting for it; nothing that was promised is lost"
                );
                Ok(End::Stopped)
            }
        }
    }
}

/// Waits for a thread, for so long at most.
async fn join<T: Send + 'static>(thread: JoinHandle<T>, grace: Duration) -> Option<thread::Result<T>> {
    let joined = tokio::task::spawn_blocking(move || thread.join());
    tokio::time::timeout(grace, joined).await.ok()?.ok()
}

/// Does what may wait for a disk, so that signals and probes are not kept waiting.
async fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("the start was cut off: this is a bug")?
}

async fn bind(field: &str, address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("{field}: {address} cannot be opened; stop what uses it, or choose another port in the configuration")
    })
}

struct Doors {
    address: SocketAddr,
    ingress: tokio::task::JoinHandle<()>,
    egress: tokio::task::JoinHandle<()>,
}

#[allow(clippy::too_many_arguments, reason = "the doors are where all of it is used")]
fn start_doors(
    config: &Config,
    preflight: &Preflight,
    proxy: TcpListener,
    handle: &DriverHandle,
    page: Arc<Page>,
    executions: UnboundedReceiver<FarExchange>,
    stop: &CancellationToken,
    health: &admin::Health,
) -> Result<Doors> {
    let address = proxy.local_addr().context("the proxy port")?;
    let pseudonym = pseudonym(config);
    let (callbacks, followed) = Callbacks::new(config, handle.clone())?;
    let ingress = ingress::Ingress::new(config, policies::outbound(config)?, handle.clone(), page, pseudonym.clone())
        .intercepting(crate::interception::Authority::open(config)?)
        .with_callbacks(Arc::clone(&callbacks));
    tokio::spawn(callbacks.serve(followed, stop.clone()));
    health.set_near_side(ingress.counted());
    let egress = egress::Egress::new(config, policies::inbound(config)?, pseudonym, preflight.me)?;
    health.set_calls(egress.counters());
    Ok(Doors {
        address,
        ingress: tokio::spawn(ingress::serve(Arc::new(ingress), proxy, stop.clone())),
        egress: tokio::spawn(egress::serve(Arc::new(egress), executions)),
    })
}

/// What this engine calls itself in Via, Forwarded and Proxy-Status.
fn pseudonym(config: &Config) -> String {
    format!("hoft-{}", config.local.name)
}

struct Threads {
    driver: JoinHandle<Result<(), DriverError>>,
    driver_ended: tokio::sync::oneshot::Receiver<()>,
    pipes: [JoinHandle<()>; 2],
    inbox_commands: Sender<InboxCommand>,
    hint: Option<watch::Hint>,
}

impl Threads {
    #[allow(clippy::too_many_arguments, reason = "the one place where everything meets")]
    fn start(
        config: &Config,
        preflight: &Preflight,
        log: Log,
        recovered: disk::log::Recovered,
        events: Sender<Event>,
        (folder, inbox_of_driver): (Arc<Folder>, Receiver<Event>),
        handle: &DriverHandle,
        egress: tokio::sync::mpsc::UnboundedSender<FarExchange>,
    ) -> Result<Self> {
        let (outbox_jobs, outbox_queue) = channel();
        let (inbox_commands, inbox_queue) = channel();
        let reader = log.reader();
        let outlets = Outlets { egress, outbox: outbox_jobs, inbox: inbox_commands.clone(), handle: handle.clone() };
        let driver = Driver::recover(settings(config, preflight)?, log, recovered, outlets, Arc::new(System::start()))
            .context("the log cannot be recovered")?;
        let outbox = make_outbox(config, preflight)?;
        let inbox = make_inbox(config, preflight);
        let outbox_events = events.clone();
        let pace = make_pace(config);
        let outbox = spawn("outbox", move || {
            pipe::run_outbox(outbox, pace, &folder, &reader, &outbox_queue, &outbox_events);
        })?;
        let inbox = spawn("inbox", move || pipe::run_inbox(inbox, &inbox_queue, &events))?;
        let (ended, driver_ended) = tokio::sync::oneshot::channel();
        let driver = spawn("driver", move || {
            let result = driver.run(&inbox_of_driver);
            let _ = ended.send(());
            result
        })?;
        let local = !preflight.inbox.is_network;
        let hint = if local { watch::start(preflight.inbox.dir.root(), inbox_commands.clone()) } else { None };
        Ok(Self { driver, driver_ended, pipes: [outbox, inbox], inbox_commands, hint })
    }
}

fn spawn<T: Send + 'static>(name: &str, body: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(body).with_context(|| format!("the {name} thread cannot start"))
}

fn settings(config: &Config, preflight: &Preflight) -> Result<Settings> {
    Ok(Settings {
        me: preflight.me,
        facts: preflight.facts(config),
        my_name: EndpointName { kind: config.local.kind.as_str().to_owned(), name: config.local.endpoint.clone() },
        default_peer: preflight.peer,
        peer_name: config.remote.name.to_string(),
        membership: Some(MembershipSettings {
            my_side: preflight.my_side,
            remote_side: preflight.remote_side,
            weight: executes(config).then(|| u64::from(config.local.weight)),
        }),
        replication: ReplicationConfig {
            expected_latency: config.mirror.expected_latency,
            packet_bytes_target: config.mirror.packet_size.as_u64(),
            receive_pool_bytes: config.state.receive_pool.as_u64(),
            stream_window_bytes: config.limits.stream_window.as_u64(),
            // What one body may be ahead of its reader is configured, and a promise.
            stream_window_bytes_max: 0,
            exchanges_max: u64::from(config.limits.max_in_flight),
            send_log_bytes_max: config.state.send_log.as_u64(),
            heartbeat: config.heartbeat.interval,
            mpl: config.mirror.packet_lifetime,
            max_frame: MIN_MAX_FRAME,
            software: format!("hoft {}", env!("CARGO_PKG_VERSION")),
        },
        result_ttl: config.state.result_ttl,
        results_bytes_max: config.state.results.as_u64(),
        loss_timeout: config.heartbeat.loss_timeout(config.mirror.expected_latency),
        gather_max: GATHER_MAX,
        forget_after: config.remote.forget_after,
        inbound: policies::inbound(config)?,
        pseudonym: pseudonym(config),
    })
}

/// Whether calls of the far side are meant for this endpoint. Engines beside an app read the same file as their gateway.
fn executes(config: &Config) -> bool {
    config.local.kind == EndpointKind::Gateway && !config.inbound.allow.is_empty()
}

fn make_outbox(config: &Config, preflight: &Preflight) -> Result<Outbox> {
    let options = OutboxOptions {
        layout: match config.folders.layout {
            sidecar_config::Layout::Tree => Layout::Tree,
            sidecar_config::Layout::Flat => Layout::Flat,
        },
        suite: suite(config.modes.send),
        sync: match config.folders.publish_sync {
            sidecar_config::PublishSync::Auto => PublishSync::Auto,
            sidecar_config::PublishSync::Always => PublishSync::Always,
            sidecar_config::PublishSync::Never => PublishSync::Never,
        },
        mpl: config.mirror.packet_lifetime,
        ..OutboxOptions::default()
    };
    let dir: Arc<dyn Dir> = preflight.outbox.dir.clone();
    Outbox::new(dir, preflight.me, preflight.identity.clone(), Arc::clone(&preflight.peer_keys), options)
        .context("folders.outbox")
}

fn make_pace(config: &Config) -> Pace {
    let bounds = config.outbox;
    Pace::new(PaceOptions {
        files_per_second: bounds.files_per_second,
        bytes_per_second: bounds.bytes_per_second.map(|size| size.as_u64()),
        files_max: bounds.files_max,
        bytes_max: bounds.bytes_max.map(|size| size.as_u64()),
    })
}

fn make_inbox(config: &Config, preflight: &Preflight) -> Inbox {
    let local = Local {
        endpoint: preflight.me,
        side: preflight.my_side,
        remote_side: preflight.remote_side,
        remote_name: config.remote.name.to_string(),
        identity: preflight.identity.clone(),
        peer_keys: Arc::clone(&preflight.peer_keys),
        suites: config.modes.accept.iter().map(|mode| suite(*mode)).collect(),
    };
    let options = InboxOptions {
        profile: match config.mirror.profile {
            sidecar_config::Profile::Copy => Profile::Copy,
            sidecar_config::Profile::Move => Profile::Move,
            sidecar_config::Profile::Sync => Profile::Sync,
        },
        quiet_min: config.mirror.quiet_min,
        poll_max: config.mirror.poll_max(),
        mpl: config.mirror.packet_lifetime,
        max_frame: MIN_MAX_FRAME,
        predict: Some(preflight.inbox.is_network),
        unix_ms_at_zero: i64::try_from(unix_ms()).unwrap_or(i64::MAX),
        ..InboxOptions::default()
    };
    let dir: Arc<dyn Dir> = preflight.inbox.dir.clone();
    Inbox::new(dir, vec![local], options)
}
