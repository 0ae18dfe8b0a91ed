//! What a failure leaves for its reader: every log of both clusters, and every object, Event and pod log in them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::bed::TestBed;
use crate::cluster::Layout;
use crate::handle::Cluster;
use crate::place::Place;

/// Objects that tell what happened; kinds that do not exist are left out by their own error.
const KINDS: &[&str] = &[
    "nodes",
    "namespaces",
    "pods",
    "services,endpointslices",
    "deployments,replicasets,statefulsets,jobs,cronjobs",
    "configmaps",
    "serviceaccounts,roles,rolebindings",
    "persistentvolumes,persistentvolumeclaims",
    "leases",
    "customresourcedefinitions",
    "validatingadmissionpolicies,validatingadmissionpolicybindings",
    "mutatingadmissionpolicies,mutatingadmissionpolicybindings",
    "mutatingwebhookconfigurations",
    "tunnelpeerings",
];

impl TestBed {
    /// Gathers everything about a failure into a folder named after it, with the error itself; gives the folder.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub async fn keep_artefacts(&self, name: &str, error: &str) -> anyhow::Result<PathBuf> {
        let folder = copy_logs(&self.place, name)?;
        fs::write(folder.join("error.txt"), error)?;
        for cluster in self.clusters() {
            keep_objects(cluster, &folder.join(cluster.name())).await?;
        }
        Ok(folder)
    }
}

async fn keep_objects(cluster: &Cluster, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    for kinds in KINDS {
        let output = cluster.kubectl_output(&["get", kinds, "-A", "-o", "yaml", "--request-timeout=10s"]).await?;
        let text = if output.status.success() { output.stdout } else { output.stderr };
        fs::write(folder.join(format!("{}.yaml", kinds.replace(',', "-"))), text)?;
    }
    let events = ["events", "-A", "--request-timeout=10s"];
    fs::write(folder.join("events.txt"), cluster.kubectl_output(&events).await?.stdout)?;
    let made = cluster.made.lock().map(|made| made.clone()).unwrap_or_default();
    for subject in made.iter().filter(|subject| subject.resource.kind == "Namespace") {
        let text = cluster.describe_namespace(&subject.name).await;
        fs::write(folder.join(format!("namespace-{}.txt", subject.name)), text)?;
    }
    Ok(())
}

/// Copies the logs of all components and mirrors into a fresh folder of that name; works without an API server.
///
/// # Errors
/// The folder cannot be written.
pub fn copy_logs(place: &Place, name: &str) -> anyhow::Result<PathBuf> {
    let folder = place.artefacts.join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot replace {}", folder.display()))?;
    }
    for layout in Layout::all(&place.state) {
        copy_folder(&layout.logs(), &folder.join(&layout.name).join("logs"))?;
        copy_folder(&layout.config(), &folder.join(&layout.name).join("config"))?;
    }
    copy_folder(&place.state.join("exchange/logs"), &folder.join("mirrors"))?;
    Ok(folder)
}

/// Copies files and folders, not links: kubelet's link to what is copied anyway.
fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if kind.is_file() {
            // A log may be removed while it is copied.
            let _ = fs::copy(entry.path(), target);
        }
    }
    Ok(())
}
