//! The engines of the README's peering as they run: to see that none of them was replaced or restarted meanwhile.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use e2e::wait::condition_of;
use e2e::{Cluster, Subject, TestBed};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use crate::world::{self, BACK, SHOP};

/// The pod of the gateway in [`BACK`].
pub(crate) const GATEWAY: &str = "north-gateway-0";

/// What must stay: pods with their UIDs and restarts, public keys, and since when each condition holds.
#[derive(Debug, PartialEq)]
pub(crate) struct Running {
    pods: BTreeMap<String, (String, u64)>,
    peerings: BTreeMap<String, (String, BTreeMap<String, String>)>,
}

impl Running {
    /// As it is.
    pub(crate) async fn look(bed: &TestBed, app: &str) -> anyhow::Result<Self> {
        let mut pods = BTreeMap::new();
        for (cluster, namespace, name) in [(&bed.a, SHOP, app), (&bed.b, BACK, GATEWAY)] {
            pods.insert(name.to_owned(), pod(cluster, namespace, name).await?);
        }
        let mut peerings = BTreeMap::new();
        for (cluster, namespace, name) in [(&bed.a, SHOP, "south"), (&bed.b, BACK, "north")] {
            let found = cluster.object(&world::peering(namespace, name)).await?.context("the peering is gone")?;
            let key = found["status"]["identity"]["publicKey"].as_str().context("no public key")?.to_owned();
            let mut since = BTreeMap::new();
            for kind in ["Ready", "Connected"] {
                let condition = condition_of(&found, kind).with_context(|| format!("{name} has no {kind}"))?;
                let (status, when) = (&condition["status"], &condition["lastTransitionTime"]);
                since.insert(kind.to_owned(), format!("{status} since {when}"));
            }
            peerings.insert(name.to_owned(), (key, since));
        }
        Ok(Self { pods, peerings })
    }

    /// Checks that all is as it was.
    pub(crate) async fn expect_same(&self, bed: &TestBed, app: &str, after: &str) -> anyhow::Result<()> {
        let now = Self::look(bed, app).await?;
        ensure!(*self == now, "after {after} the engines or peerings are others:\n{self:#?}\n{now:#?}");
        Ok(())
    }
}

/// UID of a pod, and how often its containers were restarted.
async fn pod(cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<(String, u64)> {
    let found = cluster.object(&Subject::of::<Pod>(namespace, name)).await?;
    let found = found.with_context(|| format!("pod {name} is gone"))?;
    let uid = found["metadata"]["uid"].as_str().context("no UID")?.to_owned();
    let status = &found["status"];
    let statuses = ["initContainerStatuses", "containerStatuses"];
    let statuses = statuses.into_iter().flat_map(|list| status[list].as_array().into_iter().flatten());
    Ok((uid, statuses.filter_map(|status: &Value| status["restartCount"].as_u64()).sum()))
}
