//! The operator's rights, word for word. Whoever widens them changes this list.

use crate::render::{Helm, Objects, POLICY, word, words};

/// Peerings, in every namespace or in each of those that are watched.
const PEERINGS: &[&str] = &["hoft.dev tunnelpeerings: list watch"];
/// The same, with the webhook.
const PEERINGS_WEBHOOK: &[&str] = &["hoft.dev tunnelpeerings: get list watch"];
/// What belongs to them, in the same namespaces.
const CHILDREN: &[&str] = &[
    "hoft.dev tunnelpeerings/status: patch",
    "core pods: list watch",
    "core pods/status: patch",
    "core persistentvolumeclaims: get",
    "core configmaps: create",
    "core secrets: create",
    "core services: create delete get patch",
    "apps statefulsets: create delete get list patch watch",
    "events.k8s.io events: create patch",
];
/// In the operator's own namespace.
const OWN: &[&str] = &["coordination.k8s.io leases: create", "coordination.k8s.io leases hoft-operator: get update"];
/// The same, with the webhook.
const OWN_WEBHOOK: &[&str] = &["core secrets hoft-webhook-ca: create get patch"];
/// In the cluster, with the webhook.
const CLUSTER_WEBHOOK: &[&str] = &["admissionregistration.k8s.io mutatingwebhookconfigurations hoft-inject: get patch"];

#[track_caller]
fn rules(objects: &Objects, kind: &str, name: &str) -> Vec<String> {
    let rules = objects.one(kind, name)["rules"].as_array().unwrap().clone();
    rules
        .iter()
        .map(|rule| {
            assert_eq!((words(&rule["apiGroups"]).len(), words(&rule["resources"]).len()), (1, 1), "{rule}");
            let group = match words(&rule["apiGroups"])[0] {
                "" => "core",
                group => group,
            };
            let mut line = format!("{group} {}", words(&rule["resources"])[0]);
            for name in words(&rule["resourceNames"]) {
                line += &format!(" {name}");
            }
            line + ": " + &words(&rule["verbs"]).join(" ")
        })
        .collect()
}

fn list(parts: &[&[&str]]) -> Vec<String> {
    parts.concat().iter().map(|line| (*line).to_owned()).collect()
}

#[track_caller]
fn is_bound(objects: &Objects, kind: &str, name: &str) {
    let binding = objects.one(&format!("{kind}Binding"), name);
    assert_eq!(binding["roleRef"]["kind"], kind);
    assert_eq!(binding["roleRef"]["name"], name);
    let subject = serde_json::json!([{"kind": "ServiceAccount", "name": "hoft-operator", "namespace": "hoft-system"}]);
    assert_eq!(binding["subjects"], subject);
}

#[test]
fn nothing_is_allowed_that_is_not_on_this_list() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.objects(&[], &[POLICY]);
    assert_eq!(rules(&objects, "ClusterRole", "hoft-operator"), list(&[PEERINGS, CHILDREN]));
    assert_eq!(rules(&objects, "Role", "hoft-operator"), list(&[OWN]));
    is_bound(&objects, "ClusterRole", "hoft-operator");
    is_bound(&objects, "Role", "hoft-operator");
    let roles = objects.names().into_iter().filter(|name| name.contains("Role ") || name.contains("RoleBinding "));
    assert_eq!(roles.count(), 4);
}

#[test]
fn the_webhook_adds_its_own_objects_by_name() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.objects(&[], &[]);
    assert_eq!(rules(&objects, "ClusterRole", "hoft-operator"), list(&[PEERINGS_WEBHOOK, CHILDREN, CLUSTER_WEBHOOK]));
    assert_eq!(rules(&objects, "Role", "hoft-operator"), list(&[OWN, OWN_WEBHOOK]));
}

#[test]
fn watched_namespaces_leave_no_right_elsewhere() {
    let Some(helm) = Helm::find() else { return };
    let set = "watchNamespaces={shop,hoft-system}";
    let objects = helm.objects(&[set], &[POLICY]);
    assert!(objects.find("ClusterRole", "hoft-operator").is_none(), "{:?}", objects.names());
    assert_eq!(rules(&objects, "Role", "hoft-operator-peerings"), list(&[PEERINGS, CHILDREN]));
    is_bound(&objects, "Role", "hoft-operator-peerings");
    let of_peerings = objects.0.iter().filter(|object| object["metadata"]["name"] == "hoft-operator-peerings");
    let mut places: Vec<String> = of_peerings
        .map(|object| format!("{} {}", word(&object["metadata"]["namespace"]), word(&object["kind"])))
        .collect();
    places.sort();
    assert_eq!(places, ["hoft-system Role", "hoft-system RoleBinding", "shop Role", "shop RoleBinding"]);
    let webhook = helm.objects(&[set], &[]);
    assert_eq!(rules(&webhook, "ClusterRole", "hoft-operator"), list(&[CLUSTER_WEBHOOK]));
}

#[test]
fn another_name_is_used_throughout() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.objects(&["nameOverride=tunnels"], &[]);
    let subject = &objects.one("ClusterRoleBinding", "tunnels")["subjects"][0];
    assert_eq!(subject["name"], "tunnels");
    objects.one("ServiceAccount", "tunnels");
    assert_eq!(objects.one("Deployment", "tunnels")["spec"]["template"]["spec"]["serviceAccountName"], "tunnels");
    let policy = objects.one("ValidatingAdmissionPolicy", "hoft-pods").to_string();
    assert!(policy.contains("'system:serviceaccount:hoft-system:tunnels'"), "{policy}");
    // The Lease is named by the operator, not by the release.
    assert_eq!(rules(&objects, "Role", "tunnels")[1], OWN[1]);
}
