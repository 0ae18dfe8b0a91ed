//! The operator's replicas: which of them leads, how often they were restarted, what they said.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use e2e::{Cluster, Subject};
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::Value;

use crate::procs::{Memory, Process};
use crate::world::SYSTEM;

/// The operator's program in its image.
pub(crate) const PROGRAM: &str = "/hoft-operator";

/// The replicas at one time: name of the pod, with how often its container was restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replicas(pub(crate) BTreeMap<String, u64>);

impl Replicas {
    /// As they are, without those that are ending.
    pub(crate) async fn of(cluster: &Cluster) -> anyhow::Result<Self> {
        let selector = "app.kubernetes.io/name=hoft-operator";
        let list = cluster.kubectl(&["-n", SYSTEM, "get", "pods", "-l", selector, "-o", "json"]).await?;
        let list: Value = serde_json::from_str(&list)?;
        let pods = list["items"].as_array().into_iter().flatten();
        let running = pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let replicas = running.filter_map(|pod| {
            let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(0);
            Some((pod["metadata"]["name"].as_str()?.to_owned(), restarts))
        });
        Ok(Self(replicas.collect()))
    }

    /// Checks that the same replicas run, that none was restarted, and that none of them says that it panicked.
    pub(crate) async fn expect_untroubled(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let now = Self::of(cluster).await?;
        ensure!(*self == now, "the operator's replicas were {self:?} and are {now:?}");
        for pod in self.0.keys() {
            let log = cluster.logs(SYSTEM, pod, "operator").await?;
            let panicked = log.lines().find(|line| line.contains("panicked at") || line.contains("broke off"));
            ensure!(panicked.is_none(), "{pod} of cluster {} says: {panicked:?}", cluster.name());
        }
        Ok(())
    }

    /// Memory of each.
    pub(crate) async fn memory(&self, cluster: &Cluster) -> anyhow::Result<BTreeMap<String, Memory>> {
        let mut memory = BTreeMap::new();
        for pod in self.0.keys() {
            memory.insert(pod.clone(), Process::of_pod(cluster, SYSTEM, pod, PROGRAM).await?.memory()?);
        }
        Ok(memory)
    }
}

/// The pod that holds the Lease; none while nobody does.
pub(crate) async fn leader(cluster: &Cluster) -> anyhow::Result<Option<String>> {
    let lease = cluster.object(&Subject::of::<Lease>(SYSTEM, "hoft-operator")).await?.context("there is no Lease")?;
    Ok(lease["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty()).map(str::to_owned))
}
