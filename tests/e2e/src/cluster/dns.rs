//! coredns, as a process on the node instead of a pod: `service.namespace.svc` and the longer forms resolve in pods.
//!
//! It answers for the cluster's own names only; there is nothing to forward to.

use std::fs;

use anyhow::Context;

use super::{Layout, argv};
use crate::cluster::start::within_namespace;
use crate::tools::Tools;

/// Starts coredns on the node's address, port 53.
pub(super) fn start_dns(layout: &Layout, tools: &Tools) -> anyhow::Result<()> {
    let (address, kubeconfig) = (layout.node_address(), layout.kubeconfig("dns"));
    let text = format!(
        ".:53 {{
    bind {address}
    errors
    ready 127.0.0.1:8181
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {} {}
        ttl 1
        pods insecure
    }}
}}
",
        kubeconfig.display(),
        layout.name
    );
    let path = layout.config().join("Corefile");
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    let command = argv![tools.program("coredns").display(), "-conf", path.display()];
    layout.component("dns").start(&within_namespace(layout, command), &[]).map(drop)
}
