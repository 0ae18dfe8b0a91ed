//! The cgroups of a cluster's pods: one folder per hierarchy, made before kubelet starts and removed after all pods.
//!
//! Knows both layouts: version 1 (one hierarchy per controller) and version 2 (one for all). The programs of the
//! cluster itself run outside; only pods live below these folders. Read first: [`create`].

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::process::{self, ProcessId};

const ROOT: &str = "/sys/fs/cgroup";

/// The mounted hierarchies: every one of version 1 (and the unified one beside them), or the single one of version 2.
#[must_use]
pub fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let groups = fields.filter(|fields| matches!(fields.get(2), Some(&("cgroup" | "cgroup2"))));
    groups.filter_map(|fields| Some(PathBuf::from(fields.get(1)?))).filter(|path| path.starts_with(ROOT)).collect()
}

/// True where one hierarchy holds all controllers.
#[must_use]
pub fn is_version2() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Makes the cgroup of that name in every hierarchy, ready for kubelet to make pods' cgroups below.
///
/// # Errors
/// The kernel refuses one.
pub fn create(name: &str) -> anyhow::Result<()> {
    for hierarchy in hierarchies() {
        let folder = hierarchy.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create the cgroup {}", folder.display()))?;
        if is_version2() {
            // Each controller by itself: one that is not there must not keep the others away.
            for controller in ["+cpu", "+cpuset", "+memory", "+pids", "+io"] {
                let _ = fs::write(hierarchy.join("cgroup.subtree_control"), controller);
                let _ = fs::write(folder.join("cgroup.subtree_control"), controller);
            }
            continue;
        }
        // A cpuset of version 1 begins empty and takes no process until it has processors and memory.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(value) = fs::read_to_string(hierarchy.join(file)) {
                let path = folder.join(file);
                fs::write(&path, value.trim()).with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
    }
    Ok(())
}

/// The processes anywhere below the cgroup.
#[must_use]
pub fn processes(name: &str) -> Vec<ProcessId> {
    let mut pids: Vec<i32> = Vec::new();
    for hierarchy in hierarchies() {
        for folder in folders_below(&hierarchy.join(name)) {
            let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        }
    }
    pids.sort_unstable();
    pids.dedup();
    pids.into_iter().filter_map(ProcessId::of).collect()
}

/// Ends what runs below the cgroup and removes it from every hierarchy.
///
/// # Errors
/// A process outlives SIGKILL, or the kernel keeps a folder busy for ten seconds.
pub fn remove(name: &str) -> anyhow::Result<()> {
    process::end(&processes(name), Duration::ZERO)?;
    let began = Instant::now();
    loop {
        let left: Vec<PathBuf> = hierarchies()
            .iter()
            .flat_map(|hierarchy| folders_below(&hierarchy.join(name)))
            // Deepest first; the kernel takes a moment to notice that a process is gone.
            .filter(|folder| fs::remove_dir(folder).is_err() && folder.exists())
            .collect();
        let Some(first) = left.first() else { return Ok(()) };
        if began.elapsed() > Duration::from_secs(10) {
            bail!("the cgroup {} stays busy; its processes: {:?}", first.display(), processes(name));
        }
        process::end(&processes(name), Duration::ZERO)?;
        sleep(Duration::from_millis(20));
    }
}

/// The folder and all below it, the deepest first.
fn folders_below(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    if let Ok(entries) = fs::read_dir(folder) {
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            all.extend(folders_below(&entry.path()));
        }
        all.push(folder.to_path_buf());
    }
    all
}
