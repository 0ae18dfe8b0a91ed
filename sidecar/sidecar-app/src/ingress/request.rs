//! A call through the forward proxy or a route: from the request to the response's head.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::Incoming as IncomingBody;
use layer2_http::deadline::{self, Verdict};
use layer2_http::envelope::Envelope;
use layer2_http::event::event_bit;
use layer2_http::fields::Fields;
use layer2_http::fin::code;
use layer2_http::guard::{self, RequestForm};
use layer2_http::head::{RequestHead, ResponseHead};
use layer2_http::hop::{self, Forwarded};
use layer2_http::operation::{Executed, OperationId, State};
use layer2_http::prefer::Wishes;
use layer2_http::problem::{Problem, ProblemKind};
use layer2_http::target::{self, Target};
use tokio::sync::oneshot;

use super::asynchronous::{self, Waitless};
use super::idempotency;
use super::near_side::{self, Entered};
use super::{Ingress, callbacks, response};
use crate::body::{self, BoxedBody, PumpError};
use crate::command::{Asked, BeginCall, BeginError};
use crate::driver::unix_ms;
use crate::exchange::{NearExchange, RecordReader, RecordWriter};
use crate::record::{Incoming, ReadError};

/// How long a caller may be silent within its request's body: an exchange is held for it all the while.
const BODY_IDLE_MAX: Duration = Duration::from_secs(120);

/// What a request asks for, once it passed every check.
pub(super) struct Admitted {
    pub(super) target: Target,
    pub(super) rule: String,
    pub(super) route: Option<String>,
    pub(super) timeout: Duration,
    pub(super) fields: Fields,
    pub(super) operation: OperationId,
    pub(super) wishes: Wishes,
    /// When its time is over: Unix ms.
    pub(super) deadline_ms: Option<i64>,
    /// HTTP version by which it came, as Via writes it.
    pub(super) version: &'static str,
}

impl Admitted {
    /// The response is kept to be picked up: by its id, because nobody waits for it, or because its caller is called back.
    fn retain(&self) -> bool {
        self.wishes.operation.is_some() || self.wishes.respond_async || self.wishes.callback.is_some()
    }

    /// How long its caller is held, and what is told of a shorter time that he asked for.
    fn patience(&self) -> (Duration, Option<String>) {
        let wait = self.wishes.wait_s.map(|wait_s| self.timeout.min(Duration::from_secs(wait_s)));
        (wait.unwrap_or(self.timeout), Wishes::applied(false, wait.map(|wait| wait.as_secs())))
    }
}

