//! The operator's Deployment: its command line, probes, images, and what its number of replicas brings.

use serde_json::{Value, json};

use crate::programs::text_of;
use crate::render::{Helm, Objects, POLICY, words};

/// Version of the workspace: what an image's tag is where nothing else is said.
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[track_caller]
fn container(objects: &Objects) -> &Value {
    let containers = &objects.one("Deployment", "hoft-operator")["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers.as_array().unwrap().len(), 1);
    &containers[0]
}

#[test]
fn every_flag_is_one_of_the_operators() {
    let Some(helm) = Helm::find() else { return };
    let sets =
        ["injection.webhook=true", "injection.policy=true", "watchNamespaces={shop}", "imagePullSecrets[0].name=r"];
    let objects = helm.objects(&sets, &[]);
    let arguments = words(&container(&objects)["args"]);
    assert_eq!(
        arguments,
        [
            "--namespace=$(POD_NAMESPACE)",
            "--identity=$(POD_NAME)",
            &format!("--sidecar-image=hoft-sidecar:{VERSION}"),
            "--image-pull-policy=IfNotPresent",
            "--image-pull-secret=r",
            "--policy-installed",
            "--webhook",
            "--watch-namespace=shop",
            "--log-format=json",
            "--log-level=info",
            "--engine-log-level=info",
        ]
    );
    let command_line = text_of("operator/controller/src/cli.rs");
    for argument in arguments {
        let name = argument.trim_start_matches('-').split('=').next().unwrap().replace('-', "_");
        assert!(command_line.contains(&format!("pub {name}: ")), "hoft-operator has no option {argument}");
    }
}

#[test]
fn the_chart_is_of_the_version_of_the_programs() {
    let chart: Value = serde_yaml::from_str(&text_of("charts/hoft/Chart.yaml")).unwrap();
    assert_eq!((&chart["version"], &chart["appVersion"]), (&json!(VERSION), &json!(VERSION)));
}

#[test]
fn images_are_named_by_digest_before_tag_before_version() {
    let Some(helm) = Helm::find() else { return };
    let digest = format!("sha256:{}", "a".repeat(64));
    let by_digest = format!("image.operator.digest={digest}");
    for (sets, image) in [
        (vec![], format!("hoft-operator:{VERSION}")),
        (vec!["image.operator.tag=edge"], "hoft-operator:edge".to_owned()),
        (vec!["image.operator.tag=edge", &by_digest], format!("hoft-operator@{digest}")),
        (
            vec!["image.operator.registry=registry.example:5000/team/", "image.operator.repository=op"],
            format!("registry.example:5000/team/op:{VERSION}"),
        ),
    ] {
        assert_eq!(container(&helm.objects(&sets, &[]))["image"], image, "{sets:?}");
    }
    let objects = helm.objects(&["image.sidecar.registry=registry.example", "image.sidecar.tag=2.0.0"], &[]);
    assert!(words(&container(&objects)["args"]).contains(&"--sidecar-image=registry.example/hoft-sidecar:2.0.0"));
}

#[test]
fn probes_ask_the_port_that_is_there() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.objects(&[], &[]);
    let container = container(&objects);
    for (probe, path) in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "http"}), "{probe}");
    }
    let ports = json!([
        {"name": "http", "containerPort": 8080, "protocol": "TCP"},
        {"name": "webhook", "containerPort": 8443, "protocol": "TCP"},
    ]);
    assert_eq!(container["ports"], ports);
    assert_eq!(objects.one("Service", "hoft-webhook")["spec"]["ports"][0]["targetPort"], "webhook");
}

#[test]
fn services_and_budgets_select_the_operators_pods() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.objects(&["podLabels.app\\.kubernetes\\.io/name=other"], &[]);
    let deployment = &objects.one("Deployment", "hoft-operator")["spec"];
    let selector = &deployment["selector"]["matchLabels"];
    for (name, value) in selector.as_object().unwrap() {
        let label = &deployment["template"]["metadata"]["labels"][name.as_str()];
        assert!(label == value, "a user's label took the place of {name}: {label}");
    }
    assert_eq!(&objects.one("Service", "hoft-webhook")["spec"]["selector"], selector);
    assert_eq!(&objects.one("PodDisruptionBudget", "hoft-operator")["spec"]["selector"]["matchLabels"], selector);
}

#[test]
fn one_replica_has_no_budget_that_would_block_a_drain() {
    let Some(helm) = Helm::find() else { return };
    for (replicas, budget) in [("replicas=0", false), ("replicas=1", false), ("replicas=2", true)] {
        let objects = helm.objects(&[replicas], &[POLICY]);
        assert_eq!(objects.find("PodDisruptionBudget", "hoft-operator").is_some(), budget, "{replicas}");
    }
}

#[test]
fn notes_say_what_to_do_next_and_what_is_risky() {
    let Some(helm) = Helm::find() else { return };
    let notes = |sets: &str| {
        let mut command =
            helm.command(&["install", "hoft", "charts/hoft", "--dry-run=client", "--namespace", "hoft-system"]);
        let said = crate::programs::run(command.args(["--set", sets])).unwrap();
        said.split_once("NOTES:").map(|(_, notes)| notes.to_owned()).unwrap_or_else(|| panic!("no notes: {said}"))
    };
    let usual = notes("image.operator.registry=r.example,image.sidecar.registry=r.example,watchNamespaces={shop}");
    assert!(usual.contains("rollout status deployment/hoft-operator") && usual.contains("hoft.dev/inject"), "{usual}");
    assert!(!usual.contains("WARNING") && !usual.contains("NOTE:"), "{usual}");
    for (set, warning) in [
        ("replicas=1", "replicas is 1"),
        ("injection.failurePolicy=Ignore", "may start without its engine"),
        ("injection.checks=false", "nothing refuses a labelled pod"),
    ] {
        let notes = notes(set);
        assert!(notes.contains("WARNING") && notes.contains(warning), "{set}: {notes}");
    }
}
