//! The access token of one rule: got when it is needed, renewed before its end, shared by all its calls.
//!
//! The key of this cache is the rule, which fixes client, scope and audience. Invariants: tokens are in memory only, in no
//! log, error or record; one question to the token endpoint at a time, whoever waits for its answer; after a failure the
//! endpoint is left alone for a growing while, in which calls are refused at once; the endpoint is connected to under the
//! address rules of the rule's own calls; its redirects are not followed and its answer is bounded in size and time. What
//! an answer means, and when to ask again, is for `layer2_http::oauth`. Test to read first:
//! `tests::oauth::one_token_serves_many_calls`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use base64::Engine as _;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use layer2_http::oauth::{self, ANSWER_BYTES_MAX, Grant, TokenAnswer, TokenError, TokenRequest};
use layer2_http::operation::Executed;
use layer2_http::problem::{Problem, ProblemKind};
use rustls::ClientConfig;
use sidecar_config::far_side::{ClientAuth, TokenEndpoint};
use zeroize::Zeroizing;

use super::connector::{Connector, Reach};
use super::counts::TokenCounters;
use super::credentials::SecretFile;
use super::fault::{self, Site};
use crate::body::{self, BoxedBody};

/// How long the token endpoint may take in all.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);
/// How long an idle connection to it is kept.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// A token in use.
pub(super) struct Held {
    token: Zeroizing<String>,
    renew_at: Instant,
    usable_until: Instant,
}

