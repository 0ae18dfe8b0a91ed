//! The engines' configuration: what of the spec goes where.

use sidecar_config::{Config, Mode, Profile};
use std::path::Path;
use std::time::Duration;

use super::scene::Scene;

fn config(scene: &Scene) -> Config {
    let plan = scene.plan();
    let accepted = plan.message(crd_types::ConditionType::Accepted).to_owned();
    let text = plan.config_map.unwrap_or_else(|| panic!("{accepted}")).data.unwrap()["hoft.yaml"].clone();
    sidecar_config::parse(&text, "hoft.yaml", Path::new("/etc/hoft")).unwrap()
}

#[test]
fn the_sides_the_folders_and_the_ports_are_those_of_the_pod() {
    let config = config(&Scene::sidecar());
    assert_eq!((config.local.name.as_str(), config.remote.name.as_str()), ("north", "south"));
    assert_eq!(config.folders.outbox, Path::new("/var/lib/hoft/out"));
    assert_eq!(config.folders.inbox, Path::new("/var/lib/hoft/in"));
    assert_eq!(config.state.folder, Path::new("/var/lib/hoft/state"));
    assert_eq!(config.identity.secret_file.as_deref(), Some(Path::new("/etc/hoft-identity/secret")));
    assert!(config.identity.allow_readable);
    assert_eq!(config.listen.proxy.to_string(), "127.0.0.1:8470");
    assert_eq!(config.listen.admin.to_string(), "0.0.0.0:9470");
}

#[test]
fn every_bound_of_the_spec_reaches_the_engine() {
    let config = config(&Scene::sidecar().spec(
        "{mode: Signed, acceptModes: [Signed, Sealed], injection: {port: 9000},
          volume: {mirror: {maxFileSize: 64Mi, propagatesDeletes: true, expectedLatency: 30s}}, packet: {maxSize: 8Mi},
          heartbeat: {interval: 20s, lossTimeout: 3m},
          limits: {maxInFlight: 7, maxBacklog: 3Gi, requestTTL: 1h30m, maxBodySize: 5M}}",
    ));
    assert_eq!((config.modes.send, config.modes.accept), (Mode::Signed, vec![Mode::Signed, Mode::Sealed]));
    assert_eq!(config.listen.proxy.port(), 9000);
    assert_eq!(config.mirror.profile, Profile::Sync);
    assert_eq!(config.mirror.expected_latency, Duration::from_secs(30));
    assert_eq!(config.mirror.max_file_size.as_u64(), 64 << 20);
    assert_eq!(config.mirror.packet_size.as_u64(), 8 << 20);
    assert_eq!(config.heartbeat.interval, Some(Duration::from_secs(20)));
    assert_eq!(config.heartbeat.loss_timeout, Some(Duration::from_secs(180)));
    assert_eq!(config.limits.max_in_flight, 7);
    assert_eq!(config.state.send_log.as_u64(), 3 << 30);
    assert_eq!(config.state.result_ttl, Duration::from_secs(5400));
    assert_eq!(config.limits.body_max.as_u64(), 5_000_000);
}

#[test]
fn a_rules_quota_reaches_the_engine_and_one_beyond_its_bounds_is_said() {
    let rule = |quota: &str| {
        format!("outbound: {{allow: [{{name: a, quota: {quota}, destinations: [{{host: a, methods: [GET]}}]}}]}}")
    };
    let patch = rule("{requestsPerMinute: 600, bytesPerDay: 5Gi, maxInFlight: 20}");
    let quota = config(&Scene::sidecar().spec(&patch)).outbound.allow[0].quota;
    assert_eq!((quota.requests_per_minute, quota.max_in_flight), (Some(600), Some(20)));
    assert_eq!((quota.bytes_per_day.map(|size| size.as_u64()), quota.bytes_per_second), (Some(5 << 30), None));
    let plan = Scene::sidecar().spec(&rule("{maxInFlight: 300}")).plan();
    let message = plan.message(crd_types::ConditionType::Accepted);
    assert!(message.contains("spec.outbound.allow[a].quota.maxInFlight") && message.contains("256"), "{message}");
}

#[test]
fn quotas_fit_the_volume_of_the_log() {
    let default = config(&Scene::gateway()).state;
    assert_eq!(
        (default.send_log.as_u64(), default.receive_pool.as_u64(), default.results.as_u64()),
        (1 << 30, 256 << 20, 256 << 20)
    );
    let small = config(&Scene::gateway().spec("volume: {state: {size: 512Mi}}")).state;
    assert_eq!(
        (small.send_log.as_u64(), small.receive_pool.as_u64(), small.results.as_u64()),
        (256 << 20, 64 << 20, 64 << 20)
    );
}

