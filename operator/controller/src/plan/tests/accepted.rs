//! The condition Accepted: what is refused, and what the refusal says.

use crd_types::ConditionType::Accepted;

use super::scene::Scene;

#[test]
fn the_readmes_peerings_are_accepted() {
    for scene in [Scene::sidecar(), Scene::gateway()] {
        let plan = scene.plan();
        assert_eq!(plan.says(Accepted), "True/Accepted", "{}", plan.message(Accepted));
    }
}

#[test]
fn what_this_version_cannot_do_is_refused_by_name_with_a_remedy() {
    for (patch, reason, named) in [
        ("classRef: {name: fast}", "UnknownClass", "spec.classRef"),
        ("identity: {rotation: {period: 24h, overlap: 1h}}", "Unsupported", "spec.identity.rotation"),
        ("gateway: {replicas: 2}", "Unsupported", "spec.gateway.replicas"),
        ("gateway: {pdb: {maxUnavailable: 1}}", "Unsupported", "spec.gateway.pdb"),
        ("{gateway: {}, injection: {mode: Forward}}", "Unsupported", "spec.injection.mode"),
        ("packet: {minSize: 1Ki}", "Unsupported", "spec.packet.minSize"),
        ("packet: {flushInterval: 1s}", "Unsupported", "spec.packet.flushInterval"),
        ("packet: {compression: None}", "Unsupported", "spec.packet.compression"),
        ("packet: {redundancy: 5}", "Unsupported", "spec.packet.redundancy"),
        ("limits: {bandwidth: 1Mi}", "Unsupported", "spec.limits.bandwidth"),
    ] {
        let plan = Scene::sidecar().spec(patch).plan();
        assert_eq!(plan.says(Accepted), format!("False/{reason}"), "{patch}");
        let message = plan.message(Accepted);
        assert!(message.contains(named), "{message}");
        assert!(["remove", "write"].iter().any(|remedy| message.contains(remedy)), "{message}");
        assert!(plan.config_map.is_none() && plan.status.injection.is_none(), "{patch}: nothing is made of it");
    }
}

#[test]
fn everything_wrong_is_said_at_once() {
    let plan = Scene::sidecar().spec("{packet: {redundancy: 5, minSize: 1Ki}, limits: {bandwidth: 1Mi}}").plan();
    let message = plan.message(Accepted);
    for field in ["spec.packet.redundancy", "spec.packet.minSize", "spec.limits.bandwidth"] {
        assert!(message.contains(field), "{message}");
    }
}

#[test]
fn what_the_engine_would_refuse_is_said_in_the_words_of_the_spec() {
    let rule = |rule: &str| format!("outbound: {{allow: [{{name: a, destinations: [{rule}]}}]}}");
    for (patch, named) in [
        ("packet: {maxSize: 1Ki}".to_owned(), "spec.packet.maxSize 1Ki is too small"),
        ("injection: {port: 9470}".to_owned(), "spec.injection.port"),
        ("heartbeat: {interval: 10ms}".to_owned(), "spec.heartbeat.interval 10ms would flood"),
        ("volume: {mirror: {expectedLatency: 0s}}".to_owned(), "spec.volume.mirror.expectedLatency is zero"),
        ("limits: {maxBodySize: '0'}".to_owned(), "spec.limits.maxBodySize is zero"),
        ("mode: Checksum".to_owned(), "spec.allowUnauthenticated"),
        (rule("{host: 'a..b', methods: [GET]}"), "spec.outbound.allow[a].destinations[].host `a..b`"),
        (rule("{host: a, methods: [GET], paths: ['/%2e']}"), "spec.outbound.allow[a].destinations[].paths[0]"),
    ] {
        let plan = Scene::sidecar().spec(&patch).plan();
        assert_eq!(plan.says(Accepted), "False/InvalidConfig", "{patch}");
        let message = plan.message(Accepted);
        assert!(message.contains(named), "{patch}: {message}");
        assert!(!message.contains("spec.spec."), "{message}");
    }
}

#[test]
fn a_backlog_beyond_its_volume_is_refused_and_without_one_the_defaults_fit() {
    let asked = Scene::gateway().spec("{limits: {maxBacklog: 8Gi}, volume: {state: {size: 2Gi}}}").plan();
    assert_eq!(asked.says(Accepted), "False/InvalidConfig");
    assert!(asked.message(Accepted).contains("spec.limits.maxBacklog 8Gi"), "{}", asked.message(Accepted));
    let fits = Scene::gateway().spec("{limits: {maxBacklog: 8Gi}, volume: {state: {size: 16Gi}}}").plan();
    assert_eq!(fits.says(Accepted), "True/Accepted", "{}", fits.message(Accepted));
    let shared = Scene::sidecar().spec("{limits: {maxBacklog: 8Gi}, volume: {state: {claimName: logs}}}").plan();
    assert_eq!(shared.says(Accepted), "True/Accepted", "{}", shared.message(Accepted));
    let small = Scene::gateway().spec("volume: {state: {size: 64Mi}}").plan();
    assert_eq!(small.says(Accepted), "True/Accepted", "{}", small.message(Accepted));
}

