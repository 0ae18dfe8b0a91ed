//! `hoft sidecar`: an engine from its configuration to its end.
//!
//! Starts, in this order: configuration, keys and folders (all problems together), ports, the log with its recovery, the
//! threads (driver, outbox, inbox), the doors. Readiness follows recovery. SIGTERM and SIGINT end it: doors first, the
//! driver last; what is in the log goes on at the next start. A driver that fails ends the process with status 1.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use disk::dir::Dir;
use disk::log::{Log, LogOptions};
use layer0_pipe::{Inbox, InboxOptions, Layout, Local, Outbox, OutboxOptions, Profile, PublishSync};
use layer1_replication::Config as ReplicationConfig;
use sidecar_config::Config;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;
use wire::control::EndpointName;
use wire::limits::MIN_MAX_FRAME;

use crate::driver::{Driver, Event, Outlets, Settings, unix_ms};
use crate::exchange::{DriverHandle, FarExchange};
use crate::pipe::{self, InboxCommand};
use crate::preflight::{Preflight, load_config, suite};
use crate::{admin, egress, ingress, logging, policies, watch};

/// How long open calls may go on after a signal before their connections are closed. They stay in the log.
const GRACE: Duration = Duration::from_secs(3);

/// Run an engine.
#[derive(Debug, clap::Args)]
pub struct SidecarArgs {
    /// The configuration; `hoft config init` writes a first one.
    #[arg(long, env = "HOFT_CONFIG")]
    config: PathBuf,
}

/// Runs the subcommand until a signal ends it.
///
/// # Errors
/// When the engine cannot start, or stops because its log failed.
pub fn main(args: &SidecarArgs) -> Result<()> {
    let config = load_config(&args.config)?;
    logging::start(&config.log);
    let preflight = Preflight::run(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    let result = runtime.block_on(run(config, preflight));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn run(config: Config, preflight: Preflight) -> Result<()> {
    let proxy = bind("listen.proxy", config.listen.proxy).await?;
    let admin = bind("listen.admin", config.listen.admin).await?;
    let health = Arc::new(admin::Health::default());
    let stop = CancellationToken::new();
    let (log, recovered) = Log::open(config.state.folder.clone(), *preflight.me.as_bytes(), LogOptions::default())
        .with_context(|| format!("state.folder: {}", config.state.folder.display()))?;
    let (events, inbox_of_driver) = channel();
    let handle = DriverHandle::new(events.clone(), log.reader());
    // The admin port answers while the log is read: a long recovery is not a dead engine.
    let admin_task = tokio::spawn(admin::serve(admin, handle.clone(), Arc::clone(&health), stop.clone()));
    let (egress_jobs, executions) = unbounded_channel();
    let threads =
        Threads::start(&config, &preflight, log, recovered, events.clone(), inbox_of_driver, &handle, egress_jobs)?;
    health.set_started();
    let doors = start_doors(&config, &preflight, proxy, &handle, executions, &stop)?;
    tracing::info!(
        side = %config.local.name, endpoint = %preflight.me, peer = %config.remote.name,
        proxy = %doors.address, admin = %config.listen.admin, "engine ready"
    );
    health.set_ready(true);
    let ended = wait_for_end(threads.driver_ended).await;
    health.set_ready(false);
    stop.cancel();
    let _ = tokio::time::timeout(GRACE, doors.ingress).await;
    // The driver ends before the egress: a call that is cut off here must look like one cut off by a crash, which the
    // next start knows how to go on from, not like one that failed.
    let _ = events.send(Event::Stop);
    let _ = threads.inbox_commands.send(InboxCommand::Stop);
    let driver = tokio::task::spawn_blocking(move || threads.driver.join()).await.context("the driver's thread")?;
    doors.egress.abort();
    admin_task.abort();
    match driver {
        Ok(result) => result.map_err(anyhow::Error::from)?,
        Err(_) => {
            return Err(anyhow!("the driver panicked: this is a bug; the state folder is as the last commit left it"));
        }
    }
    if ended == Ended::Driver {
        return Err(anyhow!("the driver ended by itself: this is a bug"));
    }
    tracing::info!("engine stopped");
    Ok(())
}

async fn bind(field: &str, address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("{field}: {address} cannot be opened; stop what uses it, or choose another port in the configuration")
    })
}

#[derive(PartialEq, Eq)]
enum Ended {
    Signal,
    Driver,
}

