//! Everything between this endpoint and one remote endpoint: the glue of the parts, and the public face of the room.
//!
//! Invariants: nothing is acknowledged, sent, delivered or released before it is durable; a control block is a consistent snapshot; a
//! halted pair neither sends, delivers nor releases. The parts own their state; here is only what connects them: wishes (what the next
//! packet should do), alarms and counters. Inputs are in `peer/inputs.rs`, what the peer's control block does in `peer/control.rs`, verbs in
//! `peer/verbs.rs`, packets in `peer/outputs.rs`, loss and timers in `peer/recovery.rs`, restart in `peer/restart.rs`.
//! Tests to read first: `peer::tests::first_contact_and_a_record_each_way`, then the simulator's.

mod control;
mod inputs;
mod outputs;
mod recovery;
mod restart;
mod snapshot;
mod state;
mod verbs;

use crate::alarm::Alarm;
use crate::association::Association;
use crate::config::{Config, Ids};
use crate::entry::{Entry, PeerJoin};
use crate::event::{PeerEvent, Persist};
use crate::inbound::Exchanges;
use crate::journal::{Journal, Promise};
use crate::limits;
use crate::numbers::Numbers;
use crate::offset::ClockOffset;
use crate::pressure::level_of;
use crate::receiver::ReceiveLog;
use crate::rtt::RttEstimator;
use crate::suspicion::Suspicion;
use crate::time::{Duration, Timestamp};
use crate::timers::{Timer, Timers};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;
use state::{Counts, Pair, Wishes};
use wire::chain::chain_start;
use wire::control::Credit;
use wire::{Incarnation, PacketNumber, Seq};

/// Everything between this endpoint and one remote endpoint.
///
/// **Contract.** One mutation (`handle_*` or a verb), then drain [`Self::poll_persist`], [`Self::poll_event`] and, while the outbox has
/// room, [`Self::poll_transmit`] until all are empty; then read [`Self::poll_timeout`] and wait. After [`Self::new`] give back every entry
/// of the log in order by [`Self::replay`], then call [`Self::replay_done`] — also when there is none: nothing happens before.
/// If an entry cannot be made durable, stop the process: what was promised may not be kept otherwise.
#[derive(Debug)]
pub struct Peer {
    pub(crate) config: Config,
    pub(crate) ids: Ids,
    /// The latest time that was told.
    now: Timestamp,
    started: bool,
    /// My incarnation in the association of the log.
    logged_incarnation: Option<Incarnation>,
    halted: Option<Alarm>,
    alarms: Vec<Alarm>,
    association: Association,
    journal: Journal,
    numbers: Numbers,
    timers: Timers,
    rtt: RttEstimator,
    suspicion: Suspicion,
    offset: ClockOffset,
    wishes: Wishes,
    pair: Pair,
    counts: Counts,
    events: VecDeque<PeerEvent>,
    /// No credit is given: there is no space for more.
    credit_held: bool,
}

impl Peer {
    /// A peer of which nothing is known yet. Replay what is in the log, then call [`Self::replay_done`].
    #[must_use]
    pub fn new(ids: Ids, config: Config, now: Timestamp) -> Self {
        Self {
            now,
            started: false,
            logged_incarnation: None,
            halted: None,
            alarms: Vec::new(),
            association: Association::new(&ids),
            journal: Journal::default(),
            numbers: Numbers::default(),
            timers: Timers::default(),
            rtt: RttEstimator::new(config.expected_latency),
            suspicion: Suspicion::default(),
            offset: ClockOffset::default(),
            wishes: Wishes::default(),
            pair: Pair::default(),
            counts: Counts { floor: 1, ..Counts::default() },
            events: VecDeque::new(),
            credit_held: false,
            config,
            ids,
        }
    }

    /// The next entry to be made durable. Write them in this order.
    #[must_use]
    pub fn poll_persist(&mut self) -> Option<Persist> {
        self.journal.poll()
    }

    /// The next event.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    /// When to call [`Self::handle_timeout`]; `None`: not by itself.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    fn tick(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// Whether packets of the association may be written.
    fn is_open(&self) -> bool {
        self.started && self.halted.is_none() && self.association.confirmed().is_some() && self.association.durable
    }

    /// Whether another life of this endpoint was seen.
    fn is_outlived(&self) -> bool {
        matches!(self.halted, Some(Alarm::Superseded | Alarm::Cloned))
    }

    fn window(&self) -> Credit {
        Credit {
            max_log_bytes: self.config.receive_pool_bytes,
            max_exchanges: self.config.exchanges_max,
            max_stream_bytes: self.config.stream_window_bytes,
        }
    }

