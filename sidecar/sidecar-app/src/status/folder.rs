//! A mirrored folder, as the canary sees it.
//!
//! Invariant: the words are an interface: added, never given another meaning. Test to read first:
//! `a_folder_that_cannot_be_used_is_the_diagnosis` in `tests.rs`.

use serde::Serialize;

/// How a folder is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FolderCondition {
    /// It was not looked at yet.
    #[default]
    Unchecked,
    /// A file was written, read back and removed; or listed, where nothing is written.
    Good,
    /// There is no folder of that name.
    Gone,
    /// The volume that was mounted there is not any more.
    Unmounted,
    /// The server of the share does not know it any more (ESTALE).
    Stale,
    /// It is mounted read-only.
    ReadOnly,
    /// This process may not.
    Denied,
    /// There is no space, or the quota is used up.
    Full,
    /// Anything else, such as EIO.
    Failing,
    /// It does not answer.
    Hanging,
}

impl FolderCondition {
    /// Every condition.
    pub const ALL: [Self; 10] = [
        Self::Unchecked,
        Self::Good,
        Self::Gone,
        Self::Unmounted,
        Self::Stale,
        Self::ReadOnly,
        Self::Denied,
        Self::Full,
        Self::Failing,
        Self::Hanging,
    ];

    /// The word of the JSON and of the metric label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Good => "good",
            Self::Gone => "gone",
            Self::Unmounted => "unmounted",
            Self::Stale => "stale",
            Self::ReadOnly => "read_only",
            Self::Denied => "denied",
            Self::Full => "full",
            Self::Failing => "failing",
            Self::Hanging => "hanging",
        }
    }

    /// Is it known to be unusable?
    #[must_use]
    pub const fn is_bad(self) -> bool {
        !matches!(self, Self::Unchecked | Self::Good)
    }

    /// What a person can do; empty where there is nothing to do.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Unchecked | Self::Good => "",
            Self::Gone => "mount its volume, or create the folder",
            Self::Unmounted => "mount its volume again at the same place",
            Self::Stale => "unmount and mount the share anew: its server was restarted or replaced",
            Self::ReadOnly => "mount its volume for writing; a volume that became so by itself has errors: check it",
            Self::Denied => "let this process write there: the detail says who it is and what the folder lacks",
            Self::Full => "free space on its volume, or raise its quota; see whether the mirror stands still",
            Self::Failing => "look after its volume and the kernel's log",
            Self::Hanging => {
                "see whether its server answers; a dead mount is to be unmounted (umount -f -l) and mounted anew"
            }
        }
    }
}

/// A mirrored folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FolderView {
    /// `outbox` or `inbox`.
    pub folder: &'static str,
    /// How it is.
    pub condition: FolderCondition,
    /// What was found; empty if it is well.
    pub detail: String,
    /// What helps; empty if it is well.
    pub remedy: &'static str,
    /// Since when it is like that.
    pub since_ms: u64,
    /// When it was looked at last.
    pub checked_ms_ago: Option<u64>,
    /// How long that took.
    pub took_ms: Option<f64>,
    /// Looks since the start that found it well.
    pub checks_good: u64,
    /// Looks since the start that did not.
    pub checks_bad: u64,
    /// What the mirror does against `mirror.profile`, and which profile fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_advice: Option<&'static str>,
}

impl FolderView {
    /// What is wrong and what helps, in a sentence without its full stop; `None` if nothing is known to be wrong.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.condition.is_bad().then(|| format!("{}: {}; {}", self.condition.name(), self.detail, self.remedy))
    }
}
