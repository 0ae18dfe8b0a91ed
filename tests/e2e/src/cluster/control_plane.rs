//! etcd, the API server, the controller manager and the scheduler of one cluster.
//!
//! Invariant: the API server's audit log has every request at level Metadata; its flags are recorded, so a restart is
//! the same server. It waits for nothing (that is `start`), except in [`restart_api_server`].

use std::fs;
use std::time::Duration;

use anyhow::Context;

use super::{Layout, argv};
use crate::cluster::start::{wait_ready, within_namespace};
use crate::tools::Tools;

/// Every request once, when its response is complete, without bodies.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: Metadata
";

/// Starts etcd; its data need not outlive the machine, so it never waits for the disk.
pub(super) fn start_etcd(layout: &Layout, tools: &Tools) -> anyhow::Result<()> {
    let command = argv![
        tools.program("etcd").display(),
        format!("--data-dir={}", layout.folder.join("etcd").display()),
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ];
    layout.component("etcd").start(&within_namespace(layout, command), &[]).map(drop)
}

/// Starts the API server.
pub(super) fn start_api_server(layout: &Layout, tools: &Tools) -> anyhow::Result<()> {
    let policy = layout.config().join("audit-policy.yaml");
    fs::write(&policy, AUDIT_POLICY).with_context(|| format!("cannot write {}", policy.display()))?;
    let pki = |file: &str| layout.pki().join(file).display().to_string();
    let command = argv![
        tools.program("kube-apiserver").display(),
        "--etcd-servers=http://127.0.0.1:2379",
        format!("--advertise-address={}", layout.node_address()),
        "--bind-address=0.0.0.0",
        "--secure-port=6443",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged",
        format!("--service-cluster-ip-range={}", layout.service_range()),
        format!("--cert-dir={}", layout.pki().display()),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--kubelet-client-certificate={}", pki("kubelet-client.crt")),
        format!("--kubelet-client-key={}", pki("kubelet-client.key")),
        "--kubelet-preferred-address-types=InternalIP",
        format!("--token-auth-file={}", pki("tokens.csv")),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        format!("--service-account-key-file={}", pki("service-accounts.pub")),
        format!("--service-account-signing-key-file={}", pki("service-accounts.key")),
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", layout.audit_log().display()),
        "--profiling=false",
    ];
    layout.component("apiserver").start(&within_namespace(layout, command), &[]).map(drop)
}

/// Starts the controllers.
pub(super) fn start_controllers(layout: &Layout, tools: &Tools) -> anyhow::Result<()> {
    let pki = |file: &str| layout.pki().join(file).display().to_string();
    let command = argv![
        tools.program("kube-controller-manager").display(),
        format!("--kubeconfig={}", layout.kubeconfig("controller-manager").display()),
        "--use-service-account-credentials",
        // Its controllers begin one after another, each with requests: the default of 20 a second costs four seconds.
        "--kube-api-qps=300",
        "--kube-api-burst=600",
        "--leader-elect=false",
        format!("--root-ca-file={}", pki("ca.crt")),
        format!("--service-account-private-key-file={}", pki("service-accounts.key")),
        format!("--cluster-signing-cert-file={}", pki("ca.crt")),
        format!("--cluster-signing-key-file={}", pki("ca.key")),
        format!("--cert-dir={}", layout.pki().display()),
        // Its default lies in a folder of the machine, which it would create.
        format!("--flex-volume-plugin-dir={}", layout.folder.join("kubelet/plugins").display()),
        "--bind-address=127.0.0.1",
        "--profiling=false",
    ];
    layout.component("controller-manager").start(&within_namespace(layout, command), &[]).map(drop)
}

/// Starts the scheduler.
pub(super) fn start_scheduler(layout: &Layout, tools: &Tools) -> anyhow::Result<()> {
    let command = argv![
        tools.program("kube-scheduler").display(),
        format!("--kubeconfig={}", layout.kubeconfig("scheduler").display()),
        "--leader-elect=false",
        format!("--cert-dir={}", layout.pki().display()),
        "--bind-address=127.0.0.1",
    ];
    layout.component("scheduler").start(&within_namespace(layout, command), &[]).map(drop)
}

/// Kills the API server, starts it again with the same flags and waits until it is ready.
///
/// # Errors
/// It does not come back.
pub async fn restart_api_server(layout: &Layout) -> anyhow::Result<()> {
    let component = layout.component("apiserver");
    component.stop(Duration::ZERO)?;
    component.start_again()?;
    let client = crate::cluster::start::admin(layout).await?;
    wait_ready(layout, &client).await
}
