//! What scenarios need of a cluster before they begin: namespaces that enforce `restricted`, and folders as volumes.
//!
//! Invariant: what is made here is noted, and removed by [`Cluster::clear`] after the scenario. A hostPath folder gets
//! the group [`VOLUME_GROUP`] and mode 2770, because fsGroup is not applied to hostPath: pods join by
//! `supplementalGroups` or `runAsGroup`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, Pod, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use crate::handle::Cluster;
use crate::objects::Subject;
use crate::wait::PATIENCE;

/// The group of every folder that pods share with a mirror.
pub const VOLUME_GROUP: u32 = 2000;

/// Deleting a namespace waits for its pods, which may take their grace period.
const DELETION_PATIENCE: Duration = Duration::from_secs(90);

/// A folder of the node that a claim shows to pods.
#[derive(Clone, Debug)]
pub struct FolderVolume {
    /// The folder on this machine.
    pub folder: PathBuf,
    /// The PersistentVolumeClaim, ReadWriteMany, bound.
    pub claim: String,
    /// The claim's namespace.
    pub namespace: String,
}

impl FolderVolume {
    /// A folder below it that both pods and mirrors may write, made if missing.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn subfolder(&self, path: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join(path);
        shared_folder(&folder)?;
        Ok(folder)
    }
}

impl Cluster {
    /// A fresh namespace in which pod security enforces `restricted`, ready for pods.
    ///
    /// # Errors
    /// One of that name cannot be removed, or the API server refuses.
    pub async fn namespace(&self, name: &str) -> anyhow::Result<()> {
        let subject = Subject::of::<Namespace>("", name);
        if self.object(&subject).await?.is_some() {
            self.delete(&subject).await?;
            self.wait_gone(&subject, DELETION_PATIENCE).await?;
        }
        let labels = json!({
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/enforce-version": "latest",
        });
        self.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}))
            .await?;
        // A pod made before its service account is refused.
        let account = Subject::of::<ServiceAccount>(name, "default");
        self.wait_for(&account, "exists", PATIENCE, |_| true).await.map(drop)
    }

    /// A folder of this machine as a bound ReadWriteMany claim in the namespace; volume and claim are named alike.
    ///
    /// # Errors
    /// The folder cannot be made, or the claim is not bound in time.
    pub async fn folder_volume(&self, namespace: &str, name: &str) -> anyhow::Result<FolderVolume> {
        let folder = self.layout.volumes().join(namespace).join(name);
        shared_folder(&folder)?;
        let volume = format!("{namespace}-{name}");
        let capacity = json!({"storage": "1Gi"});
        self.apply(&json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume},
            "spec": {
                "capacity": capacity,
                "accessModes": ["ReadWriteMany"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "",
                "hostPath": {"path": folder, "type": "Directory"},
                "claimRef": {"namespace": namespace, "name": name},
            },
        }))
        .await?;
        self.note(Subject::of::<PersistentVolume>("", &volume));
        self.apply(&json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "storageClassName": "",
                "volumeName": volume,
                "resources": {"requests": capacity},
            },
        }))
        .await?;
        let claim = Subject::of::<PersistentVolumeClaim>(namespace, name);
        self.wait_for(&claim, "is bound", PATIENCE, |claim| claim["status"]["phase"] == "Bound").await?;
        Ok(FolderVolume { folder, claim: name.to_owned(), namespace: namespace.to_owned() })
    }

    /// Removes what was made since the last time: namespaces with all in them, objects of the whole cluster, folders.
    ///
    /// It waits for pods and CRDs only: an emptied namespace takes its ten seconds to go while others work.
    ///
    /// # Errors
    /// Something cannot be removed; the rest is removed all the same.
    pub async fn clear(&self) -> anyhow::Result<()> {
        let made: Vec<Subject> = {
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            made.drain(..).rev().collect()
        };
        let of_kind = |kind: &'static str| made.iter().filter(move |subject| subject.resource.kind == kind);
        let mut failure = Ok(());
        for subject in &made {
            failure = failure.and(self.delete(subject).await);
        }
        for namespace in of_kind("Namespace") {
            failure = failure.and(self.end_pods(&namespace.name).await);
        }
        for subject in of_kind("CustomResourceDefinition") {
            failure = failure.and(self.wait_gone(subject, DELETION_PATIENCE).await);
        }
        for entry in fs::read_dir(self.layout.volumes())?.flatten() {
            let _ = fs::remove_dir_all(entry.path());
        }
        failure
    }

    /// Ends the pods of a namespace with a second of grace, and waits until they are gone.
    async fn end_pods(&self, namespace: &str) -> anyhow::Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        let deletion = DeleteParams { grace_period_seconds: Some(1), ..DeleteParams::default() };
        pods.delete_collection(&deletion, &ListParams::default()).await?;
        let gone = || async {
            let left = pods.list_metadata(&ListParams::default()).await?;
            Ok(left.items.is_empty().then_some(()))
        };
        self.wait_until(namespace, "its pods are gone", DELETION_PATIENCE, gone).await
    }
}

/// Makes a folder that root's mirrors and the pods of [`VOLUME_GROUP`] may both write.
fn shared_folder(folder: &Path) -> anyhow::Result<()> {
    let making = fs::create_dir_all(folder)
        .and_then(|()| chown(folder, None, Some(VOLUME_GROUP)))
        .and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(0o2770)));
    making.with_context(|| format!("cannot make the folder {} for pods", folder.display()))
}
