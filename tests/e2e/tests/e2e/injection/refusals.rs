//! A pod that asks for an engine and can get none is refused, with words that say what to do. Cluster a answers by the
//! webhook, which knows the cause; cluster b has policies only, which know that there is no engine.

use anyhow::{Context, ensure};
use e2e::TestBed;
use e2e::images::product::Product;
use e2e::wait::{PATIENCE, condition_of};
use e2e::{Cluster, Subject};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::world::{self, SHOP};

/// A namespace without any peering.
const EMPTY: &str = "empty";

/// Labels that name nothing, peerings that are not ready, forged annotations; and how a Deployment recovers.
pub(crate) async fn refused(bed: &TestBed, product: &Product) -> anyhow::Result<()> {
    world::install(bed, product).await?;
    for cluster in bed.clusters() {
        cluster.namespace(EMPTY).await?;
        super::shop(cluster, &["waiting", "later", "policy", "nobody"]).await?;
        let peerings =
            [("waiting", "Auto"), ("later", "AdmissionPolicy"), ("policy", "AdmissionPolicy"), ("nobody", "None")];
        for (name, mechanism) in peerings {
            cluster.apply(&super::peering(name, mechanism)).await?;
        }
        let waiting = world::peering(SHOP, "waiting");
        world::expect_reason(cluster, &waiting, "KeysReady", "False", "AwaitingPeerKey", PATIENCE).await?;
        super::make_ready(cluster, product, "policy").await?;
        let later = world::peering(SHOP, "later");
        world::expect_reason(cluster, &later, "KeysReady", "False", "AwaitingPeerKey", PATIENCE).await?;
        let labels =
            [(EMPTY, "south"), (SHOP, "south"), (SHOP, "waiting"), (SHOP, "later"), (SHOP, "nobody"), (SHOP, "")];
        for (namespace, label) in labels {
            let mut pod = super::pod("asks", Some(label));
            pod["metadata"]["namespace"] = namespace.into();
            let said = apply(cluster, &pod).await?.expect_err("a pod without its engine was let in");
            let words = if cluster.name() == "a" { by_webhook(namespace, label) } else { by_policy(namespace, label) };
            ensure!(said.contains(&words), "{namespace}/{label:?} is told: {said}");
        }
        forged(cluster).await?;
        misplaced(cluster).await?;
        recovers(cluster, product).await?;
    }
    Ok(())
}

/// The policy's words: it sees that there is no engine, and names what may be wrong.
fn by_policy(namespace: &str, label: &str) -> String {
    format!(
        "ValidatingAdmissionPolicy 'hoft-pods' with binding 'hoft-pods' denied request: the label hoft.dev/inject asks for an \
         engine of the TunnelPeering \"{label}\" in namespace \"{namespace}\", and none was put into the pod: there is no \
         TunnelPeering of that name, its operator has not rendered an engine yet, or its spec.injection asks for none (kubectl \
         get tunnelpeerings --namespace {namespace} -o wide). Correct the label or the TunnelPeering, and restart the workload \
         if it does not try again"
    )
}

/// The webhook's words: it reads the peering, and names the one cause.
fn by_webhook(namespace: &str, label: &str) -> String {
    let words = match label {
        "waiting" | "later" => format!(
            "TunnelPeering {namespace}/{label} is not ready to be put into pods. KeysReady is False (AwaitingPeerKey): "
        ),
        "nobody" => format!(
            "TunnelPeering {namespace}/nobody has spec.injection.mechanism: None, so pods get no engine: set it to Auto, or \
             remove the label hoft.dev/inject"
        ),
        "" => format!(
            "the label hoft.dev/inject of this pod must be the name of a TunnelPeering in the namespace {namespace}; \"\" cannot \
             be one"
        ),
        _ => format!(
            "TunnelPeering {namespace}/{label} does not exist, and the label hoft.dev/inject of this pod names it: create it in \
             the pod's namespace, or correct the label"
        ),
    };
    format!("admission webhook \"pods.hoft.dev\" denied the request: {words}")
}

/// `kubectl apply`, and what it wrote on standard error.
async fn apply(cluster: &Cluster, object: &Value) -> anyhow::Result<Result<String, String>> {
    let file = tempfile::NamedTempFile::with_suffix(".json")?;
    serde_json::to_writer(file.as_file(), object)?;
    let path = file.path().to_str().context("a temporary file without a name")?;
    let output = cluster.kubectl_output(&["apply", "-f", path]).await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(if output.status.success() { Ok(said) } else { Err(said) })
}

