//! The command line: what each subcommand is called and what it takes.
//!
//! Exit status: 0 well, 1 failed (what went wrong is said on standard error), 2 the command line is wrong. `hoft log`, `hoft inspect` and
//! `hoft verify` have their own.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::{config, key, keygen, log, packet, probe};
use crate::{bench, demo, engine, mirror};

/// HTTP over file transfer: call HTTP APIs in another network when only files cross the gap.
///
/// Try it: `hoft demo` runs two engines and two faulty mirrors on this machine. Set it up: `hoft config init` writes a
/// commented configuration and keys for two sides; `hoft sidecar --config FILE` runs one of them.
#[derive(Debug, Parser)]
#[command(name = "hoft", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run an engine: local programs call through it, and it executes the far side's calls.
    Sidecar(engine::SidecarArgs),
    /// Make the keys of a side: a secret file, and a public token to hand to the other side.
    Keygen(keygen::KeygenArgs),
    /// Look at keys: what a token or a secret file holds, its token, its fingerprint. Secrets are never shown.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Write a first configuration, or check one.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Say what packet files are: ids, times, sizes, frames, and where they were cut.
    Inspect(packet::InspectArgs),
    /// Say whether packet files are whole and genuine: for guards and scanners, by exit status.
    Verify(packet::VerifyArgs),
    /// Look at the log in a state folder: what it holds, and whether it is whole. Changes nothing.
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Measure a folder, and the mirror behind it: what an engine meets there, and how to configure it for that.
    Probe(probe::ProbeArgs),
    /// Run a faulty stand-in for the file transfer service, for demos and tests.
    Mirror(Box<mirror::MirrorArgs>),
    /// Watch it work: two engines, two faulty mirrors and an upstream on this machine, with a verdict at the end.
    Demo(demo::DemoArgs),
    /// Measure it: bulk and small calls through two engines, as ratios to the same work without them.
    Bench(bench::BenchArgs),
}

/// Reads the command line and runs what it asks for.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Sidecar(args) => engine::main(&args),
        Command::Keygen(args) => keygen::main(&args),
        Command::Key(command) => key::main(&command),
        Command::Config(command) => config::main(&command),
        Command::Inspect(args) => return packet::inspect(&args),
        Command::Verify(args) => return packet::verify(&args),
        Command::Log(command) => return log::main(&command),
        Command::Probe(args) => probe::main(&args),
        Command::Mirror(args) => mirror::main(*args),
        Command::Demo(args) => demo::main(&args),
        Command::Bench(args) => bench::main(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error);
            ExitCode::FAILURE
        }
    }
}

/// Says on standard error what failed, then why: the whole chain on one line each.
pub(crate) fn tell(error: &anyhow::Error) {
    eprintln!("hoft: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
}

#[cfg(test)]
mod tests {
    //! The command line itself.
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
