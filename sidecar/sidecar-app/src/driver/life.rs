//! The life of this endpoint: its incarnation, its secret for nonces, and what both mean to a peer.
//!
//! Invariant: a life begins at a start without one in the log, and at no other time. It is not taken anew while the process
//! runs: packets of the former life may still be half read, and must not count in the next one.

use layer1_replication::Ids;
use wire::{EndpointId, Incarnation};

use super::{Driver, Host};
use crate::entry::Life;

impl Life {
    /// A life that nobody had.
    pub(super) fn random(host: &dyn Host) -> Result<Self, getrandom::Error> {
        let (mut random, mut nonce_secret) = ([0; 8], [0; 32]);
        host.fill_random(&mut random)?;
        host.fill_random(&mut nonce_secret)?;
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
}
