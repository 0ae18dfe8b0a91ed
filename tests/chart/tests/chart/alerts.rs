//! What is scraped, and the alerts on it: `promtool` checks them and plays the stories of `rules/alerts.yaml`.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

use crate::programs::{program, repository, run, text_of};
use crate::render::{Helm, POD_MONITOR, PROMETHEUS_RULE, word};

const RULES: &str = "charts/hoft/rules/hoft.yaml";

fn rules() -> Vec<Value> {
    let file: Value = serde_yaml::from_str(&text_of(RULES)).unwrap();
    file["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

#[test]
fn promtool_finds_nothing_wrong_with_the_rules() {
    let Some(promtool) = program("promtool") else { return };
    let said = run(Command::new(promtool).args(["check", "rules", RULES]).current_dir(repository())).unwrap();
    assert!(said.contains("4 rules found"), "{said}");
}

#[test]
fn alerts_fire_when_they_should_and_only_then() {
    let Some(promtool) = program("promtool") else { return };
    let stories = "tests/chart/rules/alerts.yaml";
    run(Command::new(promtool).args(["test", "rules", stories]).current_dir(repository())).unwrap();
    // Every alert has a story in which it fires, and one in which it does not.
    let stories: Value = serde_yaml::from_str(&text_of(stories)).unwrap();
    let checks: Vec<&Value> = stories["tests"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|story| story["alert_rule_test"].as_array().unwrap())
        .collect();
    for rule in rules() {
        let of_rule = checks.iter().filter(|check| check["alertname"] == rule["alert"]);
        let firing: BTreeSet<bool> = of_rule.map(|check| !check["exp_alerts"].as_array().unwrap().is_empty()).collect();
        assert_eq!(firing.len(), 2, "{}", rule["alert"]);
    }
}

#[test]
fn alerts_name_metrics_that_the_engine_has() {
    let known = text_of("docs/metrics.md");
    let text = text_of(RULES);
    let names: BTreeSet<&str> = text
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("hoft_"))
        .collect();
    assert!(names.contains("hoft_peer_alive"), "{names:?}");
    for name in names {
        assert!(known.contains(&format!("| `{name}` |")), "docs/metrics.md has no {name}");
    }
}

#[test]
fn every_alert_says_what_to_check_first() {
    for rule in rules() {
        let annotations = &rule["annotations"];
        assert!(word(&annotations["summary"]).contains("$labels.peering"), "{rule}");
        assert!(word(&annotations["runbook"]).starts_with("1. "), "{rule}");
        assert!(["critical", "warning"].contains(&word(&rule["labels"]["severity"])), "{rule}");
    }
}

#[test]
fn monitoring_is_installed_where_its_kinds_are() {
    let Some(helm) = Helm::find() else { return };
    let count = |sets: &[&str], kinds: &[&str]| {
        let names = helm.objects(sets, kinds).names();
        let of = |kind: &str| names.iter().filter(|name| name.starts_with(kind)).count();
        (of("PodMonitor "), of("PrometheusRule "))
    };
    assert_eq!(count(&[], &[]), (0, 0), "an absent kind would fail the installation");
    assert_eq!(count(&[], &[POD_MONITOR]), (3, 0));
    assert_eq!(count(&[], &[POD_MONITOR, PROMETHEUS_RULE]), (3, 1));
    assert_eq!(count(&["monitoring.podMonitor=true", "monitoring.prometheusRule=true"], &[]), (3, 1));
    assert_eq!(
        count(&["monitoring.podMonitor=false", "monitoring.prometheusRule=false"], &[POD_MONITOR, PROMETHEUS_RULE]),
        (0, 0)
    );
}

#[test]
fn the_prometheus_rule_is_the_plain_file() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.objects(&["monitoring.prometheusRule=true", "monitoring.labels.release=p"], &[]);
    let rule = objects.one("PrometheusRule", "hoft");
    assert_eq!(rule["spec"], serde_yaml::from_str::<Value>(&text_of(RULES)).unwrap());
    assert_eq!(rule["metadata"]["labels"]["release"], "p");
}

#[test]
fn engines_are_scraped_with_the_labels_that_alerts_go_by() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.objects(&["monitoring.podMonitor=true"], &[]);
    for (name, key, source) in [
        ("hoft-gateway", "hoft.dev/role", "__meta_kubernetes_pod_label_hoft_dev_peering"),
        ("hoft-sidecar", "hoft.dev/inject", "__meta_kubernetes_pod_label_hoft_dev_inject"),
    ] {
        let spec = &objects.one("PodMonitor", name)["spec"];
        assert_eq!(spec["namespaceSelector"], json!({"any": true}), "{name}");
        assert_eq!(spec["selector"]["matchExpressions"][0]["key"], key, "{name}");
        let endpoint = &spec["podMetricsEndpoints"][0];
        assert_eq!(endpoint["port"], "hoft-admin", "{name}");
        let set: Vec<(&str, String)> = endpoint["relabelings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                (
                    word(&one["targetLabel"]),
                    one["replacement"].as_str().unwrap_or_else(|| word(&one["sourceLabels"][0])).to_owned(),
                )
            })
            .collect();
        let role = name.trim_start_matches("hoft-").to_owned();
        assert_eq!(set, [("peering", source.to_owned()), ("role", role), ("job", "hoft-engine".to_owned())], "{name}");
    }
    let operator = &objects.one("PodMonitor", "hoft-operator")["spec"];
    assert_eq!(operator["podMetricsEndpoints"][0]["port"], "http");
    let watched = helm.objects(&["monitoring.podMonitor=true", "watchNamespaces={shop}"], &[]);
    assert_eq!(watched.one("PodMonitor", "hoft-gateway")["spec"]["namespaceSelector"], json!({"matchNames": ["shop"]}));
}
