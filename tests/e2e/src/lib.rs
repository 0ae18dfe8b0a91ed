//! The test bed: two real Kubernetes clusters on this machine with no way between them but files.
//!
//! Each cluster is etcd, an API server, controllers, a scheduler, containerd, kubelet, kube-proxy and coredns, as
//! processes in a network namespace of their own. `cargo run -p e2e -- --help` starts them by hand; the scenarios in
//! `tests/e2e` start them by [`runner::main`].
//!
//! A scenario is `async fn(bed: &TestBed) -> anyhow::Result<()>`; it may panic. What it needs:
//!
//! - [`TestBed`]: both clusters, [`TestBed::mirror`] between their folders ([`mirror`]).
//! - [`Cluster`]: its client, `kubectl`, `helm`, commands and logs of containers, HTTP from its node.
//!   [`objects`] applies YAML and reads objects named by a [`Subject`]; [`wait`] waits and explains failures;
//!   [`fixtures`] makes namespaces that enforce `restricted`, and folders of this machine as claims;
//!   [`audit`] tells who used which rights.
//! - [`images::product::Product`]: the product's images, imported into both clusters.
//!
//! What a scenario makes is removed after it; what a failed one leaves to its reader is gathered by [`artefacts`].
//! Deliberately missing: storage classes, ingress, a cloud; more than one node; pulling images.

pub mod artefacts;
pub mod audit;
pub mod bed;
pub mod certificates;
pub mod cgroups;
pub mod cluster;
mod describe;
pub mod fixtures;
pub mod gate;
pub mod handle;
pub mod images;
mod leftovers;
pub mod lock;
pub mod mirror;
pub mod network;
pub mod objects;
pub mod place;
pub mod prerequisites;
pub mod process;
pub mod runner;
pub mod snapshot;
pub mod tools;
pub mod wait;

pub use bed::TestBed;
pub use handle::Cluster;
pub use images::BUSYBOX;
pub use objects::Subject;
