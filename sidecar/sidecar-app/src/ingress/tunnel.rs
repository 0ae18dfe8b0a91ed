//! Byte streams of the local port: CONNECT, and the upgrade to WebSocket.
//!
//! Order, and the first thing wrong is the answer: form of the request, Host and Origin, allow rule (one that names CONNECT, or
//! lists the upgrade), loop, the round trip, room in the log. Only when the far side says that it opened the stream is the
//! client answered 200 or 101, and what follows are the client's own octets.
//!
//! Invariants: a connection that became a tunnel goes on counting as one; a tunnel ends with the engine; a stream that was cut
//! ends the client's connection by a reset. Nothing of a tunnel is stored. Test to read first: `tests/line/tunnels.rs`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use layer2_http::envelope::Envelope;
use layer2_http::fields::Fields;
use layer2_http::fin::code;
use layer2_http::guard::{self, RequestForm};
use layer2_http::head::{RequestHead, ResponseHead};
use layer2_http::hop;
use layer2_http::operation::{Executed, OperationId};
use layer2_http::policy::{CONNECT, Rule};
use layer2_http::prefer::Wishes;
use layer2_http::problem::{Problem, ProblemKind};
use layer2_http::tunnel::{self, WEBSOCKET};
use sidecar_config::Tunnels;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::framing::FramingGuard;
use super::intercept::Inside;
use super::quotas::Occupied;
use super::request::{self, Admitted, bad};
use super::{Ingress, response};
use crate::access::{OfUpstream, Record};
use crate::body::{self, BoxedBody};
use crate::command::BeginCall;
use crate::exchange::{NearExchange, RecordReader, RecordWriter};
use crate::tunnel::{Tunnel, Wire};

/// A round trip above which a tunnel is refused: whatever is spoken through it would have given up.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(5);

/// What outlives the HTTP connection that a tunnel came by.
#[derive(Clone)]
pub(super) struct Keeper {
    /// Its place among the connections.
    pub(super) _place: Arc<OwnedSemaphorePermit>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// A byte stream that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Connect,
    WebSocket,
}

/// Which byte stream a request asks for, if any.
///
/// # Errors
/// When it asks in a form that is malformed, or that is not served.
pub(super) fn asked(request: &Request<Incoming>) -> Result<Option<Asked>, Problem> {
    if request.method() == Method::CONNECT {
        if request.version() == Version::HTTP_2 {
            let detail = "byte streams are opened over HTTP/1.1: CONNECT by HTTP/2 is not served";
            return Err(Problem::new(ProblemKind::UpgradeFailed, detail).executed(Executed::No));
        }
        return Ok(Some(Asked::Connect));
    }
    if request.version() != Version::HTTP_11 || !request.headers().contains_key(header::UPGRADE) {
        return Ok(None);
    }
    let fields = Fields::from_header_map(request.headers()).map_err(|error| bad(error.to_string()))?;
    let upgrade = tunnel::upgrade(request.method().as_str(), &fields).map_err(|error| error.to_problem())?;
    Ok(upgrade.then_some(Asked::WebSocket))
}

/// After such a head the guard of the framing does not look on.
pub(super) fn is_unguarded(request: &Request<Incoming>) -> bool {
    request.method() == Method::CONNECT || request.headers().contains_key(header::UPGRADE)
}

/// Is this the answer that opens a byte stream?
pub(super) fn opens(response: &Response<BoxedBody>) -> bool {
    response.extensions().get::<Opened>().is_some()
}

/// Marks the answer that opens a byte stream.
#[derive(Clone, Copy)]
pub(super) struct Opened;

