//! The operator's replicas: one leads, and whatever happens to it another leads within the Lease's time and looks after what
//! is applied then. The engines notice nothing; that is tried elsewhere.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use e2e::images::product::Product;
use e2e::wait::{PATIENCE, condition_of};
use e2e::{Cluster, TestBed};
use rustix::process::Signal;
use serde_json::json;

use crate::operators::{PROGRAM, Replicas, leader};
use crate::procs::Process;
use crate::world::{self, SYSTEM};

const NAMESPACE: &str = "failover";
/// 15 s that the others wait for a silent leader, an attempt every 2 s, and the start of the work on a busy machine.
const LEASE: Duration = Duration::from_secs(25);
/// A leader that is told to end gives the Lease back; the others look every 2 s.
const HANDOVER: Duration = Duration::from_secs(10);

/// A frozen process goes on when this is dropped.
struct Frozen(Process);

impl Frozen {
    fn new(process: Process) -> anyhow::Result<Self> {
        process.signal(Signal::STOP)?;
        Ok(Self(process))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = self.0.signal(Signal::CONT);
    }
}

/// The leader is killed, frozen and told to end, one after another.
pub(crate) async fn is_survived(bed: &TestBed, product: &Product) -> anyhow::Result<()> {
    let cluster = &bed.b;
    world::install_on(cluster, product, &[]).await?;
    cluster.namespace(NAMESPACE).await?;
    judged(cluster, "before", LEASE).await?;

    let killed = leading(cluster).await?;
    Process::of_pod(cluster, SYSTEM, &killed, PROGRAM).await?.signal(Signal::KILL)?;
    let took = judged(cluster, "after-the-kill", LEASE).await?;
    println!("  measured: {:.1} s after the leader was killed a new peering was judged", took.as_secs_f64());
    all_ready(cluster).await?;

    let stuck = leading(cluster).await?;
    let frozen = Frozen::new(Process::of_pod(cluster, SYSTEM, &stuck, PROGRAM).await?)?;
    let took = judged(cluster, "beside-the-frozen", LEASE).await?;
    println!("  measured: {:.1} s after the leader was frozen a new peering was judged", took.as_secs_f64());
    let successor = leading(cluster).await?;
    ensure!(successor != stuck, "the frozen {stuck} is still the leader");
    drop(frozen);
    says(cluster, &stuck, "this replica no longer reconciles").await?;
    ensure!(leading(cluster).await? == successor, "the one that was frozen took the Lease back");
    all_ready(cluster).await?;

    let handed_over = handed_over(cluster).await;
    // Whatever came of it: the next `helm upgrade` would refuse a number that is not the chart's.
    cluster.kubectl(&["-n", SYSTEM, "scale", "deployment/hoft-operator", "--replicas=2"]).await?;
    handed_over?;
    all_ready(cluster).await
}

/// One replica is too many, and it is the leader that goes.
async fn handed_over(cluster: &Cluster) -> anyhow::Result<()> {
    let (before, ending) = (Replicas::of(cluster).await?, leading(cluster).await?);
    let cost = "controller.kubernetes.io/pod-deletion-cost=-100";
    cluster.kubectl(&["-n", SYSTEM, "annotate", "pod", &ending, cost]).await?;
    cluster.kubectl(&["-n", SYSTEM, "scale", "deployment/hoft-operator", "--replicas=1"]).await?;
    let began = Instant::now();
    let heir = cluster
        .wait_until(SYSTEM, "another replica holds the Lease", HANDOVER, || async {
            Ok(leader(cluster).await?.filter(|holder| *holder != ending))
        })
        .await?;
    judged(cluster, "after-the-handover", HANDOVER).await?;
    let took = began.elapsed();
    println!("  measured: {:.1} s after the leader was told to end a new peering was judged", took.as_secs_f64());
    ensure!(before.0.contains_key(&heir), "{heir} was not there before");
    Ok(())
}

/// Applies a peering and waits until it has its conditions; how long that took.
async fn judged(cluster: &Cluster, name: &str, patience: Duration) -> anyhow::Result<Duration> {
    let began = Instant::now();
    cluster
        .create(&json!({
            "apiVersion": "hoft.dev/v1alpha1",
            "kind": "TunnelPeering",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "local": {"name": "north"},
                "remote": {"name": "south"},
                "volume": {
                    "outbox": {"claimName": "mirror", "subPath": format!("{name}/out")},
                    "inbox": {"claimName": "mirror", "subPath": format!("{name}/in")},
                },
                "gateway": {"replicas": 0},
            },
        }))
        .await?;
    let has_conditions = |found: &serde_json::Value| condition_of(found, "Ready").is_some();
    cluster.wait_for(&world::peering(NAMESPACE, name), "is judged", patience, has_conditions).await?;
    Ok(began.elapsed())
}

async fn leading(cluster: &Cluster) -> anyhow::Result<String> {
    leader(cluster).await?.context("nobody holds the Lease")
}

async fn all_ready(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.kubectl(&["-n", SYSTEM, "rollout", "status", "deployment/hoft-operator", "--timeout=60s"]).await.map(drop)
}

async fn says(cluster: &Cluster, pod: &str, words: &str) -> anyhow::Result<()> {
    let what = format!("{pod} says `{words}`");
    cluster
        .wait_until(SYSTEM, &what, PATIENCE, || async {
            let log = cluster.logs(SYSTEM, pod, "operator").await?;
            Ok(log.contains(words).then_some(()))
        })
        .await
}
