//! What the measurements mean for hoft: one row each, with a verdict.
//!
//! Invariants: a verdict is about hoft on this folder, not about the folder; `Bad` means that it cannot work as it is, and
//! says what to do; what was not measured is `Unknown`, never good. Row names are an interface. Test to read first:
//! `each_hostile_folder_has_its_row`.

use std::time::Duration;

use serde::Serialize;
use sidecar_config::{ByteSize, Profile};

use super::findings::{Append, Case, Crossing, Findings, Folder, Rename};

/// Longest name hoft writes in the tree, with its temporary form.
pub(super) const TREE_NAME_BYTES: u64 = 35;
/// The same in the flat layout.
pub(super) const FLAT_NAME_BYTES: u64 = 62;
/// Longest path below the root, with the temporary form of its name.
pub(super) const PATH_BYTES: u64 = 126;
/// A folder with less can take no packet of the usual size.
const FREE_BAD: u64 = 16 << 20;
/// A folder with less fills up in an outage.
const FREE_POOR: u64 = 1 << 30;
/// A sync that takes longer is felt in every call.
const SYNC_POOR_MS: f64 = 200.0;
/// A listing that lags more is worth a word.
const LAG_MS: u64 = 1_000;

/// How good that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// As hoft likes it best.
    Good,
    /// hoft copes by itself, or with what is suggested.
    Fine,
    /// Works, at a price.
    Poor,
    /// Not measured.
    Unknown,
    /// Does not work.
    Bad,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    /// What was measured.
    pub(super) name: &'static str,
    /// What was found.
    pub(super) found: String,
    pub(super) verdict: Verdict,
    /// What it means; empty where there is nothing to say.
    pub(super) meaning: String,
}

fn row(name: &'static str, verdict: Verdict, found: impl Into<String>, meaning: impl Into<String>) -> Row {
    Row { name, found: found.into(), verdict, meaning: meaning.into() }
}

/// What the mirror does with files; `None` if nothing arrived.
pub(super) fn profile(way: &Crossing) -> Option<Profile> {
    match (way.moved?, way.delete_carried) {
        (true, _) => Some(Profile::Move),
        (false, Some(true)) => Some(Profile::Sync),
        (false, _) => Some(Profile::Copy),
    }
}

/// All rows, in the order in which they are shown.
pub(super) fn rows(findings: &Findings) -> Vec<Row> {
    let folder = &findings.folder;
    let mut rows = vec![
        file_system(folder),
        free_space(folder),
        publishing(findings),
        syncing(folder),
        appending(findings, folder.append),
        new_files(folder),
        removing(folder),
        case(findings, folder.case),
        lengths(folder),
        characters(folder),
        times(folder),
    ];
    match &findings.mirror {
        None => rows.push(row(
            "mirror",
            Verdict::Unknown,
            "not measured",
            "give --far DIR, the folder where the mirror puts these files, if this machine can reach it",
        )),
        Some(way) => rows.extend(mirror(way, findings)),
    }
    rows
}

fn unknown(findings: &Findings, name: &'static str, measurement: &'static str) -> Row {
    let why = findings.troubles.get(measurement).cloned().unwrap_or_default();
    row(name, Verdict::Unknown, "not measured", why)
}

fn file_system(folder: &Folder) -> Row {
    let kind = folder.file_system.as_deref().unwrap_or("of an unknown kind");
    let mount = if folder.mount_point == Some(true) { ", a mount of its own" } else { "" };
    match folder.network {
        Some(false) => row("file system", Verdict::Good, format!("{kind}, local{mount}"), ""),
        Some(true) | None => row(
            "file system",
            Verdict::Fine,
            format!("{kind}, network or user space{mount}"),
            "the kernel tells nothing of new files here, so hoft polls; it syncs every packet (publishSync: auto)",
        ),
    }
}

