//! Time: loss by age, probe timeouts, suspension, flushing, heartbeats (RFC 9002 §6; RFC 8985 in its simplest form; LTP's suspended timers).
//!
//! Invariants: a record is lost at most once for each packet that carried it, and only by its newest carrier; while anything is on its way
//! or blocked, the probe timer runs; when nothing is, only heartbeats remain.

use super::Peer;
use crate::alarm::Alarm;
use crate::event::PeerEvent;
use crate::limits;
use crate::mutation::{Mutation, mutated};
use crate::time::Timestamp;
use crate::timers::Timer;
use wire::PacketNumber;

impl Peer {
    /// A packet is in the outbox: in flight begins here. `bytes` is the length of its file.
    pub fn handle_published(&mut self, now: Timestamp, pn: PacketNumber, bytes: u64) {
        self.tick(now);
        tracing::trace!(peer = %self.ids.peer, %pn, bytes, "packet published");
        self.pair.packets.published(self.now, pn.get());
        self.start_heartbeat();
        if !self.timers.is_set(Timer::Sweep) {
            self.timers.set(Timer::Sweep, self.now.after(self.sweep_interval()));
        }
        self.retire();
        self.update_loss();
        self.settle();
    }

    /// A packet could not be published and never will be. Its records go again, after a moment.
    pub fn handle_publish_failed(&mut self, now: Timestamp, pn: PacketNumber) {
        self.tick(now);
        if let Some(packet) = self.pair.packets.remove(pn.get()) {
            for seq in packet.seqs() {
                if let Some(record) =
                    self.pair.log.get_mut(seq).filter(|record| record.carrier == pn.get() && !record.sacked)
                {
                    record.carrier = 0;
                    self.make_ready(seq);
                }
            }
            self.wishes.ping |= packet.ping;
        }
        self.wishes.ack = self.is_open();
        self.wishes.hello = self.association.confirmed().is_none();
        self.counts.publish_blocked = true;
        self.timers.set(Timer::PublishRetry, self.now.after(limits::PUBLISH_RETRY));
        self.settle();
    }

