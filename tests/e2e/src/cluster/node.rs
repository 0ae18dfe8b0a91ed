//! kubelet and kube-proxy: the only node of a cluster.
//!
//! Invariant: kubelet's own folders (volumes, pod logs, certificates, plugins) lie below the cluster's folder, its pods'
//! cgroups below the cluster's cgroup.

use std::fs;

use anyhow::Context;
use serde_json::json;

use super::{Layout, argv};
use crate::cluster::start::within_namespace;
use crate::tools::Tools;

/// Starts kubelet.
pub(super) fn start_kubelet(layout: &Layout, tools: &Tools) -> anyhow::Result<()> {
    let folder = layout.folder.join("kubelet");
    fs::create_dir_all(&folder)?;
    // An empty file: pods get no search domains or servers of this machine.
    let resolv = layout.config().join("resolv.conf");
    fs::write(&resolv, "")?;
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.pki().join("ca.crt")},
        },
        "containerRuntimeEndpoint": format!("unix://{}", layout.containerd_socket().display()),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", layout.namespace()),
        "failCgroupV1": false,
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        "podLogsDir": layout.logs().join("pods"),
        "clusterDNS": [layout.node_address()],
        "clusterDomain": "cluster.local",
        "resolvConf": resolv,
        "volumePluginDir": folder.join("plugins"),
        "oomScoreAdj": 0,
        "evictionHard": {"memory.available": "1Mi", "nodefs.available": "1Mi", "imagefs.available": "1Mi"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "maxPods": 200,
        "serializeImagePulls": false,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "nodeStatusUpdateFrequency": "2s",
        "syncFrequency": "10s",
        "logging": {"verbosity": 1},
    });
    let path = layout.config().join("kubelet.yaml");
    fs::write(&path, serde_json::to_string_pretty(&config)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let command = argv![
        tools.program("kubelet").display(),
        format!("--config={}", path.display()),
        format!("--kubeconfig={}", layout.kubeconfig("kubelet").display()),
        format!("--root-dir={}", folder.display()),
        format!("--cert-dir={}", folder.join("pki").display()),
        format!("--hostname-override={}", layout.node_name()),
        format!("--node-ip={}", layout.node_address()),
    ];
    layout.component("kubelet").start(&within_namespace(layout, command), &[]).map(drop)
}

/// Starts kube-proxy.
pub(super) fn start_proxy(layout: &Layout, tools: &Tools) -> anyhow::Result<()> {
    let command = argv![
        tools.program("kube-proxy").display(),
        format!("--kubeconfig={}", layout.kubeconfig("proxy").display()),
        "--proxy-mode=nftables",
        format!("--cluster-cidr={}", layout.pod_range()),
        format!("--hostname-override={}", layout.node_name()),
        // It may not write those limits of the kernel, and need not.
        "--conntrack-max-per-core=0",
        "--conntrack-min=0",
        "--oom-score-adj=0",
        // Endpoints reach the rules at once instead of once a second.
        "--iptables-min-sync-period=0s",
    ];
    layout.component("proxy").start(&within_namespace(layout, command), &[]).map(drop)
}
