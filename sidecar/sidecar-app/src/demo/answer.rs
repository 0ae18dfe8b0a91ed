//! What an answer of the local port means for the call it is about.
//!
//! Invariants: an answer of the upstream is never taken for one of hoft's own, nor the other way round; a call may be made
//! again only if hoft says that it was not executed, or if its method allows it. Test to read first:
//! `each_problem_leads_where_it_should`.

use layer2_http::operation::Executed;
use layer2_http::problem::{CONTENT_TYPE, ProblemKind, TYPE_PREFIX};
use serde_json::Value;

use super::client::Answer;
use super::mix::Plan;
use super::upstream::ANSWERS;

/// The header that names an operation.
pub(super) const OPERATION: &str = "hoft-operation-id";

/// What hoft says about a call, as problem details (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// The cause; `None` for a word this program does not know.
    pub(super) kind: Option<ProblemKind>,
    /// Whether the call was made.
    pub(super) executed: Executed,
    /// For people.
    pub(super) text: String,
}

/// What to do about an answer.
#[derive(Clone, Debug)]
pub(super) enum Meaning {
    /// It is the answer to the call, right or wrong.
    Final(Answer),
    /// The call goes on: ask its operation.
    Ask,
    /// No such operation: the call was never accepted.
    NeverAccepted,
    /// The call was accepted or refused, but not executed.
    NotExecuted(String),
    /// The call may have been executed; there is no answer to it.
    Open(String),
}

/// Reads hoft's own problem details; `None` for anything else, such as an answer of the upstream.
pub(super) fn told(answer: &Answer) -> Option<Told> {
    let media_type = answer.headers.get(http::header::CONTENT_TYPE)?.to_str().ok()?;
    if media_type != CONTENT_TYPE || answer.headers.contains_key(ANSWERS) {
        return None;
    }
    let value: Value = serde_json::from_slice(&answer.beginning).ok()?;
    let slug = value.get("type")?.as_str()?.strip_prefix(TYPE_PREFIX)?;
    let detail = value.get("detail").and_then(Value::as_str).unwrap_or_default();
    let executed = executed(value.get("executed"));
    Some(Told { kind: ProblemKind::from_slug(slug), executed, text: format!("{} {slug}: {detail}", answer.status) })
}

/// `executed` of a problem or an operation; what is not said may have happened.
pub(super) fn executed(value: Option<&Value>) -> Executed {
    match value.and_then(Value::as_str) {
        Some("no") => Executed::No,
        Some("yes") => Executed::Yes,
        _ => Executed::Maybe,
    }
}

/// What an answer means for a call.
pub(super) fn meaning(plan: &Plan, answer: Answer) -> Meaning {
    let Some(told) = told(&answer) else { return Meaning::Final(answer) };
    match told.kind {
        Some(ProblemKind::RouteDenied) if plan.refused() => Meaning::Final(answer),
        Some(ProblemKind::WaitOver | ProblemKind::DuplicateOperation | ProblemKind::ResultNotReady) => Meaning::Ask,
        Some(ProblemKind::UnknownOperation) => Meaning::NeverAccepted,
        // The caller's own mistakes: making them again would not help.
        Some(
            ProblemKind::RouteDenied
            | ProblemKind::UnknownRoute
            | ProblemKind::ForeignHost
            | ProblemKind::ForeignOrigin
            | ProblemKind::BodyTooLarge
            | ProblemKind::FieldsTooLarge
            | ProblemKind::LoopDetected
            | ProblemKind::AddressDenied
            | ProblemKind::Internal,
        ) => Meaning::Final(answer),
        _ if told.executed == Executed::No => Meaning::NotExecuted(told.text),
        _ => Meaning::Open(told.text),
    }
}

