//! Who reads the vectors, from `reader.json`: south, gateway 0, in a peering with north.
//!
//! Both decoders take the same file. The seeds are those of the published check values and open nothing else.
//! Test to read first: `every_vector_is_made_again_and_says_what_it_said`.

use std::sync::Arc;

use identity::{Identity, PeerKeys};
use layer0_pipe::Local;
use serde_json::{Value, json};
use wire::digest::hex;
use wire::ids::{EndpointId, SideId, endpoint_id, side_id};
use wire::suite::Suite;

/// Clear bytes of a frame that this reader takes: the least that LIMITS may say.
pub const MAX_FRAME: u64 = 1 << 21;
/// The random part of the names in the vectors.
pub const NAME_TAG: u32 = 0x0123_abcd;

/// The side that writes.
#[must_use]
pub fn north() -> Identity {
    Identity::from_seeds("north", &[1; 32], &[2; 32], &[3; 32]).unwrap()
}

/// The side that reads.
#[must_use]
pub fn south() -> Identity {
    Identity::from_seeds("south", &[4; 32], &[5; 32], &[6; 32]).unwrap()
}

/// Keys that north had once and that south revoked.
#[must_use]
pub fn north_revoked() -> Identity {
    Identity::from_seeds("north", &[0x11; 32], &[0x12; 32], &[0x13; 32]).unwrap()
}

/// A key that nobody pins.
#[must_use]
pub fn stranger() -> Identity {
    Identity::from_seeds("north", &[0x21; 32], &[0x22; 32], &[0x23; 32]).unwrap()
}

/// The id of north's side.
#[must_use]
pub fn north_side() -> SideId {
    side_id("", "north", "south")
}

/// The id of south's side.
#[must_use]
pub fn south_side() -> SideId {
    side_id("", "south", "north")
}

/// The endpoint that writes.
#[must_use]
pub fn north_gateway() -> EndpointId {
    endpoint_id(&north_side(), "gateway", "0")
}

/// The endpoint that reads.
#[must_use]
pub fn south_gateway() -> EndpointId {
    endpoint_id(&south_side(), "gateway", "0")
}

fn tokens() -> [String; 2] {
    [north(), north_revoked()].map(|identity| identity.bundle(1, 0, 0).to_token().unwrap())
}

/// What is pinned of south, for whoever seals to it.
#[must_use]
pub fn south_pinned() -> PeerKeys {
    let token = south().bundle(1, 0, 0).to_token().unwrap();
    PeerKeys::from_tokens(&[&token], "south", &Suite::ALL, 0).unwrap()
}

/// The reader's peering as the product has it.
#[must_use]
pub fn local() -> Local {
    let [current, revoked] = tokens();
    let keys = PeerKeys::from_tokens(&[&current, &revoked], "north", &Suite::ALL, 0).unwrap();
    Local {
        endpoint: south_gateway(),
        side: south_side(),
        remote_side: north_side(),
        remote_name: "north".to_owned(),
        identity: Some(Arc::new(south())),
        peer_keys: Arc::new(keys.with_revoked(&[signing_id(&north_revoked())])),
        suites: Suite::ALL.to_vec(),
    }
}

fn signing_id(identity: &Identity) -> [u8; 8] {
    identity.bundle(1, 0, 0).signing_id().unwrap()
}

/// `reader.json`: the same peering for the second decoder.
#[must_use]
pub fn settings() -> Value {
    json!({
        "local": "south",
        "remote": "north",
        "realm": "",
        "kind": "gateway",
        "name": "0",
        "suites": [1, 2, 3],
        "max_frame": MAX_FRAME,
        "name_tag": format!("{NAME_TAG:08x}"),
        "pinned": tokens(),
        "revoked": [hex(&signing_id(&north_revoked()))],
        "kem_seeds": [hex(&[6; 32])],
    })
}
