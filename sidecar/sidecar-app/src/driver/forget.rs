//! Endpoints of the far side that are gone are forgotten: on Kubernetes every pod is an endpoint of its own, and none comes back.
//!
//! Who: never the default peer or a server that announces itself, and nobody whom a call of ours waits for or whose result is stored. After `remote.forgetAfter` of
//! silence, which also ends its calls here: their caller is gone. Who took part but never showed that it heard me, only after
//! the largest packet lifetime as well. When the table is full: strangers silent for a loss timeout, then whoever has no call
//! under way here and was silent longest, for at least [`GONE_AFTER`] loss timeouts. Silence is time in which something new was
//! heard of others (an outage makes nobody gone), and since this start.
//!
//! How: by one checkpoint that does not list them. A crash finds them whole in the old segment or gone with the new one. What
//! goes with them: their logs both ways with their log space, their files in the outbox, what waits of them in the inbox.
//!
//! Why no old packet of theirs, late or replayed, executes anything: records count only inside an association, and only an ECHO
//! of my present nonce opens one (wire format §10). Nonces come from a secret that this very checkpoint replaces, so every ECHO
//! ever written for them is void, and their closed lives need not be remembered. Only a living engine can echo the new nonce.
//! One that lived on in its old association does not: my HELLO has a packet number above all it ever got from me (`first_pn`),
//! which tells it that I forgot it (alarm `peer_forgot`): it takes a new incarnation (`life.rs`), so no pair of incarnations, and no
//! chain, is used twice. One that never heard me may echo as the old life, and send its log again: its operations are still known to the
//! journal of executions (for two packet lifetimes, while that has room), so what was dispatched is not repeated unless it is
//! harmless.
//!
//! Invariants: nothing changes here unless the checkpoint is durable; a packet number is used once for a recipient, forgotten
//! or not. It does not judge packets: that is layer 1. Test to read first: `the_newest_of_more_than_the_table_holds_is_served`.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use layer1_replication::{Entry, PeerStatus, Timestamp, Verdict};
use wire::EndpointId;
use wire::limits::ENDPOINTS_PER_SIDE_MAX;

use super::slot::Slot;
use super::{Driver, DriverError, EXPIRY_PERIOD, GONE_AFTER};
use crate::entry::Life;
use crate::pipe::{InboxCommand, OutboxJob};

/// How many make room at once: each time costs a checkpoint.
const ROOM_BATCH: usize = 64;
/// Forgetting by time alone happens at most so often within the time that it takes.
const ROUNDS: u32 = 24;

/// How long an endpoint was silent while others were heard.
#[derive(Debug, Default)]
pub(super) struct Silence {
    heard: bool,
    /// Highest packet number since it last took part. A file that waits is shown again and again: that is no sign of life.
    newest: u64,
    total: Duration,
}

impl Silence {
    /// A packet of it was judged; true if that is a sign of life.
    pub(super) fn judged(&mut self, verdict: Verdict, pn: u64) -> bool {
        let new = verdict == Verdict::Use || pn > self.newest;
        self.newest = if verdict == Verdict::Use { 0 } else { self.newest.max(pn) };
        self.heard |= new;
        new
    }

    /// Time went by; `counts` if the folders brought something of anybody.
    fn pass(&mut self, elapsed: Duration, counts: bool) {
        if std::mem::take(&mut self.heard) {
            self.total = Duration::ZERO;
        } else if counts {
            self.total = self.total.saturating_add(elapsed);
        }
    }
}

/// What forgetting needs to remember.
#[derive(Debug)]
pub(super) struct Watch {
    /// When something new was last heard of anybody.
    heard: Option<Timestamp>,
    counted: Timestamp,
    due: Timestamp,
    /// Somebody was turned away since the last round.
    turned_away: bool,
    /// First epoch of new slots: above those of the forgotten.
    pub(super) epoch: u32,
}

