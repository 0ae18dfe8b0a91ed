//! Injection on real API servers: by the MutatingAdmissionPolicy and by the operator's webhook, side by side on cluster a.
//!
//! The peerings here have a far side that never answers: any valid key makes one Ready, and what a program sees then are
//! answers of the engine in its own pod. Files: `kinds.rs` every kind of pod, `refusals.rs` who gets no engine and why,
//! `life.rs` an engine's beginning, end and age, `away.rs` the operator scaled to nothing, and its webhook's CAs.

use anyhow::{Context, ensure};
use e2e::fixtures::FolderVolume;
use e2e::images::product::Product;
use e2e::wait::PATIENCE;
use e2e::{Cluster, Subject};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};

use crate::world::{self, SHOP, SYSTEM};

mod away;
mod kinds;
mod life;
mod refusals;

pub(crate) use away::{new_authorities, operator_away};
pub(crate) use kinds::every_kind;
pub(crate) use life::{counts, order};
pub(crate) use refusals::refused;

/// The claim that all peerings here share, each with folders of its own.
const CLAIM: &str = "mirror";

/// A call that the engine of a pod answers by itself: there is no such route.
const CALL: &str = r"(printf 'GET /to/nothing/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'; sleep 1) | nc localhost 8470";

/// A call that it refuses: nobody declared the destination.
const FORBIDDEN_CALL: &str = r"(printf 'GET http://elsewhere.example/ HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n'; sleep 1) | nc localhost 8470";

/// The namespace `shop` with the folders of peerings of these names.
async fn shop(cluster: &Cluster, peerings: &[&str]) -> anyhow::Result<FolderVolume> {
    cluster.namespace(SHOP).await?;
    let volume = cluster.folder_volume(SHOP, CLAIM).await?;
    for name in peerings {
        for folder in ["out", "in"] {
            volume.subfolder(&format!("{name}/{folder}"))?;
        }
    }
    Ok(volume)
}

/// A peering that waits for the far side's key.
fn peering(name: &str, mechanism: &str) -> Value {
    json!({
        "apiVersion": "hoft.dev/v1alpha1",
        "kind": "TunnelPeering",
        "metadata": {"name": name, "namespace": SHOP},
        "spec": {
            "local": {"name": "north"},
            "remote": {"name": "south"},
            "volume": {
                "group": 2000,
                "outbox": {"claimName": CLAIM, "subPath": format!("{name}/out")},
                "inbox": {"claimName": CLAIM, "subPath": format!("{name}/in")},
                "mirror": {"expectedLatency": "2s"},
            },
            "injection": {"mechanism": mechanism},
            "outbound": {"allow": [rule("erp")]},
        },
    })
}

/// A rule that lets pods call one host.
fn rule(name: &str) -> Value {
    let host = format!("{name}.south.example");
    json!({
        "name": name,
        "destinations": [{"host": host, "port": 80, "schemes": ["http"], "methods": ["GET"], "paths": ["/"]}],
    })
}

/// Gives a peering the key of a far side that nobody plays, and waits until engines can be put into pods.
async fn make_ready(cluster: &Cluster, product: &Product, name: &str) -> anyhow::Result<Value> {
    let folder = tempfile::tempdir()?;
    let key = world::token(product, folder.path(), "south")?;
    let subject = world::peering(SHOP, name);
    let spec = json!({"spec": {"remote": {"publicKeys": [{"id": "k1", "key": key}]}}});
    cluster.merge(&subject, &spec).await?;
    cluster.wait_condition(&subject, "Ready", "True", PATIENCE).await
}

/// Peerings that are Ready: name and mechanism of each.
async fn ready_peerings(
    cluster: &Cluster,
    product: &Product,
    peerings: &[(&str, &str)],
) -> anyhow::Result<FolderVolume> {
    let names: Vec<&str> = peerings.iter().map(|(name, _)| *name).collect();
    let volume = shop(cluster, &names).await?;
    for (name, mechanism) in peerings {
        cluster.apply(&peering(name, mechanism)).await?;
    }
    for name in names {
        make_ready(cluster, product, name).await?;
    }
    Ok(volume)
}

