//! Runs the second decoder: one Python process that answers one line per job.
//!
//! Invariant: a missing Python or package is never silent: the skip is printed, and a failure where `HOFT_REQUIRE` names `pyvectors`.
//! What it needs is in `requirements.txt`; it is looked for in `$HOFT_CACHE/pyvectors` (a virtual environment), then in `PATH`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::file;

/// The Python that has what the second decoder needs; else says that nothing was compared, or fails if it is required.
#[must_use]
pub fn python() -> Option<PathBuf> {
    let cache = std::env::var_os("HOFT_CACHE")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/hoft")));
    let installed = cache.map(|cache| cache.join("pyvectors/bin/python3"));
    let found = installed.into_iter().chain([PathBuf::from("python3")]).find(|python| has_packages(python));
    if found.is_none() {
        let required = std::env::var("HOFT_REQUIRE").unwrap_or_default();
        let why = "python3 with the packages of tests/vectors/requirements.txt is missing";
        assert!(!required.split(',').any(|word| word.trim() == "pyvectors"), "HOFT_REQUIRE names pyvectors: {why}");
        println!("SKIPPED: no packet was compared with the second decoder: {why}");
    }
    found
}

fn has_packages(python: &Path) -> bool {
    let mut command = Command::new(python);
    command.args(["-c", "import second.packet"]).current_dir(file(""));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.output().is_ok_and(|output| output.status.success())
}

/// The second decoder's answers to these jobs, in their order. A job is a line of JSON; see `second/__main__.py`.
#[must_use]
pub fn answers(python: &Path, jobs: &[Value]) -> Vec<Value> {
    let mut command = Command::new(python);
    command.args(["-m", "second", "reader.json"]).current_dir(file("")).env("PYTHONDONTWRITEBYTECODE", "1");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines: String = jobs.iter().map(|job| format!("{job}\n")).collect();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "the second decoder ended with {}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), jobs.len(), "one answer per job");
    answers
}
