//! What a real inbox makes of a file: the verdict of the product as it runs, to compare with [`crate::reading`].
//!
//! Each file has an inbox and a folder (in memory) of its own; time is an argument, so that "wait" is over in two scans.
//! Test to read first: `the_inbox_comes_to_the_same_verdicts`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use disk::dir::MemDir;
use layer0_pipe::{Arrival, Inbox, InboxOptions, Local, Verdict};
use serde_json::Value;

use crate::reader::MAX_FRAME;

/// What the inbox did with one file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the packet was shown to the driver.
    pub used: bool,
    /// How often each reject was counted.
    pub rejects: BTreeMap<String, u64>,
    /// Frames handed over, with the number of their records.
    pub frames: BTreeMap<u64, usize>,
}

impl Outcome {
    /// Whether `found` is this outcome. Frames that fail while whole are counted under the name of the last one: of them the number is
    /// compared, not the names.
    #[must_use]
    pub fn fits(&self, found: &Self) -> bool {
        let bad = |outcome: &Self| {
            let (bad, other): (Vec<_>, Vec<_>) = outcome
                .rejects
                .clone()
                .into_iter()
                .partition(|(name, _)| name == "frame_seal" || name == "frame_digest");
            (bad.into_iter().map(|(_, times)| times).sum::<u64>(), other)
        };
        self.used == found.used && self.frames == found.frames && bad(self) == bad(found)
    }
}

/// The file under the path of its packet in a fresh inbox, until it is quiet.
#[must_use]
pub fn run(file: &[u8], path: &str, local: &Local) -> Outcome {
    let dir = MemDir::new();
    dir.put(path, file).unwrap();
    let options = InboxOptions { max_frame: MAX_FRAME, predict: Some(false), ..InboxOptions::default() };
    let mut inbox = Inbox::new(Arc::new(dir), vec![local.clone()], options);
    let mut outcome = Outcome::default();
    let mut sink = |arrival: Arrival<'_>| {
        match arrival {
            Arrival::Packet { .. } => outcome.used = true,
            Arrival::Frame { index, records, .. } => {
                outcome.frames.insert(index.into(), records.len());
            }
            Arrival::Closed { .. } => {}
            Arrival::Alarm(alarm) => panic!("no alarm is expected: {alarm:?}"),
        }
        Verdict::Use
    };
    for hours in [0, 2, 4] {
        inbox.scan(Duration::from_secs(hours * 3_600), &mut sink);
    }
    outcome.rejects = inbox.counters().rejects().map(|(reject, times)| (reject.name().to_owned(), times)).collect();
    outcome
}

/// What the inbox must do with a file that was read so.
#[must_use]
pub fn expected(reading: &Value) -> Outcome {
    let verdict = reading["verdict"].as_str().unwrap();
    if verdict != "ok" {
        return Outcome { rejects: BTreeMap::from([(verdict.to_owned(), 1)]), ..Outcome::default() };
    }
    let mut outcome = Outcome { used: true, ..Outcome::default() };
    for (index, frame) in (0..).zip(reading["frames"].as_array().unwrap()) {
        match frame["verdict"].as_str().unwrap() {
            "ok" => {
                outcome.frames.insert(index, frame["records"].as_array().unwrap().len());
            }
            "filler" => {}
            reject => *outcome.rejects.entry(reject.to_owned()).or_default() += 1,
        }
    }
    outcome
}
