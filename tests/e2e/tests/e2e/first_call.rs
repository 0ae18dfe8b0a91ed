//! The promise of the README: the chart on two clusters, the two peerings it shows, a labelled Deployment, and an answer
//! from the other side of the gap, through a mirror that loses and cuts files.

use std::time::Instant;

use anyhow::ensure;
use e2e::TestBed;
use e2e::images::product::Product;
use e2e::wait::PATIENCE;
use serde_json::Value;

use crate::world::{self, BACK, CONNECT_PATIENCE, Line, SHOP, TENTH};

/// `wget -qO- http://localhost:8470/to/erp/…` in a pod of a answers from a pod of b.
pub(crate) async fn crosses_the_gap(bed: &TestBed, product: &Product) -> anyhow::Result<()> {
    let _line = Line::up(bed, product, &TENTH).await?;
    let began = Instant::now();
    world::deploy_app(&bed.a, "app", "south", "sleep 86400").await?;
    let pod = world::app_pod(&bed.a, "app").await?;
    let ready = began.elapsed();
    let answer = world::call(&bed.a, &pod, "/to/erp/").await?;
    ensure!(answer.trim() == "welcome", "the answer is {answer:?}");
    println!(
        "  measured: pod ready {:.1} s after kubectl apply, its first answer over the gap after {:.1} s",
        ready.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    for number in 0..20 {
        let answer = world::call(&bed.a, &pod, &format!("/to/erp/cgi-bin/order?id=get-{number}")).await?;
        ensure!(answer.trim() == format!("ordered get-{number}"), "call {number} answered {answer:?}");
    }
    let (north, south) = (world::peering(SHOP, "south"), world::peering(BACK, "north"));
    bed.a.wait_condition(&north, "Connected", "True", CONNECT_PATIENCE).await?;
    bed.b.wait_condition(&south, "Connected", "True", CONNECT_PATIENCE).await?;
    bed.a.kubectl(&["-n", SHOP, "wait", "--for=condition=Ready", "tp/south", "--timeout=10s"]).await?;
    bed.b.kubectl(&["-n", BACK, "wait", "--for=condition=Connected", "tp/north", "--timeout=10s"]).await?;
    pod_says(bed, &pod).await?;
    table(bed).await
}

/// The pod carries our conditions, and is ready without having to.
async fn pod_says(bed: &TestBed, pod: &str) -> anyhow::Result<()> {
    let subject = e2e::Subject::of::<k8s_openapi::api::core::v1::Pod>(SHOP, pod);
    bed.a.wait_condition(&subject, "hoft.dev/PeerConnected", "True", PATIENCE).await?;
    let found: Value = bed.a.wait_condition(&subject, "hoft.dev/LogHealthy", "True", PATIENCE).await?;
    ensure!(found["metadata"]["annotations"]["hoft.dev/peering"] == "south", "{:#}", found["metadata"]["annotations"]);
    Ok(())
}

/// `kubectl get tp` is a table that fits a terminal of 100 columns.
async fn table(bed: &TestBed) -> anyhow::Result<()> {
    for (cluster, namespace, name, peer, instances) in
        [(&bed.a, SHOP, "south", "south", "1/1"), (&bed.b, BACK, "north", "north", "1/1")]
    {
        let text = cluster.kubectl(&["-n", namespace, "get", "tp"]).await?;
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        ensure!(text.lines().all(|line| line.len() <= 100), "wider than 100 columns:\n{text}");
        ensure!(lines.len() == 2, "{text}");
        ensure!(
            lines[0] == ["NAME", "READY", "CONNECTED", "PEER", "MODE", "LAST-SEEN", "INSTANCES", "AGE"],
            "the columns are others:\n{text}"
        );
        let row = &lines[1];
        ensure!(row.len() == 8 && row[..5] == [name, "True", "True", peer, "Sealed"] && row[6] == instances, "{text}");
        for age in [row[5], row[7]] {
            ensure!(
                age.ends_with(['s', 'm']) && age.starts_with(|c: char| c.is_ascii_digit()),
                "{age} is no age:\n{text}"
            );
        }
        // The same name by its short forms, and by category.
        for form in ["tunnelpeerings", "hoft"] {
            let same = cluster.kubectl(&["-n", namespace, "get", form]).await?;
            ensure!(same.contains(name), "kubectl get {form} shows:\n{same}");
        }
    }
    Ok(())
}