impl Watch {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { heard: None, counted: now, due: now, turned_away: false, epoch: 0 }
    }

    /// The folders bring something.
    pub(super) fn heard(&mut self, now: Timestamp) {
        self.heard = Some(now);
    }
}

/// What is lost by forgetting an endpoint; the least comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// There is no association and nothing of it in the log.
    Stranger,
    /// It showed that it heard me, or nothing was taken of it.
    Settled,
    /// I took records of it, and it may never have heard me.
    Unsettled,
}

impl Standing {
    fn of(status: &PeerStatus) -> Self {
        let (_, taken_bytes) = status.granted_log;
        let hears_me = status.una.get() > 0 || status.una_seen.get() > 0;
        match status.peer_incarnation {
            None if taken_bytes == 0 && status.backlog_records == 0 => Self::Stranger,
            _ if hears_me || taken_bytes == 0 => Self::Settled,
            _ => Self::Unsettled,
        }
    }
}

/// An endpoint that may be forgotten.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    endpoint: EndpointId,
    silent: Duration,
    standing: Standing,
    /// A call of it is under way here.
    busy: bool,
}

/// Those whose time is over.
fn overdue(candidates: &[Candidate], forget_after: Duration, mpl: Duration) -> BTreeSet<EndpointId> {
    let bound = |candidate: &Candidate| match candidate.standing {
        Standing::Stranger | Standing::Settled => forget_after,
        Standing::Unsettled => forget_after.max(mpl),
    };
    candidates.iter().filter(|one| one.silent >= bound(one)).map(|one| one.endpoint).collect()
}

/// Those who make room in a full table.
fn room(candidates: &[Candidate], loss_timeout: Duration, mpl: Duration) -> BTreeSet<EndpointId> {
    let gone = loss_timeout.saturating_mul(GONE_AFTER);
    let bound = |candidate: &Candidate| match candidate.standing {
        Standing::Stranger => loss_timeout,
        Standing::Settled => gone,
        // My packets to it may still arrive, and would count if it came back as the same life.
        Standing::Unsettled => gone.max(mpl),
    };
    let mut silent: Vec<_> = candidates.iter().filter(|one| !one.busy && one.silent >= bound(one)).collect();
    silent.sort_by_key(|one| (one.standing, Reverse(one.silent)));
    silent.into_iter().take(ROOM_BATCH).map(|one| one.endpoint).collect()
}

impl Driver {
    /// The slot of a verified sender; a new one is opened within the bound.
    pub(super) fn slot_of_sender(&mut self, sender: EndpointId) -> Result<Option<&mut Slot>, DriverError> {
        if !self.slots.contains_key(&sender) {
            if self.slots.len() >= ENDPOINTS_PER_SIDE_MAX {
                // That it was read says that the folders work, even if all the others are gone.
                self.watch.heard(self.host.now());
                let mpl = self.settings.replication.mpl;
                self.forget(&room(&self.candidates(), self.settings.loss_timeout, mpl))?;
            }
            if self.slots.len() >= ENDPOINTS_PER_SIDE_MAX {
                if !std::mem::replace(&mut self.watch.turned_away, true) {
                    tracing::warn!(peer = %sender, "{ENDPOINTS_PER_SIDE_MAX} endpoints of the far side are known and none is gone: a new one is not heard");
                }
                return Ok(None);
            }
            tracing::info!(peer = %sender, "a new endpoint of the far side");
            self.open_slot(sender);
        }
        Ok(self.slots.get_mut(&sender))
    }

    /// Counts the silence of all, and forgets those whose time is over.
    pub(super) fn forget_gone(&mut self) -> Result<(), DriverError> {
        let now = self.host.now();
        // A process that was stopped heard nobody.
        let elapsed = now.since(std::mem::replace(&mut self.watch.counted, now)).min(2 * EXPIRY_PERIOD);
        self.count_silence(elapsed);
        self.watch.turned_away = false;
        if now < self.watch.due {
            return Ok(());
        }
        let gone = overdue(&self.candidates(), self.settings.forget_after, self.settings.replication.mpl);
        if !gone.is_empty() {
            self.watch.due = now.after(self.settings.forget_after / ROUNDS);
            self.forget(&gone)?;
        }
        Ok(())
    }