/// What says which engine a pod has can neither be made up nor changed.
async fn forged(cluster: &Cluster) -> anyhow::Result<()> {
    let mut pod = super::pod("forged", None);
    pod["metadata"]["annotations"] = json!({"hoft.dev/injected-version": "7"});
    let said = apply(cluster, &pod).await?.expect_err("a pod with a forged annotation was let in");
    ensure!(
        said.contains(
            "annotations hoft.dev/injected-* say which engine was put into a pod, and this pod asks for none"
        ),
        "{said}"
    );
    // An engine brought along by a labelled pod is no engine that stays: nothing is added, and the pod could never start.
    let mut pod = super::pod("brought", Some("policy"));
    let mut own = world::container("hoft", "true");
    own["command"] = json!(["true"]);
    pod["spec"]["initContainers"] = json!([own]);
    let said = apply(cluster, &pod).await?.expect_err("a pod with an engine of its own was let in");
    ensure!(said.contains("the init container hoft has lost its restartPolicy Always"), "{said}");
    // One by the name of the engine among the containers collides with it.
    let mut pod = super::pod("named", Some("policy"));
    pod["spec"]["containers"][0]["name"] = "hoft".into();
    let said = apply(cluster, &pod).await?.expect_err("a pod with a container named hoft was let in");
    ensure!(said.contains("Duplicate value: \"hoft\"") || said.contains("rename it"), "{said}");

    let pod = super::pod("injected", Some("policy"));
    apply(cluster, &pod).await?.map_err(anyhow::Error::msg)?;
    let annotate = ["-n", SHOP, "annotate", "pod", "injected", "--overwrite", "hoft.dev/injected-version=7"];
    let output = cluster.kubectl_output(&annotate).await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("they cannot be changed afterwards"), "{said}");
    cluster.kubectl(&["-n", SHOP, "annotate", "pod", "injected", "example.org/other=fine"]).await?;
    cluster.delete(&Subject::of::<Pod>(SHOP, "injected")).await
}

/// A label on the workload instead of its template: it is made, and whoever applies it is warned.
async fn misplaced(cluster: &Cluster) -> anyhow::Result<()> {
    let template = json!({
        "metadata": {"labels": {"app": "misplaced"}},
        "spec": {"containers": [world::container("app", "sleep 86400")], "restartPolicy": "Always"},
    });
    let metadata = json!({"name": "misplaced", "namespace": SHOP, "labels": {"hoft.dev/inject": "policy"}});
    let mut deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "misplaced"}}, "template": template.clone()},
    });
    let mut job_template = template;
    job_template["spec"]["restartPolicy"] = "OnFailure".into();
    let cron_job = json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata,
        "spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": {"template": job_template}}},
    });
    for (object, kind, place) in [
        (&deployment, "Deployment", "spec.template.metadata.labels"),
        (&cron_job, "CronJob", "spec.jobTemplate.spec.template.metadata.labels"),
    ] {
        let said = apply(cluster, object).await?.map_err(anyhow::Error::msg)?;
        let words = format!(
            "the label hoft.dev/inject on a {kind} itself does nothing: put it under {place}, so that its pods carry it"
        );
        ensure!(said.contains("Warning: ") && said.contains(&words), "{said}");
    }
    deployment["spec"]["template"]["metadata"]["labels"]["hoft.dev/inject"] = "policy".into();
    let said = apply(cluster, &deployment).await?.map_err(anyhow::Error::msg)?;
    ensure!(!said.contains("Warning"), "warned although the template carries the label: {said}");
    Ok(())
}

/// A Deployment shows why it has no pods, and gets them after the peering became ready and it was restarted.
async fn recovers(cluster: &Cluster, product: &Product) -> anyhow::Result<()> {
    world::deploy_app(cluster, "early", "waiting", "sleep 86400").await?;
    let subject = Subject::of::<Deployment>(SHOP, "early");
    let failed = cluster.wait_condition(&subject, "ReplicaFailure", "True", PATIENCE).await?;
    let failure = condition_of(&failed, "ReplicaFailure").context("no condition")?;
    let words = if cluster.name() == "a" {
        "SHOP/waiting is not ready to be put into pods"
    } else {
        "the TunnelPeering \"waiting\""
    };
    let words = words.replace("SHOP", SHOP);
    let message = failure["message"].as_str().unwrap_or_default();
    ensure!(failure["reason"] == "FailedCreate" && message.contains(&words), "{failure:#}");
    super::make_ready(cluster, product, "waiting").await?;
    cluster.kubectl(&["-n", SHOP, "rollout", "restart", "deployment/early"]).await?;
    world::app_pod(cluster, "early").await?;
    let gone = |found: &Value| condition_of(found, "ReplicaFailure").is_none();
    cluster.wait_for(&subject, "has no ReplicaFailure any more", PATIENCE, gone).await?;
    Ok(())
}
