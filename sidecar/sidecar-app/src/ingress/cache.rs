//! The response cache at work: what a caller gets from the shelf, what is asked about, and what is kept as it passes.
//!
//! Invariants: only calls of rules that say so are looked at; what is kept was passed whole, verified to its end, to
//! somebody who might have it; a response that was cut, or is this engine's own or the far side's problem, is never
//! kept; what is gathered counts against the bounds while it is. It knows no rule of RFC 9111 itself:
//! `layer2_http::freshness` and `shelf` do. Test to read first: `tests/line/cache.rs`.

mod gathered;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use layer2_http::fields::Fields;
use layer2_http::freshness::{self, Answered, Control, Life, Use};
use layer2_http::hop;
use layer2_http::operation::{Executed, OperationId};
use layer2_http::problem::{Problem, ProblemKind};
use layer2_http::shelf::{Asked, Found, Kept, Key, Shelf};
use sidecar_config::Config;
use tokio::sync::broadcast::error::RecvError;

use self::gathered::{Gathered, Gatherer};
use super::near_side::goes_on;
use crate::access::OfUpstream;
use crate::body::{self, BoxedBody};
use crate::exchange::DriverHandle;

/// The header in which a cache says what it did (RFC 9211).
const CACHE_STATUS: &str = "cache-status";
/// Fields of a request with which neither the shelf nor the origin's answer is for anyone else.
const BYPASSING: [&str; 8] = [
    "range",
    "if-range",
    "if-match",
    "if-unmodified-since",
    "idempotency-key",
    "hoft-operation-id",
    "hoft-callback",
    "hoft-events",
];

/// The cache of this port.
pub(crate) struct Cache {
    began: Instant,
    body_max: BTreeMap<String, u64>,
    pseudonym: String,
    state: Mutex<State>,
}

struct State {
    shelf: Shelf,
    outcomes: BTreeMap<&'static str, u64>,
}

/// What it did, as the metrics and the access log say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Answered from the shelf.
    Hit,
    /// Nothing was there.
    Miss,
    /// The origin said that what was there is still good.
    Revalidated,
    /// Answered from the shelf although stale: in place of an error, or as the caller asked.
    Stale,
    /// Not looked at: the request is not for a cache.
    Bypass,
}

impl Outcome {
    const ALL: [Self; 5] = [Self::Hit, Self::Miss, Self::Revalidated, Self::Stale, Self::Bypass];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Revalidated => "revalidated",
            Self::Stale => "stale",
            Self::Bypass => "bypass",
        }
    }
}

/// Figures for the metrics.
#[derive(Clone, Debug, Default)]
pub(crate) struct CacheCounts {
    /// Calls by what the cache did; empty if no rule has a cache.
    pub(crate) outcomes: BTreeMap<&'static str, u64>,
    /// Bytes of kept responses.
    pub(crate) bytes: u64,
    /// Kept responses.
    pub(crate) responses: u64,
    /// Responses that left for want of room.
    pub(crate) evicted: u64,
}

/// What a look at the shelf gave.
pub(super) enum Looked {
    /// The rule has no cache.
    Off,
    /// This is the answer.
    Answer(Box<Response<BoxedBody>>, Outcome),
    /// The call is to be made; what comes goes through [`Question::answered`].
    Ask(Question),
}

/// A call that is made although there is a cache.
pub(super) struct Question {
    cache: Arc<Cache>,
    key: Key,
    method: Method,
    query: bool,
    fields: Fields,
    asked: Asked,
    asked_at: SystemTime,
    /// Why it is made: the value of `fwd`.
    why: &'static str,
    /// What it asks about.
    about: Option<Box<Kept>>,
    body_max: u64,
}

