//! Starting a cluster: everything at once that does not wait for something else, then the waits.
//!
//! Invariants: it starts from nothing (what an earlier run left is removed first by the caller); every process it
//! starts is recorded before the next step, so an interrupted start is cleaned up like a finished one.
//! Read first: [`start`].

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::time::sleep;

use super::{Layout, control_plane, dns, node, runtime};
use crate::tools::Tools;
use crate::{certificates, cgroups, network};

/// How long a cluster may take to become ready. Far more than it needs, for machines that do other things too.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long each step of a start took.
#[derive(Clone, Debug, Default)]
pub struct Timing {
    /// The cluster's number.
    pub index: u8,
    /// What was reached, and when, counted from the start.
    pub steps: Vec<(&'static str, Duration)>,
}

impl Timing {
    /// From nothing to ready.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.steps.last().map_or(Duration::ZERO, |(_, at)| *at)
    }
}

/// Starts the cluster and waits until pods can be made: API server, node, names and Services work.
///
/// # Errors
/// A component ends, or something is not ready in time; the message has the end of its log.
pub async fn start(layout: &Layout, tools: &Tools, images: &[PathBuf]) -> anyhow::Result<Timing> {
    let began = Instant::now();
    let mut timing = Timing { index: layout.index, steps: Vec::new() };
    let mut reached = |step| timing.steps.push((step, began.elapsed()));
    for folder in [layout.pki(), layout.logs(), layout.config(), layout.run(), layout.volumes()] {
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    certificates::create(layout)?;
    network::create(layout)?;
    cgroups::create(&layout.namespace())?;
    control_plane::start_etcd(layout, tools)?;
    control_plane::start_api_server(layout, tools)?;
    runtime::start_containerd(layout, tools)?;
    reached("begun");

    let importing = import(layout.clone(), tools.clone(), images.to_vec());
    let client = admin(layout).await?;
    wait_ready(layout, &client).await?;
    reached("API server");
    control_plane::start_controllers(layout, tools)?;
    control_plane::start_scheduler(layout, tools)?;
    node::start_proxy(layout, tools)?;
    dns::start_dns(layout, tools)?;
    importing.await??;
    reached("images");
    node::start_kubelet(layout, tools)?;
    wait_node(layout, &client).await?;
    reached("node");
    wait_service_account(layout, &client).await?;
    wait_http(layout, "proxy", 10256, "/healthz").await?;
    wait_http(layout, "dns", 8181, "/ready").await?;
    reached("ready");
    Ok(timing)
}

/// Waits for containerd and imports the images, beside everything else.
fn import(layout: Layout, tools: Tools, images: Vec<PathBuf>) -> tokio::task::JoinHandle<anyhow::Result<()>> {
    tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        while !runtime::answers(&layout, &tools) {
            layout.component("containerd").check()?;
            if began.elapsed() > PATIENCE {
                bail!("containerd does not answer\n{}", layout.component("containerd").log_end());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        images.iter().try_for_each(|image| runtime::import_image(&layout, &tools, image))
    })
}

/// The command line that runs a program inside the cluster's network. `nsenter` becomes the program: one process.
pub(super) fn within_namespace(layout: &Layout, command: Vec<String>) -> Vec<String> {
    let mut all = super::argv!["nsenter", format!("--net={}", layout.namespace_file().display()), "--"];
    all.extend(command);
    all
}

/// A client of the API server that may do everything.
pub async fn admin(layout: &Layout) -> anyhow::Result<Client> {
    let path = layout.kubeconfig("admin");
    let kubeconfig = Kubeconfig::read_from(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    // Proxies of whoever runs the tests have no way to the cluster.
    config.proxy_url = None;
    Ok(Client::try_from(config)?)
}

/// Waits until the API server says that it is ready.
pub(super) async fn wait_ready(layout: &Layout, client: &Client) -> anyhow::Result<()> {
    until(layout, &["etcd", "apiserver"], "the API server is ready", || async {
        let request = http::Request::get("/readyz").body(Vec::new())?;
        Ok(client.request_text(request).await? == "ok")
    })
    .await
}

async fn wait_node(layout: &Layout, client: &Client) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    until(layout, &["kubelet", "containerd"], "the node is ready", || async {
        let node = nodes.get(&layout.node_name()).await?;
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        Ok(conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"))
    })
    .await
}

/// A pod made before its service account is refused.
async fn wait_service_account(layout: &Layout, client: &Client) -> anyhow::Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    until(layout, &["controller-manager"], "the default service account exists", || async {
        Ok(accounts.get_opt("default").await?.is_some())
    })
    .await
}

/// Waits until a port on the node's loopback answers 200.
async fn wait_http(layout: &Layout, component: &str, port: u16, path: &str) -> anyhow::Result<()> {
    until(layout, &[component], &format!("the port {port} of {component} answers"), || async {
        Ok(network::http_get(layout, ([127, 0, 0, 1], port).into(), path)?.0 == 200)
    })
    .await
}

/// Asks until the answer is yes; an error is a no, shown if it never becomes one. Fails at once when a component ends.
async fn until<F: Future<Output = anyhow::Result<bool>>>(
    layout: &Layout,
    components: &[&str],
    what: &str,
    ask: impl Fn() -> F,
) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let answer = ask().await;
        if matches!(answer, Ok(true)) {
            return Ok(());
        }
        for name in components {
            layout.component(name).check()?;
        }
        if began.elapsed() > PATIENCE {
            let ends = components.iter().map(|name| format!("{name}:\n{}", layout.component(name).log_end()));
            let logs = ends.collect::<Vec<_>>().join("\n");
            bail!("cluster {}: waited {} s until {what}; last: {answer:?}\n{logs}", layout.name, PATIENCE.as_secs());
        }
        sleep(Duration::from_millis(100)).await;
    }
}
