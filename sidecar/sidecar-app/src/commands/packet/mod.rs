//! `hoft inspect` and `hoft verify`: what packet files are, for people, and whether they are genuine, for guards.
//!
//! Invariants: neither changes the files it looks at, follows a link or waits for a pipe; whatever a file holds, there is a
//! verdict on it; memory does not grow with files or their number. Exit status: the worst of all files, 0, 1 or 2, as the
//! help of each says. What an engine judges by its state (packet numbers, associations, credit) is not judged here.
//! Specification: wire format §2 to §12. Test to read first: `tests/cuts.rs`.

mod control;
mod extract;
mod frames;
mod keys;
mod look;
mod parts;
mod report;
mod source;
#[cfg(test)]
mod tests;
mod text;
mod verify;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use self::keys::{KeyArgs, Keyring, OriginResult};
use self::look::Readable;
use self::report::{Report, Verdict};
use crate::driver::unix_ms;

pub use self::verify::{VerifyArgs, main as verify};

/// Say what packet files are.
///
/// For each FILE: ids of sender and recipient, packet number, suite, when it was written, the size of every part, where it
/// was cut (or where its unfilled zeros begin), the control block and the frames with their seqs, lengths, and whether
/// each verifies.
///
/// Packets of suite `signed` can be read by anyone, without keys: that is what lets a scanner read the bodies that cross the
/// gap. Of `sealed` packets only origin, ids and sizes can be read, unless --config names the configuration of an engine
/// that holds the keys. Who signed is said where --key or --config gives the public keys.
///
/// Links are not followed; folders, pipes and devices are not opened.
///
/// Exit status: 0 every file is a whole packet, as far as it can be read; 1 at least one is cut, damaged, refused or no
/// packet; 2 at least one cannot be read or written out (or the command line is wrong). Whether anybody vouches for it is not asked: use
/// `hoft verify` for that.
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// The files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    keys: KeyArgs,
    /// One JSON object per file, on a line of its own, instead of text.
    #[arg(long)]
    json: bool,
    /// Every frame in the text, however many there are (JSON always has all).
    #[arg(long)]
    frames: bool,
    /// Write the bodies that the packets carry into this folder: for each run of DATA of a stream a file
    /// SENDER-INCARNATION-packet-NUMBER-stream-ID-offset-OFFSET.body. Only frames that verify; nothing is overwritten.
    #[arg(long, value_name = "DIR")]
    extract: Option<PathBuf>,
    /// Bytes that are written out of one packet, at most.
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 30, requires = "extract")]
    extract_max: u64,
}

/// Runs `hoft inspect`; the exit status says how it went.
pub fn inspect(args: &InspectArgs) -> ExitCode {
    finish(run_inspect(args))
}

fn run_inspect(args: &InspectArgs) -> Result<u8> {
    let now_ms = now_ms();
    let ring = Keyring::read(&args.keys, now_ms)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut worst = 0;
    for (count, path) in args.files.iter().enumerate() {
        let (mut report, readable) = look::look(path, &ring, now_ms);
        if let Some(folder) = &args.extract {
            match write_bodies(&report, readable.as_ref(), folder, args.extract_max) {
                Ok(paths) => report.extracted = paths,
                // The other files have their verdicts all the same.
                Err(error) => {
                    crate::cli::tell(&error);
                    report.say(format!("its bodies were not written out, or not all: {error:#}"));
                    worst = 2;
                }
            }
        }
        if args.json {
            json_line(&report, &mut out)?;
        } else {
            if count > 0 {
                writeln!(out)?;
            }
            text::print(&report, args.frames, &mut out)?;
        }
        worst = worst.max(status(&report));
    }
    out.flush()?;
    Ok(worst)
}

/// Writes the bodies of a packet, unless its signature is known to be bad; the files.
fn write_bodies(report: &Report, readable: Option<&Readable>, folder: &Path, bytes_max: u64) -> Result<Vec<String>> {
    let forged =
        report.origin.as_ref().is_none_or(|origin| matches!(origin.result, OriginResult::Bad | OriginResult::Revoked));
    let (Some(readable), Some(header), false) = (readable, &report.header, forged) else { return Ok(Vec::new()) };
    // As in flat names of packets: first digits that tell senders and their lives apart.
    let first = |text: &str, len: usize| text.chars().filter(char::is_ascii_hexdigit).take(len).collect::<String>();
    let life = header.sender.incarnation.as_deref().and_then(|life| life.rsplit('/').next()).unwrap_or("0");
    let prefix = format!("{}-{}-packet-{}", first(&header.sender.id, 10), first(life, 8), header.packet_number);
    let paths = extract::extract(readable, &prefix, folder, bytes_max);
    let paths =
        paths.with_context(|| format!("the bodies in {} cannot be written out", text::printable(&report.file)))?;
    Ok(paths.into_iter().map(|path| path.to_string_lossy().into_owned()).collect())
}

/// The exit status that one file gives `hoft inspect`.
const fn status(report: &Report) -> u8 {
    match report.verdict {
        Verdict::Whole => 0,
        Verdict::Cut | Verdict::Unfilled | Verdict::Damaged | Verdict::Refused | Verdict::NoPacket => 1,
        Verdict::Unreadable => 2,
    }
}

fn json_line(value: &impl serde::Serialize, out: &mut dyn Write) -> Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    Ok(writeln!(out)?)
}

fn now_ms() -> i64 {
    i64::try_from(unix_ms()).unwrap_or(i64::MAX)
}

/// The exit status of a run; what kept it from ending is said.
fn finish(result: Result<u8>) -> ExitCode {
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            // A guard must not take it for a good answer that nobody read the output to its end.
            if !is_broken_pipe(&error) {
                crate::cli::tell(&error);
            }
            ExitCode::from(2)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        io.or_else(|| cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind))
    };
    error.chain().find_map(kind) == Some(io::ErrorKind::BrokenPipe)
}
