//! The status page on this port: for browsers, which ask for HTML. Everything else gets the list of paths.
//!
//! Invariants: the Host is checked as for every other path; a stream of events ends before its connection would be cut.
//! Test to read first: `a_browser_gets_the_page_and_others_the_list_of_paths`.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};

use super::{Admin, guard};
use crate::body::{self, BoxedBody};
use crate::page::{self, Filter, Page, Port};

impl Admin {
    /// Answers one request: with the page where that is asked for.
    pub(super) async fn answer_or_show<B>(&self, request: &Request<B>) -> Response<BoxedBody> {
        let path = request.uri().path();
        let wanted = path == page::EVENTS_PATH || (path == page::PATH && wants_html(request));
        if !wanted || guard::check(request.uri(), request.headers()).is_err() {
            return self.answer(request).await.map(boxed);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = said(StatusCode::METHOD_NOT_ALLOWED, "this port is read only");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        self.show(request, path == page::EVENTS_PATH).await
    }

    async fn show<B>(&self, request: &Request<B>, events: bool) -> Response<BoxedBody> {
        let filter = match Filter::of_query(request.uri().query()) {
            Ok(filter) => filter,
            Err(error) => return said(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        match events {
            false => self.page.show(filter, Port::Admin).await,
            true if request.method() == Method::HEAD => Page::head_of_events(),
            true => self.page.listen(filter, Port::Admin).unwrap_or_else(|| {
                said(StatusCode::SERVICE_UNAVAILABLE, "too many pages listen already; close one, or reload this one")
            }),
        }
    }
}

/// Does a browser ask? Programs that look at this port do not name HTML.
fn wants_html<B>(request: &Request<B>) -> bool {
    let mut accepted = request.headers().get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.any(|value| value.contains("text/html"))
}

fn boxed(content: Full<Bytes>) -> BoxedBody {
    content.map_err(|never| match never {}).boxed_unsync()
}

fn said(status: StatusCode, line: &str) -> Response<BoxedBody> {
    let mut response = Response::new(body::full(format!("{line}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
