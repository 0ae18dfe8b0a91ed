//! Byte streams of the far side: a CONNECT becomes a TCP connection, an upgrade an HTTP/1.1 connection that switched protocols.
//!
//! Order, and the first thing wrong is the answer: target, allow rule (one that names CONNECT, or lists the upgrade), framing,
//! loop, literal address, dispatch mark, connection, for an upgrade its request and response, head of the response.
//!
//! Invariants: the dispatch mark is durable before anything is opened, and a byte stream is never opened again after a restart;
//! the connection goes to an address that was checked; what an upstream answers instead of switching is a response like any.
//! It carries nothing: `crate::tunnel` does. Test to read first: `tests/line/tunnels.rs`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use layer2_http::envelope::{Envelope, Timings};
use layer2_http::fields::Fields;
use layer2_http::head::{RequestHead, ResponseHead};
use layer2_http::hop;
use layer2_http::operation::Executed;
use layer2_http::policy::{CONNECT, Rule};
use layer2_http::problem::{Problem, ProblemKind};
use layer2_http::target::parse_connect;
use layer2_http::tunnel::WEBSOCKET;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use wire::EndpointId;
use wire::record::kind;

use super::Egress;
use super::admission::{self, Call, bad, refuse};
use super::answer::{self, Frame};
use super::call::millis;
use super::connector::Opening;
use super::cookies::Owner;
use super::execution::Outcome;
use super::far_side;
use super::fault::{self, Site};
use super::filtered::Filtered;
use crate::body::BodyError;
use crate::exchange::{DispatchMark, RecordReader, RecordWriter};
use crate::tunnel::{Tunnel, Wire};

/// A rule that says nothing of tunnels.
const IDLE: Duration = Duration::from_secs(600);

/// A byte stream that is open.
pub(super) struct Open {
    wire: Box<dyn Wire>,
    /// What the upstream sent already.
    early: Bytes,
    /// The head of the response to write.
    head: Bytes,
    request: RecordReader,
    idle: Duration,
    origin: String,
}

/// Opens what the head asks for.
///
/// # Errors
/// With the problem to answer instead.
pub(super) async fn open(
    egress: &Egress,
    peer: EndpointId,
    head: &RequestHead,
    request: RecordReader,
    dispatch: DispatchMark,
) -> Result<Outcome, Problem> {
    match head.envelope.protocol.as_deref() {
        None => connect(egress, head, request, dispatch).await,
        Some(WEBSOCKET) if head.method == CONNECT => upgrade(egress, peer, head, request, dispatch).await,
        Some(other) => Err(refuse(
            ProblemKind::UpgradeFailed,
            format!("this far side cannot switch to {:?}", other.chars().take(64).collect::<String>()),
        )),
    }
}

/// Carries what was opened, to its end.
pub(super) async fn carry(egress: &Egress, open: Open, mut writer: RecordWriter, cancelled: &CancellationToken) {
    let Open { wire, early, head, request, idle, origin } = open;
    if let Err(error) = writer.head(kind::HEAD, head).await {
        wire.cut();
        tracing::debug!(%error, origin, "a tunnel could not be answered");
        return egress.counters.cancelled();
    }
    let tunnel = Tunnel { wire, early, incoming: request, outgoing: writer, idle };
    match tunnel.carry(cancelled).await {
        Ok(()) => egress.counters.answered(),
        Err(ended) => {
            tracing::debug!(%ended, origin, "a tunnel was cut");
            egress.counters.cut();
        }
    }
}

