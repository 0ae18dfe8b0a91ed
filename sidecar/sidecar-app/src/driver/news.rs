//! What is told of operations as it happens: events go out once what they say is durable, and in the order of their numbers.
//!
//! Invariants: no event is told before a commit covers it, so nothing that was told is taken back by a crash; while somebody listens,
//! a commit follows an event within [`NEWS_DELAY`], and while nobody does, news cost none. It keeps nothing that was told: the
//! table of operations does (`layer2_http::near`). Test to read first: `nothing_is_told_before_it_is_durable`.

use std::time::Duration;

use layer1_replication::Timestamp;
use layer2_http::event::OperationEvent;
use layer2_http::near::NearEntry;

use super::Driver;
use crate::exchange::DriverHandle;

/// How long an event waits for a commit that is due anyway, while somebody listens.
const NEWS_DELAY: Duration = Duration::from_millis(50);

/// Events whose entries are not durable yet.
#[derive(Debug, Default)]
pub(super) struct News {
    pending: Vec<OperationEvent>,
    due: Option<Timestamp>,
}

impl News {
    /// The number below which everything is durable; `None` if everything is.
    fn first_pending(&self) -> Option<u64> {
        self.pending.first().map(|event| event.number)
    }

    /// When a commit is due for the sake of those who listen.
    pub(super) const fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Everything that was noted is durable: tells it.
    pub(super) fn tell(&mut self, handle: &DriverHandle) {
        self.due = None;
        for event in self.pending.drain(..) {
            handle.tell(event);
        }
    }

    /// Leaves out what is not durable yet.
    pub(super) fn only_durable(&self, mut events: Vec<OperationEvent>) -> Vec<OperationEvent> {
        if let Some(first) = self.first_pending() {
            events.retain(|event| event.number < first);
        }
        events
    }
}

impl Driver {
    /// An entry about an operation was noted: what it says is to be told.
    pub(super) fn is_news(&mut self, entry: &NearEntry) {
        let Some(event) = self.near.event(entry) else { return };
        if event.state.is_terminal() {
            self.deadlines.remove(event.operation);
        }
        self.news.pending.push(event);
        if self.news.due.is_none() && self.outlets.handle.has_listeners() {
            self.news.due = Some(self.host.now().after(NEWS_DELAY));
        }
    }

    /// Those who listen have waited long enough.
    pub(super) fn news_timeout(&mut self, now: Timestamp) {
        if self.news.due.is_some_and(|due| due <= now) {
            self.journal.make_urgent();
        }
    }
}

#[cfg(test)]
mod tests {
    use layer2_http::operation::{OperationId, State};

    use super::*;

    fn event(number: u64) -> OperationEvent {
        let mark = layer2_http::event::Mark { number, state: State::Queued, at_ms: 0, figure: 0 };
        OperationEvent::of(OperationId::v7(1, &[1; 10]), &mark)
    }

    #[test]
    fn nothing_is_told_before_it_is_durable() {
        let mut news = News::default();
        assert_eq!(news.only_durable(vec![event(1), event(2)]).len(), 2);
        news.pending.extend([event(2), event(3)]);
        assert_eq!(news.only_durable(vec![event(1), event(2), event(3)]), [event(1)]);
    }
}
