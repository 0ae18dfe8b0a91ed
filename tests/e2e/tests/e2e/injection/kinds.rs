//! Every kind of pod gets its engine, whoever injects, and gets the same.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use e2e::TestBed;
use e2e::images::product::Product;
use e2e::wait::PATIENCE;
use e2e::{Cluster, Subject};
use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

use super::{CALL, FORBIDDEN_CALL};
use crate::world::{self, SHOP, restricted};

/// Kinds of pods that a scenario makes with each mechanism.
const KINDS: [&str; 4] = ["deployment", "job", "bare", "made"];

/// Deployment, Job, bare pod, and a pod with a made-up name and things of its own: by the policy, then by the webhook.
pub(crate) async fn every_kind(bed: &TestBed, product: &Product) -> anyhow::Result<()> {
    let cluster = &bed.a;
    world::install(bed, product).await?;
    super::ready_peerings(cluster, product, &[("south", "AdmissionPolicy")]).await?;
    let subject = world::peering(SHOP, "south");
    let mut found = Vec::new();
    for (mechanism, by_webhook) in [("AdmissionPolicy", 0), ("Webhook", KINDS.len() as u64)] {
        cluster.merge(&subject, &json!({"spec": {"injection": {"mechanism": mechanism}}})).await?;
        asked_by(cluster, mechanism == "Webhook").await?;
        let before = super::injected_by_webhook(cluster).await?;
        let tag = mechanism.to_lowercase();
        make(cluster, &tag).await?;
        found.extend(settled(cluster, &tag).await?);
        let injected = super::injected_by_webhook(cluster).await? - before;
        ensure!(injected == by_webhook, "{mechanism}: the webhook put an engine into {injected} pods");
    }
    let rendered = cluster.object(&subject).await?.context("the peering is gone")?["status"]["injection"].clone();
    for (what, pod) in &found {
        got_what_was_rendered(pod, &rendered).with_context(|| what.clone())?;
        // The same, byte by byte, as the first; who injected it makes no difference.
        let first = &found[0].1;
        ensure!(super::engine(pod) == super::engine(first), "{what} has another engine");
        ensure!(super::engine_volumes(pod) == super::engine_volumes(first), "{what} has other volumes");
        called(cluster, pod).await.with_context(|| what.clone())?;
    }
    Ok(())
}

/// Waits until the API server knows who injects: it follows a change of the peering within a moment.
async fn asked_by(cluster: &Cluster, webhook: bool) -> anyhow::Result<()> {
    let what = format!("the webhook is asked: {webhook}");
    cluster
        .wait_until(SHOP, &what, PATIENCE, || async {
            let before = super::injected_by_webhook(cluster).await?;
            super::tried(cluster, &super::pod("tried", Some("south"))).await?;
            let asked = super::injected_by_webhook(cluster).await? > before;
            Ok((asked == webhook).then_some(()))
        })
        .await
}

/// Makes one of each kind.
async fn make(cluster: &Cluster, tag: &str) -> anyhow::Result<()> {
    let labels = |kind: &str| json!({"hoft.dev/inject": "south", "kind": kind, "tag": tag});
    let app = || world::container("app", &format!("{CALL}; echo; {FORBIDDEN_CALL}; echo; sleep 86400"));
    let once = json!({
        "name": "app",
        "image": e2e::BUSYBOX,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", format!("{CALL}; echo; {FORBIDDEN_CALL}; echo")],
        "securityContext": restricted(),
    });
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": format!("deployment-{tag}"), "namespace": SHOP},
        "spec": {
            "selector": {"matchLabels": labels("deployment")},
            "template": {
                "metadata": {"labels": labels("deployment")},
                "spec": {"containers": [app()], "terminationGracePeriodSeconds": 5},
            },
        },
    });
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": format!("job-{tag}"), "namespace": SHOP},
        "spec": {
            "backoffLimit": 0,
            "template": {
                "metadata": {"labels": labels("job")},
                "spec": {"containers": [once.clone()], "restartPolicy": "Never", "terminationGracePeriodSeconds": 30},
            },
        },
    });
    let bare = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": format!("bare-{tag}"), "namespace": SHOP, "labels": labels("bare")},
        "spec": {"containers": [app()], "terminationGracePeriodSeconds": 5},
    });
    // Its own init container already calls through the engine.
    let mut own = once;
    own["name"] = "own".into();
    let mut keeper = app();
    keeper["volumeMounts"] = json!([{"name": "scratch", "mountPath": "/scratch"}]);
    let made = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": format!("made-{tag}-"),
            "namespace": SHOP,
            "labels": labels("made"),
            "annotations": {"example.org/own": "kept"},
        },
        "spec": {
            "initContainers": [own],
            "containers": [keeper],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
            "terminationGracePeriodSeconds": 5,
        },
    });
    for object in [deployment, job, bare, made] {
        cluster.create(&object).await?;
    }
    Ok(())
}

