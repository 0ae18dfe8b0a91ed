//! Records that wait for credit of the log, and bulk that has it and was not sent yet.
//!
//! Invariants: records of a stream are charged in their order, so what the peer holds of it can be consumed (or small records of many
//! streams could use up the credit that what lies before them needs); small ones go before bulk, bulk in turns; only so much bulk is
//! charged ahead of being sent, or later small records and more urgent bulk would find no credit.
//! Test to read first: `scheduler::tests::credit_is_waited_for_small_first_but_in_the_order_of_the_stream`.

use super::turns::{Priority, Turns};
use super::{Priorities, is_small};
use alloc::collections::{BTreeMap, BTreeSet};
use wire::{RecordHeader, StreamId};

/// A record that waits for credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uncharged {
    pub(crate) seq: u64,
    /// It waits with bulk.
    pub(crate) bulk: bool,
}

/// Records of one stream that are not charged.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    all: usize,
    /// Of them: durable, and with bulk.
    bulk: usize,
    /// Of them: durable, and small; what is bulk lies behind these.
    small: usize,
}

/// What waits for credit.
#[derive(Clone, Debug, Default)]
pub(super) struct CreditQueue {
    small: BTreeSet<u64>,
    bulk: Turns,
    count: usize,
    /// Streams with records that are not charged, durable or not.
    waiting: BTreeMap<StreamId, Waiting>,
    /// Cost of bulk that is charged and was not sent yet.
    ahead: BTreeMap<StreamId, u64>,
}

impl CreditQueue {
    /// A record was appended without being charged; it is not durable yet.
    pub(super) fn appended(&mut self, head: &RecordHeader) {
        self.waiting.entry(head.stream).or_default().all += 1;
    }

    /// It is durable. Entries become durable in order, so what lies before it in its stream waits already.
    pub(super) fn wait(&mut self, head: &RecordHeader, priority: Priority) {
        let stream = self.waiting.entry(head.stream).or_default();
        let bulk = !is_small(head) || stream.bulk > 0;
        stream.bulk += usize::from(bulk);
        stream.small += usize::from(!bulk);
        self.count += 1;
        match bulk {
            true => self.bulk.insert(head.stream, priority, head.seq.get(), head.cost()),
            false => {
                self.small.insert(head.seq.get());
            }
        }
    }

    /// The record that is to be charged next, and a small one that need not wait for it if it is bulk that finds no room.
    pub(super) fn first(&mut self) -> (Option<Uncharged>, Option<Uncharged>) {
        let small = self.small.first().map(|seq| Uncharged { seq: *seq, bulk: false });
        let front = self.bulk.front();
        let bulk = front.map(|(_, seq, _)| Uncharged { seq, bulk: true });
        let free = front.is_some_and(|(stream, _, _)| self.waiting.get(&stream).is_none_or(|stream| stream.small == 0));
        match small {
            Some(small) if free && self.bulk.is_owed() => (bulk, Some(small)),
            Some(small) => (Some(small), None),
            None => (bulk, None),
        }
    }

    /// It is charged.
    pub(super) fn charged(&mut self, which: Uncharged, head: &RecordHeader) {
        if which.bulk {
            if self.bulk.front().is_some_and(|(_, seq, _)| seq == which.seq) {
                self.bulk.pop();
            } else {
                self.bulk.remove(head.stream, which.seq);
            }
        } else {
            self.small.remove(&which.seq);
            self.bulk.pass_by(head.cost(), None);
        }
        self.count = self.count.saturating_sub(1);
        if let Some(stream) = self.waiting.get_mut(&head.stream) {
            stream.all = stream.all.saturating_sub(1);
            stream.bulk = stream.bulk.saturating_sub(usize::from(which.bulk));
            stream.small = stream.small.saturating_sub(usize::from(!which.bulk));
            if stream.all == 0 {
                self.waiting.remove(&head.stream);
            }
        }
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Whether others must be charged before this one: of its stream, or of its class.
    pub(super) fn must_queue(&self, head: &RecordHeader) -> bool {
        let others = if is_small(head) { !self.small.is_empty() } else { !self.bulk.is_empty() };
        self.waiting.contains_key(&head.stream) || others
    }

    pub(super) fn set_priority(&mut self, stream: StreamId, priority: Priority) {
        self.bulk.set_priority(stream, priority);
    }

    /// Bulk was charged: it is ahead until it is sent.
    pub(super) fn run_ahead(&mut self, head: &RecordHeader) {
        if !is_small(head) {
            *self.ahead.entry(head.stream).or_default() += head.cost();
        }
    }

    /// It left, or never will.
    pub(super) fn caught_up(&mut self, head: &RecordHeader) {
        if let Some(ahead) = self.ahead.get_mut(&head.stream).filter(|_| !is_small(head)) {
            *ahead = ahead.saturating_sub(head.cost());
            if *ahead == 0 {
                self.ahead.remove(&head.stream);
            }
        }
    }

    /// Cost of bulk that is charged, was not sent, and is as urgent as `stream` or more.
    pub(super) fn ahead_of(&self, stream: StreamId, priorities: &Priorities) -> u64 {
        let urgency = priorities.of(stream).urgency();
        let first = self.ahead.iter().filter(|(other, _)| priorities.of(**other).urgency() <= urgency);
        first.map(|(_, cost)| cost).sum()
    }
}
