//! Folders and files: resolved against the file's folder, and kept apart from each other.
//!
//! Invariant: the outbox, the inbox and the state folder are disjoint, and no secret lies where the mirror looks: a
//! packet that came back as our own, or a key that crossed the gap, would be the price.
//! The comparison is of text; [`crate::load`] repeats it with links resolved.
//! Test to read first: `every_contradiction_is_caught` in `read/tests.rs`.

use std::path::{Component, Path, PathBuf};

use crate::{
    problem::{Problem, Problems},
    rule::InboundRule,
    section::{Folders, Identity},
};

/// What must be kept apart; an empty path was refused already and overlaps nothing.
#[derive(Debug)]
pub(crate) struct Kept<'a> {
    pub(crate) outbox: &'a Path,
    pub(crate) inbox: &'a Path,
    pub(crate) state: &'a Path,
    /// Files of secret keys, each with the field that names it.
    pub(crate) secrets: Vec<(String, PathBuf)>,
}

/// The files of secret keys with their fields, each path as `place` gives it.
pub(crate) fn secrets(
    identity: &Identity,
    rules: &[InboundRule],
    place: impl Fn(&Path) -> PathBuf,
) -> Vec<(String, PathBuf)> {
    let own = identity.secret_file.iter().map(|path| ("identity.secretFile".to_owned(), path.clone()));
    let retired = identity.retired_files.iter().enumerate();
    let retired = retired.map(|(index, path)| (format!("identity.retiredFiles[{index}]"), path.clone()));
    let of_rules = rules.iter().enumerate().flat_map(|(index, rule)| {
        let files = rule.far.secret_files().into_iter();
        files.map(move |(field, path)| (format!("inbound.allow[{index}].{field}"), path))
    });
    own.chain(retired).chain(of_rules).map(|(field, path)| (field, place(&path))).collect()
}

/// The mirrored folders with their paths resolved.
pub(super) fn mirrored(mut folders: Folders, base_dir: &Path, problems: &mut Problems) -> Folders {
    folders.outbox = resolve(base_dir, &folders.outbox, "folders.outbox", problems);
    folders.inbox = resolve(base_dir, &folders.inbox, "folders.inbox", problems);
    folders
}

/// `path` below `base_dir` unless it is absolute, without `.` and `..`; empty if it is refused.
pub(super) fn resolve(base_dir: &Path, path: &Path, field: &str, problems: &mut Problems) -> PathBuf {
    if path.as_os_str().is_empty() {
        problems.add(field, "is empty", "write a path; a relative one starts at this file's folder");
        return PathBuf::new();
    }
    if path.to_string_lossy().contains('\0') {
        problems.add(field, "has a NUL character", "write a path without it");
        return PathBuf::new();
    }
    let mut resolved = PathBuf::new();
    for part in base_dir.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                // A relative base may be left by more steps than it has.
                let inside = matches!(resolved.components().next_back(), Some(Component::Normal(_)));
                if inside {
                    resolved.pop();
                } else if !resolved.has_root() {
                    resolved.push(part);
                }
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => resolved.push(part),
        }
    }
    resolved
}

/// What overlaps and must not.
pub(crate) fn overlaps(kept: &Kept<'_>) -> Vec<Problem> {
    let mut problems = Problems::default();
    let Kept { outbox, inbox, state, secrets } = kept;
    let (outbox, inbox, state) = (*outbox, *inbox, *state);
    apart(
        ("folders.inbox", inbox),
        ("folders.outbox", outbox),
        "name two folders, neither inside the other: packets must not come back to their sender",
        &mut problems,
    );
    for mirrored in [("folders.outbox", outbox), ("folders.inbox", inbox)] {
        apart(
            ("state.folder", state),
            mirrored,
            "name a folder of its own, on a disk that the mirror does not see",
            &mut problems,
        );
    }
    problems.extend(carried(outbox, inbox, secrets));
    problems.into_vec()
}

/// Secrets that the mirror would carry away.
pub(crate) fn carried(outbox: &Path, inbox: &Path, secrets: &[(String, PathBuf)]) -> Vec<Problem> {
    let mut problems = Problems::default();
    for mirrored in [("folders.outbox", outbox), ("folders.inbox", inbox)] {
        for (field, _) in secrets.iter().filter(|(_, secret)| inside(secret, mirrored.1)) {
            problems.add(
                field.as_str(),
                format!("lies inside {}: the mirror would carry the secret keys away", mirrored.0),
                "move the file, and make new keys if the mirror ever ran",
            );
        }
    }
    problems.into_vec()
}

fn apart(one: (&str, &Path), other: (&str, &Path), remedy: &str, problems: &mut Problems) {
    let relation = match (inside(one.1, other.1), inside(other.1, one.1)) {
        (true, true) => "is the same folder as",
        (true, false) => "lies inside",
        (false, true) => "contains",
        (false, false) => return,
    };
    problems.add(one.0, format!("{relation} {}", other.0), remedy);
}

/// Whether a path is a folder or beneath it.
fn inside(path: &Path, folder: &Path) -> bool {
    !folder.as_os_str().is_empty() && path.starts_with(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_resolved_without_dots() {
        let mut problems = Problems::default();
        for (base, path, resolved) in [
            ("/etc/hoft", "./out", "/etc/hoft/out"),
            ("/etc/hoft", "../out/./x/..", "/etc/out"),
            ("/etc/hoft", "/srv/out", "/srv/out"),
            ("/", "../../out", "/out"),
            ("", "out", "out"),
            ("a", "../../out", "../out"),
            ("", "../../out", "../../out"),
        ] {
            assert_eq!(
                resolve(Path::new(base), Path::new(path), "x", &mut problems),
                Path::new(resolved),
                "{base} {path}"
            );
        }
        assert!(problems.is_empty());
    }
}
