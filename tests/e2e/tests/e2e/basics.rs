//! The test bed itself: what every other scenario takes for granted. Also the template for new scenarios.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use e2e::fixtures::VOLUME_GROUP;
use e2e::mirror::Carrier;
use e2e::wait::{PATIENCE, eventually};
use e2e::{Cluster, Subject, TestBed};
use k8s_openapi::api::core::v1::{Pod, Service};
use serde_json::{Value, json};

use crate::world::container;

/// A pod that serves `text` on port 8080.
pub(crate) async fn web(cluster: &Cluster, namespace: &str, name: &str, text: &str) -> anyhow::Result<()> {
    let script = format!("echo {text} >/www/index.html; httpd -f -p 8080 -h /www");
    cluster
        .apply(&json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            "spec": {
                "containers": [container("web", &script)],
                "terminationGracePeriodSeconds": 2,
            },
        }))
        .await?;
    cluster.wait_pod_ready(namespace, name, PATIENCE).await.map(drop)
}

/// Starts a pod with a native sidecar in a namespace that enforces `restricted`; the sidecar is up first.
pub(crate) async fn native_sidecar(bed: &TestBed) -> anyhow::Result<()> {
    for cluster in bed.clusters() {
        cluster.namespace("basics").await?;
        let mut sidecar = container("sidecar", "date +%s%N >/tmp/began; httpd -f -p 9090 -h /tmp");
        sidecar["restartPolicy"] = "Always".into();
        sidecar["startupProbe"] = json!({"httpGet": {"port": 9090, "path": "/began"}, "periodSeconds": 1});
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "app", "namespace": "basics"},
            "spec": {
                "initContainers": [sidecar],
                "containers": [container("app", "wget -q -O /tmp/seen http://127.0.0.1:9090/began; sleep 1000")],
                "terminationGracePeriodSeconds": 2,
            },
        });
        cluster.apply(&pod).await?;
        cluster.wait_pod_ready("basics", "app", PATIENCE).await?;
        // The app found the sidecar listening: its start waited for the startup probe.
        let seen = cluster.exec("basics", "app", "app", &["cat", "/tmp/seen"]).await?;
        let began = cluster.exec("basics", "app", "sidecar", &["cat", "/tmp/began"]).await?;
        ensure!(!began.trim().is_empty() && seen == began, "the app saw {seen:?}, the sidecar wrote {began:?}");
        // The namespace really enforces it.
        let mut root = pod;
        root["metadata"]["name"] = "root".into();
        root["spec"]["containers"][0]["securityContext"]["runAsNonRoot"] = false.into();
        let refused = format!("{:#}", cluster.apply(&root).await.expect_err("a pod as root was let in"));
        ensure!(refused.contains("violates PodSecurity"), "{refused}");
    }
    Ok(())
}

/// A ClusterIP Service by its address and by each form of its name, from another pod and from the node.
pub(crate) async fn services_and_names(bed: &TestBed) -> anyhow::Result<()> {
    for cluster in bed.clusters() {
        cluster.namespace("names").await?;
        web(cluster, "names", "web", "hello").await?;
        web(cluster, "names", "client", "unused").await?;
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "names"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        });
        cluster.apply(&service).await?;
        let service = Subject::of::<Service>("names", "web");
        let service =
            cluster.wait_for(&service, "has an address", PATIENCE, |found| found["spec"]["clusterIP"].is_string());
        let address = service.await?["spec"]["clusterIP"].as_str().unwrap().to_owned();
        let hosts = [address.as_str(), "web", "web.names", "web.names.svc", "web.names.svc.cluster.local"];
        for host in hosts {
            let url = format!("http://{host}/");
            // Not wget's own -T: Debian's static busybox crashes on it.
            let get = ["timeout", "3", "wget", "-q", "-O", "-", &url];
            let what = format!("the pod gets {url}");
            let answer = cluster
                .wait_until("names", &what, PATIENCE, || async {
                    cluster.exec("names", "client", "web", &get).await.map(Some)
                })
                .await?;
            ensure!(answer.trim() == "hello", "{url} answers {answer:?}");
        }
        let from_node = cluster.http_get(format!("{address}:80").parse()?, "/").await?;
        ensure!(from_node == (200, "hello\n".to_owned()), "the node got {from_node:?}");
        // A pod reaches itself through its own Service, too.
        let itself = cluster
            .exec("names", "web", "web", &["timeout", "3", "wget", "-q", "-O", "-", "http://web.names.svc/"])
            .await?;
        ensure!(itself.trim() == "hello", "itself: {itself:?}");
    }
    Ok(())
}

