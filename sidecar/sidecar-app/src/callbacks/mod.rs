//! Callbacks: results and status events of calls, delivered to receivers on this side.
//!
//! A caller names URLs when it begins a call; they are held to the rules of `callbacks.allow` before anything is accepted, and stand in the
//! log with the operation. Each line (`layer2_http::callbacks`) has a runner, a task that waits for what happens and delivers it:
//! `runner.rs`. Invariants: deny by default; what is delivered is signed, at each attempt anew; a line's deliveries arrive in their
//! order, at least once, with the same id at each attempt; no more than `inFlight` attempts at once for a rule; no URL is logged with its
//! query. What was delivered is the driver's to keep. Test to read first: `tests/line/callbacks.rs`.

mod ask;
mod outcome;
mod runner;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use layer2_http::addresses::address_allowed;
use layer2_http::callbacks::{Line, Pending, Wanted};
use layer2_http::cloudevent;
use layer2_http::event::OperationEvent;
use layer2_http::operation::{Executed, OperationId};
use layer2_http::problem::{Problem, ProblemKind};
use layer2_http::target::{self, Target, within_prefix};
use layer2_http::webhook::Signer;
use sidecar_config::{CallbackRetry, CallbackRule, Config, IpNet};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, Semaphore, broadcast, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use ask::CallbackAsk;

use crate::egress::{Poster, posters};
use crate::exchange::DriverHandle;

/// How seldom the pending lines are looked through, and a line by its runner, whatever is told of them.
const LOOK_PERIOD: Duration = Duration::from_secs(60);

/// One rule of `callbacks.allow`, ready to deliver.
struct Receiver {
    name: String,
    base: Target,
    addresses: Vec<IpNet>,
    poster: Poster,
    signer: Signer,
    slots: Semaphore,
}

/// The callbacks of an engine.
pub struct Callbacks {
    receivers: Vec<Receiver>,
    retry: CallbackRetry,
    time_max: Duration,
    inline_bytes_max: u64,
    source: String,
    driver: DriverHandle,
    follow: mpsc::UnboundedSender<Pending>,
}

/// Lines to follow, for [`Callbacks::serve`].
pub type Followed = mpsc::UnboundedReceiver<Pending>;

impl Callbacks {
    /// Reads the keys of every rule.
    ///
    /// # Errors
    /// When a file of keys or of authorities cannot be used.
    pub fn new(config: &Config, driver: DriverHandle) -> Result<(Arc<Self>, Followed)> {
        let settings = &config.callbacks;
        let slots = usize::try_from(settings.in_flight).unwrap_or(1);
        let receivers = settings.allow.iter().zip(posters(&settings.allow, &config.inbound.deny_addresses)?).map(
            |(rule, poster)| {
                let signer = signer(rule, config.identity.allow_readable);
                let base = target::parse_absolute(rule.url.as_str()).map_err(anyhow::Error::from);
                let place = || format!("callbacks.allow: rule `{}`", rule.name);
                let (signer, base) = (signer.with_context(place)?, base.with_context(place)?);
                let (name, addresses) = (rule.name.to_string(), rule.addresses.clone());
                Ok(Receiver { name, base, addresses, poster, signer, slots: Semaphore::new(slots) })
            },
        );
        let (follow, followed) = mpsc::unbounded_channel();
        let callbacks = Self {
            receivers: receivers.collect::<Result<_>>()?,
            retry: settings.retry,
            time_max: settings.timeout,
            inline_bytes_max: settings.inline_max.as_u64(),
            source: cloudevent::source(config.local.name.as_str(), &config.local.endpoint),
            driver,
            follow,
        };
        Ok((Arc::new(callbacks), followed))
    }

    /// Holds the URLs that a caller names to the rules.
    ///
    /// # Errors
    /// When one of them may not be called, and which rule would be needed.
    pub fn admit(&self, callback: Option<&str>, events: Option<&str>) -> Result<(), Problem> {
        for (field, url) in [("Hoft-Callback", callback), ("Hoft-Events", events)] {
            let Some(url) = url else { continue };
            let target = target::parse_absolute(url).map_err(|error| error.to_problem())?;
            let place = format!("{}://{}", target.scheme, target.authority());
            let refuse = |why: String| {
                Problem::new(ProblemKind::CallbackDenied, format!("{field}: {why}")).executed(Executed::No)
            };
            let Some(receiver) = self.receiver(&target) else {
                let why = format!("no rule of callbacks.allow has a url that {place} and this path begin with");
                return Err(refuse(why));
            };
            if let Some(ip) = target.ip() {
                address_allowed(ip, &receiver.addresses).map_err(|denied| refuse(denied.to_string()))?;
            }
        }
        Ok(())
    }

