//! The programs of the clusters: Kubernetes, etcd, containerd, helm and coredns, built from pinned Go modules.
//!
//! Invariants: the folder of the programs is named by the hash of every `go.mod` and `go.sum`, so other pins are other
//! programs; a folder under its final name is complete, because a module is built into a temporary folder that is
//! renamed when all is done. It downloads nothing by itself: `go build` fetches the modules through the usual proxy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use crate::place::{Place, UNFINISHED, remove_unfinished};
use crate::process::run;

/// The modules below `tests/e2e/cluster`, each with the programs it gives.
const MODULES: &[(&str, &[&str])] = &[
    (
        "kubernetes",
        &[
            "kube-apiserver",
            "kube-controller-manager",
            "kube-proxy",
            "kube-scheduler",
            "kubectl",
            "kubelet",
            // The package go.etcd.io/etcd/server/v3 is itself `main`, hence etcd's name.
            "server",
        ],
    ),
    ("containerd", &["containerd", "containerd-shim-runc-v2", "ctr"]),
    ("helm", &["helm"]),
    ("coredns", &["coredns"]),
];

/// The built programs.
#[derive(Clone, Debug)]
pub struct Tools {
    bin: PathBuf,
}

impl Tools {
    /// The programs, if all are built.
    ///
    /// # Errors
    /// The module files cannot be read.
    pub fn find(place: &Place) -> anyhow::Result<Option<Self>> {
        let bin = bin_folder(place)?;
        let complete = programs().all(|program| bin.join(program).is_file());
        Ok(complete.then_some(Self { bin }))
    }

    /// The programs, built where they are missing (about twelve minutes on two cores the first time).
    ///
    /// # Errors
    /// `go build` failed, or the cache folder cannot be written.
    pub fn build(place: &Place) -> anyhow::Result<Self> {
        if let Some(tools) = Self::find(place)? {
            return Ok(tools);
        }
        let _lock = place.lock_cache()?;
        let bin = bin_folder(place)?;
        fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
        let stamps = version_stamps(&place.modules().join("kubernetes/go.mod"))?;
        for (index, (module, programs)) in MODULES.iter().enumerate() {
            if programs.iter().all(|program| bin.join(program).is_file()) {
                continue;
            }
            println!("building {module} ({} of {}): {}", index + 1, MODULES.len(), programs.join(", "));
            let began = Instant::now();
            build_module(&place.modules().join(module), &bin, programs, &stamps)?;
            println!("  {module} took {} s", began.elapsed().as_secs());
        }
        Self::find(place)?.with_context(|| format!("programs are missing in {} after the build", bin.display()))
    }

    /// The path of the program of that name.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(if name == "etcd" { "server" } else { name })
    }

    /// The folder the programs lie in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.bin
    }
}

/// The names of all programs.
pub fn programs() -> impl Iterator<Item = &'static str> {
    MODULES.iter().flat_map(|(_, programs)| programs.iter().copied())
}

/// The folder for the programs of these module files.
///
/// # Errors
/// A module file cannot be read.
pub fn bin_folder(place: &Place) -> anyhow::Result<PathBuf> {
    let mut hash = Sha256::new();
    for (module, _) in MODULES {
        for file in ["go.mod", "go.sum"] {
            let path = place.modules().join(module).join(file);
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(&bytes);
        }
    }
    let name: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Ok(place.cache.join(name).join("bin"))
}

/// Linker flags with the version that clients compare: without them they refuse the server.
fn version_stamps(go_mod: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(go_mod).with_context(|| format!("cannot read {}", go_mod.display()))?;
    let version = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes v"))
        .and_then(|rest| rest.split_whitespace().next())
        .with_context(|| format!("{} requires no k8s.io/kubernetes", go_mod.display()))?;
    let mut parts = version.split('.');
    let (Some(major), Some(minor)) = (parts.next(), parts.next()) else {
        bail!("{} requires k8s.io/kubernetes v{version}, which is no version", go_mod.display());
    };
    let package = "k8s.io/component-base/version";
    Ok(format!(
        "-s -w -X {package}.gitVersion=v{version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor} \
         -X {package}.gitTreeState=clean"
    ))
}

fn build_module(module: &Path, bin: &Path, programs: &[&str], stamps: &str) -> anyhow::Result<()> {
    let parent = bin.parent().context("the folder of the programs has no parent")?;
    remove_unfinished(parent);
    let fresh = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(parent)?;
    let mut command = Command::new("go");
    // A trailing slash makes go treat the path as a folder, one file per tool.
    command.args(["build", "-trimpath", "-ldflags", stamps, "-o"]).arg(format!("{}/", fresh.path().display()));
    command.arg("tool").current_dir(module).env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=readonly -buildvcs=false");
    run(&mut command).with_context(|| format!("cannot build the programs of {}", module.display()))?;
    for program in programs {
        let (from, to) = (fresh.path().join(program), bin.join(program));
        fs::rename(&from, &to).with_context(|| format!("the build of {} gave no {program}", module.display()))?;
    }
    Ok(())
}
