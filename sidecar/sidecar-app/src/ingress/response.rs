//! Responses as local programs see them: what came over the gap, or a problem.

use http::{HeaderValue, Method, Response, StatusCode};
use layer2_http::hop;
use layer2_http::operation::OperationId;
use layer2_http::problem::{self, Problem};

use super::{Ingress, request};
use crate::access::{OfUpstream, Told};
use crate::body::{self, BoxedBody};
use crate::exchange::RecordReader;

/// The response whose head is `payload` and whose content follows in `reader`. `to_head` says that the call it answers
/// was a HEAD, whose response declares a length without having content.
///
/// # Errors
/// When the head cannot be read, or a response without content does not end well.
pub(super) async fn of_records(
    ingress: &Ingress,
    payload: bytes::Bytes,
    mut reader: RecordReader,
    operation: OperationId,
    to_head: bool,
) -> Result<Response<BoxedBody>, Problem> {
    let head = request::response_head(ingress, &payload).map_err(|problem| problem.of(operation))?;
    let mut fields = head.fields;
    hop::strip_response(&mut fields);
    // A marked line more cannot make a valid section invalid, short of the limit on lines.
    let _ = hop::add_via(&mut fields, "1.1", &ingress.pseudonym);
    let expected = hop::check_framing(&fields).map_err(|error| {
        let detail = format!("the far side's response: {error}");
        Problem::new(problem::ProblemKind::ResponseInvalid, detail).of(operation)
    })?;
    let content = if to_head || matches!(head.status, 204 | 304) || expected == Some(0) {
        // Nobody will ask for content, so the end is looked at here.
        match reader.next().await {
            Ok(_) => body::full(bytes::Bytes::new()),
            Err(error) => return Err(request::failed(ingress, operation, &error).await),
        }
    } else {
        body::from_records(reader, None, ingress.section, expected)
    };
    let mut response = Response::new(content);
    *response.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
    match fields.to_header_map() {
        Ok(map) => *response.headers_mut() = map,
        Err(error) => {
            let detail = format!("the far side's response: {error}");
            return Err(Problem::new(problem::ProblemKind::ResponseInvalid, detail).of(operation));
        }
    }
    put(&mut response, "hoft-operation-id", &operation.to_string());
    match head.envelope.problem {
        Some(slug) => drop(response.extensions_mut().insert(Told(slug, head.envelope.executed))),
        None => drop(response.extensions_mut().insert(OfUpstream)),
    }
    Ok(response)
}

/// The answer to a TRACE or OPTIONS that goes no further, as the last one of its recipients.
///
/// # Errors
/// A TRACE is answered with a problem: what it would show may be secret.
pub(super) fn last_hop(method: &Method) -> Result<Response<BoxedBody>, Problem> {
    if *method == Method::OPTIONS {
        return Ok(Response::new(body::full(bytes::Bytes::new())));
    }
    let mut problem = Problem::new(problem::ProblemKind::BadRequest, "this proxy does not answer TRACE itself");
    problem.status = 405;
    Err(problem.executed(problem::Executed::No))
}

/// The answer for a problem (RFC 9457, with Proxy-Status of RFC 9209).
pub(super) fn of_problem(problem: &Problem, pseudonym: &str, head_only: bool) -> Response<BoxedBody> {
    let content = if head_only { Vec::new() } else { problem.to_json() };
    let mut response = Response::new(body::full(content));
    *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    put(&mut response, "content-type", problem::CONTENT_TYPE);
    put(&mut response, "cache-control", "no-store");
    put(&mut response, "proxy-status", &problem.proxy_status_field(pseudonym));
    if let Some(methods) = problem.allow {
        put(&mut response, "allow", methods);
    }
    if let Some(seconds) = problem.retry_after_s {
        put(&mut response, "retry-after", &seconds.to_string());
    }
    if let Some(operation) = problem.operation {
        put(&mut response, "hoft-operation-id", &operation.to_string());
        put(&mut response, "location", &operation.location());
    }
    response.extensions_mut().insert(Told(problem.kind.slug().to_owned(), problem.executed));
    if problem.kind == problem::ProblemKind::WaitOver {
        response.extensions_mut().insert(GoesOn);
    }
    response
}

/// Marks an answer to a caller whose operation goes on without him.
#[derive(Clone, Copy, Debug)]
pub(super) struct GoesOn;

/// Sets a field, if its value can be one.
pub(super) fn put(response: &mut Response<BoxedBody>, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