    fn count_silence(&mut self, elapsed: Duration) {
        let now = self.host.now();
        let counts = self.watch.heard.is_some_and(|at| now.since(at) <= self.settings.loss_timeout);
        for slot in self.slots.values_mut() {
            slot.silence.pass(elapsed, counts);
        }
    }

    /// Who may be forgotten if it is silent for long enough.
    fn candidates(&self) -> Vec<Candidate> {
        let now = self.host.now();
        let results: BTreeSet<EndpointId> = self.results.values().map(|lane| lane.peer).collect();
        self.slots
            .iter()
            .filter(|(peer, _)| **peer != self.settings.default_peer && !results.contains(*peer))
            .filter(|(peer, _)| self.membership.as_ref().is_none_or(|membership| !membership.lists(now, peer)))
            .filter(|(_, slot)| slot.near_calls.is_empty())
            .map(|(peer, slot)| Candidate {
                endpoint: *peer,
                silent: slot.silence.total,
                standing: Standing::of(&slot.peer.status(now)),
                busy: !slot.far_calls.is_empty(),
            })
            .collect()
    }

    /// Forgets these endpoints, by a checkpoint without them. If it cannot be written they stay.
    fn forget(&mut self, wanted: &BTreeSet<EndpointId>) -> Result<(), DriverError> {
        // A checkpoint that found no space is not tried again for every packet of a stranger.
        if wanted.is_empty() || self.journal.is_put_off() {
            return Ok(());
        }
        self.rest()?;
        // What was reported meanwhile may have begun a call.
        let gone: BTreeSet<EndpointId> =
            self.candidates().into_iter().map(|one| one.endpoint).filter(|peer| wanted.contains(peer)).collect();
        let mut nonce_secret = [0; 32];
        if let Err(error) = self.host.fill_random(&mut nonce_secret) {
            tracing::warn!(%error, "the system gives no randomness: no endpoint is forgotten for now");
            return Ok(());
        }
        let used_below = gone.iter().filter_map(|peer| self.slots.get(peer)).map(numbers_used_below).max();
        let first_pn = self.life.first_pn.max(used_below.unwrap_or(1));
        let life = Life { nonce_secret, first_pn, ..self.life.clone() };
        let mut far = self.far.clone();
        for peer in &gone {
            far.peer_closed(*peer, self.host.unix_ms_signed());
        }
        let entries = self.snapshot(&life, &far, &gone);
        if !self.write_checkpoint(entries)? {
            return Ok(());
        }
        (self.life, self.far) = (life, far);
        for peer in gone {
            let Some(mut slot) = self.slots.remove(&peer) else { continue };
            tracing::info!(%peer, silent_s = slot.silence.total.as_secs(), "an endpoint of the far side is gone: forgotten");
            slot.end_everything(&mut self.journal);
            if let Some(membership) = &mut self.membership {
                membership.forget(&peer);
            }
            self.watch.epoch = self.watch.epoch.max(slot.epoch);
            let _ = self.outlets.inbox.send(InboxCommand::Forget(peer));
            let _ = self.outlets.outbox.send(OutboxJob::Forget(peer));
        }
        // Its log space is given back by the next commit.
        self.journal.make_urgent();
        Ok(())
    }
}

/// Packet numbers below this may have been used for an endpoint.
fn numbers_used_below(slot: &Slot) -> u64 {
    let entries = slot.peer.checkpoint();
    let below = |entry: &Entry| match entry {
        Entry::PnBlock { reserved_below, .. } => Some(*reserved_below),
        _ => None,
    };
    entries.iter().filter_map(below).max().unwrap_or(1)
}

#[cfg(test)]
pub(super) mod tests;
