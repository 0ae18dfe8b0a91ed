//! `hoft verify`: whether packet files are whole and genuine, for guards and scanners.
//!
//! Invariants: status 0 only for files of which every byte that can be read is vouched for by a key that was given (or, for
//! suite checksum, only where it was named as accepted); all else is 1 or 2, errors of this program included.
//! Test to read first: `tests/origin.rs`.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde::Serialize;
use wire::Suite;

use super::keys::{KeyArgs, Keyring, OriginResult};
use super::report::{Content, Report, Verdict};
use super::{finish, json_line, look, now_ms, text};

/// Say whether packet files are whole and genuine. For guards and scanners.
///
/// A FILE passes if its suite is accepted, both of its signatures (Ed25519 and ML-DSA-65) are good and of a side whose public
/// key was given and is valid now, and nothing in it is missing, different or added: of suite `signed` every frame is compared
/// with the signed table; of `sealed` too, if --config names the configuration of an engine that holds the keys. Without
/// them the frames of `sealed` packets cannot be judged, only their number of bytes.
///
/// Nothing is remembered from one run to the next: whether a genuine packet is a copy of an older one is for its receiver to know.
///
/// Exit status: 0 every file is whole and verified; 1 at least one is not: cut, damaged, of another key or suite, or no
/// packet; 2 at least one cannot be read (a folder, link, pipe or device too), or the command line or a key is wrong.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    keys: KeyArgs,
    /// Suites that pass: signed, sealed, checksum (which proves nothing about who wrote it). Default: those of --config, or else
    /// signed and sealed.
    #[arg(long, value_name = "SUITES", value_delimiter = ',')]
    accept: Vec<Suite>,
    /// One JSON object per file, on a line of its own, instead of text.
    #[arg(long)]
    json: bool,
}

/// A file's answer.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    verified: bool,
    /// Why not.
    reason: Option<String>,
    /// Whether the frames were compared, too; if not, they are sealed.
    frames_checked: bool,
    #[serde(flatten)]
    report: &'a Report,
}

/// Runs `hoft verify`; the exit status is the answer.
pub fn main(args: &VerifyArgs) -> ExitCode {
    finish(run(args))
}

fn run(args: &VerifyArgs) -> Result<u8> {
    let now_ms = now_ms();
    let ring = Keyring::read(&args.keys, now_ms)?;
    let accepted = match (&args.accept[..], &ring.accepted) {
        ([], None) => vec![Suite::Signed, Suite::Sealed],
        ([], Some(configured)) => configured.clone(),
        (named, _) => named.to_vec(),
    };
    if !ring.verifies() && accepted.iter().any(|suite| suite.signed()) {
        bail!("nobody was named who may have signed: give --key BUNDLE or --config FILE (or --accept checksum alone)");
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let mut worst = 0;
    for path in &args.files {
        let (report, _) = look::look(path, &ring, now_ms);
        let reason = why_not(&report, &accepted);
        if args.json {
            let frames_checked = report.frames.is_some();
            json_line(
                &Answer { verified: reason.is_none(), reason: reason.clone(), frames_checked, report: &report },
                &mut out,
            )?;
        } else {
            line(&report, reason.as_deref(), &mut out)?;
        }
        worst = worst.max(match (&reason, report.verdict) {
            (_, Verdict::Unreadable) => 2,
            (Some(_), _) => 1,
            (None, _) => 0,
        });
    }
    out.flush()?;
    Ok(worst)
}

/// Why a file does not pass; `None` if it does.
pub(super) fn why_not(report: &Report, accepted: &[Suite]) -> Option<String> {
    let found = || report.findings.join("; ");
    let Some(header) = &report.header else { return Some(found()) };
    if !accepted.iter().any(|suite| suite.name() == header.suite) {
        return Some(format!("suite {} is not accepted", header.suite));
    }
    if report.verdict != Verdict::Whole {
        return Some(found());
    }
    match report.origin.as_ref().map(|origin| origin.result) {
        Some(OriginResult::Verified) => None,
        Some(OriginResult::Unproven) if header.suite == Suite::Checksum.name() => None,
        _ => Some(found()),
    }
}

fn line(report: &Report, reason: Option<&str>, out: &mut dyn Write) -> Result<()> {
    let file = text::printable(&report.file);
    let Some(reason) = reason else {
        let (suite, number) = report.header.as_ref().map_or(("", 0), |header| (header.suite, header.packet_number));
        let origin = report.origin.as_ref().map(|origin| text::origin_words(origin, report)).unwrap_or_default();
        let frames = match (&report.frames, report.content) {
            (Some(frames), _) => format!("all {} frames verify", frames.count),
            (None, Content::Sealed) => "frames are sealed and were not looked into".to_owned(),
            (None, _) => "no frames".to_owned(),
        };
        return Ok(writeln!(out, "{file}: good: {suite} packet {number}; {origin}; {frames}")?);
    };
    let reject = report.reject.or(report.origin.as_ref().and_then(|origin| origin.reject)).unwrap_or("unverified");
    Ok(writeln!(out, "{file}: NOT GOOD ({reject}): {}", text::printable(reason))?)
}