/// The one pod of each kind, ready or, of a Job, complete.
async fn settled(cluster: &Cluster, tag: &str) -> anyhow::Result<Vec<(String, Value)>> {
    let mut found = BTreeMap::new();
    for kind in KINDS {
        let label = format!("tag={tag},kind={kind}");
        let what = format!("there is one pod of the {kind} by {tag}");
        let name = cluster
            .wait_until(SHOP, &what, PATIENCE, || async {
                let pods = super::pods(cluster, SHOP, &label).await?;
                Ok(pods.first().and_then(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)))
            })
            .await?;
        if kind == "job" {
            completed(cluster, &format!("job-{tag}"), &label).await?;
        } else {
            cluster.wait_pod_ready(SHOP, &name, PATIENCE).await?;
        }
        let mut pods = super::pods(cluster, SHOP, &label).await?;
        ensure!(pods.len() == 1, "{} pods of the {kind} by {tag}", pods.len());
        found.extend(pods.pop().map(|pod| (format!("{kind} by {tag}"), pod)));
    }
    Ok(found.into_iter().collect())
}

/// A Job ends: the engine follows the app, with success, and the Job is complete.
async fn completed(cluster: &Cluster, name: &str, label: &str) -> anyhow::Result<()> {
    let job = cluster.wait_condition(&Subject::of::<Job>(SHOP, name), "Complete", "True", PATIENCE).await?;
    ensure!(job["status"]["failed"].is_null(), "a pod of the Job failed: {:#}", job["status"]);
    let pod = super::pods(cluster, SHOP, label).await?.pop().context("the Job's pod is gone")?;
    let [app, engine] = ["app", "hoft"].map(|container| &super::state(&pod, container)["state"]["terminated"]);
    ensure!(engine["exitCode"] == 0, "the engine ended with {engine:#}");
    let engine_after = super::seconds_between(&app["finishedAt"], &engine["finishedAt"])?;
    let complete_after = super::seconds_between(&app["finishedAt"], &job["status"]["completionTime"])?;
    ensure!(engine_after >= 0.0, "the engine ended before the app: {engine:#} {app:#}");
    println!(
        "  measured: {name}: engine ended {engine_after:.0} s after its app, Job complete after {complete_after:.0} s"
    );
    Ok(())
}

/// The engine is first, whole, and stays; the pod's own things are as they were.
fn got_what_was_rendered(pod: &Value, rendered: &Value) -> anyhow::Result<()> {
    let (spec, metadata) = (&pod["spec"], &pod["metadata"]);
    let engine = &spec["initContainers"][0];
    ensure!(engine["name"] == "hoft" && engine["restartPolicy"] == "Always", "the first init container is {engine:#}");
    includes(engine, &rendered["container"])?;
    let volumes = super::engine_volumes(pod);
    let wanted: Vec<&Value> = rendered["volumes"].as_array().into_iter().flatten().collect();
    ensure!(volumes.len() == wanted.len() && !wanted.is_empty(), "volumes: {volumes:#?}");
    for (volume, wanted) in volumes.into_iter().zip(wanted) {
        includes(volume, wanted)?;
    }
    let annotations = &metadata["annotations"];
    let revision = rendered["revision"].as_i64().context("nothing is rendered")?.to_string();
    ensure!(annotations["hoft.dev/injected-version"] == revision, "{annotations:#}");
    ensure!(annotations["hoft.dev/peering"] == "south", "{annotations:#}");
    if metadata["labels"]["kind"] == "made" {
        ensure!(annotations["example.org/own"] == "kept", "{annotations:#}");
        ensure!(spec["initContainers"][1]["name"] == "own", "{:#}", spec["initContainers"]);
        ensure!(
            spec["volumes"].as_array().is_some_and(|volumes| volumes.iter().any(|volume| volume["name"] == "scratch"))
        );
    }
    Ok(())
}

/// Everything that was rendered is there; the API server's defaults may stand beside it.
fn includes(found: &Value, wanted: &Value) -> anyhow::Result<()> {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            for (key, value) in wanted {
                includes(found.get(key).unwrap_or(&Value::Null), value).with_context(|| key.clone())?;
            }
        }
        (Value::Array(found), Value::Array(wanted)) => {
            ensure!(found.len() == wanted.len(), "{found:?} instead of {wanted:?}");
            for (number, (found, wanted)) in found.iter().zip(wanted).enumerate() {
                includes(found, wanted).with_context(|| number.to_string())?;
            }
        }
        _ => ensure!(found == wanted, "{found} instead of {wanted}"),
    }
    Ok(())
}

/// The first thing every program of the pod did was to call, and the engine answered.
async fn called(cluster: &Cluster, pod: &Value) -> anyhow::Result<()> {
    let name = pod["metadata"]["name"].as_str().context("a pod without a name")?;
    let own = pod["metadata"]["labels"]["kind"] == "made";
    for container in ["own", "app"].into_iter().filter(|container| own || *container == "app") {
        // Each call takes a second, and its head comes before its body.
        let log = cluster
            .wait_until(SHOP, "both calls were answered", PATIENCE, || async {
                let log = cluster.logs(SHOP, name, container).await?;
                Ok((log.matches("\"type\":\"urn:hoft:problem:").count() == 2).then_some(log))
            })
            .await?;
        super::says_problem(&log, 404, "unknown-route")?;
        super::says_problem(&log, 403, "route-denied")?;
    }
    if pod["metadata"]["labels"]["kind"] != "job" {
        let (status, text) = cluster.pod_get(SHOP, name, 9470, "/statusz").await?;
        let said: Value = serde_json::from_str(&text).with_context(|| format!("/statusz answers {status} {text}"))?;
        ensure!(said["kind"] == "pod" && said["endpoint_name"] == pod["metadata"]["uid"], "{said:#}");
    }
    Ok(())
}
