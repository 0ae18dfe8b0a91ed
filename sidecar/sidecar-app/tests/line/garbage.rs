//! Real mirrors: after traffic nothing but the newest packets is left in any folder, whatever the mirror does with deletions.

use std::path::Path;

use sidecar_config::{Layout, Profile};

use crate::harness::{Line, Options};
use crate::process::eventually;

/// Packets that lie around while nothing happens: the newest of each kind, and what is on its way.
const LEFT_MAX: usize = 6;

/// Files below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    // What vanishes meanwhile is gone.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            _ => found.push(entry.path().display().to_string()),
        }
    }
    found
}

fn assert_folders_empty_themselves(options: &Options) {
    let line = Line::start(options);
    let body = crate::upstream::fixed(400_000);
    for _ in 0..5 {
        assert!(line.door().post(&line.url("/echo"), &body).expect_status(200).body == body);
    }
    for side in ["north", "south"] {
        for name in ["out", "in"] {
            let folder = line.folder.path().join(side).join(name);
            let mut left = Vec::new();
            eventually(&format!("{side}/{name} holds at most {LEFT_MAX} files"), || {
                left = files(&folder);
                (left.len() <= LEFT_MAX).then_some(())
            });
        }
    }
    line.assert_works();
}

#[test]
fn folders_empty_themselves_where_the_mirror_copies_and_damages() {
    assert_folders_empty_themselves(&Options { faults: "harsh", seed: 5, ..Options::default() });
}

#[test]
fn folders_empty_themselves_where_the_mirror_moves() {
    assert_folders_empty_themselves(&Options { profile: Profile::Move, layout: Layout::Flat, ..Options::default() });
}

#[test]
fn folders_empty_themselves_where_the_mirror_synchronises_and_damages() {
    assert_folders_empty_themselves(&Options {
        profile: Profile::Sync,
        faults: "harsh",
        seed: 6,
        ..Options::default()
    });
}