async fn connect(
    egress: &Egress,
    head: &RequestHead,
    request: RecordReader,
    dispatch: DispatchMark,
) -> Result<Outcome, Problem> {
    let target = parse_connect(&head.authority).map_err(bad)?;
    let call = target.call(CONNECT).by(head.envelope.stated_caller());
    let rule = egress.policy.decide(&call).map_err(|denied| denied.to_problem())?;
    let upstream = egress
        .upstreams
        .get(&rule.name)
        .ok_or_else(|| refuse(ProblemKind::Internal, format!("rule `{}` has no client: this is a bug", rule.name)))?;
    hop::check_loop(&head.fields, &egress.pseudonym).map_err(|error| error.to_problem())?;
    let mut site = Site::new(&target, rule, upstream.server.as_ref());
    if upstream.server.is_none() {
        site.origin = target.authority();
    }
    site.tls = false;
    admission::check_literal(&target, rule, upstream, &site)?;
    if !dispatch.commit().await {
        return Ok(Outcome::NotDispatched);
    }
    let opened = upstream.connector.bare(&target.authority()).await.map_err(|error| unreached(&error, &site))?;
    tracing::debug!(origin = site.origin, "a tunnel is open");
    let timings = Timings { connect_ms: Some(millis(opened.took())), ..Timings::default() };
    let head = opened_head(egress, head, Fields::new(), timings)?;
    let idle = idle(egress, rule);
    Ok(Outcome::Tunnel(Box::new(Open {
        wire: wire(opened),
        early: Bytes::new(),
        head,
        request,
        idle,
        origin: site.origin,
    })))
}

async fn upgrade(
    egress: &Egress,
    peer: EndpointId,
    head: &RequestHead,
    request: RecordReader,
    dispatch: DispatchMark,
) -> Result<Outcome, Problem> {
    // What the rules are asked about, and what the upstream is sent, is the GET that it was.
    let mut asked = RequestHead { method: Method::GET.to_string(), ..head.clone() };
    asked.envelope.protocol = None;
    let lists = |rule: &Rule| egress.tunnels.get(&rule.name).is_some_and(|tunnels| tunnels.allows(WEBSOCKET));
    let mut call = match admission::admit_where(egress, &asked, lists) {
        Ok(call) => call,
        Err(denied) => {
            // As a plain call it may be fine: then it is the rule that has to opt in.
            let rule = admission::admit(egress, &asked).map_err(|_| denied)?.rule;
            let detail = format!(
                "the far side's inbound rule `{}` would have to list {WEBSOCKET} in tunnels.upgrades",
                rule.name
            );
            return Err(refuse(ProblemKind::RouteDenied, detail));
        }
    };
    if call.content_length.is_some_and(|length| length > 0) {
        return Err(refuse(ProblemKind::BadRequest, "an upgrade has no content".to_owned()));
    }
    let owner = Owner::new(peer, head.envelope.caller.as_ref());
    far_side::authorize(&mut call, &owner).await?;
    if !dispatch.commit().await {
        return Ok(Outcome::NotDispatched);
    }
    let began = Instant::now();
    let opened =
        call.upstream.connector.dedicated(call.uri.clone()).await.map_err(|error| unreached(&error, &call.site))?;
    let connect_ms = Some(millis(opened.took()));
    let mut response = ask(&call, opened).await?;
    call.upstream.far.arrive(response.headers_mut(), &call, &owner);
    let timings = Timings { wait_ms: None, connect_ms, first_byte_ms: Some(millis(began.elapsed())) };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return switched(egress, &call, head, response, request, timings).await;
    }
    // It stays HTTP: a refusal, a redirect, a page.
    let (parts, content) = response.into_parts();
    let (operation, body_max) = (head.envelope.operation, call.upstream.body_max);
    let frame = Frame { pseudonym: &egress.pseudonym, section: egress.section, body_max, operation, timings };
    let answer = answer::of_response(&parts, &Method::GET, &frame)?;
    let content = Filtered::new(content, &call.upstream.far.response);
    Ok(Outcome::Response { answer, content, body_max })
}

/// Sends the request of an upgrade on a connection of its own.
async fn ask(call: &Call<'_>, opened: Opening) -> Result<Response<Incoming>, Problem> {
    let lost = |error: &hyper::Error| {
        let detail = format!("{}: {}", call.site.origin, crate::driver::chain(error));
        Problem::new(ProblemKind::UpstreamClosed, detail).executed(Executed::Maybe)
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(opened).await.map_err(|error| lost(&error))?;
    // It ends with the response's content, or becomes what is upgraded.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection for an upgrade ended early");
        }
    });
    let mut request = Request::new(Empty::<Bytes>::new());
    // What the rules were asked about: the path that was sent may have dot segments.
    let path = call.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    *request.uri_mut() = path.parse().map_err(bad)?;
    *request.headers_mut() = request_fields(call)?;
    match tokio::time::timeout(call.rule.timeout, sender.send_request(request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(lost(&error)),
        Err(_) => {
            let seconds = call.rule.timeout.as_secs_f64();
            let detail =
                format!("{} did not answer within the {seconds} s of rule `{}`", call.site.origin, call.rule.name);
            Err(Problem::new(ProblemKind::UpstreamTimeout, detail).executed(Executed::Maybe))
        }
    }
}

