//! The fault menu: every fault by name, and how often each was injected.
//!
//! Invariant: a fault is counted where it takes effect, not where it is planned; a fault that no seed of a run met fails the
//! run. Test to read first: `tests/sim` of this crate, `every_fault_of_the_menu_is_met`.

use std::fmt;

/// Seeds of a run that must meet every fault.
const LONG_RUN_SEEDS: u64 = 500;

macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident $name:literal,)*) => {
        /// What may go wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[$doc])* $fault,)*
        }

        impl Fault {
            /// The whole menu.
            pub const MENU: &'static [Self] = &[$(Self::$fault,)*];

            /// Its name in tables.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$fault => $name,)* }
            }
        }
    };
}

faults! {
    /// A file ends at a random octet.
    CutAnywhere "cut-anywhere",
    /// A file ends at a multiple of 4 KiB.
    Cut4Kib "cut-4-kib",
    /// A file ends at a multiple of 64 KiB.
    Cut64Kib "cut-64-kib",
    /// A file ends at a multiple of 1 MiB.
    Cut1Mib "cut-1-mib",
    /// A file has its length, and zeros from some octet on.
    ZeroTail "zero-tail",
    /// A file grows in pieces.
    SlowGrowth "slow-growth",
    /// A cut file gets the rest long after.
    LateGrowth "late-growth",
    /// One bit of a file is another.
    BitFlip "bit-flip",
    /// A file never arrives.
    Loss "loss",
    /// A file arrives twice.
    Duplicate "duplicate",
    /// A file arrives under another name.
    Rename "rename",
    /// A small file overtakes a large one.
    ReorderBySize "reorder-by-size",
    /// A file takes more than eight times as long as usual.
    LongDelay "long-delay",
    /// A direction stands still.
    Outage "outage",
    /// A deletion at the sender removes the copy before it was read.
    DeletePropagated "delete-propagated",
    /// A file that its reader removed comes back.
    DeleteUndone "delete-undone",
    /// A folder is full.
    FolderFull "folder-full",
    /// A folder fails with an input/output error.
    FolderBroken "folder-broken",
    /// The log's disk is full at some call.
    LogFull "log-full",
    /// The log's disk fails at some call.
    LogBroken "log-broken",
    /// The wall clock jumps by up to a day.
    ClockJump "clock-jump",
    /// The process is killed between two turns.
    Kill "kill",
    /// The process is killed at a call to the log's disk.
    KillAtCall "kill-at-call",
    /// The power fails between two turns.
    PowerCut "power-cut",
    /// The power fails at a call to the log's disk.
    PowerCutAtCall "power-cut-at-call",
    /// The process stands still for a while.
    Stall "stall",
    /// An orderly stop.
    Stop "stop",
    /// The state folder is lost.
    StateLost "state-lost",
    /// The state folder is an older image of itself.
    Restore "restore",
    /// Two engines run from images of one state folder.
    Clone "clone",
    /// A server is gone with its disk.
    ServerGone "server-gone",
    /// A server stands still for longer than its word counts.
    ServerSilent "server-silent",
    /// A server drains before it stops.
    Drain "drain",
    /// A file of garbage under a plausible name.
    SpoofGarbage "spoof-garbage",
    /// A genuine file with another header, signed by nobody.
    SpoofHeader "spoof-header",
    /// A genuine file addressed to somebody else.
    ReAddressed "re-addressed",
    /// An old packet comes again.
    Replay "replay",
    /// A packet comes back to its sender.
    Reflect "reflect",
    /// Every file with one record is eaten.
    ContentDrop "content-drop",
    /// A caller goes away before its answer.
    CallerGone "caller-gone",
    /// A caller cuts its own request short.
    RequestCut "request-cut",
    /// A caller waits no longer and comes back for the result.
    Detach "detach",
    /// The end of a stream says what its content is not.
    FalseEnd "false-end",
    /// The upstream breaks its answer off.
    UpstreamBreak "upstream-break",
}

/// How often each fault was injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts([u64; Fault::MENU.len()]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; Fault::MENU.len()])
    }
}

impl Counts {
    /// It happened once more.
    pub fn add(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// How often it happened.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds another world's.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// Faults of the menu that never happened in so many seeds. Few packets are larger than a mebibyte: that cut is only due in
    /// a long run.
    #[must_use]
    pub fn missing(&self, seeds: u64) -> Vec<&'static str> {
        let is_due = |fault: &&Fault| **fault != Fault::Cut1Mib || seeds >= LONG_RUN_SEEDS;
        let missing = Fault::MENU.iter().filter(|fault| self.of(**fault) == 0).filter(is_due);
        missing.map(|fault| fault.name()).collect()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in Fault::MENU.chunks(4) {
            for fault in row {
                write!(f, "{:>20} {:<9}", fault.name(), self.of(*fault))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
