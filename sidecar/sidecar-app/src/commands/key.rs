//! `hoft key`: what a token or a secret-key file holds, the token of a secret-key file, and the fingerprint to read aloud.
//!
//! Invariants: nothing secret is ever printed, also not in messages; a secret-key file that others can use is refused as an
//! engine refuses it. Files are described in docs/key-file.md. Test to read first: `a_secret_file_and_its_token_say_the_same`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use identity::Identity;
use serde::Serialize;
use wire::Bundle;
use wire::digest::hex;
use wire::token::{alg, usage};

use super::key_material::{self, Material};
use super::when;
use crate::driver::unix_ms;

/// Look at keys. Secrets are never shown.
///
/// FILE is a secret-key file as `hoft keygen` writes it, or a file with a public token; TOKEN is the token itself (hoft1…).
/// A secret-key file must not be usable by others (chmod 600), as for an engine; --allow-readable is for mounted Kubernetes
/// Secrets.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Show what keys these are: side, version, times, fingerprint, and the ids that packets name them by.
    Show(ShowArgs),
    /// Print the public token of a secret-key file: what the other side pins.
    ///
    /// Version and times are part of the token, and so of its fingerprint. Without options it is the token that `hoft keygen`
    /// printed.
    Public(PublicArgs),
    /// Print the fingerprint: 24 characters for two people to read to each other.
    ///
    /// Of a secret-key file: that of the token that `hoft keygen` printed.
    Fingerprint(FingerprintArgs),
}

/// Arguments of `key show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A secret-key file, a file with a public token, or the token.
    #[arg(value_name = "FILE|TOKEN")]
    given: String,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
    /// Take a secret-key file that others than its owner can read.
    #[arg(long)]
    allow_readable: bool,
}

/// Arguments of `key public`.
#[derive(Debug, Args)]
pub struct PublicArgs {
    /// The secret-key file.
    #[arg(value_name = "SECRETFILE")]
    file: PathBuf,
    /// Version of the token, from 1: of several valid tokens, peers seal to the key of the highest.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    version: u32,
    /// Not valid before this time in UTC (2026-11-23 or 2026-11-23T12:00:00Z).
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    not_before: Option<i64>,
    /// Not valid after this time in UTC.
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    not_after: Option<i64>,
    /// Take a secret-key file that others than its owner can read.
    #[arg(long)]
    allow_readable: bool,
}

/// Arguments of `key fingerprint`.
#[derive(Debug, Args)]
pub struct FingerprintArgs {
    /// A secret-key file, a file with a public token, or the token.
    #[arg(value_name = "FILE|TOKEN")]
    given: String,
    /// Take a secret-key file that others than its owner can read.
    #[arg(long)]
    allow_readable: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// When what was named holds no usable keys.
pub fn main(command: &KeyCommand) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match command {
        KeyCommand::Show(args) => {
            let shown = Shown::of(&key_material::read(&args.given, args.allow_readable)?, now_ms())?;
            if args.json {
                serde_json::to_writer_pretty(&mut out, &shown)?;
                writeln!(out)?;
            } else {
                shown.print(&mut out)?;
            }
        }
        KeyCommand::Public(args) => {
            let identity = key_material::secret(&args.file, args.allow_readable)?;
            let bundle = public(&identity, args)?;
            writeln!(out, "{}", bundle.to_token()?)?;
            eprintln!("public token of `{}`, fingerprint: {}", bundle.side, bundle.fingerprint()?);
        }
        KeyCommand::Fingerprint(args) => {
            let bundle = bundle(&key_material::read(&args.given, args.allow_readable)?);
            writeln!(out, "{}", bundle.fingerprint()?)?;
        }
    }
    Ok(())
}

fn public(identity: &Identity, args: &PublicArgs) -> Result<Bundle> {
    let (from, to) = (args.not_before.unwrap_or(0), args.not_after.unwrap_or(0));
    if args.not_after.is_some_and(|to| to <= from) {
        bail!("--not-after lies before --not-before: the token would never be valid");
    }
    Ok(identity.bundle(args.version, from, to))
}

/// The bundle of a token; of a secret-key file, the one that `hoft keygen` made.
fn bundle(material: &Material) -> Bundle {
    match material {
        Material::Public(bundle) => (**bundle).clone(),
        Material::Secret(identity) => identity.bundle(1, 0, 0),
    }
}

fn now_ms() -> i64 {
    i64::try_from(unix_ms()).unwrap_or(i64::MAX)
}

/// What is said of keys.
#[derive(Debug, Serialize)]
struct Shown {
    /// `public_token` or `secret_file`.
    kind: &'static str,
    side: String,
    /// Of a token; a secret-key file has none.
    version: Option<u32>,
    not_before: Option<String>,
    not_after: Option<String>,
    /// `valid`, `not_yet` or `expired`.
    now: &'static str,
    fingerprint: String,
    /// What headers of packets name the signing pair by; `None`: it lacks one of its halves.
    signing_key: Option<String>,
    kem_key: Option<String>,
    keys: Vec<OneKey>,
}

#[derive(Debug, Serialize)]
struct OneKey {
    algorithm: String,
    number: u16,
    usage: &'static str,
    bytes: usize,
}

