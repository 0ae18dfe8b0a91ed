//! Questions of the doors about operations, answered from the table of `layer2_http::near`.
//!
//! Invariants: events are told only as far as they are durable; nothing here changes an operation. It does no I/O. Test to
//! read first: `tests/line/events.rs`.

use super::Driver;
use crate::ask::Ask;

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
        }
    }
}