/// Answers one call.
///
/// # Errors
/// With the problem to answer instead.
pub(super) async fn call(
    ingress: Arc<Ingress>,
    request: Request<IncomingBody>,
    client: SocketAddr,
) -> Result<Response<BoxedBody>, Problem> {
    let mut admitted = admit(&ingress, &request)?;
    if !hop::count_down(request.method().as_str(), &mut admitted.fields).map_err(|error| bad(error.to_string()))? {
        return response::last_hop(request.method());
    }
    let wanted = callbacks::wanted(&ingress, &admitted.wishes, admitted.operation)?;
    let Admitted { rule, route, target, fields, operation, .. } = &mut admitted;
    let asks = near_side::Call { rule, routed: route.is_some(), target, operation: *operation, fields };
    let crossing = match near_side::enter(&ingress, asks, &request, client).await? {
        Entered::Answer(response) => return Ok(*response),
        Entered::Crosses(crossing) => crossing,
    };
    let method = request.method().as_str().to_owned();
    let to_head = request.method() == Method::HEAD;
    let head = request_head(&ingress, &admitted, &method, client)
        .and_then(|head| Ok((head.envelope.priority, head.encode().map_err(|error| bad(error.to_string()))?)));
    let (priority, head) = match head {
        Ok(head) => head,
        Err(problem) => return crossing.leave(Err(problem)),
    };
    let operation = admitted.operation;
    let key = idempotency::claim(&ingress, &admitted.wishes, &method, &admitted.target, admitted.route.as_deref());
    let begin = BeginCall {
        operation,
        retain: admitted.retain() || key.is_some() || wanted.is_some(),
        head,
        method,
        target: admitted.target.to_string(),
        route: admitted.route.clone(),
        deadline_ms: admitted.deadline_ms,
        asked: Box::new(Asked { key, callbacks: wanted.clone() }),
    };
    // Dropped when the wait is over, it begins nothing: no end of the request was sent, so nothing was executed.
    let in_time = admitted.wishes.deadline_s.map_or(admitted.timeout, |s| admitted.timeout.min(Duration::from_secs(s)));
    let begun = tokio::time::timeout(in_time, ingress.driver.begin(begin)).await;
    let exchange = match begun {
        Ok(Err(BeginError::KeyInUse(in_use))) => {
            let repeat = idempotency::repeat(&ingress, *in_use, request.into_body(), BODY_IDLE_MAX).await;
            return crossing.leave(repeat);
        }
        Ok(Ok(exchange)) => exchange,
        Ok(Err(error)) => return crossing.leave(Err(refused(&error, operation, &ingress.far_side))),
        Err(_) if in_time < admitted.timeout => return crossing.leave(Err(deadline::problem(Verdict::Over))),
        Err(_) => return crossing.leave(Err(busy(&ingress.far_side))),
    };
    if let (Some(callbacks), Some(wanted)) = (&ingress.callbacks, &wanted) {
        callbacks.follow(wanted);
    }
    let NearExchange { request: writer, response, .. } = exchange;
    if let Some(priority) = priority {
        writer.prioritize(priority);
    }
    let compress = ingress.compress && body::compressible(&admitted.fields);
    let (content, idle_max) = crossing.request(request.into_body(), BODY_IDLE_MAX);
    let content = (idempotency::digested(content, key.is_some(), &ingress.driver, operation), idle_max);
    if admitted.wishes.respond_async {
        let Admitted { wishes, timeout, .. } = admitted;
        let call = Waitless { operation, wishes, timeout, to_head };
        let accepted = asynchronous::accept(&ingress, call, content, (writer, compress), response).await;
        return crossing.leave(accepted);
    }
    let (held, applied) = admitted.patience();
    let (finished, sent_whole) = oneshot::channel();
    let sent = send_body(content, writer, ingress.body_max, compress, finished);
    // The caller's wait begins when its request is on its way as a whole: a long upload is no slow answer.
    let patience = async {
        let _ = sent_whole.await;
        tokio::time::sleep(held).await;
    };
    let answer = async {
        let answer = answer(&ingress, response, operation, patience, held, to_head).await;
        if applied.is_none() {
            return answer;
        }
        let mut told = answer.unwrap_or_else(|problem| response::of_problem(&problem, &ingress.pseudonym, to_head));
        asynchronous::applied(&mut told, applied);
        Ok(told)
    };
    tokio::pin!(answer);
    // The body goes on after the response's head came; it ends by itself or when the far side stops it.
    let mut sending = tokio::spawn(sent);
    crossing.leave(tokio::select! {
        biased;
        result = &mut answer => result,
        sent = &mut sending => match sent {
            Ok(Err(PumpError::TooLarge { max })) => Err(too_large(max, operation)),
            Ok(Err(PumpError::Source(error))) => {
                Err(bad(format!("the request body was cut short: {error}")).of(operation))
            }
            _ => answer.await,
        },
    })
}

async fn send_body(
    content: Content,
    writer: RecordWriter,
    max: u64,
    compress: bool,
    finished: oneshot::Sender<()>,
) -> Result<(), PumpError> {
    let result = pump(content, writer, max, compress).await;
    let _ = finished.send(());
    result
}

/// The body of a request, and how long its source may be silent, if that is to be watched.
pub(super) type Content = (BoxedBody, Option<Duration>);

/// Writes the body of a request into its stream.
pub(super) async fn pump(
    (content, idle_max): Content,
    writer: RecordWriter,
    max: u64,
    compress: bool,
) -> Result<(), PumpError> {
    let result = body::pump(content, writer, max, compress, idle_max).await;
    if let Err(error) = &result {
        tracing::debug!(%error, "a request body did not get to its end");
    }
    result
}

/// The header section, within its bound.
pub(super) fn fields(ingress: &Ingress, request: &Request<IncomingBody>) -> Result<Fields, Problem> {
    let fields = Fields::from_header_map(request.headers()).map_err(|error| bad(error.to_string()))?;
    if fields.size_bytes() > ingress.header_bytes_max {
        return Err(Problem::new(
            ProblemKind::FieldsTooLarge,
            format!("the header section has more than {} octets", ingress.header_bytes_max),
        ));
    }
    Ok(fields)
}

