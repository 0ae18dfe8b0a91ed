//! Restart: replaying entries, and taking checkpoints.
//!
//! Invariants: replaying a log gives the state that its last entry left (less what was never durable); a checkpoint gives the same state as
//! the log it replaces. Records that may have left before the restart stay charged; small ones go again at once, bulk only when a timer
//! says so.

use super::Peer;
use super::state::OldLife;
use crate::credit;
use crate::entry::{Entry, ReceivedMeta};
use crate::event::PeerEvent;
use crate::inbound::Exchanges;
use crate::inbound::{Delivery, InboundStream};
use crate::mutation::{Mutation, mutated};
use crate::scheduler::is_small;
use crate::sent::SentPacket;
use crate::time::Timestamp;
use alloc::vec::Vec;
use wire::control::Credit;
use wire::{Digest, Incarnation, RecordHeader};

impl Peer {
    /// One entry of the log, in order, from the newest checkpoint on. Entries with a payload stand for the events of before: a `Received`
    /// is not reported again. Changes of the association are: [`PeerEvent::AssociationClosed`] and [`PeerEvent::Confirmed`].
    pub fn replay(&mut self, entry: Entry) {
        match entry {
            Entry::Associated { my_incarnation, peer_incarnation, confirmations } => {
                self.replay_association(my_incarnation, peer_incarnation, confirmations);
            }
            Entry::Sent { head, payload_digest, charged } => {
                self.pair.streams.note(&head);
                self.replay_sent(head, payload_digest, charged);
            }
            Entry::Received(_) if mutated(Mutation::ReceivedNotReplayed) => {}
            Entry::Received(meta) => self.replay_received(meta),
            Entry::Acked { .. } if mutated(Mutation::AckedNotReplayed) => {}
            Entry::Acked { una, .. } => {
                self.pair.log.release(una);
            }
            Entry::PeerJoin(join) => {
                self.pair.heard.kept = join;
                self.rtt.restore(join.srtt_us, join.rttvar_us);
                let Credit { max_log_bytes, max_exchanges, max_stream_bytes } = credit::INITIAL;
                self.pair.credit.join(&Credit {
                    max_log_bytes: join.max_log_bytes.max(max_log_bytes),
                    max_exchanges: join.max_exchanges.max(max_exchanges),
                    max_stream_bytes: join.max_stream_bytes.max(max_stream_bytes),
                });
                self.association.took_part = join.association_pn;
            }
            Entry::PnBlock { reserved_below, floor } => {
                self.numbers.restore(reserved_below);
                self.counts.floor = self.counts.floor.max(floor);
            }
            Entry::Granted { max_log_bytes, max_exchanges, max_stream_bytes } => {
                self.pair.grant.granted(&Credit { max_log_bytes, max_exchanges, max_stream_bytes });
            }
            Entry::StreamGranted { stream, max } => self.pair.inbound.granted(stream, max),
            Entry::StreamClosed { stream } => {
                let cost = self.forget_exchange(stream).unwrap_or(0);
                self.pair.grant.consumed = self.pair.grant.consumed.saturating_add(cost);
            }
            Entry::Consumed { stream, offset, raw_len } => {
                let cost = self.pair.inbound.consume(stream, offset, raw_len);
                self.pair.grant.consumed = self.pair.grant.consumed.saturating_add(cost);
            }
            Entry::Charged { seqs } => {
                for seq in seqs.values() {
                    self.replay_charged(seq);
                }
            }
            Entry::Dissociated { peer_incarnation } => {
                self.close_association(peer_incarnation);
                self.association.dissociate();
            }
            base => self.replay_base(base),
        }
    }