fn free_space(folder: &Folder) -> Row {
    let (Some(free), Some(total)) = (folder.free_bytes, folder.total_bytes) else {
        return row("free space", Verdict::Unknown, "not told", "");
    };
    let files = folder.free_files.map_or_else(String::new, |files| format!(", {files} files"));
    let found = format!("{} of {}{files}", bytes(free), bytes(total));
    if total == 0 {
        row("free space", Verdict::Fine, "not told by the file system", "")
    } else if free < FREE_BAD || folder.free_files.is_some_and(|files| files < 16) {
        row("free space", Verdict::Bad, found, "make room: packets are up to mirror.packetSize (64M) each")
    } else if free < FREE_POOR {
        row(
            "free space",
            Verdict::Poor,
            found,
            "an outage of the mirror fills that up; bound it with `outbox.bytesMax`",
        )
    } else {
        row("free space", Verdict::Good, found, "")
    }
}

fn publishing(findings: &Findings) -> Row {
    let Some(Rename { replaces, atomic, no_replace }) = findings.folder.rename else {
        return unknown(findings, "rename", "rename");
    };
    let replacing = match (replaces, atomic) {
        (true, Some(false)) => "replaces, and not in one step",
        (true, _) => "replaces, in one step",
        (false, _) => "does not replace",
    };
    if no_replace {
        row("rename", Verdict::Good, format!("{replacing}; can also refuse to replace"), "packets appear whole")
    } else if findings.folder.hard_links == Some(true) {
        let found = format!("{replacing}; cannot refuse to replace, hard links can");
        row("rename", Verdict::Fine, found, "packets appear whole, by a hard link")
    } else {
        let meaning = "packets are written under their final names, in pieces; readers wait until they are whole";
        row("rename", Verdict::Fine, format!("{replacing}; no hard links"), meaning)
    }
}

fn syncing(folder: &Folder) -> Row {
    let each = |what: &str, cost: Option<f64>| match cost {
        Some(cost) => format!("{what} {}", span(Duration::from_secs_f64(cost / 1e3))),
        None => format!("{what} not supported"),
    };
    let found = format!(
        "{}, {}; publishing {}",
        each("file", folder.sync_file_ms),
        each("folder", folder.sync_folder_ms),
        folder.publish_ms.map_or_else(|| "unknown".to_owned(), |cost| span(Duration::from_secs_f64(cost / 1e3)))
    );
    match folder.sync_file_ms {
        None if folder.publish_ms.is_none() => row("fsync", Verdict::Unknown, "not measured", ""),
        Some(cost) if cost > SYNC_POOR_MS => {
            row("fsync", Verdict::Poor, found, "publishSync: never is safe: the log can always send again")
        }
        Some(_) | None => row("fsync", Verdict::Good, found, ""),
    }
}

fn appending(findings: &Findings, append: Option<Append>) -> Row {
    let after = |time: Option<u64>| time.map_or_else(|| "never".to_owned(), |time| format!("after {time} ms"));
    match append {
        None => unknown(findings, "append", "append"),
        Some(Append { fresh_ms, held_ms }) => {
            let found = format!("seen {} by opening anew, {} by an open handle", after(fresh_ms), after(held_ms));
            let verdict = if fresh_ms.is_some() && held_ms.is_some() { Verdict::Good } else { Verdict::Fine };
            let meaning =
                if verdict == Verdict::Good { "" } else { "hoft never appends, and opens anew for each look" };
            row("append", verdict, found, meaning)
        }
    }
}

fn new_files(folder: &Folder) -> Row {
    match (folder.open_lag_ms, folder.list_lag_ms) {
        (Some(open), Some(list)) => {
            let verdict = if list > LAG_MS { Verdict::Fine } else { Verdict::Good };
            let meaning = if list > LAG_MS { "hoft also opens the names that must come next" } else { "" };
            row("new files", verdict, format!("opened after {open} ms, listed after {list} ms"), meaning)
        }
        (Some(_), None) => {
            let meaning = "hoft also opens the names that must come next, but a first contact waits for a listing";
            row("new files", Verdict::Poor, "can be opened, are not listed", meaning)
        }
        (None, Some(_)) => {
            row("new files", Verdict::Bad, "listed, cannot be opened", "look at the rights of new files")
        }
        (None, None) => row("new files", Verdict::Unknown, "not measured", ""),
    }
}

