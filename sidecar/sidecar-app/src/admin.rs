//! The admin port: probes for the kubelet, `/statusz` for people and the operator, `/metrics` for Prometheus.
//!
//! Plain HTTP/1, GET and HEAD only; nothing here changes anything. Invariants: it answers while the log is recovered and
//! while a folder or the peer is gone; at most one question to the driver waits, whoever asks, so a stuck driver gathers no
//! memory; connections are few, short and bounded; a Host that is a foreign name is refused, because a web page must not
//! read this port by DNS rebinding. It has no TLS and no callers' identities: bind it where only operators reach it. Files:
//! `guard.rs` the Host, `pages.rs` the answers, `status_page.rs` the page for browsers. Test to read first: `livez_fails_when_the_driver_does_not_answer`.

mod guard;
mod pages;
mod status_page;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::canary::Folder;
use crate::egress::Counters;
use crate::exchange::DriverHandle;
use crate::ingress::cache::Cache;
use crate::ingress::quotas::Quotas;
use crate::page::Page;
use crate::status::{BacklogAges, CallsMade, EngineStatus, FolderView, NearSideView, RefusedView};

/// How long the driver may take to answer before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the age of the backlog is measured, whether or not anybody asks.
const SAMPLE_PERIOD: Duration = Duration::from_secs(5);
/// Connections at once; more wait in the listen queue.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may stay.
const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(30);
/// How long a request's head may take, and a connection may be idle.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// Octets of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long an answer that is under way may take after the end.
const GRACE: Duration = Duration::from_secs(1);
/// Pause after a failed accept: it fails again at once while descriptors are short.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What the engine says of itself to the probes.
#[derive(Default)]
pub struct Health {
    started: AtomicBool,
    ready: AtomicBool,
    folders: OnceLock<Vec<Arc<Folder>>>,
    near_side: OnceLock<(Arc<Quotas>, Arc<Cache>)>,
    calls: OnceLock<Arc<Counters>>,
}

impl Health {
    /// The configuration is read, the log recovered, and the driver runs. There is no way back.
    pub fn set_started(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// Whether calls are accepted.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// The mirrored folders, as their canaries see them. Said once.
    pub fn set_folders(&self, folders: Vec<Arc<Folder>>) {
        let _ = self.folders.set(folders);
    }

    /// How the mirrored folders are right now, whatever the driver waits for.
    #[must_use]
    pub fn folders(&self) -> Vec<FolderView> {
        self.folders.get().into_iter().flatten().map(|folder| folder.view()).collect()
    }

    /// The counters of the local port. Said once.
    pub(crate) fn set_near_side(&self, counted: (Arc<Quotas>, Arc<Cache>)) {
        let _ = self.near_side.set(counted);
    }

    /// What the local port counted.
    fn near_side(&self) -> NearSideView {
        let Some((quotas, cache)) = self.near_side.get() else { return NearSideView::default() };
        let refused = quotas.refused().into_iter().map(|(rule, bound, calls)| RefusedView { rule, bound, calls });
        let counts = cache.counts();
        NearSideView {
            quota_refused: refused.collect(),
            cache_outcomes: counts.outcomes,
            cache_bytes: counts.bytes,
            cache_responses: counts.responses,
            cache_evicted: counts.evicted,
        }
    }

    /// The counters of the calls that are made here. Said once.
    pub fn set_calls(&self, calls: Arc<Counters>) {
        let _ = self.calls.set(calls);
    }

    /// Did [`Self::set_started`] happen?
    #[must_use]
    pub fn started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    /// Are calls accepted?
    #[must_use]
    pub fn ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
}

/// Serves the admin port until told to stop; then answers under way are finished.
///
/// Until the engine is started `/statusz` shows `before`: who it is, and nothing else.
pub async fn serve(
    listener: TcpListener,
    driver: DriverHandle,
    health: Arc<Health>,
    before: EngineStatus,
    page: Arc<Page>,
    stop: CancellationToken,
) {
    Admin::new(driver, health, before, page, PATIENCE).run(listener, stop).await;
}

/// Why there is no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum NoStatus {
    /// The driver does not run yet.
    #[error("starting: the log is being read")]
    Starting,
    /// The driver did not answer.
    #[error("the driver did not answer within {} s: its disk may hang", .0.as_secs_f32())]
    Late(Duration),
    /// The driver is gone.
    #[error("the driver has ended")]
    Ended,
}

