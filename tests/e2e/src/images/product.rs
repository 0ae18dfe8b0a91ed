//! The product as it ships: static programs, and the images that the real Dockerfile makes of them.
//!
//! The programs are built by cargo outside of the image build, and take the place of the Dockerfile's stage `build`;
//! every other instruction of it is executed. Invariant: an archive in the cache is named by the hash of all that went
//! into it. Nothing is pulled.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};

use crate::place::{Place, UNFINISHED};
use crate::process::run;

/// The target of the static programs.
const TARGET: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-musl" } else { "x86_64-unknown-linux-musl" };

/// The public certificate authorities that go into the images.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The stages of the Dockerfile that become images, each with its program.
const STAGES: [(&str, &str); 2] = [("sidecar", "hoft"), ("operator", "hoft-operator")];

/// The built product.
#[derive(Clone, Debug)]
pub struct Product {
    /// The program `hoft`, static; runs on this machine too.
    pub hoft: PathBuf,
    /// The image of the engine, for `imagePullPolicy: Never`.
    pub sidecar_image: String,
    /// The image of the operator.
    pub operator_image: String,
    /// The archives of both.
    pub archives: Vec<PathBuf>,
}

/// True if the product was built before, so that building it again takes seconds or a few minutes.
#[must_use]
pub fn was_built(place: &Place) -> bool {
    STAGES.iter().all(|(_, program)| program_path(place, program).is_file())
}

/// Builds the programs (cargo decides what there is to do) and, where they changed, the images.
///
/// # Errors
/// cargo or buildah failed.
pub fn build(place: &Place) -> anyhow::Result<Product> {
    let began = Instant::now();
    println!("building the product for {TARGET}");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--locked", "--target", TARGET, "--bin", "hoft", "--bin", "hoft-operator"]);
    cargo.current_dir(&place.repository).env("CARGO_TARGET_DIR", &place.target);
    // The variables of the cargo that runs us describe our package, not those.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_BIN_") {
            cargo.env_remove(name);
        }
    }
    run(&mut cargo).with_context(|| format!("cannot build the product (rustup target add {TARGET}?)"))?;
    println!("  its programs took {} s", began.elapsed().as_secs());
    let product = images(place)?;
    println!("  with its images {} s", began.elapsed().as_secs());
    Ok(product)
}

fn program_path(place: &Place, program: &str) -> PathBuf {
    place.target.join(TARGET).join("release").join(program)
}

/// The name an image has in the cluster; the version is the workspace's.
fn image_name(stage: &str) -> String {
    format!("docker.io/library/hoft-{stage}:{}", env!("CARGO_PKG_VERSION"))
}

fn images(place: &Place) -> anyhow::Result<Product> {
    let _lock = place.lock_cache()?;
    let hoft = program_path(place, "hoft");
    let folder = place.cache.join("images").join(inputs_hash(place)?);
    let archives: Vec<PathBuf> = STAGES.iter().map(|(stage, _)| folder.join(format!("hoft-{stage}.tar"))).collect();
    if !archives.iter().all(|archive| archive.is_file()) {
        let parent = folder.parent().context("the folder of the images has no parent")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        let fresh = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(parent)?;
        build_images(place, fresh.path())?;
        // Images of earlier programs are of no more use, and large.
        for entry in fs::read_dir(parent)?.flatten().filter(|entry| entry.path() != fresh.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
        fs::rename(fresh.path().join("archives"), &folder)
            .with_context(|| format!("cannot keep the images as {}", folder.display()))?;
    }
    let [sidecar_image, operator_image] = STAGES.map(|(stage, _)| image_name(stage));
    Ok(Product { hoft, sidecar_image, operator_image, archives })
}

fn inputs_hash(place: &Place) -> anyhow::Result<String> {
    let programs = STAGES.iter().map(|(_, program)| program_path(place, program));
    let files = [place.repository.join("Dockerfile"), place.repository.join("LICENSE"), AUTHORITIES.into()];
    let mut hash = Sha256::new();
    for file in programs.chain(files) {
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(&bytes);
    }
    Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// Runs the Dockerfile with a folder in place of its first stage, and writes `archives/` into `scratch`.
fn build_images(place: &Place, scratch: &Path) -> anyhow::Result<()> {
    let (context, archives) = (scratch.join("build"), scratch.join("archives"));
    fs::create_dir_all(context.join("out"))?;
    fs::create_dir_all(&archives)?;
    for (_, program) in STAGES {
        let from = program_path(place, program);
        run(Command::new("strip").arg("-o").arg(context.join("out").join(program)).arg(&from))
            .with_context(|| format!("cannot strip {}", from.display()))?;
    }
    fs::copy(AUTHORITIES, context.join("out/ca-certificates.crt"))
        .with_context(|| format!("{AUTHORITIES} is missing: apt-get install ca-certificates"))?;
    let dockerfile = place.repository.join("Dockerfile");
    ensure!(dockerfile.is_file(), "there is no {}", dockerfile.display());
    for (stage, _) in STAGES {
        let name = image_name(stage);
        let mut bud = buildah(scratch);
        bud.args(["bud", "--isolation", "chroot", "--quiet", "--target", stage, "--tag", &name, "--build-context"]);
        bud.arg(format!("build={}", context.display())).arg("--file").arg(&dockerfile).arg(&place.repository);
        run(&mut bud).with_context(|| format!("cannot build the image {name}"))?;
        let to = format!("docker-archive:{}:{name}", archives.join(format!("hoft-{stage}.tar")).display());
        run(buildah(scratch).args(["push", "--quiet", &name, &to])).with_context(|| format!("cannot save {name}"))?;
    }
    Ok(())
}

/// buildah with its storage in the scratch folder, so that nothing stays elsewhere.
fn buildah(scratch: &Path) -> Command {
    let mut command = Command::new("buildah");
    command.args(["--storage-driver", "vfs", "--root"]).arg(scratch.join("storage"));
    command.arg("--runroot").arg(scratch.join("runroot")).env("TMPDIR", scratch);
    command
}