#[test]
fn packets_of_a_mirror_of_days_are_not_deleted_on_their_way() {
    let config = config(
        &Scene::sidecar()
            .spec("{volume: {mirror: {expectedLatency: 72h}}, heartbeat: {interval: 24h, lossTimeout: 99h}}"),
    );
    assert_eq!(config.mirror.packet_lifetime, Duration::from_secs(4 * 72 * 3600));
}

#[test]
fn an_outbound_rule_is_a_route_to_its_first_destination() {
    for (destination, target) in [
        ("{host: erp.example, methods: [GET]}", Some("https://erp.example/")),
        ("{host: erp.example, port: 8443, methods: [GET], paths: [/v1/]}", Some("https://erp.example:8443/")),
        ("{host: erp.example, schemes: [http, https], port: 80, methods: [GET]}", Some("http://erp.example/")),
        ("{host: '*.example', methods: [GET]}", None),
        ("{host: 'fd00::7', schemes: [http], methods: [GET]}", Some("http://[fd00::7]/")),
        ("{host: '[fd00::7]', schemes: [http], port: 81, methods: [GET]}", Some("http://[fd00::7]:81/")),
    ] {
        let patch = format!(
            "outbound: {{allow: [{{name: a, timeout: 5s, callers: [{{serviceAccount: billing}}], destinations: [{destination}, {{host: other.example, methods: [PUT]}}]}}]}}"
        );
        let config = config(&Scene::sidecar().spec(&patch));
        let rule = &config.outbound.allow[0];
        assert_eq!(rule.target.as_ref().map(ToString::to_string).as_deref(), target, "{destination}");
        assert_eq!(rule.callers, ["billing"]);
        assert_eq!(rule.timeout, Duration::from_secs(5));
        assert_eq!(rule.destinations.len(), 2);
    }
}

#[test]
fn both_schemes_without_a_port_mean_the_port_of_each() {
    let rule =
        "outbound: {allow: [{name: a, destinations: [{host: a.example, schemes: [http, https], methods: [GET]}]}]}";
    let config = config(&Scene::sidecar().spec(rule));
    let rule = &config.outbound.allow[0];
    let ports: Vec<(&str, u16)> = rule.destinations.iter().map(|each| (each.schemes[0].as_str(), each.port)).collect();
    assert_eq!(ports, [("http", 80), ("https", 443)]);
    assert_eq!(rule.target.as_ref().unwrap().as_str(), "http://a.example/");
}

#[test]
fn an_inbound_rule_leads_to_its_target() {
    let rule = |rest: &str| {
        let patch = format!(
            "inbound: {{allow: [{{name: a, destinations: [{{host: a.example, schemes: [http, https], port: 443, methods: [GET]}}], {rest}}}]}}"
        );
        config(&Scene::gateway().spec(&patch)).inbound.allow.remove(0)
    };
    let anyone = rule("from: [{peer: north, caller: orders}, {peer: north}], timeout: 7s");
    assert!(anyone.callers.is_empty() && anyone.target.is_none());
    assert_eq!(anyone.timeout, Duration::from_secs(7));

    let service = rule(
        "from: [{peer: north, caller: orders}], target: {serviceRef: {name: erp, port: 80}}, addresses: [10.0.0.0/8]",
    );
    assert_eq!(service.callers, ["orders"]);
    assert_eq!(service.target.as_ref().unwrap().as_str(), "http://erp.back.svc/");
    let addresses: Vec<String> = service.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.0/8", "10.96.0.7/32", "fd00::7/128"]);

    let tls =
        rule("from: [{peer: north}], target: {serviceRef: {name: erp, port: 80}, tls: {caSecretRef: {name: erp-ca}}}");
    assert_eq!(tls.target.as_ref().unwrap().as_str(), "https://erp.back.svc:80/");
    assert_eq!(tls.ca_file.as_deref(), Some(Path::new("/etc/hoft-authorities/a/ca.crt")));

    let url = rule("from: [{peer: north}], target: {url: 'https://real.example:8443/'}");
    assert_eq!(url.target.as_ref().unwrap().as_str(), "https://real.example:8443/");
}

#[test]
fn tls_to_an_http_url_is_refused() {
    let plan = Scene::gateway()
        .spec("inbound: {allow: [{name: a, from: [{peer: north}], destinations: [{host: a, methods: [GET]}], target: {url: 'http://b.example', tls: {}}}]}")
        .plan();
    assert_eq!(plan.says(crd_types::ConditionType::Accepted), "False/InvalidConfig");
}

#[test]
fn the_log_settings_are_the_operators() {
    for (text, level, json) in
        [("", "info", false), ("debug", "debug", false), ("json,warn", "warn", true), ("loud", "info", false)]
    {
        let mut scene = Scene::sidecar();
        scene.settings.log_level = text.to_owned();
        let log = config(&scene).log;
        assert_eq!((log.level.as_str(), log.format == sidecar_config::LogFormat::Json), (level, json), "{text}");
    }
}
