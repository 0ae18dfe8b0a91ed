//! What the near side does for an admitted call before and after it crosses: the cache, the quotas, the access log.
//!
//! Order: a fresh response from the shelf costs no quota; only a call that would cross takes a place. Invariants:
//! whatever ends the call, its place is given back and its line is written, by dropping what is held here. Test to
//! read first: `tests/line/quotas.rs`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use layer2_http::fields::Fields;
use layer2_http::operation::OperationId;
use layer2_http::problem::{Problem, ProblemKind};
use layer2_http::target::Target;

use super::Ingress;
use super::cache::{Looked, Question};
use super::quotas::{Paced, Permit};
use super::response::GoesOn;
use crate::access::{self, Record};
use crate::body::BoxedBody;
use crate::exchange::DriverHandle;

/// A call that passed the near side's own rules.
pub(super) struct Call<'a> {
    /// The rule that allowed it.
    pub(super) rule: &'a str,
    /// It came by the route of that name.
    pub(super) routed: bool,
    /// Where it goes.
    pub(super) target: &'a Target,
    /// Its operation, should it cross.
    pub(super) operation: OperationId,
    /// Its header section; questions of the cache are added.
    pub(super) fields: &'a mut Fields,
}

/// What becomes of a call.
pub(super) enum Entered {
    /// It is answered here.
    Answer(Box<Response<BoxedBody>>),
    /// It crosses.
    Crosses(Box<Crossing>),
}

/// A call that crosses, as the near side keeps it in mind.
pub(super) struct Crossing {
    record: Option<Arc<Record>>,
    permit: Option<Arc<Permit>>,
    question: Option<Question>,
    driver: DriverHandle,
    operation: OperationId,
}

/// Looks for an answer here, or lets the call cross.
///
/// # Errors
/// With the problem to answer instead.
pub(super) async fn enter(
    ingress: &Ingress,
    call: Call<'_>,
    request: &Request<Incoming>,
    client: SocketAddr,
) -> Result<Entered, Problem> {
    let record = request.extensions().get::<Arc<Record>>().cloned();
    if let Some(record) = &record {
        record.know(|known| {
            known.caller = ingress.service_account().map(str::to_owned);
            known.place = place(call.target);
            known.rule = Some(call.rule.to_owned());
            known.routed = call.routed;
        });
    }
    let asked = (request.method(), !request.body().is_end_stream());
    let question = match ingress.cache.look(call.rule, &call.target.to_string(), asked, call.fields)? {
        Looked::Off => None,
        Looked::Ask(question) => Some(question),
        Looked::Answer(response, outcome) => {
            if let Some(record) = &record {
                record.know(|known| known.cache = Some(outcome.name()));
            }
            return Ok(Entered::Answer(response));
        }
    };
    let declared = request.body().size_hint().exact().unwrap_or(0);
    let who = (call.rule, client.ip(), call.operation);
    let permit = ingress.quotas.enter(&ingress.driver, who, declared).await?;
    if let Some(record) = &record {
        record.know(|known| known.operation = Some(call.operation));
    }
    let (driver, operation) = (ingress.driver.clone(), call.operation);
    Ok(Entered::Crosses(Box::new(Crossing { record, permit, question, driver, operation })))
}

/// Scheme, authority and path, without the query.
fn place(target: &Target) -> String {
    let path = target.path_and_query.split('?').next().unwrap_or_default();
    format!("{}://{}{path}", target.scheme, target.authority())
}

impl Crossing {
    /// The request's content, counted and paced; and how long its source may be silent, if that is still to be watched.
    pub(super) fn request(&self, content: Incoming, idle_max: Duration) -> (BoxedBody, Option<Duration>) {
        let content = content.map_err(Into::into).boxed_unsync();
        let (content, idle_max) = match &self.permit {
            // Its pauses are no silence of the source.
            Some(permit) => (Paced::request(content, Arc::clone(permit), idle_max).boxed_unsync(), None),
            None => (content, Some(idle_max)),
        };
        (access::request_content(content, self.record.clone()), idle_max)
    }

    /// What the caller gets: kept by the cache, counted and paced.
    ///
    /// # Errors
    /// With the problem to answer instead.
    pub(super) fn leave(self, result: Result<Response<BoxedBody>, Problem>) -> Result<Response<BoxedBody>, Problem> {
        let Self { record, permit, question, driver, operation } = self;
        let goes_on = match &result {
            Ok(response) => goes_on(response),
            Err(problem) => problem.kind == ProblemKind::WaitOver,
        };
        if let Some(question) = question.as_ref().filter(|_| goes_on) {
            question.watch(&driver, operation);
        }
        let result = match question {
            Some(question) => {
                let (result, outcome) = question.answered(result);
                if let Some(record) = &record {
                    record.know(|known| known.cache = Some(outcome.name()));
                }
                result
            }
            None => result,
        };
        let Some(permit) = permit else { return result };
        match result {
            Ok(response) if goes_on => {
                // The operation may go on without its caller: the place is its own.
                Ok(response)
            }
            Ok(response) if response.body().is_end_stream() => {
                permit.end();
                Ok(response)
            }
            Ok(response) => {
                let declared = response.headers().get(http::header::CONTENT_LENGTH);
                let declared = declared.and_then(|value| value.to_str().ok()?.parse().ok());
                Ok(response.map(|body| Paced::response(body, permit, declared).boxed_unsync()))
            }
            Err(problem) => {
                if !goes_on {
                    permit.end();
                }
                Err(problem)
            }
        }
    }
}

/// A 202 or 504 of this engine: the operation goes on without its caller.
pub(super) fn goes_on(response: &Response<BoxedBody>) -> bool {
    response.extensions().get::<GoesOn>().is_some()
}
