//! Processes in pods, as the node sees them: found by their pod's UID in /proc, signalled, and measured.
//!
//! The clusters' containers are processes of this machine, so nothing in the pod has to help: the product's images have no
//! shell. Invariant: only processes in the cgroup of a pod that the API server named are touched.

use anyhow::{Context, ensure};
use e2e::{Cluster, Subject};
use k8s_openapi::api::core::v1::Pod;
use rustix::process::{Pid, Signal, kill_process};

/// The engines' program in its image.
pub(crate) const ENGINE: &str = "/hoft";

/// One process of a pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(Pid);

/// Memory of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident at present, in KiB.
    pub(crate) resident_kib: u64,
    /// Resident at most so far, in KiB.
    pub(crate) peak_kib: u64,
}

impl Process {
    /// The one process of a pod that was started as this program.
    pub(crate) async fn of_pod(cluster: &Cluster, namespace: &str, pod: &str, program: &str) -> anyhow::Result<Self> {
        let found = cluster.object(&Subject::of::<Pod>(namespace, pod)).await?.context("the pod is not there")?;
        let uid = found["metadata"]["uid"].as_str().context("the pod has no UID")?.to_owned();
        let mut processes = Vec::new();
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            let cgroups = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if cgroups.contains(&uid) && command.split(|byte| *byte == 0).next() == Some(program.as_bytes()) {
                processes.push(Self(Pid::from_raw(pid).context("no process id")?));
            }
        }
        ensure!(processes.len() == 1, "{} processes {program} run in {namespace}/{pod}", processes.len());
        Ok(processes[0])
    }

    /// Sends it a signal.
    pub(crate) fn signal(self, signal: Signal) -> anyhow::Result<()> {
        kill_process(self.0, signal).with_context(|| format!("cannot signal process {}", self.0.as_raw_nonzero()))
    }

    /// Its memory.
    pub(crate) fn memory(self) -> anyhow::Result<Memory> {
        let path = format!("/proc/{}/status", self.0.as_raw_nonzero());
        let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
            number.with_context(|| format!("{path} has no {name}"))
        };
        Ok(Memory { resident_kib: kib("VmRSS")?, peak_kib: kib("VmHWM")? })
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |kib: u64| format!("{}.{}", kib / 1024, kib % 1024 * 10 / 1024);
        write!(f, "{} MiB (at most {} MiB)", mib(self.resident_kib), mib(self.peak_kib))
    }
}
