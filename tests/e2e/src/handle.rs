//! A cluster that is up, as scenarios use it: its client, its tools, its node.
//!
//! What concerns objects is in `objects`, waiting in `wait`, folders shown to pods in `volumes`. Everything here works
//! through the cluster's own addresses; nothing reaches the other cluster.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::process::Command;

use crate::audit::AuditLog;
use crate::cluster::{self, Layout};
use crate::network;
use crate::objects::Subject;
use crate::tools::Tools;

/// One running cluster.
pub struct Cluster {
    /// Its folders and addresses.
    pub layout: Layout,
    /// The programs it is made of.
    pub tools: Tools,
    client: Client,
    /// What the running scenario made that outlives its namespaces, and the namespaces themselves.
    pub(crate) made: Mutex<Vec<Subject>>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("layout", &self.layout).finish_non_exhaustive()
    }
}

impl Cluster {
    pub(crate) async fn new(layout: Layout, tools: Tools) -> anyhow::Result<Self> {
        let client = cluster::admin(&layout).await?;
        Ok(Self { layout, tools, client, made: Mutex::default() })
    }

    /// `a` or `b`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.layout.name
    }

    /// A client that may do everything, as the user `hoft-e2e:admin`.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Runs kubectl as the administrator; gives what it wrote.
    ///
    /// # Errors
    /// It failed; the message has what it said.
    pub async fn kubectl<S: AsRef<OsStr>>(&self, arguments: &[S]) -> anyhow::Result<String> {
        succeeded("kubectl", arguments, self.kubectl_output(arguments).await?)
    }

    /// Runs kubectl where it is expected to fail: its status and both outputs.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn kubectl_output<S: AsRef<OsStr>>(&self, arguments: &[S]) -> anyhow::Result<Output> {
        let mut command = self.program("kubectl");
        command.arg("--kubeconfig").arg(self.layout.kubeconfig("admin")).args(arguments);
        command.output().await.context("cannot start kubectl")
    }

    /// Runs helm as the administrator; gives what it wrote.
    ///
    /// # Errors
    /// It failed; the message has what it said.
    pub async fn helm<S: AsRef<OsStr>>(&self, arguments: &[S]) -> anyhow::Result<String> {
        succeeded("helm", arguments, self.helm_output(arguments).await?)
    }

    /// Runs helm where it is expected to fail: its status and both outputs.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn helm_output<S: AsRef<OsStr>>(&self, arguments: &[S]) -> anyhow::Result<Output> {
        let folder = self.layout.folder.join("helm");
        let mut command = self.program("helm");
        command.arg("--kubeconfig").arg(self.layout.kubeconfig("admin")).args(arguments);
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(variable, &folder);
        }
        command.output().await.context("cannot start helm")
    }

    /// A command of one of the cluster's programs, which ends when it is dropped.
    #[must_use]
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.tools.program(name));
        command.stdin(Stdio::null()).kill_on_drop(true);
        // Proxies of whoever runs the tests have no way to the cluster, and their kubeconfig is another cluster's.
        for variable in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(variable).env_remove(variable.to_uppercase());
        }
        command.env_remove("KUBECONFIG");
        command
    }

    /// A command of this machine that runs in the network of the cluster's node and ends when it is dropped: a
    /// Prometheus that scrapes pods, a curl.
    #[must_use]
    pub fn node_command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.layout.namespace_file().display())).arg("--").arg(program);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a command in a container, as `kubectl exec` does; gives what it wrote.
    ///
    /// # Errors
    /// It failed; the message has what it said.
    pub async fn exec(&self, namespace: &str, pod: &str, container: &str, command: &[&str]) -> anyhow::Result<String> {
        let arguments = [&["exec", "-n", namespace, pod, "-c", container, "--"], command].concat();
        self.kubectl(&arguments).await
    }

    /// What a container has written.
    ///
    /// # Errors
    /// There is no such container, or kubelet does not answer.
    pub async fn logs(&self, namespace: &str, pod: &str, container: &str) -> anyhow::Result<String> {
        self.kubectl(&["logs", "-n", namespace, pod, "-c", container]).await
    }

    /// The address of a pod.
    ///
    /// # Errors
    /// There is no such pod, or it has no address yet.
    pub async fn pod_address(&self, namespace: &str, pod: &str) -> anyhow::Result<std::net::IpAddr> {
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        let address = pods.get(pod).await?.status.and_then(|status| status.pod_ip);
        let address = address.with_context(|| format!("the pod {namespace}/{pod} has no address yet"))?;
        address.parse().with_context(|| format!("the pod {namespace}/{pod} has the address {address}"))
    }

    /// A connection from the cluster's node; fails as it would fail there. It blocks for up to `patience`.
    ///
    /// # Errors
    /// There is no way, nobody listens, or nobody answers in time.
    pub fn connect(&self, address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
        network::connect(&self.layout, address, patience)
    }

    /// What an HTTP server inside answers to a GET from the node: status and body.
    ///
    /// # Errors
    /// It cannot be reached, or answers no HTTP.
    pub async fn http_get(&self, address: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
        let (layout, path) = (self.layout.clone(), path.to_owned());
        tokio::task::spawn_blocking(move || network::http_get(&layout, address, &path)).await?
    }

    /// What a port of a pod answers to a GET from the node, such as `/statusz` of an engine.
    ///
    /// # Errors
    /// The pod has no address, it cannot be reached, or it answers no HTTP.
    pub async fn pod_get(&self, namespace: &str, pod: &str, port: u16, path: &str) -> anyhow::Result<(u16, String)> {
        let address = self.pod_address(namespace, pod).await?;
        self.http_get((address, port).into(), path).await
    }

    /// Makes an image archive known to the node.
    ///
    /// # Errors
    /// containerd refuses it.
    pub async fn import_image(&self, archive: &Path) -> anyhow::Result<()> {
        let (layout, tools, archive) = (self.layout.clone(), self.tools.clone(), archive.to_path_buf());
        tokio::task::spawn_blocking(move || cluster::import_image(&layout, &tools, &archive)).await?
    }

    /// Kills the API server and starts it again with the same flags; returns when it is ready.
    ///
    /// # Errors
    /// It does not come back.
    pub async fn restart_api_server(&self) -> anyhow::Result<()> {
        cluster::restart_api_server(&self.layout).await
    }

    /// What the API server was asked so far.
    #[must_use]
    pub fn audit(&self) -> AuditLog {
        AuditLog::new(self.layout.audit_log())
    }
}

fn succeeded<S: AsRef<OsStr>>(program: &str, arguments: &[S], output: Output) -> anyhow::Result<String> {
    let written = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let words: Vec<_> = arguments.iter().map(|word| word.as_ref().to_string_lossy()).collect();
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {} failed ({}):\n{written}{said}", words.join(" "), output.status);
    }
    Ok(written)
}