    /// The rule for a URL.
    fn receiver(&self, target: &Target) -> Option<&Receiver> {
        self.receivers.iter().find(|receiver| {
            let base = &receiver.base;
            (&base.scheme, &base.host, base.port) == (&target.scheme, &target.host, target.port)
                && (base.path == "/" || within_prefix(&target.path, &base.path))
        })
    }

    /// An operation began of which somebody wants to hear.
    pub fn follow(&self, wanted: &Wanted) {
        for (line, url) in [(Line::Result, &wanted.callback), (Line::Events, &wanted.events)] {
            if let Some(url) = url.clone() {
                self.go_on(Pending { operation: wanted.id, line, url, delivered: 0, since_ms: 0 });
            }
        }
    }

    /// A line has something to deliver, or will have.
    pub fn go_on(&self, pending: Pending) {
        // Whoever is not there any more begins with what the log says, at the next start.
        let _ = self.follow.send(pending);
    }

    /// Delivers until told to stop. What is under way then is delivered again after the next start.
    pub async fn serve(self: Arc<Self>, mut followed: Followed, stop: CancellationToken) {
        let mut runners = Runners::default();
        let mut look = tokio::time::interval(LOOK_PERIOD);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                // At once, for what the log brought; later for a caller that went away before it could say what began.
                _ = look.tick() => {
                    for pending in self.driver.pending_callbacks().await.unwrap_or_default() {
                        let _runs_already = runners.start(&self, pending);
                    }
                }
                pending = followed.recv() => match pending {
                    Some(pending) => runners.again |= !runners.start(&self, pending),
                    None => return,
                },
                event = heard(&mut runners.news) => runners.wake(event),
                Some(ended) = runners.tasks.join_next(), if !runners.tasks.is_empty() => {
                    if let Ok(key) = ended {
                        runners.ended(key);
                    }
                    if std::mem::take(&mut runners.again) {
                        // What was to go on while its runner was ending: what is left of it, the driver knows.
                        look.reset_immediately();
                    }
                }
            }
        }
    }
}

type RunnerKey = (OperationId, Line);

/// The tasks that deliver. While there are some, events are listened to.
#[derive(Default)]
struct Runners {
    tasks: JoinSet<RunnerKey>,
    bells: HashMap<RunnerKey, Arc<Notify>>,
    news: Option<broadcast::Receiver<OperationEvent>>,
    /// A line was to go on that has a runner.
    again: bool,
}

impl Runners {
    /// False if the line has a runner.
    fn start(&mut self, callbacks: &Arc<Callbacks>, pending: Pending) -> bool {
        let key = (pending.operation, pending.line);
        if self.bells.contains_key(&key) {
            return false;
        }
        // Before the first look, so that nothing that happens after it is missed.
        self.news.get_or_insert_with(|| callbacks.driver.subscribe_events());
        let bell = Arc::new(Notify::new());
        self.bells.insert(key, Arc::clone(&bell));
        let callbacks = Arc::clone(callbacks);
        self.tasks.spawn(async move {
            runner::run(&callbacks, pending, &bell).await;
            key
        });
        true
    }

    fn ended(&mut self, key: RunnerKey) {
        self.bells.remove(&key);
        if self.bells.is_empty() {
            self.news = None;
        }
    }

    fn wake(&self, operation: Option<OperationId>) {
        match operation {
            Some(id) => {
                for bell in Line::ALL.into_iter().filter_map(|line| self.bells.get(&(id, line))) {
                    bell.notify_one();
                }
            }
            None => self.bells.values().for_each(|bell| bell.notify_one()),
        }
    }
}

/// The operation of the next event; `None` if some were missed.
async fn heard(news: &mut Option<broadcast::Receiver<OperationEvent>>) -> Option<OperationId> {
    let Some(news) = news else { return std::future::pending().await };
    match news.recv().await {
        Ok(event) => Some(event.operation),
        Err(RecvError::Lagged(_)) => None,
        // The driver is gone, and this with it.
        Err(RecvError::Closed) => std::future::pending().await,
    }
}

/// The keys in a rule's files.
fn signer(rule: &CallbackRule, allow_readable: bool) -> Result<Signer> {
    let mut all: Option<Signer> = None;
    for file in &rule.secret_files {
        let bytes = disk::secret::read_secret_file(file, allow_readable)?;
        let text = std::str::from_utf8(&bytes).ok().with_context(|| format!("{} is no text", file.display()))?;
        let keys = Signer::parse(text).with_context(|| file.display().to_string())?;
        all = Some(match all {
            Some(before) => before.and(keys).with_context(|| file.display().to_string())?,
            None => keys,
        });
    }
    all.context("secretFiles names no file")
}

#[cfg(test)]
mod tests;
