//! A valid key of the right side that is not the key it uses: files arrive and none verifies. That is named, as no outage,
//! and both sides find each other once the key is mended.

use anyhow::ensure;
use e2e::images::product::Product;
use e2e::mirror::Carrier;
use e2e::wait::PATIENCE;
use e2e::{Cluster, TestBed};
use serde_json::{Value, json};

use crate::operators::Replicas;
use crate::world::{self, CONNECT_PATIENCE};

const NAMESPACE: &str = "mismatch";

/// South knows another key of north than north's own.
pub(crate) async fn is_named(bed: &TestBed, product: &Product) -> anyhow::Result<()> {
    world::install(bed, product).await?;
    let scratch = tempfile::tempdir()?;
    let stale = world::token(product, scratch.path(), "north")?;
    let (a_folders, b_folders) = (side(&bed.a, "north", "south").await?, side(&bed.b, "south", "north").await?);
    let carrier = Carrier::perfect();
    let folders = ((a_folders.0.as_path(), a_folders.1.as_path()), (b_folders.0.as_path(), b_folders.1.as_path()));
    let mirror = bed.mirror(&product.hoft, "mismatch", folders.0, folders.1, (&carrier, &carrier))?;
    mirror.start()?;
    let (north, south) = (world::peering(NAMESPACE, "line"), world::peering(NAMESPACE, "line"));
    let (north_key, south_key) = (public_key(&bed.a).await?, public_key(&bed.b).await?);
    let replicas = [Replicas::of(&bed.a).await?, Replicas::of(&bed.b).await?];
    let pin = |key: &Value| json!({"spec": {"remote": {"publicKeys": [{"id": "k1", "key": key}]}}});
    bed.a.merge(&north, &pin(&south_key)).await?;
    bed.b.merge(&south, &pin(&stale.into())).await?;

    let message = world::expect_reason(&bed.b, &south, "PeerAlive", "False", "KeyMismatch", CONNECT_PATIENCE).await?;
    for words in ["none verifies", "status.identity.fingerprint", "north"] {
        ensure!(message.contains(words), "the message lacks `{words}`: {message}");
    }
    world::expect_reason(&bed.b, &south, "Connected", "False", "KeyMismatch", PATIENCE).await?;
    bed.b.wait_condition(&south, "Ready", "True", PATIENCE).await?;
    let event = bed.b.wait_until(NAMESPACE, "an Event KeyMismatch", PATIENCE, || async {
        Ok(world::events(&bed.b, NAMESPACE, "KeyMismatch").await?.pop())
    });
    event.await?;

    bed.b.merge(&south, &pin(&north_key)).await?;
    bed.a.wait_condition(&north, "Connected", "True", CONNECT_PATIENCE).await?;
    bed.b.wait_condition(&south, "Connected", "True", CONNECT_PATIENCE).await?;
    for (cluster, replicas) in bed.clusters().into_iter().zip(&replicas) {
        replicas.expect_untroubled(cluster).await?;
    }
    Ok(())
}

/// One side with a gateway of its own; returns its outbox and inbox on this machine.
async fn side(
    cluster: &Cluster,
    local: &str,
    remote: &str,
) -> anyhow::Result<(std::path::PathBuf, std::path::PathBuf)> {
    cluster.namespace(NAMESPACE).await?;
    let mirror = cluster.folder_volume(NAMESPACE, "mirror").await?;
    let folders = (mirror.subfolder("out")?, mirror.subfolder("in")?);
    cluster.folder_volume(NAMESPACE, "logs").await?;
    let peering = json!({
        "apiVersion": "hoft.dev/v1alpha1",
        "kind": "TunnelPeering",
        "metadata": {"name": "line", "namespace": NAMESPACE},
        "spec": {
            "local": {"name": local},
            "remote": {"name": remote},
            "volume": {
                "group": e2e::fixtures::VOLUME_GROUP,
                "outbox": {"claimName": "mirror", "subPath": "out"},
                "inbox": {"claimName": "mirror", "subPath": "in"},
                "state": {"claimName": "logs"},
                "mirror": {"expectedLatency": "2s"},
            },
            "heartbeat": {"interval": "2s", "lossTimeout": "20s"},
            "gateway": {},
        },
    });
    cluster.create(&peering).await?;
    Ok(folders)
}

async fn public_key(cluster: &Cluster) -> anyhow::Result<Value> {
    let line = world::peering(NAMESPACE, "line");
    let shows = |found: &Value| found["status"]["identity"]["publicKey"].is_string();
    let found = cluster.wait_for(&line, "shows its public key", PATIENCE, shows).await?;
    Ok(found["status"]["identity"]["publicKey"].clone())
}
