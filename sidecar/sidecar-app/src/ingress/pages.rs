//! What people and tools read on this port: the status page, its events, the OpenAPI document.
//!
//! Invariant: as for the operations, only for requests whose Host and Origin are this port's. Tests to read first:
//! `tests/line/status_page.rs`, `tests/line/openapi.rs`.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use layer2_http::fields::Fields;
use layer2_http::problem::{Problem, ProblemKind};

use super::{Ingress, request};
use crate::body::{self, BoxedBody};
use crate::openapi;
use crate::page::{self, Filter, Page, Port};

/// True for the paths answered here.
pub(super) fn serves(path: &str) -> bool {
    matches!(path, page::PATH | page::EVENTS_PATH | openapi::PATH)
}

/// Answers a request for a page.
///
/// # Errors
/// With the problem to answer instead.
pub(super) async fn answer(ingress: &Ingress, request: &Request<Incoming>) -> Result<Response<BoxedBody>, Problem> {
    let fields = Fields::from_header_map(request.headers()).map_err(|error| bad(error.to_string()))?;
    request::own_port(ingress, &fields)?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut problem = bad("this is read with GET".to_owned());
        problem.status = 405;
        return Err(problem);
    }
    let path = request.uri().path();
    if path == openapi::PATH {
        return Ok(document(request.headers()));
    }
    let filter = Filter::of_query(request.uri().query()).map_err(|error| bad(error.to_string()))?;
    match path {
        page::EVENTS_PATH if request.method() == Method::HEAD => Ok(Page::head_of_events()),
        page::EVENTS_PATH => ingress.page.listen(filter, Port::Local).ok_or_else(too_many),
        _ => Ok(ingress.page.show(filter, Port::Local).await),
    }
}

/// Names the methods that there are in the answer to one that there is not (RFC 9110 §15.5.6).
pub(super) fn name_methods(response: &mut Response<BoxedBody>, path: &str) {
    if response.status() == StatusCode::METHOD_NOT_ALLOWED && !response.headers().contains_key(header::ALLOW) {
        let methods = openapi::methods_of(path).join(", ").to_uppercase();
        if let Ok(methods) = HeaderValue::try_from(methods) {
            response.headers_mut().insert(header::ALLOW, methods);
        }
    }
}

/// The OpenAPI document, or that the copy which is there already is this one.
fn document(headers: &HeaderMap) -> Response<BoxedBody> {
    let document = openapi::document();
    let mut tags = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let known = |tag: &str| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == document.etag;
    let same = tags.any(|tags| tags.split(',').any(|tag| known(tag.trim())));
    let mut response = Response::new(body::full(if same { "" } else { document.json.as_str() }));
    let fields = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&document.etag) {
        fields.insert(header::ETAG, etag);
    }
    // It may be kept, and is asked for anew: another version of this program has another one.
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if same {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(openapi::CONTENT_TYPE));
        fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    response
}

fn too_many() -> Problem {
    Problem::new(ProblemKind::LogFull, "too many pages listen already; close one, or reload this one").retry_after(10)
}

fn bad(detail: String) -> Problem {
    Problem::new(ProblemKind::BadRequest, detail)
}
