//! Reading a file: text to [`ConfigFile`] to [`Config`], with the place of every problem.
//!
//! Invariants: the version is looked at before anything else, so a later program's file is refused by its version and
//! not by its first unknown field; a text that cannot be read gives one problem, a text that can gives all of them.
//! Test to read first: `a_later_version_is_refused_by_its_number` in `read/tests.rs`.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    check::{Kept, check, overlaps, secrets},
    config::Config,
    explain::explain,
    file::{ConfigFile, VERSION},
    overrides::Overrides,
    places::Places,
    problem::{ConfigErrors, Problem},
};

/// Longest file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;
/// Deepest nesting that is read; a configuration has 7. Each level takes about 30 KiB of stack in a debug build.
const DEPTH_MAX: usize = 16;

/// Reads and checks the text of a configuration file.
///
/// `origin` is how errors name the file; relative paths in it are resolved against `base_dir`.
///
/// # Errors
/// One problem with line and column if the text is not a configuration file at all; else every contradiction in it.
pub fn parse(text: &str, origin: &str, base_dir: &Path) -> Result<Config, ConfigErrors> {
    parse_with(text, origin, base_dir, &Overrides::default())
}

/// As [`parse`], with values that replace the file's.
///
/// # Errors
/// As [`parse`].
pub fn parse_with(text: &str, origin: &str, base_dir: &Path, overrides: &Overrides) -> Result<Config, ConfigErrors> {
    let file = read(text).map_err(|problem| ConfigErrors::new(origin, vec![problem]))?;
    check(file, overrides, base_dir).map_err(|problems| placed(problems, origin, text))
}

/// Problems with their places in the text.
fn placed(mut problems: Vec<Problem>, origin: &str, text: &str) -> ConfigErrors {
    let places = Places::of(text);
    for problem in &mut problems {
        problem.place = places.find(&problem.path);
    }
    ConfigErrors::new(origin, problems)
}

/// Reads and checks a configuration file; relative paths in it are resolved against its folder.
///
/// # Errors
/// As [`parse`]; also if the file cannot be read, and if folders that look different are one through links.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    load_with(path, &Overrides::default())
}

/// As [`load`], with values that replace the file's.
///
/// # Errors
/// As [`load`].
pub fn load_with(path: &Path, overrides: &Overrides) -> Result<Config, ConfigErrors> {
    let origin = path.display().to_string();
    let refuse = |message: String, remedy: &str| {
        let problem = Problem { path: String::new(), place: None, message, remedy: remedy.to_owned() };
        ConfigErrors::new(&origin, vec![problem])
    };
    let text = read_text(path)
        .map_err(|error| refuse(format!("cannot be read: {error}"), "check the path and who may read it"))?;
    if text.len() > FILE_BYTES_MAX {
        return Err(refuse(format!("is larger than {FILE_BYTES_MAX} bytes"), "name a configuration file"));
    }
    let whole = std::path::absolute(path).map_err(|error| refuse(format!("has no folder: {error}"), "name a file"))?;
    let base_dir = whole.parent().unwrap_or(Path::new("/"));
    let config = parse_with(&text, &origin, base_dir, overrides)?;
    let problems = linked(&config);
    if problems.is_empty() { Ok(config) } else { Err(placed(problems, &origin, &text)) }
}

fn read_text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    fs::File::open(path)?.take(limit.saturating_add(1)).read_to_string(&mut text)?;
    Ok(text)
}

/// A path with its links resolved as far as it exists.
fn real(path: &Path) -> PathBuf {
    path.ancestors()
        .find_map(|folder| {
            let rest = path.strip_prefix(folder).ok()?;
            let real = fs::canonicalize(folder).ok()?;
            Some(if rest.as_os_str().is_empty() { real } else { real.join(rest) })
        })
        .unwrap_or_else(|| path.to_owned())
}

/// What overlaps once links are resolved.
fn linked(config: &Config) -> Vec<Problem> {
    let (outbox, inbox) = (real(&config.folders.outbox), real(&config.folders.inbox));
    let state = real(&config.state.folder);
    overlaps(&Kept {
        outbox: &outbox,
        inbox: &inbox,
        state: &state,
        secrets: secrets(&config.identity, &config.inbound.allow, real),
    })
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

fn read(text: &str) -> Result<ConfigFile, Problem> {
    let head: VersionOnly =
        serde_yaml::from_str_with_options(text, options()).map_err(|error| explain(&error, text))?;
    if head.version != VERSION {
        return Err(Problem {
            path: "version".to_owned(),
            place: Places::of(text).find("version"),
            message: format!("is {}; this program reads version {VERSION}", head.version),
            remedy: "use the program that the file was written for, or write the file anew, beginning with `hoft config init`".to_owned(),
        });
    }
    serde_yaml::from_str_with_options(text, options()).map_err(|error| explain(&error, text))
}

/// How YAML is read: no deeper than the file can be, so that a hostile text cannot exhaust the stack.
pub(crate) fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! { max_depth: DEPTH_MAX },
    }
}

#[cfg(test)]
mod tests;
