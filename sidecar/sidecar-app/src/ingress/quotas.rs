//! The quotas of the rules at work: who may begin a call, and how fast its bodies pass.
//!
//! Invariants: a call over a quota is refused before anything is accepted; a place in flight is given back once,
//! whatever ends the call: its response passed, its caller went away, or its operation ended after its caller was
//! told to come back. Of the last kind nobody tells this file: it asks the driver when a place is needed. It counts
//! nothing itself: `layer2_http::quota` does. Test to read first: `tests/line/quotas.rs`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use layer2_http::operation::{Executed, OperationId};
use layer2_http::problem::{Problem, ProblemKind};
use layer2_http::quota::{Book, Bound, Bounds, Moment, Over};
use sidecar_config::Config;
use tokio::time::Sleep;

use crate::body::BodyError;
use crate::driver::unix_ms;
use crate::exchange::DriverHandle;

/// The quotas of all rules of this port.
pub(crate) struct Quotas {
    began: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    book: Book,
    /// Calls whose caller is gone while they may go on.
    lingering: Vec<Place>,
    refused: BTreeMap<(String, &'static str), u64>,
}

/// What a call occupies.
#[derive(Clone, Debug)]
struct Place {
    rule: String,
    caller: IpAddr,
    operation: OperationId,
}

impl Quotas {
    /// The quotas of the outbound rules.
    pub(crate) fn new(config: &Config) -> Arc<Self> {
        let mut state = State::default();
        for rule in &config.outbound.allow {
            state.book.add(rule.name.as_str(), bounds(&rule.quota), bounds(&rule.caller_quota));
            if state.book.counts(rule.name.as_str()) {
                // All of a counter's series are there from the start.
                let series = Bound::ALL.map(|bound| ((rule.name.to_string(), bound.name()), 0));
                state.refused.extend(series);
            }
        }
        Arc::new(Self { began: Instant::now(), state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        let mono_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        Moment { mono_us, unix_s: unix_ms() / 1_000 }
    }

    /// Calls refused since the start, by rule and bound.
    pub(crate) fn refused(&self) -> Vec<(String, &'static str, u64)> {
        self.state().refused.iter().map(|((rule, bound), count)| (rule.clone(), *bound, *count)).collect()
    }

    /// A place for a call of that rule; `None` when nothing bounds it.
    ///
    /// # Errors
    /// With the problem to answer instead.
    pub(super) async fn enter(
        self: &Arc<Self>,
        driver: &DriverHandle,
        (rule, client, operation): (&str, IpAddr, OperationId),
        declared: u64,
    ) -> Result<Option<Arc<Permit>>, Problem> {
        if !self.state().book.counts(rule) {
            return Ok(None);
        }
        let mut begun = self.begin(rule, client, declared);
        if begun.is_err_and(|over| over.bound == Bound::MaxInFlight) && self.reap(driver, rule).await {
            begun = self.begin(rule, client, declared);
        }
        match begun {
            Ok(caller) => {
                let place = Place { rule: rule.to_owned(), caller, operation };
                Ok(Some(Arc::new(Permit { quotas: Arc::clone(self), place, over: AtomicBool::new(false) })))
            }
            Err(over) => {
                *self.state().refused.entry((rule.to_owned(), over.bound.name())).or_default() += 1;
                Err(refused(rule, &over))
            }
        }
    }

    fn begin(&self, rule: &str, client: IpAddr, declared: u64) -> Result<IpAddr, Over> {
        let now = self.now();
        self.state().book.begin(rule, client, now, declared)
    }

    /// Gives back the places of operations that ended meanwhile; says whether there were any.
    async fn reap(&self, driver: &DriverHandle, rule: &str) -> bool {
        let lingering: Vec<Place> = self.state().lingering.iter().filter(|place| place.rule == rule).cloned().collect();
        let mut found = false;
        for place in lingering {
            let over = match driver.operation(place.operation).await {
                Ok(view) => view.is_none_or(|view| view.state.is_terminal()),
                Err(_) => false,
            };
            let mut state = self.state();
            // Whoever asked at the same time may have found it first.
            let at = state.lingering.iter().position(|other| other.operation == place.operation);
            if let Some(at) = at.filter(|_| over) {
                state.lingering.swap_remove(at);
                state.book.end(rule, place.caller);
                found = true;
            }
        }
        found
    }
}

fn bounds(quota: &sidecar_config::Quota) -> Bounds {
    Bounds {
        requests_per_minute: quota.requests_per_minute,
        bytes_per_second: quota.bytes_per_second.map(|size| size.as_u64()),
        bytes_per_day: quota.bytes_per_day.map(|size| size.as_u64()),
        max_in_flight: quota.max_in_flight,
    }
}

fn refused(rule: &str, over: &Over) -> Problem {
    let whose = if over.of_caller { "callerQuota" } else { "quota" };
    let detail = format!("rule `{rule}`: {whose}.{} of {} is used up", over.bound.field(), over.limit);
    Problem::new(ProblemKind::QuotaExceeded, detail).executed(Executed::No).retry_after(over.retry_after_s)
}

/// The right to one call. It is over when it says so; dropped before, its place is kept for as long as its operation.
pub(super) struct Permit {
    quotas: Arc<Quotas>,
    place: Place,
    over: AtomicBool,
}

/// A place that is given back when this is dropped: nothing of the call goes on then.
pub(super) struct Occupied(pub(super) Option<Arc<Permit>>);

impl Drop for Occupied {
    fn drop(&mut self) {
        if let Some(permit) = &self.0 {
            permit.end();
        }
    }
}

impl Permit {
    /// The call ended, as far as its quota goes.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn took(&self, octets: usize) -> Duration {
        let now = self.quotas.now();
        let wait_us = self.quotas.state().book.took(&self.place.rule, self.place.caller, now, octets as u64);
        Duration::from_micros(wait_us)
    }

    fn piece(&self) -> usize {
        self.quotas.state().book.piece(&self.place.rule).unwrap_or(usize::MAX)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.quotas.state();
        // Whose number is not bounded is not asked about either, so nothing would ever take it out again.
        if self.over.load(Ordering::Relaxed) || !state.book.bounds_places(&self.place.rule) {
            state.book.end(&self.place.rule, self.place.caller);
        } else {
            state.lingering.push(self.place.clone());
        }
    }
}

/// A body whose octets count, and pass as fast as the quota lets them.
pub(super) struct Paced<B> {
    inner: B,
    permit: Arc<Permit>,
    piece: usize,
    /// Came, and did not pass yet.
    rest: Bytes,
    pause: Option<Pin<Box<Sleep>>>,
    /// How long the source may be silent; pauses do not count.
    idle_max: Option<Duration>,
    idle: Option<Pin<Box<Sleep>>>,
    /// Its end is the end of the call: so many octets are still to come, if that is known.
    last: Option<Option<u64>>,
}

impl<B> Paced<B> {
    /// The content of a request.
    pub(super) fn request(inner: B, permit: Arc<Permit>, idle_max: Duration) -> Self {
        Self { idle_max: Some(idle_max), ..Self::new(inner, permit) }
    }

