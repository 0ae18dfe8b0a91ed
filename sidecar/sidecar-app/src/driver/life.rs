//! The life of this endpoint: its incarnation, its secret for nonces, and what both mean to a peer.
//!
//! A life begins at a start without one in the log, and when a peer shows that this log went back in time or that it was forgotten
//! there (alarms that ask for it): then a checkpoint with the new life replaces the old one, the driver ends, and the engine starts again
//! within its process. Nothing of the old life is left half read by that, so nothing of it can count in the new one; the replay
//! then ends the old associations, and every call of theirs with them.
//!
//! Invariants: a new life is durable before anything is written in its name; on one peer's word it is taken once a day, because a
//! peer that lies must not cut off the others for good: a second claim halts the pair. Test to read first:
//! `a_log_that_went_back_in_time_begins_a_new_life`.

use std::collections::BTreeSet;

use layer1_replication::Ids;
use wire::{EndpointId, Incarnation};

use super::{Driver, DriverError, Host};
use crate::entry::Life;

/// How long a peer's word counts against its next one.
const WORD_COUNTS_MS: u64 = 24 * 3_600 * 1_000;

impl Life {
    /// A life that nobody had.
    pub(super) fn random(host: &dyn Host) -> Result<Self, getrandom::Error> {
        let (mut random, mut nonce_secret) = ([0; 8], [0; 32]);
        host.fill_random(&mut random)?;
        host.fill_random(&mut nonce_secret)?;
        let incarnation = Incarnation { generation: 0, random };
        Ok(Self { incarnation, nonce_secret, first_pn: 1, words: Vec::new() })
    }

    /// Whether a word given then still counts. One from the future does: a clock that was set back must not open the door.
    fn counts(at_ms: u64, now_ms: u64) -> bool {
        now_ms.saturating_sub(at_ms) < WORD_COUNTS_MS
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

    /// Whether this peer's word is enough for a new life.
    pub(super) fn may_live_anew(&self, peer: EndpointId) -> bool {
        let now_ms = self.host.unix_ms();
        let spent = self.life.words.iter().any(|(of, at_ms)| *of == peer && Life::counts(*at_ms, now_ms));
        if spent {
            tracing::warn!(%peer, "a new incarnation was taken on this peer's word within a day: the pair stays halted");
        }
        !spent
    }

    /// Begins a new life if one is asked for; true when it stands in the log. If it cannot be written for want of space, the pair
    /// stays halted and it is tried again.
    pub(super) fn live_anew(&mut self) -> Result<bool, DriverError> {
        let Some(peer) = self.anew else { return Ok(false) };
        if self.journal.is_put_off() {
            return Ok(false);
        }
        let mut life = match Life::random(self.host.as_ref()) {
            Ok(life) => life,
            Err(error) => {
                tracing::warn!(%error, "the system gives no randomness: no new incarnation is taken for now");
                return Ok(false);
            }
        };
        self.rest()?;
        let now_ms = self.host.unix_ms();
        life.words = self.life.words.iter().copied().filter(|(_, at_ms)| Life::counts(*at_ms, now_ms)).collect();
        life.words.push((peer, now_ms));
        let entries = self.snapshot(&life, &self.far, &BTreeSet::new());
        if !self.write_checkpoint(entries)? {
            return Ok(false);
        }
        tracing::warn!(%peer, incarnation = life.incarnation.random_hex(), "a new incarnation begins: every association ends");
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
