//! No way from one cluster to the other: what hoft exists for must be true of its proving ground.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use e2e::wait::PATIENCE;
use e2e::{Cluster, Subject, TestBed};
use futures_util::future::try_join_all;
use k8s_openapi::api::core::v1::Service;
use serde_json::json;

use crate::basics::web;

/// How long a connect is tried that must not succeed.
const TRY: Duration = Duration::from_secs(2);

/// Addresses of one cluster that answer inside it: the API server, a pod, a Service.
struct Addresses {
    all: Vec<(&'static str, SocketAddr)>,
}

async fn addresses(cluster: &Cluster) -> anyhow::Result<Addresses> {
    cluster.namespace("isolation").await?;
    web(cluster, "isolation", "web", "hello").await?;
    cluster
        .apply(&json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "isolation"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        }))
        .await?;
    let service = Subject::of::<Service>("isolation", "web");
    let service =
        cluster.wait_for(&service, "has an address", PATIENCE, |found| found["spec"]["clusterIP"].is_string());
    let service: SocketAddr = format!("{}:80", service.await?["spec"]["clusterIP"].as_str().unwrap()).parse()?;
    let pod = SocketAddr::new(cluster.pod_address("isolation", "web").await?, 8080);
    // Until kube-proxy has it.
    cluster
        .wait_until("isolation", "the Service answers", PATIENCE, || async {
            Ok(cluster.http_get(service, "/").await.ok())
        })
        .await?;
    let node = SocketAddr::new(cluster.layout.node_address(), 6443);
    let api = SocketAddr::new(cluster.layout.api_service_address(), 443);
    let names = SocketAddr::new(cluster.layout.node_address(), 53);
    Ok(Addresses {
        all: vec![("node", node), ("API Service", api), ("pod", pod), ("Service", service), ("names", names)],
    })
}

/// Every address that answers inside its own cluster does not answer in the other: from the node, nor from a pod.
pub(crate) async fn no_way(bed: &TestBed) -> anyhow::Result<()> {
    let (of_a, of_b) = (addresses(&bed.a).await?, addresses(&bed.b).await?);
    for (cluster, own, foreign) in [(&bed.a, &of_a, &of_b), (&bed.b, &of_b, &of_a)] {
        let mut tries = Vec::new();
        for (what, address) in &own.all {
            let control = cluster.connect(*address, PATIENCE);
            ensure!(control.is_ok(), "cluster {}: its own {what} {address}: {control:?}", cluster.name());
            tries.push((what, address, true));
        }
        for (what, address) in &foreign.all {
            let connected = cluster.connect(*address, TRY);
            ensure!(connected.is_err(), "cluster {}: the other's {what} {address} answers", cluster.name());
            tries.push((what, address, false));
        }
        let from_pods = try_join_all(tries.iter().map(|(_, address, _)| from_pod(cluster, **address))).await?;
        for ((what, address, expected), reached) in tries.iter().zip(from_pods) {
            let whose = if *expected { "its own" } else { "the other's" };
            let said = if reached { "has a way" } else { "has no way" };
            ensure!(reached == *expected, "cluster {}: a pod {said} to {whose} {what} {address}", cluster.name());
        }
    }
    Ok(())
}

/// True if a pod can connect to the address.
async fn from_pod(cluster: &Cluster, address: SocketAddr) -> anyhow::Result<bool> {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let script = format!("nc -w 2 {host} {port} </dev/null >/dev/null 2>&1 && echo reached || echo not");
    let said = cluster.exec("isolation", "web", "web", &["sh", "-c", &script]).await?;
    ensure!(["reached", "not"].contains(&said.trim()), "nc said {said:?}");
    Ok(said.trim() == "reached")
}
