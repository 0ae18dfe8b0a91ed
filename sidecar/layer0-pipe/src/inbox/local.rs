//! One peering as the inbox sees it: which addresses are mine, whose packets are taken, and with which keys.
//!
//! Invariants: keys are always those pinned for the peering that owns the recipient id; a packet whose sender
//! is one of my own addresses in any peering is a reflection.
//! What this file does not do: fetch keys or change them. Specification: wire format §4, §11 checks 3 and 5 to 7.
//! Read first: the tests `re_addressed_*` and `reflected_*` in `inbox/tests`.

use std::fmt;
use std::sync::Arc;

use identity::{Identity, PeerKeys};
use wire::{EndpointId, Header, SideId, Suite};

/// One peering: an endpoint of my side and the remote side it talks to.
#[derive(Clone)]
pub struct Local {
    /// My endpoint: the recipient of ordinary packets.
    pub endpoint: EndpointId,
    /// My side in this peering: the recipient of presence.
    pub side: SideId,
    /// The remote side: an ENDPOINT TLV must derive from it to the sender id.
    pub remote_side: SideId,
    /// The remote side's name, for messages.
    pub remote_name: String,
    /// My secret keys; only suite 3 needs them.
    pub identity: Option<Arc<Identity>>,
    /// The remote side's pinned keys; none are needed for suite 1 alone.
    pub peer_keys: Arc<PeerKeys>,
    /// The suites accepted from the remote side; any other is refused.
    pub suites: Vec<Suite>,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local")
            .field("endpoint", &self.endpoint)
            .field("side", &self.side)
            .field("remote_name", &self.remote_name)
            .field("suites", &self.suites)
            .finish_non_exhaustive()
    }
}

impl Local {
    /// Whether `id` is this peering's own endpoint, or its own side as the address of presence.
    pub(crate) fn owns(&self, id: &EndpointId) -> bool {
        *id == self.endpoint || self.is_presence(id)
    }

    /// Whether `id` is the address of presence.
    pub(crate) fn is_presence(&self, id: &EndpointId) -> bool {
        *id == self.side.as_address()
    }

    /// Whether packets of the suite in this header are taken.
    pub(crate) fn accepts(&self, header: &Header) -> bool {
        header.suite().is_ok_and(|suite| self.suites.contains(&suite))
    }
}

/// The peering that owns a recipient id.
pub(crate) fn owner<'a>(locals: &'a [Local], recipient: &EndpointId) -> Option<&'a Local> {
    locals.iter().find(|local| local.owns(recipient))
}
