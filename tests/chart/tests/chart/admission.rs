//! What is installed for injection: the policy where the API server has it, else the webhook; and the checks.

use serde_json::json;

use crate::render::{Helm, Objects, POLICY, words};

const POLICY_KINDS: [&str; 2] = ["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"];

/// Whether the policy and the webhook are there, each with all that belongs to it.
#[track_caller]
fn installed(objects: &Objects) -> (bool, bool) {
    let policy = POLICY_KINDS.map(|kind| objects.find(kind, "hoft-inject").is_some());
    let webhook = [
        objects.find("MutatingWebhookConfiguration", "hoft-inject").is_some(),
        objects.find("Service", "hoft-webhook").is_some(),
    ];
    assert_eq!(policy[0], policy[1]);
    assert_eq!(webhook[0], webhook[1]);
    let arguments = &objects.one("Deployment", "hoft-operator")["spec"]["template"]["spec"]["containers"][0]["args"];
    let arguments = words(arguments);
    assert_eq!(arguments.contains(&"--policy-installed"), policy[0], "{arguments:?}");
    assert_eq!(arguments.contains(&"--webhook"), webhook[0], "{arguments:?}");
    (policy[0], webhook[0])
}

#[test]
fn the_policy_is_used_where_it_exists_and_the_webhook_elsewhere() {
    let Some(helm) = Helm::find() else { return };
    for (sets, kinds, expected) in [
        (&[][..], &[POLICY][..], (true, false)),
        (&[], &[], (false, true)),
        (&["injection.webhook=true"], &[POLICY], (true, true)),
        (&["injection.policy=false"], &[POLICY], (false, true)),
        (&["injection.policy=true"], &[], (true, false)),
        (&["injection.policy=false", "injection.webhook=false"], &[POLICY], (false, false)),
    ] {
        assert_eq!(installed(&helm.objects(sets, kinds)), expected, "{sets:?} {kinds:?}");
    }
}

#[test]
fn only_labelled_pods_meet_policy_and_webhook() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.objects(&["injection.webhook=true"], &[POLICY]);
    let label = json!({"matchExpressions": [{"key": "hoft.dev/inject", "operator": "Exists"}]});
    let policy = &objects.one("MutatingAdmissionPolicy", "hoft-inject")["spec"];
    assert_eq!(policy["matchConstraints"]["objectSelector"], label);
    assert_eq!(policy["failurePolicy"], "Fail");
    assert_eq!(policy["reinvocationPolicy"], "IfNeeded");
    let webhook = &objects.one("MutatingWebhookConfiguration", "hoft-inject")["webhooks"];
    assert_eq!(webhook.as_array().unwrap().len(), 1);
    let webhook = &webhook[0];
    assert_eq!(webhook["name"], "pods.hoft.dev");
    assert_eq!(webhook["objectSelector"], label);
    assert_eq!(webhook["failurePolicy"], "Fail");
    assert_eq!(webhook["reinvocationPolicy"], "IfNeeded");
    assert_eq!(webhook["sideEffects"], "None");
    assert_eq!(webhook["timeoutSeconds"], 5);
    let outside = &webhook["namespaceSelector"]["matchExpressions"][0];
    assert_eq!(outside["operator"], "NotIn");
    assert_eq!(words(&outside["values"]), ["kube-system", "hoft-system"]);
    let service =
        json!({"service": {"name": "hoft-webhook", "namespace": "hoft-system", "path": "/mutate", "port": 443}});
    assert_eq!(webhook["clientConfig"], service, "the authority is the operator's to write");
    let not_yet = |conditions: &serde_json::Value| {
        conditions.as_array().unwrap().iter().find(|condition| condition["name"] == "not-yet").cloned().unwrap()
    };
    assert_eq!(
        not_yet(&policy["matchConditions"]),
        not_yet(&webhook["matchConditions"]),
        "both skip what the other did"
    );
}

#[test]
fn watched_namespaces_bound_injection_too() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.objects(&["watchNamespaces={shop}", "injection.webhook=true"], &[POLICY]);
    let only = json!({"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["shop"]});
    let policy =
        &objects.one("MutatingAdmissionPolicy", "hoft-inject")["spec"]["matchConstraints"]["namespaceSelector"];
    assert_eq!(policy["matchExpressions"], json!([only]));
    let webhook = &objects.one("MutatingWebhookConfiguration", "hoft-inject")["webhooks"][0]["namespaceSelector"];
    assert_eq!(webhook["matchExpressions"][1], only);
    // A labelled pod elsewhere is refused, not left without an engine.
    let checks = &objects.one("ValidatingAdmissionPolicy", "hoft-pods")["spec"]["matchConstraints"];
    assert!(checks["namespaceSelector"].is_null() && checks["objectSelector"].is_null());
}

#[test]
fn a_pod_without_its_engine_is_refused_and_a_misplaced_label_warned_of() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.objects(&[], &[POLICY]);
    let actions = |objects: &Objects, name: &str| {
        objects.one("ValidatingAdmissionPolicyBinding", name)["spec"]["validationActions"].clone()
    };
    assert_eq!(actions(&objects, "hoft-pods"), json!(["Deny"]));
    assert_eq!(actions(&objects, "hoft-workloads"), json!(["Warn"]));
    let pods = &objects.one("ValidatingAdmissionPolicy", "hoft-pods")["spec"];
    assert_eq!(pods["failurePolicy"], "Fail");
    let resources = words(&pods["matchConstraints"]["resourceRules"][0]["resources"]);
    assert_eq!(resources, ["pods", "pods/status"], "annotations can be changed through the status too");
    for validation in pods["validations"].as_array().unwrap() {
        assert!(validation["message"].is_string() || validation["messageExpression"].is_string(), "{validation}");
    }
    assert_eq!(objects.one("ValidatingAdmissionPolicy", "hoft-workloads")["spec"]["failurePolicy"], "Ignore");
    // With Ignore, a pod may start without an engine: then nothing else may refuse it either.
    let open = helm.objects(&["injection.failurePolicy=Ignore"], &[POLICY]);
    assert_eq!(actions(&open, "hoft-pods"), json!(["Warn"]));
    assert_eq!(open.one("MutatingAdmissionPolicy", "hoft-inject")["spec"]["failurePolicy"], "Ignore");
}

#[test]
fn somebody_refuses_a_pod_in_a_namespace_without_peerings() {
    let Some(helm) = Helm::find() else { return };
    for (set, action) in [("injection.checks=true", "Allow"), ("injection.checks=false", "Deny")] {
        let objects = helm.objects(&[set], &[POLICY]);
        let parameters = &objects.one("MutatingAdmissionPolicyBinding", "hoft-inject")["spec"]["paramRef"];
        assert_eq!(parameters["parameterNotFoundAction"], action, "{set}");
        assert_eq!(parameters["selector"], json!({}), "{set}");
        assert_eq!(objects.find("ValidatingAdmissionPolicy", "hoft-pods").is_none(), action == "Deny", "{set}");
    }
}
