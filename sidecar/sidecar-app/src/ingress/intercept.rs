//! Https interception: a CONNECT that is answered here, the TLS of its caller ended here, and each request inside made as a
//! call to an absolute `https://` target.
//!
//! Invariants: only a place that an outbound https rule names is answered, and a rule that names CONNECT for it goes first: what
//! it lets through stays encrypted; a request inside goes to the place that the CONNECT named or nowhere; it passes every check of
//! any other call. Test to read first: `tests/line/interception.rs`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Method, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use layer2_http::guard::{self, RequestForm};
use layer2_http::operation::Executed;
use layer2_http::policy::CONNECT;
use layer2_http::problem::{Problem, ProblemKind};
use layer2_http::target::{Target, parse_authority};
use layer2_http::tunnel;
use tokio::io::{AsyncReadExt, Chain, Join};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::framing::FramingGuard;
use super::request::{self, bad};
use super::tunnel::{Keeper, Opened};
use super::{How, Ingress, response};
use crate::body::{self, BoxedBody};
use crate::tunnel::Wire;

/// How long a caller may take for its TLS handshake.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(30);
/// Where the authority is offered.
pub(super) const CA_PATH: &str = "/v1/ca.pem";

/// A caller's connection beneath its TLS, with what was read of it before.
type Below = Join<Chain<std::io::Cursor<Bytes>, OwnedReadHalf>, OwnedWriteHalf>;
/// A caller's connection, its TLS ended.
pub(super) type Inside = TlsStream<Below>;

impl Wire for Inside {
    fn cut(&self) {
        // Closed without close_notify: no TLS peer takes that for the end of the data.
    }
}

/// The place whose TLS is ended here, if this CONNECT is answered so.
pub(super) fn place(ingress: &Ingress, request: &Request<Incoming>) -> Option<Target> {
    let authority = ingress.interception.as_ref()?;
    let fields = request::fields(ingress, request).ok()?;
    let target = tunnel::connect(request.uri().authority()?.as_str(), &fields).ok()?;
    let as_stream = ingress.policy.decide(&target.call(CONNECT).by(ingress.service_account())).is_ok();
    (!as_stream && authority.covers(&target.host, target.port)).then_some(target)
}

/// Answers such a CONNECT, and serves what comes inside.
///
/// # Errors
/// With the problem to answer instead.
pub(super) fn open(
    ingress: &Arc<Ingress>,
    mut request: Request<Incoming>,
    client: SocketAddr,
    target: Target,
) -> Result<Response<BoxedBody>, Problem> {
    let fields = request::fields(ingress, &request)?;
    let form = RequestForm::Absolute { host: &target.host };
    guard::check(fields.get("host"), fields.get("origin"), form, &ingress.names).map_err(|error| error.to_problem())?;
    let internal = |detail: String| Problem::new(ProblemKind::Internal, detail).executed(Executed::No);
    let authority = ingress.interception.as_ref().ok_or_else(|| internal("no authority".to_owned()))?;
    let config = authority.server(&target.host).map_err(|error| internal(crate::driver::chain(&error)))?;
    let keeper = request.extensions_mut().remove::<Keeper>().ok_or_else(|| internal("no keeper".to_owned()))?;
    let upgrading = hyper::upgrade::on(&mut request);
    let (ingress, tasks) = (Arc::clone(ingress), keeper.tasks.clone());
    tasks.spawn(async move {
        let accepted = async {
            let below = below(upgrading.await.ok()?)?;
            let acceptor = TlsAcceptor::from(config);
            match tokio::time::timeout(HANDSHAKE_TIME_MAX, acceptor.accept(below)).await.ok()? {
                Ok(stream) => Some(stream),
                Err(error) => {
                    // Most likely it does not trust the authority.
                    tracing::info!(%client, host = target.host, %error, "a caller ended the handshake of an intercepted call");
                    None
                }
            }
        };
        let accepted = tokio::select! {
            () = keeper.stop.cancelled() => None,
            accepted = accepted => accepted,
        };
        if let Some(stream) = accepted {
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            super::serve_http(ingress, stream, client, keeper, How::Inside(Arc::new(target)), http2).await;
        }
    });
    let mut response = Response::new(body::full(Bytes::new()));
    response.extensions_mut().insert(Opened);
    Ok(response)
}

fn below(upgraded: Upgraded) -> Option<Below> {
    let parts = upgraded.downcast::<TokioIo<FramingGuard<TcpStream>>>().ok()?;
    let (stream, early) = super::tunnel::beneath(parts.io.into_inner(), &parts.read_buf);
    let (from, to) = stream.into_split();
    Some(tokio::io::join(std::io::Cursor::new(early).chain(from), to))
}

/// A request inside as a call to the place that the CONNECT named.
///
/// # Errors
/// When it names another one.
pub(super) fn absolute<B>(mut request: Request<B>, target: &Target) -> Result<Request<B>, Problem> {
    if request.method() == Method::CONNECT {
        return Err(bad("CONNECT inside of an intercepted connection"));
    }
    let named = match request.uri().authority() {
        Some(authority) => Some(authority.as_str().to_owned()),
        None => {
            let host = request.headers().get(HOST).map(HeaderValue::to_str);
            Some(host.ok_or_else(|| bad("the request has no Host"))?.unwrap_or_default().to_owned())
        }
    };
    let same = named
        .as_deref()
        .and_then(|text| parse_authority(text).ok())
        .is_some_and(|authority| authority.host == target.host && authority.port.unwrap_or(443) == target.port);
    if !same {
        return Err(bad(format!("the connection is for {target}, and its requests go nowhere else")));
    }
    let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let path = if path == "*" { "/" } else { path };
    let whole = format!("https://{}:{}{path}", target.host, target.port);
    *request.uri_mut() = whole.parse::<Uri>().map_err(|error| bad(error.to_string()))?;
    Ok(request)
}

/// `GET /v1/ca.pem`.
///
/// # Errors
/// With the problem to answer instead.
pub(super) fn offer(ingress: &Ingress, request: &Request<Incoming>) -> Result<Response<BoxedBody>, Problem> {
    request::own_port(ingress, &request::fields(ingress, request)?)?;
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Err(Problem::method_not_allowed("GET, HEAD"));
    }
    let Some(authority) = &ingress.interception else {
        let detail = "interception is off here: set interception.enabled";
        return Err(Problem::new(ProblemKind::UnknownRoute, detail).executed(Executed::No));
    };
    let mut answer = Response::new(body::full(authority.pem().to_owned()));
    response::put(&mut answer, "content-type", "application/pem-certificate-chain");
    response::put(&mut answer, "cache-control", "no-store");
    Ok(answer)
}