/// What is wrong with the final answer to a call, if anything is.
pub(super) fn fault(plan: &Plan, marker: &str, operation: &str, answer: &Answer) -> Option<String> {
    let expected = plan.expected(marker);
    let said = || {
        told(answer)
            .map_or_else(|| String::from_utf8_lossy(&answer.beginning).chars().take(200).collect(), |told| told.text)
    };
    if answer.status != expected.status {
        return Some(format!("status {} instead of {}: {}", answer.status, expected.status, said()));
    }
    let field = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
    if plan.refused() {
        return match told(answer) {
            Some(Told { kind: Some(ProblemKind::RouteDenied), executed: Executed::No, .. }) => None,
            _ => Some(format!("refused in other words than route-denied, executed no: {}", said())),
        };
    }
    if field(ANSWERS) != Some(marker) {
        return Some(format!("{ANSWERS} is {:?} instead of {marker}", field(ANSWERS)));
    }
    if field(OPERATION) != Some(operation) {
        return Some(format!("{OPERATION} is {:?} instead of {operation}", field(OPERATION)));
    }
    match expected.body {
        Some(body) if body != answer.body => Some(format!("the body has {} instead of {body}", answer.body)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use layer2_http::problem::Problem;

    use super::super::content::Mark;
    use super::super::mix::{Kind, mix};
    use super::*;

    fn plan(kind: Kind) -> Plan {
        mix(1, 60).into_iter().find(|plan| plan.kind == kind).unwrap()
    }

    fn problem(problem: &Problem) -> Answer {
        let body = problem.to_json();
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(CONTENT_TYPE));
        Answer { status: problem.status, headers, body: Mark::of(&body), beginning: body.into() }
    }

    fn word(kind: Kind, told: Problem) -> &'static str {
        match meaning(&plan(kind), problem(&told)) {
            Meaning::Final(_) => "final",
            Meaning::Ask => "ask",
            Meaning::NeverAccepted => "never accepted",
            Meaning::NotExecuted(_) => "not executed",
            Meaning::Open(_) => "open",
        }
    }

    #[test]
    fn each_problem_leads_where_it_should() {
        let of = |kind| Problem::new(kind, "so it is");
        assert_eq!(word(Kind::RefusedFar, of(ProblemKind::RouteDenied).executed(Executed::No)), "final");
        assert_eq!(word(Kind::Echo, of(ProblemKind::RouteDenied).executed(Executed::No)), "final");
        assert_eq!(word(Kind::Echo, of(ProblemKind::WaitOver).executed(Executed::Maybe)), "ask");
        assert_eq!(word(Kind::Echo, of(ProblemKind::DuplicateOperation)), "ask");
        assert_eq!(word(Kind::Echo, of(ProblemKind::ResultNotReady)), "ask");
        assert_eq!(word(Kind::Echo, of(ProblemKind::UnknownOperation)), "never accepted");
        assert_eq!(word(Kind::Echo, of(ProblemKind::LogFull).executed(Executed::No)), "not executed");
        assert_eq!(word(Kind::Echo, of(ProblemKind::OutcomeUnknown).executed(Executed::Maybe)), "open");
        assert_eq!(word(Kind::Echo, of(ProblemKind::ResponseIncomplete).executed(Executed::Yes)), "open");
        assert_eq!(word(Kind::Echo, of(ProblemKind::ResultGone)), "open");
        assert_eq!(word(Kind::RefusedFar, of(ProblemKind::OutcomeUnknown)), "open");
    }

    #[test]
    fn an_answer_of_the_upstream_is_no_problem_of_hoft() {
        let mut answer = problem(&Problem::new(ProblemKind::WaitOver, "an impostor"));
        answer.headers.insert(ANSWERS, HeaderValue::from_static("1-0"));
        assert!(told(&answer).is_none());
        answer.headers.remove(ANSWERS);
        assert!(told(&answer).is_some());
        answer.headers.insert("content-type", HeaderValue::from_static("text/plain"));
        assert!(told(&answer).is_none());
    }

    #[test]
    fn every_difference_from_the_right_answer_is_a_fault() {
        let plan = plan(Kind::Missing);
        let body = super::super::mix::complaint(404, "9-0");
        let mut headers = HeaderMap::new();
        headers.insert(ANSWERS, HeaderValue::from_static("9-0"));
        headers.insert(OPERATION, HeaderValue::from_static("op"));
        let right = Answer { status: 404, headers, body: Mark::of(body.as_bytes()), beginning: body.into() };
        assert_eq!(fault(&plan, "9-0", "op", &right), None);
        let wrong = [
            Answer { status: 200, ..right.clone() },
            Answer { body: Mark::of(b"x"), ..right.clone() },
            Answer { headers: HeaderMap::new(), ..right.clone() },
        ];
        for answer in wrong {
            assert!(fault(&plan, "9-0", "op", &answer).is_some(), "{answer:?}");
        }
        assert!(fault(&plan, "9-0", "another", &right).unwrap().contains(OPERATION));
    }

    #[test]
    fn a_refusal_must_say_that_nothing_was_executed() {
        let plan = plan(Kind::RefusedNear);
        let refusal = |executed| problem(&Problem::new(ProblemKind::RouteDenied, "no").executed(executed));
        assert_eq!(fault(&plan, "1-0", "op", &refusal(Executed::No)), None);
        assert!(fault(&plan, "1-0", "op", &refusal(Executed::Maybe)).is_some());
        assert!(fault(&plan, "1-0", "op", &problem(&Problem::new(ProblemKind::ForeignOrigin, "no"))).is_some());
    }
}
