//! The local port: the doors by which programs of this side call.
//!
//! Doors: the forward proxy (absolute-form targets, CONNECT), the routes (`/to/{route}/…`), the operations
//! (`/v1/operations`), the dead letters (`/v1/dead-letters`); by HTTP/1.1, or by HTTP/2 without TLS; the status page at `/`
//! (`pages.rs`).
//! A request is looked at in this order, and the first thing wrong with it is the answer: framing, Host and Origin,
//! target, allow rules, loops, operation id, room in the log. Only then is anything accepted.
//!
//! Invariants: nothing is accepted before it is durable; a call is answered once; a body streams. It executes nothing:
//! the far side does, and decides again. Test to read first: `tests/line`.

mod asynchronous;
pub(crate) mod cache;
mod callbacks;
mod crowd;
mod events;
mod framing;
mod h2c;
mod heads;
mod idempotency;
mod intercept;
mod near_side;
mod operations;
mod pages;
pub(crate) mod quotas;
mod request;
mod response;
mod results;
mod tunnel;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use layer2_http::bhttp::SectionLimit;
use layer2_http::envelope::Caller;
use layer2_http::policy::Policy;
use layer2_http::target::{self, Target};
use sidecar_config::{Config, Tunnels};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use self::cache::Cache;
use self::crowd::Crowd;
use self::framing::{FramingGuard, Refusal};
use self::quotas::Quotas;
use self::tunnel::{Asked, Keeper};
use crate::access::Record;
use crate::body::{self, BoxedBody};
use crate::callbacks::Callbacks;
use crate::exchange::DriverHandle;
use crate::interception::Authority;
use crate::page::Page;

/// How long a request's head may take from its first octet.
const HEADER_TIME_MAX: Duration = Duration::from_secs(20);
/// How long a connection may be idle, the time of a head included.
const IDLE_TIME_MAX: Duration = Duration::from_secs(40);
/// Calls at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;
/// Silence on an HTTP/2 connection after which it is probed, and the time an answer may take.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// A target that a route names.
#[derive(Clone, Debug)]
struct RouteTarget {
    route: String,
    target: Target,
}

/// The local port's rules and where it hands calls to.
pub struct Ingress {
    driver: DriverHandle,
    page: Arc<Page>,
    policy: Policy,
    routes: Vec<RouteTarget>,
    /// What the rules say of byte streams.
    tunnels: BTreeMap<String, Tunnels>,
    names: Vec<String>,
    pseudonym: String,
    body_max: u64,
    header_bytes_max: usize,
    section: SectionLimit,
    crowd: Crowd,
    /// Room for streams of events.
    listeners: Arc<Semaphore>,
    quotas: Arc<Quotas>,
    cache: Arc<Cache>,
    compress: bool,
    far_side: String,
    /// Ends the TLS of callers, if that is wanted.
    interception: Option<Authority>,
    /// Who calls here, where that is known.
    caller: Option<Caller>,
    /// Who tells of calls; `None`: nobody.
    callbacks: Option<Arc<Callbacks>>,
}

impl Ingress {
    /// Takes what it needs of the configuration.
    pub fn new(config: &Config, policy: Policy, driver: DriverHandle, page: Arc<Page>, pseudonym: String) -> Self {
        let routes = config
            .outbound
            .allow
            .iter()
            .filter_map(|rule| {
                let target = target::parse_absolute(rule.target.as_ref()?.as_str()).ok()?;
                Some(RouteTarget { route: rule.name.to_string(), target })
            })
            .collect();
        let tunnels = config.outbound.allow.iter().map(|rule| (rule.name.to_string(), rule.tunnels.clone())).collect();
        let header_bytes_max = usize::try_from(config.limits.header_bytes.as_u64()).unwrap_or(usize::MAX);
        Self {
            driver,
            page,
            policy,
            listeners: Arc::new(Semaphore::new(events::LISTENERS_MAX)),
            quotas: Quotas::new(config),
            cache: Cache::new(config, &pseudonym),
            routes,
            tunnels,
            names: config.listen.names.clone(),
            pseudonym,
            body_max: config.limits.body_max.as_u64(),
            header_bytes_max,
            section: SectionLimit::new(header_bytes_max),
            crowd: Crowd::new(usize::try_from(config.limits.connections).unwrap_or(usize::MAX)),
            compress: config.modes.send == sidecar_config::Mode::Sealed,
            far_side: config.remote.name.to_string(),
            interception: None,
            caller: caller(&config.local),
            callbacks: None,
        }
    }

