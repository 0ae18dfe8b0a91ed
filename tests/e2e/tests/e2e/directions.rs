//! A mirror that stops in one direction: both sides say which, and nothing is lost or doubled when it returns.

use std::time::Duration;

use anyhow::ensure;
use e2e::TestBed;
use e2e::images::product::Product;
use e2e::wait::{PATIENCE, condition_of};
use serde_json::{Value, json};

use crate::traffic::Traffic;
use crate::world::{self, BACK, CONNECT_PATIENCE, Line, SHOP, TENTH};

/// How long until both sides notice at most: the loss timeout of 6 s, and what polling and writing add to it.
const NOTICE: Duration = Duration::from_secs(90);

/// Each direction in turn, with orders under way.
pub(crate) async fn each_is_named(bed: &TestBed, product: &Product) -> anyhow::Result<()> {
    let line = Line::up(bed, product, &TENTH).await?;
    let (north, south) = (world::peering(SHOP, "south"), world::peering(BACK, "north"));
    for (cluster, subject) in [(&bed.a, &north), (&bed.b, &south)] {
        let faster = json!({"spec": {"heartbeat": {"interval": "1s", "lossTimeout": "6s"}}});
        cluster.merge(subject, &faster).await?;
        let renewed = |found: &Value| {
            found["metadata"]["generation"] == found["status"]["observedGeneration"]
                && condition_of(found, "Ready").is_some_and(|condition| condition["status"] == "True")
        };
        cluster.wait_for(subject, "is ready with the shorter loss timeout", PATIENCE, renewed).await?;
    }
    world::deploy_app(&bed.a, "app", "south", "sleep 86400").await?;
    let pod = world::app_pod(&bed.a, "app").await?;
    let connected = || async {
        bed.a.wait_condition(&north, "Connected", "True", CONNECT_PATIENCE).await?;
        bed.b.wait_condition(&south, "Connected", "True", CONNECT_PATIENCE).await
    };
    connected().await?;

    for (stopped, sender, receiver, tag) in [
        (&line.mirror.a_to_b, (&bed.a, &north), (&bed.b, &south), "out"),
        (&line.mirror.b_to_a, (&bed.b, &south), (&bed.a, &north), "back"),
    ] {
        stopped.stop()?;
        let traffic = Traffic::begin(&bed.a, &pod, tag, 3, 4).await?;
        let at_sender = world::expect_reason(sender.0, sender.1, "Connected", "False", "OutboundSilent", NOTICE);
        let message = at_sender.await?;
        ensure!(message.contains("outgoing mirror"), "the sender's message names no direction: {message}");
        let at_receiver = world::expect_reason(receiver.0, receiver.1, "Connected", "False", "InboundSilent", NOTICE);
        let message = at_receiver.await?;
        ensure!(message.contains("incoming mirror"), "the receiver's message names no direction: {message}");
        bed.a.wait_condition(&north, "Ready", "True", Duration::from_secs(5)).await?;
        stopped.start()?;
        connected().await?;
        traffic.end().await?.check(&world::journal(&bed.b).await?, 0)?;
    }
    let lost = world::events(&bed.a, SHOP, "PeerLost").await?;
    let recovered = world::events(&bed.a, SHOP, "PeerRecovered").await?;
    ensure!(!lost.is_empty() && !recovered.is_empty(), "Events: lost {lost:?}, recovered {recovered:?}");
    Ok(())
}