/// Commands in containers and their logs, through the API server and kubelet.
pub(crate) async fn exec_and_logs(bed: &TestBed) -> anyhow::Result<()> {
    for cluster in bed.clusters() {
        cluster.namespace("exec").await?;
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "talker", "namespace": "exec"},
            "spec": {
                "containers": [container("talker", "echo a line of the log; sleep 1000")],
                "terminationGracePeriodSeconds": 2,
            },
        });
        cluster.apply(&pod).await?;
        cluster.wait_pod_ready("exec", "talker", PATIENCE).await?;
        let said = cluster.exec("exec", "talker", "talker", &["sh", "-c", "echo in; id -u"]).await?;
        ensure!(said == "in\n65532\n", "exec said {said:?}");
        let failed = cluster.exec("exec", "talker", "talker", &["sh", "-c", "echo why >&2; exit 7"]).await;
        let failed = format!("{:#}", failed.expect_err("a failing command was a success"));
        ensure!(failed.contains("why") && failed.contains("7"), "{failed}");
        let log = cluster.logs("exec", "talker", "talker").await?;
        ensure!(log == "a line of the log\n", "the log is {log:?}");
    }
    Ok(())
}

/// A folder of this machine in a pod: both write, both read, and the pod removes what this machine put there.
pub(crate) async fn shared_folder(bed: &TestBed) -> anyhow::Result<()> {
    let cluster = &bed.a;
    cluster.namespace("folders").await?;
    let volume = cluster.folder_volume("folders", "exchange").await?;
    std::fs::write(volume.folder.join("to-pod"), "from the mirror")?;
    let mut app = container("app", "sleep 1000");
    app["volumeMounts"] = json!([
        {"name": "exchange", "mountPath": "/exchange"},
        // kubelet makes this folder, as root, with the group of the volume's root.
        {"name": "exchange", "mountPath": "/fresh", "subPath": "made/by/kubelet"},
    ]);
    cluster
        .apply(&json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "app", "namespace": "folders"},
            "spec": {
                "securityContext": {"supplementalGroups": [VOLUME_GROUP]},
                "volumes": [{"name": "exchange", "persistentVolumeClaim": {"claimName": volume.claim}}],
                "containers": [app],
                "terminationGracePeriodSeconds": 2,
            },
        }))
        .await?;
    cluster.wait_pod_ready("folders", "app", PATIENCE).await?;
    let script = "cat /exchange/to-pod && rm /exchange/to-pod && echo hi >/exchange/from-pod && echo hi >/fresh/file";
    let read = cluster.exec("folders", "app", "app", &["sh", "-c", script]).await?;
    ensure!(read == "from the mirror", "the pod read {read:?}");
    ensure!(!volume.folder.join("to-pod").exists(), "the pod's removal is not seen");
    for file in ["from-pod", "made/by/kubelet/file"] {
        let written = std::fs::read_to_string(volume.folder.join(file))?;
        ensure!(written == "hi\n", "{file} holds {written:?}");
    }
    Ok(())
}

/// rsync between two folders of each cluster: stopped ways carry nothing, started ones both contents and deletions.
pub(crate) async fn rsync_carries(bed: &TestBed) -> anyhow::Result<()> {
    let mut folders = Vec::new();
    for cluster in bed.clusters() {
        cluster.namespace("rsync").await?;
        let volume = cluster.folder_volume("rsync", "exchange").await?;
        folders.push((volume.subfolder("out")?, volume.subfolder("in")?));
    }
    let [(out_a, in_a), (out_b, in_b)] = &folders[..] else { panic!("two clusters have two volumes") };
    let carrier = Carrier::Rsync(Duration::from_millis(100));
    let mirror = bed.mirror(Path::new(""), "rsync", (out_a, in_a), (out_b, in_b), (&carrier, &carrier))?;
    mirror.a_to_b.start()?;
    std::fs::create_dir(out_a.join("sub"))?;
    std::fs::write(out_a.join("sub/file"), "from a")?;
    std::fs::write(out_b.join("file"), "from b")?;
    let there = in_b.join("sub/file");
    eventually("a file of a is in b", PATIENCE, || async { Ok(there.exists().then_some(())) }).await?;
    ensure!(!in_a.join("file").exists(), "a way that was not started has carried a file");
    let group = std::fs::metadata(in_b.join("sub"))?;
    ensure!(group.gid() == VOLUME_GROUP && group.mode() & 0o020 != 0, "pods cannot write {group:?}");
    mirror.a_to_b.pause();
    std::fs::remove_file(out_a.join("sub/file"))?;
    mirror.b_to_a.start()?;
    let here = in_a.join("file");
    eventually("a file of b is in a", PATIENCE, || async { Ok(here.exists().then_some(())) }).await?;
    ensure!(there.exists(), "a paused way has carried a deletion");
    mirror.a_to_b.resume();
    eventually("the deletion is in b", PATIENCE, || async { Ok((!there.exists()).then_some(())) }).await?;
    mirror.stop()
}

