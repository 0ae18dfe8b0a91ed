//! What the clusters' programs put into folders shared by the whole machine, having no flag for another place.
//!
//! Invariants: only files that name a cluster of ours or point into its folder are removed; a folder is removed only if
//! it did not exist before the start and is empty. Read first: [`note`].

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cluster::Layout;

/// The links that kubelet makes to its pods' logs.
const POD_LOG_LINKS: &str = "/var/log/containers";

/// What the CNI library remembers of every pod's network.
const CNI_RESULTS: &str = "/var/lib/cni/results";

/// The folder for the sockets of device plugins; kubelet makes one of its own there.
const DEVICE_PLUGINS: &str = "/var/lib/kubelet/device-plugins";

/// Folders that a start may create, the inner ones first.
const FOLDERS: &[&str] = &[POD_LOG_LINKS, CNI_RESULTS, "/var/lib/cni", DEVICE_PLUGINS, "/var/lib/kubelet"];

/// The file that lists which of the folders were missing before.
fn note_file(state: &Path) -> PathBuf {
    state.join("missing-before.json")
}

/// Notes which of the shared folders do not exist yet, before the first program starts.
///
/// # Errors
/// The note cannot be written.
pub(crate) fn note(state: &Path) -> anyhow::Result<()> {
    let missing: Vec<&str> = FOLDERS.iter().copied().filter(|folder| !Path::new(folder).exists()).collect();
    let path = note_file(state);
    fs::write(&path, serde_json::to_string(&missing)?).with_context(|| format!("cannot write {}", path.display()))
}

/// Removes what one cluster left there; its programs have ended.
pub(crate) fn remove(layout: &Layout) {
    let of_cluster = format!("{}-", layout.namespace());
    for entry in fs::read_dir(CNI_RESULTS).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&of_cluster) {
            let _ = fs::remove_file(entry.path());
        }
    }
    for entry in fs::read_dir(POD_LOG_LINKS).into_iter().flatten().flatten() {
        if fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(&layout.folder)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes what all clusters left there together, and the folders that were missing before.
pub(crate) fn remove_shared(state: &Path) {
    let Ok(text) = fs::read_to_string(note_file(state)) else { return };
    let missing: Vec<PathBuf> = serde_json::from_str(&text).unwrap_or_default();
    // A kubelet of the machine itself would have had the folder before.
    if missing.contains(&PathBuf::from(DEVICE_PLUGINS)) {
        let _ = fs::remove_file(Path::new(DEVICE_PLUGINS).join("kubelet.sock"));
    }
    for folder in missing {
        // Fails if something else was put there; that is not ours to remove.
        let _ = fs::remove_dir(folder);
    }
    let _ = fs::remove_file(note_file(state));
}