/// Every check that needs no more than the head.
pub(super) fn admit(ingress: &Ingress, request: &Request<IncomingBody>) -> Result<Admitted, Problem> {
    let fields = fields(ingress, request)?;
    let content_length = hop::check_framing(&fields).map_err(|error| bad(error.to_string()))?;
    let method = request.method().as_str();
    let (target, rule, route, timeout) = if request.uri().scheme().is_some() {
        let target = target::parse_absolute(&request.uri().to_string()).map_err(|error| bad(error.to_string()))?;
        let form = RequestForm::Absolute { host: &target.host };
        guard::check(fields.get("host"), fields.get("origin"), form, &ingress.names).map_err(|e| e.to_problem())?;
        hop::check_host(&fields, Some(&target)).map_err(|error| bad(error.to_string()))?;
        let rule = ingress
            .policy
            .decide(&target.call(method).by(ingress.service_account()))
            .map_err(|denied| refuse(denied.message))?;
        let (rule, timeout) = (rule.name.clone(), rule.timeout);
        (target, rule, None, timeout)
    } else {
        own_port(ingress, &fields)?;
        hop::check_host(&fields, None).map_err(|error| bad(error.to_string()))?;
        let (target, route, timeout) = routed(ingress, request, method)?;
        (target, route.clone(), Some(route), timeout)
    };
    hop::check_loop(&fields, &ingress.pseudonym)
        .map_err(|error| Problem::new(ProblemKind::LoopDetected, error.to_string()))?;
    if content_length.is_some_and(|length| length > ingress.body_max) {
        let max = ingress.body_max;
        return Err(Problem::new(ProblemKind::BodyTooLarge, format!("the body is larger than {max} octets")));
    }
    let wishes = Wishes::read(&fields).map_err(|error| error.to_problem())?;
    let operation = wishes.operation.map_or_else(new_operation_id, Ok)?;
    let deadline_ms = wishes.deadline_s.map(|s| unix_ms().saturating_add(s.saturating_mul(1_000)));
    let deadline_ms = deadline_ms.and_then(|deadline_ms| i64::try_from(deadline_ms).ok());
    let version = if request.version() == http::Version::HTTP_2 { "2" } else { "1.1" };
    Ok(Admitted { target, rule, route, timeout, fields, operation, wishes, deadline_ms, version })
}

/// Refuses requests for the local API that web pages of other sites make a browser send (DNS rebinding, cross-site links).
pub(super) fn own_port(ingress: &Ingress, fields: &Fields) -> Result<(), Problem> {
    guard::check(fields.get("host"), fields.get("origin"), RequestForm::Origin, &ingress.names)
        .map_err(|error| error.to_problem())?;
    if guard::is_cross_site(fields.get("sec-fetch-site")) {
        return Err(Problem::new(ProblemKind::ForeignOrigin, "a page of another site may not use this port"));
    }
    Ok(())
}

/// The target of `/to/{route}/…`.
fn routed(
    ingress: &Ingress,
    request: &Request<IncomingBody>,
    method: &str,
) -> Result<(Target, String, Duration), Problem> {
    let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let Some(wanted) = target::route_path(path) else {
        return Err(Problem::new(
            ProblemKind::UnknownRoute,
            "this port serves /to/{route}/…, /v1/operations and absolute http:// and https:// targets",
        ));
    };
    let Some(found) = ingress.routes.iter().find(|route| route.route == wanted.route) else {
        return Err(Problem::new(
            ProblemKind::UnknownRoute,
            format!("there is no route `{}`; name it in outbound.allow with a target", wanted.route),
        ));
    };
    let target = found.target.beneath(wanted.rest).map_err(|error| bad(error.to_string()))?;
    let call = target.call(method).by(ingress.service_account());
    let rule = ingress.policy.decide_route(wanted.route, &call).map_err(|denied| refuse(denied.message))?;
    let timeout = rule.timeout;
    Ok((target, wanted.route.to_owned(), timeout))
}

pub(super) fn new_operation_id() -> Result<OperationId, Problem> {
    let mut random = [0; 10];
    getrandom::fill(&mut random)
        .map_err(|error| Problem::new(ProblemKind::Internal, format!("no randomness for an operation id: {error}")))?;
    Ok(OperationId::v7(unix_ms(), &random))
}

/// The head as it crosses: end-to-end fields only, with this hop's own marks.
pub(super) fn request_head(
    ingress: &Ingress,
    admitted: &Admitted,
    method: &str,
    client: SocketAddr,
) -> Result<RequestHead, Problem> {
    let mut fields = admitted.fields.clone();
    let host = fields.get("host").map(|host| String::from_utf8_lossy(host).into_owned());
    let own = Forwarded {
        client: Some(client.to_string()),
        by: Some(format!("_{}", ingress.pseudonym)),
        host,
        proto: Some("http".to_owned()),
    };
    hop::strip_request(&mut fields);
    fields.remove("host");
    fields.remove("expect");
    let marked = hop::add_via(&mut fields, admitted.version, &ingress.pseudonym)
        .and_then(|()| hop::add_cdn_loop(&mut fields, &ingress.pseudonym))
        .and_then(|()| hop::set_forwarded(&mut fields, &own, false));
    marked.map_err(|error| bad(error.to_string()))?;
    let envelope = Envelope {
        operation: Some(admitted.operation),
        route: admitted.route.clone(),
        target: admitted.route.is_none().then(|| admitted.target.to_string()),
        deadline_ms: admitted.deadline_ms,
        idempotency_key: admitted.wishes.idempotency_key.clone(),
        // Nobody looks at the states of other calls while they are under way, and each event takes a record.
        event_mask: (admitted.retain() || admitted.wishes.events.is_some()).then_some(event_bit(State::Executing)),
        caller: ingress.caller.clone(),
        priority: admitted.wishes.priority,
        ..Envelope::default()
    };
    Ok(RequestHead {
        envelope,
        method: method.to_owned(),
        scheme: admitted.target.scheme.clone(),
        authority: admitted.target.authority(),
        path: admitted.target.path_and_query.clone(),
        fields,
    })
}

