//! `/v1/operations` and `/v1/events`: what became of calls, what happens to them, their stored responses, and their end.
//!
//! Invariants: only requests for this port itself are answered; what is asked never changes an operation but by DELETE. Test to
//! read first: `tests/line/operations.rs`.

use http::{Method, Request, Response};
use hyper::body::Incoming;
use layer2_http::fields::Fields;
use layer2_http::operation::{Executed, OperationId, OperationView, State};
use layer2_http::problem::{Problem, ProblemKind};
use tokio_util::sync::CancellationToken;

use super::{Ingress, events, json, request, response, results};
use crate::ask::{Ask, Cancelled};
use crate::body::BoxedBody;
use crate::command::Stopping;

const ROOT: &str = "/v1/operations";
const EVENTS: &str = "/v1/events";
/// Operations that one list shows at most.
const LIST_MAX: usize = 1000;
/// Characters of a wrong word that are shown to whoever wrote it.
const SHOWN_MAX: usize = 64;

/// True for the paths answered here.
pub(super) fn serves(path: &str) -> bool {
    path == ROOT || path == EVENTS || path.strip_prefix(ROOT).is_some_and(|rest| rest.starts_with('/'))
}

/// What a path names.
enum Place {
    List,
    AllEvents,
    Operation(OperationId),
    Result(OperationId),
    Events(OperationId),
}

impl Place {
    fn of(path: &str) -> Result<Self, Problem> {
        if path == EVENTS {
            return Ok(Self::AllEvents);
        }
        let rest = path.strip_prefix(ROOT).unwrap_or_default().trim_start_matches('/');
        if rest.is_empty() {
            return Ok(Self::List);
        }
        let (name, part) = rest.split_once('/').map_or((rest, None), |(name, part)| (name, Some(part)));
        let id =
            OperationId::parse(name).map_err(|error| Problem::new(ProblemKind::UnknownOperation, error.to_string()))?;
        match part {
            None => Ok(Self::Operation(id)),
            Some("result") => Ok(Self::Result(id)),
            Some("events") => Ok(Self::Events(id)),
            Some(_) => Err(Problem::new(
                ProblemKind::UnknownOperation,
                "an operation has a /result and /events, and nothing else",
            )),
        }
    }

    /// The methods it takes, as Allow names them.
    const fn allow(&self) -> &'static str {
        match self {
            Self::Operation(_) => "GET, HEAD, DELETE",
            Self::List | Self::Result(_) => "GET, HEAD",
            Self::AllEvents | Self::Events(_) => "GET",
        }
    }
}

/// Answers a request for operations.
///
/// # Errors
/// With the problem to answer instead.
pub(super) async fn answer(ingress: &Ingress, request: &Request<Incoming>) -> Result<Response<BoxedBody>, Problem> {
    let fields = Fields::from_header_map(request.headers())
        .map_err(|error| Problem::new(ProblemKind::BadRequest, error.to_string()))?;
    request::own_port(ingress, &fields)?;
    let place = Place::of(request.uri().path())?;
    let method = request.method();
    if !place.allow().split(", ").any(|allowed| allowed == method.as_str()) {
        return Err(Problem::method_not_allowed(place.allow()));
    }
    let stop = request.extensions().get::<CancellationToken>().cloned().unwrap_or_default();
    match place {
        Place::List => list(ingress, request.uri().query().unwrap_or_default()).await,
        Place::AllEvents => events::of_all(ingress, &fields, stop).await,
        Place::Events(id) => events::of_operation(ingress, id, &fields, stop).await,
        Place::Result(id) => results::answer(ingress, id, method, &fields).await,
        Place::Operation(id) if method == Method::DELETE => cancel(ingress, id).await,
        Place::Operation(id) => {
            let report = ingress.driver.ask(|reply| Ask::Report { id, reply }).await.map_err(stopping)?;
            let report = report.ok_or_else(|| unknown(id))?;
            Ok(json(200, serde_json::to_vec(&report).unwrap_or_default()))
        }
    }
}

/// `?state=a,b&state=c&limit=N`.
async fn list(ingress: &Ingress, query: &str) -> Result<Response<BoxedBody>, Problem> {
    let (states, limit) = selection(query)?;
    let list: Vec<OperationView> =
        ingress.driver.ask(|reply| Ask::Select { states, limit, reply }).await.map_err(stopping)?;
    Ok(json(200, serde_json::to_vec(&list).unwrap_or_default()))
}

