//! What is told of an operation as it happens: one event for each state it reached, numbered for good.
//!
//! Invariants: a number is given once and only rises, over all operations and over restarts, so that whoever kept the last
//! one he saw can ask for what came after it; an operation has at most [`MAX_MARKS`] marks; an event holds nothing secret: no
//! target, no field, no content. Numbers grow with time ([`next_number`]) so that those of a new start lie above those
//! that were told and lost with a crash. Who publishes events, and when, is `sidecar-app`'s matter: only durable ones are told.
//! Test to read first: `numbers_rise_whatever_the_clock_does`.

use crate::operation::{Executed, OperationId, State};
use minicbor::{Decode, Encode};
use serde::Serialize;

/// Marks of one operation: every state once, and room for a response that began anew after the far side lost its state.
pub const MAX_MARKS: usize = 16;
/// Ended operations whose whole way is remembered; of those that ended before, only the begin and the end are.
pub const MAX_ENDED_WAYS: usize = 8_192;
/// Numbers that fit into a millisecond.
const NUMBERS_PER_MS: u64 = 1_024;

/// The number of the next event: above the last one, and above what a start before this moment can have given.
#[must_use]
pub fn next_number(last: u64, at_ms: i64) -> u64 {
    let by_clock = u64::try_from(at_ms).unwrap_or(0).saturating_mul(NUMBERS_PER_MS);
    last.saturating_add(1).max(by_clock)
}

/// The bit of a state in an event mask (envelope key 14).
#[must_use]
pub const fn event_bit(state: State) -> u32 {
    1 << (state as u32)
}

/// That an operation reached a state, as its history keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Mark {
    /// Number of its event.
    #[n(0)]
    pub number: u64,
    /// The state.
    #[n(1)]
    pub state: State,
    /// When: Unix ms, by the near side's clock.
    #[n(2)]
    pub at_ms: i64,
    /// The figure that belongs to the state, 0 if there is none: for `sent` the packet's number, for `partially_acked` and `acked` octets
    /// of the request, for `executing` the attempt, for `response_ready` octets of the response.
    #[n(3)]
    pub figure: u64,
}

/// An operation reached a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OperationEvent {
    /// The operation.
    pub operation: OperationId,
    /// Place among all events of this engine; the `id` of server-sent events.
    pub number: u64,
    /// The state.
    pub state: State,
    /// When: Unix ms, by the near side's clock.
    pub at_ms: i64,
    /// `sent`: number of the packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet: Option<u64>,
    /// `partially_acked`, `acked`: octets of the request's content that the far side holds. `response_ready`: octets of the response's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub octets: Option<u64>,
    /// `executing`: number of the attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u64>,
    /// Status of the response, from `response_started` on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Was the call made? From `response_started` on, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executed: Option<Executed>,
    /// Slug of the problem it ended with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl OperationEvent {
    /// The event of a mark; what belongs to no state of its own is still to be filled in.
    #[must_use]
    pub fn of(operation: OperationId, mark: &Mark) -> Self {
        let figure = |of: &[State]| (of.contains(&mark.state) && mark.figure > 0).then_some(mark.figure);
        Self {
            operation,
            number: mark.number,
            state: mark.state,
            at_ms: mark.at_ms,
            packet: figure(&[State::Sent]),
            octets: figure(&[State::PartiallyAcked, State::Acked, State::ResponseReady]),
            attempt: figure(&[State::Executing]),
            status: None,
            executed: None,
            problem: None,
        }
    }

    /// The same with what is known of the response.
    #[must_use]
    pub fn with_outcome(mut self, status: Option<u16>, executed: Option<Executed>, problem: Option<&str>) -> Self {
        if self.state.rank() >= State::ResponseStarted.rank() {
            (self.status, self.executed) = (status, executed);
        }
        if self.state.is_terminal() {
            self.problem = problem.map(str::to_owned);
        }
        self
    }

    /// As JSON, on one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings and numbers under fixed keys: there is nothing that could fail to serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(state: State, figure: u64) -> Mark {
        Mark { number: 7, state, at_ms: 9, figure }
    }

    #[test]
    fn numbers_rise_whatever_the_clock_does() {
        let first = next_number(0, 1_700_000_000_000);
        assert_eq!(first, 1_700_000_000_000 * 1_024);
        assert!(first < 1 << 53, "programs that know numbers as doubles read them as they are");
        assert_eq!(next_number(first, 1_600_000_000_000), first + 1, "the clock was set back");
        assert_eq!(next_number(first, i64::MIN), first + 1);
        assert!(next_number(first, 1_700_000_000_001) > first + 1_000, "what was told and lost lies below");
        assert_eq!(next_number(u64::MAX, 0), u64::MAX);
    }

    #[test]
    fn a_figure_is_told_with_the_state_it_belongs_to() {
        let id = OperationId::v7(1, &[1; 10]);
        let of = |state, figure| OperationEvent::of(id, &mark(state, figure));
        assert_eq!(of(State::Sent, 12).packet, Some(12));
        assert_eq!(of(State::PartiallyAcked, 12).octets, Some(12));
        assert_eq!(of(State::Executing, 2).attempt, Some(2));
        let done = of(State::Done, 12);
        assert_eq!((done.packet, done.octets, done.attempt), (None, None, None));
        assert_eq!(of(State::Sent, 0).packet, None);
    }

    #[test]
    fn the_json_of_an_event_names_what_is_known() {
        let id = OperationId::v7(1, &[1; 10]);
        let event = |state| {
            let event = OperationEvent::of(id, &mark(state, 0));
            event.with_outcome(Some(502), Some(Executed::Maybe), Some("outcome-unknown")).to_json()
        };
        assert_eq!(
            event(State::Unknown),
            format!(
                r#"{{"operation":"{id}","number":7,"state":"unknown","at_ms":9,"status":502,"executed":"maybe","problem":"outcome-unknown"}}"#
            )
        );
        assert_eq!(
            event(State::Queued),
            format!(r#"{{"operation":"{id}","number":7,"state":"queued","at_ms":9}}"#),
            "what came later is not told of a state before"
        );
    }
}
