//! Who is watched on the disk of [`super`], and at which of its calls it is killed.
//!
//! A *point* is what a file is for, what is done with it, and whether the victim dies before or after it is done, as
//! `prepared.rename before`. Invariant: only calls of the victim count; it is killed by a descriptor of its process, so no
//! other process can be hit. Test to read first: `roles_follow_names`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Before or after the call has its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The call has no effect.
    Before,
    /// The call has its effect, and its caller never learns of it.
    After,
}

/// What is done with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Act {
    /// What the file or folder is for.
    pub role: &'static str,
    /// The call.
    pub call: &'static str,
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.role, self.call)
    }
}

/// When the victim is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Never.
    Never,
    /// At the nth occurrence of a point, from 1.
    Point(Act, Phase, u64),
    /// At its nth call that changes or syncs something, before it has an effect; and the power fails with it.
    PowerCut(u64),
}

/// A file's or folder's role by the role of its folder and by its name.
pub(super) fn role(folder: &'static str, name: &OsStr, is_folder: bool) -> &'static str {
    let name = name.to_string_lossy();
    let ends = |end: &str| name.ends_with(end);
    match (folder, is_folder) {
        ("top", true) => match name.as_ref() {
            "state" => "state-dir",
            "out" => "outbox-dir",
            "in" => "inbox-dir",
            _ => "other-dir",
        },
        ("outbox-dir" | "inbox-dir", true) => folder,
        ("state-dir", false) if ends(".log") => "segment",
        ("state-dir", false) if ends(".new") => "prepared",
        ("state-dir", false) if name == "state.lock" => "lock",
        ("state-dir", false) if name == "reserve" => "reserve",
        (_, false) if name.starts_with(".hoft-check-") => "check",
        ("outbox-dir", false) if ends(".part") => "part",
        ("outbox-dir", false) if ends(".hft") => "packet",
        ("inbox-dir", false) => "arrived",
        _ => "other",
    }
}

/// Who is watched.
#[derive(Debug)]
enum Victim {
    Nobody,
    /// The next engine that uses the disk, from its first call on.
    NextEngine,
    Process(u32, OwnedFd),
}

/// The victim and what was seen of it.
#[derive(Debug)]
pub(super) struct Watch {
    victim: Victim,
    threads: HashMap<u32, bool>,
    trigger: Trigger,
    left: u64,
    /// Every point met so far, by any victim, with how often.
    pub(super) met: BTreeMap<Act, u64>,
    /// Where the present victim was killed.
    pub(super) fired: Option<(Act, Phase)>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            victim: Victim::Nobody,
            threads: HashMap::new(),
            trigger: Trigger::Never,
            left: 0,
            met: BTreeMap::new(),
            fired: None,
        }
    }

    /// Watches a child of this process, which has not been waited for; without a number, the next engine that uses the disk.
    pub(super) fn arm(&mut self, pid: Option<u32>, trigger: Trigger) -> io::Result<()> {
        self.victim = match pid {
            Some(pid) => Victim::Process(pid, open(pid)?),
            None => Victim::NextEngine,
        };
        self.threads.clear();
        self.trigger = trigger;
        self.left = match trigger {
            Trigger::Never => 0,
            Trigger::Point(_, _, nth) | Trigger::PowerCut(nth) => nth,
        };
        self.fired = None;
        Ok(())
    }

    pub(super) fn disarm(&mut self) {
        self.victim = Victim::Nobody;
        self.trigger = Trigger::Never;
    }

    /// Is this thread one of the victim's?
    pub(super) fn is_victim(&mut self, thread: u32) -> bool {
        if let Some(known) = self.threads.get(&thread) {
            return *known;
        }
        let is_victim = match &self.victim {
            Victim::Nobody => return false,
            Victim::Process(pid, _) => thread == *pid || Path::new(&format!("/proc/{pid}/task/{thread}")).exists(),
            Victim::NextEngine => match engine_of(thread) {
                Some((pid, process)) => {
                    self.victim = Victim::Process(pid, process);
                    true
                }
                None => false,
            },
        };
        self.threads.insert(thread, is_victim);
        is_victim
    }

    /// The victim is at this point: is it to go no further? It is killed then.
    pub(super) fn dies_at(&mut self, act: Act, phase: Phase) -> bool {
        if self.fired.is_some() {
            return false;
        }
        if phase == Phase::Before {
            *self.met.entry(act).or_default() += 1;
        }
        let counts = match self.trigger {
            Trigger::Never => false,
            Trigger::Point(wanted, at, _) => wanted == act && at == phase,
            Trigger::PowerCut(_) => phase == Phase::Before,
        };
        if !counts {
            return false;
        }
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return false;
        }
        self.fired = Some((act, phase));
        if let Victim::Process(_, process) = &self.victim {
            // It fails only if the process has ended by itself.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        true
    }

    /// True if a power cut has just happened.
    pub(super) fn cuts_power(&self) -> bool {
        matches!(self.trigger, Trigger::PowerCut(_)) && self.fired.is_some()
    }

    /// The acts that were met and are not among these.
    pub(super) fn unknown(&self, known: &[Act]) -> BTreeSet<Act> {
        self.met.keys().filter(|act| !known.contains(act)).copied().collect()
    }
}

fn open(pid: u32) -> io::Result<OwnedFd> {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(pidfd_open(number, PidfdFlags::empty())?)
}

/// The process of a thread, if it is an engine.
fn engine_of(thread: u32) -> Option<(u32, OwnedFd)> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let pid: u32 = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()?;
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let is_engine = command.split(|byte| *byte == 0).nth(1) == Some(b"sidecar");
    is_engine.then(|| open(pid).ok()).flatten().map(|process| (pid, process))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_follow_names() {
        let of = |folder, name: &str| role(folder, OsStr::new(name), false);
        assert_eq!(of("state-dir", "0000000000000001.log"), "segment");
        assert_eq!(of("state-dir", "0000000000000001.new"), "prepared");
        assert_eq!(of("state-dir", "state.lock"), "lock");
        assert_eq!(of("state-dir", "reserve"), "reserve");
        assert_eq!(of("outbox-dir", ".0000000000000001-12345678.hft.part"), "part");
        assert_eq!(of("outbox-dir", "0000000000000001-12345678.hft"), "packet");
        assert_eq!(of("outbox-dir", ".hoft-check-1-0.part"), "check");
        assert_eq!(of("inbox-dir", "0000000000000001-12345678.hft"), "arrived");
        assert_eq!(role("top", OsStr::new("out"), true), "outbox-dir");
        assert_eq!(role("outbox-dir", OsStr::new("00ff"), true), "outbox-dir");
    }

    #[test]
    fn a_process_that_is_not_the_victim_does_not_count() {
        let mut watch = Watch::new();
        assert!(!watch.is_victim(std::process::id()));
        watch.arm(Some(std::process::id()), Trigger::Never).unwrap();
        assert!(watch.is_victim(std::process::id()) && !watch.is_victim(u32::MAX));
    }
}
