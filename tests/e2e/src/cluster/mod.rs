//! One cluster: its numbers, its folders and its components; how it starts and how it ends.
//!
//! A cluster is described by its files and by what the kernel shows, never by memory: the process that ends it need not
//! be the one that started it. Read first: [`Layout`], then `start` and `stop`.

mod control_plane;
mod dns;
mod node;
mod runtime;
mod start;
mod stop;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

pub use control_plane::restart_api_server;
pub use runtime::import_image;
pub use start::{Timing, admin, start};
pub use stop::stop;

use crate::process::Component;

/// The names of the clusters a test bed has, in the order of their indexes.
pub const NAMES: [&str; 2] = ["a", "b"];

/// The components in the order they start.
pub const COMPONENTS: &[&str] =
    &["etcd", "apiserver", "controller-manager", "scheduler", "containerd", "kubelet", "proxy", "dns"];

/// Where one cluster lies on this machine, and its addresses. Two clusters share none of them.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Its name: `a`, `b`.
    pub name: String,
    /// Its number; in every address.
    pub index: u8,
    /// The folder with all its files.
    pub folder: PathBuf,
}

impl Layout {
    /// The cluster with this index, below the state folder.
    #[must_use]
    pub fn new(state: &Path, index: u8) -> Self {
        let name = NAMES.get(usize::from(index)).map_or_else(|| format!("c{index}"), |name| (*name).to_owned());
        Self { folder: state.join(&name), name, index }
    }

    /// The clusters of a test bed.
    #[must_use]
    pub fn all(state: &Path) -> Vec<Self> {
        (0..).take(NAMES.len()).map(|index| Self::new(state, index)).collect()
    }

    /// The network namespace, and the cgroup of the pods.
    #[must_use]
    pub fn namespace(&self) -> String {
        format!("hoft-{}", self.name)
    }

    /// The file that is the network namespace.
    #[must_use]
    pub fn namespace_file(&self) -> PathBuf {
        Path::new("/run/netns").join(self.namespace())
    }

    /// This machine's end of the link.
    #[must_use]
    pub fn link(&self) -> String {
        format!("hoft-{}0", self.name)
    }

    /// The only node's name.
    #[must_use]
    pub fn node_name(&self) -> String {
        format!("node-{}", self.name)
    }

    /// This machine's address on the link.
    #[must_use]
    pub const fn host_address(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 200 + self.index, 0, 1))
    }

    /// The node's address on the link.
    #[must_use]
    pub const fn node_address(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 200 + self.index, 0, 2))
    }

    /// The addresses of pods.
    #[must_use]
    pub fn pod_range(&self) -> String {
        format!("10.244.{}.0/24", self.index)
    }

    /// The addresses of Services: another range in each cluster, so an address of one means nothing in the other.
    #[must_use]
    pub fn service_range(&self) -> String {
        format!("10.{}.0.0/16", 96 + self.index)
    }

    /// The Service `kubernetes`.
    #[must_use]
    pub const fn api_service_address(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 96 + self.index, 0, 1))
    }

    /// The API server's address.
    #[must_use]
    pub fn server(&self) -> String {
        format!("https://{}:6443", self.node_address())
    }

    /// Certificates, keys, tokens.
    #[must_use]
    pub fn pki(&self) -> PathBuf {
        self.folder.join("pki")
    }

    /// The kubeconfig of `admin` or of a component.
    #[must_use]
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.folder.join(format!("{user}.kubeconfig"))
    }

    /// Everything the components say, and the audit log.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// What the API server was asked, a JSON line each.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.logs().join("audit.log")
    }

    /// Configuration files of the components.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.join("config")
    }

    /// Records of the processes.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// Folders that hostPath volumes show to pods.
    #[must_use]
    pub fn volumes(&self) -> PathBuf {
        self.folder.join("volumes")
    }

    /// The component of that name.
    #[must_use]
    pub fn component(&self, name: &str) -> Component {
        Component::new(name, &self.run(), &self.logs())
    }

    /// All components.
    #[must_use]
    pub fn components(&self) -> Vec<Component> {
        COMPONENTS.iter().map(|name| self.component(name)).collect()
    }
}

/// The words of a command line; paths and numbers become strings.
macro_rules! argv {
    ($($word:expr),* $(,)?) => { vec![$($word.to_string()),*] };
}
pub(crate) use argv;
