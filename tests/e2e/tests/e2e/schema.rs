//! The definition on a real API server: every rule and every bound accepts and refuses what the fixtures and the drawn
//! objects say, with the message and the place that people read.
//!
//! The same inputs are judged offline by the unit tests of `crd-types`; here the judge is the API server. Everything is a
//! dry run, but for the objects whose change a rule is about.

use std::path::Path;

use anyhow::{Context, ensure};
use crd_types::testing::beyond::{Beyond, every_bound};
use crd_types::testing::fixtures::{self, Fixture};
use crd_types::testing::sample;
use e2e::images::product::Product;
use e2e::{Cluster, Subject, TestBed};
use futures_util::{StreamExt, TryStreamExt, stream};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, PostParams};
use serde_json::Value;

use crate::world;

const NAMESPACE: &str = "schema";
/// Seeds whose objects reach every bound.
const SEEDS: u64 = 300;
/// Requests under way at once.
const AT_ONCE: usize = 8;

/// How the API server judged an object: nothing, or its words.
type Verdict = Result<(), String>;

/// Every fixture, and every object just beyond a bound.
pub(crate) async fn is_enforced(bed: &TestBed, product: &Product) -> anyhow::Result<()> {
    let cluster = &bed.b;
    world::install_on(cluster, product, &[]).await?;
    cluster.namespace(NAMESPACE).await?;
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../operator/crd-types/fixtures"));
    let fixtures = fixtures::load(folder).map_err(anyhow::Error::msg)?;
    ensure!(fixtures.len() >= 40, "there are only {} fixtures", fixtures.len());
    let mut wrong = Vec::new();
    for fixture in &fixtures {
        let found = judge(cluster, fixture).await.with_context(|| format!("fixture {}", fixture.name))?;
        wrong.extend(found.into_iter().map(|text| format!("{}: {text}", fixture.name)));
    }
    let (count, found) = beyond(cluster).await?;
    wrong.extend(found);
    ensure!(wrong.is_empty(), "{} objects were judged wrongly:\n{}", wrong.len(), wrong.join("\n"));
    println!("  judged: {} fixtures, {count} objects just beyond a bound", fixtures.len());
    Ok(())
}

/// What is wrong with how a fixture's objects were judged.
async fn judge(cluster: &Cluster, fixture: &Fixture) -> anyhow::Result<Vec<String>> {
    let before = match &fixture.before {
        None => None,
        Some(before) => {
            let made =
                api(cluster).create(&PostParams::default(), &object(before)?).await.context("`before` is refused")?;
            Some(made.metadata.name.context("it has no name")?)
        }
    };
    let mut wrong = Vec::new();
    for accepted in &fixture.accepts {
        if let Err(said) = verdict(cluster, accepted, before.as_deref()).await? {
            wrong.push(format!("{accepted} is refused: {said}"));
        }
    }
    for refused in &fixture.refuses {
        match verdict(cluster, refused, before.as_deref()).await? {
            Ok(()) => wrong.push(format!("{refused} is accepted")),
            Err(said) if said.contains(&fixture.message) => {}
            Err(said) => {
                wrong.push(format!("{refused} is refused by something else than `{}`: {said}", fixture.message))
            }
        }
    }
    if let Some(name) = before {
        let subject = world::peering(NAMESPACE, &name);
        api(cluster).delete(&name, &DeleteParams::foreground()).await?;
        cluster.wait_gone(&subject, e2e::wait::PATIENCE).await?;
    }
    Ok(wrong)
}

/// How many objects just beyond a bound were judged, and what is wrong with how they were.
async fn beyond(cluster: &Cluster) -> anyhow::Result<(usize, Vec<String>)> {
    let definition =
        Subject::named("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "tunnelpeerings.hoft.dev");
    let definition = cluster.object(&definition).await?.context("the definition is not there")?;
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let objects: Vec<Value> = (0..SEEDS).map(|seed| sample::object(seed, &["hoft1abc"])).collect();
    let all = every_bound(schema, &objects);
    ensure!(all.len() > 300, "only {} bounds are reached", all.len());
    let judged = stream::iter(all.iter().map(|beyond| one_beyond(cluster, beyond))).buffer_unordered(AT_ONCE);
    let found: Vec<Option<String>> = judged.try_collect().await?;
    Ok((all.len(), found.into_iter().flatten().collect()))
}

async fn one_beyond(cluster: &Cluster, beyond: &Beyond) -> anyhow::Result<Option<String>> {
    let (place, bound) = (&beyond.place, &beyond.bound);
    Ok(match verdict(cluster, &beyond.object, None).await? {
        Ok(()) => Some(format!("{place}: beyond {bound} is accepted")),
        Err(said) if said.contains(place.as_str()) => None,
        Err(said) => Some(format!("{place}: beyond {bound} is refused without its place: {said}")),
    })
}

fn api(cluster: &Cluster) -> Api<DynamicObject> {
    cluster.api(&world::peering(NAMESPACE, ""))
}

fn object(value: &Value) -> anyhow::Result<DynamicObject> {
    Ok(serde_json::from_value(value.clone())?)
}

/// What the API server says to an object, or to the change of the one that is there into it.
async fn verdict(cluster: &Cluster, value: &Value, before: Option<&str>) -> anyhow::Result<Verdict> {
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let mut object = object(value)?;
    let answer = match before {
        None => api(cluster).create(&dry, &object).await,
        Some(name) => loop {
            let standing = api(cluster).get(name).await?;
            object.metadata.resource_version = standing.metadata.resource_version;
            match api(cluster).replace(name, &dry, &object).await {
                // The operator wrote its status in between.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                answer => break answer,
            }
        },
    };
    match answer {
        Ok(_) => Ok(Ok(())),
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => Ok(Err(status.message.clone())),
        Err(error) => Err(error.into()),
    }
}
