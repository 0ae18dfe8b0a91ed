//! What a run could leave behind on a machine, listed so that two listings can be compared.
//!
//! Invariant: everything the clusters make shows up in one of the lists while they are up (the test `rounds` asserts
//! that too, so an empty difference means something). It lists no unrelated processes: those come and go.
//! `/run/netns` itself is left out: `ip netns` mounts it once per boot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::lock::MACHINE_LOCK;
use crate::place::Place;
use crate::process::has_argument;
use crate::{cgroups, tools};

/// Folders of the machine that programs like ours write to unless told otherwise.
const SHARED_FOLDERS: &[&str] = &[
    "/etc/cni",
    "/opt/cni",
    "/opt/containerd",
    "/run/containerd",
    "/run/flannel",
    "/run/nri",
    "/run/runc",
    "/usr/libexec/kubernetes",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/etcd",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
];

/// Everything found, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    lists: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Snapshot {
    /// Lists the machine as it is.
    #[must_use]
    pub fn take(place: &Place) -> Self {
        let mut lists = BTreeMap::new();
        lists.insert("process", processes(place));
        lists.insert("mount", mounts());
        lists.insert("network namespace", names_in(Path::new("/run/netns")));
        lists.insert("link", names_in(Path::new("/sys/class/net")));
        lists.insert("cgroup", cgroups::hierarchies().iter().flat_map(|path| folders_in(path)).collect());
        lists.insert("nftables", lines_of("nft", &["--stateless", "list", "ruleset"]));
        lists.insert("route", lines_of("ip", &["route", "show", "table", "all"]));
        lists.insert("rule", lines_of("ip", &["rule"]));
        let places = SHARED_FOLDERS.iter().map(Path::new).chain([place.state.as_path(), Path::new(MACHINE_LOCK)]);
        lists.insert("file", places.flat_map(files_below).collect());
        Self { lists }
    }

    /// What `after` has more (`+`) or less (`-`) than this, a line each.
    #[must_use]
    pub fn difference(&self, after: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (kind, before) in &self.lists {
            let after = &after.lists[kind];
            lines.extend(after.difference(before).map(|entry| format!("+ {kind} {entry}")));
            lines.extend(before.difference(after).map(|entry| format!("- {kind} {entry}")));
        }
        lines
    }

    /// The kinds of which there is anything in `lines` of [`Self::difference`].
    #[must_use]
    pub fn kinds() -> [&'static str; 5] {
        ["process", "mount", "network namespace", "link", "cgroup"]
    }
}

/// Processes that run a program of the test bed for our state folder, or are in a cgroup of ours.
fn processes(place: &Place) -> BTreeSet<String> {
    let state = place.state.display().to_string();
    let programs: Vec<&str> = tools::programs().chain(["hoft", "rsync", "dash", "bash", "sh"]).collect();
    let ours = |pid: i32| {
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        groups.contains("/hoft-") || (programs.contains(&name.as_str()) && has_argument(pid, &state))
    };
    let line = |pid: i32| {
        let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        format!("{pid} {}", String::from_utf8_lossy(&bytes).replace('\0', " "))
    };
    crate::process::find(ours).into_iter().map(|process| line(process.pid)).collect()
}

fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| *point != "/run/netns").map(str::to_owned).collect()
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(folder) else { return BTreeSet::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn folders_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path().display().to_string()).collect()
}

/// The path itself and everything below, without following links.
fn files_below(path: &Path) -> Vec<String> {
    if fs::symlink_metadata(path).is_err() {
        return Vec::new();
    }
    let mut files = vec![path.display().to_string()];
    if path.is_dir() && !path.is_symlink() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        files.extend(entries.flat_map(|entry| files_below(&entry.path())));
    }
    files
}

fn lines_of(program: &str, arguments: &[&str]) -> BTreeSet<String> {
    let Ok(output) = Command::new(program).args(arguments).output() else { return BTreeSet::new() };
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}
