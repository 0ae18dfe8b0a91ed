//! Questions by table, and the patch applied to pods.

use super::*;
use crd_types::InjectionStatus;

/// A question about a pod in the namespace `shop`.
pub(crate) fn question(pod: &Value) -> Value {
    let mut question = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "0c9a8d74",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "shop",
            "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    });
    if let Some(name) = pod["metadata"].get("name") {
        question["request"]["name"] = name.clone();
    }
    question
}

/// A pod that asks for an engine of `south`.
pub(crate) fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "app", "namespace": "shop", "labels": {"hoft.dev/inject": "south"}},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    })
}

/// A peering that is rendered at revision 3.
pub(crate) fn peering() -> TunnelPeering {
    let mut peering: TunnelPeering = serde_json::from_value(json!({
        "apiVersion": "hoft.dev/v1alpha1",
        "kind": "TunnelPeering",
        "metadata": {"name": "south", "namespace": "shop"},
        "spec": {
            "local": {"name": "north"},
            "remote": {"name": "south"},
            "volume": {"outbox": {"claimName": "out"}, "inbox": {"claimName": "in"}},
            "injection": {},
        },
    }))
    .unwrap();
    peering.status.get_or_insert_default().injection = Some(InjectionStatus {
        revision: 3,
        container: object(json!({"name": "hoft", "image": "hoft-sidecar:1", "restartPolicy": "Always"})),
        volumes: vec![object(json!({"name": "hoft-config"})), object(json!({"name": "hoft-state", "emptyDir": {}}))],
    });
    peering
}

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

fn request(question: &Value) -> AdmissionRequest<DynamicObject> {
    parse(&serde_json::to_vec(question).unwrap()).unwrap()
}

fn with(pod: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = pod.clone();
    change(&mut pod);
    pod
}

fn injected(pod: &Value) -> (Patch, Value) {
    let Answer::Inject(patch) = inject(&request(&question(pod)), Some(&peering()), "shop", "south") else {
        panic!("not injected")
    };
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &patch).unwrap();
    (patch, patched)
}

fn denied(pod: &Value, peering: Option<&TunnelPeering>) -> String {
    match inject(&request(&question(pod)), peering, "shop", "south") {
        Answer::Deny(message) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_patch_is_the_policys() {
    let (patch, _) = injected(&pod());
    assert_eq!(
        serde_json::to_value(patch).unwrap(),
        json!([
            {"op": "add", "path": "/spec/initContainers", "value": []},
            {"op": "add", "path": "/spec/initContainers/0", "value": {"name": "hoft", "image": "hoft-sidecar:1", "restartPolicy": "Always"}},
            {"op": "add", "path": "/spec/volumes", "value": []},
            {"op": "add", "path": "/spec/volumes/-", "value": {"name": "hoft-config"}},
            {"op": "add", "path": "/spec/volumes/-", "value": {"name": "hoft-state", "emptyDir": {}}},
            {"op": "add", "path": "/metadata/annotations", "value": {}},
            {"op": "add", "path": "/metadata/annotations/hoft.dev~1injected-version", "value": "3"},
            {"op": "add", "path": "/metadata/annotations/hoft.dev~1peering", "value": "south"},
        ])
    );
}

#[test]
fn a_patched_pod_keeps_all_it_had_and_the_engine_comes_first() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 7] = [
        ("bare", |_| {}),
        ("generateName", |pod| {
            let metadata = pod["metadata"].as_object_mut().unwrap();
            metadata.remove("name");
            metadata.insert("generateName".to_owned(), json!("app-7d9f-"));
        }),
        ("init containers", |pod| pod["spec"]["initContainers"] = json!([{"name": "first"}, {"name": "second"}])),
        ("empty lists", |pod| {
            pod["spec"]["initContainers"] = json!([]);
            pod["spec"]["volumes"] = json!([]);
        }),
        ("null lists", |pod| {
            pod["spec"]["initContainers"] = Value::Null;
            pod["spec"]["volumes"] = Value::Null;
        }),
        ("volumes", |pod| pod["spec"]["volumes"] = json!([{"name": "kube-api-access"}])),
        ("annotations", |pod| {
            pod["metadata"]["annotations"] =
                json!({"x/y": "1", "hoft.dev/injected-version": "forged", "hoft.dev/peering": "other"});
        }),
    ];
    for (what, change) in cases {
        let before = with(&pod(), change);
        let (_, after) = injected(&before);
        let names = |pod: &Value, field: &str| -> Vec<String> {
            let list = pod["spec"][field].as_array().cloned().unwrap_or_default();
            list.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
        };
        let init = names(&after, "initContainers");
        assert_eq!(init[0], "hoft", "{what}");
        assert_eq!(init[1..], names(&before, "initContainers"), "{what}");
        let volumes = names(&after, "volumes");
        let kept = names(&before, "volumes");
        assert_eq!(volumes[..kept.len()], kept, "{what}");
        assert_eq!(volumes[kept.len()..], ["hoft-config", "hoft-state"], "{what}");
        assert_eq!(after["metadata"]["annotations"]["hoft.dev/injected-version"], "3", "{what}");
        assert_eq!(after["metadata"]["annotations"]["hoft.dev/peering"], "south", "{what}");
        assert_eq!(after["metadata"]["annotations"]["x/y"], before["metadata"]["annotations"]["x/y"], "{what}");
        assert_eq!(after["spec"]["containers"], before["spec"]["containers"], "{what}");
    }
}

