//! Whatever the API server accepts is planned for: no panic, the same bytes each time, and no object without an accepted spec.

use std::path::Path;

use crd_types::ConditionType::{Accepted, KeysReady, Programmed};
use crd_types::TunnelPeering;
use serde_json::{Value, json};

use crate::plan::{Plan, Role};

use super::scene::{Scene, peer, token_of};

const SAMPLES: u64 = 600;

fn scene(seed: u64) -> Scene {
    let token = token_of("south");
    let mut value = crd_types::testing::sample::object(seed, &[&token]);
    let metadata = json!({"namespace": "shop", "uid": format!("uid-{seed}"), "generation": seed, "creationTimestamp": "2026-01-01T00:00:00Z"});
    json_patch::merge(&mut value["metadata"], &metadata);
    let peering: TunnelPeering = serde_json::from_value(value).unwrap();
    let mut scene = if seed.is_multiple_of(3) { Scene::gateway() } else { Scene::sidecar() };
    let status = scene.peering.status.clone();
    scene.peering = peering;
    scene.peering.status = if seed.is_multiple_of(7) { None } else { status };
    for claim in [&scene.peering.spec.volume.outbox.claim_name, &scene.peering.spec.volume.inbox.claim_name] {
        let bound = scene.claims["mirror"].clone();
        scene.claims.insert(claim.clone(), bound);
    }
    let words = ["alive", "silent", "never_seen", "", "🦀"];
    let diagnoses = ["healthy", "halted", "key_mismatch", "outbound_silent", "inbound_silent", "content_dropped", "?"];
    for n in 0..seed % 5 {
        let pick = |list: &[&str]| list[usize::try_from((seed / 5 + n) % list.len() as u64).unwrap()].to_owned();
        let mut far = peer(&pick(&words), &pick(&diagnoses));
        far.last_heard_ms_ago = [None, Some(0), Some(u64::MAX), Some(90_000)][usize::try_from((seed + n) % 4).unwrap()];
        far.oldest_unacknowledged_ms = [None, Some(u64::MAX)][usize::try_from(seed % 2).unwrap()];
        scene = scene.pod(&format!("pod-{n}")).says(|report| {
            report.peers = vec![far];
            report.started = n != 1;
            report.public_key = Some(pick(&["", "hoft1x", &token_of("north")]));
            report.outbox_failure = seed.is_multiple_of(11).then(|| "full".to_owned());
        });
        let role = if n == 0 { Role::Gateway } else { Role::Sidecar };
        scene = scene.but(|pod| {
            pod.role = role;
            pod.terminating = n == 3;
            pod.unreachable = (seed % 3 == 1).then(|| "timed out".to_owned());
        });
    }
    scene.later(i64::try_from(seed % 60).unwrap())
}

/// Everything of a plan, in bytes.
fn bytes(plan: &Plan) -> String {
    let objects: Value = json!([plan.config_map, plan.service, plan.stateful_set, plan.status]);
    format!("{objects} {:?} {:?} {} {}", plan.pods, plan.events, plan.generate_identity, plan.remove_gateway)
}

#[test]
fn whatever_the_api_server_accepts_is_planned_for() {
    let (mut accepted, mut made) = (0, 0);
    for seed in 0..SAMPLES {
        let scene = scene(seed);
        let plan = scene.plan();
        if seed.is_multiple_of(4) {
            assert_eq!(bytes(&plan), bytes(&scene.plan()), "seed {seed}: the same world, the same plan");
        }
        let good = plan.says(Accepted).starts_with("True");
        accepted += u32::from(good);
        if let Some(config) = &plan.config_map {
            made += 1;
            assert!(good && plan.says(KeysReady).starts_with("True"), "seed {seed}");
            assert!(!scene.peering.spec.paused, "seed {seed}");
            let text = &config.data.as_ref().unwrap()["hoft.yaml"];
            let read = sidecar_config::parse(text, "hoft.yaml", Path::new("/etc/hoft"));
            // In mode Checksum nothing is missing without a key.
            assert!(read.is_ok(), "seed {seed}: {}", read.unwrap_err());
            assert_eq!(plan.stateful_set.is_some(), scene.peering.spec.gateway.is_some(), "seed {seed}");
        } else {
            assert!(plan.stateful_set.is_none() && plan.service.is_none(), "seed {seed}");
        }
        let message = plan.message(Accepted);
        assert!(good || message.contains("spec.") || message.contains("metadata."), "seed {seed}: {message}");
        assert!(plan.status.conditions.iter().all(|condition| condition.message.len() < 32_768));
        assert!(!plan.message(Programmed).is_empty());
    }
    assert!(accepted > 100, "{accepted} of {SAMPLES} are accepted: too few to tell");
    assert!(made > 100, "{made} of {SAMPLES} are made: too few to tell");
}

#[test]
fn what_was_written_is_settled_after_one_step() {
    for seed in 0..SAMPLES / 4 {
        let scene = scene(seed).settle().settle();
        let again = scene.plan();
        assert_eq!(
            serde_json::to_value(&again.status).unwrap(),
            serde_json::to_value(&scene.peering.status).unwrap(),
            "seed {seed}: the same world must not be written again"
        );
        assert!(again.events.is_empty(), "seed {seed}: {:?}", again.events);
        assert!(again.pods.iter().all(|pod| !pod.changed), "seed {seed}");
    }
}
