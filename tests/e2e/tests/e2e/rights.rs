//! The operator has the rights it uses and no others: its roles, as they stand in the clusters, against the audit log of the
//! whole run.
//!
//! Run alone it uses by itself what other scenarios use: a line with a gateway, one that goes, a lost mirror, a pod that asks
//! the webhook.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::audit::Request;
use e2e::images::product::Product;
use e2e::wait::PATIENCE;
use e2e::{Cluster, Subject, TestBed};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::world::{self, BACK, CONNECT_PATIENCE, Line, OPERATOR, SHOP, SYSTEM};

const NAMESPACE: &str = "rights";
/// How long a line takes until it calls a silence one.
const NOTICE: Duration = Duration::from_secs(90);

/// A right as a role grants it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    group: String,
    resource: String,
    verb: String,
    /// Of the operator's own namespace only.
    own: bool,
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = if self.own { " in its namespace" } else { "" };
        write!(
            f,
            "{} {}{}{}{place}",
            self.verb,
            self.resource,
            if self.group.is_empty() { "" } else { "." },
            self.group
        )
    }
}

/// Nothing was denied, and every right was used, on each cluster that grants it or on the other.
pub(crate) async fn are_exact(bed: &TestBed, product: &Product) -> anyhow::Result<()> {
    world::install(bed, product).await?;
    let granted = [granted(&bed.a).await?, granted(&bed.b).await?];
    let all: BTreeSet<Right> = granted.iter().flatten().cloned().collect();
    ensure!(all.len() >= 20, "the roles grant only {all:?}");
    let mut unused = unused(bed, &all)?;
    if !unused.is_empty() {
        println!("  not used by other scenarios: {}", list(&unused));
        use_them(bed, product, &unused).await?;
        // The log lags a request by a moment.
        let used = || async { Ok(self::unused(bed, &all)?.is_empty().then_some(())) };
        let _ = e2e::wait::eventually("all rights were used", Duration::from_secs(10), used).await;
        unused = self::unused(bed, &all)?;
    }
    ensure!(unused.is_empty(), "granted and never used: {}", list(&unused));
    let mut denied = Vec::new();
    for (cluster, granted) in bed.clusters().into_iter().zip(&granted) {
        let requests = cluster.audit().denied(OPERATOR)?;
        denied.extend(requests.into_iter().filter(|request| lacks_a_right(request, granted)));
    }
    ensure!(denied.is_empty(), "denied for lack of rights: {denied:#?}");
    println!("  rights: {} granted, all used, nothing denied", all.len());
    Ok(())
}

