//! The condition Programmed: what is made, what fails, what holds.

use crd_types::ConditionType::{Connected, PeerAlive, Programmed, Ready};

use super::scene::Scene;

#[test]
fn a_sidecar_peering_is_ready_before_any_pod_runs() {
    let plan = Scene::sidecar().plan();
    assert_eq!(plan.says(Programmed), "True/Programmed");
    assert_eq!(plan.says(Ready), "True/Ready");
    assert_eq!(plan.says(PeerAlive), "Unknown/NoInstances");
    assert!(plan.message(PeerAlive).contains("hoft.dev/inject=south"), "{}", plan.message(PeerAlive));
    assert_eq!(plan.says(Connected), "Unknown/NoInstances");
}

#[test]
fn what_the_api_server_refused_is_quoted() {
    let mut scene = Scene::sidecar();
    scene.apply_failure = Some("StatefulSet back/north-gateway cannot be applied: forbidden".to_owned());
    let plan = scene.plan();
    assert_eq!(plan.says(Programmed), "False/ApplyFailed");
    assert!(plan.message(Programmed).contains("forbidden"));
}

#[test]
fn an_engine_that_does_not_start_is_quoted() {
    let failing = |scene: Scene| {
        scene.container(|container| {
            container.started = false;
            container.ready = false;
            container.reason = Some("CrashLoopBackOff".to_owned());
            container.message = Some(format!("folders.outbox: not writable {}", "x".repeat(5_000)));
        })
    };
    let gateway = failing(Scene::gateway().settle().pod("north-gateway-0"));
    let plan = gateway.plan();
    assert_eq!(plan.says(Programmed), "False/EngineFailing");
    let message = plan.message(Programmed);
    assert!(
        message.contains("pod north-gateway-0") && message.contains("CrashLoopBackOff: folders.outbox"),
        "{message}"
    );
    assert!(message.len() < 800, "the engine's words are cut");

    let one_of_two = failing(Scene::sidecar().settle().pod("a").pod("b"));
    assert_eq!(one_of_two.plan().says(Programmed), "True/Programmed", "one app's pod may have troubles of its own");
    let both = failing(failing(Scene::sidecar().settle().pod("a")).pod("b"));
    assert_eq!(both.plan().says(Programmed), "False/EngineFailing");
    assert!(both.plan().message(PeerAlive).contains("CrashLoopBackOff"), "{}", both.plan().message(PeerAlive));
}

#[test]
fn a_container_that_is_being_made_is_no_failure() {
    let scene = Scene::sidecar().settle().pod("a").container(|container| {
        container.started = false;
        container.ready = false;
        container.reason = Some("PodInitializing".to_owned());
    });
    assert_eq!(scene.plan().says(Programmed), "True/Programmed");
}

#[test]
fn a_missing_mechanism_is_not_hidden_by_a_gateway_that_is_being_made() {
    let mut scene = Scene::gateway().spec("injection: {}");
    scene.settings.webhook_installed = false;
    assert_eq!(scene.plan().says(Programmed), "False/Pending");
}

#[test]
fn a_paused_peering_changes_nothing() {
    let settled = Scene::gateway().spec("injection: {}").settle();
    let scene = settled.clone().spec("{paused: true, packet: {maxSize: 8Mi}}");
    let plan = scene.plan();
    assert_eq!(plan.says(Programmed), "Unknown/Paused");
    assert_eq!(plan.says(Ready), "Unknown/Paused");
    assert!(plan.config_map.is_none() && plan.stateful_set.is_none() && plan.service.is_none() && !plan.remove_gateway);
    assert_eq!(plan.status.injection, settled.peering.status.unwrap().injection);
}

#[test]
fn a_peering_that_is_being_deleted_makes_nothing() {
    let mut scene = Scene::gateway().without_identity();
    scene.peering.metadata.deletion_timestamp = super::scene::yaml("'2026-02-03T00:00:00Z'");
    let plan = scene.plan();
    assert!(!plan.generate_identity && plan.config_map.is_none() && plan.stateful_set.is_none());
    assert_eq!(plan.says(Programmed), "Unknown/Pending");
}