/// The message of a wait that failed names the object, the Events and the log.
pub(crate) async fn failed_wait(bed: &TestBed) -> anyhow::Result<()> {
    let cluster = &bed.b;
    cluster.namespace("failing").await?;
    let mut broken = container("broken", "true");
    broken["command"] = json!(["sh", "-c", "echo the reason why; exit 3"]);
    broken["readinessProbe"] = json!({"exec": {"command": ["false"]}});
    cluster
        .apply(&json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "broken", "namespace": "failing"},
            "spec": {"containers": [broken]},
        }))
        .await?;
    let pod = Subject::of::<Pod>("failing", "broken");
    let failed = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"] == 1;
    cluster.wait_for(&pod, "was started again", PATIENCE, failed).await?;
    let waiting = cluster.wait_pod_ready("failing", "broken", Duration::from_secs(1)).await;
    let said = format!("{:#}", waiting.expect_err("a broken pod was ready"));
    for words in ["Pod failing/broken has Ready=True", "the reason why", "Normal Started", "exitCode: 3", "cluster b"] {
        ensure!(said.contains(words), "the message lacks {words:?}:\n{said}");
    }
    Ok(())
}

/// The same objects and the same client work after the API server was killed and started again.
pub(crate) async fn restarted_api_server(bed: &TestBed) -> anyhow::Result<()> {
    let cluster = &bed.a;
    cluster.namespace("restart").await?;
    web(cluster, "restart", "before", "before").await?;
    cluster.restart_api_server().await?;
    let still = cluster.object(&Subject::of::<Pod>("restart", "before")).await?;
    ensure!(still.is_some_and(|pod| pod["status"]["phase"] == "Running"), "the pod is not there any more");
    // kubelet, the controllers and the scheduler find it again.
    web(cluster, "restart", "after", "after").await
}

/// Requests of kubectl under another name are found under that name, allowed and denied ones apart.
pub(crate) async fn audit(bed: &TestBed) -> anyhow::Result<()> {
    let cluster = &bed.a;
    cluster.namespace("audited").await?;
    let manifest = json!({
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": {"name": "reader", "namespace": "audited"},
                "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}],
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "reader", "namespace": "audited"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "somebody"}],
            },
        ],
    });
    cluster.apply_yaml(&manifest.to_string()).await?;
    let audit = cluster.audit().from_here();
    let raw = |path: &'static str| ["get", "--raw", path, "--as", "somebody"];
    cluster.kubectl(&raw("/api/v1/namespaces/audited/pods")).await?;
    let secrets = cluster.kubectl_output(&raw("/api/v1/namespaces/audited/secrets")).await?;
    ensure!(!secrets.status.success(), "somebody may list Secrets");
    let (used, denied) = cluster
        .wait_until("audited", "both requests are in the audit log", PATIENCE, || async {
            let (used, denied) = (audit.rights_used("somebody")?, audit.denied("somebody")?);
            Ok((!used.is_empty() && !denied.is_empty()).then_some((used, denied)))
        })
        .await?;
    let used: Vec<String> =
        used.iter().map(|right| format!("{} {} {}", right.verb, right.resource, right.namespace)).collect();
    ensure!(used == ["list pods audited"], "used: {used:?}");
    ensure!(denied.len() == 1 && denied[0].resource == "secrets" && denied[0].code == 403, "denied: {denied:?}");
    Ok(())
}
