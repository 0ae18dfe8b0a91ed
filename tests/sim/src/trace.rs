//! What happened, as a hash that two runs of a seed must share, and as text for who replays one.
//!
//! Invariants: nothing that differs between two runs of a seed goes in: no salts, no keys, no real time. Text is made only where
//! somebody will read it.

use std::collections::VecDeque;
use std::fmt::Write as _;

/// Lines that are kept.
const LINES_MAX: usize = 400;

/// The history of one world.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    lines: Option<VecDeque<String>>,
    print: bool,
}

impl Trace {
    /// An empty history; `keep` keeps its last lines, `print` prints all as they come.
    #[must_use]
    pub fn new(keep: bool, print: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, events: 0, lines: (keep || print).then(VecDeque::new), print }
    }

    /// Something happened at a time to whom, with details.
    pub fn note(&mut self, now_us: u64, who: usize, what: &'static str, details: &[u64]) {
        self.events += 1;
        self.mix(now_us);
        self.mix(who as u64);
        for byte in what.bytes() {
            self.mix(u64::from(byte));
        }
        for detail in details {
            self.mix(*detail);
        }
        let Some(lines) = &mut self.lines else { return };
        let mut line = format!("{:>14.6} s  #{who} {what}", now_us as f64 / 1e6);
        for detail in details {
            let _ = write!(line, " {detail}");
        }
        if self.print {
            println!("{line}");
        }
        lines.push_back(line);
        if lines.len() > LINES_MAX {
            lines.pop_front();
        }
    }

    fn mix(&mut self, value: u64) {
        self.hash = (self.hash ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    /// The hash so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// Events so far.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The last lines, oldest first.
    #[must_use]
    pub fn last(&self, count: usize) -> Vec<String> {
        let Some(lines) = &self.lines else { return Vec::new() };
        lines.iter().skip(lines.len().saturating_sub(count)).cloned().collect()
    }
}
