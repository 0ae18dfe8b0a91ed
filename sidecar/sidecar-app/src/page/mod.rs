//! The status page: what people see of this engine in a browser, at `/` of the local port and of the admin port.
//!
//! Rendered here, whole; it works without scripts, and where scripts run, the parts that changed are put in their place as
//! they come (`GET /v1/page-events`). Invariants: nothing here changes anything; nothing of outside becomes markup
//! (`html.rs`); the page loads nothing and cannot be framed (`document.rs`); of a target neither query nor credentials are
//! shown, and on the admin port, which others than the callers may reach, no path; however many look, the driver is asked
//! one question at a time (`watcher.rs`), and few may listen at once. Who may ask is the ports' business. Files: `health.rs`,
//! `figures.rs`, `operations.rs`, `tables.rs`, `charts.rs` the parts, `samples.rs` the past half hour, `events.rs` the
//! stream, `words.rs` numbers for people. Test to read first: `tests/line/status_page.rs`.

mod charts;
mod document;
mod events;
mod figures;
mod health;
mod html;
mod operations;
mod samples;
mod tables;
mod watcher;
mod words;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Response;
use http::header::{self, HeaderName, HeaderValue};
use sidecar_config::Config;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::html::Html;
pub use self::operations::{Filter, UnknownState};
use self::watcher::{Scene, Watcher};
use crate::admin::Health;
use crate::body::{self, BoxedBody};
use crate::exchange::DriverHandle;
use crate::status::EngineStatus;

/// Where the page is.
pub const PATH: &str = "/";
/// Where its events are.
pub const EVENTS_PATH: &str = "/v1/page-events";
/// Pages that are kept up to date at once.
const LISTENERS_MAX: usize = 16;
/// How long a page waits for a look at the engine that is fresh.
const FRESH_MAX: Duration = Duration::from_secs(3);

/// The port that a page is asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Where programs of this side call.
    Local,
    /// Where operators and probes look: its connections are short.
    Admin,
}

/// What never changes while the engine runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Name of the far side.
    far_side: String,
    /// What people compare of its pinned tokens.
    far_fingerprints: Vec<String>,
    /// What a first call could be: arguments of curl.
    example: String,
}

impl Facts {
    /// The facts of the engine that is configured so, whose local port is at `local`.
    #[must_use]
    pub fn new(config: &Config, far_fingerprints: Vec<String>, local: SocketAddr) -> Self {
        let route = config.outbound.allow.iter().find(|rule| rule.target.is_some());
        let example = match route {
            Some(route) => format!("http://localhost:{}/to/{}/", local.port(), route.name),
            None => format!("-x http://localhost:{} https://api.example/", local.port()),
        };
        Self { far_side: config.remote.name.to_string(), far_fingerprints, example }
    }

    #[cfg(test)]
    pub(crate) fn of_test() -> Self {
        Self {
            far_side: "south".to_owned(),
            far_fingerprints: vec!["abcd efgh".to_owned()],
            example: "http://localhost:8470/to/up/".to_owned(),
        }
    }
}

/// The page of one engine.
pub struct Page {
    facts: Facts,
    scene: watch::Receiver<Arc<Scene>>,
    wanted: Arc<Notify>,
    listeners: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Page {
    /// The page of the engine behind `driver`, of which `before` is known until it is started. It looks at the engine until
    /// `stop`; so this must be called within a runtime.
    #[must_use]
    pub fn start(
        facts: Facts,
        driver: DriverHandle,
        health: Arc<Health>,
        before: EngineStatus,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let (sender, scene) = watch::channel(Arc::new(Scene { status: before, ..Scene::default() }));
        let wanted = Arc::new(Notify::new());
        tokio::spawn(Watcher::new(driver, health, sender, Arc::clone(&wanted)).run(stop.clone()));
        Arc::new(Self { facts, scene, wanted, listeners: Arc::new(Semaphore::new(LISTENERS_MAX)), stop })
    }

    /// The page.
    pub async fn show(&self, filter: Filter, port: Port) -> Response<BoxedBody> {
        let scene = self.fresh().await;
        let html = document::render(&scene, &self.facts, filter, port);
        let mut response = guarded(Response::new(body::full(html.into_string())), "text/html; charset=utf-8");
        let policy = HeaderValue::from_static(document::content_security_policy());
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        response
    }

    /// What changes of it, as it changes. `None` when too many listen already.
    pub fn listen(self: &Arc<Self>, filter: Filter, port: Port) -> Option<Response<BoxedBody>> {
        let permit = Arc::clone(&self.listeners).try_acquire_owned().ok()?;
        let stream = events::stream(Arc::clone(self), permit, filter, port);
        Some(guarded(Response::new(stream), events::CONTENT_TYPE))
    }

    /// The answer to HEAD where a GET would listen.
    #[must_use]
    pub fn head_of_events() -> Response<BoxedBody> {
        guarded(Response::new(body::full("")), events::CONTENT_TYPE)
    }

    /// A look that begins from here on, if the engine answers.
    async fn fresh(&self) -> Arc<Scene> {
        let (asked, mut scene) = (Instant::now(), self.scene.clone());
        scene.borrow_and_update();
        self.wanted.notify_one();
        let fresh = |scene: &Arc<Scene>| {
            scene.late.is_some() || !scene.status.started || scene.begun.is_some_and(|begun| begun >= asked)
        };
        let _ = timeout(FRESH_MAX, async { while scene.changed().await.is_ok() && !fresh(&scene.borrow()) {} }).await;
        Arc::clone(&scene.borrow())
    }
}

/// Fields that keep a browser from doing more with an answer than showing it here.
fn guarded(mut response: Response<BoxedBody>, content_type: &'static str) -> Response<BoxedBody> {
    let fields = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in fields {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The parts of the page that change, by the id of the element that holds each.
fn parts(scene: &Scene, facts: &Facts, filter: Filter, port: Port) -> [(&'static str, Html); 8] {
    [
        ("verdict", health::headline(scene)),
        ("health", health::details(scene, facts)),
        ("figures", figures::figures(scene)),
        ("operations", operations::table(scene, facts, filter, port)),
        ("charts", charts::over_time(scene)),
        ("packets", tables::packets(scene)),
        ("peers", tables::peers(scene)),
        ("folders", tables::folders(scene)),
    ]
}