/// What all connections share.
struct Admin {
    driver: DriverHandle,
    health: Arc<Health>,
    /// What is known before the driver runs.
    before: EngineStatus,
    page: Arc<Page>,
    patience: Duration,
    began: Instant,
    /// Held while the driver is asked.
    asking: Mutex<Asking>,
}

/// What belongs to questions to the driver, of which there is one at a time.
#[derive(Default)]
struct Asking {
    /// A question whose asker lost patience. It stays in the driver's queue, so no other is put there before its answer.
    left: Option<Pin<Box<dyn Future<Output = Option<EngineStatus>> + Send>>>,
    ages: BacklogAges,
}

impl Admin {
    fn new(
        driver: DriverHandle,
        health: Arc<Health>,
        before: EngineStatus,
        page: Arc<Page>,
        patience: Duration,
    ) -> Self {
        Self { driver, health, before, page, patience, began: Instant::now(), asking: Mutex::default() }
    }

    async fn run(self, listener: TcpListener, stop: CancellationToken) {
        let admin = Arc::new(self);
        let tasks = TaskTracker::new();
        tasks.spawn(Arc::clone(&admin).sample(stop.clone()));
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = accept(&listener, &slots) => accepted,
            };
            match accepted {
                Ok((stream, slot)) => {
                    tasks.spawn(Arc::clone(&admin).connection(stream, slot, stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin port cannot accept a connection");
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
        tasks.close();
        let _ = timeout(GRACE, tasks.wait()).await;
    }

    /// Looks at the backlogs again and again, so that their age does not depend on who asks how often.
    async fn sample(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(SAMPLE_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let look = async {
            loop {
                ticks.tick().await;
                // A driver that does not answer is reported by the probes.
                let _ = self.snapshot().await;
            }
        };
        stop.run_until_cancelled(look).await;
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, _slot: OwnedSemaphorePermit, stop: CancellationToken) {
        let service = service_fn(move |request| {
            let admin = Arc::clone(&self);
            async move { Ok::<_, Infallible>(admin.answer_or_show(&request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // An idle connection would keep a probe out.
            .keep_alive(false)
            .header_read_timeout(HEAD_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = async { tokio::select! { () = stop.cancelled() => {}, () = sleep(CONNECTION_LIFE_MAX) => {} } } => {
                connection.as_mut().graceful_shutdown();
                match timeout(GRACE, connection).await {
                    Ok(ended) => ended,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection of the admin port ended");
        }
    }

    /// The engine's state, with ages and diagnoses. Waits for whoever asks already, as part of its own patience.
    async fn snapshot(&self) -> Result<EngineStatus, NoStatus> {
        if !self.health.started() {
            return Err(NoStatus::Starting);
        }
        let ask = async {
            let mut asking = self.asking.lock().await;
            if let Some(left) = &mut asking.left {
                // What it says is as old as its answer, so it only tells that the driver answers again.
                let _ = left.await;
            }
            let driver = self.driver.clone();
            let question = asking.left.insert(Box::pin(async move { driver.status().await }));
            let answer = question.await;
            asking.left = None;
            let mut status = answer.ok_or(NoStatus::Ended)?;
            status.folders = self.health.folders();
            status.near_side = self.health.near_side();
            status.calls_made = self.health.calls.get().map(|calls| CallsMade::from(calls.read()));
            asking.ages.observe(self.began.elapsed(), &mut status);
            status.diagnose();
            Ok(status)
        };
        timeout(self.patience, ask).await.unwrap_or(Err(NoStatus::Late(self.patience)))
    }
}

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

#[cfg(test)]
mod tests;