    /// The same, which ends the TLS of its callers by this authority.
    #[must_use]
    pub fn intercepting(mut self, authority: Option<Authority>) -> Self {
        self.interception = authority;
        self
    }

    /// Its quotas and its cache, for the metrics.
    pub(crate) fn counted(&self) -> (Arc<Quotas>, Arc<Cache>) {
        (Arc::clone(&self.quotas), Arc::clone(&self.cache))
    }

    /// The same with callbacks.
    #[must_use]
    pub fn with_callbacks(mut self, callbacks: Arc<Callbacks>) -> Self {
        self.callbacks = Some(callbacks);
        self
    }

    /// What rules with callers ask for.
    fn service_account(&self) -> Option<&str> {
        self.caller.as_ref()?.service_account.as_deref()
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>, client: SocketAddr, how: &How) -> Response<BoxedBody> {
        let head_only = request.method() == Method::HEAD;
        let request = match (how, request.version()) {
            (How::Inside(target), _) => intercept::absolute(request, target),
            (How::Port(port), Version::HTTP_2) => h2c::normalized(request, *port, &self.names),
            (How::Port(_), _) => Ok(request),
        };
        match request {
            Ok(request) => self.handle(request, client).await,
            Err(problem) => response::of_problem(&problem, &self.pseudonym, head_only),
        }
    }

    async fn handle(self: Arc<Self>, mut request: Request<Incoming>, client: SocketAddr) -> Response<BoxedBody> {
        let head_only = request.method() == Method::HEAD;
        let by_http1 = request.version() != Version::HTTP_2;
        let unguarded =
            tunnel::is_unguarded(&request) || request.headers().contains_key(http::header::TRANSFER_ENCODING);
        let path = request.uri().path().to_owned();
        let own = request.uri().scheme().is_none();
        let ours = own
            && (operations::serves(&path)
                || pages::serves(&path)
                || callbacks::serves(&path)
                || path == intercept::CA_PATH);
        let record = if ours { None } else { Record::near(&mut request, client) };
        let result = match tunnel::asked(&request) {
            Err(problem) => Err(problem),
            Ok(Some(Asked::Connect)) if let Some(target) = intercept::place(&self, &request) => {
                intercept::open(&self, request, client, target)
            }
            Ok(Some(asked)) => tunnel::open(Arc::clone(&self), request, client, asked).await,
            Ok(None) if own && path == intercept::CA_PATH => intercept::offer(&self, &request),
            Ok(None) if own && operations::serves(&path) => operations::answer(&self, &request).await,
            Ok(None) if own && callbacks::serves(&path) => callbacks::answer(&self, &request).await,
            Ok(None) if own && pages::serves(&path) => pages::answer(&self, &request).await,
            Ok(None) => request::call(Arc::clone(&self), request, client).await,
        };
        if let (Some(record), Err(problem)) = (&record, &result) {
            record.problem(problem);
        }
        let mut response = result.unwrap_or_else(|problem| response::of_problem(&problem, &self.pseudonym, head_only));
        pages::name_methods(&mut response, &path);
        if unguarded && by_http1 && !tunnel::opens(&response) {
            // The guard of the framing sees only as far as the first chunked body, or what could have been a byte stream.
            response.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
        }
        match record {
            Some(record) => record.answered(response),
            None => response,
        }
    }
}

/// Every program that reaches this port counts as the one caller that the engine was started for.
fn caller(local: &sidecar_config::Local) -> Option<Caller> {
    let (namespace, service_account) = (local.namespace.clone(), local.service_account.clone());
    (namespace.is_some() || service_account.is_some()).then_some(Caller { namespace, service_account, name: None })
}