    /// The time of [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.tick(now);
        while let Some(timer) = self.timers.expire(self.now) {
            self.expired(timer);
        }
        self.settle();
    }

    fn expired(&mut self, timer: Timer) {
        match timer {
            Timer::Hello => self.say_hello(),
            // Settling looks for who is to be answered.
            Timer::Answer => {}
            Timer::Ack => self.wishes.ack = true,
            Timer::FlushSmall => self.wishes.flush_small = true,
            Timer::FlushBulk => self.wishes.flush_bulk = true,
            Timer::Loss => self.declare_lost(),
            Timer::Pto => self.probe_timeout(),
            Timer::Heartbeat => self.wishes.heartbeat = true,
            Timer::PublishRetry => self.counts.publish_blocked = false,
            Timer::Sweep => self.sweep(),
        }
    }

    /// First contact, now and again at growing intervals until somebody is confirmed.
    pub(super) fn say_hello(&mut self) {
        if self.association.confirmed().is_none() {
            self.wishes.hello = true;
            let at = self.now.after(self.rtt.hello_retry(self.counts.hello_tries));
            self.timers.set(Timer::Hello, at);
            self.counts.hello_tries = self.counts.hello_tries.saturating_add(1);
        }
    }

    pub(super) fn start_heartbeat(&mut self) {
        if self.is_open() {
            let mut interval = self.heartbeat();
            if self.counts.quiet {
                interval = interval.max(limits::HEARTBEAT_QUIET);
            }
            self.timers.set(Timer::Heartbeat, self.now.after(interval));
        }
    }

    /// The driver sees others through the same folders and this peer not at all: it is probably gone for good, and gets few
    /// heartbeats. Whatever is heard of it ends that. Of a peer that is merely behind an outage this must not be said: its
    /// side would see the wrong direction as the silent one.
    pub fn expect_nothing(&mut self, now: Timestamp) {
        self.tick(now);
        self.counts.quiet = true;
    }

    /// The peer lives.
    pub(super) fn heard(&mut self) {
        self.counts.last_heard = Some(self.now);
        let heartbeat = self.peer_heartbeat();
        self.suspicion.heard(self.now, heartbeat);
        if core::mem::take(&mut self.counts.quiet) {
            self.start_heartbeat();
        }
    }

    /// A record was in a packet that is closed or lost, and the peer does not hold it.
    pub(super) fn record_lost(&mut self, seq: u64, pn: u64) {
        let Some(record) = self.pair.log.get_mut(seq) else { return };
        if record.sacked || record.carrier != pn {
            return;
        }
        record.carrier = 0;
        record.losses = record.losses.saturating_add(1);
        let (losses, seq) = (record.losses, record.head.seq);
        if mutated(Mutation::LossForgotten) {
            return;
        }
        self.make_ready(seq.get());
        if losses == limits::LOSSES_POISONED {
            self.alarm(Alarm::Poisoned { seq, losses });
        }
    }

    fn declare_lost(&mut self) {
        let delay = self.rtt.loss_delay(self.pair.recovery.reorder_factor);
        let overdue = self.pair.packets.overdue(self.now, delay);
        if !overdue.is_empty() {
            self.begin_recovery();
        }
        for pn in overdue {
            self.counts.packets_lost += 1;
            self.packet_lost(pn);
        }
        self.update_loss();
    }

    /// What is lost within a round trip is one recovery. After enough of them that were right, patience is as at first (RFC 8985 §6.2).
    fn begin_recovery(&mut self) {
        let (recovery, round_trip) = (&mut self.pair.recovery, self.rtt.smoothed());
        if recovery.recovered.is_some_and(|at| self.now.since(at) < round_trip) {
            return;
        }
        recovery.recovered = Some(self.now);
        recovery.recoveries += 1;
        if recovery.recoveries > limits::REORDER_DECAY {
            recovery.recoveries = 1;
            recovery.reorder_factor = 1;
        }
    }

    fn packet_lost(&mut self, pn: u64) {
        let Some(packet) = self.pair.packets.get(pn) else { return };
        for seq in packet.seqs() {
            self.record_lost(seq, pn);
        }
    }

    /// The loss timer; suspended while nothing is heard of my packets at all.
    pub(super) fn update_loss(&mut self) {
        let delay = self.rtt.loss_delay(self.pair.recovery.reorder_factor);
        match self.pair.packets.next_overdue(delay) {
            Some(at) if self.is_open() && !self.pair.recovery.suspended => self.timers.set(Timer::Loss, at),
            _ => self.timers.cancel(Timer::Loss),
        }
    }

    fn probe_timeout(&mut self) {
        if self.wishes.probes > 0 {
            // The last probe has not left yet: its silence says nothing.
            return;
        }
        let waits_for_credit = self.pair.packets.open().in_flight == 0;
        let recovery = &mut self.pair.recovery;
        recovery.last_pto = Some(self.now);
        if waits_for_credit && !recovery.suspended {
            // The peer may be slow to consume for as long as it likes: that is no silence, but no reason to shout either.
            recovery.blocked_count = recovery.blocked_count.saturating_add(1);
            self.wishes.ping = true;
            return;
        }
        recovery.pto_count = recovery.pto_count.saturating_add(1);
        if recovery.pto_count >= limits::PTO_SUSPEND && !recovery.suspended {
            recovery.suspended = true;
            tracing::info!(peer = %self.ids.peer, "nothing is heard of my packets: probes only");
        }
        self.wishes.probes = limits::PROBES_PER_TIMEOUT;
        self.update_loss();
    }

    /// Something new was heard of my packets: they arrive.
    pub(super) fn news(&mut self) {
        let recovery = &mut self.pair.recovery;
        if recovery.suspended {
            tracing::info!(peer = %self.ids.peer, "my packets arrive again");
        }
        recovery.pto_count = 0;
        recovery.suspended = false;
        self.wishes.probes = 0;
        self.timers.cancel(Timer::Pto);
    }

    /// The peer lives, which may mean that the mirror does: a suspended sender does not wait for the whole back-off.
    pub(super) fn hint(&mut self) {
        if let (true, Some(last)) = (self.pair.recovery.suspended, self.pair.recovery.last_pto) {
            let base = self.rtt.probe_timeout(self.peer_ack_delay(), 0);
            self.timers.set_earlier(Timer::Pto, last.after(base.saturating_mul(4)).max(self.now));
        }
    }

    /// The probe timer runs while anything is on its way or blocked.
    pub(super) fn update_pto(&mut self) {
        let pair = &mut self.pair;
        if pair.recovery.suspended && pair.log.len() == 0 {
            pair.recovery.suspended = false;
            pair.recovery.pto_count = 0;
        }
        let blocked = pair.scheduler.waiting_for_credit() > 0 || pair.recovery.starved || pair.recovery.suspended;
        let needed =
            !mutated(Mutation::PtoNever) && self.is_open() && (self.pair.packets.open().in_flight > 0 || blocked);
        if !needed {
            self.timers.cancel(Timer::Pto);
        } else if !self.timers.is_set(Timer::Pto) {
            let recovery = &self.pair.recovery;
            let count = if self.pair.packets.open().in_flight > 0 {
                recovery.pto_count
            } else {
                recovery.pto_count.max(recovery.blocked_count)
            };
            let interval = self.rtt.probe_timeout(self.peer_ack_delay(), count);
            self.timers.set(Timer::Pto, self.now.after(interval));
        }
    }

    /// Small records go at once when nothing is on its way, else after they gathered; bulk also when it fills a packet.
    pub(super) fn update_flush(&mut self) {
        let may = self.is_open() && !self.pair.recovery.suspended;
        let idle = self.pair.packets.open().packets == 0;
        let target = self.config.packet_bytes_target;
        let classes = [
            (Timer::FlushSmall, self.pair.scheduler.small(), self.rtt.flush_small()),
            (Timer::FlushBulk, self.pair.scheduler.bulk(), self.rtt.flush_bulk()),
        ];
        for (timer, (since, bytes), delay) in classes {
            let wish =
                if timer == Timer::FlushSmall { &mut self.wishes.flush_small } else { &mut self.wishes.flush_bulk };
            match since {
                Some(_) if may && (*wish || idle || bytes >= target) => {
                    *wish = true;
                    self.timers.cancel(timer);
                }
                Some(since) if may => {
                    if !self.timers.is_set(timer) {
                        self.timers.set(timer, since.after(delay));
                    }
                }
                _ => {
                    *wish = false;
                    self.timers.cancel(timer);
                }
            }
        }
    }

    fn sweep_interval(&self) -> core::time::Duration {
        limits::SWEEP_INTERVAL.min(self.config.mpl / 4).max(limits::GRANULARITY)
    }

    /// Gives up on packets that are older than the maximum packet lifetime, and on control-only ones that were superseded.
    fn sweep(&mut self) {
        for pn in self.pair.packets.expired(self.now, self.config.mpl) {
            self.packet_lost(pn);
        }
        self.retire();
        for pn in self.pair.packets.retire_superseded(self.now, limits::SUPERSEDED_BY, limits::SUPERSEDED_AGE) {
            self.events.extend(PacketNumber::new(pn).map(|pn| PeerEvent::PacketRetired { pn }));
        }
        if self.pair.packets.len() > 0 {
            self.timers.set(Timer::Sweep, self.now.after(self.sweep_interval()));
        }
    }
}
