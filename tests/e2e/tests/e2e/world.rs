//! The world of the scenarios: hoft installed on both clusters by its chart, and the peering of the README across the gap.
//!
//! Cluster a is north, the calling side, with the namespace `shop`; cluster b is south, the called side, with the namespace
//! `back` and a server that journals every order. The two `TunnelPeering`s and the chart are exactly what users get.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::images::product::Product;
use e2e::mirror::{Carrier, Mirror};
use e2e::wait::{PATIENCE, condition_of};
use e2e::{BUSYBOX, Cluster, Subject, TestBed};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

/// Namespace of the operator.
pub(crate) const SYSTEM: &str = "hoft-system";
/// Namespace of the calling side, on cluster a.
pub(crate) const SHOP: &str = "shop";
/// Namespace of the called side, on cluster b.
pub(crate) const BACK: &str = "back";
/// The operator's account, as the audit log names it.
pub(crate) const OPERATOR: &str = "system:serviceaccount:hoft-system:hoft-operator";
/// How long a peering may take to be connected: some files are lost, and each loss costs a timeout.
pub(crate) const CONNECT_PATIENCE: Duration = Duration::from_secs(120);

/// What `restricted` demands of every container, as an unprivileged user.
pub(crate) fn restricted() -> Value {
    json!({
        "runAsNonRoot": true,
        "runAsUser": 65532,
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// A container of the test image that runs a shell script; its trap ends it at once at SIGTERM.
pub(crate) fn container(name: &str, script: &str) -> Value {
    json!({
        "name": name,
        "image": BUSYBOX,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", format!("trap 'exit 0' TERM; {script} & while :; do wait; sleep 0.1; done")],
        "securityContext": restricted(),
    })
}

/// The manifest that the README shows under a file name.
pub(crate) fn readme(file: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let head = format!("```yaml\n# {file}\n");
    let from = text.find(&head).unwrap_or_else(|| panic!("the README shows no {file}")) + head.len();
    let to = text[from..].find("```").unwrap_or_else(|| panic!("{file} in the README has no end")) + from;
    text[from..to].to_owned()
}

/// A peering.
pub(crate) fn peering(namespace: &str, name: &str) -> Subject {
    Subject::named("hoft.dev/v1alpha1", "TunnelPeering", namespace, name)
}

/// The chart's folder.
pub(crate) fn chart() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/hoft").to_owned()
}

/// Installs the chart on a cluster, unless it is there, and waits until the operator is ready.
pub(crate) async fn install_on(cluster: &Cluster, product: &Product, values: &[&str]) -> anyhow::Result<()> {
    let (operator, sidecar) = (split(&product.operator_image), split(&product.sidecar_image));
    let mut arguments: Vec<String> =
        ["upgrade", "--install", "hoft"].into_iter().map(str::to_owned).chain([chart()]).collect();
    arguments.extend(["--namespace", SYSTEM, "--create-namespace"].map(str::to_owned));
    for (which, (repository, tag)) in [("operator", operator), ("sidecar", sidecar)] {
        for (key, value) in [("repository", repository), ("tag", tag), ("pullPolicy", "Never".to_owned())] {
            arguments.extend(["--set-string".to_owned(), format!("image.{which}.{key}={value}")]);
        }
    }
    arguments.extend(["--set".to_owned(), "logs.level=debug".to_owned()]);
    arguments.extend(values.iter().map(|value| (*value).to_owned()));
    cluster.helm(&arguments).await?;
    let operator = Subject::of::<Deployment>(SYSTEM, "hoft-operator");
    cluster
        .wait_for(&operator, "has all its replicas ready", PATIENCE, |found| {
            let status = &found["status"];
            found["metadata"]["generation"] == status["observedGeneration"]
                && status["readyReplicas"] == found["spec"]["replicas"]
                && status["updatedReplicas"] == found["spec"]["replicas"]
                && status["replicas"] == found["spec"]["replicas"]
        })
        .await?;
    Ok(())
}

fn split(image: &str) -> (String, String) {
    let (repository, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
    (repository.to_owned(), tag.to_owned())
}

/// Installs the chart on both clusters: with the webhook beside the policy on a, so that both are tried.
pub(crate) async fn install(bed: &TestBed, product: &Product) -> anyhow::Result<()> {
    install_on(&bed.a, product, &["--set", "injection.webhook=true"]).await?;
    install_on(&bed.b, product, &[]).await
}

/// The README's peering across the gap, up and connected.
pub(crate) struct Line {
    /// What carries the files.
    pub(crate) mirror: Mirror,
}

impl Line {
    /// Sets it up: namespaces, folders, server, both peerings, keys copied from each status into the other's spec.
    pub(crate) async fn up(bed: &TestBed, product: &Product, faults: &[&str]) -> anyhow::Result<Self> {
        install(bed, product).await?;
        let mut folders = BTreeMap::new();
        for (cluster, namespace) in [(&bed.a, SHOP), (&bed.b, BACK)] {
            cluster.namespace(namespace).await?;
            let volume = cluster.folder_volume(namespace, "mirror").await?;
            folders.insert(namespace, (volume.subfolder("out")?, volume.subfolder("in")?));
        }
        // These clusters provision no volumes: the claim of the gateway's log is made beforehand.
        bed.b.folder_volume(BACK, "hoft-state-north-gateway-0").await?;
        serve_orders(&bed.b).await?;
        bed.a.apply_yaml(&readme("shop.yaml")).await?;
        bed.b.apply_yaml(&readme("back.yaml")).await?;
        let (north, south) = (peering(SHOP, "south"), peering(BACK, "north"));
        exchange_keys(bed, &north, &south).await?;
        let carrier = |seed: u64| {
            let mut arguments = vec!["--seed".to_owned(), seed.to_string()];
            arguments.extend(faults.iter().map(|argument| (*argument).to_owned()));
            Carrier::Hoft(arguments)
        };
        let ((a_out, a_in), (b_out, b_in)) = (folders[SHOP].clone(), folders[BACK].clone());
        let mirror = bed.mirror(&product.hoft, "line", (&a_out, &a_in), (&b_out, &b_in), (&carrier(1), &carrier(2)))?;
        mirror.start()?;
        bed.a.wait_condition(&north, "Ready", "True", PATIENCE).await?;
        bed.b.wait_condition(&south, "Ready", "True", PATIENCE).await?;
        Ok(Self { mirror })
    }
}

/// Faults of a mirror that loses a tenth of the files and cuts another.
pub(crate) const TENTH: [&str; 4] = ["--loss", "0.1", "--cut", "0.1"];

/// Copies each side's public key into the other's spec, as people do by hand.
pub(crate) async fn exchange_keys(bed: &TestBed, north: &Subject, south: &Subject) -> anyhow::Result<()> {
    for (from, shown_by, to, spec) in [(&bed.a, north, &bed.b, south), (&bed.b, south, &bed.a, north)] {
        let waiting = from.wait_for(shown_by, "shows its public key", PATIENCE, |found| {
            found["status"]["identity"]["publicKey"].is_string()
        });
        let key = waiting.await?["status"]["identity"]["publicKey"].clone();
        to.merge(spec, &json!({"spec": {"remote": {"publicKeys": [{"id": "k1", "key": key}]}}})).await?;
    }
    Ok(())
}

/// A server on b that writes down every order before it answers: method and id, a line each.
async fn serve_orders(cluster: &Cluster) -> anyhow::Result<()> {
    let script = r#"mkdir -p /tmp/www/cgi-bin && echo welcome >/tmp/www/index.html && cat >/tmp/www/cgi-bin/order <<'END'
#!/bin/sh
echo "$REQUEST_METHOD ${QUERY_STRING#id=}" >>/tmp/journal
case "$QUERY_STRING" in *slow*) sleep 600;; esac
printf 'Content-Type: text/plain\r\n\r\nordered %s\n' "${QUERY_STRING#id=}"
END
chmod +x /tmp/www/cgi-bin/order; touch /tmp/journal; httpd -f -p 8080 -h /tmp/www"#;
    let mut server = container("erp", "true");
    server["command"] =
        json!(["sh", "-c", format!("trap 'exit 0' TERM\n({script}) &\nwhile :; do wait; sleep 0.1; done")]);
    cluster
        .apply(&json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "erp", "namespace": BACK, "labels": {"app": "erp"}},
            "spec": {"containers": [server], "terminationGracePeriodSeconds": 2},
        }))
        .await?;
    cluster
        .apply(&json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "erp", "namespace": BACK},
            "spec": {"selector": {"app": "erp"}, "ports": [{"port": 80, "targetPort": 8080}]},
        }))
        .await?;
    cluster.wait_pod_ready(BACK, "erp", PATIENCE).await?;
    cluster
        .wait_for(&Subject::of::<Service>(BACK, "erp"), "has an address", PATIENCE, |found| {
            found["spec"]["clusterIP"].is_string()
        })
        .await
        .map(drop)
}

