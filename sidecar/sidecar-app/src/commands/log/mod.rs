//! `hoft log`: what the log in an engine's state folder holds, and whether it is whole. Neither changes anything.
//!
//! Exit status: 0 well, 1 the log is damaged, 2 it cannot be looked at (or the command line is wrong). Test to read first:
//! `tests.rs`.

mod entries;
mod show;
mod state;
#[cfg(test)]
mod tests;
mod verify;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use disk::log::LogFiles;
use serde::Serialize;

/// Look at the log in a state folder, without changing it.
///
/// DIR is the folder that `state.folder` of the configuration names. The log may be looked at while its engine runs, on a
/// copy, and on a snapshot that is mounted read-only: nothing is locked, written, repaired or removed. Read it as the user
/// that the engine runs as: its files are private.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Check every byte of the log: all segments, and every place that the state refers to.
    ///
    /// Names file and offset of everything that is wrong: damaged entries, segments that were cut short, renamed, swapped,
    /// taken from another endpoint or written by a later version, and places that the state needs and that are not there. A
    /// torn tail, which a crash leaves at the end of the newest segment, is no damage: nobody was promised what is there, and
    /// the next start cuts it off.
    ///
    /// Exit status: 0 whole, 1 damaged, 2 the folder cannot be read or holds no log.
    Verify(VerifyArgs),
    /// Show what the log holds: segments and why they are kept, peers, operations, stored results.
    ///
    /// With --entries, every entry on a line of its own: position (segment:offset), kind, and what it is about; `=` before it
    /// marks an entry of a checkpoint. Payloads are shown with --payload only, as hex; the secret of the log's life never is.
    ///
    /// Exit status: 0 shown, 1 the log is damaged and what is shown is incomplete, 2 the folder cannot be read or holds no log.
    Show(ShowArgs),
}

/// What `hoft log verify` takes.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The state folder.
    dir: PathBuf,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

/// What `hoft log show` takes.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The state folder.
    dir: PathBuf,
    /// One JSON document instead of text; with --entries one JSON object per line.
    #[arg(long)]
    json: bool,
    /// Every entry instead of the summary.
    #[arg(long)]
    entries: bool,
    /// With --entries: payloads too. They are what callers sent: heads with their credentials, contents.
    #[arg(long, requires = "entries")]
    payload: bool,
}

/// Runs the subcommand; the exit status says how it went.
pub fn main(command: &LogCommand) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    match run(command, &mut out).and_then(|whole| out.flush().map(|()| whole).map_err(Into::into)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever reads it has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            crate::cli::tell(&error);
            ExitCode::from(2)
        }
    }
}

fn run(command: &LogCommand, out: &mut dyn Write) -> Result<bool> {
    match command {
        LogCommand::Verify(args) => verify::run(&args.dir, args.json, out),
        LogCommand::Show(args) if args.entries => {
            entries::run(&args.dir, entries::Format { json: args.json, payload: args.payload }, out)
        }
        LogCommand::Show(args) => show::run(&args.dir, args.json, out),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Looks at the log in a state folder, and tells what was found as text or as one JSON document.
fn report<R: Serialize>(
    (dir, json): (&Path, bool),
    look: impl FnOnce(&Path, &LogFiles) -> R,
    print: impl FnOnce(&R, &mut dyn Write) -> Result<()>,
    out: &mut dyn Write,
) -> Result<R> {
    let report = look(dir, &open(dir)?);
    if json {
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        print(&report, out)?;
    }
    Ok(report)
}

/// Opens the log of a state folder for looking.
fn open(dir: &Path) -> Result<LogFiles> {
    let files = LogFiles::open(dir).with_context(|| format!("the log in {} cannot be looked at", dir.display()))?;
    if files.segments().is_empty() {
        bail!(
            "{} holds no log (no segment files like 0000000000000001.log); name the folder of `state.folder`",
            dir.display()
        );
    }
    Ok(files)
}

/// What is said of an engine that runs on the log.
fn running(holder: &str) -> String {
    format!("an engine is running on it ({holder}): this is what it had written when the folder was looked at")
}