    /// The content of a response; with its end the call ends.
    pub(super) fn response(inner: B, permit: Arc<Permit>, declared: Option<u64>) -> Self {
        Self { last: Some(declared), ..Self::new(inner, permit) }
    }

    fn new(inner: B, permit: Arc<Permit>) -> Self {
        let piece = permit.piece();
        Self { inner, permit, piece, rest: Bytes::new(), pause: None, idle_max: None, idle: None, last: None }
    }

    fn pass(&mut self) -> Bytes {
        let piece = self.rest.split_to(self.rest.len().min(self.piece));
        let wait = self.permit.took(piece.len());
        if !wait.is_zero() {
            self.pause = Some(Box::pin(tokio::time::sleep(wait)));
        }
        if let Some(Some(left)) = &mut self.last {
            *left = left.saturating_sub(piece.len() as u64);
            if *left == 0 {
                // Whoever counts octets does not ask for the end.
                self.permit.end();
            }
        }
        piece
    }
}

impl<B> Body for Paced<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        loop {
            if let Some(pause) = &mut this.pause {
                ready!(pause.as_mut().poll(cx));
                this.pause = None;
            }
            if !this.rest.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(this.pass()))));
            }
            match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    this.idle = None;
                    match frame.into_data() {
                        Ok(data) => this.rest = data,
                        Err(other) => return Poll::Ready(Some(Ok(other))),
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => {
                    if this.last.is_some() {
                        this.permit.end();
                    }
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    let Some(max) = this.idle_max else { return Poll::Pending };
                    let idle = this.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep(max)));
                    ready!(idle.as_mut().poll(cx));
                    let error = format!("no octet of it came for {} s", max.as_secs());
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.inner.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(inner.lower().saturating_add(rest));
        hint
    }
}