impl Held {
    /// The value of the Authorization field.
    pub(super) fn field(&self) -> Option<HeaderValue> {
        let mut text = Zeroizing::new(String::with_capacity(7 + self.token.len()));
        text.push_str("Bearer ");
        text.push_str(&self.token);
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Where a rule's token comes from.
pub(super) struct TokenSource {
    endpoint: TokenEndpoint,
    allow_readable: bool,
    uri: Uri,
    site: Site,
    client: Client<Connector, BoxedBody>,
    current: Mutex<Option<Arc<Held>>>,
    /// Held by whoever asks the endpoint.
    asking: tokio::sync::Mutex<Asking>,
    /// New tokens that the called server refused in a row, and until when none is tried for that.
    useless: Mutex<(u32, Option<Instant>)>,
    counters: Arc<TokenCounters>,
    answer_time_max: Duration,
}

#[derive(Default)]
struct Asking {
    failures: u32,
    /// Until when the endpoint is left alone, and what it said last.
    pause: Option<(Instant, Problem)>,
    /// The refresh token that replaces the one of the file, which held the other one then.
    rotated: Option<(Zeroizing<String>, Zeroizing<String>)>,
}

/// Why there is no token.
enum Failure {
    /// A file with a secret cannot be read.
    Secret(anyhow::Error),
    /// The endpoint was not reached.
    Unreached(Problem),
    /// It answered.
    Answered(TokenError),
    /// It did not, or not to the end.
    Broken(&'static str),
}

impl TokenSource {
    /// The source of a rule's tokens.
    ///
    /// # Errors
    /// When a file with a secret cannot be read, or the URL is none for the client.
    pub(super) fn new(
        rule: &str,
        endpoint: &TokenEndpoint,
        allow_readable: bool,
        reach: &Reach,
        tls: ClientConfig,
        counters: Arc<TokenCounters>,
    ) -> Result<Self> {
        let uri: Uri = endpoint.url.as_str().parse().context("oauth.tokenUrl is no URI")?;
        let host = endpoint.url.host_str().unwrap_or_default().to_owned();
        let port = endpoint.url.port_or_known_default().unwrap_or_default();
        let origin = format!("{}://{host}:{port}", endpoint.url.scheme());
        let site = Site { origin, host, rule: rule.to_owned(), tls: endpoint.url.scheme() == "https" };
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(1)
            .build(Connector::new(reach, None, tls));
        let source = Self {
            endpoint: endpoint.clone(),
            allow_readable,
            uri,
            site,
            client,
            current: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            useless: Mutex::default(),
            counters,
            answer_time_max: ANSWER_TIME_MAX,
        };
        for (field, file) in
            [("clientSecretFile", &endpoint.client_secret_file), ("refreshTokenFile", &endpoint.refresh_token_file)]
        {
            if let Some(path) = file {
                let file = SecretFile { path: path.clone(), allow_readable };
                file.read().with_context(|| format!("oauth.{field}"))?;
            }
        }
        Ok(source)
    }

    /// A token that can be sent now.
    ///
    /// # Errors
    /// With the problem to answer: the call was not made.
    pub(super) async fn token(self: &Arc<Self>) -> Result<Arc<Held>, Problem> {
        let now = Instant::now();
        match self.current() {
            Some(held) if now < held.renew_at => return Ok(held),
            // Still good: no call waits for a new one, nor for its failure.
            Some(held) if now < held.usable_until => {
                if self.asking.try_lock().is_ok() {
                    tokio::spawn(Arc::clone(self).renew());
                }
                return Ok(held);
            }
            Some(_) | None => {}
        }
        // A call that is not wanted any more must not take an answer with it: a refresh token may be good for one use.
        let source = Arc::clone(self);
        let asked = tokio::spawn(async move {
            let mut asking = source.asking.lock().await;
            match source.current() {
                // Whoever held the lock before has got one.
                Some(held) if Instant::now() < held.renew_at => Ok(held),
                _ => source.ask(&mut asking).await,
            }
        });
        let broken = |_| Problem::new(ProblemKind::Internal, "no token: the engine stops").executed(Executed::No);
        asked.await.map_err(broken)?
    }

    async fn renew(self: Arc<Self>) {
        if let Ok(mut asking) = self.asking.try_lock()
            && self.current().is_none_or(|held| Instant::now() >= held.renew_at)
        {
            // Its failure is logged, and tried again after a pause.
            let _ = self.ask(&mut asking).await;
        }
    }

    /// The called server refused this token: a new one, unless new ones were of no use lately. Without a call to make again
    /// there is none now, but the next call gets another one.
    pub(super) async fn in_place_of(self: &Arc<Self>, refused: &Arc<Held>, again: bool) -> Option<Arc<Held>> {
        let pause = self.useless.lock().unwrap_or_else(PoisonError::into_inner).1;
        if pause.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        {
            let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            if current.as_ref().is_some_and(|held| Arc::ptr_eq(held, refused)) {
                *current = None;
            }
        }
        if again {
            return self.token().await.ok();
        }
        self.note_use(false);
        None
    }

    /// Was a token of any use? Those that were not make a pause before the next is tried in the place of a refused one.
    pub(super) fn note_use(&self, useful: bool) {
        let mut useless = self.useless.lock().unwrap_or_else(PoisonError::into_inner);
        *useless = if useful {
            (0, None)
        } else {
            let times = useless.0.saturating_add(1);
            (times, Some(Instant::now() + oauth::pause_after(times, chance())))
        };
    }

    fn current(&self) -> Option<Arc<Held>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask(&self, asking: &mut Asking) -> Result<Arc<Held>, Problem> {
        if let Some((until, problem)) = &asking.pause {
            let left = until.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                return Err(problem.clone().retry_after(left.as_secs() + 1));
            }
        }
        let began = Instant::now();
        let asked = tokio::time::timeout(self.answer_time_max, self.exchange(asking)).await;
        let answer = match asked.unwrap_or(Err(Failure::Broken("it did not answer in time"))) {
            Ok(answer) => answer,
            Err(failure) => return Err(self.failed(asking, failure)),
        };
        self.counters.got();
        (asking.failures, asking.pause) = (0, None);
        let life = answer.life;
        tracing::info!(
            rule = self.site.rule,
            endpoint = self.site.origin,
            life_s = life.as_secs(),
            "a new access token"
        );
        let held = Arc::new(Held {
            token: answer.access_token,
            renew_at: began + oauth::renew_after(life, chance()),
            usable_until: began + oauth::usable_for(life),
        });
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&held));
        Ok(held)
    }

    fn failed(&self, asking: &mut Asking, failure: Failure) -> Problem {
        self.counters.failed();
        asking.failures = asking.failures.saturating_add(1);
        let pause = oauth::pause_after(asking.failures, chance());
        let rule = &self.site.rule;
        let told = |status: u16, what: String| {
            let what = what.strip_prefix(&format!("{}: ", self.site.origin)).unwrap_or(&what);
            let detail = format!("token endpoint {} of the far side's inbound rule `{rule}`: {what}", self.site.origin);
            Problem { status, ..Problem::new(ProblemKind::TokenUnavailable, detail) }
        };
        let problem = match failure {
            Failure::Secret(error) => super::credentials::missing(rule, &error),
            Failure::Unreached(cause) => told(503, cause.detail),
            Failure::Broken(what) => told(503, what.to_owned()),
            Failure::Answered(
                error @ (TokenError::Status { status: 500..=599 } | TokenError::Status { status: 429 }),
            ) => told(503, error.to_string()),
            Failure::Answered(error) => told(502, error.to_string()),
        };
        let problem = problem.executed(Executed::No).retry_after(pause.as_secs() + 1);
        tracing::warn!(
            rule,
            problem = problem.kind.slug(),
            detail = problem.detail,
            failures = asking.failures,
            "no access token"
        );
        asking.pause = Some((Instant::now() + pause, problem.clone()));
        problem
    }