fn removing(folder: &Folder) -> Row {
    match folder.delete_undone {
        None => row("removing", Verdict::Unknown, "not measured", ""),
        Some(false) => row("removing", Verdict::Good, "a removed file stays away", ""),
        Some(true) => row(
            "removing",
            Verdict::Poor,
            "a removed file comes back",
            "old packets are known and skipped; the folder only grows",
        ),
    }
}

fn case(findings: &Findings, case: Option<Case>) -> Row {
    match case {
        None => unknown(findings, "case", "case"),
        Some(Case::Sensitive) => row("case", Verdict::Good, "`a` and `A` are two names", ""),
        Some(Case::Preserving) => {
            row("case", Verdict::Fine, "`a` and `A` are one name, kept as written", "hoft writes lower case only")
        }
        Some(Case::Changing) => {
            row("case", Verdict::Fine, "`a` and `A` are one name, shown otherwise", "hoft reads names in any case")
        }
    }
}

fn lengths(folder: &Folder) -> Row {
    let (Some(name), Some(path)) = (folder.name_bytes_max, folder.path_bytes_max) else {
        return row("name length", Verdict::Unknown, "not measured", "");
    };
    let found = format!("names of {name} bytes, paths of {path} and more");
    if name < TREE_NAME_BYTES || name < FLAT_NAME_BYTES && path < PATH_BYTES {
        row("name length", Verdict::Bad, found, "hoft needs names of 62 bytes, or names of 35 in paths of 126")
    } else if path < PATH_BYTES {
        row("name length", Verdict::Fine, found, "too short for subfolders: layout flat")
    } else if name < FLAT_NAME_BYTES {
        row("name length", Verdict::Fine, found, "too short for layout flat: keep tree")
    } else {
        row("name length", Verdict::Good, found, "")
    }
}

fn characters(folder: &Folder) -> Row {
    let others = folder.refused_other_names.clone().unwrap_or_default();
    match &folder.refused_own_names {
        None => row("characters", Verdict::Unknown, "not measured", ""),
        Some(own) if own.is_empty() && others.is_empty() => row("characters", Verdict::Good, "all that were tried", ""),
        Some(own) if own.is_empty() => row(
            "characters",
            Verdict::Good,
            format!("refused or changed: {}", others.join(", ")),
            "hoft uses none of these",
        ),
        Some(own) => {
            let meaning = "hoft writes names of these kinds: ask who runs the share to allow them";
            row("characters", Verdict::Bad, format!("refused: {}", own.join(", ")), meaning)
        }
    }
}

fn times(folder: &Folder) -> Row {
    let Some(step) = folder.mtime_step_ns else {
        return row("times", Verdict::Fine, "cannot be set", "hoft never relies on a file's time");
    };
    let ahead = folder.mtime_ahead_ms.unwrap_or_default();
    let clock = match ahead {
        -1_999..=1_999 => String::new(),
        ahead => {
            let side = if ahead > 0 { "ahead" } else { "behind" };
            format!("; its clock is {} {side}", span(Duration::from_millis(ahead.unsigned_abs())))
        }
    };
    let step =
        if step == u64::MAX { "not kept".to_owned() } else { format!("steps of {}", span(Duration::from_nanos(step))) };
    row("times", Verdict::Good, format!("{step}{clock}"), "hoft never relies on a file's time")
}

fn mirror(way: &Crossing, findings: &Findings) -> Vec<Row> {
    if way.whole == 0 {
        return vec![nothing_arrived(way, findings)];
    }
    let mut rows = vec![arrival(way), delay(way), growth(way)];
    rows.extend(large(way));
    rows.extend([far_listing(way), deletions(way), far_deletions(way, findings), subfolders(way), temporary(way)]);
    rows
}