fn list(rights: &BTreeSet<Right>) -> String {
    rights.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The rights of the operator's roles in a cluster.
async fn granted(cluster: &Cluster) -> anyhow::Result<BTreeSet<Right>> {
    let mut granted = BTreeSet::new();
    for (own, kind) in [(false, "clusterroles"), (true, "roles")] {
        let text = cluster.kubectl(&["get", kind, "--all-namespaces", "-o", "json"]).await?;
        let roles: Value = serde_json::from_str(&text).context("kubectl printed no JSON")?;
        let roles = roles["items"].as_array().cloned().unwrap_or_default();
        let ours: Vec<&Value> =
            roles.iter().filter(|role| role["metadata"]["labels"]["app.kubernetes.io/part-of"] == "hoft").collect();
        ensure!(ours.len() == 1, "{} {kind} are the chart's", ours.len());
        for rule in ours[0]["rules"].as_array().into_iter().flatten() {
            for (group, resource, verb) in triples(rule) {
                ensure!(![&group, &resource, &verb].contains(&&"*".to_owned()), "a wildcard: {rule}");
                granted.insert(Right { group, resource, verb, own });
            }
        }
    }
    Ok(granted)
}

fn triples(rule: &Value) -> Vec<(String, String, String)> {
    let words = |name: &str| -> Vec<String> {
        rule[name].as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let (resources, verbs) = (words("resources"), words("verbs"));
    let mut triples = Vec::new();
    for group in words("apiGroups") {
        for resource in &resources {
            triples.extend(verbs.iter().map(|verb| (group.clone(), resource.clone(), verb.clone())));
        }
    }
    triples
}

/// Those that the audit logs show no use of.
fn unused(bed: &TestBed, granted: &BTreeSet<Right>) -> anyhow::Result<BTreeSet<Right>> {
    let mut unused = granted.clone();
    for cluster in bed.clusters() {
        for used in cluster.audit().rights_used(OPERATOR)? {
            let same = |right: &Right| {
                (&right.group, &right.resource, &right.verb) == (&used.group, &used.resource, &used.verb)
            };
            // In its own namespace both kinds of role count; elsewhere that of the cluster alone.
            let own = used.namespace == SYSTEM;
            let narrow = own && granted.iter().any(|right| same(right) && right.own);
            unused.retain(|right| !(same(right) && right.own == narrow));
        }
    }
    Ok(unused)
}

/// Was it refused for lack of a right? Admission answers 403 too: to whatever is made in a namespace that ends, or beyond a
/// quota; so does an API server that has just started and does not know its roles yet (a scenario restarts them). Both are
/// told from these by the roles: what they grant is not lacking. An apply that lacks `create` is logged as allowed.
fn lacks_a_right(request: &Request, granted: &BTreeSet<Right>) -> bool {
    let grants = |verb: &str| {
        granted.iter().any(|right| {
            right.group == request.group
                && right.resource == request.resource
                && right.verb == verb
                && (!right.own || request.namespace == SYSTEM)
        })
    };
    if request.allowed { request.code == 403 && !grants("create") } else { !grants(&request.verb) }
}

/// Does what needs the rights: a line whose mirror stops twice, whose gateway goes, and a pod that asks the webhook.
async fn use_them(bed: &TestBed, product: &Product, unused: &BTreeSet<Right>) -> anyhow::Result<()> {
    let lacks =
        |resource: &str, verb: &str| unused.iter().any(|right| right.resource == resource && right.verb == verb);
    if lacks("tunnelpeerings", "get") {
        ask_the_webhook(&bed.a).await?;
    }
    if unused.iter().any(|right| right.own && right.verb == "create") {
        delete_what_the_chart_made(&bed.a).await?;
    }
    let done_by_now = |right: &Right| right.own || (right.resource == "tunnelpeerings" && right.verb == "get");
    if unused.iter().all(done_by_now) {
        return Ok(());
    }
    let line = Line::up(bed, product, &[]).await?;
    world::deploy_app(&bed.a, "app", "south", "sleep 86400").await?;
    world::app_pod(&bed.a, "app").await?;
    let (north, south) = (world::peering(SHOP, "south"), world::peering(BACK, "north"));
    bed.a.wait_condition(&north, "Connected", "True", CONNECT_PATIENCE).await?;
    if lacks("events", "patch") {
        // The same news a second time is written into the Event of the first.
        for _ in 0..2 {
            line.mirror.stop()?;
            bed.a.wait_condition(&north, "Connected", "False", NOTICE).await?;
            line.mirror.start()?;
            bed.a.wait_condition(&north, "Connected", "True", CONNECT_PATIENCE).await?;
        }
    }
    let injection = json!({"spec": {"gateway": null, "injection": {}}});
    bed.b.merge(&south, &injection).await?;
    bed.b.wait_gone(&Subject::of::<StatefulSet>(BACK, "north-gateway"), PATIENCE).await
}

/// The operator makes by itself what somebody deleted.
async fn delete_what_the_chart_made(cluster: &Cluster) -> anyhow::Result<()> {
    let lease = Subject::of::<Lease>(SYSTEM, "hoft-operator");
    cluster.delete(&lease).await?;
    cluster.wait_for(&lease, "has a holder", PATIENCE, |found| found["spec"]["holderIdentity"].is_string()).await?;
    let authorities = Subject::of::<Secret>(SYSTEM, "hoft-webhook-ca");
    cluster.delete(&authorities).await?;
    cluster.wait_for(&authorities, "is filled in", PATIENCE, |found| found["data"].is_object()).await.map(drop)
}

/// A pod whose peering wants the webhook: what the webhook says to it does not matter.
async fn ask_the_webhook(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.namespace(NAMESPACE).await?;
    let folder = |name: &str| json!({"claimName": "mirror", "subPath": name});
    cluster
        .create(&json!({
            "apiVersion": "hoft.dev/v1alpha1",
            "kind": "TunnelPeering",
            "metadata": {"name": "south", "namespace": NAMESPACE},
            "spec": {
                "local": {"name": "north"},
                "remote": {"name": "south"},
                "volume": {"outbox": folder("out"), "inbox": folder("in")},
                "injection": {"mechanism": "Webhook"},
            },
        }))
        .await?;
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "app", "namespace": NAMESPACE, "labels": {"hoft.dev/inject": "south"}},
        "spec": {"containers": [world::container("app", "sleep 1000")]},
    });
    let refused = cluster.create(&pod).await.err().context("a pod without an engine was let in")?;
    ensure!(format!("{refused:#}").contains("south"), "{refused:#}");
    Ok(())
}
