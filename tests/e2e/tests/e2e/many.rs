//! Five hundred generated peerings at once: the operator looks after all of them, whatever they ask for.
//!
//! The objects are those of `crd_types::testing::sample`: half of them ask for what can be carried out, half for whatever the
//! API server lets through. A quota keeps every pod from being made: what is tried is the operator, not the node.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use crd_types::ConditionType;
use crd_types::testing::sample;
use e2e::images::product::Product;
use e2e::wait::{PATIENCE, condition_of};
use e2e::{Cluster, TestBed};
use futures_util::{StreamExt, TryStreamExt, stream};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use serde_json::{Value, json};

use crate::operators::Replicas;
use crate::world;

const NAMESPACE: &str = "many";
/// How many peerings.
const PEERINGS: u64 = 500;
/// Requests under way at once.
const AT_ONCE: usize = 8;
/// How long the operator may take until it judged all of them.
const JUDGED: Duration = Duration::from_secs(90);

/// All get their conditions; no replica of the operator is restarted or panics, also while they go.
pub(crate) async fn are_all_looked_after(bed: &TestBed, product: &Product) -> anyhow::Result<()> {
    let cluster = &bed.b;
    world::install_on(cluster, product, &[]).await?;
    cluster.namespace(NAMESPACE).await?;
    let quota = json!({
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "no-pods", "namespace": NAMESPACE},
        "spec": {"hard": {"pods": "0"}},
    });
    cluster.apply(&quota).await?;
    let replicas = Replicas::of(cluster).await?;
    say_memory(cluster, &replicas, "before").await?;

    let scratch = tempfile::tempdir()?;
    let tokens = [world::token(product, scratch.path(), "south")?, world::token(product, scratch.path(), "y")?];
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let began = Instant::now();
    let objects = (0..PEERINGS).map(|seed| own_folders(seed, sample::object(seed, &tokens)));
    let api = cluster.api(&world::peering(NAMESPACE, ""));
    stream::iter(objects.map(|object| create(&api, object))).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    let created = began.elapsed();
    let judged = cluster
        .wait_until(NAMESPACE, "all peerings have all conditions", JUDGED, || async {
            let found = api.list(&ListParams::default()).await?.items;
            ensure!(found.len() as u64 == PEERINGS, "{} peerings are there", found.len());
            Ok(found.iter().all(is_judged).then_some(found))
        })
        .await?;
    println!(
        "  measured: {PEERINGS} peerings created within {:.1} s, all of them judged after {:.1} s",
        created.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    say_reasons(&judged)?;
    say_memory(cluster, &replicas, "with 500 peerings").await?;
    replicas.expect_untroubled(cluster).await?;

    api.delete_collection(&DeleteParams::background(), &ListParams::default()).await?;
    cluster
        .wait_until(NAMESPACE, "the peerings and their children are gone", PATIENCE, || async {
            let kinds = "tunnelpeerings,statefulsets,services,configmaps,secrets";
            let selector = "app.kubernetes.io/managed-by=hoft-operator";
            let left = cluster.kubectl(&["-n", NAMESPACE, "get", kinds, "-l", selector, "-o", "name"]).await?;
            Ok((left.is_empty() && api.list_metadata(&ListParams::default()).await?.items.is_empty()).then_some(()))
        })
        .await?;
    say_memory(cluster, &replicas, "after they are gone").await?;
    replicas.expect_untroubled(cluster).await
}

/// Gives the plain ones folders of their own: with one pair of folders for all only the oldest could be carried out.
fn own_folders(seed: u64, mut object: Value) -> Value {
    if seed.is_multiple_of(2) {
        for folder in ["outbox", "inbox"] {
            object["spec"]["volume"][folder]["subPath"] = format!("{folder}-{seed}").into();
        }
    }
    object
}

async fn create(api: &Api<DynamicObject>, object: Value) -> anyhow::Result<()> {
    let name = object["metadata"]["name"].to_string();
    let object: DynamicObject = serde_json::from_value(object)?;
    api.create(&PostParams::default(), &object).await.map(drop).with_context(|| format!("peering {name} is refused"))
}

/// It has all conditions, for the spec that stands, each with a reason and a message.
fn is_judged(object: &DynamicObject) -> bool {
    let value = json!({"status": object.data["status"]});
    ConditionType::ALL.iter().all(|kind| {
        condition_of(&value, kind.as_str()).is_some_and(|condition| {
            condition["observedGeneration"] == json!(object.metadata.generation)
                && condition["reason"].as_str().is_some_and(|reason| !reason.is_empty())
                && condition["message"].as_str().is_some_and(|message| !message.is_empty())
        })
    })
}

/// Some of them can be carried out and some cannot, or too little was tried.
fn say_reasons(judged: &[DynamicObject]) -> anyhow::Result<()> {
    let reasons = |kind: &str| -> BTreeSet<String> {
        let condition = |object: &DynamicObject| {
            let value = json!({"status": object.data["status"]});
            condition_of(&value, kind).map(|condition| condition["reason"].as_str().unwrap_or_default().to_owned())
        };
        judged.iter().filter_map(condition).collect()
    };
    let accepted = reasons("Accepted");
    for reason in ["Accepted", "FolderConflict", "Unsupported", "InvalidConfig", "InvalidKey"] {
        ensure!(accepted.contains(reason), "no peering is {reason}: {accepted:?}");
    }
    println!("  reasons: Accepted {accepted:?}, Programmed {:?}", reasons("Programmed"));
    // What was accepted must be something that the API server takes; what the engine's own words are, it is free to say.
    let refused = judged.iter().filter_map(|object| {
        let value = json!({"status": object.data["status"]});
        let condition = condition_of(&value, "Programmed").filter(|condition| condition["reason"] == "ApplyFailed")?;
        Some(format!("{}: {}", object.metadata.name.as_deref().unwrap_or_default(), condition["message"]))
    });
    let refused: Vec<String> = refused.collect();
    println!("  refused by the API server: {} {refused:#?}", refused.len());
    Ok(())
}

async fn say_memory(cluster: &Cluster, replicas: &Replicas, when: &str) -> anyhow::Result<()> {
    for (pod, memory) in replicas.memory(cluster).await? {
        println!("  measured: memory of {pod} {when}: {memory}");
    }
    Ok(())
}