#[test]
fn rules_too_large_for_a_config_map_are_refused() {
    let paths: Vec<String> = (0..16).map(|n| format!("/{}{n}", "p".repeat(250))).collect();
    let destinations = vec![serde_json::json!({"host": "a", "methods": ["GET"], "paths": paths}); 16];
    let rules: Vec<_> =
        (0..64).map(|n| serde_json::json!({"name": format!("r{n}"), "destinations": destinations})).collect();
    let plan = Scene::sidecar().spec(&serde_json::json!({"outbound": {"allow": rules}}).to_string()).plan();
    assert_eq!(plan.says(Accepted), "False/InvalidConfig");
    assert!(plan.message(Accepted).contains("1048576"), "{}", plan.message(Accepted));
}

#[test]
fn of_two_peerings_that_want_one_folder_the_older_has_it() {
    let older = "'2025-01-01T00:00:00Z'";
    let younger = "'2027-01-01T00:00:00Z'";
    let elsewhere = "volume: {outbox: {subPath: other/out}, inbox: {subPath: other/in}}";
    let inside = "volume: {outbox: {subPath: other/out}, inbox: {subPath: out/deeper}}";
    let beside = "volume: {outbox: {subPath: outlet}, inbox: {subPath: inlet}}";
    let other_claim = "volume: {outbox: {claimName: m2}, inbox: {claimName: m2}}";
    for (made, patch, expected) in [
        (older, "{}", "False/FolderConflict"),
        (younger, "{}", "True/Accepted"),
        (older, elsewhere, "True/Accepted"),
        (older, inside, "False/FolderConflict"),
        (older, beside, "True/Accepted"),
        (older, other_claim, "True/Accepted"),
    ] {
        let plan = Scene::sidecar().sibling("west", made, patch).plan();
        assert_eq!(plan.says(Accepted), expected, "{made} {patch}: {}", plan.message(Accepted));
        if expected.starts_with("False") {
            assert!(plan.message(Accepted).contains("TunnelPeering west"), "{}", plan.message(Accepted));
        }
    }
}

#[test]
fn peerings_of_one_age_are_told_apart_by_name_so_that_both_decide_alike() {
    let same = "'2026-01-01T00:00:00Z'";
    assert_eq!(Scene::sidecar().sibling("east", same, "{}").plan().says(Accepted), "False/FolderConflict");
    assert_eq!(Scene::sidecar().sibling("west", same, "{}").plan().says(Accepted), "True/Accepted");
}

#[test]
fn logs_on_a_mirrored_folder_are_refused() {
    let logs = "volume: {outbox: {subPath: hoft-state}, state: {claimName: mirror}}";
    let plan = Scene::sidecar().spec(logs).plan();
    assert_eq!(plan.says(Accepted), "False/InvalidConfig");
    assert!(plan.message(Accepted).contains("spec.volume.outbox and spec.volume.state"), "{}", plan.message(Accepted));
    let apart = Scene::sidecar().spec("volume: {state: {claimName: mirror}}").plan();
    assert_eq!(apart.says(Accepted), "True/Accepted", "{}", apart.message(Accepted));
}

#[test]
fn a_target_needs_its_service_and_a_way_to_it() {
    let missing = Scene::gateway().spec("{}").plan();
    assert_eq!(missing.says(Accepted), "True/Accepted");
    let mut scene = Scene::gateway();
    scene.services.clear();
    assert_eq!(scene.plan().says(Accepted), "False/ServiceMissing");

    let mut scene = Scene::gateway();
    scene.services.get_mut("erp").unwrap().spec = super::scene::yaml("{clusterIP: 10.0.0.1, ports: [{port: 8080}]}");
    let plan = scene.plan();
    assert_eq!(plan.says(Accepted), "False/ServiceMissing");
    assert!(plan.message(Accepted).contains("has no port 80; it has 8080"), "{}", plan.message(Accepted));

    let mut scene = Scene::gateway();
    scene.services.get_mut("erp").unwrap().spec = super::scene::yaml("{clusterIP: None, ports: [{port: 80}]}");
    let plan = scene.plan();
    assert_eq!(plan.says(Accepted), "False/InvalidConfig");
    assert!(plan.message(Accepted).contains("spec.inbound.allow[erp].addresses"), "{}", plan.message(Accepted));
}

#[test]
fn a_name_that_no_service_can_have_is_refused_with_a_gateway_only() {
    for name in ["7even", "a.b"] {
        let mut gateway = Scene::gateway();
        gateway.peering.metadata.name = Some(name.to_owned());
        assert_eq!(gateway.plan().says(Accepted), "False/InvalidConfig", "{name}");
        let mut sidecar = Scene::sidecar();
        sidecar.peering.metadata.name = Some(name.to_owned());
        assert_eq!(sidecar.plan().says(Accepted), "True/Accepted", "{name}");
    }
}

#[test]
fn rules_from_another_side_or_from_nobody_are_refused() {
    let from = |from: &str| {
        format!("inbound: {{allow: [{{name: a, from: {from}, destinations: [{{host: a.example, methods: [GET]}}]}}]}}")
    };
    for bad in ["[{peer: west}]", "[]", "[{peer: north}, {peer: west, caller: x}]"] {
        let plan = Scene::gateway().spec(&from(bad)).plan();
        assert_eq!(plan.says(Accepted), "False/InvalidConfig", "{bad}");
        assert!(plan.message(Accepted).contains("spec.inbound.allow[a].from"), "{}", plan.message(Accepted));
    }
}
