//! What the machine must offer before a cluster can run on it, checked all at once.
//!
//! Invariant: every problem is found in one pass, each with its remedy; packages are gathered into one apt line. It
//! changes nothing on the machine. It does not look for the built programs (that is `tools`).

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder where Debian's containernetworking-plugins puts its programs.
pub const CNI_PLUGINS: &str = "/usr/lib/cni";

/// Programs and the Debian packages that hold them.
const PROGRAMS: &[(&str, &str)] = &[
    ("go", "golang-go"),
    ("runc", "runc"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("busybox", "busybox-static"),
    ("buildah", "buildah"),
    ("musl-gcc", "musl-tools"),
    ("rsync", "rsync"),
];

/// The CNI programs that pods are connected with.
const CNI_PROGRAMS: &[&str] = &["ptp", "host-local", "portmap", "loopback"];

/// All that is missing.
#[derive(Clone, Debug, Default)]
pub struct Missing {
    problems: Vec<String>,
    packages: Vec<&'static str>,
}

impl Missing {
    /// True if the machine can run the clusters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Adds something that another module found missing, with its remedy.
    pub fn add(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    fn add_package(&mut self, problem: String, package: &'static str) {
        self.problems.push(problem);
        if !self.packages.contains(&package) {
            self.packages.push(package);
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this machine cannot run the clusters:")?;
        for problem in &self.problems {
            write!(f, "\n  - {problem}")?;
        }
        if !self.packages.is_empty() {
            write!(f, "\n  on Debian: apt-get install --no-install-recommends {}", self.packages.join(" "))?;
        }
        Ok(())
    }
}

/// Looks for everything the clusters need from the machine.
#[must_use]
pub fn check() -> Missing {
    let mut missing = Missing::default();
    if !rustix::process::geteuid().is_root() {
        missing.add("not root: network namespaces, mounts and cgroups need it (run it with sudo -E)");
    }
    for (program, package) in PROGRAMS {
        if find_program(program).is_none() {
            missing.add_package(format!("the program `{program}` is not in PATH"), package);
        }
    }
    for program in CNI_PROGRAMS {
        if !Path::new(CNI_PLUGINS).join(program).is_file() {
            missing.add_package(format!("{CNI_PLUGINS}/{program} is missing"), "containernetworking-plugins");
        }
    }
    if let Some(busybox) = find_program("busybox")
        && !is_static(&busybox)
    {
        let problem = format!("{} is not static, so it cannot be an image by itself", busybox.display());
        missing.add_package(problem, "busybox-static");
    }
    kernel(&mut missing);
    missing
}

/// Things of the kernel, looked up where it lists them (a module that is not loaded yet is loaded by its user).
fn kernel(missing: &mut Missing) {
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !filesystems.split_whitespace().any(|word| word == "overlay") && !can_load("overlay") {
        missing.add("the kernel has no overlay file system: modprobe overlay");
    }
    for (path, module) in [("/proc/sys/net/netfilter", "nf_conntrack"), ("/proc/self/ns/net", "network namespaces")] {
        if !Path::new(path).exists() && !can_load(module) {
            missing.add(format!("the kernel has no {module} ({path} is missing)"));
        }
    }
    if !Path::new("/sys/fs/cgroup").is_dir() || crate::cgroups::hierarchies().is_empty() {
        missing.add("no cgroups are mounted below /sys/fs/cgroup");
    }
}

fn can_load(module: &str) -> bool {
    Command::new("modprobe").arg(module).output().is_ok_and(|output| output.status.success())
}

/// The first file of that name in `PATH`.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// True for a program without an interpreter: its ELF header lists no PT_INTERP (type 3).
fn is_static(program: &Path) -> bool {
    let Ok(bytes) = fs::read(program) else { return false };
    let number = |at: usize, length: usize| -> Option<usize> {
        let field = bytes.get(at..at + length)?;
        Some(field.iter().rev().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)))
    };
    let (Some(table), Some(size), Some(count)) = (number(32, 8), number(54, 2), number(56, 2)) else { return false };
    bytes.starts_with(b"\x7fELF") && (0..count).all(|index| number(table + index * size, 4).is_some_and(|t| t != 3))
}