fn nothing_arrived(way: &Crossing, findings: &Findings) -> Row {
    let sent = way.sent;
    if let Some(error) = findings.troubles.get("sending") {
        return row("mirror", Verdict::Bad, format!("nothing could be sent: {error}"), "look after the near folder");
    }
    let found = if way.lost == sent {
        format!("none of {sent} files arrived in time")
    } else {
        format!("none of {sent} files arrived whole in time")
    };
    let meaning = "does the mirror run, and carry this folder to that one? If it takes longer, give a longer --timeout";
    row("mirror", Verdict::Bad, found, meaning)
}

fn arrival(way: &Crossing) -> Row {
    let Crossing { sent, whole, lost, cut, damaged, renamed, duplicated, .. } = *way;
    let faults =
        [(lost, "lost"), (cut, "cut short"), (damaged, "damaged"), (renamed, "renamed"), (duplicated, "doubled")];
    let faults: String =
        faults.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}")).collect();
    let found = format!("{whole} of {sent} files whole{faults}");
    if faults.is_empty() {
        row("arrival", Verdict::Good, found, "")
    } else if whole * 2 > sent {
        row("arrival", Verdict::Fine, found, "hoft sends again what is missing")
    } else {
        row(
            "arrival",
            Verdict::Poor,
            found,
            "hoft sends again what is missing, and most is: look after the mirror first",
        )
    }
}

fn delay(way: &Crossing) -> Row {
    let show = |time: Option<u64>| time.map_or_else(|| "?".to_owned(), |time| span(Duration::from_millis(time)));
    let period = way.period_ms.map_or_else(
        || "no rounds to be seen".to_owned(),
        |period| format!("in rounds every {}", span(Duration::from_millis(period))),
    );
    let found = format!(
        "{} to {}, median {}; {period}",
        show(way.delay_ms_min),
        show(way.delay_ms_max),
        show(way.delay_ms_median)
    );
    row("delay", Verdict::Good, found, "a call takes at least two of these and the time at its server")
}

fn growth(way: &Crossing) -> Row {
    let pause = way.growth_pause_ms.map(|pause| format!(", pauses up to {}", span(Duration::from_millis(pause))));
    let pause = pause.unwrap_or_default();
    if way.filled_late > 0 {
        let found = format!("{} had their length before their contents{pause}", way.filled_late);
        row("growth", Verdict::Fine, found, "every frame is verified before it counts")
    } else if way.grew > 0 {
        row(
            "growth",
            Verdict::Fine,
            format!("{} were seen growing{pause}", way.grew),
            "a short file counts as cut after quietMin",
        )
    } else {
        row("growth", Verdict::Good, "files appear whole", "")
    }
}

fn large(way: &Crossing) -> Option<Row> {
    let first = way.large.first()?;
    let size = bytes(first.bytes);
    let whole: Vec<u64> = way.large.iter().filter(|file| file.whole).filter_map(|file| file.delay_ms).collect();
    if let Some(slowest) = whole.iter().max().filter(|_| whole.len() == way.large.len()) {
        let took = span(Duration::from_millis(*slowest));
        return Some(row("large files", Verdict::Good, format!("{} of {size} whole, within {took}", whole.len()), ""));
    }
    let how = way.large.iter().map(|file| match (file.whole, file.arrived_bytes) {
        (true, _) => "whole".to_owned(),
        (false, Some(length)) if length < file.bytes => format!("cut at {}", bytes(length)),
        (false, Some(_)) => "damaged".to_owned(),
        (false, None) => "not arrived".to_owned(),
    });
    let found = format!("{} of {size}: {}", way.large.len(), how.collect::<Vec<_>>().join(", "));
    let meaning = match cut_at(way) {
        Some(_) => "files are cut at one length: maxFileSize below it",
        None => "smaller packets lose less: see packetSize",
    };
    Some(row("large files", Verdict::Fine, found, meaning))
}

