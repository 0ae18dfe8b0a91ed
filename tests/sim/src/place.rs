//! Who the endpoints of a world are: two sides, their gateways and pods, ids and keys.
//!
//! Invariant: ids derive from names as in the product; keys are fixed, so that two runs of a seed seal to the same ones.

use std::sync::{Arc, LazyLock};

use identity::{Identity, PeerKeys};
use wire::control::EndpointName;
use wire::{EndpointId, SideId, Suite, endpoint_id, side_id};

/// The sides by number.
pub const SIDES: [&str; 2] = ["north", "south"];

/// One endpoint.
#[derive(Clone, Debug)]
pub struct Place {
    /// 0 or 1.
    pub side_number: usize,
    /// Its side's name.
    pub side: &'static str,
    /// The other side's name.
    pub far_side: &'static str,
    /// `gateway` or `pod`.
    pub kind: &'static str,
    /// Ordinal or UID.
    pub name: String,
    /// Its id.
    pub me: EndpointId,
    /// Whom its calls go to.
    pub default_peer: EndpointId,
}

/// What an endpoint signs with and pins.
#[derive(Clone)]
pub struct Keys {
    /// Its side's.
    pub mine: Arc<Identity>,
    /// The other side's.
    pub theirs: Arc<PeerKeys>,
}

static KEYS: LazyLock<Option<[Keys; 2]>> = LazyLock::new(|| {
    let identity = |side: usize| {
        let seed = u8::try_from(side).unwrap_or(0) * 10 + 1;
        Identity::from_seeds(SIDES[side], &[seed; 32], &[seed + 1; 32], &[seed + 2; 32]).ok().map(Arc::new)
    };
    let pin = |identity: &Identity| {
        let token = identity.bundle(1, 0, 0).to_token().ok()?;
        PeerKeys::from_tokens(&[&token], identity.side(), &Suite::ALL, 0).ok().map(Arc::new)
    };
    let (north, south) = (identity(0)?, identity(1)?);
    let (north_pin, south_pin) = (pin(&north)?, pin(&south)?);
    Some([Keys { mine: north, theirs: south_pin }, Keys { mine: south, theirs: north_pin }])
});

impl Place {
    /// A gateway, by its ordinal: it may execute calls of the far side.
    #[must_use]
    pub fn gateway(side_number: usize, ordinal: usize) -> Self {
        Self::new(side_number, "gateway", ordinal.to_string())
    }

    /// An engine beside an application: it makes calls.
    #[must_use]
    pub fn pod(side_number: usize, number: usize) -> Self {
        Self::new(side_number, "pod", format!("pod-{number}"))
    }

    /// May it execute calls of the far side?
    #[must_use]
    pub fn is_gateway(&self) -> bool {
        self.kind == "gateway"
    }

    fn new(side_number: usize, kind: &'static str, name: String) -> Self {
        let (side, far_side) = (SIDES[side_number], SIDES[1 - side_number]);
        Self {
            side_number,
            side,
            far_side,
            kind,
            me: endpoint_id(&side_id("", side, far_side), kind, &name),
            name,
            default_peer: endpoint_id(&side_id("", far_side, side), "gateway", "0"),
        }
    }

    /// Kind and name.
    #[must_use]
    pub fn endpoint_name(&self) -> EndpointName {
        EndpointName { kind: self.kind.to_owned(), name: self.name.clone() }
    }

    /// The id of its side.
    #[must_use]
    pub fn my_side(&self) -> SideId {
        side_id("", self.side, self.far_side)
    }

    /// The id of the other side.
    #[must_use]
    pub fn remote_side(&self) -> SideId {
        side_id("", self.far_side, self.side)
    }

    /// Its keys.
    ///
    /// # Panics
    /// If the fixed seeds made none, which a test would show at once.
    #[must_use]
    #[allow(clippy::expect_used, reason = "fixed seeds make keys")]
    pub fn keys(&self) -> Keys {
        KEYS.as_ref().expect("fixed seeds make keys")[self.side_number].clone()
    }
}
