//! Damaged logs under the real binary: it refuses to start, says which file and where, and changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::harness::{Engine, Line, Options, operation_id};
use crate::process::{Process, eventually, hoft, run};

fn segments(state: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    files.sort();
    files
}

fn lengths(state: &Path) -> BTreeMap<PathBuf, u64> {
    segments(state).into_iter().map(|path| (path.clone(), fs::metadata(path).unwrap().len())).collect()
}

/// The engine must refuse to start and say these words; `hoft log verify` must find it, too.
#[track_caller]
fn assert_refused(engine: &Engine, words: &[&str]) {
    let state = engine.folder.join("state");
    let before = lengths(&state);
    let said = engine.folder.join("refused");
    let _ = fs::remove_file(&said);
    let mut command = hoft();
    command.arg("sidecar").arg("--config").arg(engine.config());
    let status = Process::start(command, &said).wait();
    let text = fs::read_to_string(&said).unwrap();
    assert_eq!(status.code(), Some(1), "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not said:\n{text}");
    }
    assert_eq!(lengths(&state), before, "something was changed");
    let (status, text) = run(&["log", "verify", state.to_str().unwrap()]);
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("DAMAGE "), "{text}");
}

fn flip(path: &Path, offset: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 4], offset).unwrap();
}

#[test]
fn a_damaged_log_stops_the_start_naming_file_and_offset_and_is_never_repaired() {
    let line = Line::start(&Options::default());
    let id = operation_id();
    let kept = line.door().call("POST", &line.url("/echo")).field("Hoft-Operation-Id", &id);
    kept.body(b"a stored result").send().expect_status(200);
    let answer = line.door().call("GET", &line.url("/source/72000000")).send().expect_status(200);
    assert_eq!(answer.body.len(), 72_000_000);
    let (near, far) = (line.near.folder.join("state"), line.far.folder.join("state"));
    eventually("a second segment", || (segments(&near).len() == 2).then_some(()));
    let (status, text) = run(&["log", "verify", near.to_str().unwrap()]);
    assert!(status.success() && text.contains("an engine is running on it"), "{text}");
    let (status, text) = run(&["log", "show", near.to_str().unwrap()]);
    assert!(status.success() && text.contains(&format!("stored_result of {id}")), "{text}");
    line.near.kill();
    line.far.kill();
    let (status, text) = run(&["log", "verify", near.to_str().unwrap()]);
    assert!(status.success() && text.contains("whole: "), "{text}");
    let [old, new] = &segments(&near)[..] else { panic!("two segments") };
    let aside = line.folder.path().join("aside");
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    // A segment that is needed and not there.
    fs::rename(old, &aside).unwrap();
    assert_refused(&line.near, &[&name(old), "is damaged at offset", "the file is missing", "restore the volume"]);
    // Another endpoint's.
    fs::copy(&segments(&far)[0], old).unwrap();
    assert_refused(&line.near, &[&name(old), "belongs to endpoint"]);
    // One that was cut short.
    fs::copy(&aside, old).unwrap();
    fs::File::options().write(true).open(old).unwrap().set_len(128).unwrap();
    assert_refused(&line.near, &[&name(old), "is damaged at offset", "restore the volume"]);
    // Two that were swapped.
    fs::rename(new, old).unwrap();
    fs::copy(&aside, new).unwrap();
    assert_refused(&line.near, &[&name(old), "is damaged at offset 32", "its header has another number"]);
    fs::rename(old, new).unwrap();
    fs::copy(&aside, old).unwrap();
    // A flipped bit in front of what was made durable later.
    flip(new, 100);
    assert_refused(&line.near, &[&name(new), "is damaged at offset", "the checkpoint does not verify"]);
    flip(new, 100);
    // With everything as it was it goes on.
    line.near.start_again();
    line.far.start_again();
    assert_eq!(line.near.result(&id).expect_status(200).text(), "a stored result");
    line.assert_works();
}
