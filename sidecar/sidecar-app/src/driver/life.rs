//! A new incarnation of this endpoint while it runs: the way out when a peer forgot it.
//!
//! A peer that forgets this endpoint would, with the same two incarnations, begin the same chain again, and old packets would
//! count a second time. So this side takes a new incarnation (wire format §10): every association ends, calls in flight end as
//! not sent or *unknown*, and first contact begins. It does what a restart with another incarnation does: a checkpoint with the
//! new life and the associations of the old one, then a replay of those, which ends them.
//!
//! Invariants: nothing is sent in the new life before it is durable; at most one new life a day, whatever the peers say: until
//! then the pair stays halted, and says so. Tests to read first: `a_peer_that_was_forgotten_goes_on_with_a_new_incarnation`, and
//! `tests/line/forgotten.rs`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use layer1_replication::{Alarm, Ids, Peer};
use wire::{EndpointId, Incarnation};

use super::{Driver, DriverError, EXPIRY_PERIOD};
use crate::entry::Life;
use crate::pipe::OutboxJob;

/// A peer that lies must not unseat all others again and again.
const RENEWAL_PERIOD: Duration = Duration::from_secs(24 * 3_600);

/// Whether a new incarnation is wanted.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    wanted: bool,
    not_before: Option<Instant>,
}

impl Renewal {
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }
}

impl Life {
    /// A life that nobody had.
    pub(super) fn random() -> Result<Self, getrandom::Error> {
        let (mut random, mut nonce_secret) = ([0; 8], [0; 32]);
        getrandom::fill(&mut random)?;
        getrandom::fill(&mut nonce_secret)?;
        Ok(Self { incarnation: Incarnation { generation: 0, random }, nonce_secret, first_pn: 1 })
    }
}

impl Driver {
    /// Who talks to whom in this life.
    pub(super) fn ids(&self, peer: EndpointId) -> Ids {
        Ids {
            me: self.settings.me,
            my_name: self.settings.my_name.clone(),
            my_incarnation: self.life.incarnation,
            peer,
            nonce_secret: self.life.nonce_secret,
        }
    }

    /// Takes a new incarnation if a peer forgot this one; true if it did.
    pub(super) fn renew_life_if_due(&mut self) -> Result<bool, DriverError> {
        let now = Instant::now();
        if !self.renewal.wanted || self.renewal.not_before.is_some_and(|at| now < at) {
            return Ok(false);
        }
        let ticks = self.clock.now();
        self.renewal.wanted = self.slots.values().any(|slot| slot.peer.status(ticks).halted == Some(Alarm::PeerForgot));
        if !self.renewal.wanted {
            return Ok(false);
        }
        self.renewal.not_before = Some(now + EXPIRY_PERIOD);
        self.renew_life()
    }

    fn renew_life(&mut self) -> Result<bool, DriverError> {
        let life = match Life::random() {
            Ok(life) => Life { first_pn: self.life.first_pn, ..life },
            Err(error) => {
                tracing::warn!(%error, "the system gives no randomness for a new incarnation; it is tried again");
                return Ok(false);
            }
        };
        self.rest()?;
        let entries = self.snapshot(&life, &self.far, &BTreeSet::new());
        if !self.write_checkpoint(entries)? {
            return Ok(false);
        }
        tracing::warn!("a peer forgot this endpoint, which goes on with a new incarnation: calls in flight end");
        self.life = life;
        self.renewal = Renewal { wanted: false, not_before: Some(Instant::now() + RENEWAL_PERIOD) };
        let now = self.clock.now();
        let peers: Vec<EndpointId> = self.slots.keys().copied().collect();
        for id in peers {
            let ids = self.ids(id);
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            let mut peer = Peer::new(ids, self.settings.replication.clone(), now);
            for entry in slot.peer.checkpoint() {
                peer.replay(entry);
            }
            peer.replay_done(now);
            (slot.peer, slot.alarm) = (peer, None);
            // Packets of a life that is over only wait at their recipient.
            let _ = self.outlets.outbox.send(OutboxJob::Forget(id));
        }
        Ok(true)
    }
}