    /// Asks once; a rotated refresh token that is refused makes room for the one of the file.
    async fn exchange(&self, asking: &mut Asking) -> Result<TokenAnswer, Failure> {
        let secret = self.read(self.endpoint.client_secret_file.as_ref()).await?;
        let of_file = self.read(self.endpoint.refresh_token_file.as_ref()).await?;
        // Whoever writes another token into the file means it.
        asking.rotated.take_if(|(_, before)| of_file.as_ref().is_none_or(|now| now != before));
        let rotated = asking.rotated.as_ref().map(|(token, _)| token.clone());
        let secret = secret.as_ref().map(|secret| secret.as_str());
        let refresh = rotated.as_ref().or(of_file.as_ref()).map(|token| token.as_str());
        let mut answer = self.post(secret, refresh).await;
        if let Err(Failure::Answered(error)) = &answer
            && error.refuses_grant()
            && rotated.is_some()
        {
            asking.rotated = None;
            answer = self.post(secret, of_file.as_ref().map(|token| token.as_str())).await;
        }
        let mut answer = answer?;
        if let (Some(new), Some(of_file)) = (answer.refresh_token.take(), of_file) {
            asking.rotated = Some((new, of_file));
        }
        Ok(answer)
    }

    async fn read(&self, path: Option<&std::path::PathBuf>) -> Result<Option<Zeroizing<String>>, Failure> {
        let Some(path) = path else { return Ok(None) };
        let file = SecretFile { path: path.clone(), allow_readable: self.allow_readable };
        file.read_apart().await.map(Some).map_err(Failure::Secret)
    }

    async fn post(&self, secret: Option<&str>, refresh: Option<&str>) -> Result<TokenAnswer, Failure> {
        let asked = TokenRequest {
            client_id: &self.endpoint.client_id,
            client_secret: secret,
            secret_in_form: self.endpoint.client_auth == ClientAuth::Post,
            scope: self.endpoint.scope.as_deref(),
            audience: self.endpoint.audience.as_deref(),
            grant: refresh.map_or(Grant::ClientCredentials, Grant::RefreshToken),
        };
        let mut request = Request::new(body::full(asked.form().as_bytes().to_vec()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let fields = request.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        fields.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(pair) = asked.basic() {
            let encoded = base64::engine::general_purpose::STANDARD.encode(pair.as_bytes());
            let value = HeaderValue::from_str(&Zeroizing::new(format!("Basic {}", Zeroizing::new(encoded).as_str())));
            let mut value = value.map_err(|_| Failure::Broken("the client's id or secret cannot be sent"))?;
            value.set_sensitive(true);
            fields.insert(AUTHORIZATION, value);
        }
        let answered = self.client.request(request).await;
        let answered = answered.map_err(|error| Failure::Unreached(fault::of_call(&error, &self.site)))?;
        let status = answered.status().as_u16();
        let mut content = answered.into_body();
        let mut read = Zeroizing::new(Vec::with_capacity(4096));
        while let Some(frame) = content.frame().await {
            let frame = frame.map_err(|_| Failure::Broken("its answer was cut short"))?;
            let Some(data) = frame.data_ref() else { continue };
            if read.len() + data.len() > ANSWER_BYTES_MAX {
                return Err(Failure::Broken("its answer is larger than any token answer"));
            }
            read.extend_from_slice(data);
        }
        oauth::read_answer(status, &read).map_err(Failure::Answered)
    }

    #[cfg(test)]
    pub(super) fn answer_within(&mut self, time_max: Duration) {
        self.answer_time_max = time_max;
    }

    #[cfg(test)]
    pub(super) fn counted(&self) -> (u64, u64) {
        self.counters.read()
    }

    /// As if the time to renew had come.
    #[cfg(test)]
    pub(super) fn make_due(&self) {
        let mut current = self.current.lock().unwrap();
        let held = current.take().unwrap();
        let (token, usable_until) = (held.token.clone(), held.usable_until);
        *current = Some(Arc::new(Held { token, renew_at: Instant::now(), usable_until }));
    }

    #[cfg(test)]
    pub(super) async fn forget_pause(&self) {
        self.asking.lock().await.pause = None;
    }
}

/// Sixteen random bits; without any, none of what they spread is spread.
fn chance() -> u16 {
    let mut bytes = [0; 2];
    let _ = getrandom::fill(&mut bytes);
    u16::from_le_bytes(bytes)
}