#[test]
fn what_a_pod_asks_for() {
    let south = || Wanted::Peering { namespace: "shop", name: "south" };
    type Change = fn(&mut Value);
    let cases: [(&str, Change, Wanted<'_>); 10] = [
        ("a labelled pod", |_| {}, south()),
        ("a dry run", |review| review["request"]["dryRun"] = json!(true), south()),
        ("no label", |review| review["request"]["object"]["metadata"]["labels"] = json!({"app": "x"}), Wanted::Nothing),
        ("no labels", |review| review["request"]["object"]["metadata"]["labels"] = Value::Null, Wanted::Nothing),
        (
            "has an engine",
            |review| review["request"]["object"]["spec"]["initContainers"] = json!([{"name": "x"}, {"name": "hoft"}]),
            Wanted::Nothing,
        ),
        (
            "has other init containers",
            |review| review["request"]["object"]["spec"]["initContainers"] = json!([{"name": "hoft-like"}]),
            south(),
        ),
        ("an update", |review| review["request"]["operation"] = json!("UPDATE"), Wanted::Nothing),
        (
            "a deletion",
            |review| {
                review["request"]["operation"] = json!("DELETE");
                review["request"]["object"] = Value::Null;
            },
            Wanted::Nothing,
        ),
        ("a subresource", |review| review["request"]["subResource"] = json!("binding"), Wanted::Nothing),
        ("no pod", |review| review["request"]["resource"]["resource"] = json!("configmaps"), Wanted::Nothing),
    ];
    for (what, change, expected) in cases {
        let review = with(&question(&pod()), change);
        assert_eq!(wanted(&request(&review)).unwrap(), expected, "{what}");
    }
}

#[test]
fn names_from_outside_never_become_another_path() {
    for name in ["", "../../secrets", "a/b", "South", "-a", "a-", "a..b", "a?x", &"a".repeat(254)] {
        let review = with(&question(&pod()), |review| {
            review["request"]["object"]["metadata"]["labels"]["hoft.dev/inject"] = json!(name);
        });
        let request = request(&review);
        let Wanted::Refusal(message) = wanted(&request).unwrap() else { panic!("{name}") };
        assert!(message.contains("shop") && message.contains("hoft.dev/inject"), "{message}");
        let review = with(&question(&pod()), |review| review["request"]["namespace"] = json!(name));
        assert!(matches!(wanted(&self::request(&review)), Err(Malformed::NoPod)), "{name}");
    }
    for name in ["a", "south", "a-b.c0"] {
        assert!(is_name(name), "{name}");
    }
}

#[test]
fn garbage_is_told_from_a_question() {
    for (what, body) in [
        ("nothing", Vec::new()),
        ("no JSON", b"\xff\xfe{".to_vec()),
        ("another thing", b"[1, 2]".to_vec()),
        ("deep", "[".repeat(100_000).into_bytes()),
        ("an empty object", b"{}".to_vec()),
        ("a pod", serde_json::to_vec(&pod()).unwrap()),
        ("no request", br#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}"#.to_vec()),
        (
            "another version",
            serde_json::to_vec(&with(&question(&pod()), |review| {
                review["apiVersion"] = json!("admission.k8s.io/v1beta1")
            }))
            .unwrap(),
        ),
    ] {
        assert!(parse(&body).is_err(), "{what}");
    }
    let odd = with(&question(&pod()), |review| {
        review["request"]["object"]["spec"] = json!({"initContainers": {"name": "hoft"}, "volumes": 3});
    });
    let answer = inject(&request(&odd), Some(&peering()), "shop", "south");
    assert!(matches!(answer, Answer::Inject(_)), "what the API server would not take is left to it: {answer:?}");
}

#[test]
fn a_refusal_names_the_peering_and_the_remedy() {
    let mut gateway_only = peering();
    gateway_only.spec.injection = None;
    let with_mechanism = |mechanism| {
        let mut peering = peering();
        peering.spec.injection.as_mut().unwrap().mechanism = mechanism;
        peering
    };
    let mut unrendered = peering();
    unrendered.status = None;
    let mut unrendered_policy = with_mechanism(Mechanism::AdmissionPolicy);
    unrendered_policy.status = None;
    let mut refused = peering();
    let status = refused.status.as_mut().unwrap();
    status.injection = None;
    status.conditions = serde_json::from_value(json!([
        {"type": "KeysReady", "status": "True", "reason": "KeysReady", "message": "fine", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        {"type": "Accepted", "status": "False", "reason": "Unsupported", "message": "spec.packet.redundancy: remove it.", "lastTransitionTime": "2026-01-01T00:00:00Z"},
    ]))
    .unwrap();
    let same_name = with(&pod(), |pod| pod["spec"]["containers"][0]["name"] = json!("hoft"));
    for (what, message, remedy) in [
        ("unknown", denied(&pod(), None), "does not exist"),
        ("gateway only", denied(&pod(), Some(&gateway_only)), "spec.injection: {}"),
        ("none", denied(&pod(), Some(&with_mechanism(Mechanism::None))), "set it to Auto"),
        ("policy", denied(&pod(), Some(&with_mechanism(Mechanism::AdmissionPolicy))), "mechanism: Auto"),
        ("new", denied(&pod(), Some(&unrendered)), "has not looked at it yet"),
        ("new, by policy", denied(&pod(), Some(&unrendered_policy)), "has not looked at it yet"),
        (
            "refused",
            denied(&pod(), Some(&refused)),
            "Accepted is False (Unsupported): spec.packet.redundancy: remove it. Try again",
        ),
        ("same name", denied(&same_name, Some(&peering())), "rename it"),
    ] {
        assert!(message.contains("TunnelPeering shop/south"), "{what}: {message}");
        assert!(message.contains(remedy), "{what}: {message}");
        assert!(!message.contains("  ") && !message.ends_with('.'), "{what}: {message}");
    }
    assert_eq!(quote(&"é".repeat(401)), format!("{}…", "é".repeat(400)));
    let webhook = with_mechanism(Mechanism::Webhook);
    assert!(matches!(inject(&request(&question(&pod())), Some(&webhook), "shop", "south"), Answer::Inject(_)));
}

#[test]
fn an_answer_is_what_the_api_server_reads() {
    let request = request(&question(&pod()));
    let read = |answer: Answer| -> Value { serde_json::from_slice(&response(&request, answer).unwrap()).unwrap() };
    let (patch, _) = injected(&pod());
    let yes = read(Answer::Inject(patch.clone()));
    assert_eq!(
        (yes["apiVersion"].as_str(), yes["kind"].as_str()),
        (Some("admission.k8s.io/v1"), Some("AdmissionReview"))
    );
    assert_eq!(yes["response"]["uid"], "0c9a8d74");
    assert_eq!(yes["response"]["allowed"], true);
    assert_eq!(yes["response"]["patchType"], "JSONPatch");
    let bytes: Vec<u8> = serde_json::from_value(yes["response"]["patch"].clone()).unwrap();
    assert_eq!(serde_json::from_slice::<Patch>(&bytes).unwrap(), patch);

    let unchanged = read(Answer::Unchanged);
    assert_eq!(unchanged["response"]["allowed"], true);
    assert!(unchanged["response"].get("patch").is_none());

    for (answer, code) in [(Answer::Deny("why".to_owned()), 403), (Answer::Fail("why".to_owned()), 503)] {
        let no = read(answer);
        assert_eq!(no["response"]["allowed"], false);
        assert_eq!(no["response"]["status"]["message"], "why");
        assert_eq!(no["response"]["status"]["code"], code);
        assert_eq!(no["response"]["status"]["status"], "Failure");
    }
}
