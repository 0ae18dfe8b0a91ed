//! The values: each is in the schema, is explained, changes something; nothing else is taken.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::programs::text_of;
use crate::render::{Helm, POD_MONITOR, POLICY, PROMETHEUS_RULE};

/// A change of each value, from the defaults.
pub(crate) const CHANGES: &[(&str, &str)] = &[
    ("nameOverride", "nameOverride=tunnels"),
    ("image.operator.registry", "image.operator.registry=registry.example:5000/hoft"),
    ("image.operator.repository", "image.operator.repository=op"),
    ("image.operator.tag", "image.operator.tag=edge"),
    (
        "image.operator.digest",
        "image.operator.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ),
    ("image.operator.pullPolicy", "image.operator.pullPolicy=Never"),
    ("image.sidecar.registry", "image.sidecar.registry=registry.example"),
    ("image.sidecar.repository", "image.sidecar.repository=side"),
    ("image.sidecar.tag", "image.sidecar.tag=edge"),
    (
        "image.sidecar.digest",
        "image.sidecar.digest=sha256:1111111111111111111111111111111111111111111111111111111111111111",
    ),
    ("image.sidecar.pullPolicy", "image.sidecar.pullPolicy=Always"),
    ("imagePullSecrets", "imagePullSecrets[0].name=registry"),
    ("replicas", "replicas=1"),
    ("resources", "resources.limits.memory=1Gi"),
    ("nodeSelector", "nodeSelector.disk=fast"),
    ("tolerations", "tolerations[0].operator=Exists"),
    ("affinity", "affinity.nodeAffinity.x=y"),
    ("priorityClassName", "priorityClassName=system-cluster-critical"),
    ("podAnnotations", "podAnnotations.a=b"),
    ("podLabels", "podLabels.a=b"),
    ("serviceAccount.annotations", "serviceAccount.annotations.a=b"),
    ("watchNamespaces", "watchNamespaces={shop,bank}"),
    ("logs.level", "logs.level=debug"),
    ("logs.format", "logs.format=text"),
    ("logs.engineLevel", "logs.engineLevel=warn"),
    ("crds.install", "crds.install=false"),
    ("injection.policy", "injection.policy=false"),
    ("injection.webhook", "injection.webhook=true"),
    ("injection.checks", "injection.checks=false"),
    ("injection.failurePolicy", "injection.failurePolicy=Ignore"),
    ("monitoring.podMonitor", "monitoring.podMonitor=false"),
    ("monitoring.prometheusRule", "monitoring.prometheusRule=false"),
    ("monitoring.labels", "monitoring.labels.release=prometheus"),
];

/// Maps that a user fills: a value each, not a section.
const MAPS: &[&str] = &[
    "resources",
    "nodeSelector",
    "affinity",
    "podAnnotations",
    "podLabels",
    "serviceAccount.annotations",
    "monitoring.labels",
];

fn defaults() -> Value {
    serde_yaml::from_str(&text_of("charts/hoft/values.yaml")).unwrap()
}

fn leaves(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value.as_object() {
        Some(section) if !MAPS.contains(&path) => {
            for (name, value) in section {
                leaves(value, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, found);
            }
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

#[test]
fn every_value_changes_something() {
    let mut values = BTreeSet::new();
    leaves(&defaults(), "", &mut values);
    let changed: BTreeSet<String> = CHANGES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(values, changed, "left: values.yaml; right: the changes tried here");
    let Some(helm) = Helm::find() else { return };
    let kinds = [POLICY, POD_MONITOR, PROMETHEUS_RULE];
    let unchanged = helm.text(&[], &kinds).unwrap();
    for (name, set) in CHANGES {
        let text = helm.text(&[set], &kinds).unwrap_or_else(|error| panic!("{set}: {error}"));
        assert_ne!(text, unchanged, "{name} changes nothing");
    }
}

#[test]
fn schema_and_defaults_name_the_same_values() {
    fn properties(schema: &Value, root: &Value, path: &str, found: &mut BTreeSet<String>) {
        let schema = match schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
            Some(name) => &root["$defs"][name],
            None => schema,
        };
        match schema["properties"].as_object() {
            Some(section) if !MAPS.contains(&path) => {
                assert_eq!(schema["additionalProperties"], false, "{path} takes any name");
                for (name, schema) in section.iter().filter(|(name, _)| *name != "global") {
                    properties(
                        schema,
                        root,
                        &if path.is_empty() { name.clone() } else { format!("{path}.{name}") },
                        found,
                    );
                }
            }
            _ => {
                found.insert(path.to_owned());
            }
        }
    }
    let schema: Value = serde_json::from_str(&text_of("charts/hoft/values.schema.json")).unwrap();
    let (mut of_schema, mut of_defaults) = (BTreeSet::new(), BTreeSet::new());
    properties(&schema, &schema, "", &mut of_schema);
    leaves(&defaults(), "", &mut of_defaults);
    assert_eq!(of_schema, of_defaults);
}

#[test]
fn what_the_schema_does_not_know_is_refused_by_name() {
    let Some(helm) = Helm::find() else { return };
    for (set, reason) in [
        ("replica=3", "additional properties 'replica' not allowed"),
        ("image.operator.tagg=x", "at '/image/operator': additional properties 'tagg' not allowed"),
        ("injection.policy=maybe", "at '/injection/policy': value must be one of 'auto', true, false"),
        ("injection.failurePolicy=Sometimes", "at '/injection/failurePolicy': value must be one of 'Fail', 'Ignore'"),
        ("replicas=two", "at '/replicas': got string, want integer"),
        ("image.sidecar.digest=latest", "at '/image/sidecar/digest': 'latest' does not match pattern"),
        ("logs.level=loud", "at '/logs/level': value must be one of"),
        ("watchNamespaces={Shop}", "at '/watchNamespaces/0': 'Shop' does not match pattern"),
        ("affinity.nodes=x", "at '/affinity': additional properties 'nodes' not allowed"),
    ] {
        let refused = helm.text(&[set], &[]).expect_err(set);
        assert!(refused.contains(reason), "{set}: {refused}");
    }
}

#[test]
fn clusters_without_stable_native_sidecars_are_refused() {
    let Some(helm) = Helm::find() else { return };
    let render = |version| {
        let arguments = ["template", "hoft", "charts/hoft", "--kube-version", version];
        crate::programs::run(&mut helm.command(&arguments))
    };
    let refused = render("1.32.9").unwrap_err();
    assert!(refused.contains(">=1.33.0-0"), "{refused}");
    render("1.33.0").unwrap();
    render("1.33.4-gke.100").unwrap();
}
