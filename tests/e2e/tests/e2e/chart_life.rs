//! The chart's life: installed, upgraded, uninstalled, installed again, while calls go on; and what goes with a peering, a
//! namespace and a release.
//!
//! Last of all scenarios: it takes away what the others install.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::images::product::Product;
use e2e::wait::PATIENCE;
use e2e::{Cluster, Subject, TestBed};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use serde_json::json;

use crate::engines::Running;
use crate::operators::Replicas;
use crate::world::{self, BACK, CONNECT_PATIENCE, Line, SHOP, SYSTEM};

/// The definition, the one thing that an uninstalled release leaves.
const DEFINITION: &str = "CustomResourceDefinition <none> tunnelpeerings.hoft.dev";
/// A namespace goes within the time of its pods and two rounds of its controller.
const NAMESPACE_PATIENCE: Duration = Duration::from_secs(90);
/// Kinds that come and go by themselves; an APIService is there for each definition.
const RESTLESS: [&str; 5] = ["APIService", "Event", "IPAddress", "NodeMetrics", "PodMetrics"];

/// From a cluster without hoft and back to one.
pub(crate) async fn goes_on_without_the_operator(bed: &TestBed, product: &Product) -> anyhow::Result<()> {
    for cluster in bed.clusters() {
        remove_all(cluster).await?;
    }
    let before = [inventory(&bed.a).await?, inventory(&bed.b).await?];
    let _line = Line::up(bed, product, &[]).await?;
    world::deploy_app(&bed.a, "app", "south", "sleep 86400").await?;
    let app = world::app_pod(&bed.a, "app").await?;
    connected(bed).await?;
    call(bed, &app).await?;
    let running = Running::look(bed, &app).await?;

    upgrade(bed, product).await?;
    connected(bed).await?;
    call(bed, &app).await?;
    running.expect_same(bed, &app, "the upgrade").await?;

    for (cluster, before) in bed.clusters().into_iter().zip(&before) {
        uninstall(cluster, before).await?;
    }
    call(bed, &app).await?;
    starts_without_an_engine(&bed.a).await?;
    running.expect_same(bed, &app, "the uninstallation").await?;

    world::install(bed, product).await?;
    connected(bed).await?;
    call(bed, &app).await?;
    world::deploy_app(&bed.a, "second", "south", "sleep 86400").await?;
    let second = world::app_pod(&bed.a, "second").await?;
    call(bed, &second).await?;
    running.expect_same(bed, &app, "the second installation").await?;

    deleted_peering(&bed.b).await?;
    let shop = Subject::of::<Namespace>("", SHOP);
    bed.a.delete(&shop).await?;
    bed.a.wait_gone(&shop, NAMESPACE_PATIENCE).await?;
    for cluster in bed.clusters() {
        remove_all(cluster).await?;
    }
    Ok(())
}

async fn connected(bed: &TestBed) -> anyhow::Result<()> {
    for (cluster, peering) in [(&bed.a, world::peering(SHOP, "south")), (&bed.b, world::peering(BACK, "north"))] {
        cluster.wait_condition(&peering, "Ready", "True", PATIENCE).await?;
        cluster.wait_condition(&peering, "Connected", "True", CONNECT_PATIENCE).await?;
    }
    Ok(())
}

async fn call(bed: &TestBed, pod: &str) -> anyhow::Result<()> {
    let answer = world::call(&bed.a, pod, "/to/erp/").await?;
    ensure!(answer.trim() == "welcome", "the answer is {answer:?}");
    Ok(())
}

/// Other values roll the operator.
async fn upgrade(bed: &TestBed, product: &Product) -> anyhow::Result<()> {
    let before = [Replicas::of(&bed.a).await?, Replicas::of(&bed.b).await?];
    let level = ["--set", "logs.level=info"];
    world::install_on(&bed.a, product, &[&["--set", "injection.webhook=true"][..], &level].concat()).await?;
    world::install_on(&bed.b, product, &level).await?;
    for (cluster, before) in bed.clusters().into_iter().zip(&before) {
        let now = Replicas::of(cluster).await?;
        ensure!(now.0.keys().all(|pod| !before.0.contains_key(pod)), "the upgrade replaced no replica: {now:?}");
    }
    Ok(())
}

