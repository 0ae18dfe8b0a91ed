//! Questions of the doors about operations, answered from the table of `layer2_http::near`.
//!
//! Invariants: events are told only as far as they are durable; nothing here changes an operation, `withdraw.rs` does. It does
//! no I/O. Test to read first: `tests/line/events.rs`.

use layer2_http::operation::OperationId;
use layer2_http::report::OperationReport;

use super::Driver;
use super::journal::WhenDurable;
use crate::ask::{Ask, Promised};

impl Driver {
    pub(super) fn answer_question(&mut self, question: Ask) {
        match question {
            Ask::EventsSince { id, after, reply } => {
                let events = self.near.events_since(id, after);
                let _ = reply.send(events.map(|events| self.news.only_durable(events)));
            }
            Ask::AllEventsSince { after, limit, reply } => {
                let _ = reply.send(self.news.only_durable(self.near.all_events_since(after, limit)));
            }
            Ask::Select { states, limit, reply } => drop(reply.send(self.near.select(&states, limit))),
            Ask::Report { id, reply } => drop(reply.send(self.operation_report(id))),
            Ask::Known { id, reply } => drop(reply.send(self.promised(id))),
            Ask::Durable { id, reply } => {
                let promised = self.promised(id);
                self.journal.when_durable(WhenDurable::Promised(reply, promised));
            }
            Ask::Cancel { id, reply } => {
                let cancelled = self.cancel(id);
                self.journal.when_durable(WhenDurable::Cancelled(reply, cancelled));
            }
        }
    }

    fn promised(&self, id: OperationId) -> Promised {
        let peer = self.near.begun(id).map(|begun| begun.peer);
        let slot = peer.and_then(|peer| self.slots.get(&peer));
        Promised { view: self.near.get(id), round_trip: slot.and_then(|slot| slot.peer.round_trip()) }
    }

    /// What the table knows, and what is known only while the call is under way.
    fn operation_report(&self, id: OperationId) -> Option<OperationReport> {
        let mut report = self.near.report(id)?;
        let begun = self.near.begun(id)?;
        let call = self.slots.get(&begun.peer).and_then(|slot| slot.near_calls.get(&begun.stream));
        if let Some(call) = call.filter(|call| call.operation == id) {
            report.request.octets = Some(call.tally.written);
            report.request.acked = Some(call.tally.acked);
            report.response.octets = Some(call.tally.received);
        }
        Some(report)
    }
}