async fn wait_for_end(driver_ended: tokio::sync::oneshot::Receiver<()>) -> Ended {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => {
            tracing::error!(%error, "SIGTERM cannot be handled");
            return Ended::Signal;
        }
    };
    tokio::select! {
        _ = terminate.recv() => { tracing::info!("SIGTERM: stopping"); Ended::Signal }
        _ = tokio::signal::ctrl_c() => { tracing::info!("interrupted: stopping"); Ended::Signal }
        _ = driver_ended => Ended::Driver,
    }
}

struct Doors {
    address: SocketAddr,
    ingress: tokio::task::JoinHandle<()>,
    egress: tokio::task::JoinHandle<()>,
}

fn start_doors(
    config: &Config,
    preflight: &Preflight,
    proxy: TcpListener,
    handle: &DriverHandle,
    executions: UnboundedReceiver<FarExchange>,
    stop: &CancellationToken,
) -> Result<Doors> {
    let address = proxy.local_addr().context("the proxy port")?;
    let pseudonym = pseudonym(config);
    let ingress = ingress::Ingress::new(config, policies::outbound(config)?, handle.clone(), pseudonym.clone());
    let egress = egress::Egress::new(config, policies::inbound(config)?, pseudonym, preflight.me)?;
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
    driver: JoinHandle<Result<(), crate::driver::DriverError>>,
    driver_ended: tokio::sync::oneshot::Receiver<()>,
    inbox_commands: Sender<InboxCommand>,
    _hint: Option<watch::Hint>,
}

impl Threads {
    #[allow(clippy::too_many_arguments, reason = "the one place where everything meets")]
    fn start(
        config: &Config,
        preflight: &Preflight,
        log: Log,
        recovered: disk::log::Recovered,
        events: Sender<Event>,
        inbox_of_driver: Receiver<Event>,
        handle: &DriverHandle,
        egress: tokio::sync::mpsc::UnboundedSender<FarExchange>,
    ) -> Result<Self> {
        let (outbox_jobs, outbox_queue) = channel();
        let (inbox_commands, inbox_queue) = channel();
        let reader = log.reader();
        let outlets = Outlets { egress, outbox: outbox_jobs, inbox: inbox_commands.clone(), handle: handle.clone() };
        let driver = Driver::recover(settings(config, preflight)?, log, recovered, outlets)
            .context("the log cannot be recovered")?;
        let outbox = make_outbox(config, preflight)?;
        let inbox = make_inbox(config, preflight);
        let outbox_events = events.clone();
        spawn("outbox", move || pipe::run_outbox(outbox, &reader, &outbox_queue, &outbox_events))?;
        spawn("inbox", move || pipe::run_inbox(inbox, &inbox_queue, &events))?;
        let (ended, driver_ended) = tokio::sync::oneshot::channel();
        let driver = spawn("driver", move || {
            let result = driver.run(&inbox_of_driver);
            let _ = ended.send(());
            result
        })?;
        let local = !preflight.inbox.is_network();
        let hint = if local { watch::start(preflight.inbox.root(), inbox_commands.clone()) } else { None };
        Ok(Self { driver, driver_ended, inbox_commands, _hint: hint })
    }
}

fn spawn<T: Send + 'static>(name: &str, body: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(body).with_context(|| format!("the {name} thread cannot start"))
}

fn settings(config: &Config, preflight: &Preflight) -> Result<Settings> {
    Ok(Settings {
        me: preflight.me,
        side: config.local.name.to_string(),
        my_name: EndpointName { kind: config.local.kind.as_str().to_owned(), name: config.local.endpoint.clone() },
        default_peer: preflight.peer,
        peer_name: config.remote.name.to_string(),
        replication: ReplicationConfig {
            expected_latency: config.mirror.expected_latency,
            packet_bytes_target: config.mirror.packet_size.as_u64(),
            receive_pool_bytes: config.state.receive_pool.as_u64(),
            stream_window_bytes: config.limits.stream_window.as_u64(),
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
        inbound: policies::inbound(config)?,
        pseudonym: pseudonym(config),
    })
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
    let dir: Arc<dyn Dir> = preflight.outbox.clone();
    Outbox::new(dir, preflight.me, preflight.identity.clone(), Arc::clone(&preflight.peer_keys), options)
        .context("folders.outbox")
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
        unix_ms_at_zero: i64::try_from(unix_ms()).unwrap_or(i64::MAX),
        ..InboxOptions::default()
    };
    let dir: Arc<dyn Dir> = preflight.inbox.clone();
    Inbox::new(dir, vec![local], options)
}