/// A bare pod; labelled, if it names a peering.
fn pod(name: &str, peering: Option<&str>) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": SHOP},
        "spec": {"containers": [world::container("app", "sleep 86400")], "terminationGracePeriodSeconds": 5},
    });
    if let Some(peering) = peering {
        pod["metadata"]["labels"] = json!({"hoft.dev/inject": peering});
    }
    pod
}

/// What the API server would make of a pod, webhooks and policies included.
async fn tried(cluster: &Cluster, pod: &Value) -> Result<DynamicObject, kube::Error> {
    let asked = PostParams { dry_run: true, ..PostParams::default() };
    let object: DynamicObject = serde_json::from_value(pod.clone()).map_err(kube::Error::SerdeError)?;
    cluster.api(&Subject::of::<Pod>(SHOP, "")).create(&asked, &object).await
}

/// The pods of a namespace with a label, as JSON.
async fn pods(cluster: &Cluster, namespace: &str, label: &str) -> anyhow::Result<Vec<Value>> {
    let list = cluster.kubectl(&["-n", namespace, "get", "pods", "-l", label, "-o", "json"]).await?;
    let list: Value = serde_json::from_str(&list).context("kubectl printed no JSON")?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

/// The operator's pods.
async fn operator_pods(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let pods = pods(cluster, SYSTEM, "app.kubernetes.io/name=hoft-operator").await?;
    Ok(pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect())
}

/// How many pods the webhook's replicas put an engine into so far.
async fn injected_by_webhook(cluster: &Cluster) -> anyhow::Result<u64> {
    let series = "hoft_operator_webhook_requests_total{result=\"injected\"} ";
    let mut sum = 0;
    for pod in operator_pods(cluster).await? {
        let (status, text) = cluster.pod_get(SYSTEM, &pod, 8080, "/metrics").await?;
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        sum += line.with_context(|| format!("{pod} answers {status} without {series}:\n{text}"))?.parse::<u64>()?;
    }
    Ok(sum)
}

/// The engine in a pod, as its spec has it.
fn engine(pod: &Value) -> &Value {
    let mut beside = pod["spec"]["initContainers"].as_array().into_iter().flatten();
    beside.find(|container| container["name"] == "hoft").unwrap_or(&Value::Null)
}

/// The volumes that came with the engine, in their order.
fn engine_volumes(pod: &Value) -> Vec<&Value> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.filter(|volume| volume["name"].as_str().is_some_and(|name| name.starts_with("hoft-"))).collect()
}

/// What the status says of a container.
fn state<'a>(pod: &'a Value, container: &str) -> &'a Value {
    let lists = ["initContainerStatuses", "containerStatuses"];
    let mut states = lists.iter().flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    states.find(|state| state["name"] == container).unwrap_or(&Value::Null)
}

/// A moment of a status, which knows whole seconds.
fn moment(of: &Value) -> anyhow::Result<Timestamp> {
    let text = of.as_str().with_context(|| format!("{of} is no time"))?;
    text.parse().with_context(|| format!("{text} is no time"))
}

/// Seconds from one moment of a status to another.
fn seconds_between(from: &Value, to: &Value) -> anyhow::Result<f64> {
    Ok(moment(to)?.duration_since(moment(from)?).as_secs_f64())
}

/// Checks that the engine itself answered what a program of the pod wrote down.
fn says_problem(written: &str, status: u16, slug: &str) -> anyhow::Result<()> {
    let words = [format!("HTTP/1.1 {status} "), "application/problem+json".to_owned(), slug.to_owned()];
    let lacks: Vec<_> = words.iter().filter(|word| !written.contains(*word)).collect();
    ensure!(lacks.is_empty(), "the engine's answer lacks {lacks:?}:\n{written}");
    Ok(())
}
