//! What each path of the admin port answers.
//!
//! Invariants: a probe says in its body why it fails; no answer is cached or sniffed; the query is ignored. Test to read
//! first: `every_listed_path_answers`.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;

use super::guard::{self, Refused};
use super::{Admin, NoStatus};
use crate::driver::unix_ms;
use crate::metrics;
use crate::status::EngineStatus;

const TEXT: &str = "text/plain; charset=utf-8";

/// The page at `/`.
const INDEX: &str = "\
/startedz  200 once the configuration is read and the log recovered
/livez     200 while the driver answers
/readyz    200 while calls are accepted
/statusz   the engine's state as JSON
/metrics   the engine's metrics as OpenMetrics text
";

impl Admin {
    /// Answers one request. It never fails: what goes wrong is an answer too.
    pub(super) async fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        match guard::check(request.uri(), request.headers()) {
            Ok(()) => {}
            Err(refused @ Refused::NoHost) => return text(StatusCode::BAD_REQUEST, &refused.to_string()),
            Err(refused @ Refused::Foreign { .. }) => {
                return text(StatusCode::MISDIRECTED_REQUEST, &refused.to_string());
            }
        }
        let page = match request.uri().path() {
            "/" => Page::Index,
            "/startedz" => Page::Startedz,
            "/livez" => Page::Livez,
            "/readyz" => Page::Readyz,
            "/statusz" => Page::Statusz,
            "/metrics" => Page::Metrics,
            _ => return text(StatusCode::NOT_FOUND, &format!("no such path; there are:\n{}", INDEX.trim_end())),
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "this port is read only");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        self.page(page).await
    }

    async fn page(&self, page: Page) -> Response<Full<Bytes>> {
        match page {
            Page::Index => text(StatusCode::OK, INDEX.trim_end()),
            Page::Startedz => {
                probe(if self.health.started() { Ok("started") } else { Err(NoStatus::Starting.to_string()) })
            }
            Page::Readyz if self.health.ready() => probe(Ok("ready")),
            Page::Readyz => probe(Err("not ready: the engine is starting or stopping".to_owned())),
            Page::Livez => probe(match self.snapshot().await {
                Ok(_) => Ok("alive"),
                // A long recovery is not a dead engine.
                Err(NoStatus::Starting) => Ok("alive, and starting: the log is being read"),
                Err(error @ (NoStatus::Late(_) | NoStatus::Ended)) => Err(error.to_string()),
            }),
            // Who waits for the public key need not wait for the log.
            Page::Statusz if !self.health.started() => {
                statusz(&EngineStatus { now_ms: unix_ms(), ..self.before.clone() })
            }
            Page::Statusz => self.with_snapshot(statusz).await,
            Page::Metrics => {
                self.with_snapshot(|status| body(StatusCode::OK, metrics::CONTENT_TYPE, metrics::render(status))).await
            }
        }
    }

    async fn with_snapshot(&self, show: impl FnOnce(&EngineStatus) -> Response<Full<Bytes>>) -> Response<Full<Bytes>> {
        match self.snapshot().await {
            Ok(status) => show(&status),
            Err(error) => probe(Err(error.to_string())),
        }
    }
}

#[derive(Clone, Copy)]
enum Page {
    Index,
    Startedz,
    Livez,
    Readyz,
    Statusz,
    Metrics,
}

fn statusz(status: &EngineStatus) -> Response<Full<Bytes>> {
    match serde_json::to_vec_pretty(status) {
        Ok(json) => body(StatusCode::OK, "application/json", json),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("the state cannot be shown: {error}")),
    }
}

fn probe(outcome: Result<&str, String>) -> Response<Full<Bytes>> {
    match outcome {
        Ok(state) => text(StatusCode::OK, state),
        Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

fn text(status: StatusCode, line: &str) -> Response<Full<Bytes>> {
    body(status, TEXT, format!("{line}\n"))
}

fn body(status: StatusCode, content_type: &'static str, content: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(content.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
