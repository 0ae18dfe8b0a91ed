//! Operations for people: of every state the newest ones, with what was counted of their content.
//!
//! Invariants: what is counted is of this start only and never durable; it is forgotten with its operation, so it takes no
//! more room than the table does. Nothing is decided by it. Test to read first: `each_state_shows_its_newest`.

use super::{Operations, view};
use crate::operation::{OperationId, OperationView, State};

/// Octets of content, before compression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Of the request, as its caller gave it.
    pub request_bytes: u64,
    /// Of the response, as far as it is here.
    pub response_bytes: u64,
}

/// An operation with its traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownOperation {
    /// What callers see of it.
    pub view: OperationView,
    /// `None` where nothing was counted since the start.
    pub traffic: Option<Traffic>,
}

impl Operations {
    /// Of every state the newest operations, at most `limit` of each; newest first in all.
    #[must_use]
    pub fn newest_of_each_state(&self, limit: usize) -> Vec<ShownOperation> {
        let mut left = [limit; State::ALL.len()];
        let all = self.by_begin.iter().rev().filter_map(|(_, id)| self.operations.get(id));
        let wanted = all.filter(|operation| match left.get_mut(operation.state as usize) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        });
        wanted
            .map(|operation| ShownOperation {
                view: view(operation),
                traffic: self.traffic.get(&operation.begun.id).copied(),
            })
            .collect()
    }

    /// So many octets of the request's content were taken from its caller.
    pub fn note_request_bytes(&mut self, id: OperationId, bytes: u64) {
        if let Some(traffic) = self.traffic_of(id) {
            traffic.request_bytes = traffic.request_bytes.saturating_add(bytes);
        }
    }

    /// So many octets of the response's content arrived.
    pub fn note_response_bytes(&mut self, id: OperationId, bytes: u64) {
        if let Some(traffic) = self.traffic_of(id) {
            traffic.response_bytes = traffic.response_bytes.saturating_add(bytes);
        }
    }

    fn traffic_of(&mut self, id: OperationId) -> Option<&mut Traffic> {
        self.operations.contains_key(&id).then(|| self.traffic.entry(id).or_default())
    }
}

#[cfg(test)]
mod tests {
    use wire::{EndpointId, StreamId};

    use super::*;
    use crate::near::Begun;

    const PEER: EndpointId = EndpointId::from_bytes([9; 16]);

    fn id(n: u8) -> OperationId {
        OperationId::v7(u64::from(n), &[n; 10])
    }

    fn begin(operations: &mut Operations, n: u8) {
        operations
            .begin(Begun {
                id: id(n),
                peer: PEER,
                stream: StreamId::request(u64::from(n)),
                retain: false,
                method: "GET".to_owned(),
                target: "http://a.example/".to_owned(),
                route: None,
                begun_ms: i64::from(n),
                number: None,
                deadline_ms: None,
            })
            .unwrap();
    }

    #[test]
    fn each_state_shows_its_newest() {
        let mut operations = Operations::new();
        for n in 1..=6 {
            begin(&mut operations, n);
        }
        operations.on_state(id(1), State::Sent, 10);
        for n in [2, 4, 5] {
            operations.on_state(id(n), State::Done, 10);
        }
        let shown: Vec<_> = operations.newest_of_each_state(2).into_iter().map(|shown| shown.view.id).collect();
        assert_eq!(shown, [id(6), id(5), id(4), id(3), id(1)]);
        assert!(operations.newest_of_each_state(0).is_empty());
    }

    #[test]
    fn traffic_is_forgotten_with_its_operation_and_a_moved_response_begins_anew() {
        let mut operations = Operations::new();
        operations.note_request_bytes(id(1), 5);
        begin(&mut operations, 1);
        assert_eq!(operations.newest_of_each_state(1)[0].traffic, None);
        operations.note_request_bytes(id(1), 5);
        operations.note_response_bytes(id(1), 7);
        operations.note_response_bytes(id(1), 2);
        let traffic = |operations: &Operations| operations.newest_of_each_state(1)[0].traffic;
        assert_eq!(traffic(&operations), Some(Traffic { request_bytes: 5, response_bytes: 9 }));
        operations.move_to(id(1), PEER, StreamId::request(8));
        assert_eq!(traffic(&operations), Some(Traffic { request_bytes: 5, response_bytes: 0 }));
        operations.on_state(id(1), State::Done, 10);
        operations.expire(100, 1);
        assert!(operations.traffic.is_empty());
    }
}
