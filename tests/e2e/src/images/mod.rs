//! Container images: imported from files, never pulled.
//!
//! Two are made here from Debian's static busybox: [`PAUSE`] holds a pod's namespaces, [`BUSYBOX`] is the app of the
//! scenarios (`sh`, `httpd`, `wget`, `nc`, `nslookup`). The product's own come from the real Dockerfile: [`product`].

pub mod archive;
pub mod product;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::prerequisites::find_program;
use crate::process::run;
use archive::{Entry, Image};

/// The image that kubelet's sandboxes run.
pub const PAUSE: &str = "docker.io/hoft-test/pause:1";

/// The image for apps in scenarios; use it with `imagePullPolicy: Never`.
pub const BUSYBOX: &str = "docker.io/hoft-test/busybox:1";

/// Writes both images of ours into the folder; gives their archives.
///
/// # Errors
/// There is no busybox, or a file cannot be written.
pub fn write_test_images(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let busybox = find_program("busybox").context("there is no busybox: apt-get install busybox-static")?;
    let program = fs::read(&busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
    let applets = run(Command::new(&busybox).arg("--list"))?;
    let pause = Image {
        name: PAUSE,
        command: &["/bin/busybox", "sleep", "infinity"],
        files: vec![Entry::folder("bin", 0o755), Entry::file("bin/busybox", 0o755, program.clone())],
    };
    let mut files = vec![
        Entry::folder("bin", 0o755),
        Entry::file("bin/busybox", 0o755, program),
        Entry::folder("etc", 0o755),
        Entry::file("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n".to_vec()),
        Entry::file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n".to_vec()),
        Entry::folder("tmp", 0o1777),
        Entry::folder("www", 0o777),
    ];
    let links = applets.lines().map(str::trim).filter(|name| !name.is_empty() && *name != "busybox");
    files.extend(links.map(|name| Entry::link(&format!("bin/{name}"), "/bin/busybox")));
    let busybox = Image { name: BUSYBOX, command: &["/bin/sh"], files };
    let mut archives = Vec::new();
    for (file, image) in [("pause.tar", pause), ("busybox.tar", busybox)] {
        let path = folder.join(file);
        fs::write(&path, image.to_docker_archive()?).with_context(|| format!("cannot write {}", path.display()))?;
        archives.push(path);
    }
    Ok(archives)
}