impl Shown {
    fn of(material: &Material, now_ms: i64) -> Result<Self> {
        let bundle = bundle(material);
        let (kind, version) = match material {
            Material::Public(bundle) => ("public_token", Some(bundle.version)),
            Material::Secret(_) => ("secret_file", None),
        };
        let (from, to) = (bundle.not_before_ms, bundle.not_after_ms);
        let now = if now_ms < from {
            "not_yet"
        } else if to != 0 && now_ms > to {
            "expired"
        } else {
            "valid"
        };
        let keys = bundle.keys.iter().map(|key| OneKey {
            algorithm: algorithm(key.alg),
            number: key.alg,
            usage: match key.usage {
                usage::SIGN => "sign",
                usage::KEM => "kem",
                _ => "unknown",
            },
            bytes: key.bytes.len(),
        });
        Ok(Self {
            kind,
            version,
            not_before: (from != 0).then(|| when::rfc3339(from)),
            not_after: (to != 0).then(|| when::rfc3339(to)),
            now,
            fingerprint: bundle.fingerprint().context("the fingerprint cannot be made")?,
            signing_key: bundle.signing_id().map(|id| hex(&id)),
            kem_key: bundle.kem_id().map(|id| hex(&id)),
            keys: keys.collect(),
            side: bundle.side,
        })
    }

    fn print(&self, out: &mut dyn Write) -> Result<()> {
        let none = || "none".to_owned();
        match self.version {
            Some(version) => writeln!(out, "public token, version {version}")?,
            None => writeln!(out, "secret keys (they are not shown)")?,
        }
        writeln!(out, "  side         {}", self.side)?;
        writeln!(out, "  fingerprint  {}", self.fingerprint)?;
        writeln!(out, "  signing key  {}", self.signing_key.clone().unwrap_or_else(none))?;
        writeln!(out, "  KEM key      {}", self.kem_key.clone().unwrap_or_else(none))?;
        if self.version.is_some() {
            let bound = |time: &Option<String>| time.clone().unwrap_or_else(|| "any time".to_owned());
            let now = match self.now {
                "valid" => "valid now",
                "not_yet" => "NOT VALID YET",
                _ => "EXPIRED",
            };
            writeln!(out, "  valid        from {} to {}: {now}", bound(&self.not_before), bound(&self.not_after))?;
        }
        for OneKey { algorithm, usage, bytes, .. } in &self.keys {
            writeln!(out, "  holds        {algorithm} ({usage}, {bytes} bytes public)")?;
        }
        Ok(())
    }
}

fn algorithm(number: u16) -> String {
    match number {
        alg::ED25519 => "Ed25519".to_owned(),
        alg::MLDSA65 => "ML-DSA-65".to_owned(),
        alg::XWING => "X-Wing".to_owned(),
        alg::MLDSA87 => "ML-DSA-87".to_owned(),
        alg::MLKEM1024 => "ML-KEM-1024".to_owned(),
        number => format!("unknown algorithm {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Identity {
        Identity::from_seeds("north", &[1; 32], &[2; 32], &[3; 32]).unwrap()
    }

    fn text(shown: &Shown) -> String {
        let mut out = Vec::new();
        shown.print(&mut out).unwrap();
        String::from_utf8(out).unwrap() + &serde_json::to_string(shown).unwrap()
    }

    #[test]
    fn a_secret_file_and_its_token_say_the_same() {
        let secret = Shown::of(&Material::Secret(Box::new(keys())), 0).unwrap();
        let public = Shown::of(&Material::Public(Box::new(keys().bundle(1, 0, 0))), 0).unwrap();
        for shown in [&secret, &public] {
            assert_eq!(shown.fingerprint, "3chw-jkf3-senx-h73w-q8a6-jd03");
            assert_eq!(shown.signing_key.as_deref(), Some("7032bfb1bcac6795"));
            assert_eq!(shown.kem_key.as_deref(), Some("fbbd8c066080b9a6"));
            let text = text(shown);
            for secret in ["0101010101", "0202020202", "0303030303"] {
                assert!(!text.contains(secret), "{text}");
            }
        }
        assert_eq!((secret.kind, public.kind), ("secret_file", "public_token"));
    }

    #[test]
    fn times_of_a_token_are_told() {
        for (from, to, now, said) in
            [(0, 0, 5, "valid"), (6, 0, 5, "not_yet"), (0, 4, 5, "expired"), (5, 5, 5, "valid")]
        {
            let shown = Shown::of(&Material::Public(Box::new(keys().bundle(3, from, to))), now).unwrap();
            assert_eq!(shown.now, said);
            assert!(text(&shown).contains("version 3"));
        }
    }

    #[test]
    fn a_token_of_later_algorithms_and_without_a_pair_is_shown() {
        let mut bundle = keys().bundle(1, 0, 0);
        bundle.keys.remove(0);
        bundle.keys.push(wire::token::PublicKey { alg: 77, usage: 9, bytes: vec![1] });
        let shown = Shown::of(&Material::Public(Box::new(bundle)), 0).unwrap();
        assert_eq!(shown.signing_key, None);
        assert!(text(&shown).contains("unknown algorithm 77"));
    }
}
