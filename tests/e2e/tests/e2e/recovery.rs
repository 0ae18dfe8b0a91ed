//! Things die in mid-traffic: the gateway's engine, its pod, the operator, the API server, an app's pod. Nothing answered is
//! lost, nothing is executed twice, and what cannot be known is said.

use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::images::product::Product;
use e2e::wait::PATIENCE;
use e2e::{Cluster, TestBed};
use rustix::process::Signal;
use serde_json::Value;

use crate::procs::{ENGINE, Process};
use crate::traffic::Traffic;
use crate::world::{self, BACK, CONNECT_PATIENCE, Line, SHOP, SYSTEM, TENTH};

/// Calls in flight at once; a death of the gateway's engine leaves at most so many unknown.
const WORKERS: usize = 4;

/// The gateway's engine is killed, its pod deleted, the operator killed on both sides, both API servers restarted.
pub(crate) async fn nothing_is_lost_or_doubled(bed: &TestBed, product: &Product) -> anyhow::Result<()> {
    let _line = Line::up(bed, product, &TENTH).await?;
    world::deploy_app(&bed.a, "app", "south", "sleep 86400").await?;
    let pod = world::app_pod(&bed.a, "app").await?;
    bed.a.wait_condition(&world::peering(SHOP, "south"), "Connected", "True", CONNECT_PATIENCE).await?;

    let traffic = Traffic::begin(&bed.a, &pod, "storm", WORKERS, 10_000).await?;
    let mut reached = 0;
    let mut kills = 0;
    for blow in ["gateway engine", "gateway pod", "operators", "API servers", "calling engine"] {
        reached = traffic.ended().await?.max(reached) + WORKERS;
        traffic.reach(reached).await.with_context(|| format!("before the blow to the {blow}"))?;
        match blow {
            "gateway engine" => kill_engine(&bed.b, BACK, "north-gateway-0").await?,
            "gateway pod" => {
                drop(bed.b.kubectl(&["-n", BACK, "delete", "pod", "north-gateway-0", "--wait=false"]).await?)
            }
            "operators" => {
                for cluster in bed.clusters() {
                    cluster.kubectl(&["-n", SYSTEM, "delete", "pods", "--all", "--grace-period=1"]).await?;
                }
            }
            "API servers" => {
                for cluster in bed.clusters() {
                    cluster.restart_api_server().await?;
                }
            }
            _ => kill_engine(&bed.a, SHOP, &pod).await?,
        }
        kills += usize::from(blow.contains("gateway") || blow.contains("engine"));
    }
    let reached = traffic.ended().await? + 2 * WORKERS;
    traffic.reach(reached).await?;
    let outcome = traffic.stop().await?;
    // A death of an engine breaks the connections and answers under way: at most one for each worker.
    outcome.check(&world::journal(&bed.b).await?, kills * WORKERS)?;
    bed.a.wait_condition(&world::peering(SHOP, "south"), "Connected", "True", CONNECT_PATIENCE).await?;
    bed.b.wait_condition(&world::peering(BACK, "north"), "Connected", "True", CONNECT_PATIENCE).await?;
    Ok(())
}

/// Kills an engine as the kernel would for want of memory: without warning, in its container.
async fn kill_engine(cluster: &Cluster, namespace: &str, pod: &str) -> anyhow::Result<()> {
    Process::of_pod(cluster, namespace, pod, ENGINE).await?.signal(Signal::KILL)
}

/// The pod of an app goes with calls in flight: they are named, and none is executed twice.
pub(crate) async fn stranded_calls_are_named(bed: &TestBed, product: &Product) -> anyhow::Result<()> {
    let _line = Line::up(bed, product, &[]).await?;
    world::deploy_app(&bed.a, "app", "south", "sleep 86400").await?;
    let pod = world::app_pod(&bed.a, "app").await?;
    bed.a.wait_condition(&world::peering(SHOP, "south"), "Connected", "True", CONNECT_PATIENCE).await?;
    let traffic = Traffic::begin(&bed.a, &pod, "slow", 3, 1).await?;
    let executing = || async {
        let journal = world::journal(&bed.b).await?;
        Ok((journal.keys().filter(|line| line.contains("slow")).count() == 3).then_some(()))
    };
    bed.b.wait_until(BACK, "three orders are being executed", PATIENCE, executing).await?;
    let (status, body) = bed.a.pod_get(SHOP, &pod, 9470, "/statusz").await?;
    ensure!(status == 200, "/statusz answered {status}");
    let open: Value = serde_json::from_str(&body)?;
    let open: Vec<String> = open["open_operations"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|operation| operation["id"].as_str().map(str::to_owned))
        .collect();
    ensure!(open.len() == 3, "the engine says that these are open: {open:?}");
    drop(traffic);
    bed.a.kubectl(&["-n", SHOP, "delete", "pod", &pod, "--wait=true", "--timeout=60s"]).await?;
    let named = bed
        .a
        .wait_until(SHOP, "an Event InstanceStranded", PATIENCE, || async {
            Ok(world::events(&bed.a, SHOP, "InstanceStranded").await?.pop())
        })
        .await?;
    for id in &open {
        ensure!(named.contains(id.as_str()), "{id} is not named: {named}");
    }
    ensure!(named.contains(&pod), "the pod is not named: {named}");
    // Its successor works, and the server executed each order once.
    let next = world::app_pod(&bed.a, "app").await?;
    ensure!(next != pod, "the pod is still there");
    let answer = world::call(&bed.a, &next, "/to/erp/").await?;
    ensure!(answer.trim() == "welcome", "{answer:?}");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let journal = world::journal(&bed.b).await?;
    ensure!(journal.iter().all(|(_, count)| *count == 1), "executed twice: {journal:?}");
    Ok(())
}
