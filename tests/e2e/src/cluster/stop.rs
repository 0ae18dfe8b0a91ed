//! Ending a cluster, in whatever state it is: ready, half started, or left behind by a run that was killed.
//!
//! One path for all of these. The pods are not deleted through the API, which may be gone: kubelet ends first, so
//! nothing makes them anew, then every process in the pods' cgroups is killed; their network namespaces, mounts and
//! runtime state lie below the cluster's folder and go with it. Every step runs even if an earlier one failed.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::mount::{UnmountFlags, unmount};

use super::Layout;
use crate::process::{self, ProcessId};
use crate::{cgroups, leftovers, network, tools};

/// Ends everything of the cluster and removes its folder.
///
/// # Errors
/// Something cannot be ended or removed; the message lists all of it.
pub fn stop(layout: &Layout) -> anyhow::Result<()> {
    let mut problems = Vec::new();
    let mut step = |result: anyhow::Result<()>| {
        if let Err(error) = result {
            problems.push(format!("{error:#}"));
        }
    };
    step(end_components(layout, &["kubelet", "proxy", "dns", "controller-manager", "scheduler"], Duration::ZERO));
    step(cgroups::remove(&layout.namespace()));
    step(end_shims(layout));
    step(end_components(layout, &["containerd"], Duration::from_secs(5)));
    step(end_components(layout, &["apiserver", "etcd"], Duration::ZERO));
    // What was started but not recorded, because the run was killed at that very moment; and helpers of scenarios.
    step(process::end(&strays(layout), Duration::ZERO));
    step(unmount_below(&layout.folder));
    step(network::remove(layout));
    step(cgroups::remove(&layout.namespace()));
    leftovers::remove(layout);
    step(remove_folder(&layout.folder));
    if !problems.is_empty() {
        bail!("cluster {} left something behind:\n  {}", layout.name, problems.join("\n  "));
    }
    Ok(())
}

fn end_components(layout: &Layout, names: &[&str], grace: Duration) -> anyhow::Result<()> {
    let records = names.iter().filter_map(|name| layout.component(name).recorded());
    let processes: Vec<ProcessId> = records.map(|record| record.process).collect();
    process::end(&processes, grace)
}

/// Shims end by SIGTERM once their container is gone, and take their sockets with them.
fn end_shims(layout: &Layout) -> anyhow::Result<()> {
    let folder = layout.folder.display().to_string();
    let shims =
        process::find(|pid| program_of(pid) == "containerd-shim-runc-v2" && process::has_argument(pid, &folder));
    process::end(&shims, Duration::from_secs(2))
}

/// Programs of the clusters that name this cluster's folder among their arguments.
fn strays(layout: &Layout) -> Vec<ProcessId> {
    let folder = format!("{}/", layout.folder.display());
    let ours: Vec<&str> = tools::programs().chain(["runc", "hoft", "nsenter"]).collect();
    process::find(|pid| ours.contains(&program_of(pid).as_str()) && process::has_argument(pid, &folder))
}

fn program_of(pid: i32) -> String {
    let path = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Mounts at or below the folder, the last mounted first.
fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| PathBuf::from(unescape(point)));
    let mut below: Vec<_> = points.filter(|point| point.starts_with(folder)).collect();
    below.reverse();
    below
}

/// The kernel writes a space in a path as `\040`.
fn unescape(point: &str) -> String {
    point.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

fn unmount_below(folder: &Path) -> anyhow::Result<()> {
    // A mount may appear while a dying runc is at work, hence a few rounds.
    for _ in 0..5 {
        let mounts = mounts_below(folder);
        if mounts.is_empty() {
            return Ok(());
        }
        for mount in mounts {
            let _ = unmount(&mount, UnmountFlags::DETACH);
        }
        sleep(Duration::from_millis(20));
    }
    bail!("these mounts cannot be removed: {:?}", mounts_below(folder))
}

fn remove_folder(folder: &Path) -> anyhow::Result<()> {
    let left = mounts_below(folder);
    if !left.is_empty() {
        bail!("{} is kept, because {left:?} are still mounted in it", folder.display());
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