/// What the server wrote down: each line with how often it stands there.
pub(crate) async fn journal(cluster: &Cluster) -> anyhow::Result<BTreeMap<String, usize>> {
    let text = cluster.exec(BACK, "erp", "erp", &["cat", "/tmp/journal"]).await?;
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        *counts.entry(line.to_owned()).or_default() += 1;
    }
    Ok(counts)
}

/// A Deployment of one pod with an engine, labelled in its template; returns once it was applied.
pub(crate) async fn deploy_app(cluster: &Cluster, name: &str, peering: &str, script: &str) -> anyhow::Result<()> {
    cluster
        .apply(&json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": SHOP},
            "spec": {
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name, "hoft.dev/inject": peering}},
                    "spec": {"containers": [container("app", script)], "terminationGracePeriodSeconds": 5},
                },
            },
        }))
        .await
        .map(drop)
}

/// The one pod of an app, once it is ready.
pub(crate) async fn app_pod(cluster: &Cluster, name: &str) -> anyhow::Result<String> {
    let what = format!("one ready pod of {name}");
    cluster
        .wait_until(SHOP, &what, CONNECT_PATIENCE, || async {
            let list =
                cluster.kubectl(&["-n", SHOP, "get", "pods", "-l", &format!("app={name}"), "-o", "json"]).await?;
            let list: Value = serde_json::from_str(&list)?;
            let ready = list["items"].as_array().into_iter().flatten().find(|pod| {
                pod["metadata"]["deletionTimestamp"].is_null()
                    && condition_of(pod, "Ready").is_some_and(|condition| condition["status"] == "True")
            });
            Ok(ready.and_then(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)))
        })
        .await
}