/// Waits for the response's head and builds the response whose body follows it.
async fn answer(
    ingress: &Ingress,
    mut reader: RecordReader,
    operation: OperationId,
    patience: impl Future<Output = ()>,
    timeout: Duration,
    to_head: bool,
) -> Result<Response<BoxedBody>, Problem> {
    let head = tokio::select! {
        head = final_head(&mut reader) => Some(head),
        () = patience => None,
    };
    let Some(head) = head else {
        reader.detach();
        return Err(Problem::new(
            ProblemKind::WaitOver,
            format!("no response within {} s; ask for {}/result later", timeout.as_secs(), operation.location()),
        )
        .of(operation)
        .executed(Executed::Maybe));
    };
    match head {
        Ok(head) => response::of_records(ingress, head, reader, operation, to_head).await,
        Err(error) => Err(failed(ingress, operation, &error).await),
    }
}

/// Reads up to the final head; interim ones are passed over.
pub(super) async fn final_head(reader: &mut RecordReader) -> Result<bytes::Bytes, ReadError> {
    loop {
        match reader.next().await? {
            Incoming::Head(payload) => return Ok(payload),
            Incoming::Interim(_) | Incoming::Other { .. } => {}
            Incoming::Data(_) | Incoming::Trailers(_) | Incoming::End => return Err(ReadError::Mismatch),
        }
    }
}

/// The problem of an exchange that ended without a response.
pub(super) async fn failed(ingress: &Ingress, operation: OperationId, error: &ReadError) -> Problem {
    let view = ingress.driver.operation(operation).await.ok().flatten();
    let executed = view.as_ref().and_then(|view| view.executed).unwrap_or(Executed::Maybe);
    let cancelled = matches!(error, ReadError::Reset { code: code::CANCELLED });
    let otherwise = if cancelled { ProblemKind::Cancelled } else { ProblemKind::ResponseIncomplete };
    let kind = view.and_then(|view| view.problem).and_then(|slug| ProblemKind::from_slug(&slug)).unwrap_or(otherwise);
    Problem::new(kind, error.to_string()).of(operation).executed(executed)
}

/// Decodes a response's head.
pub(super) fn response_head(ingress: &Ingress, payload: &[u8]) -> Result<ResponseHead, Problem> {
    ResponseHead::decode_within(payload, ingress.section)
        .map_err(|error| Problem::new(ProblemKind::ResponseInvalid, format!("the far side's response: {error}")))
}

pub(super) fn refused(error: &BeginError, operation: OperationId, far_side: &str) -> Problem {
    match error {
        BeginError::Duplicate(view) => Problem::new(
            ProblemKind::DuplicateOperation,
            format!("operation {} is {}; ask for {}", view.id, view.state, operation.location()),
        )
        .of(operation),
        BeginError::KeyInUse(_) => Problem::new(ProblemKind::KeyInProgress, error.to_string()),
        BeginError::LogFull | BeginError::DiskFull => {
            Problem::new(ProblemKind::LogFull, error.to_string()).executed(Executed::No).retry_after(30)
        }
        BeginError::Halted(alarm) => {
            Problem::new(ProblemKind::PeerSilent, format!("the pair with `{far_side}` is halted: {alarm}"))
                .executed(Executed::No)
        }
        BeginError::Stopping => {
            Problem::new(ProblemKind::LogFull, "the engine is stopping").executed(Executed::No).retry_after(5)
        }
    }
}

pub(super) fn busy(far_side: &str) -> Problem {
    let detail = format!("`{far_side}` takes no further call before another one ends; raise limits.maxInFlight there");
    Problem::new(ProblemKind::LogFull, detail).executed(Executed::No).retry_after(30)
}

pub(super) fn too_large(max: u64, operation: OperationId) -> Problem {
    Problem::new(ProblemKind::BodyTooLarge, format!("the body is larger than {max} octets")).of(operation)
}

pub(super) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::BadRequest, detail).executed(Executed::No)
}

fn refuse(detail: String) -> Problem {
    Problem::new(ProblemKind::RouteDenied, detail).executed(Executed::No)
}
