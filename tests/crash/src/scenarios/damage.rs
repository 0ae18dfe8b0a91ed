//! A state folder that is in use, or damaged: the engine refuses to start, names what is wrong and where, and changes nothing.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::caller::Mix;
use crate::line::{Line, Place, Which, empty};
use crate::process::Process;
use crate::runner::Context;
use crate::upstream::digest;

/// Damages a state folder; gives what the message must name beside the file.
type Damage = fn(&Path, &Folders) -> String;

struct Folders {
    /// A whole copy of the state folder, with one segment.
    good: PathBuf,
    /// One of the other side.
    foreign: PathBuf,
}

/// Where the first entry of a segment is.
const HEADER: u64 = 64;

const DAMAGES: &[(&str, Damage)] = &[
    ("an empty file", |segment, _| cut_to(segment, 0)),
    ("cut within its header", |segment, _| cut_to(segment, 30)),
    ("cut within its checkpoint", |segment, _| {
        let _ = cut_to(segment, HEADER + 10);
        offset(HEADER)
    }),
    ("a flipped bit in its header", |segment, _| {
        flip(segment, 20);
        offset(0)
    }),
    ("a flipped bit in its checkpoint", |segment, _| {
        flip(segment, HEADER + 2);
        offset(HEADER)
    }),
    ("a flipped bit among its first entries", |segment, _| {
        flip(segment, HEADER + 60);
        "is damaged at offset ".to_owned()
    }),
    ("a flipped bit in its middle", |segment, _| {
        flip(segment, length(segment) / 2);
        "is damaged at offset ".to_owned()
    }),
    ("zeros in its middle", |segment, _| {
        write(segment, length(segment) / 2, &[0; 4096]);
        "is damaged at offset ".to_owned()
    }),
    ("something else", |segment, _| {
        std::fs::write(segment, vec![b'x'; 5000]).unwrap();
        offset(0)
    }),
    ("the number of another", |segment, _| {
        std::fs::rename(segment, segment.with_file_name("0000000000000002.log")).unwrap();
        offset(32)
    }),
    ("of another endpoint", |segment, folders| {
        std::fs::copy(newest(&folders.foreign), segment).unwrap();
        "belongs to endpoint ".to_owned()
    }),
    ("beside one of another endpoint", |segment, folders| {
        std::fs::copy(newest(&folders.foreign), segment.with_file_name("0000000000000007.log")).unwrap();
        "belongs to endpoint ".to_owned()
    }),
    ("a flipped bit in the header of an older one", |segment, _| {
        let older = segment.with_file_name("0000000000000000.log");
        std::fs::copy(segment, &older).unwrap();
        "0000000000000000.log is damaged at offset ".to_owned()
    }),
];

fn offset(at: u64) -> String {
    format!("is damaged at offset {at} ")
}

fn length(file: &Path) -> u64 {
    std::fs::metadata(file).unwrap().len()
}

fn cut_to(file: &Path, length: u64) -> String {
    std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(length).unwrap();
    offset(0)
}

fn write(file: &Path, at: u64, bytes: &[u8]) {
    std::fs::OpenOptions::new().write(true).open(file).unwrap().write_all_at(bytes, at).unwrap();
}

fn flip(file: &Path, at: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

fn newest(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|end| end == "log")).max().unwrap()
}

/// Copies every file of a folder into another one.
pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Names and digests; the lock's label names its last holder and is not part of the state.
fn fingerprint(folder: &Path) -> BTreeMap<String, String> {
    let files = std::fs::read_dir(folder).unwrap().flatten();
    let named = files.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()));
    named.filter(|(name, _)| name != "state.lock").map(|(n, path)| (n, digest(&std::fs::read(path).unwrap()))).collect()
}

/// Damages the state in every way; gives the figures.
#[must_use]
pub fn damage(context: Context<'_>) -> String {
    let mut line = Line::start(Place::new(context.inside), context.seed, |_| {});
    let verdict = {
        let traffic = line.traffic(Mix::default(), context.seed);
        traffic.go_on_for(40);
        line.conclude(traffic)
    };
    assert!(verdict.findings.is_empty(), "{verdict}\n{}", verdict.findings.join("\n"));
    line.end();
    let state = line.place.state(Which::Near);
    let folders = Folders { good: line.place.home(Which::Near).join("good"), foreign: line.place.state(Which::Far) };
    copy(&state, &folders.good);
    for (what, damage) in DAMAGES {
        empty(&state);
        copy(&folders.good, &state);
        let wanted = damage(&newest(&state), &folders);
        let before = fingerprint(&state);
        let engine = line.engine(Which::Near);
        let told_before = engine.log_text().len();
        engine.spawn();
        assert!(!engine.ready_or_ended(), "the engine started with a segment that is {what}");
        assert_eq!(engine.wait_for_end(), Some(1), "{what}");
        let told = engine.log_text().split_off(told_before);
        assert!(told.contains(&wanted), "a segment that is {what}: {wanted:?} is not named:\n{told}");
        assert!(told.contains(".log") && told.contains(&state.display().to_string()), "{what}: no file in:\n{told}");
        assert!(!told.contains("panicked"), "{what}:\n{told}");
        assert_eq!(fingerprint(&state), before, "a segment that is {what} was changed");
    }
    empty(&state);
    copy(&folders.good, &state);
    line.engine(Which::Near).start_and_wait();
    format!("{} kinds of damage named, and nothing changed; {verdict}", DAMAGES.len())
}

/// A second engine on a state folder; gives what it said.
#[must_use]
pub fn twins(context: Context<'_>) -> String {
    let mut line = Line::start(Place::new(context.inside), context.seed, |_| {});
    let traffic = line.traffic(Mix::default(), context.seed);
    traffic.go_on_for(10);
    let mut told = String::new();
    for which in Which::BOTH {
        let engine = line.engine(which);
        let (first, mut text) = (engine.id(), std::fs::read_to_string(engine.config()).unwrap());
        for port in [engine.proxy, engine.admin] {
            text = text.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:0");
        }
        let (config, log) = (engine.config().with_file_name("twin.yaml"), engine.config().with_file_name("twin.log"));
        std::fs::write(&config, text).unwrap();
        let mut command: Command = line.place.hoft();
        command.arg("sidecar").arg("--config").arg(config);
        let status = Process::start(command, &log).wait();
        told = std::fs::read_to_string(log).unwrap();
        assert_eq!(status.code(), Some(1), "{told}");
        assert!(told.contains(&format!("is in use by process {first}")), "the first is process {first}:\n{told}");
        assert!(!line.engine(which).has_ended(), "{}", line.logs());
    }
    let verdict = line.conclude(traffic);
    assert!(verdict.findings.is_empty(), "{verdict}\n{}", verdict.findings.join("\n"));
    assert_eq!(verdict.answered, verdict.calls, "{verdict}");
    let said = told.lines().find(|text| text.contains("in use")).unwrap_or_default().trim().to_owned();
    format!("\"{said}\"; {verdict}")
}