    fn replay_base(&mut self, entry: Entry) {
        match entry {
            Entry::AssociationState { my_incarnation, peer_incarnation, confirmations, closed } => {
                self.association.restore(peer_incarnation, confirmations, closed);
                self.logged_incarnation = Some(my_incarnation);
                if let Some(peer) = peer_incarnation {
                    self.bind(my_incarnation, peer);
                }
            }
            Entry::SendBase { una, chain, charged, next_exchange } => {
                if self.association.confirmed().is_some() {
                    self.pair.log.restore_base(una, chain);
                }
                self.pair.credit.charged = charged;
                self.pair.streams.next_exchange = next_exchange;
            }
            Entry::ReceiveBase { cum, chain, charged, consumed, tombs } => {
                self.pair.received.restore_base(cum, chain, charged, tombs);
                self.pair.grant.charged = charged;
                self.pair.grant.consumed = consumed;
            }
            Entry::SendStream { stream, offset, reset } => {
                let open = self.pair.streams.open.entry(stream).or_default();
                (open.offset, open.reset) = (offset, reset);
            }
            Entry::ReceiveStream { stream, granted, final_length, cost, consumed_cost, received, consumed } => {
                let open = InboundStream {
                    received,
                    consumed,
                    granted,
                    final_length,
                    cost,
                    consumed_cost,
                    ..InboundStream::default()
                };
                self.pair.inbound.open.insert(stream, open);
                if stream.is_request() {
                    self.pair.grant.exchange_highest = self.pair.grant.exchange_highest.max(stream.exchange());
                }
            }
            Entry::ClosedExchanges { mine, theirs } => {
                self.pair.grant.exchanges_closed = theirs.count();
                self.pair.grant.exchange_highest = self.pair.grant.exchange_highest.max(theirs.max().unwrap_or(0));
                (self.pair.streams.closed, self.pair.inbound.closed) = (mine, theirs);
            }
            Entry::Unreleased { head, payload_digest, charged } => self.replay_sent(head, payload_digest, charged),
            Entry::Held(meta) => {
                self.pair.grant.charged = self.pair.grant.charged.saturating_add(meta.charged);
                let seq = meta.head.seq.get();
                self.pair.received.take(meta);
                self.pair.received.durable(seq);
            }
            _ => {}
        }
    }

    fn replay_association(&mut self, mine: Incarnation, peer: Incarnation, confirmations: u64) {
        if let Some(old) = self.association.confirmed() {
            self.close_association(old);
        }
        self.association.open(peer, confirmations);
        self.association.durable = true;
        self.logged_incarnation = Some(mine);
        self.bind(mine, peer);
        self.events.push_back(PeerEvent::Confirmed { peer_incarnation: peer });
    }

    fn replay_sent(&mut self, head: RecordHeader, payload_digest: Digest, charged: bool) {
        let (seq, cost) = (head.seq.get(), head.cost());
        if seq != self.pair.log.next() {
            return;
        }
        self.pair.log.append(head, payload_digest, charged);
        self.pair.log.durable(seq);
        if let Some(record) = self.pair.log.get_mut(seq) {
            record.durable = true;
            record.maybe_sent = charged;
        }
        if charged {
            self.pair.credit.charge(cost);
        }
    }

    fn replay_charged(&mut self, seq: u64) {
        if let Some(record) = self.pair.log.get_mut(seq).filter(|record| !record.charged) {
            record.charged = true;
            record.maybe_sent = true;
            let cost = record.head.cost();
            self.pair.credit.charge(cost);
        }
    }

    fn replay_received(&mut self, meta: ReceivedMeta) {
        let seq = meta.head.seq.get();
        if self.pair.received.holds(seq) {
            return;
        }
        // It was taken, so it fitted; only who consumes it is asked again, without the limits of the moment.
        let exchanges =
            Exchanges { max_theirs: u64::MAX, stream_max: u64::MAX, next_mine: u64::MAX, ..self.exchanges() };
        let delivery = self.pair.inbound.check(&meta, &exchanges).unwrap_or(Delivery::Deliver);
        self.account(&meta, delivery);
        self.pair.received.take(meta);
        self.pair.received.durable(seq);
    }

    /// The log is replayed, or there is none: from here on the peer acts.
    pub fn replay_done(&mut self, now: Timestamp) {
        self.tick(now);
        self.started = true;
        let foreign = self.logged_incarnation.is_some_and(|mine| mine != self.ids.my_incarnation);
        if let Some(peer_incarnation) = self.association.confirmed().filter(|_| foreign) {
            self.close_association(peer_incarnation);
            self.association.dissociate();
            // Lost in a crash, it is written again by the next start.
            self.journal.lazy(Entry::Dissociated { peer_incarnation });
        }
        self.pair.streams.find_free();
        self.resume_log();
        if self.association.confirmed().is_some() {
            self.wishes.ack = true;
            self.wishes.introduce = true;
            self.wishes.resync = true;
            let stream_max = self.pair.grant.given.max_stream_bytes;
            self.pair.inbound.announce_all(stream_max);
            self.raise_grant(false);
            self.start_heartbeat();
        } else {
            self.say_hello();
        }
        self.settle();
    }

