//! An engine's life beside its app: first to be up, last to end; and whether it is the one that the peering asks for now.

use std::time::Instant;

use anyhow::{Context, ensure};
use e2e::TestBed;
use e2e::images::product::Product;
use e2e::wait::PATIENCE;
use e2e::{Cluster, Subject};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::CALL;
use crate::world::{self, SHOP};

/// `status.injected` counts what pods ask, have, and have of an earlier spec.
pub(crate) async fn counts(bed: &TestBed, product: &Product) -> anyhow::Result<()> {
    let cluster = &bed.a;
    world::install(bed, product).await?;
    super::ready_peerings(cluster, product, &[("south", "Auto")]).await?;
    let subject = world::peering(SHOP, "south");
    cluster.apply(&super::pod("plain", None)).await?;
    world::deploy_app(cluster, "app", "south", "sleep 86400").await?;
    let pod = world::app_pod(cluster, "app").await?;
    let found = counted(cluster, [1, 1, 0]).await?;
    let revision = found["status"]["injection"]["revision"].as_i64().context("nothing is rendered")?;
    let container = found["status"]["injection"]["container"].clone();

    let allow = json!([super::rule("erp"), super::rule("crm")]);
    cluster.merge(&subject, &json!({"spec": {"outbound": {"allow": allow}}})).await?;
    let found = counted(cluster, [1, 1, 1]).await?;
    let newer = found["status"]["injection"]["revision"].as_i64().context("nothing is rendered")?;
    ensure!(newer == revision + 1, "revision {newer} after {revision}");
    ensure!(found["status"]["injection"]["container"] != container, "the container is the same");
    // It goes on as it was: nothing restarts it, and the peering stays Ready.
    let old = cluster.object(&Subject::of::<Pod>(SHOP, &pod)).await?.context("the app's pod is gone")?;
    ensure!(super::state(&old, "hoft")["restartCount"] == 0, "the engine was restarted");
    cluster.wait_condition(&subject, "Ready", "True", PATIENCE).await?;

    // A label that comes later finds no engine: such a pod is seen.
    cluster.kubectl(&["-n", SHOP, "label", "pod", "plain", "hoft.dev/inject=south"]).await?;
    counted(cluster, [2, 1, 1]).await?;
    cluster.kubectl(&["-n", SHOP, "label", "pod", "plain", "hoft.dev/inject-"]).await?;

    let began = Instant::now();
    cluster.kubectl(&["-n", SHOP, "rollout", "restart", "deployment/app"]).await?;
    counted(cluster, [1, 1, 0]).await?;
    println!("  measured: no engine is outdated {:.1} s after rollout restart", began.elapsed().as_secs_f64());
    let pod = world::app_pod(cluster, "app").await?;
    let pod = cluster.object(&Subject::of::<Pod>(SHOP, &pod)).await?.context("the app's pod is gone")?;
    let carried = &pod["metadata"]["annotations"]["hoft.dev/injected-version"];
    ensure!(carried.as_str() == Some(&newer.to_string()), "the new pod carries {carried}");
    Ok(())
}

/// Waits until the peering counts so many pods that match, are injected and outdated.
async fn counted(cluster: &Cluster, [matched, injected, outdated]: [u32; 3]) -> anyhow::Result<Value> {
    let wanted = json!({"matched": matched, "injected": injected, "outdated": outdated});
    let what = format!("counts {wanted}");
    cluster
        .wait_for(&world::peering(SHOP, "south"), &what, PATIENCE, |found| found["status"]["injected"] == wanted)
        .await
}

/// What an app does when it is told to end: it calls, takes its time, and calls again. Lines go into a shared folder.
const LAST_WORDS: &str = r#"say() { date +%s.%N | tr -d '\n' >>/journal/lines; echo " $1" >>/journal/lines; }
last() { say term; CALL >/journal/first; sleep 3; CALL >/journal/last; say end; exit 0; }
trap last TERM; say start; CALL >/journal/early; say answered; while :; do sleep 0.1; done"#;

