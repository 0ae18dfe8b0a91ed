//! The program under test: a plain debug build of `hoft`, made by the cargo that made this program, beside it.
//!
//! Invariant: nothing is built elsewhere or otherwise than by `cargo build --bin hoft`, so that nothing is built twice.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// Builds the program; gives its path.
///
/// # Errors
/// It cannot be built.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let profile = own
        .ancestors()
        .find(|folder| folder.ends_with("debug") || folder.ends_with("release"))
        .with_context(|| format!("{} does not lie in a target folder of cargo", own.display()))?;
    let target = profile.parent().context("the target folder has no name")?;
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    println!("building the program under test: cargo build --bin hoft");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--locked", "--bin", "hoft"]).current_dir(&repository);
    cargo.env("CARGO_TARGET_DIR", target);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    // The variables of the cargo that runs us describe our package, not that one.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_BIN_") {
            cargo.env_remove(name);
        }
    }
    let status = cargo.status().context("cannot start cargo")?;
    ensure!(status.success(), "`cargo build --bin hoft` failed");
    let hoft = profile.join("hoft");
    ensure!(hoft.is_file(), "cargo made no {}", hoft.display());
    Ok(hoft)
}