/// Serves the port until told to stop; then open connections finish what they are at.
pub async fn serve(ingress: Arc<Ingress>, listener: TcpListener, stop: CancellationToken) {
    let tasks = tokio_util::task::TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &ingress.crowd) => accepted,
        };
        let Some((mut stream, client, waiting)) = accepted else { continue };
        let (ingress, tasks_of_all, stop) = (Arc::clone(&ingress), tasks.clone(), stop.clone());
        tasks.spawn(async move {
            let place = tokio::select! {
                () = stop.cancelled() => return,
                place = ingress.crowd.enter(&mut stream, waiting, &ingress.pseudonym) => place,
            };
            if let Some(place) = place {
                connection(ingress, stream, client, Keeper { _place: Arc::new(place), tasks: tasks_of_all, stop })
                    .await;
            }
        });
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

async fn accept(listener: &TcpListener, crowd: &Crowd) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let waiting = crowd.room().await?;
    match listener.accept().await {
        Ok((stream, client)) => Some((stream, client, waiting)),
        Err(error) => {
            // Out of file descriptors, most likely: trying at once would only spin.
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn connection(ingress: Arc<Ingress>, stream: TcpStream, client: SocketAddr, keeper: Keeper) {
    let _ = stream.set_nodelay(true);
    let port = stream.local_addr().map_or(0, |address| address.port());
    let begun = tokio::select! {
        () = keeper.stop.cancelled() => return,
        begun = tokio::time::timeout(IDLE_TIME_MAX, h2c::begins(&stream)) => begun.ok().flatten(),
    };
    if let Some(by_http2) = begun {
        serve_http(ingress, stream, client, keeper, How::Port(port), by_http2).await;
    }
}

/// How a connection came to speak HTTP.
#[derive(Clone)]
enum How {
    /// To this port.
    Port(u16),
    /// Within TLS that was meant for this place.
    Inside(Arc<Target>),
}

async fn serve_http<S>(ingress: Arc<Ingress>, stream: S, client: SocketAddr, keeper: Keeper, how: How, by_http2: bool)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let stop = keeper.stop.clone();
    let head_bytes_max = ingress.header_bytes_max.saturating_add(16 * 1024).max(64 * 1024);
    let header_list_max = u32::try_from(ingress.header_bytes_max).unwrap_or(u32::MAX);
    let service = |refusal: Refusal| {
        service_fn(move |mut request: Request<Incoming>| {
            let (ingress, how, refused) = (Arc::clone(&ingress), how.clone(), refusal.of(request.headers()));
            // Streams of events end with the engine.
            request.extensions_mut().insert(keeper.stop.clone());
            request.extensions_mut().insert(keeper.clone());
            async move {
                Ok::<_, Infallible>(match refused {
                    Some(problem) => response::of_problem(&problem, &ingress.pseudonym, false),
                    None => ingress.answer(request, client, &how).await,
                })
            }
        })
    };
    let result = if by_http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(header_list_max)
            .keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1);
        let served = builder.serve_connection(TokioIo::new(stream), service(Refusal::default()));
        tokio::pin!(served);
        tokio::select! {
            result = served.as_mut() => result,
            () = stop.cancelled() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        }
    } else {
        let (guard, refusal) = FramingGuard::new(stream, head_bytes_max, HEADER_TIME_MAX);
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_TIME_MAX)
            .max_headers(heads::HEADER_LINES_MAX)
            .max_buf_size(head_bytes_max)
            .half_close(false);
        let served = builder.serve_connection(TokioIo::new(guard), service(refusal)).with_upgrades();
        tokio::pin!(served);
        tokio::select! {
            result = served.as_mut() => result,
            () = stop.cancelled() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%client, error = crate::driver::chain(&error), "connection ended early");
    }
}

/// An answer of the local API itself.
fn json(status: u16, content: Vec<u8>) -> Response<BoxedBody> {
    let mut response = Response::new(body::full(content));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response.headers_mut().insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response
}
