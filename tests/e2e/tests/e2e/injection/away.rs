//! The operator is scaled to nothing, restarted, and makes new certificate authorities: what goes on, and what does not.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use e2e::TestBed;
use e2e::images::product::Product;
use e2e::wait::PATIENCE;
use e2e::{Cluster, Subject};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use serde_json::Value;

use crate::world::{self, SHOP, SYSTEM};

/// The operator, as kubectl names it.
const OPERATOR: &str = "deployment/hoft-operator";
/// How long the shortest-lived authorities are good; the operator takes nothing shorter.
const LIFETIME: &str = "30s";
/// In which two of them come and go.
const ROTATIONS_PATIENCE: Duration = Duration::from_secs(120);

/// Pods of the policy and pods of nobody start without the operator; those of its webhook wait for it.
pub(crate) async fn operator_away(bed: &TestBed, product: &Product) -> anyhow::Result<()> {
    let cluster = &bed.a;
    world::install(bed, product).await?;
    let peerings = [("policy", "AdmissionPolicy"), ("auto", "Auto"), ("webhook", "Webhook")];
    super::ready_peerings(cluster, product, &peerings).await?;
    scale(cluster, 0).await?;
    let without = without_operator(cluster).await;
    let back = Instant::now();
    scale(cluster, 2).await?;
    without?;
    let ready = back.elapsed();
    // The workload's controller tries again by itself, with growing pauses.
    world::app_pod(cluster, "late").await?;
    println!(
        "  measured: operator ready {:.1} s after it was scaled up, the refused Deployment's pod ready after {:.1} s",
        ready.as_secs_f64(),
        back.elapsed().as_secs_f64()
    );
    Ok(())
}

async fn scale(cluster: &Cluster, replicas: usize) -> anyhow::Result<()> {
    cluster.kubectl(&["-n", SYSTEM, "scale", OPERATOR, &format!("--replicas={replicas}")]).await?;
    if replicas > 0 {
        return settled(cluster).await;
    }
    cluster
        .wait_until(SYSTEM, "no operator runs", PATIENCE, || async {
            Ok(super::operator_pods(cluster).await?.is_empty().then_some(()))
        })
        .await
}

/// Waits until the operator runs as its Deployment says, and nothing else of it.
async fn settled(cluster: &Cluster) -> anyhow::Result<()> {
    let operator = Subject::of::<Deployment>(SYSTEM, "hoft-operator");
    cluster
        .wait_for(&operator, "has all its replicas ready", PATIENCE, |found| {
            let status = &found["status"];
            let counts = ["readyReplicas", "updatedReplicas", "replicas"];
            found["metadata"]["generation"] == status["observedGeneration"]
                && counts.iter().all(|count| status[count] == found["spec"]["replicas"])
        })
        .await
        .map(drop)
}

async fn without_operator(cluster: &Cluster) -> anyhow::Result<()> {
    world::deploy_app(cluster, "late", "webhook", "sleep 86400").await?;
    let mut took = Vec::new();
    for (name, peering) in [("plain", None), ("by-policy", Some("policy")), ("by-auto", Some("auto"))] {
        let began = Instant::now();
        cluster.create(&super::pod(name, peering)).await?;
        took.push(format!("{name} {} ms", began.elapsed().as_millis()));
    }
    let began = Instant::now();
    let refused = cluster.create(&super::pod("by-webhook", Some("webhook"))).await;
    took.push(format!("refusing by-webhook {} ms", began.elapsed().as_millis()));
    let refused = format!("{:#}", refused.map(drop).expect_err("a pod of the webhook was let in without it"));
    ensure!(
        refused.contains("failed calling webhook \"pods.hoft.dev\"") && refused.contains("hoft-webhook"),
        "{refused}"
    );
    for name in ["plain", "by-policy", "by-auto"] {
        let pod = cluster.wait_pod_ready(SHOP, name, PATIENCE).await?;
        ensure!(super::engine(&pod).is_null() == (name == "plain"), "{name}: {:#}", pod["spec"]["initContainers"]);
    }
    let late = Subject::of::<Deployment>(SHOP, "late");
    let late = cluster.wait_condition(&late, "ReplicaFailure", "True", PATIENCE).await?;
    ensure!(late["status"]["conditions"].to_string().contains("failed calling webhook"), "{:#}", late["status"]);
    println!("  measured: admission without the operator: {}", took.join(", "));
    Ok(())
}

