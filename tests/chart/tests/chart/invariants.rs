//! What holds however the chart is rendered.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value;

use crate::programs::{program, run};
use crate::render::{Helm, Objects, POD_MONITOR, POLICY, PROMETHEUS_RULE, documents, word};
use crate::values::CHANGES;

/// Kinds that have no namespace.
const CLUSTER_WIDE: &[&str] = &[
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

/// Every rendering worth looking at: each change by itself, on an old and a new cluster. Rendered once for all tests.
fn renderings() -> &'static [(String, Objects)] {
    static RENDERINGS: LazyLock<Vec<(String, Objects)>> = LazyLock::new(|| {
        let helm = Helm::find().unwrap();
        let all =
            ["watchNamespaces={shop}", "injection.webhook=true", "injection.policy=true", "imagePullSecrets[0].name=r"];
        let mut found = Vec::new();
        for kinds in [&[][..], &[POLICY, POD_MONITOR, PROMETHEUS_RULE][..]] {
            found.push(("defaults".to_owned(), helm.objects(&[], kinds)));
            found.push(("several at once".to_owned(), helm.objects(&all, kinds)));
            for (name, set) in CHANGES {
                // The definition is large and always the same.
                let sets = [*set, "crds.install=false"];
                found.push(((*name).to_owned(), helm.objects(&sets, kinds)));
            }
        }
        found
    });
    // Asked each time, so that every test says that it is skipped.
    if program("helm").is_some() { &RENDERINGS } else { &[] }
}

#[test]
fn helm_lint_has_nothing_to_say() {
    let Some(helm) = Helm::find() else { return };
    for sets in [&[][..], &["--set", "injection.policy=true,injection.webhook=true,monitoring.podMonitor=true"][..]] {
        let mut command = helm.command(&["lint", "--strict", "charts/hoft"]);
        let said = run(command.args(sets)).unwrap();
        assert!(said.contains("0 chart(s) failed") && !said.contains("[WARNING]"), "{said}");
    }
}

#[test]
fn two_renderings_are_the_same_bytes() {
    let Some(helm) = Helm::find() else { return };
    for sets in [&[][..], &["injection.policy=true", "watchNamespaces={b,a}", "monitoring.podMonitor=true"][..]] {
        assert_eq!(helm.text(sets, &[]).unwrap(), helm.text(sets, &[]).unwrap());
    }
}

#[test]
fn no_secret_text_no_certificate_and_no_hook_is_rendered() {
    for (set, objects) in renderings() {
        for object in &objects.0 {
            let kind = word(&object["kind"]);
            assert!(!["Job", "Pod", "Certificate"].contains(&kind), "{set}: {kind}");
            // One is there empty, for the operator to fill in.
            let contents = ["data", "stringData"].map(|field| &object[field]);
            assert!(kind != "Secret" || contents.iter().all(|content| content.is_null()), "{set}: {object}");
            let text = object.to_string();
            for never in ["caBundle", "BEGIN ", "helm.sh/hook"] {
                let allowed = kind == "CustomResourceDefinition" && never == "BEGIN ";
                assert!(allowed || !text.contains(never), "{set}: {never} in {kind} {}", object["metadata"]["name"]);
            }
        }
    }
}

#[test]
fn every_object_is_one_of_a_kind_in_its_place_and_labelled() {
    for (set, objects) in renderings() {
        let mut seen = BTreeSet::new();
        for object in &objects.0 {
            let (kind, metadata) = (word(&object["kind"]), &object["metadata"]);
            let name = word(&metadata["name"]);
            assert!(seen.insert(format!("{kind} {} {name}", metadata["namespace"])), "{set}: {kind} {name} twice");
            assert_eq!(metadata["labels"]["app.kubernetes.io/part-of"], "hoft", "{set}: {kind} {name}");
            assert_eq!(metadata["labels"]["app.kubernetes.io/managed-by"], "Helm", "{set}: {kind} {name}");
            assert_eq!(metadata["namespace"].is_null(), CLUSTER_WIDE.contains(&kind), "{set}: {kind} {name}");
        }
    }
}

#[test]
fn pods_fit_into_a_restricted_namespace() {
    for (set, objects) in renderings() {
        let deployments: Vec<&Value> = objects.0.iter().filter(|object| object["kind"] == "Deployment").collect();
        assert_eq!(deployments.len(), 1, "{set}");
        let pod = &deployments[0]["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{set}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{set}");
        for host in ["hostNetwork", "hostPID", "hostIPC", "volumes", "initContainers"] {
            assert!(pod[host].is_null(), "{set}: {host}");
        }
        for container in pod["containers"].as_array().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false, "{set}");
            assert_eq!(context["readOnlyRootFilesystem"], true, "{set}");
            assert_eq!(context["capabilities"], serde_json::json!({"drop": ["ALL"]}), "{set}");
        }
    }
}

#[test]
fn no_role_has_a_wildcard() {
    for (set, objects) in renderings() {
        for object in objects.0.iter().filter(|object| word(&object["kind"]).ends_with("Role")) {
            assert!(!object["rules"].to_string().contains('*'), "{set}: {object}");
        }
    }
}

#[test]
fn several_namespaces_give_separate_documents() {
    let Some(helm) = Helm::find() else { return };
    let text = helm.text(&["watchNamespaces={shop,bank}"], &[]).unwrap();
    let roles = documents(&text).unwrap().into_iter().filter(|object| object["kind"] == "Role").count();
    assert_eq!(roles, 3, "one each, and the operator's own");
}