/// Takes the release away: nothing of it stays but the definition, and the peerings stay with it.
async fn uninstall(cluster: &Cluster, before: &BTreeSet<String>) -> anyhow::Result<()> {
    let said = cluster.helm(&["uninstall", "hoft", "--namespace", SYSTEM, "--wait"]).await?;
    ensure!(said.contains("CustomResourceDefinition"), "helm does not say that the definition is kept: {said}");
    let what = "nothing is left of the release but its definition";
    let only_definition = || async {
        let now = inventory(cluster).await?;
        let left: BTreeSet<&String> = now.difference(before).collect();
        Ok((left.len() == 1 && left.iter().all(|one| *one == DEFINITION)).then_some(()))
    };
    if let Err(error) = cluster.wait_until(SYSTEM, what, PATIENCE, only_definition).await {
        let left: Vec<String> = inventory(cluster).await?.difference(before).cloned().collect();
        return Err(error.context(format!("left behind: {left:#?}")));
    }
    let peerings = cluster.kubectl(&["get", "tunnelpeerings", "--all-namespaces", "-o", "name"]).await?;
    ensure!(peerings.lines().count() == 1, "the peerings are {peerings:?}");
    Ok(())
}

/// With the release went what puts engines into pods and what refuses pods without one.
async fn starts_without_an_engine(cluster: &Cluster) -> anyhow::Result<()> {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "late", "namespace": SHOP, "labels": {"hoft.dev/inject": "south"}},
        "spec": {"containers": [world::container("app", "sleep 1000")], "terminationGracePeriodSeconds": 2},
    });
    let made = cluster.wait_until(SHOP, "a labelled pod is let in", PATIENCE, || async {
        // The API server forgets a policy within a second or so.
        Ok(cluster.create(&pod).await.ok())
    });
    made.await?;
    let ready = cluster.wait_pod_ready(SHOP, "late", PATIENCE).await?;
    ensure!(ready["spec"]["initContainers"].is_null(), "it has an engine: {}", ready["spec"]["initContainers"]);
    // A pod that the restarted operator finds without an engine must not trouble it; then it goes.
    pod["metadata"]["name"] = "later".into();
    cluster.create(&pod).await?;
    cluster.delete(&Subject::of::<Pod>(SHOP, "later")).await
}

/// With a peering go its children; the gateway's log stays, as the claims of a StatefulSet do.
async fn deleted_peering(cluster: &Cluster) -> anyhow::Result<()> {
    let children = "configmaps,secrets,services,statefulsets,pods";
    let list = ["-n", BACK, "get", children, "-l", "hoft.dev/peering=north", "-o", "name"];
    let there = cluster.kubectl(&list).await?;
    for kind in ["configmap/", "secret/north-identity-", "service/", "statefulset.apps/", "pod/"] {
        ensure!(there.contains(kind), "there is no {kind} of the peering: {there}");
    }
    cluster.kubectl(&["-n", BACK, "delete", "tp", "north", "--timeout=30s"]).await?;
    cluster
        .wait_until(BACK, "the peering's children are gone", PATIENCE, || async {
            let left = cluster.kubectl(&list).await?;
            Ok(left.is_empty().then_some(()))
        })
        .await?;
    cluster.wait_gone(&Subject::of::<StatefulSet>(BACK, "north-gateway"), PATIENCE).await
}

/// Release, definition with all peerings, and namespace.
async fn remove_all(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.helm(&["uninstall", "hoft", "--namespace", SYSTEM, "--ignore-not-found", "--wait"]).await?;
    cluster.kubectl(&["delete", "crd", "tunnelpeerings.hoft.dev", "--ignore-not-found", "--timeout=60s"]).await?;
    let system = Subject::of::<Namespace>("", SYSTEM);
    cluster.delete(&system).await?;
    cluster.wait_gone(&system, NAMESPACE_PATIENCE).await
}

/// Every object of the cluster, as `Kind namespace name`, but for those of the scenario's own namespaces and those that
/// Kubernetes makes in every namespace.
async fn inventory(cluster: &Cluster) -> anyhow::Result<BTreeSet<String>> {
    let kinds = cluster.kubectl(&["api-resources", "--verbs=list", "-o", "name"]).await?;
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
    let columns = "custom-columns=K:.kind,S:.metadata.namespace,N:.metadata.name";
    let text = cluster.kubectl(&["get", &kinds.join(","), "--all-namespaces", "--no-headers", "-o", columns]).await?;
    let mut objects = BTreeSet::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [kind, namespace, name] = words[..] else {
            return Err(anyhow::anyhow!("kubectl printed {line:?}")).context("no three columns");
        };
        let ours = |word: &str| [SHOP, BACK].iter().any(|own| word == *own || word.starts_with(&format!("{own}-")));
        let given = matches!((kind, name), ("ConfigMap", "kube-root-ca.crt") | ("ServiceAccount", "default"))
            || (kind == "Lease" && namespace.starts_with("kube-"));
        let system = (kind, name) == ("Namespace", SYSTEM);
        if !(RESTLESS.contains(&kind) || ours(namespace) || ours(name) && namespace == "<none>" || given || system) {
            objects.insert(words.join(" "));
        }
    }
    Ok(objects)
}
