//! What a peering cannot do yet, or not at all, is said by a condition with its reason and remedy; mended, it becomes ready
//! by itself, and no operator has to be restarted for that.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::fixtures::VOLUME_GROUP;
use e2e::images::product::Product;
use e2e::wait::{PATIENCE, condition_of};
use e2e::{Cluster, TestBed};
use serde_json::{Value, json};

use crate::operators::Replicas;
use crate::world;

const NAMESPACE: &str = "refusals";
/// How long a container that failed a few times may wait for its next start.
const BACKOFF: Duration = Duration::from_secs(150);

/// One mistake, or one thing that is missing.
struct Case {
    name: &'static str,
    /// What differs from [`good`].
    spec: Value,
    /// The condition that says it: type, status, reason.
    condition: [&'static str; 3],
    /// What its message has: the field, the cause, the remedy.
    says: Vec<String>,
    /// The change of the spec that mends it; null where something else is missing.
    mend: Value,
}

/// Every mistake by itself, all at once in one namespace.
pub(crate) async fn are_said_and_mended(bed: &TestBed, product: &Product) -> anyhow::Result<()> {
    let cluster = &bed.b;
    world::install_on(cluster, product, &[]).await?;
    cluster.namespace(NAMESPACE).await?;
    cluster.folder_volume(NAMESPACE, "mirror").await?;
    cluster.folder_volume(NAMESPACE, "logs").await?;
    let closed = cluster.folder_volume(NAMESPACE, "closed").await?.folder;
    let open = |owner: u32, mode: u32| set_open(&closed, owner, mode);
    open(0, 0o755)?;
    claim(cluster, "single", "ReadWriteOnce").await?;
    volume(cluster, "single", "ReadWriteOnce", &closed).await?;
    claim(cluster, "unbound", "ReadWriteMany").await?;
    service(cluster, "other-port", 8080).await?;
    let scratch = tempfile::tempdir()?;
    let tokens = [world::token(product, scratch.path(), "south")?, world::token(product, scratch.path(), "west")?];
    let replicas = Replicas::of(cluster).await?;

    let cases = cases(&tokens);
    apply(cluster, "zz-elder", &json!({"volume": folders("mirror", "conflict")}), &tokens[0]).await?;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    for case in &cases {
        apply(cluster, case.name, &case.spec, &tokens[0]).await?;
    }
    for case in &cases {
        let [kind, status, reason] = case.condition;
        let subject = world::peering(NAMESPACE, case.name);
        let message = world::expect_reason(cluster, &subject, kind, status, reason, PATIENCE).await?;
        for words in &case.says {
            ensure!(message.contains(words.as_str()), "{}: {kind} says nothing of `{words}`: {message}", case.name);
        }
        let found = cluster.object(&subject).await?.context("the peering is gone")?;
        let ready = condition_of(&found, "Ready").context("no condition Ready")?;
        ensure!(ready["status"] != "True", "{} is ready all the same", case.name);
    }
    awaiting_shows_our_key(cluster).await?;
    cluster.wait_condition(&world::peering(NAMESPACE, "zz-elder"), "Ready", "True", PATIENCE).await?;

    cluster.folder_volume(NAMESPACE, "absent").await?;
    volume(cluster, "unbound", "ReadWriteMany", &closed).await?;
    service(cluster, "erp", 80).await?;
    cluster.delete(&world::peering(NAMESPACE, "zz-elder")).await?;
    open(VOLUME_GROUP, 0o2770)?;
    for case in cases.iter().filter(|case| !case.mend.is_null()) {
        cluster.merge(&world::peering(NAMESPACE, case.name), &json!({"spec": case.mend})).await?;
    }
    for case in &cases {
        cluster.wait_condition(&world::peering(NAMESPACE, case.name), "Ready", "True", BACKOFF).await?;
    }
    println!("  said and mended: {} mistakes", cases.len());
    replicas.expect_untroubled(cluster).await
}

/// The message of the peering that waits for a key carries the key that the far side needs.
async fn awaiting_shows_our_key(cluster: &Cluster) -> anyhow::Result<()> {
    let found = cluster.object(&world::peering(NAMESPACE, "awaiting-key")).await?.context("the peering is gone")?;
    let ours = found["status"]["identity"]["publicKey"].as_str().context("no public key in the status")?;
    let message = condition_of(&found, "KeysReady").and_then(|condition| condition["message"].as_str());
    ensure!(message.is_some_and(|message| message.contains(ours)), "our key is not in the message: {message:?}");
    Ok(())
}

fn cases(tokens: &[String; 2]) -> Vec<Case> {
    let accepted = |reason| ["Accepted", "False", reason];
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let case = |name, condition, spec, says: &[&str], mend| Case { name, spec, condition, says: words(says), mend };
    let rule = |service: &str| {
        json!({"inbound": {"allow": [{
            "name": "erp", "from": [{"peer": "south"}],
            "destinations": [{"host": "erp.north.svc", "port": 80, "schemes": ["http"], "methods": ["GET"]}],
            "target": {"serviceRef": {"name": service, "port": 80}},
        }]}})
    };
    let key = |token: &str| json!({"remote": {"publicKeys": [{"id": "k1", "key": token}]}});
    let ended = json!({"remote": {"publicKeys": [{"id": "k1", "key": tokens[0], "notAfter": "2020-01-01T00:00:00Z"}]}});
    let mut cases = vec![
        case(
            "claim-missing",
            ["VolumeReady", "False", "ClaimMissing"],
            json!({"volume": folders("absent", "x")}),
            &["spec.volume.outbox", "absent", "make it"],
            Value::Null,
        ),
        case(
            "claim-not-bound",
            ["VolumeReady", "False", "ClaimNotBound"],
            json!({"volume": folders("unbound", "x")}),
            &["unbound", "kubectl describe pvc unbound"],
            Value::Null,
        ),
        case(
            "access-mode",
            ["VolumeReady", "False", "AccessMode"],
            json!({"volume": folders("single", "x"), "gateway": null, "injection": {}}),
            &["single", "ReadWriteOnce", "ReadWriteMany", "gateway"],
            json!({"injection": null, "gateway": {"replicas": 0}}),
        ),
        case(
            "foreign-key",
            accepted("InvalidKey"),
            key(&tokens[1]),
            &["spec.remote.publicKeys[k1].key", "west"],
            key(&tokens[0]),
        ),
        case(
            "cut-key",
            accepted("InvalidKey"),
            key(&tokens[0][..tokens[0].len() / 2]),
            &["spec.remote.publicKeys[k1].key"],
            key(&tokens[0]),
        ),
        case(
            "ended-key",
            ["KeysReady", "False", "AllPeerKeysExpired"],
            ended,
            &["spec.remote.publicKeys", "k1", "status.identity.publicKey"],
            key(&tokens[0]),
        ),
        case(
            "awaiting-key",
            ["KeysReady", "False", "AwaitingPeerKey"],
            json!({"remote": {"publicKeys": null}}),
            &["spec.remote.publicKeys", "status.identity.publicKey", "fingerprint"],
            key(&tokens[0]),
        ),
        case(
            "younger",
            accepted("FolderConflict"),
            json!({"volume": folders("mirror", "conflict")}),
            &["spec.volume.outbox", "zz-elder", "conflict/out", "a folder of its own"],
            Value::Null,
        ),
        case(
            "service-missing",
            accepted("ServiceMissing"),
            rule("erp"),
            &["spec.inbound.allow[erp].target.serviceRef", "no Service erp", "make it"],
            Value::Null,
        ),
        case(
            "service-port",
            accepted("ServiceMissing"),
            rule("other-port"),
            &["spec.inbound.allow[erp].target.serviceRef", "no port 80", "8080"],
            json!({"inbound": null}),
        ),
        case(
            "backlog",
            accepted("InvalidConfig"),
            json!({"limits": {"maxBacklog": "1Ti"}}),
            &["spec.limits.maxBacklog", "spec.volume.state.size"],
            json!({"limits": null}),
        ),
        case(
            "paused",
            ["Programmed", "Unknown", "Paused"],
            json!({"paused": true}),
            &["spec.paused", "false"],
            json!({"paused": false}),
        ),
        case(
            "closed-folder",
            ["Programmed", "False", "EngineFailing"],
            json!({
                "volume": {"outbox": {"claimName": "closed"}, "inbox": {"claimName": "closed"}, "state": {"claimName": "logs"}},
                "gateway": {"replicas": 1},
            }),
            &["closed-folder-gateway-0", "/var/lib/hoft/out", "ermission"],
            Value::Null,
        ),
    ];
    cases.extend(
        unsupported()
            .into_iter()
            .map(|(name, field, reason, spec, mend)| case(name, accepted(reason), spec, &[field], mend)),
    );
    cases
}

/// What this version cannot do: name, field, reason, spec, and the spec without it.
fn unsupported() -> [(&'static str, &'static str, &'static str, Value, Value); 10] {
    const UNSUPPORTED: &str = "Unsupported";
    let packet =
        |field: &str, value: Value, good: Value| (json!({"packet": {field: value}}), json!({"packet": {field: good}}));
    let (min_size, no_min_size) = packet("minSize", json!("64Ki"), Value::Null);
    let (flush, no_flush) = packet("flushInterval", json!("1s"), Value::Null);
    let (plain, packed) = packet("compression", json!("None"), json!("Zstd"));
    let (doubled, single) = packet("redundancy", json!(10), json!(0));
    [
        ("class", "spec.classRef", "UnknownClass", json!({"classRef": {"name": "gold"}}), json!({"classRef": null})),
        (
            "rotation",
            "spec.identity.rotation",
            UNSUPPORTED,
            json!({"identity": {"rotation": {"period": "24h", "overlap": "1h"}}}),
            json!({"identity": null}),
        ),
        (
            "replicas",
            "spec.gateway.replicas",
            UNSUPPORTED,
            json!({"gateway": {"replicas": 2}}),
            json!({"gateway": {"replicas": 0}}),
        ),
        (
            "pdb",
            "spec.gateway.pdb",
            UNSUPPORTED,
            json!({"gateway": {"pdb": {"maxUnavailable": 1}}}),
            json!({"gateway": {"pdb": null}}),
        ),
        (
            "forward",
            "spec.injection.mode",
            UNSUPPORTED,
            json!({"injection": {"mode": "Forward"}}),
            json!({"injection": null}),
        ),
        ("min-size", "spec.packet.minSize", UNSUPPORTED, min_size, no_min_size),
        ("flush", "spec.packet.flushInterval", UNSUPPORTED, flush, no_flush),
        ("compression", "spec.packet.compression", UNSUPPORTED, plain, packed),
        ("redundancy", "spec.packet.redundancy", UNSUPPORTED, doubled, single),
        (
            "bandwidth",
            "spec.limits.bandwidth",
            UNSUPPORTED,
            json!({"limits": {"bandwidth": "10Mi"}}),
            json!({"limits": null}),
        ),
    ]
}

fn folders(claim: &str, folder: &str) -> Value {
    let one = |name: &str| json!({"claimName": claim, "subPath": format!("{folder}/{name}")});
    json!({"outbox": one("out"), "inbox": one("in")})
}

/// A peering that is ready as soon as it is made, changed by a merge patch. No engine runs for it.
async fn apply(cluster: &Cluster, name: &str, patch: &Value, token: &str) -> anyhow::Result<()> {
    let mut spec = json!({
        "local": {"name": "north"},
        "remote": {"name": "south", "publicKeys": [{"id": "k1", "key": token}]},
        "volume": folders("mirror", name),
        "gateway": {"replicas": 0},
    });
    spec["volume"]["group"] = VOLUME_GROUP.into();
    merge(&mut spec, patch);
    let metadata = json!({"name": name, "namespace": NAMESPACE});
    let peering =
        json!({"apiVersion": "hoft.dev/v1alpha1", "kind": "TunnelPeering", "metadata": metadata, "spec": spec});
    // Not by server-side apply: what a later merge patch takes away would be owned by another.
    cluster.create(&peering).await.map(drop)
}

/// A JSON merge patch (RFC 7386).
fn merge(target: &mut Value, patch: &Value) {
    let (Some(fields), Some(changes)) = (target.as_object_mut(), patch.as_object()) else {
        target.clone_from(patch);
        return;
    };
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert_with(|| json!({})), change);
        }
    }
}

async fn claim(cluster: &Cluster, name: &str, mode: &str) -> anyhow::Result<()> {
    let claim = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"accessModes": [mode], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}},
    });
    cluster.apply(&claim).await.map(drop)
}

/// A volume for a claim that waits for one.
async fn volume(cluster: &Cluster, claim: &str, mode: &str, folder: &Path) -> anyhow::Result<()> {
    let volume = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": format!("{NAMESPACE}-{claim}")},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": [mode],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "hostPath": {"path": folder, "type": "Directory"},
            "claimRef": {"namespace": NAMESPACE, "name": claim},
        },
    });
    cluster.apply(&volume).await.map(drop)
}

async fn service(cluster: &Cluster, name: &str, port: u16) -> anyhow::Result<()> {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": {"app": name}, "ports": [{"port": port}]},
    });
    cluster.apply(&service).await.map(drop)
}

/// Gives a folder, and all that kubelet made below it, to a group with a mode.
fn set_open(folder: &Path, group: u32, mode: u32) -> anyhow::Result<()> {
    chown(folder, None, Some(group))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(mode))?;
    for entry in fs::read_dir(folder)?.flatten().filter(|entry| entry.path().is_dir()) {
        set_open(&entry.path(), group, mode)?;
    }
    Ok(())
}
