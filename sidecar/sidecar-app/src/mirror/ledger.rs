//! What happened: counts in memory, one JSON line per event in the journal, and a summary beside it.
//!
//! Invariants: a journal line is written with one call and never rewritten; the summary file is
//! replaced atomically, so a reader always finds a whole one. A journal that cannot be written is
//! reported once and does not stop the mirror. Read first: `tests.rs`, `the_journal_tells_every_fate`.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::{MirrorOptions, Profile, lock};

/// What became of a file, in the word the journal uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Arrived whole, at once, under its name.
    Delivered,
    /// Never arrives.
    Lost,
    /// Never arrives, nor would any file of the same content.
    ContentDropped,
    /// Arrived cut short.
    Cut,
    /// Arrived with zeros in place of its end.
    ZeroTail,
    /// Grew piece by piece under its final name.
    Slow,
    /// A second copy arrived.
    Duplicated,
    /// Was held back so that later files could overtake it.
    Reordered,
    /// Arrived under a changed name.
    Renamed,
    /// The source was gone before it could be read.
    Vanished,
    /// The far copy was deleted because the source was.
    Deleted,
    /// Could not be delivered after many attempts.
    Failed,
    /// Not a file: the mirror stood still for a while.
    Outage,
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalLine {
    /// Milliseconds since 1970, so that the journals of several runs and programs can be merged.
    pub t_ms: u64,
    /// The source, relative to the watched folder; empty for an outage.
    pub file: String,
    /// The worst that happened to it.
    pub fate: Outcome,
    /// What else happened to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Outcome>,
    /// Length of the source in bytes; for an outage, how long it lasts in milliseconds.
    pub len: u64,
    /// How many bytes from its start arrived as they were; equal to `len` for a whole file.
    pub kept: u64,
    /// The name it arrived under, relative to the far folder, if it differs.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub arrived_as: Option<String>,
}

/// How often each thing happened. Every file that was seen and is no longer pending is delivered,
/// lost, dropped for its content, vanished or failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Files taken up from the watched folder.
    pub seen: u64,
    /// Files of which a first copy arrived, whole or damaged.
    pub delivered: u64,
    /// Files whose first copy arrived whole.
    pub whole: u64,
    /// Files that never arrive.
    pub lost: u64,
    /// Files that never arrive because of their content.
    pub content_dropped: u64,
    /// Copies cut short (first and second copies).
    pub cut: u64,
    /// Copies with a zeroed end (first and second copies).
    pub zero_tail: u64,
    /// Files that grew in place.
    pub slow: u64,
    /// Second copies that arrived.
    pub duplicated: u64,
    /// Delivered files that were held back.
    pub reordered: u64,
    /// First copies under a changed name.
    pub renamed: u64,
    /// Outages begun.
    pub outages: u64,
    /// Far copies deleted because the source was.
    pub deletes_propagated: u64,
    /// Sources gone before they were read.
    pub vanished: u64,
    /// Files given up after many attempts.
    pub failed: u64,
    /// Attempts that failed or met a changing source, and were made again.
    pub retried: u64,
    /// Bytes of all copies that arrived, zeros included.
    pub bytes_delivered: u64,
}

/// The counts of one run and what it was run with; also the content of the summary file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Milliseconds since the mirror started.
    pub elapsed_ms: u64,
    /// The profile it runs with.
    pub profile: Profile,
    /// The seed it runs with.
    pub seed: u64,
    /// Files still under way.
    pub pending: u64,
    /// What happened so far.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Where the summary of a journal is kept: the same name with `.summary.json` added.
#[must_use]
pub fn summary_path(journal: &Path) -> PathBuf {
    with_suffix(journal, ".summary.json")
}

/// A copy that arrived, for [`Ledger::arrived`].
pub(super) struct Arrival<'a> {
    pub(super) path: &'a Path,
    pub(super) name: &'a Path,
    pub(super) len: u64,
    pub(super) kept: u64,
    pub(super) bytes: u64,
    /// Everything that happened to it, the worst first; empty for nothing.
    pub(super) outcomes: Vec<Outcome>,
}

/// The counts, shared by all threads.
pub(super) struct Ledger {
    started: Instant,
    profile: Profile,
    seed: u64,
    counts: Mutex<Counts>,
    journal: Option<Journal>,
}

struct Journal {
    file: Mutex<File>,
    summary: PathBuf,
    complained: AtomicBool,
}

impl Ledger {
    pub(super) fn open(options: &MirrorOptions) -> anyhow::Result<Self> {
        let journal = options.journal.as_deref().map(Journal::open).transpose()?;
        Ok(Self {
            started: Instant::now(),
            profile: options.profile,
            seed: options.seed,
            counts: Mutex::new(Counts::default()),
            journal,
        })
    }

