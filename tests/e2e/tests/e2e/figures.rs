//! What hoft costs when nothing happens: memory of the processes, size of the images. The figures are printed; they must fit
//! into what the pods request.

use std::time::Duration;

use anyhow::ensure;
use e2e::images::product::Product;
use e2e::{Cluster, TestBed};

use crate::engines::GATEWAY;
use crate::operators::Replicas;
use crate::procs::{ENGINE, Memory, Process};
use crate::world::{self, BACK, CONNECT_PATIENCE, Line, SHOP};

/// How long all is left alone before it is measured.
const IDLE: Duration = Duration::from_secs(20);
/// What an engine requests where the spec says nothing.
const ENGINE_REQUEST_KIB: u64 = 32 << 10;
/// What the chart requests for the operator.
const OPERATOR_REQUEST_KIB: u64 = 48 << 10;

/// An idle line, measured.
pub(crate) async fn are_printed(bed: &TestBed, product: &Product) -> anyhow::Result<()> {
    let _line = Line::up(bed, product, &[]).await?;
    world::deploy_app(&bed.a, "app", "south", "sleep 86400").await?;
    let app = world::app_pod(&bed.a, "app").await?;
    world::call(&bed.a, &app, "/to/erp/").await?;
    bed.a.wait_condition(&world::peering(SHOP, "south"), "Connected", "True", CONNECT_PATIENCE).await?;
    tokio::time::sleep(IDLE).await;
    let engine = |memory: &Memory, what: &str| fits(memory, ENGINE_REQUEST_KIB, what);
    engine(&memory(&bed.a, SHOP, &app).await?, "injected engine, idle")?;
    engine(&memory(&bed.b, BACK, GATEWAY).await?, "gateway's engine, idle")?;
    for (pod, memory) in Replicas::of(&bed.a).await?.memory(&bed.a).await? {
        fits(&memory, OPERATOR_REQUEST_KIB, &format!("operator {pod} with the webhook, idle"))?;
    }
    for (pod, memory) in Replicas::of(&bed.b).await?.memory(&bed.b).await? {
        fits(&memory, OPERATOR_REQUEST_KIB, &format!("operator {pod} without, idle"))?;
    }
    for archive in &product.archives {
        let bytes = std::fs::metadata(archive)?.len();
        let name = archive.file_stem().unwrap_or_default().to_string_lossy();
        println!("  measured: image {name}: {}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000);
    }
    Ok(())
}

async fn memory(cluster: &Cluster, namespace: &str, pod: &str) -> anyhow::Result<Memory> {
    Process::of_pod(cluster, namespace, pod, ENGINE).await?.memory()
}

fn fits(memory: &Memory, request_kib: u64, what: &str) -> anyhow::Result<()> {
    println!("  measured: memory of the {what}: {memory}");
    ensure!(
        memory.resident_kib <= request_kib,
        "the {what} takes {memory}, more than the {request_kib} KiB it requests"
    );
    Ok(())
}
