//! `hoft config init` and `hoft config check`: a first configuration, and what is wrong with one.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use super::given::GivenArgs;
use super::keygen;
use crate::preflight::{Preflight, load_config};
use crate::shares::Demand;

/// Write a first configuration, or check one.
#[derive(Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Write a commented configuration, keys and folders for two sides.
    ///
    /// DIR/NAME/ gets `hoft.yaml`, the keys and the folders of each side; each side already pins the other's public
    /// token. To use two machines, move one folder to the other machine: only the folders `out` and `in` are mirrored.
    Init(InitArgs),
    /// Check a configuration as `hoft sidecar` would, with the folders and keys it names, and say all that is wrong.
    Check(CheckArgs),
}

/// Arguments of `config init`.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// Folder to write to; made if it is missing.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Names of the two sides: the calling one first.
    #[arg(long, value_delimiter = ',', default_value = "north,south", num_args = 2)]
    sides: Vec<String>,
}

/// Arguments of `config check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The configuration.
    file: PathBuf,
    #[command(flatten)]
    given: GivenArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// When something cannot be written, or the configuration is wrong.
pub fn main(command: &ConfigCommand) -> Result<()> {
    match command {
        ConfigCommand::Init(args) => init(args),
        ConfigCommand::Check(args) => check(&args.file, &args.given),
    }
}

fn check(file: &Path, given: &GivenArgs) -> Result<()> {
    let config = load_config(file, &given.overrides())?;
    let found = Preflight::run(&config, Demand::Working)?;
    println!("{}: good", file.display());
    println!("  this side: {} ({})", config.local.name, found.me);
    println!("  far side:  {} ({})", config.remote.name, found.peer);
    for fingerprint in &found.peer_fingerprints {
        println!("  pinned:    {fingerprint}");
    }
    Ok(())
}

fn init(args: &InitArgs) -> Result<()> {
    let [first, second] = args.sides.as_slice() else { bail!("--sides takes two names: --sides north,south") };
    let ports = [(8470, 9470), (8471, 9471)];
    let sides = [(first, second), (second, first)];
    for (own, _) in sides {
        let folder = args.dir.join(own);
        if folder.join("hoft.yaml").exists() {
            bail!("{} exists already; choose another folder, or remove it", folder.join("hoft.yaml").display());
        }
    }
    for (own, _) in sides {
        let folder = args.dir.join(own);
        for name in ["out", "in", "state"] {
            let path = folder.join(name);
            std::fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        }
        let public = folder.join(format!("{own}.pub"));
        let made = keygen::write_keys(own, &folder.join(format!("{own}.key")), Some(&public))?;
        println!("{}: fingerprint {}", public.display(), made.fingerprint);
    }
    for ((own, other), (proxy, admin)) in sides.into_iter().zip(ports) {
        let folder = args.dir.join(own);
        let public = args.dir.join(other).join(format!("{other}.pub"));
        let token = std::fs::read_to_string(&public).with_context(|| format!("{} cannot be read", public.display()))?;
        disk::secret::write_new_file(&folder.join(format!("{other}.pub")), token.as_bytes(), 0o644)
            .with_context(|| format!("the token of `{other}` cannot be written"))?;
        let mut side = sidecar_config::Template::new(own, other)
            .map_err(|refusal| anyhow!("--sides: {}; {}", refusal.message, refusal.remedy))?;
        side.proxy.set_port(proxy);
        side.admin.set_port(admin);
        let text = sidecar_config::template(&side);
        let file = folder.join("hoft.yaml");
        disk::secret::write_new_file(&file, text.as_bytes(), 0o644)
            .with_context(|| format!("{} cannot be written", file.display()))?;
        println!("{}: written", file.display());
    }
    let dir = args.dir.display();
    println!("\nNext, on this machine:");
    println!("  hoft mirror --from {dir}/{first}/out --to {dir}/{second}/in &");
    println!("  hoft mirror --from {dir}/{second}/out --to {dir}/{first}/in &");
    println!("  hoft sidecar --config {dir}/{second}/hoft.yaml &");
    println!("  hoft sidecar --config {dir}/{first}/hoft.yaml &");
    println!("Edit `outbound.allow` of {first} and `inbound.allow` of {second}: nothing is allowed until it is named.");
    Ok(())
}