impl Cache {
    /// A cache for the rules that have one; `pseudonym` names it in Cache-Status.
    pub(crate) fn new(config: &Config, pseudonym: &str) -> Arc<Self> {
        let mut shelf = Shelf::new(config.limits.cache_bytes.as_u64());
        let mut body_max = BTreeMap::new();
        for rule in config.outbound.allow.iter().filter(|rule| rule.cache.enabled) {
            shelf.add_rule(rule.name.as_str(), rule.cache.bytes_max.as_u64());
            body_max.insert(rule.name.to_string(), rule.cache.body_max.as_u64());
        }
        let outcomes =
            Outcome::ALL.iter().filter(|_| !body_max.is_empty()).map(|outcome| (outcome.name(), 0)).collect();
        let state = Mutex::new(State { shelf, outcomes });
        Arc::new(Self { began: Instant::now(), body_max, pseudonym: pseudonym.to_owned(), state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn count(&self, outcome: Outcome) {
        *self.state().outcomes.entry(outcome.name()).or_default() += 1;
    }

    /// Figures for the metrics.
    pub(crate) fn counts(&self) -> CacheCounts {
        let state = self.state();
        CacheCounts {
            outcomes: state.outcomes.clone(),
            bytes: state.shelf.bytes(),
            responses: state.shelf.len() as u64,
            evicted: state.shelf.evicted(),
        }
    }

    /// Looks for an answer to an admitted request. If the origin is to be asked about what is kept, `fields` get the
    /// question.
    ///
    /// # Errors
    /// When the caller wants nothing that is not kept.
    pub(super) fn look(
        self: &Arc<Self>,
        rule: &str,
        target: &str,
        (method, has_content): (&Method, bool),
        fields: &mut Fields,
    ) -> Result<Looked, Problem> {
        let Some(body_max) = self.body_max.get(rule).copied() else { return Ok(Looked::Off) };
        let key = Key { target: target.to_owned(), rule: rule.to_owned() };
        let question = |why, about| Question {
            cache: Arc::clone(self),
            query: key.target.contains('?'),
            key: key.clone(),
            method: method.clone(),
            fields: Fields::new(),
            asked: self.state().shelf.ask(),
            asked_at: SystemTime::now(),
            why,
            about,
            body_max,
        };
        if !matches!(*method, Method::GET | Method::HEAD) {
            if !matches!(*method, Method::OPTIONS | Method::TRACE) {
                // It may have its effect from now on, and its answer may never come.
                self.state().shelf.changed(target);
            }
            self.count(Outcome::Bypass);
            return Ok(Looked::Ask(question("method", None)));
        }
        // What the content asks for is in no key.
        if has_content || BYPASSING.iter().any(|name| fields.contains(name)) {
            self.count(Outcome::Bypass);
            return Ok(Looked::Ask(question("bypass", None)));
        }
        let control = Control::of(fields);
        // A choice by fields that do not cross would be another one than the origin made.
        let mut crossing = fields.clone();
        hop::strip_request(&mut crossing);
        let found = self.state().shelf.find(&key, &crossing);
        let (why, about) = match found {
            Found::Nothing => ("uri-miss", None),
            Found::OtherChoice => ("vary-miss", None),
            Found::Kept(kept) => match kept.life.usable(&control, self.now().saturating_sub(kept.came)) {
                Use::Now => {
                    return Ok(Looked::Answer(Box::new(self.hit(&kept, method, fields)), self.counted(Outcome::Hit)));
                }
                Use::Stale => {
                    return Ok(Looked::Answer(Box::new(self.hit(&kept, method, fields)), self.counted(Outcome::Stale)));
                }
                Use::Ask { wished } => (if wished { "request" } else { "stale" }, Some(kept)),
            },
        };
        if control.only_if_cached {
            let detail = "no fresh response is kept, and Cache-Control: only-if-cached asks for nothing else";
            return Err(Problem::new(ProblemKind::NotCached, detail).executed(Executed::No));
        }
        // A HEAD's answer has no content to compare with: it is passed on as it is.
        let about = about.filter(|kept| *method == Method::GET && freshness::has_validator(&kept.fields));
        let mut question = question(why, about);
        question.fields = crossing;
        if let Some(kept) = &question.about {
            freshness::ask_about(fields, &kept.fields);
        }
        Ok(Looked::Ask(question))
    }

    fn counted(&self, outcome: Outcome) -> Outcome {
        self.count(outcome);
        outcome
    }

    /// The kept response as an answer.
    fn hit(&self, kept: &Kept, method: &Method, asked: &Fields) -> Response<BoxedBody> {
        let age_s = kept.life.age_now_s(self.now().saturating_sub(kept.came));
        let status = format!("{}; hit; ttl={}", self.pseudonym, left_s(&kept.life, age_s));
        of_kept(kept, age_s, method, asked, &status)
    }
}

/// What is left of its freshness, negative once it is stale.
fn left_s(life: &Life, age_s: u64) -> i64 {
    let clamp = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    clamp(life.fresh_s).saturating_sub(clamp(age_s))
}

/// A kept response as `method` asks for it; 304 if the caller has it already.
fn of_kept(kept: &Kept, age_s: u64, method: &Method, asked: &Fields, cache_status: &str) -> Response<BoxedBody> {
    let known = kept.status == 200 && freshness::caller_has_it(asked, &kept.fields);
    let content = if known || *method == Method::HEAD { Bytes::new() } else { kept.content.clone() };
    let mut response = Response::new(body::full(content));
    *response.status_mut() = StatusCode::from_u16(if known { 304 } else { kept.status }).unwrap_or(StatusCode::OK);
    // They were a header map when they were kept.
    *response.headers_mut() = kept.fields.to_header_map().unwrap_or_default();
    let fields = response.headers_mut();
    fields.insert(http::header::AGE, HeaderValue::from(age_s));
    if known {
        for name in [http::header::CONTENT_LENGTH, http::header::CONTENT_TYPE, http::header::CONTENT_ENCODING] {
            fields.remove(name);
        }
    }
    add_status(fields, cache_status);
    response
}

fn add_status(fields: &mut HeaderMap, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        fields.append(CACHE_STATUS, value);
    }
}

impl Question {
    /// The call goes on without its caller: what it may have changed is forgotten once more when it ended.
    pub(super) fn watch(&self, driver: &DriverHandle, operation: OperationId) {
        if self.why != "method" || matches!(self.method, Method::OPTIONS | Method::TRACE) {
            return;
        }
        let (cache, target, driver) = (Arc::clone(&self.cache), self.key.target.clone(), driver.clone());
        let mut news = driver.subscribe_events();
        tokio::spawn(async move {
            loop {
                let ended = match news.recv().await {
                    Ok(event) => event.operation == operation && event.state.is_terminal(),
                    Err(RecvError::Lagged(_)) => {
                        let view = driver.operation(operation).await;
                        view.map_or(true, |view| view.is_none_or(|view| view.state.is_terminal()))
                    }
                    Err(RecvError::Closed) => true,
                };
                if ended {
                    return cache.state().shelf.changed(&target);
                }
            }
        });
    }

    /// Takes what came, and gives what the caller gets.
    ///
    /// # Errors
    /// With the problem to answer instead.
    pub(super) fn answered(
        mut self,
        result: Result<Response<BoxedBody>, Problem>,
    ) -> (Result<Response<BoxedBody>, Problem>, Outcome) {
        if self.why == "method" {
            match &result {
                Ok(response) => self.invalidate(response),
                // It may have been made, or is still to be.
                Err(problem) if problem.executed != Some(Executed::No) => {
                    self.cache.state().shelf.changed(&self.key.target);
                }
                Err(_) => {}
            }
            return (result.map(|response| self.marked(response, "")), Outcome::Bypass);
        }
        if self.why == "bypass" {
            return (result.map(|response| self.marked(response, "")), Outcome::Bypass);
        }
        let failed = match &result {
            // The operation goes on: its caller has to hear of it.
            Err(problem) => problem.kind != ProblemKind::WaitOver,
            Ok(response) => matches!(response.status().as_u16(), 500 | 502 | 503 | 504) && !goes_on(response),
        };
        if let Some(kept) =
            self.about.take_if(|kept| failed && kept.life.stands_in(self.cache.now().saturating_sub(kept.came)))
        {
            return (Ok(self.instead(&kept, &result)), self.cache.counted(Outcome::Stale));
        }
        match result {
            Err(problem) => (Err(problem), self.cache.counted(Outcome::Miss)),
            Ok(response) if response.status() == StatusCode::NOT_MODIFIED && self.about.is_some() => {
                self.still_good(&response)
            }
            Ok(response) => {
                let outcome = self.cache.counted(Outcome::Miss);
                (Ok(self.keep(response)), outcome)
            }
        }
    }

    /// A call that may have changed something was answered without an error (§4.4).
    fn invalidate(&self, response: &Response<BoxedBody>) {
        let status = response.status();
        if !(status.is_success() || status.is_redirection()) || matches!(self.method, Method::OPTIONS | Method::TRACE) {
            return;
        }
        let mut changed = BTreeSet::from([self.key.target.clone()]);
        for name in [http::header::LOCATION, http::header::CONTENT_LOCATION] {
            let place = response.headers().get(name).and_then(|value| value.to_str().ok());
            let resolved = url::Url::parse(&self.key.target).ok().zip(place).and_then(|(base, place)| {
                let url = base.join(place).ok()?;
                (url.origin() == base.origin()).then_some(url)
            });
            changed.extend(resolved.map(String::from));
        }
        let mut state = self.cache.state();
        for target in changed {
            state.shelf.changed(&target);
        }
    }

    /// The response says what the cache did; `more` follows the reason.
    fn marked(&self, mut response: Response<BoxedBody>, more: &str) -> Response<BoxedBody> {
        let text = format!("{}; fwd={}{more}", self.cache.pseudonym, self.why);
        add_status(response.headers_mut(), &text);
        response
    }

    /// What is kept stands in for an error.
    fn instead(&self, kept: &Kept, result: &Result<Response<BoxedBody>, Problem>) -> Response<BoxedBody> {
        let status = match result {
            Ok(response) => response.status().as_u16(),
            Err(problem) => problem.status,
        };
        let age_s = kept.life.age_now_s(self.cache.now().saturating_sub(kept.came));
        let text = format!(
            "{}; hit; fwd={}; fwd-status={status}; ttl={}",
            self.cache.pseudonym,
            self.why,
            left_s(&kept.life, age_s)
        );
        of_kept(kept, age_s, &self.method, &self.fields, &text)
    }

    /// The origin says that what is kept is still the one (§4.3.4).
    fn still_good(&mut self, response: &Response<BoxedBody>) -> (Result<Response<BoxedBody>, Problem>, Outcome) {
        let outcome = self.cache.counted(Outcome::Revalidated);
        let Some(kept) = self.about.take() else { return (Err(senseless()), outcome) };
        let told = Fields::from_header_map(response.headers()).unwrap_or_default();
        if !freshness::is_about(&kept.fields, &told) {
            self.cache.state().shelf.forget(&self.key, &kept.choice);
            return (Err(senseless()), outcome);
        }
        let mut fields = freshness::merged(&kept.fields, &told);
        drop_own(&mut fields);
        let fresh = self.life(kept.status, &fields);
        let life = fresh.unwrap_or(Life { ask_always: true, ..kept.life });
        let kept = Kept { fields, life, came: self.cache.now(), ..*kept };
        let text = format!("{}; fwd={}; fwd-status=304", self.cache.pseudonym, self.why);
        let mut answer = of_kept(&kept, life.age_s, &self.method, &self.fields, &text);
        answer.extensions_mut().insert(OfUpstream);
        if let Some(operation) = response.headers().get("hoft-operation-id") {
            answer.headers_mut().insert("hoft-operation-id", operation.clone());
        }
        let mut state = self.cache.state();
        if fresh.is_some() {
            state.shelf.put(&self.key, self.asked, kept);
        } else {
            state.shelf.forget(&self.key, &kept.choice);
        }
        (Ok(answer), outcome)
    }

    /// For how long a response with these fields is good, if it may be kept.
    fn life(&self, status: u16, fields: &Fields) -> Option<Life> {
        let (asked_at, came_at) = (self.asked_at, SystemTime::now());
        let answered = Answered {
            method: &self.method,
            asked: &self.fields,
            query: self.query,
            status,
            fields,
            asked_at,
            came_at,
        };
        answered.keep()
    }

    /// Passes a response on, and keeps it on the way if it may be.
    fn keep(self, response: Response<BoxedBody>) -> Response<BoxedBody> {
        // Problems and promises of an engine are for this caller alone.
        let of_upstream = response.extensions().get::<OfUpstream>().is_some();
        let mut fields = Fields::from_header_map(response.headers()).unwrap_or_default();
        let declared: Option<u64> =
            fields.get("content-length").and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        let life = self.life(response.status().as_u16(), &fields).filter(|_| of_upstream);
        let Some(life) = life.filter(|_| declared.is_none_or(|length| length <= self.body_max)) else {
            return self.marked(response, "");
        };
        drop_own(&mut fields);
        let choice = freshness::choice(&self.fields, &fields);
        let (status, came) = (response.status().as_u16(), self.cache.now());
        let kept = Kept { status, fields, content: Bytes::new(), life, came, choice };
        let response = self.marked(response, "; stored");
        let whole = response.body().is_end_stream();
        let mut gatherer = Gatherer::new(self.cache, (self.key, self.asked), kept, declared, self.body_max);
        if whole {
            gatherer.whole();
        }
        response.map(|body| Gathered::new(body, gatherer).boxed_unsync())
    }
}

/// What this engine told one caller is not for the next.
fn drop_own(fields: &mut Fields) {
    for name in ["hoft-operation-id", "preference-applied"] {
        fields.remove(name);
    }
}

fn senseless() -> Problem {
    let detail = "the target answered 304 to a question about a response that it does not mean";
    Problem::new(ProblemKind::ResponseInvalid, detail).executed(Executed::Yes)
}
