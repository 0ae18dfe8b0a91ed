//! Everything worth telling of one operation: what `GET /v1/operations/{id}` answers.
//!
//! Invariant: its first members are those of the list ([`OperationView`]); members are added, never renamed; octets are of content,
//! before compression. Test to read first: `a_report_has_the_members_of_the_list_and_more`.

use crate::event::OperationEvent;
use crate::operation::{OperationView, State};
use serde::Serialize;

/// An operation in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OperationReport {
    /// What the list says of it.
    #[serde(flatten)]
    pub view: OperationView,
    /// When its time is over: Unix ms by the near side's clock.
    pub deadline_ms: Option<i64>,
    /// Its caller cancelled it, and the far side has not said yet how far it came.
    pub cancelling: bool,
    /// Octets of the request.
    pub request: Octets,
    /// Octets of the response.
    pub response: Octets,
    /// The attempt that the far side made last, as far as it said.
    pub attempt: Option<u64>,
    /// Every state it reached, the first one first; of operations that ended long ago the first and the last.
    pub history: Vec<OperationEvent>,
}

/// How much of one direction is known to be where it is to go; `None`: that is not known any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Octets {
    /// In the log of the side that sends it, for a request; here, for a response.
    pub octets: Option<u64>,
    /// Of a request: held durably by the far side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acked: Option<u64>,
}

impl OperationReport {
    /// A report from what the table of operations knows.
    #[must_use]
    pub fn new(view: OperationView, deadline_ms: Option<i64>, cancelling: bool, history: Vec<OperationEvent>) -> Self {
        let last = |of: &[State]| history.iter().rev().find(|event| of.contains(&event.state));
        let acked = last(&[State::Acked]).and_then(|event| event.octets);
        let request = Octets { octets: acked, acked };
        let response =
            Octets { octets: last(&[State::ResponseReady]).and_then(|event| event.octets), ..Octets::default() };
        let attempt = last(&[State::Executing]).and_then(|event| event.attempt);
        Self { view, deadline_ms, cancelling, request, response, attempt, history }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Mark;
    use crate::operation::OperationId;

    #[test]
    fn a_report_has_the_members_of_the_list_and_more() {
        let id = OperationId::v7(1, &[1; 10]);
        let view = OperationView {
            id,
            state: State::Done,
            method: "GET".to_owned(),
            target: "http://a/".to_owned(),
            route: None,
            peer: String::new(),
            begun_ms: 1,
            ended_ms: Some(9),
            status: Some(200),
            executed: None,
            problem: None,
            result: true,
        };
        let marks = [(State::Accepted, 0), (State::Acked, 70), (State::Executing, 2), (State::ResponseReady, 80)];
        let history = marks
            .into_iter()
            .zip(1..)
            .map(|((state, figure), number)| OperationEvent::of(id, &Mark { number, state, at_ms: 5, figure }));
        let report = OperationReport::new(view.clone(), Some(7), false, history.collect());
        assert_eq!((report.request.acked, report.response.octets, report.attempt), (Some(70), Some(80), Some(2)));
        let json = serde_json::to_value(&report).unwrap();
        for (name, value) in serde_json::to_value(&view).unwrap().as_object().unwrap() {
            assert_eq!(&json[name], value, "{name}");
        }
        assert_eq!(json["history"][1]["octets"], 70);
        assert_eq!(json["deadline_ms"], 7);
    }
}