/// The app starts when the engine is up, and ends before it.
pub(crate) async fn order(bed: &TestBed, product: &Product) -> anyhow::Result<()> {
    let cluster = &bed.a;
    world::install(bed, product).await?;
    super::ready_peerings(cluster, product, &[("south", "Auto")]).await?;
    let journal = cluster.folder_volume(SHOP, "journal").await?;
    let mut pod = super::pod("app", Some("south"));
    pod["metadata"]["finalizers"] = json!(["e2e.hoft.dev/kept"]);
    pod["spec"]["terminationGracePeriodSeconds"] = 30.into();
    pod["spec"]["securityContext"] = json!({"supplementalGroups": [2000]});
    pod["spec"]["volumes"] = json!([{"name": "journal", "persistentVolumeClaim": {"claimName": journal.claim}}]);
    let app = &mut pod["spec"]["containers"][0];
    app["command"] = json!(["sh", "-c", LAST_WORDS.replace("CALL", CALL)]);
    app["volumeMounts"] = json!([{"name": "journal", "mountPath": "/journal"}]);
    cluster.create(&pod).await?;
    let subject = Subject::of::<Pod>(SHOP, "app");
    // The finalizer keeps what kubelet says of the end; it goes whatever happens.
    let lived = live_and_end(cluster, &subject).await;
    cluster.merge(&subject, &json!({"metadata": {"finalizers": null}})).await?;
    lived?;
    cluster.wait_gone(&subject, PATIENCE).await?;

    let read = |name: &str| std::fs::read_to_string(journal.folder.join(name)).with_context(|| name.to_owned());
    for name in ["early", "first", "last"] {
        super::says_problem(&read(name)?, 404, "unknown-route").with_context(|| format!("the app's {name} call"))?;
    }
    let lines = read("lines")?;
    let words: Vec<&str> = lines.lines().filter_map(|line| line.split_once(' ').map(|(_, word)| word)).collect();
    ensure!(words == ["start", "answered", "term", "end"], "the app wrote {lines}");
    Ok(())
}

/// Watches the pod from its beginning to its end.
async fn live_and_end(cluster: &Cluster, subject: &Subject) -> anyhow::Result<()> {
    let (mut running_at, mut started_at) = (None, None);
    let begun =
        cluster.wait_for(subject, "has a running app", PATIENCE, |_| true).await.map(drop).map(|()| Instant::now())?;
    let pod = loop {
        let pod = cluster.object(subject).await?.context("the pod is gone")?;
        let (engine, app) = (super::state(&pod, "hoft"), super::state(&pod, "app"));
        if engine["state"]["running"].is_object() {
            running_at.get_or_insert_with(Instant::now);
        }
        if engine["started"] == true {
            started_at.get_or_insert_with(Instant::now);
        } else {
            ensure!(app["state"]["running"].is_null(), "the app runs before the engine is up: {:#}", pod["status"]);
        }
        if app["state"]["running"].is_object() {
            break pod;
        }
        ensure!(begun.elapsed() < PATIENCE, "the app does not run: {:#}", pod["status"]);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let (running_at, started_at) = (running_at.context("never seen running")?, started_at.context("never started")?);
    let [app, engine] = ["app", "hoft"].map(|name| &super::state(&pod, name)["state"]["running"]["startedAt"]);
    println!(
        "  measured: engine running {:.1} s after its pod was made, its startup probe green {:.1} s later; by kubelet's clock \
         the app started {:.0} s after the engine",
        (running_at - begun).as_secs_f64(),
        (started_at - running_at).as_secs_f64(),
        super::seconds_between(engine, app)?
    );
    cluster.wait_pod_ready(SHOP, &subject.name, PATIENCE).await?;
    // The early call, a second after the start.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    cluster.delete(subject).await?;
    let ended = cluster
        .wait_for(subject, "has ended containers", PATIENCE, |pod| {
            ["app", "hoft"].iter().all(|name| super::state(pod, name)["state"]["terminated"].is_object())
        })
        .await?;
    let [app, engine] = ["app", "hoft"].map(|name| &super::state(&ended, name)["state"]["terminated"]);
    ensure!(app["exitCode"] == 0 && engine["exitCode"] == 0, "app {app:#}, engine {engine:#}");
    let later = super::seconds_between(&app["finishedAt"], &engine["finishedAt"])?;
    ensure!(later >= 0.0, "the engine ended before its app: {engine:#} {app:#}");
    println!("  measured: by kubelet's clock the engine ended {later:.0} s after its app");
    Ok(())
}