fn request_fields(call: &Call<'_>) -> Result<HeaderMap, Problem> {
    let mut fields = call.fields.clone();
    if !fields.contains_key(header::HOST) {
        let authority = call.uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        fields.insert(header::HOST, HeaderValue::from_str(authority).map_err(bad)?);
    }
    fields.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    fields.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
    fields.remove(header::CONTENT_LENGTH);
    fields.remove(HeaderName::from_static("te"));
    Ok(fields)
}

/// The upstream switched protocols.
async fn switched(
    egress: &Egress,
    call: &Call<'_>,
    head: &RequestHead,
    response: Response<Incoming>,
    request: RecordReader,
    timings: Timings,
) -> Result<Outcome, Problem> {
    let failed = |detail: String| Problem::new(ProblemKind::UpgradeFailed, detail).executed(Executed::Yes);
    let origin = &call.site.origin;
    let to = response.headers().get(header::UPGRADE).map(HeaderValue::as_bytes).unwrap_or_default();
    if !to.eq_ignore_ascii_case(WEBSOCKET.as_bytes()) {
        return Err(failed(format!(
            "{origin} switched to {:?}, which nobody asked for",
            to.escape_ascii().to_string()
        )));
    }
    let mut fields =
        Fields::from_header_map(response.headers()).map_err(|error| failed(format!("{origin}: {error}")))?;
    hop::strip_response(&mut fields);
    fields.remove("content-length");
    hop::add_via(&mut fields, answer::version(response.version()), &egress.pseudonym).map_err(bad)?;
    let upgraded = hyper::upgrade::on(response).await.map_err(|error| failed(format!("{origin}: {error}")))?;
    let parts = upgraded
        .downcast::<Opening>()
        .map_err(|_| failed("the connection is of another kind: this is a bug".to_owned()))?;
    tracing::debug!(origin, "a call switched protocols");
    let idle = idle(egress, call.rule);
    let head = opened_head(egress, head, fields, timings)?;
    let origin = origin.clone();
    Ok(Outcome::Tunnel(Box::new(Open { wire: wire(parts.io), early: parts.read_buf, head, request, idle, origin })))
}

/// The head that says that the tunnel is open: 200, and the protocol that was asked for.
fn opened_head(egress: &Egress, head: &RequestHead, fields: Fields, timings: Timings) -> Result<Bytes, Problem> {
    if fields.size_bytes() > egress.section.bytes() {
        let detail = format!("its header section has more than {} octets", egress.section.bytes());
        return Err(Problem::new(ProblemKind::ResponseInvalid, detail).executed(Executed::Yes));
    }
    let envelope = Envelope {
        operation: head.envelope.operation,
        protocol: head.envelope.protocol.clone(),
        executed: Some(Executed::Yes),
        timings: Some(timings),
        ..Envelope::default()
    };
    ResponseHead { envelope, status: 200, fields }
        .encode()
        .map_err(|error| Problem::new(ProblemKind::ResponseInvalid, error.to_string()).executed(Executed::Yes))
}

fn idle(egress: &Egress, rule: &Rule) -> Duration {
    egress.tunnels.get(&rule.name).map_or(IDLE, |tunnels| tunnels.idle)
}

fn unreached(error: &BodyError, site: &Site) -> Problem {
    fault::of_connecting(&**error, site).executed(Executed::No)
}

/// TLS to an upstream, over its TCP connection.
type Tls = tokio_rustls::client::TlsStream<TokioIo<TokioIo<TcpStream>>>;

impl Wire for Tls {
    fn cut(&self) {
        // Without close_notify, and below it a reset.
        self.get_ref().0.inner().inner().cut();
    }
}

fn wire(opened: Opening) -> Box<dyn Wire> {
    match opened.into_inner() {
        MaybeHttpsStream::Http(tcp) => Box::new(tcp.into_inner()),
        MaybeHttpsStream::Https(tls) => Box::new(tls.into_inner()),
    }
}
