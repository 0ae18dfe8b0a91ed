//! The condition KeysReady, this side's identity, and what becomes of keys that cannot be used.

use crd_types::ConditionType::{Accepted, KeysReady, Programmed, Ready};

use super::scene::{Scene, identity_of, token_of};

fn keyed(keys: &serde_json::Value) -> Scene {
    Scene::sidecar().spec(&serde_json::json!({"remote": {"publicKeys": keys}}).to_string())
}

#[test]
fn keys_are_generated_once() {
    assert!(Scene::sidecar().without_identity().plan().generate_identity);
    let plan = Scene::sidecar().without_identity().plan();
    assert_eq!(plan.says(KeysReady), "Unknown/Pending");
    assert!(plan.config_map.is_none(), "nothing runs without keys");
    assert!(!Scene::sidecar().plan().generate_identity);
    let given = Scene::sidecar().without_identity().spec("identity: {secretRef: {name: mine}}");
    assert!(!given.plan().generate_identity);
    let empty = Scene::sidecar().without_identity().spec("identity: {secretRef: {name: ''}}");
    assert!(empty.plan().generate_identity, "an empty name is no name");
    assert!(!Scene::sidecar().without_identity().spec("paused: true").plan().generate_identity);
}

#[test]
fn without_a_key_of_the_far_side_the_message_carries_ours() {
    let plan = keyed(&serde_json::json!([])).plan();
    assert_eq!(plan.says(Accepted), "True/Accepted", "{}", plan.message(Accepted));
    assert_eq!(plan.says(KeysReady), "False/AwaitingPeerKey");
    assert!(plan.message(KeysReady).contains(&token_of("north")), "{}", plan.message(KeysReady));
    assert_eq!(plan.says(Ready), "False/AwaitingPeerKey");
    assert!(plan.message(Ready).len() < 500, "a summary is short");
    assert_eq!(plan.says(Programmed), "Unknown/Pending");
    assert!(plan.config_map.is_none() && plan.status.injection.is_none() && plan.stateful_set.is_none());
}

#[test]
fn a_key_that_is_none_or_anothers_is_refused_by_its_id() {
    let short = token_of("south").replace('A', "B");
    for (key, said) in [
        ("hoft1abc".to_owned(), "copy the whole token"),
        (short, "copy the whole token"),
        (token_of("west"), "is of side \"west\""),
    ] {
        let plan = keyed(&serde_json::json!([{"id": "k7", "key": key}])).plan();
        assert_eq!(plan.says(Accepted), "False/InvalidKey");
        let message = plan.message(Accepted);
        assert!(message.contains("spec.remote.publicKeys[k7]") && message.contains(said), "{message}");
    }
}

#[test]
fn a_key_past_its_end_leaves_the_configuration() {
    let south = identity_of("south");
    let newer = south.bundle(2, 0, 0).to_token().unwrap();
    let keys = |end: &str| serde_json::json!([{"id": "k1", "key": token_of("south"), "notAfter": end}, {"id": "k2", "key": newer}]);
    let config = |scene: &Scene| scene.plan().config_map.unwrap().data.unwrap()["hoft.yaml"].clone();
    let coming = config(&keyed(&keys("2026-02-03T04:05:07Z")));
    assert!(coming.contains(&token_of("south")) && coming.contains(&newer));
    let past = config(&keyed(&keys("2026-02-03T04:05:06Z")));
    assert!(!past.contains(&token_of("south")) && past.contains(&newer));
}

#[test]
fn when_every_key_is_past_its_end_no_pod_gets_an_engine() {
    let settled = Scene::sidecar().settle();
    assert!(settled.plan().status.injection.is_some());
    let keys = serde_json::json!([{"id": "k1", "key": token_of("south"), "notAfter": "2020-01-01T00:00:00Z"}]);
    let plan = settled.spec(&serde_json::json!({"remote": {"publicKeys": keys}}).to_string()).plan();
    assert_eq!(plan.says(KeysReady), "False/AllPeerKeysExpired");
    assert!(plan.message(KeysReady).contains("k1"), "{}", plan.message(KeysReady));
    assert!(plan.status.injection.is_none());
}

#[test]
fn a_token_past_its_own_end_is_an_invalid_key_unless_another_is_good() {
    let end = jiff::Timestamp::UNIX_EPOCH.as_millisecond() + 1;
    let ended = identity_of("south").bundle(1, 0, end).to_token().unwrap();
    let alone = keyed(&serde_json::json!([{"id": "k1", "key": ended}])).plan();
    assert_eq!(alone.says(Accepted), "False/InvalidKey");
    assert_eq!(alone.says(KeysReady), "False/AllPeerKeysExpired");
    let beside = keyed(&serde_json::json!([{"id": "k1", "key": ended}, {"id": "k2", "key": token_of("south")}])).plan();
    assert_eq!(beside.says(Accepted), "True/Accepted", "{}", beside.message(Accepted));
    assert_eq!(beside.says(KeysReady), "True/KeysReady");
}

#[test]
fn a_token_of_the_future_waits() {
    let begin = Scene::sidecar().now.as_millisecond() + 60_000;
    let coming = identity_of("south").bundle(1, begin, 0).to_token().unwrap();
    let plan = keyed(&serde_json::json!([{"id": "k1", "key": coming}])).plan();
    assert_eq!(plan.says(KeysReady), "False/AwaitingPeerKey");
}

#[test]
fn checksum_needs_no_key() {
    let plan = Scene::sidecar().spec("{mode: Checksum, allowUnauthenticated: true, remote: {publicKeys: []}}").plan();
    assert_eq!(plan.says(KeysReady), "True/KeysReady");
    assert!(plan.config_map.is_some());
}

#[test]
fn a_time_that_is_none_is_refused() {
    let keys = serde_json::json!([{"id": "k1", "key": token_of("south"), "notAfter": "next week"}]);
    let plan = keyed(&keys).plan();
    assert_eq!(plan.says(Accepted), "False/InvalidKey");
    assert!(plan.message(Accepted).contains("notAfter"), "{}", plan.message(Accepted));
}

#[test]
fn with_a_secret_made_by_hand_the_public_key_is_learnt_from_an_engine() {
    let scene = Scene::sidecar().without_identity().spec("identity: {secretRef: {name: mine}}").settle();
    assert_eq!(scene.plan().status.identity, None);
    let secret = &scene.plan().status.injection.unwrap().volumes[1]["secret"]["secretName"];
    assert_eq!(secret, "mine");

    let heard = scene.clone().pod("a").says(|report| report.public_key = Some(token_of("north")));
    let identity = heard.plan().status.identity.unwrap();
    assert_eq!((identity.secret_name.as_str(), identity.public_key), ("mine", token_of("north")));
    assert_eq!(identity.fingerprint, identity_of("north").fingerprint());
    assert_eq!(identity.key_id.len(), 16);

    let lying = scene.clone().pod("a").says(|report| report.public_key = Some(token_of("west")));
    assert_eq!(lying.plan().status.identity, None, "a key of another side is not ours");
    let outdated = heard.but(|pod| pod.injected_version = Some(99));
    assert_eq!(outdated.plan().status.identity, None, "an engine of another revision may have read another Secret");
}

#[test]
fn a_named_secret_replaces_the_generated_one() {
    let scene = Scene::sidecar().spec("identity: {secretRef: {name: mine}}");
    let plan = scene.plan();
    assert_eq!(plan.status.identity, None, "the old key is not this Secret's");
    assert_eq!(plan.status.injection.unwrap().volumes[1]["secret"]["secretName"], "mine");
}