/// The length at which all large files were cut, if it is one.
pub(super) fn cut_at(way: &Crossing) -> Option<u64> {
    let mut lengths = way.large.iter().map(|file| file.arrived_bytes.filter(|length| *length < file.bytes));
    let first = lengths.next()??;
    (way.large.len() > 1 && first > 0 && lengths.all(|length| length == Some(first))).then_some(first)
}

fn far_listing(way: &Crossing) -> Row {
    match way.far_list_lag_ms {
        None => row("far listing", Verdict::Unknown, "not measured", ""),
        Some(lag) if lag > i64::try_from(LAG_MS).unwrap_or(i64::MAX) => {
            let found = format!("listed {lag} ms after they can be opened");
            row("far listing", Verdict::Fine, found, "hoft also opens the names that must come next")
        }
        Some(_) => row("far listing", Verdict::Good, "listed as soon as they can be opened", ""),
    }
}

fn deletions(way: &Crossing) -> Row {
    match (profile(way), way.delete_carried) {
        (Some(Profile::Move), _) => row(
            "profile",
            Verdict::Good,
            "Move: files leave the near folder",
            "set it: each side cleans up after itself",
        ),
        (Some(Profile::Sync), _) => {
            row("profile", Verdict::Good, "Sync: a near deletion is carried over", "set it: only the sender deletes")
        }
        (Some(Profile::Copy), Some(_)) => row(
            "profile",
            Verdict::Good,
            "Copy: near files stay, near deletions too",
            "each side deletes its own files",
        ),
        (Some(Profile::Copy) | None, _) => row("profile", Verdict::Unknown, "no file could be tried", ""),
    }
}

fn far_deletions(way: &Crossing, findings: &Findings) -> Row {
    match (way.far_delete_undone, way.far_delete_carried) {
        (None, _) => unknown(findings, "far deletions", "removing in the far folder"),
        (Some(true), _) if profile(way) == Some(Profile::Sync) => {
            row("far deletions", Verdict::Fine, "come back", "the receiver never deletes with profile Sync")
        }
        (Some(true), _) => row(
            "far deletions",
            Verdict::Fine,
            "come back",
            "hoft stops deleting such a file and leaves it to its sender",
        ),
        (Some(false), Some(true)) => {
            row("far deletions", Verdict::Fine, "are carried back here", "files go when the receiver is done with them")
        }
        (Some(false), _) => row("far deletions", Verdict::Good, "stay", ""),
    }
}

fn subfolders(way: &Crossing) -> Row {
    match way.subfolders {
        Some(true) => row("subfolders", Verdict::Good, "are carried", ""),
        Some(false) => row("subfolders", Verdict::Fine, "are not carried", "layout: flat, on both sides"),
        None => row("subfolders", Verdict::Unknown, "not measured", ""),
    }
}

fn temporary(way: &Crossing) -> Row {
    match way.temporary_carried {
        Some(false) => row("temporary files", Verdict::Good, "`.NAME.part` is left alone", ""),
        Some(true) => row(
            "temporary files",
            Verdict::Fine,
            "`.NAME.part` is carried too",
            "harmless: no reader takes such a name",
        ),
        None => row("temporary files", Verdict::Unknown, "not measured", ""),
    }
}

/// Bytes for people.
pub(super) fn bytes(count: u64) -> String {
    ByteSize::b(count).display().iec_short().to_string()
}

/// A time for people.
pub(super) fn span(time: Duration) -> String {
    let us = time.as_micros();
    match us {
        0 => format!("{} ns", time.as_nanos()),
        1..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        10_000..2_000_000 => format!("{} ms", us / 1_000),
        2_000_000..120_000_000 => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
        120_000_000..7_200_000_000 => format!("{} min", us / 60_000_000),
        _ => format!("{} h", us / 3_600_000_000),
    }
}

#[cfg(test)]
mod tests;
