//! A ratchet on the size of files: a file with one owner of state stays readable in one sitting.

use std::path::{Path, PathBuf};

/// Above this a file is to be split by owner of state.
const LINES_MAX: usize = 800;

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            rust_files(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."), &mut found);
    assert!(found.len() > 20, "the sources were not found");
    found.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn no_file_outgrows_its_owner() {
    let long: Vec<_> =
        sources().into_iter().filter(|(_, text)| text.lines().count() > LINES_MAX).map(|(path, _)| path).collect();
    assert!(long.is_empty(), "split by owner of state (more than {LINES_MAX} lines): {long:?}");
}

#[test]
fn every_file_begins_with_its_module_doc() {
    let bare: Vec<_> =
        sources().into_iter().filter(|(_, text)| !text.trim_start().starts_with("//!")).map(|(path, _)| path).collect();
    assert!(bare.is_empty(), "no `//!` at the top of: {bare:?}");
}
