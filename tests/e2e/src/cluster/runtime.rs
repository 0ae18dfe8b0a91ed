//! containerd and the network of pods; importing images.
//!
//! Invariant: all of containerd, also what it would put into places shared by the whole machine (shim sockets, pods'
//! network namespaces, runc's state, CNI's leases), lies below the cluster's folder. Nothing is ever pulled.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::json;

use super::{Layout, argv};
use crate::cluster::start::within_namespace;
use crate::images::PAUSE;
use crate::prerequisites::CNI_PLUGINS;
use crate::process::run;
use crate::tools::Tools;

impl Layout {
    /// containerd's folder.
    pub(super) fn containerd(&self) -> PathBuf {
        self.folder.join("containerd")
    }

    /// The socket of containerd: absolute, or `ctr` does not find it.
    pub(super) fn containerd_socket(&self) -> PathBuf {
        self.containerd().join("containerd.sock")
    }
}

/// Starts containerd.
pub(super) fn start_containerd(layout: &Layout, tools: &Tools) -> anyhow::Result<()> {
    let cni = layout.config().join("cni");
    fs::create_dir_all(&cni)?;
    fs::create_dir_all(layout.containerd())?;
    write(&cni.join("10-hoft.conflist"), &serde_json::to_string_pretty(&pod_network(layout))?)?;
    let config = layout.config().join("containerd.toml");
    write(&config, &configuration(layout, &cni))?;
    let command = argv![tools.program("containerd").display(), "--config", config.display()];
    // containerd finds its shim, and the shim finds runc, in PATH.
    let path = format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", tools.folder().display());
    layout.component("containerd").start(&within_namespace(layout, command), &[("PATH".to_owned(), path)]).map(drop)
}

/// Each pod is routed by a link of its own (`ptp`): unlike a bridge that needs no br_netfilter for Services between pods.
fn pod_network(layout: &Layout) -> serde_json::Value {
    json!({
        "cniVersion": "1.0.0",
        "name": layout.namespace(),
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": false,
                "mtu": 1500,
                "ipam": {
                    "type": "host-local",
                    "dataDir": layout.containerd().join("leases"),
                    "ranges": [[{"subnet": layout.pod_range()}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

fn configuration(layout: &Layout, cni: &Path) -> String {
    let (folder, socket) = (layout.containerd(), layout.containerd_socket());
    let (folder, socket, cni) = (folder.display(), socket.display(), cni.display());
    // restrict_oom_score_adj: a machine without CAP_SYS_RESOURCE may not lower scores, and runc dies without saying so.
    format!(
        "version = 3
root = '{folder}/root'
state = '{folder}/state'
temp = '{folder}/tmp'
disabled_plugins = ['io.containerd.tracing.processor.v1.otlp', 'io.containerd.internal.v1.tracing']

[plugins.'io.containerd.server.v1.grpc']
address = '{socket}'
[plugins.'io.containerd.server.v1.ttrpc']
address = '{socket}.ttrpc'
[plugins.'io.containerd.shim.v1.manager']
socket_dir = '{folder}/s'
[plugins.'io.containerd.internal.v1.opt']
path = '{folder}/opt'
[plugins.'io.containerd.nri.v1.nri']
disable = true

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{PAUSE}'

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
cdi_spec_dirs = []
enable_criu = false
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
Root = '{folder}/runc'
SystemdCgroup = false
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['{CNI_PLUGINS}']
conf_dir = '{cni}'
use_internal_loopback = true
"
    )
}

/// Imports an image archive, to be used with `imagePullPolicy: Never`.
///
/// # Errors
/// containerd refuses it.
pub fn import_image(layout: &Layout, tools: &Tools, archive: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(tools.program("ctr"));
    command.arg("--address").arg(layout.containerd_socket()).args(["-n", "k8s.io", "images", "import"]).arg(archive);
    run(&mut command).with_context(|| format!("cannot import {} into cluster {}", archive.display(), layout.name))?;
    Ok(())
}

/// True once containerd answers.
pub(super) fn answers(layout: &Layout, tools: &Tools) -> bool {
    let mut command = Command::new(tools.program("ctr"));
    layout.containerd_socket().exists()
        && run(command.arg("--address").arg(layout.containerd_socket()).arg("version")).is_ok()
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
