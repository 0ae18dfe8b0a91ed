//! The gateway's objects, and when it counts as there.

use crd_types::ConditionType::{Accepted, Programmed};
use k8s_openapi::api::core::v1::PodSpec;

use super::scene::{Scene, as_kept, yaml};

fn pod_spec(scene: &Scene) -> PodSpec {
    scene.plan().stateful_set.unwrap().spec.unwrap().template.spec.unwrap()
}

#[test]
fn a_gateway_is_programmed_once_its_engine_is_ready() {
    let scene = Scene::gateway();
    assert_eq!(scene.plan().says(Programmed), "Unknown/Pending");
    let mut scene = scene.settle();
    assert_eq!(scene.plan().says(Programmed), "True/Programmed", "{}", scene.plan().message(Programmed));

    scene.stateful_set.as_mut().unwrap().status.as_mut().unwrap().ready_replicas = None;
    assert_eq!(scene.plan().says(Programmed), "False/GatewayNotReady");
}

#[test]
fn a_ready_engine_of_an_older_generation_does_not_count() {
    let scene = Scene::gateway().settle().spec("packet: {maxSize: 8Mi}");
    let plan = scene.plan();
    assert_eq!(plan.says(Programmed), "False/GatewayNotReady");

    let mut rolling = scene;
    rolling.stateful_set = plan.stateful_set.map(as_kept);
    assert_eq!(rolling.plan().says(Programmed), "True/Programmed");
    rolling.stateful_set.as_mut().unwrap().status.as_mut().unwrap().updated_replicas = Some(0);
    assert_eq!(rolling.plan().says(Programmed), "False/GatewayNotReady");
    let status = rolling.stateful_set.as_mut().unwrap();
    status.status.as_mut().unwrap().updated_replicas = Some(1);
    status.metadata.generation = Some(2);
    assert_eq!(rolling.plan().says(Programmed), "False/GatewayNotReady", "the controller has not seen it yet");
}

#[test]
fn a_gateway_of_no_engine_is_done() {
    let scene = Scene::gateway().spec("gateway: {replicas: 0}").settle();
    assert_eq!(scene.plan().says(Programmed), "True/Programmed");
}

#[test]
fn a_stateful_set_of_somebody_else_is_left_alone() {
    let theirs = "{metadata: {name: north-gateway, ownerReferences: [{apiVersion: v1, kind: X, name: x, uid: other, controller: true}]}}";
    let mut scene = Scene::gateway();
    scene.stateful_set = Some(yaml(theirs));
    let plan = scene.plan();
    assert_eq!(plan.says(Programmed), "False/ApplyFailed");
    assert!(plan.stateful_set.is_none() && plan.service.is_none());

    let without = scene.spec("{gateway: null, injection: {}}");
    assert!(!without.plan().remove_gateway);
}

#[test]
fn a_gateway_that_is_no_longer_asked_for_is_removed() {
    let scene = Scene::gateway().settle().spec("{gateway: null, injection: {}}");
    let plan = scene.plan();
    assert!(plan.remove_gateway && plan.stateful_set.is_none() && plan.service.is_none());
    assert!(!scene.clone().spec("paused: true").plan().remove_gateway);
    assert!(!Scene::sidecar().plan().remove_gateway, "there is none");
}

#[test]
fn logs_are_on_claims_of_the_gateways_own_or_on_a_shared_one() {
    let own = Scene::gateway().spec("volume: {state: {size: 5Gi, storageClassName: '', accessMode: ReadWriteOncePod}}");
    let templates = own.plan().stateful_set.unwrap().spec.unwrap().volume_claim_templates.unwrap();
    let claim = templates[0].spec.clone().unwrap();
    assert_eq!(templates[0].metadata.name.as_deref(), Some("hoft-state"));
    assert_eq!(claim.storage_class_name.as_deref(), Some(""));
    assert_eq!(claim.access_modes.unwrap(), ["ReadWriteOncePod"]);
    assert_eq!(claim.resources.unwrap().requests.unwrap()["storage"].0, "5Gi");
    let pod = pod_spec(&own);
    assert_eq!(pod.security_context.unwrap().fs_group, Some(2000));
    assert!(pod.volumes.unwrap().iter().all(|volume| volume.name != "hoft-state"));

    let shared = Scene::gateway().spec("volume: {state: {claimName: logs}}");
    assert!(shared.plan().stateful_set.unwrap().spec.unwrap().volume_claim_templates.is_none());
    let pod = pod_spec(&shared);
    assert_eq!(pod.security_context.unwrap().fs_group, None);
    let mounts = pod.containers[0].volume_mounts.clone().unwrap();
    let state = mounts.iter().find(|mount| mount.name == "hoft-state").unwrap();
    assert_eq!(state.sub_path_expr.as_deref(), Some("hoft-state/north/gateway-$(HOFT_ENDPOINT)"));
}

#[test]
fn a_grown_volume_keeps_what_cannot_be_changed_and_says_what_to_do() {
    let scene = Scene::gateway().settle().spec("volume: {state: {size: 20Gi}}");
    let plan = scene.plan();
    assert_eq!(plan.says(Accepted), "True/Accepted");
    let set = plan.stateful_set.clone().unwrap().spec.unwrap();
    assert_eq!(
        set.volume_claim_templates.unwrap()[0].spec.clone().unwrap().resources.unwrap().requests.unwrap()["storage"].0,
        "2Gi"
    );
    assert_eq!(plan.says(Programmed), "False/ApplyFailed");
    let message = plan.message(Programmed);
    assert!(message.contains("hoft-state-north-gateway-0") && message.contains("--cascade=orphan"), "{message}");

    let same = Scene::gateway().settle().spec("volume: {state: {size: 2048Mi}}").settle();
    assert_eq!(same.plan().says(Programmed), "True/Programmed", "the same size in other words");
}

#[test]
fn without_a_group_nothing_is_asked_of_the_folders() {
    let pod = pod_spec(&Scene::gateway().spec("volume: {group: null}"));
    let security = pod.security_context.unwrap();
    assert_eq!(
        (security.supplemental_groups, security.fs_group, security.run_as_group),
        (None, Some(65532), Some(65532))
    );
}

#[test]
fn pull_secrets_are_for_the_gateways_pods_only() {
    let mut scene = Scene::gateway().spec("injection: {}");
    scene.settings.image_pull_secrets = vec![yaml("{name: regcred}")];
    assert_eq!(pod_spec(&scene).image_pull_secrets.unwrap()[0].name, "regcred");
    let injection = serde_json::to_string(&scene.plan().status.injection).unwrap();
    assert!(!injection.contains("regcred"));
}
