//! What is put into pods: when it is rendered, and how its revision moves.

use crd_types::ConditionType::{Accepted, Programmed};

use super::scene::Scene;

fn revision(scene: &Scene) -> Option<i64> {
    scene.plan().status.injection.map(|injection| injection.revision)
}

#[test]
fn the_revision_rises_with_the_content_and_with_nothing_else() {
    let scene = Scene::sidecar();
    assert_eq!(revision(&scene), Some(1));
    let scene = scene.settle();
    assert_eq!(revision(&scene), Some(1), "what was read back is the same");
    assert_eq!(revision(&scene.clone().later(3600)), Some(1));
    let scene = scene.spec("packet: {maxSize: 8Mi}").settle();
    assert_eq!(revision(&scene), Some(2), "another configuration is another container");
    let mut newer = scene.clone();
    newer.settings.sidecar_image = "registry.example/hoft-sidecar:0.2.0".to_owned();
    assert_eq!(revision(&newer), Some(3));
}

#[test]
fn a_revision_that_a_pod_carries_is_not_given_again() {
    let scene = Scene::sidecar().settle().spec("packet: {maxSize: 8Mi}").settle().pod("a");
    assert_eq!(scene.instances[0].injected_version, Some(2));
    let gone = scene.spec("injection: null").settle();
    assert_eq!(revision(&gone), None);
    let back = gone.spec("{injection: {}, packet: {maxSize: 4Mi}}");
    assert_eq!(revision(&back), Some(3));
    let absurd = back.but(|pod| pod.injected_version = Some(i64::MAX));
    assert_eq!(revision(&absurd), Some(1), "an annotation of somebody else's does not count");
}

#[test]
fn a_spec_that_is_refused_leaves_the_last_good_one() {
    let scene = Scene::sidecar().settle().spec("packet: {redundancy: 5}");
    let plan = scene.plan();
    assert_eq!(plan.says(Accepted), "False/Unsupported");
    assert_eq!(plan.status.injection, scene.peering.status.clone().unwrap().injection);
    assert!(plan.config_map.is_none(), "what is there stays");
}

#[test]
fn a_mechanism_that_is_not_there_is_said() {
    for (mechanism, policy, webhook, problem) in [
        ("Auto", false, true, None),
        ("Auto", true, false, None),
        ("Auto", false, false, Some("Neither")),
        ("AdmissionPolicy", false, true, Some("1.36")),
        ("AdmissionPolicy", true, true, None),
        ("Webhook", true, false, Some("webhook")),
        ("None", true, true, Some("Write Auto")),
    ] {
        let mut scene = Scene::sidecar().spec(&format!("injection: {{mechanism: {mechanism}}}"));
        (scene.settings.policy_installed, scene.settings.webhook_installed) = (policy, webhook);
        let plan = scene.plan();
        let case = format!("{mechanism} {policy} {webhook}: {}", plan.message(Programmed));
        match problem {
            None => assert_eq!(plan.says(Programmed), "True/Programmed", "{case}"),
            Some(said) => {
                assert_eq!(plan.says(Programmed), "False/Pending", "{case}");
                assert!(plan.message(Programmed).contains(said), "{case}");
            }
        }
        assert_eq!(plan.status.injection.is_none(), mechanism == "None", "{case}");
    }
}

#[test]
fn pods_are_counted() {
    let scene = Scene::sidecar().settle().pod("a").pod("b").but(|pod| pod.container = None);
    let scene = scene.pod("c").but(|pod| pod.injected_version = Some(0));
    let scene = scene.pod("d").but(|pod| pod.ended = true).pod("e").but(|pod| pod.terminating = true);
    let counts = scene.plan().status.injected.unwrap();
    assert_eq!((counts.matched, counts.injected, counts.outdated), (3, 2, 1));
    assert_eq!(Scene::gateway().plan().status.injected, None);
}

#[test]
fn an_apps_engine_has_no_readiness_probe_and_no_token() {
    let injection = Scene::sidecar().plan().status.injection.unwrap();
    assert!(!injection.container.contains_key("readinessProbe"));
    assert_eq!(injection.container["restartPolicy"], "Always");
    let mounts = injection.container["volumeMounts"].as_array().unwrap();
    assert!(mounts.iter().any(|mount| mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"));
}

#[test]
fn volumes_fit_the_schema_and_their_mounts() {
    let full = "{volume: {outbox: {claimName: a}, inbox: {claimName: b}, state: {size: 1Gi}},
        inbound: {allow: [{name: x, from: [{peer: south}], destinations: [{host: x, methods: [GET]}],
        target: {url: 'https://x.example', tls: {caSecretRef: {name: x-ca}}}}]}}";
    let injection = Scene::sidecar().spec(full).plan().status.injection.unwrap();
    assert!(injection.volumes.len() <= 16);
    let names: Vec<&str> = injection.volumes.iter().map(|volume| volume["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "hoft-config",
            "hoft-identity",
            "hoft-outbox",
            "hoft-inbox",
            "hoft-state",
            "hoft-authorities",
            "hoft-no-token"
        ]
    );
    for mount in injection.container["volumeMounts"].as_array().unwrap() {
        assert!(names.contains(&mount["name"].as_str().unwrap()), "{mount}");
    }
    assert_eq!(injection.volumes[4]["emptyDir"]["sizeLimit"], "1Gi");
}

#[test]
fn given_resources_replace_the_default_ones() {
    let injection =
        Scene::sidecar().spec("injection: {resources: {limits: {memory: 1Gi}}}").plan().status.injection.unwrap();
    assert_eq!(injection.container["resources"], serde_json::json!({"limits": {"memory": "1Gi"}}));
}
