//! `hoft keygen`: a side's secret keys in a file, and its public token to hand over.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use identity::Identity;

/// Make the keys of a side.
///
/// The secret file stays on this side (mode 0600; it is never overwritten). The public token goes to the other side,
/// which pins it in its configuration. Read the fingerprint to each other over another line to be sure that it arrived
/// unchanged.
#[derive(Debug, clap::Args)]
pub struct KeygenArgs {
    /// Name of the side: lower-case letters, digits and '-', at most 63.
    #[arg(long)]
    side: String,
    /// File for the secret keys.
    #[arg(long)]
    out: PathBuf,
    /// File for the public token; standard output when left out.
    #[arg(long)]
    public: Option<PathBuf>,
}

/// Runs the subcommand.
///
/// # Errors
/// When the name is refused or a file cannot be written.
pub fn main(args: &KeygenArgs) -> Result<()> {
    let made = write_keys(&args.side, &args.out, args.public.as_deref())?;
    eprintln!("secret keys of `{}`: {}", args.side, args.out.display());
    eprintln!("fingerprint: {}", made.fingerprint);
    match &args.public {
        Some(path) => eprintln!("public token: {} (hand it to the other side)", path.display()),
        None => println!("{}", made.token),
    }
    Ok(())
}

/// What was made.
#[derive(Debug)]
pub struct MadeKeys {
    /// The public token.
    pub token: String,
    /// Its fingerprint.
    pub fingerprint: String,
}

/// Makes keys and writes them.
///
/// # Errors
/// When the name is refused or a file cannot be written.
pub fn write_keys(side: &str, secret: &Path, public: Option<&Path>) -> Result<MadeKeys> {
    let identity =
        Identity::generate(side).with_context(|| format!("keys for a side named `{side}` cannot be made"))?;
    let bundle = identity.bundle(1, 0, 0);
    let token = bundle.to_token().context("the public token cannot be written")?;
    disk::secret::write_secret_file(secret, identity.encode_secret().as_bytes())
        .with_context(|| format!("the secret file {} cannot be written", secret.display()))?;
    if let Some(path) = public {
        disk::secret::write_new_file(path, format!("{token}\n").as_bytes(), 0o644)
            .with_context(|| format!("the public token {} cannot be written", path.display()))?;
    }
    Ok(MadeKeys { token, fingerprint: identity.fingerprint() })
}
