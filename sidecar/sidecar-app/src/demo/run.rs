//! One run from its setting-up to its verdict.
//!
//! Invariants: however a run ends, children are ended and reaped before the folder goes, and the terminal is put right; a
//! bad verdict keeps the folder. What happens in between is `course.rs`. Test to read first:
//! `a_termination_signal_is_noticed`; then run `hoft demo`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::course;
use super::folder::Folder;
use super::packets::{self, Packets};
use super::picture::{Picture, Title};
use super::progress::Progress;
use super::sides::{self, Setting};
use super::stage::Stage;
use super::upstream::{Journal, Upstream};
use super::verdict::{self, Verdict};
use super::view::Sources;
use crate::mirror::FaultLevel;

/// Files after which a bad mirror must have lost one.
const FILES_FOR_A_LOSS: u64 = 50;

/// What was asked for.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// Calls to make.
    pub(super) calls: u32,
    /// How bad the mirrors are.
    pub(super) faults: FaultLevel,
    /// Draws calls and faults.
    pub(super) seed: u64,
    /// Folder to run in and to keep.
    pub(super) keep: Option<PathBuf>,
    /// No picture, even on a terminal.
    pub(super) json: bool,
}

/// A run that came to its end.
#[derive(Debug)]
pub(super) struct Ended {
    /// How it ended.
    pub(super) verdict: Verdict,
    /// How long it took.
    pub(super) elapsed: Duration,
    /// Where it took place; the folder is still there if it was to be kept or the verdict is bad.
    pub(super) folder: PathBuf,
}

/// Runs the demo.
///
/// # Errors
/// When it cannot be set up, or a signal ends it.
pub(super) async fn run(options: &Options) -> Result<Ended> {
    let mut signals = Signals::listen()?;
    let folder = Folder::make(options.keep.as_deref())?;
    let progress = Arc::new(Progress::default());
    let upstream = Upstream::start(Journal::in_file(&folder.path().join("upstream.jsonl"))?).await?;
    let setting =
        Setting { folder: folder.path(), upstream: upstream.address, faults: options.faults, seed: options.seed };
    let stage = tokio::select! {
        stage = Stage::build(&setting) => stage?,
        name = signals.first() => bail!("{name}: the demo ends before it began"),
    };
    let sources = Sources {
        near: stage.near.admin.clone(),
        far: stage.far.admin.clone(),
        journals: [stage.mirrors[0].journal.clone(), stage.mirrors[1].journal.clone()],
    };
    let title = Title { calls: options.calls.into(), faults: sides::fault_word(options.faults), seed: options.seed };
    let picture = Picture::show(title, Arc::clone(&progress), sources, options.json);
    let played = tokio::select! {
        evidence = course::play(options, &stage, &upstream, &progress) => Some(evidence),
        name = signals.first() => { progress.event(format!("{name}: ending")); None }
    };
    picture.finish().await;
    let Some(mut evidence) = played else {
        stage.kill().await;
        bail!("the demo was interrupted");
    };
    evidence.findings.extend(stage.stop().await);
    evidence.packets = count_packets(&stage, options.faults, &mut evidence.findings);
    evidence.executions = upstream.journal.executions();
    let verdict = verdict::judge(&evidence, options.seed);
    if !verdict.good() {
        folder.keep();
    }
    Ok(Ended { verdict, elapsed: progress.elapsed(), folder: folder.path().to_owned() })
}

fn count_packets(stage: &Stage, faults: FaultLevel, findings: &mut Vec<String>) -> Packets {
    let mut both = Packets::default();
    for mirror in &stage.mirrors {
        match packets::at_the_end(&mirror.journal) {
            Ok(packets) => both = both.plus(packets),
            Err(finding) => findings.push(finding),
        }
    }
    // Promises that were kept because nothing went wrong prove nothing.
    if faults != FaultLevel::None && both.sent >= FILES_FOR_A_LOSS && both.lost == 0 {
        findings.push(format!("the mirrors lost none of {} files: they are not as bad as they should be", both.sent));
    }
    both
}

/// The signals that end the demo.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// When signals cannot be received.
    pub(crate) fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be received");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// The name of the first of them that comes.
    pub(crate) async fn first(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "interrupted",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_termination_signal_is_noticed() {
        let mut signals = Signals::listen().unwrap();
        let pid = std::process::id().to_string();
        let script = "kill -HUP \"$1\"";
        assert!(tokio::process::Command::new("sh").args(["-c", script, "sh", &pid]).status().await.unwrap().success());
        assert_eq!(signals.first().await, "SIGHUP");
    }
}
