//! Finds the programs that the tests run, and decides what a missing one means.
//!
//! Invariant: a missing program is never silent: the skip is printed, and a failure where `HOFT_REQUIRE` names it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The text of a file of the repository.
#[track_caller]
pub(crate) fn text_of(path: &str) -> String {
    let path = repository().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The program of that name, if it is here; else says so, or fails if it is required.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let found = in_path(name).or_else(|| among_built_tools(name));
    if found.is_none() {
        missing(name, "it is neither in PATH nor among the tools that `cargo run -p e2e -- up` builds");
    }
    found
}

/// Says that nothing was tested with a program, or fails if it is required.
pub(crate) fn missing(name: &str, why: &str) {
    let required = env::var("HOFT_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|word| word.trim() == name), "HOFT_REQUIRE names {name}: {why}");
    println!("SKIPPED: nothing was tested with `{name}`: {why}");
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The newest of that name in the cache of the cluster tests, where each set of pinned versions has a folder.
fn among_built_tools(name: &str) -> Option<PathBuf> {
    let cache = env::var_os("HOFT_CACHE")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache/hoft")))?;
    let sets = std::fs::read_dir(cache.join("cluster")).ok()?;
    sets.filter_map(|set| Some(set.ok()?.path().join("bin").join(name)))
        .filter(|file| file.is_file())
        .max_by_key(|file| file.metadata().and_then(|data| data.modified()).ok())
}

/// What a command said, on both streams, if it succeeded; else the same as an error.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stdout) + &said(&output.stderr)) }
}