/// Opens a byte stream.
///
/// # Errors
/// With the problem to answer instead.
pub(super) async fn open(
    ingress: Arc<Ingress>,
    mut request: Request<Incoming>,
    client: SocketAddr,
    asked: Asked,
) -> Result<Response<BoxedBody>, Problem> {
    let upgrading = hyper::upgrade::on(&mut request);
    let keeper = request.extensions_mut().remove::<Keeper>();
    let keeper = keeper.ok_or_else(|| Problem::new(ProblemKind::Internal, "a connection without a keeper"))?;
    let (admitted, tunnels) = match asked {
        Asked::Connect => admit_connect(&ingress, &request)?,
        Asked::WebSocket => admit_upgrade(&ingress, &request)?,
    };
    let begin = BeginCall {
        operation: admitted.operation,
        // Nothing of it can be picked up later.
        retain: false,
        head: head(&ingress, &admitted, client, asked)?.encode().map_err(|error| bad(error.to_string()))?,
        // In any form it is one: it must never be made twice.
        method: CONNECT.to_owned(),
        target: admitted.target.to_string(),
        route: admitted.route.clone(),
        deadline_ms: None,
        asked: Box::default(),
    };
    if !tunnels.even_if_slow {
        check_round_trip(&ingress, &begin).await?;
    }
    let who = (admitted.rule.as_str(), client.ip(), admitted.operation);
    let occupied = Occupied(ingress.quotas.enter(&ingress.driver, who, 0).await?);
    if let Some(record) = request.extensions().get::<Arc<Record>>() {
        record.know(|known| {
            (known.rule, known.operation) = (Some(admitted.rule.clone()), Some(admitted.operation));
        });
    }
    let deadline = tokio::time::Instant::now() + admitted.timeout;
    let begun = tokio::time::timeout_at(deadline, ingress.driver.begin(begin)).await;
    let begun = begun.map_err(|_| request::busy(&ingress.far_side))?;
    let NearExchange { request: outgoing, response: mut incoming, .. } =
        begun.map_err(|error| request::refused(&error, admitted.operation, &ingress.far_side))?;
    let head = match tokio::time::timeout_at(deadline, request::final_head(&mut incoming)).await {
        Ok(Ok(head)) => head,
        Ok(Err(error)) => return Err(request::failed(&ingress, admitted.operation, &error).await),
        Err(_) => return Err(late(&admitted)),
    };
    let decoded = request::response_head(&ingress, &head).map_err(|problem| problem.of(admitted.operation))?;
    if !is_open(&decoded, asked) {
        // A problem, or a response of the upstream that is none of a byte stream.
        outgoing.abort(code::NONE);
        return response::of_records(&ingress, head, incoming, admitted.operation, false).await;
    }
    let answer = opening(&ingress, decoded, asked, admitted.operation)?;
    let idle = tunnels.idle;
    let (tasks, operation) = (keeper.tasks.clone(), admitted.operation);
    tasks.spawn(async move {
        let _occupied = occupied;
        match upgrading.await {
            Ok(upgraded) => carry(upgraded, incoming, outgoing, idle, &keeper, operation).await,
            Err(error) => tracing::debug!(%operation, %error, "the client left before its tunnel was open"),
        }
    });
    Ok(answer)
}

async fn carry(
    upgraded: hyper::upgrade::Upgraded,
    incoming: RecordReader,
    outgoing: RecordWriter,
    idle: Duration,
    keeper: &Keeper,
    operation: OperationId,
) {
    let Some((wire, early)) = wire(upgraded) else {
        return tracing::error!(%operation, "a tunnel over a connection of another kind: this is a bug");
    };
    let tunnel = Tunnel { wire, early, incoming, outgoing, idle };
    if let Err(ended) = tunnel.carry(&keeper.stop).await {
        tracing::info!(%operation, %ended, "a tunnel was cut");
    }
}

/// The connection beneath HTTP, and what was read of it already.
fn wire(upgraded: hyper::upgrade::Upgraded) -> Option<(Box<dyn Wire>, bytes::Bytes)> {
    match upgraded.downcast::<TokioIo<FramingGuard<TcpStream>>>() {
        Ok(parts) => {
            let (wire, early) = beneath(parts.io.into_inner(), &parts.read_buf);
            Some((Box::new(wire), early))
        }
        Err(upgraded) => {
            let parts = upgraded.downcast::<TokioIo<FramingGuard<Inside>>>().ok()?;
            let (wire, early) = beneath(parts.io.into_inner(), &parts.read_buf);
            Some((Box::new(wire), early))
        }
    }
}

/// The stream beneath the guard. What the server read of it comes before what the guard still holds.
pub(super) fn beneath<S>(guard: FramingGuard<S>, read: &[u8]) -> (S, bytes::Bytes) {
    let (stream, held) = guard.into_parts();
    (stream, [read, &held[..]].concat().into())
}

fn admit_connect(ingress: &Ingress, request: &Request<Incoming>) -> Result<(Admitted, Tunnels), Problem> {
    let fields = request::fields(ingress, request)?;
    let authority = request.uri().authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let target = tunnel::connect(authority, &fields).map_err(|error| error.to_problem())?;
    let form = RequestForm::Absolute { host: &target.host };
    guard::check(fields.get("host"), fields.get("origin"), form, &ingress.names).map_err(|error| error.to_problem())?;
    let call = target.call(CONNECT).by(ingress.service_account());
    let rule = ingress.policy.decide(&call).map_err(|denied| denied.to_problem())?;
    hop::check_loop(&fields, &ingress.pseudonym).map_err(|error| error.to_problem())?;
    let wishes = Wishes::read(&fields).map_err(|error| error.to_problem())?;
    let operation = wishes.operation.map_or_else(request::new_operation_id, Ok)?;
    let (timeout, tunnels) = (rule.timeout, of_rule(ingress, rule));
    // The fields of a CONNECT are for the proxy alone.
    let (fields, rule) = (Fields::new(), rule.name.clone());
    let admitted =
        Admitted { target, rule, route: None, timeout, fields, operation, wishes, deadline_ms: None, version: "1.1" };
    Ok((admitted, tunnels))
}