    fn exchanges(&self) -> Exchanges<'_> {
        Exchanges {
            next_mine: self.pair.streams.next_exchange,
            closed_mine: &self.pair.streams.closed,
            max_theirs: self.pair.grant.given.max_exchanges,
            stream_max: self.pair.grant.given.max_stream_bytes,
        }
    }

    /// Names a contradiction; one that halts stops the pair.
    fn alarm(&mut self, alarm: Alarm) {
        tracing::warn!(peer = %self.ids.peer, alarm = alarm.name(), "{alarm}");
        if alarm.halts() {
            self.halted = Some(alarm);
            self.timers.clear();
            if self.counts.publish_blocked {
                // Whoever begins a new life must be answered still.
                self.timers.set(Timer::PublishRetry, self.now.after(limits::PUBLISH_RETRY));
            }
            self.wishes = Wishes::default();
        }
        if self.alarms.len() >= limits::ALARMS_MAX {
            self.alarms.remove(0);
        }
        self.alarms.push(alarm);
        self.events.push_back(PeerEvent::Alarm(alarm));
    }

    /// Opens an association with a life of the peer that just proved to be alive.
    fn open_association(&mut self, peer: Incarnation) {
        if let Some(old) = self.association.confirmed() {
            self.close_association(old);
        }
        let confirmations = self.association.confirmations() + 1;
        self.association.open(peer, confirmations);
        self.pair.packets.begin_listening(self.now);
        self.logged_incarnation = Some(self.ids.my_incarnation);
        self.bind(self.ids.my_incarnation, peer);
        let entry =
            Entry::Associated { my_incarnation: self.ids.my_incarnation, peer_incarnation: peer, confirmations };
        self.journal.urgent(entry, Bytes::new(), Promise::Associated);
        self.raise_grant(false);
        if self.halted.is_some_and(|alarm| alarm.ends_with_association()) {
            self.halted = None;
        }
        self.timers.cancel(Timer::Hello);
        self.counts.hello_tries = 0;
        self.wishes.hello = false;
        tracing::info!(peer = %self.ids.peer, generation = peer.generation, confirmations, "association opened");
        self.events.push_back(PeerEvent::Confirmed { peer_incarnation: peer });
    }

    /// Binds the logs to an association; what was appended before any association stays.
    fn bind(&mut self, mine: Incarnation, peer: Incarnation) {
        let (me, them) = (&self.ids.me, &self.ids.peer);
        self.pair.log.bind(chain_start(me, &mine, them, &peer));
        self.pair.received = ReceiveLog::new(chain_start(them, &peer, me, &mine));
    }

    /// Ends the association with `old` and everything in it.
    fn close_association(&mut self, old: Incarnation) {
        let pair = core::mem::take(&mut self.pair);
        let una = Seq::new(pair.log.una());
        let sent_seqs = pair.log.records().filter(|record| record.maybe_sent).map(|record| record.head.seq).collect();
        for pn in pair.packets.numbers().filter_map(PacketNumber::new) {
            self.events.push_back(PeerEvent::PacketRetired { pn });
        }
        for pn in pair.report.waiting().filter_map(PacketNumber::new) {
            self.events.push_back(PeerEvent::PacketDurable { sender_incarnation: old, pn });
        }
        self.journal.end_association();
        self.wishes = Wishes::default();
        for timer in
            [Timer::Ack, Timer::FlushSmall, Timer::FlushBulk, Timer::Loss, Timer::Pto, Timer::Heartbeat, Timer::Sweep]
        {
            self.timers.cancel(timer);
        }
        self.events.push_back(PeerEvent::AssociationClosed { old_peer_incarnation: old, una, sent_seqs });
    }

    /// Gives the peer no further credit, or gives it again; what it was given stays given.
    pub fn hold_credit(&mut self, now: Timestamp, held: bool) {
        self.tick(now);
        self.credit_held = held;
        if !held {
            self.raise_grant(false);
        }
        self.settle();
    }

    /// Asks for more credit to be made durable, if it is time.
    fn raise_grant(&mut self, blocked: bool) {
        let window = self.window();
        if self.credit_held || self.association.confirmed().is_none() {
            return;
        }
        if let Some(credit) = self.pair.grant.raise(&window, blocked) {
            let Credit { max_log_bytes, max_exchanges, max_stream_bytes } = credit;
            let entry = Entry::Granted { max_log_bytes, max_exchanges, max_stream_bytes };
            self.journal.urgent(entry, Bytes::new(), Promise::Granted(credit));
        }
    }

    /// Brings everything that follows from the last mutation up to date.
    fn settle(&mut self) {
        if !self.started {
            return;
        }
        if let Some(reserved_below) = self.numbers.request() {
            let entry = Entry::PnBlock { reserved_below, floor: self.counts.floor };
            self.journal.urgent(entry, Bytes::new(), Promise::PacketNumbers(reserved_below));
        }
        self.settle_packets();
        // One that is due already waits for the outbox, not for time.
        if let Some(at) = self.association.next_answer().filter(|at| *at > self.now) {
            self.timers.set_earlier(Timer::Answer, at);
        }
        if self.halted.is_none() {
            self.settle_pressure();
            self.charge_more();
            self.update_flush();
            self.update_pto();
        }
    }

    /// Looks how full everything is.
    fn settle_pressure(&mut self) {
        let (grant, log) = (&self.pair.grant, &self.pair.log);
        let window = grant.given.max_log_bytes.saturating_sub(grant.consumed).max(self.config.receive_pool_bytes);
        let receive_pool = level_of(grant.charged.saturating_sub(grant.consumed), window);
        let send_log = level_of(log.bytes(), self.config.send_log_bytes_max);
        self.pair.pressure.set_disk(self.counts.disk_pressure);
        if self.pair.pressure.update(receive_pool, send_log) && self.is_open() {
            self.ack_soon();
        }
    }

    /// Reports packets of the peer whose records are durable.
    fn settle_packets(&mut self) {
        let Some(sender_incarnation) = self.association.confirmed() else { return };
        let journal = &self.journal;
        let settled = self.pair.report.settle(|token| journal.is_durable(token));
        for packet in settled {
            if let Some(pn) = PacketNumber::new(packet.pn) {
                self.events.push_back(PeerEvent::PacketDurable { sender_incarnation, pn });
            }
            if packet.eliciting && packet.prompt {
                self.wishes.ack = true;
            } else if packet.eliciting {
                self.ack_soon();
            }
        }
    }

    /// An acknowledgement is due after the usual delay.
    fn ack_soon(&mut self) {
        let at = self.now.after(self.rtt.ack_delay());
        if self.halted.is_none() {
            self.timers.set_earlier(Timer::Ack, at);
        }
    }

    fn peer_ack_delay(&self) -> Duration {
        let ms = self.pair.heard.limits.map_or(self.pair.heard.kept.ack_delay_ms, |limits| limits.ack_delay_ms);
        Duration::from_millis(ms.min(limits::ACK_DELAY.1.as_millis().try_into().unwrap_or(u64::MAX)))
    }

    /// How often the peer sends something, as it said; until then as often as this side.
    fn peer_heartbeat(&self) -> Duration {
        let told = self.pair.heard.limits.map(|limits| limits.heartbeat_ms).filter(|ms| *ms > 0);
        told.map_or_else(|| self.heartbeat(), |ms| Duration::from_millis(ms.min(limits::HEARTBEAT_TOLD_MAX_MS)))
    }

    fn heartbeat(&self) -> Duration {
        self.config.heartbeat.unwrap_or_else(|| self.rtt.heartbeat())
    }

    /// Writes down lazily what was learned from the peer, if it changed by much.
    fn keep_join(&mut self) {
        let (srtt, rttvar_us) = self.rtt.measured_us();
        let (given, kept) = (self.pair.credit.given, &self.pair.heard.kept);
        let join = PeerJoin {
            srtt_us: srtt.unwrap_or(0),
            rttvar_us,
            max_log_bytes: given.max_log_bytes,
            max_exchanges: given.max_exchanges,
            max_stream_bytes: given.max_stream_bytes,
            max_frame: self.pair.heard.limits.map_or(kept.max_frame, |limits| limits.max_frame),
            ack_delay_ms: self.pair.heard.limits.map_or(kept.ack_delay_ms, |limits| limits.ack_delay_ms),
            association_pn: self.association.took_part,
        };
        let trivial = PeerJoin {
            srtt_us: kept.srtt_us,
            rttvar_us: kept.rttvar_us,
            ack_delay_ms: kept.ack_delay_ms,
            association_pn: kept.association_pn,
            ..join
        };
        let moved = join.srtt_us.abs_diff(kept.srtt_us) > kept.srtt_us / 4;
        if trivial != *kept || moved || (kept.association_pn == 0 && join.association_pn > 0) {
            self.pair.heard.kept = join;
            self.journal.lazy(Entry::PeerJoin(join));
        }
    }
}

#[cfg(test)]
mod tests;
