//! Callbacks at the door: what a request asks to be told, and the dead letters (`/v1/dead-letters`).
//!
//! | request | does |
//! |---|---|
//! | `GET /v1/dead-letters` | lists what could not be delivered, the latest first |
//! | `POST /v1/dead-letters/{id}/retry` | tries one again, for the whole time anew |
//! | `DELETE /v1/dead-letters/{id}` | removes one |
//!
//! Invariant: a URL that no rule allows is refused before anything is accepted. It delivers nothing. Test to read first:
//! `tests/line/callbacks.rs`.

use http::{Method, Request, Response};
use hyper::body::Incoming;
use layer2_http::callbacks::{Wanted, parse_letter};
use layer2_http::fields::Fields;
use layer2_http::operation::OperationId;
use layer2_http::prefer::Wishes;
use layer2_http::problem::{Problem, ProblemKind};

use super::{Ingress, json, operations, request};
use crate::body::BoxedBody;

const ROOT: &str = "/v1/dead-letters";
/// Letters that one list shows at most.
const LIST_MAX: usize = 1000;

/// What the request asks to be told.
///
/// # Errors
/// When no rule allows a URL.
pub(super) fn wanted(ingress: &Ingress, wishes: &Wishes, id: OperationId) -> Result<Option<Wanted>, Problem> {
    let (callback, events) = (wishes.callback.clone(), wishes.events.clone());
    if callback.is_none() && events.is_none() {
        return Ok(None);
    }
    match &ingress.callbacks {
        Some(callbacks) => callbacks.admit(callback.as_deref(), events.as_deref())?,
        None => return Err(Problem::new(ProblemKind::CallbackDenied, "this engine makes no callbacks")),
    }
    Ok(Some(Wanted { id, callback, events }))
}

/// True for the paths answered here.
pub(super) fn serves(path: &str) -> bool {
    path == ROOT || path.strip_prefix(ROOT).is_some_and(|rest| rest.starts_with('/'))
}

/// Answers a request for dead letters.
///
/// # Errors
/// With the problem to answer instead.
pub(super) async fn answer(ingress: &Ingress, request: &Request<Incoming>) -> Result<Response<BoxedBody>, Problem> {
    let fields = Fields::from_header_map(request.headers())
        .map_err(|error| Problem::new(ProblemKind::BadRequest, error.to_string()))?;
    request::own_port(ingress, &fields)?;
    let rest = request.uri().path().strip_prefix(ROOT).unwrap_or_default().trim_start_matches('/');
    match (request.method(), rest) {
        (&Method::GET | &Method::HEAD, "") => {
            let letters = ingress.driver.dead_letters(LIST_MAX).await.map_err(operations::stopping)?;
            Ok(json(200, serde_json::to_vec(&letters).unwrap_or_default()))
        }
        (_, "") => Err(Problem::method_not_allowed("GET, HEAD")),
        (&Method::DELETE, name) if !name.ends_with("/retry") => {
            let (id, line) = parse_letter(name).ok_or_else(|| unknown(name))?;
            let removed = ingress.driver.drop_callback(id, line).await.map_err(operations::stopping)?;
            if removed { Ok(json(204, Vec::new())) } else { Err(unknown(name)) }
        }
        (&Method::POST, name) => {
            let name = name.strip_suffix("/retry").ok_or_else(|| Problem::method_not_allowed("DELETE"))?;
            let (id, line) = parse_letter(name).ok_or_else(|| unknown(name))?;
            let revived = ingress.driver.revive_callback(id, line).await.map_err(operations::stopping)?;
            let pending = revived.ok_or_else(|| unknown(name))?;
            if let Some(callbacks) = &ingress.callbacks {
                callbacks.go_on(pending);
            }
            Ok(json(202, br#"{"state":"pending"}"#.to_vec()))
        }
        (_, name) => Err(Problem::method_not_allowed(if name.ends_with("/retry") { "POST" } else { "DELETE" })),
    }
}

fn unknown(name: &str) -> Problem {
    let shown: String = name.chars().take(80).collect();
    Problem::new(ProblemKind::UnknownOperation, format!("there is no dead letter `{shown}`; GET {ROOT} lists them"))
}