/// One call of the app's container through its engine.
pub(crate) async fn call(cluster: &Cluster, pod: &str, path: &str) -> anyhow::Result<String> {
    let url = format!("http://localhost:8470{path}");
    cluster.exec(SHOP, pod, "app", &["timeout", "120", "wget", "-q", "-O", "-", &url]).await
}

/// Checks that a condition has a status and a reason, waiting for it.
pub(crate) async fn expect_reason(
    cluster: &Cluster,
    subject: &Subject,
    condition: &str,
    status: &str,
    reason: &str,
    patience: Duration,
) -> anyhow::Result<String> {
    let what = format!("{condition}={status} with the reason {reason}");
    let found = cluster
        .wait_for(subject, &what, patience, |found| {
            condition_of(found, condition)
                .is_some_and(|condition| condition["status"] == status && condition["reason"] == reason)
        })
        .await?;
    let message =
        condition_of(&found, condition).and_then(|condition| condition["message"].as_str()).unwrap_or_default();
    ensure!(!message.is_empty(), "{condition} has no message");
    Ok(message.to_owned())
}

/// The Events of a namespace with a reason: their notes.
pub(crate) async fn events(cluster: &Cluster, namespace: &str, reason: &str) -> anyhow::Result<Vec<String>> {
    let selector = format!("reason={reason}");
    let list = cluster
        .kubectl(&["-n", namespace, "get", "events.events.k8s.io", "--field-selector", &selector, "-o", "json"])
        .await?;
    let list: Value = serde_json::from_str(&list).context("kubectl printed no JSON")?;
    Ok(list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|event| event["note"].as_str().map(str::to_owned))
        .collect())
}

/// A public token of fresh keys of a side, made by `hoft keygen`; the secret half stays in the scratch folder.
pub(crate) fn token(product: &Product, scratch: &Path, side: &str) -> anyhow::Result<String> {
    let (mut number, mut secret) = (0, scratch.join(format!("{side}.key")));
    while secret.exists() {
        number += 1;
        secret = scratch.join(format!("{side}-{number}.key"));
    }
    let output = Command::new(&product.hoft).args(["keygen", "--side", side, "--out"]).arg(&secret).output()?;
    ensure!(output.status.success(), "hoft keygen: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