    pub(super) fn saw(&self, files: u64) {
        lock(&self.counts).seen += files;
    }

    pub(super) fn retried(&self) {
        lock(&self.counts).retried += 1;
    }

    pub(super) fn outage(&self, length_ms: u64) {
        lock(&self.counts).outages += 1;
        self.write(Path::new(""), Outcome::Outage, length_ms);
    }

    /// A file of which no first copy arrives.
    pub(super) fn gone(&self, path: &Path, outcome: Outcome, len: u64) {
        {
            let mut counts = lock(&self.counts);
            match outcome {
                Outcome::Lost => counts.lost += 1,
                Outcome::ContentDropped => counts.content_dropped += 1,
                Outcome::Vanished => counts.vanished += 1,
                _ => counts.failed += 1,
            }
        }
        self.write(path, outcome, len);
    }

    /// A far copy that was deleted.
    pub(super) fn deleted(&self, path: &Path, name: &Path) {
        lock(&self.counts).deletes_propagated += 1;
        self.append(&JournalLine { arrived_as: differing(path, name), ..line(path, Outcome::Deleted) });
    }

    /// A first or second copy that arrived.
    pub(super) fn arrived(&self, arrival: Arrival<'_>) {
        let second = arrival.outcomes.contains(&Outcome::Duplicated);
        {
            let mut counts = lock(&self.counts);
            counts.bytes_delivered += arrival.bytes;
            if !second {
                counts.delivered += 1;
                counts.whole += u64::from(arrival.kept == arrival.len);
            }
            for outcome in &arrival.outcomes {
                match outcome {
                    Outcome::Cut => counts.cut += 1,
                    Outcome::ZeroTail => counts.zero_tail += 1,
                    Outcome::Slow => counts.slow += 1,
                    Outcome::Duplicated => counts.duplicated += 1,
                    Outcome::Reordered => counts.reordered += 1,
                    Outcome::Renamed => counts.renamed += u64::from(!second),
                    _ => {}
                }
            }
        }
        let mut outcomes = arrival.outcomes.into_iter();
        let fate = outcomes.next().unwrap_or(Outcome::Delivered);
        self.append(&JournalLine {
            also: outcomes.collect(),
            len: arrival.len,
            kept: arrival.kept,
            arrived_as: differing(arrival.path, arrival.name),
            ..line(arrival.path, fate)
        });
    }

    pub(super) fn summary(&self, pending: usize) -> Summary {
        Summary {
            elapsed_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            profile: self.profile,
            seed: self.seed,
            pending: pending as u64,
            counts: *lock(&self.counts),
        }
    }

    /// Replaces the summary file, if there is a journal.
    pub(super) fn write_summary(&self, pending: usize) {
        if let Some(journal) = &self.journal {
            journal.write_summary(&self.summary(pending));
        }
    }

    /// The final counts; also written to the summary file.
    pub(super) fn close(self, pending: usize) -> Summary {
        self.write_summary(pending);
        self.summary(pending)
    }

    fn write(&self, path: &Path, outcome: Outcome, len: u64) {
        self.append(&JournalLine { len, ..line(path, outcome) });
    }

    fn append(&self, line: &JournalLine) {
        if let Some(journal) = &self.journal {
            journal.append(line);
        }
    }
}

impl Journal {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path).with_context(|| {
            format!("cannot open the journal {}: choose another place with --journal", path.display())
        })?;
        Ok(Self { file: Mutex::new(file), summary: summary_path(path), complained: AtomicBool::new(false) })
    }

    fn append(&self, line: &JournalLine) {
        let written = serde_json::to_vec(line).map_err(Into::into).and_then(|mut text| {
            text.push(b'\n');
            lock(&self.file).write_all(&text)
        });
        self.complain_once(written);
    }

    fn write_summary(&self, summary: &Summary) {
        let temporary = with_suffix(&self.summary, ".part");
        let written = serde_json::to_vec_pretty(summary).map_err(Into::into).and_then(|mut text| {
            text.push(b'\n');
            fs::write(&temporary, text)?;
            fs::rename(&temporary, &self.summary)
        });
        self.complain_once(written);
    }

    fn complain_once(&self, written: std::io::Result<()>) {
        if let Err(error) = written
            && !self.complained.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(summary = %self.summary.display(), %error, "the journal or its summary cannot be written; lines are missing from it");
        }
    }
}

fn line(path: &Path, fate: Outcome) -> JournalLine {
    let t_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    JournalLine {
        t_ms,
        file: path.to_string_lossy().into_owned(),
        fate,
        also: Vec::new(),
        len: 0,
        kept: 0,
        arrived_as: None,
    }
}

fn differing(path: &Path, name: &Path) -> Option<String> {
    (path != name).then(|| name.to_string_lossy().into_owned())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