fn selection(query: &str) -> Result<(Vec<State>, usize), Problem> {
    let (mut states, mut limit) = (Vec::new(), LIST_MAX);
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "state" => {
                for word in value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
                    states.push(State::from_name(word).ok_or_else(|| no_state(word))?);
                }
            }
            "limit" => {
                let wanted = value.parse().ok().filter(|wanted| (1..=LIST_MAX).contains(wanted));
                limit = wanted.ok_or_else(|| request::bad(format!("limit is a number from 1 to {LIST_MAX}")))?;
            }
            other => {
                let other: String = other.chars().take(SHOWN_MAX).collect();
                return Err(request::bad(format!(
                    "{other:?} is no parameter of this list: it has `state` and `limit`"
                )));
            }
        }
    }
    Ok((states, limit))
}

fn no_state(word: &str) -> Problem {
    let names: Vec<_> = State::ALL.iter().map(|state| state.name()).collect();
    let word: String = word.chars().take(SHOWN_MAX).collect();
    request::bad(format!("{word:?} is no state; there are {}", names.join(", ")))
}

/// Ends an operation: 200 when that is so, 202 while the far side is asked how far it came.
async fn cancel(ingress: &Ingress, id: OperationId) -> Result<Response<BoxedBody>, Problem> {
    let (status, view) = match ingress.driver.ask(|reply| Ask::Cancel { id, reply }).await.map_err(stopping)? {
        Cancelled::Done(view) => (200, view),
        Cancelled::Asked(view) => (202, view),
        Cancelled::Ended(view) => {
            let detail = format!("the operation is {}: there is nothing left to cancel", view.state);
            let problem = Problem::new(ProblemKind::OperationEnded, detail).of(id);
            return Err(problem.executed(view.executed.unwrap_or(Executed::Maybe)));
        }
        Cancelled::Unknown => return Err(unknown(id)),
    };
    let mut response = json(status, serde_json::to_vec(&view).unwrap_or_default());
    if status == 202 {
        response::put(&mut response, "location", &id.location());
    }
    Ok(response)
}

/// Whoever asks must not take this for an operation that was never accepted.
pub(super) fn stopping(stopping: Stopping) -> Problem {
    Problem::new(ProblemKind::LogFull, format!("{stopping}; ask again")).retry_after(5)
}

pub(super) fn unknown(id: OperationId) -> Problem {
    Problem::new(
        ProblemKind::UnknownOperation,
        format!("operation {id} is not known here: it was never accepted, or it ended long ago"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_of_the_states_that_are_named() {
        let states = |query| selection(query).map(|(states, _)| states);
        assert_eq!(states("").unwrap(), []);
        assert_eq!(states("state=").unwrap(), []);
        let all = [State::Queued, State::Done, State::PartiallyAcked];
        assert_eq!(states("state=queued,done&state=partially_acked").unwrap(), all);
        assert_eq!(states("state=queued%2Cdone").unwrap(), all[..2]);
        assert_eq!(selection("limit=7").unwrap().1, 7);
        for query in ["state=running", "state=Done", "limit=0", "limit=x", "limit=1001", "limit=-1", "page=2"] {
            let problem = selection(query).unwrap_err();
            assert_eq!((problem.status, problem.executed), (400, Some(Executed::No)), "{query}");
        }
        assert!(selection("state=running").unwrap_err().detail.contains("response_started"));
    }

    #[test]
    fn a_path_names_one_place() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert!(matches!(Place::of("/v1/operations"), Ok(Place::List)));
        assert!(matches!(Place::of("/v1/events"), Ok(Place::AllEvents)));
        assert!(matches!(Place::of(&format!("/v1/operations/{id}")), Ok(Place::Operation(_))));
        assert!(matches!(Place::of(&format!("/v1/operations/{id}/result")), Ok(Place::Result(_))));
        assert!(matches!(Place::of(&format!("/v1/operations/{id}/events")), Ok(Place::Events(_))));
        for path in
            [format!("/v1/operations/{id}/x"), format!("/v1/operations/{id}/events/"), "/v1/operations/x".to_owned()]
        {
            assert!(Place::of(&path).is_err_and(|problem| problem.status == 404), "{path}");
        }
        assert!(!serves("/v1/operationsx") && !serves("/v1/eventsx") && serves("/v1/events"));
    }
}