    /// Queues what is not acknowledged. What may have left is charged: small records go again at once; bulk counts as on its way in a packet
    /// of the past, which is lost when a later one is reported, or probed for.
    fn resume_log(&mut self) {
        let mut past = SentPacket { eliciting: true, timed: true, ..SentPacket::new(self.now) };
        let pn = self.numbers.next().saturating_sub(1);
        let unsent = self.association.confirmed().is_none();
        let records: Vec<(u64, bool, bool, u64)> = self
            .pair
            .log
            .records()
            .map(|r| (r.head.seq.get(), r.charged, is_small(&r.head), u64::from(r.head.stored_len)))
            .collect();
        let mut last_seq = 0;
        for (seq, charged, small, bytes) in records {
            if let Some(record) = self.pair.log.get_mut(seq).filter(|_| unsent) {
                record.maybe_sent = false;
            }
            if !charged {
                if let Some(record) = self.pair.log.get(seq) {
                    self.pair.scheduler.appended_uncharged(&record.head);
                    self.pair.scheduler.wait_for_credit(&record.head);
                }
                continue;
            }
            last_seq = seq;
            if small || unsent || pn == 0 {
                self.make_ready(seq);
            } else if let Some(record) = self.pair.log.get_mut(seq) {
                record.carrier = pn;
                past.carry(seq, bytes);
            }
        }
        if last_seq > 0 && !unsent {
            self.pair.recovery.old_life = Some(OldLife { floor: self.counts.floor, last_seq });
        }
        if !past.runs.is_empty() {
            self.pair.packets.insert(pn, past);
            self.pair.packets.published(self.now, pn);
        }
    }

    /// Entries that recreate the whole state, in order, without payloads. Drain [`Self::poll_persist`] into the old log first, and keep
    /// the payloads of what is not released or not consumed.
    #[must_use]
    pub fn checkpoint(&self) -> Vec<Entry> {
        let pair = &self.pair;
        let my_incarnation = self.logged_incarnation.unwrap_or(self.ids.my_incarnation);
        let mut entries = Vec::new();
        entries.push(Entry::AssociationState {
            my_incarnation,
            peer_incarnation: self.association.confirmed(),
            confirmations: self.association.confirmations(),
            closed: self.association.closed().to_vec(),
        });
        entries.push(Entry::SendBase {
            una: pair.log.una(),
            chain: *pair.log.chain_una(),
            charged: pair.credit.charged.saturating_sub(pair.log.charged()),
            next_exchange: pair.streams.next_exchange,
        });
        entries.push(Entry::ReceiveBase {
            cum: pair.received.cum(),
            chain: *pair.received.chain(),
            charged: pair.received.charged_cum(),
            consumed: pair.grant.consumed,
            tombs: pair.received.tombs().clone(),
        });
        entries.extend(pair.streams.open.iter().map(|(stream, open)| Entry::SendStream {
            stream: *stream,
            offset: open.offset,
            reset: open.reset,
        }));
        entries.extend(pair.inbound.open.iter().map(|(stream, open)| Entry::ReceiveStream {
            stream: *stream,
            granted: open.granted.max(open.requested),
            final_length: open.final_length,
            cost: open.cost,
            consumed_cost: open.consumed_cost,
            received: open.received.clone(),
            consumed: open.consumed.clone(),
        }));
        entries.push(Entry::ClosedExchanges { mine: pair.streams.closed.clone(), theirs: pair.inbound.closed.clone() });
        entries.extend(pair.log.records().map(|record| Entry::Unreleased {
            head: record.head,
            payload_digest: record.payload_digest,
            charged: record.charged,
        }));
        if !mutated(Mutation::CheckpointForgetsHeld) {
            entries.extend(pair.received.above().cloned().map(Entry::Held));
        }
        entries.push(Entry::PeerJoin(pair.heard.kept));
        entries.push(Entry::PnBlock { reserved_below: self.numbers.requested_below(), floor: self.counts.floor });
        let Credit { max_log_bytes, max_exchanges, max_stream_bytes } = pair.grant.requested();
        entries.push(Entry::Granted { max_log_bytes, max_exchanges, max_stream_bytes });
        entries
    }
}
