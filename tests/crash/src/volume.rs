//! File systems that scenarios mount: what they need of the machine, and taking them down again.
//!
//! Invariant: a volume that is dropped is unmounted, whatever still uses it; and everything is mounted in the mount namespace
//! of the run, so that the kernel takes down what a killed run leaves. Read first: [`Volume`].

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate};

use crate::process::{eventually, run};

/// What a scenario needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// File systems served by this process.
    Fuse,
    /// This file system in a file, by a loop device.
    Loop(LoopKind),
    /// A program of Debian.
    Program {
        /// Its file, which some packages put where only root looks.
        name: &'static str,
        /// The package that has it.
        package: &'static str,
        /// What it is for: its word in `HOFT_REQUIRE`.
        word: &'static str,
    },
}

/// A file system that is made in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopKind {
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
}

impl LoopKind {
    /// The kernel's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// The Debian package of the program that makes it.
    fn package(self) -> &'static str {
        match self {
            Self::Ext4 => "e2fsprogs",
            Self::Xfs => "xfsprogs",
            Self::Btrfs => "btrfs-progs",
        }
    }
}

impl Need {
    /// The word in `HOFT_REQUIRE`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Fuse => "fuse",
            Self::Loop(_) => "loop",
            Self::Program { word, .. } => word,
        }
    }

    /// Is it there?
    ///
    /// # Errors
    /// What is missing.
    pub fn met(self) -> Result<(), String> {
        match self {
            Self::Fuse if !Path::new("/dev/fuse").exists() => Err("there is no /dev/fuse".to_owned()),
            Self::Fuse => kernel_knows("fuse"),
            Self::Loop(_) if !Path::new("/dev/loop-control").exists() => {
                Err("there is no /dev/loop-control".to_owned())
            }
            Self::Loop(kind) => {
                kernel_knows(kind.name())?;
                is_installed(&format!("mkfs.{}", kind.name()), kind.package())
            }
            Self::Program { name, package, .. } => is_installed(name, package),
        }
    }
}

fn is_installed(program: &str, package: &str) -> Result<(), String> {
    let found = run(Command::new("sh").args(["-c", &format!("PATH=$PATH:/usr/sbin:/sbin command -v {program}")]));
    found.map(drop).map_err(|_| format!("{program} is missing: apt-get install {package}"))
}

fn kernel_knows(name: &str) -> Result<(), String> {
    let known = || {
        let list = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        list.lines().any(|line| line.split_whitespace().last() == Some(name))
    };
    if !known() {
        // A module that nobody has needed so far.
        let _ = run(Command::new("modprobe").arg(name));
    }
    if known() { Ok(()) } else { Err(format!("the kernel does not know the file system {name}")) }
}

/// A mounted file system.
#[derive(Debug)]
pub struct Volume {
    /// Where it is mounted.
    pub folder: PathBuf,
    image: Option<(PathBuf, LoopKind)>,
}

impl Volume {
    /// A file system in memory of this size.
    #[must_use]
    pub fn memory(folder: &Path, mebibytes: u64) -> Self {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "hoft-crash"]).arg(folder);
        run(&mut mount).unwrap();
        Self { folder: folder.to_owned(), image: None }
    }

    /// A file system in a file, of the smallest size that all programs make without complaint.
    #[must_use]
    pub fn in_file(folder: &Path, kind: LoopKind) -> Self {
        let mebibytes = match kind {
            LoopKind::Ext4 => 128,
            LoopKind::Xfs => 320,
            LoopKind::Btrfs => 192,
        };
        let image = folder.with_extension(kind.name());
        std::fs::File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        run(Command::new(format!("mkfs.{}", kind.name())).arg("-q").arg(&image)).unwrap();
        let volume = Self { folder: folder.to_owned(), image: Some((image, kind)) };
        volume.mount_again();
        volume
    }

    fn mount_again(&self) {
        let Some((image, kind)) = &self.image else { return };
        let mut mount = Command::new("mount");
        run(mount.args(["-t", kind.name(), "-o", "loop"]).arg(image).arg(&self.folder)).unwrap();
    }

    /// Makes it read-only (`ro`) or writable (`rw`) for everybody.
    ///
    /// # Errors
    /// Somebody is writing.
    pub fn remount(&self, options: &str) -> Result<(), String> {
        run(Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.folder)).map(drop)
    }

    /// Lets it fail under its writers, as it does when its device fails; false where that cannot be had: only XFS stops every call
    /// at once.
    #[must_use]
    pub fn fails(&self) -> bool {
        let mut command = match self.image {
            Some((_, LoopKind::Xfs)) => {
                let mut shutdown = Command::new("xfs_io");
                shutdown.args(["-x", "-c", "shutdown"]);
                shutdown
            }
            _ => return false,
        };
        run(command.arg(&self.folder)).unwrap();
        true
    }

    /// Takes it down and mounts it again, which repairs it from its own journal. Nobody may use it for long.
    pub fn repair(&self) {
        let mut told = String::new();
        eventually("the volume can be taken down", || {
            run(Command::new("umount").arg(&self.folder))
                .inspect_err(|error| {
                    if *error != told {
                        eprintln!("{error}; it is used by {}", users(&self.folder).join(", "));
                        told.clone_from(error);
                    }
                })
                .ok()
        });
        self.mount_again();
    }

    /// Takes all its space; gives the files that do.
    #[must_use]
    pub fn fill(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for number in 0..40 {
            let ballast = self.folder.join(format!("ballast-{number}"));
            let Ok(file) = std::fs::File::create(&ballast) else { break };
            files.push(ballast);
            let mut length = 0;
            let mut step = 64 << 20;
            while step >= 4096 {
                match fallocate(&file, FallocateFlags::empty(), length, step) {
                    Ok(()) => length += step,
                    Err(_) => step /= 2,
                }
            }
            if length < 64 << 10 {
                break;
            }
        }
        files
    }
}

/// Who uses what is in this folder: the program, its process, and the files.
fn users(folder: &Path) -> Vec<String> {
    let is_inside = |link: &PathBuf| std::fs::read_link(link).is_ok_and(|target| target.starts_with(folder));
    let mut users = Vec::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let process = process.path();
        let open = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten().map(|entry| entry.path());
        let used: Vec<PathBuf> = open.chain([process.join("cwd"), process.join("root")]).filter(is_inside).collect();
        if !used.is_empty() {
            let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
            let files: Vec<_> = used.iter().filter_map(|link| std::fs::read_link(link).ok()).collect();
            users.push(format!("{} ({}): {files:?}", name.trim(), process.display()));
        }
    }
    users
}

impl Drop for Volume {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg("--lazy").arg(&self.folder)) {
            eprintln!("a volume of a crash test could not be unmounted: {error}");
        }
        if let Some((image, _)) = &self.image {
            let _ = std::fs::remove_file(image);
        }
    }
}
