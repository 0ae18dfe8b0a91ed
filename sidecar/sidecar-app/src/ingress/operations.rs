//! `/v1/operations`: what became of a call, and its stored response.

use http::{Method, Request, Response};
use hyper::body::Incoming;
use layer2_http::fields::Fields;
use layer2_http::operation::{Executed, OperationId, OperationView};
use layer2_http::problem::{Problem, ProblemKind};

use super::{Ingress, json, request, response};
use crate::body::BoxedBody;
use crate::command::{Stopping, StoredResult};

const ROOT: &str = "/v1/operations";
/// Operations that one list shows at most.
const LIST_MAX: usize = 1000;

/// True for the paths answered here.
pub(super) fn serves(path: &str) -> bool {
    path == ROOT || path.strip_prefix(ROOT).is_some_and(|rest| rest.starts_with('/'))
}

/// Answers a request for an operation.
///
/// # Errors
/// With the problem to answer instead.
pub(super) async fn answer(ingress: &Ingress, request: &Request<Incoming>) -> Result<Response<BoxedBody>, Problem> {
    let fields = Fields::from_header_map(request.headers())
        .map_err(|error| Problem::new(ProblemKind::BadRequest, error.to_string()))?;
    request::own_port(ingress, &fields)?;
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut problem = Problem::new(ProblemKind::BadRequest, "operations are read with GET");
        problem.status = 405;
        return Err(problem);
    }
    let rest = request.uri().path().strip_prefix(ROOT).unwrap_or_default().trim_start_matches('/');
    if rest.is_empty() {
        let list = ingress.driver.operations(LIST_MAX).await.map_err(stopping)?;
        return Ok(json(200, serde_json::to_vec(&list).unwrap_or_default()));
    }
    let (name, part) = rest.split_once('/').map_or((rest, None), |(name, part)| (name, Some(part)));
    let id =
        OperationId::parse(name).map_err(|error| Problem::new(ProblemKind::UnknownOperation, error.to_string()))?;
    match part {
        None => {
            let view = ingress.driver.operation(id).await.map_err(stopping)?.ok_or_else(|| unknown(id))?;
            Ok(json(200, serde_json::to_vec(&view).unwrap_or_default()))
        }
        Some("result") => result(ingress, id).await,
        Some(_) => Err(Problem::new(ProblemKind::UnknownOperation, "an operation has a /result, and nothing else")),
    }
}

async fn result(ingress: &Ingress, id: OperationId) -> Result<Response<BoxedBody>, Problem> {
    match ingress.driver.stored_result(id).await.map_err(stopping)? {
        StoredResult::Ready(mut reader) => match request::final_head(&mut reader).await {
            Ok(payload) => {
                let view = ingress.driver.operation(id).await.map_err(stopping)?;
                let to_head = view.is_some_and(|view| view.method == "HEAD");
                let mut response = response::of_records(ingress, payload, reader, id, to_head).await?;
                if to_head {
                    // The length that the HEAD told of is not that of this answer.
                    response.headers_mut().remove(http::header::CONTENT_LENGTH);
                }
                Ok(response)
            }
            Err(error) => Err(request::failed(ingress, id, &error).await),
        },
        StoredResult::Pending(view) => {
            Err(Problem::new(ProblemKind::ResultNotReady, format!("the operation is {}; ask again", view.state))
                .of(id)
                .retry_after(1))
        }
        StoredResult::Gone(view) => Err(ended(&view)),
        StoredResult::Unknown => Err(unknown(id)),
    }
}

/// An operation that ended without a response that is kept.
fn ended(view: &OperationView) -> Problem {
    let kind = view.problem.as_deref().and_then(ProblemKind::from_slug).unwrap_or(ProblemKind::ResultGone);
    let detail = format!("the operation ended as {} and no response of it is kept", view.state);
    Problem::new(kind, detail).of(view.id).executed(view.executed.unwrap_or(Executed::Maybe))
}

/// Whoever asks must not take this for an operation that was never accepted.
fn stopping(stopping: Stopping) -> Problem {
    Problem::new(ProblemKind::LogFull, format!("{stopping}; ask again")).retry_after(5)
}

fn unknown(id: OperationId) -> Problem {
    Problem::new(
        ProblemKind::UnknownOperation,
        format!("operation {id} is not known here: it was never accepted, or it ended long ago"),
    )
}