fn admit_upgrade(ingress: &Ingress, request: &Request<Incoming>) -> Result<(Admitted, Tunnels), Problem> {
    let admitted = request::admit(ingress, request)?;
    let call = admitted.target.call(request.method().as_str()).by(ingress.service_account());
    let may = |rule: &Rule| admitted.route.as_ref().is_none_or(|route| *route == rule.name);
    let lists = |rule: &Rule| may(rule) && of_rule(ingress, rule).allows(WEBSOCKET);
    let rule = ingress.policy.decide_where(&call, lists).map_err(|_| {
        let name = ingress.policy.decide_where(&call, may).map(|rule| rule.name.clone()).unwrap_or_default();
        let detail = format!("outbound rule `{name}` would have to list {WEBSOCKET} in tunnels.upgrades");
        Problem::new(ProblemKind::RouteDenied, detail).executed(Executed::No)
    })?;
    let tunnels = of_rule(ingress, rule);
    Ok((Admitted { rule: rule.name.clone(), timeout: rule.timeout, ..admitted }, tunnels))
}

fn of_rule(ingress: &Ingress, rule: &Rule) -> Tunnels {
    ingress.tunnels.get(&rule.name).cloned().unwrap_or_default()
}

/// The head as it crosses: CONNECT, plain or extended (RFC 8441).
fn head(ingress: &Ingress, admitted: &Admitted, client: SocketAddr, asked: Asked) -> Result<RequestHead, Problem> {
    let head = request::request_head(ingress, admitted, CONNECT, client)?;
    let protocol = (asked == Asked::WebSocket).then(|| WEBSOCKET.to_owned());
    Ok(RequestHead { envelope: Envelope { protocol, idempotency_key: None, ..head.envelope }, ..head })
}

async fn check_round_trip(ingress: &Ingress, begin: &BeginCall) -> Result<(), Problem> {
    let Some(round_trip) = ingress.driver.round_trip(begin).await.filter(|measured| *measured > ROUND_TRIP_MAX) else {
        return Ok(());
    };
    let detail = format!(
        "a round trip to `{}` takes {:.1} s, and a byte stream is of no use above {} s: send single calls, or set \
        tunnels.evenIfSlow in the outbound rule",
        ingress.far_side,
        round_trip.as_secs_f64(),
        ROUND_TRIP_MAX.as_secs()
    );
    Err(Problem::new(ProblemKind::UpgradeFailed, detail).of(begin.operation).executed(Executed::No))
}

fn late(admitted: &Admitted) -> Problem {
    let detail = format!("the far side did not open the byte stream within {} s", admitted.timeout.as_secs());
    Problem::new(ProblemKind::UpgradeFailed, detail).of(admitted.operation).executed(Executed::Maybe)
}

fn is_open(head: &ResponseHead, asked: Asked) -> bool {
    let protocol = (asked == Asked::WebSocket).then_some(WEBSOCKET);
    head.status == 200 && head.envelope.problem.is_none() && head.envelope.protocol.as_deref() == protocol
}

/// What the client is answered.
fn opening(
    ingress: &Ingress,
    head: ResponseHead,
    asked: Asked,
    operation: OperationId,
) -> Result<Response<BoxedBody>, Problem> {
    let mut fields = head.fields;
    hop::strip_response(&mut fields);
    // Neither answer has content.
    fields.remove("content-length");
    let _ = hop::add_via(&mut fields, "1.1", &ingress.pseudonym);
    let map = fields.to_header_map().map_err(|error| {
        Problem::new(ProblemKind::ResponseInvalid, format!("the far side's response: {error}")).of(operation)
    })?;
    let mut response = Response::new(body::full(bytes::Bytes::new()));
    *response.headers_mut() = map;
    if asked == Asked::WebSocket {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
    }
    response::put(&mut response, "hoft-operation-id", &operation.to_string());
    response.extensions_mut().insert(Opened);
    response.extensions_mut().insert(OfUpstream);
    Ok(response)
}
