//! What was measured, as numbers and words: the raw side of a report, and its `measured` in JSON.
//!
//! Invariants: `None` is "not measured", never zero; field names are an interface: added, never renamed; units come last. It
//! draws no conclusions: `rows.rs` does. Test to read first: `the_json_has_rows_numbers_and_the_configuration`.

use std::collections::BTreeMap;

use serde::Serialize;

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Findings {
    /// The folder by itself.
    pub(super) folder: Folder,
    /// The way to the far folder; `None` without one.
    pub(super) mirror: Option<Crossing>,
    /// What could not be measured, by the name of the measurement, and why.
    pub(super) troubles: BTreeMap<&'static str, String>,
}

/// A folder by itself.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Folder {
    /// The kernel's name of its file system, such as `ext4` or `fuse.sshfs`.
    pub(super) file_system: Option<String>,
    /// Its bytes are elsewhere, or that cannot be told.
    pub(super) network: Option<bool>,
    /// It is the top of a mount.
    pub(super) mount_point: Option<bool>,
    /// Bytes this process may still write.
    pub(super) free_bytes: Option<u64>,
    /// Bytes of the whole volume.
    pub(super) total_bytes: Option<u64>,
    /// Files that may still be made; `None` where the file system does not count them.
    pub(super) free_files: Option<u64>,
    /// Median time to sync a file of 4 KiB.
    pub(super) sync_file_ms: Option<f64>,
    /// Median time to sync the folder.
    pub(super) sync_folder_ms: Option<f64>,
    /// Median time to write and rename a file of 4 KiB without a sync.
    pub(super) publish_ms: Option<f64>,
    /// What another handle sees of an append.
    pub(super) append: Option<Append>,
    /// What renaming does.
    pub(super) rename: Option<Rename>,
    /// Hard links can be made.
    pub(super) hard_links: Option<bool>,
    /// How names are compared.
    pub(super) case: Option<Case>,
    /// Bytes of the longest name, up to 1,024.
    pub(super) name_bytes_max: Option<u64>,
    /// Bytes of the longest path below the folder, up to 4,000.
    pub(super) path_bytes_max: Option<u64>,
    /// Names of the kinds that hoft uses and that were refused.
    pub(super) refused_own_names: Option<Vec<String>>,
    /// Other names that were refused or changed.
    pub(super) refused_other_names: Option<Vec<String>>,
    /// Time until a new file could be opened.
    pub(super) open_lag_ms: Option<u64>,
    /// Time until a new file was listed.
    pub(super) list_lag_ms: Option<u64>,
    /// A removed file was there again.
    pub(super) delete_undone: Option<bool>,
    /// Coarseness of modification times.
    pub(super) mtime_step_ns: Option<u64>,
    /// How far the folder's clock is ahead of this machine's.
    pub(super) mtime_ahead_ms: Option<i64>,
}

/// What another handle sees of an append, without the writer closing its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Append {
    /// Time until a file opened anew shows it; `None`: not within the time given.
    pub(super) fresh_ms: Option<u64>,
    /// Time until a handle opened before shows it.
    pub(super) held_ms: Option<u64>,
}

/// What renaming does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Rename {
    /// A name is replaced.
    pub(super) replaces: bool,
    /// While a name is replaced, there is always a whole file under it; `None` where nothing is replaced.
    pub(super) atomic: Option<bool>,
    /// Renaming without replacing works in one step.
    pub(super) no_replace: bool,
}

/// How names are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Case {
    /// `a` and `A` are two names.
    Sensitive,
    /// They are one, and it stays as it was written.
    Preserving,
    /// They are one, and a listing shows another than was written.
    Changing,
}

/// What became of files on their way to the far folder.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Crossing {
    /// Files sent to measure the way.
    pub(super) sent: u64,
    /// Those that arrived whole.
    pub(super) whole: u64,
    /// Those that never arrived.
    pub(super) lost: u64,
    /// Those that arrived shorter than they were and stayed so.
    pub(super) cut: u64,
    /// Those that arrived in full length with other contents.
    pub(super) damaged: u64,
    /// Those that came under another name.
    pub(super) renamed: u64,
    /// Those that came a second time.
    pub(super) duplicated: u64,
    /// Those that were seen while they grew.
    pub(super) grew: u64,
    /// The longest pause of a file that grew.
    pub(super) growth_pause_ms: Option<u64>,
    /// Those that had their full length before their contents.
    pub(super) filled_late: u64,
    /// Shortest time on the way.
    pub(super) delay_ms_min: Option<u64>,
    /// Median time on the way.
    pub(super) delay_ms_median: Option<u64>,
    /// Longest time on the way.
    pub(super) delay_ms_max: Option<u64>,
    /// Time between two rounds of the mirror; `None` if it is shorter than can be seen.
    pub(super) period_ms: Option<u64>,
    /// How much later a file was listed in the far folder than it could be opened there; negative where the listing is first.
    pub(super) far_list_lag_ms: Option<i64>,
    /// Files leave the near folder by themselves.
    pub(super) moved: Option<bool>,
    /// Removing a near file removed its far copy.
    pub(super) delete_carried: Option<bool>,
    /// A removed far file came back.
    pub(super) far_delete_undone: Option<bool>,
    /// Removing a far file removed the near one.
    pub(super) far_delete_carried: Option<bool>,
    /// What was appended after a file had arrived arrived too.
    pub(super) append_carried: Option<bool>,
    /// Files in subfolders arrive.
    pub(super) subfolders: Option<bool>,
    /// Temporary files (`.NAME.part`) arrive too.
    pub(super) temporary_carried: Option<bool>,
    /// The large files sent, and how they arrived.
    pub(super) large: Vec<Large>,
}

/// A large file on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Large {
    /// Its length.
    pub(super) bytes: u64,
    /// The length that arrived; `None`: nothing.
    pub(super) arrived_bytes: Option<u64>,
    /// It arrived whole.
    pub(super) whole: bool,
    /// Time on the way, if whole.
    pub(super) delay_ms: Option<u64>,
}
