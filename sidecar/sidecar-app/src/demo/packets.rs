//! What the mirrors did to the packets, from their own journals and summaries.
//!
//! Invariant: a summary counts only if the journal beside it tells the same. It judges no faults: how many there are to
//! be is the mirror's own affair. Test to read first: `a_summary_that_its_journal_contradicts_is_a_finding`.

use std::path::Path;

use serde::Serialize;

use crate::mirror::{Counts, JournalLine, Outcome, Summary, summary_path};

/// Packets by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Packets {
    /// Files that the mirrors took up.
    pub(super) sent: u64,
    /// Of them: never arrived.
    pub(super) lost: u64,
    /// Copies that arrived cut short.
    pub(super) cut: u64,
    /// Copies that arrived once more.
    pub(super) duplicated: u64,
    /// Files held back so that later ones passed them.
    pub(super) reordered: u64,
}

impl Packets {
    /// Both together.
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            lost: self.lost + other.lost,
            cut: self.cut + other.cut,
            duplicated: self.duplicated + other.duplicated,
            reordered: self.reordered + other.reordered,
        }
    }

    fn of(counts: &Counts) -> Self {
        Self {
            sent: counts.seen,
            lost: counts.lost + counts.content_dropped,
            cut: counts.cut,
            duplicated: counts.duplicated,
            reordered: counts.reordered,
        }
    }
}

/// The counts of a mirror that may still run; zeros until it wrote them for the first time.
pub(super) fn so_far(journal: &Path) -> Packets {
    read_summary(journal).map(|summary| Packets::of(&summary.counts)).unwrap_or_default()
}

/// The counts of a mirror that was stopped.
///
/// # Errors
/// In words, when they are missing, when the mirror saw nothing, or when its journal tells otherwise.
pub(super) fn at_the_end(journal: &Path) -> Result<Packets, String> {
    let summary = read_summary(journal).map_err(|error| format!("the summary of {}: {error}", journal.display()))?;
    let packets = Packets::of(&summary.counts);
    let told = read_journal(journal).map_err(|error| format!("{}: {error}", journal.display()))?;
    if packets.sent == 0 {
        return Err(format!("the mirror of {} saw no packet", journal.display()));
    }
    let counted = Packets { sent: 0, ..packets };
    if told != counted {
        return Err(format!("{} tells of {told:?}, its summary of {counted:?}", journal.display()));
    }
    Ok(packets)
}

fn read_summary(journal: &Path) -> anyhow::Result<Summary> {
    Ok(serde_json::from_slice(&std::fs::read(summary_path(journal))?)?)
}

/// What the journal's lines add up to; a file that is still under way has no line, so `sent` is left out.
fn read_journal(journal: &Path) -> anyhow::Result<Packets> {
    let text = std::fs::read_to_string(journal)?;
    let mut packets = Packets::default();
    for line in text.lines() {
        let line: JournalLine = serde_json::from_str(line)?;
        for outcome in line.also.iter().chain([&line.fate]) {
            match outcome {
                Outcome::Lost | Outcome::ContentDropped => packets.lost += 1,
                Outcome::Cut => packets.cut += 1,
                Outcome::Duplicated => packets.duplicated += 1,
                Outcome::Reordered => packets.reordered += 1,
                Outcome::Delivered
                | Outcome::ZeroTail
                | Outcome::Slow
                | Outcome::Renamed
                | Outcome::Vanished
                | Outcome::Deleted
                | Outcome::Failed
                | Outcome::Outage => {}
            }
        }
    }
    Ok(packets)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::mirror::{Faults, MirrorOptions, run};

    fn mirrored(files: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::create_dir(&from).unwrap();
        std::fs::create_dir(&to).unwrap();
        for number in 0..files {
            std::fs::write(from.join(format!("{number}.pkt")), vec![7; 5000]).unwrap();
        }
        let faults = Faults { delay_ms: (1, 20), ..Faults::harsh() };
        let options = MirrorOptions {
            faults,
            seed: 3,
            journal: Some(folder.path().join("journal")),
            poll_ms: 5,
            ..MirrorOptions::new(from, to)
        };
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| run(options, &stop).unwrap());
            std::thread::sleep(Duration::from_millis(600));
            stop.store(true, Ordering::Relaxed);
        });
        folder
    }

    #[test]
    fn summary_and_journal_of_a_real_mirror_agree() {
        let folder = mirrored(100);
        let packets = at_the_end(&folder.path().join("journal")).unwrap();
        assert_eq!(packets.sent, 100);
        assert!(packets.lost > 5 && packets.cut > 5, "{packets:?}");
        assert_eq!(so_far(&folder.path().join("journal")), packets);
        assert_eq!(packets.plus(Packets::default()), packets);
    }

    #[test]
    fn a_summary_that_its_journal_contradicts_is_a_finding() {
        let folder = mirrored(40);
        let journal = folder.path().join("journal");
        let text = std::fs::read_to_string(&journal).unwrap();
        let without: String =
            text.lines().filter(|line| !line.contains("\"lost\"")).map(|line| format!("{line}\n")).collect();
        std::fs::write(&journal, without).unwrap();
        assert!(at_the_end(&journal).unwrap_err().contains("its summary"));
    }

    #[test]
    fn a_mirror_that_left_nothing_is_a_finding() {
        let folder = tempfile::tempdir().unwrap();
        assert!(at_the_end(&folder.path().join("journal")).is_err());
        assert_eq!(so_far(&folder.path().join("journal")), Packets::default());
        assert!(at_the_end(&mirrored(0).path().join("journal")).unwrap_err().contains("saw no packet"));
    }
}