/// The operator restarts, and then makes a new authority every twenty seconds: no labelled pod is refused meanwhile.
pub(crate) async fn new_authorities(bed: &TestBed, product: &Product) -> anyhow::Result<()> {
    let cluster = &bed.a;
    world::install(bed, product).await?;
    super::ready_peerings(cluster, product, &[("webhook", "Webhook")]).await?;
    let first = bundle(cluster).await?;
    let (restarted, tries) = with_pods(cluster, async {
        cluster.kubectl(&["-n", SYSTEM, "rollout", "restart", OPERATOR]).await?;
        settled(cluster).await
    })
    .await?;
    restarted?;
    ensure!(bundle(cluster).await? == first, "a restart made a new authority");
    println!("  measured: {tries} pods by the webhook while the operator restarted, none refused");

    let set = |value: String| async move {
        cluster.kubectl(&["-n", SYSTEM, "set", "env", OPERATOR, &value]).await?;
        settled(cluster).await
    };
    let rotated = with_pods(cluster, async {
        set(format!("HOFT_WEBHOOK_CA_LIFETIME={LIFETIME}")).await?;
        rotations(cluster).await
    })
    .await;
    set("HOFT_WEBHOOK_CA_LIFETIME-".to_owned()).await?;
    let (rotated, tries) = rotated?;
    let took = rotated?;
    println!(
        "  measured: {tries} pods by the webhook while it went through three authorities in {took:.0} s, none refused"
    );
    // With the usual lifetime again: the short ones go, and a lasting one stays.
    cluster.create(&super::pod("app", Some("webhook"))).await?;
    cluster.wait_pod_ready(SHOP, "app", PATIENCE).await.map(drop)
}

/// Tries pods until the work is done; none may be refused.
async fn with_pods<T>(cluster: &Cluster, work: impl Future<Output = T>) -> anyhow::Result<(T, usize)> {
    let mut work = std::pin::pin!(work);
    let pod = super::pod("tried", Some("webhook"));
    let mut tries = 0;
    let mut refusals = Vec::new();
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                ensure!(refusals.is_empty(), "{} of {tries} pods were refused: {:#?}", refusals.len(), refusals);
                return Ok((done, tries));
            }
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
        tries += 1;
        match super::tried(cluster, &pod).await {
            Ok(made) => {
                let made = serde_json::to_value(made)?;
                ensure!(super::engine(&made)["restartPolicy"] == "Always", "a pod without its engine was let in");
            }
            Err(error) => refusals.push(error.to_string()),
        }
    }
}

/// Waits for three further authorities, and until each replica serves a certificate of such a short life; gives the seconds
/// that took.
async fn rotations(cluster: &Cluster) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut seen = authorities(cluster).await?;
    let before = seen.len();
    while seen.len() < before + 3 {
        let known = seen.clone();
        let what = format!("there is another authority than {known:?}");
        seen.extend(
            cluster
                .wait_until(SYSTEM, &what, ROTATIONS_PATIENCE, || async {
                    Ok(Some(authorities(cluster).await?).filter(|found| !found.is_subset(&known)))
                })
                .await?,
        );
    }
    for pod in super::operator_pods(cluster).await? {
        let (_, text) = cluster.pod_get(SYSTEM, &pod, 8080, "/metrics").await?;
        let expiry = "hoft_operator_webhook_certificate_expiry_timestamp_seconds{} ";
        let line =
            text.lines().find_map(|line| line.strip_prefix(expiry)).with_context(|| format!("{pod}:\n{text}"))?;
        let left = line.parse::<f64>()? - Timestamp::now().as_millisecond() as f64 / 1_000.0;
        ensure!((0.0..=30.0).contains(&left), "the certificate of {pod} is good for {left} s");
    }
    Ok(began.elapsed().as_secs_f64())
}

/// Names of the authorities in the operator's Secret.
async fn authorities(cluster: &Cluster) -> anyhow::Result<BTreeSet<String>> {
    let secrets: Api<Secret> = Api::namespaced(cluster.client(), SYSTEM);
    let data = secrets.get("hoft-webhook-ca").await?.data.unwrap_or_default();
    let text = data.get("authorities.json").context("the Secret has no authorities.json")?;
    let list: Value = serde_json::from_slice(&text.0)?;
    Ok(list.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str().map(str::to_owned)).collect())
}

/// The CAs that the API server trusts, as PEM.
async fn bundle(cluster: &Cluster) -> anyhow::Result<String> {
    let subject = Subject::of::<MutatingWebhookConfiguration>("", "hoft-inject");
    let found: Value = cluster.object(&subject).await?.context("there is no webhook configuration")?;
    Ok(found["webhooks"][0]["clientConfig"]["caBundle"].as_str().context("there is no caBundle")?.to_owned())
}
