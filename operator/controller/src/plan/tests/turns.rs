//! Conditions over time: transition times, and the Events that turns make.

use crd_types::{ConditionType, TunnelPeering};

use super::scene::Scene;

fn since(peering: &TunnelPeering, kind: ConditionType) -> String {
    let conditions = &peering.status.as_ref().unwrap().conditions;
    conditions.iter().find(|condition| condition.type_ == kind.as_str()).unwrap().last_transition_time.0.to_string()
}

fn reasons(scene: &Scene) -> Vec<&'static str> {
    scene.plan().events.iter().map(|event| event.reason).collect()
}

#[test]
fn all_eight_conditions_are_there_at_once_in_order() {
    for scene in [Scene::sidecar(), Scene::gateway().without_identity(), Scene::sidecar().spec("paused: true")] {
        let conditions = scene.plan().status.conditions;
        let kinds: Vec<&str> = conditions.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(kinds, ConditionType::ALL.map(ConditionType::as_str));
        assert!(
            conditions
                .iter()
                .all(|condition| condition.observed_generation == Some(3) && !condition.message.is_empty())
        );
    }
}

#[test]
fn a_transition_time_moves_with_the_status_only() {
    let scene = Scene::sidecar().settle().pod("a").sees("silent", "inbound_silent").settle();
    let began = since(&scene.peering, ConditionType::PeerAlive);
    assert_eq!(began, "2026-02-03T04:05:06Z", "in whole seconds");
    let other_reason = scene.later(60).sees("silent", "halted").settle();
    assert_eq!(since(&other_reason.peering, ConditionType::PeerAlive), began);
    let heard = other_reason.later(60).sees("alive", "healthy").settle();
    assert_eq!(since(&heard.peering, ConditionType::PeerAlive), "2026-02-03T04:07:06Z");
    assert_eq!(since(&heard.peering, ConditionType::Accepted), began);
}

#[test]
fn a_loss_and_a_return_are_told_once_each() {
    let scene = Scene::sidecar().settle().pod("a").sees("alive", "healthy");
    assert!(reasons(&scene).is_empty(), "the first sight is no return");
    let lost = scene.settle().later(30).sees("silent", "inbound_silent");
    let events = lost.plan().events;
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].reason, events[0].warning), ("PeerLost", true));
    assert!(events[0].note.contains("incoming mirror"));
    let lost = lost.settle().later(30);
    assert!(reasons(&lost).is_empty(), "told once");
    let back = lost.sees("alive", "healthy");
    assert_eq!(reasons(&back), ["PeerRecovered"]);
    assert!(reasons(&back.settle()).is_empty());
}

#[test]
fn an_engine_of_ours_that_is_gone_is_no_loss_of_the_far_side() {
    let mut scene = Scene::sidecar().settle().pod("a").sees("alive", "healthy").settle();
    scene.instances.clear();
    assert!(reasons(&scene).is_empty());
}

#[test]
fn an_operator_that_has_just_started_overturns_nothing() {
    let scene = Scene::sidecar().settle().pod("a").sees("alive", "healthy").pod("b").sees("alive", "healthy").settle();
    let mut fresh = scene.clone().later(5);
    for instance in &mut fresh.instances {
        instance.report = None;
    }
    let plan = fresh.plan();
    assert_eq!(serde_json::to_value(&plan.status).unwrap(), serde_json::to_value(&scene.peering.status).unwrap());
    assert!(plan.events.is_empty() && plan.pods.iter().all(|pod| !pod.changed));

    let refused = |scene: Scene| scene.but(|pod| pod.unreachable = Some("connection refused".to_owned()));
    let mut asked = refused(fresh);
    asked.instances[0].unreachable = Some("connection refused".to_owned());
    assert_eq!(asked.plan().says(ConditionType::PeerAlive), "Unknown/NoInstances");
    assert_eq!(asked.plan().status.instances_ready.as_deref(), Some("0/2"));

    let failing =
        scene.says(|report| report.outbox_failure = Some("no space".to_owned())).settle().but(|pod| pod.report = None);
    assert_eq!(failing.plan().says(ConditionType::VolumeReady), "False/OutboxFailing");
}

#[test]
fn a_key_mismatch_is_told_when_it_begins() {
    let scene = Scene::sidecar().settle().pod("a").sees("never_seen", "key_mismatch");
    assert_eq!(reasons(&scene), ["KeyMismatch"]);
    assert!(reasons(&scene.clone().settle()).is_empty());
    let after_silence =
        Scene::sidecar().settle().pod("a").sees("silent", "inbound_silent").settle().sees("silent", "key_mismatch");
    assert_eq!(reasons(&after_silence), ["KeyMismatch"]);
}

#[test]
fn a_stalled_volume_is_told_once_even_where_two_conditions_show_it() {
    let scene = Scene::sidecar().settle().pod("a").sees("alive", "healthy").settle();
    let out = scene.clone().sees("alive", "outbound_silent");
    assert_eq!(reasons(&out), ["VolumeStalled"]);
    assert!(reasons(&out.settle()).is_empty());
    let failing = scene.says(|report| report.outbox_failure = Some("no space".to_owned()));
    let events = failing.plan().events;
    assert_eq!(events.iter().filter(|event| event.reason == "VolumeStalled").count(), 1);
    assert!(!failing.settle().plan().events.iter().any(|event| event.reason == "VolumeStalled"));
}

#[test]
fn notes_fit_an_event() {
    let scene = Scene::sidecar().settle().pod("a").sees("alive", "healthy").settle();
    let failing = scene.says(|report| report.outbox_failure = Some("ü".repeat(5_000)));
    let events = failing.plan().events;
    assert!(!events.is_empty());
    assert!(events.iter().all(|event| event.note.len() <= 1024));
}
