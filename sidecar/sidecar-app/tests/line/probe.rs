//! `hoft probe` on real folders, with `hoft mirror` between them: what it finds out, and what it says of folders that are no use.
//!
//! Mounts are made in a namespace of their own, which needs the superuser: others skip that, and `HOFT_REQUIRE=root` makes it a
//! failure. Read first: `the_profile_of_a_mirror_is_found_out`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::odd_share::{Mood, NAME_BYTES_MAX, OddShare};
use crate::process::{HOFT, Process, eventually, folder, hoft, run};

use crate::shares::{fuse_is_there, with_mounts as with_own_mounts};

/// A near and a far folder.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: folder() };
        std::fs::create_dir(place.near()).unwrap();
        std::fs::create_dir(place.far()).unwrap();
        place
    }

    fn near(&self) -> PathBuf {
        self.folder.path().join("near")
    }

    fn far(&self) -> PathBuf {
        self.folder.path().join("far")
    }

    fn mirror(&self, more: &[&str]) -> Process {
        let mut command = hoft();
        command.arg("mirror").arg("--from").arg(self.near()).arg("--to").arg(self.far()).args(more);
        Process::start(command, &self.folder.path().join("mirror.log"))
    }

    fn probe(&self, more: &[&str]) -> Output {
        let mut command = hoft();
        command.arg("probe").arg(self.near()).arg("--far").arg(self.far()).args(more);
        command.output().unwrap()
    }

    /// A probe that must find everything usable, as JSON.
    #[track_caller]
    fn found(&self) -> Value {
        let output = self.probe(&["--json"]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(names(&self.near()), [""; 0]);
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn names(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn suggested<'a>(report: &'a Value, field: &str) -> &'a str {
    let fields = report["suggested"].as_array().unwrap();
    fields.iter().find(|found| found["field"] == field).unwrap()["value"].as_str().unwrap()
}

#[test]
fn the_profile_of_a_mirror_is_found_out() {
    for (profile, word) in [("copy", "Copy"), ("move", "Move"), ("sync", "Sync")] {
        let place = Place::new();
        let _mirror = place.mirror(&["--profile", profile]);
        let report = place.found();
        assert_eq!(suggested(&report, "mirror.profile"), word, "{report:#}");
        assert_eq!(suggested(&report, "folders.layout"), "tree");
        assert_eq!(report["measured"]["mirror"]["temporary_carried"], false, "{report:#}");
        assert_eq!(names(&place.far()), [""; 0]);
    }
}

#[test]
fn the_json_has_rows_numbers_and_the_configuration() {
    let place = Place::new();
    let _mirror = place.mirror(&["--pick-up-temporary", "--cut-above", "1MiB"]);
    let report = place.found();
    let rows = report["rows"].as_array().unwrap();
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}: {rows:#?}"));
    for name in ["file system", "free space", "rename", "fsync", "case", "name length", "delay", "profile"] {
        assert_ne!(row(name)["verdict"], "bad", "{rows:#?}");
        assert_ne!(row(name)["found"], "");
    }
    assert_eq!(row("temporary files")["verdict"], "fine");
    assert_eq!(row("large files")["found"], "2 of 8.0M: cut at 1.0M, cut at 1.0M");
    assert_eq!(report["measured"]["mirror"]["large"][0]["arrived_bytes"], 1 << 20);
    assert!(report["measured"]["mirror"]["delay_ms_median"].is_u64());
    assert_eq!(suggested(&report, "mirror.maxFileSize"), "1Mi");
    assert!(report["suggested_yaml"].as_str().unwrap().contains("\n  packetSize: 1Mi"), "{report:#}");
}

#[test]
fn a_faulty_mirror_does_not_mislead_the_probe() {
    for (profile, word) in [("copy", "Copy"), ("move", "Move"), ("sync", "Sync")] {
        let place = Place::new();
        let _mirror = place.mirror(&["--profile", profile, "--faults", "mild", "--loss", "0.4"]);
        let report = place.found();
        assert_eq!(suggested(&report, "mirror.profile"), word, "{report:#}");
        let found = &report["measured"]["mirror"];
        let count = |name: &str| found[name].as_u64().unwrap();
        assert_eq!(count("sent"), count("whole") + count("lost") + count("cut") + count("damaged"), "{found:#}");
        // Of forty files some are lost, whatever their names.
        assert!(count("lost") > 0, "{found:#}");
    }
}

/// Copies what is in one folder, and not deeper, to another, a round at a time.
fn mirror_in_rounds(place: &Place, period: Duration, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let (near, far) = (place.near(), place.far());
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            for name in names(&near).into_iter().filter(|name| !name.starts_with('.') && near.join(name).is_file()) {
                if !far.join(&name).exists() && std::fs::copy(near.join(&name), far.join(".coming")).is_ok() {
                    let _ = std::fs::rename(far.join(".coming"), far.join(&name));
                }
            }
            std::thread::sleep(period);
        }
    })
}

#[test]
fn rounds_and_missing_subfolders_are_noticed() {
    let (place, stop) = (Place::new(), Arc::default());
    let mirror = mirror_in_rounds(&place, Duration::from_millis(900), Arc::clone(&stop));
    let report = place.found();
    stop.store(true, Ordering::Relaxed);
    mirror.join().unwrap();
    // How long a round takes on a busy machine nobody knows; that there are rounds is to be seen.
    let period = report["measured"]["mirror"]["period_ms"].as_u64();
    assert!(period.is_some_and(|period| period >= 400), "{report:#}");
    assert_eq!(suggested(&report, "folders.layout"), "flat");
    assert_eq!(suggested(&report, "mirror.profile"), "Copy");
}

#[test]
fn a_far_folder_that_nothing_comes_to_is_said() {
    let place = Place::new();
    let output = place.probe(&["--timeout", "3s"]);
    assert_eq!(output.status.code(), Some(1));
    let (table, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(table.contains(" files arrived in time") && table.contains("--timeout"), "{table}");
    assert!(error.contains("not usable as it is: mirror"), "{error}");
    assert_eq!((names(&place.near()), names(&place.far())), (vec![], vec![]));
}

#[test]
fn without_a_far_folder_nothing_visible_is_written() {
    let place = Place::new();
    let _mirror = place.mirror(&[]);
    let (status, text) = run(&["probe", place.near().to_str().unwrap()]);
    assert!(status.success(), "{text}");
    assert!(text.contains("give --far DIR") && text.contains("publishSync: auto"), "{text}");
    assert_eq!((names(&place.near()), names(&place.far())), (vec![], vec![]));
}

#[test]
fn folders_that_cannot_be_probed_are_named_with_their_remedy() {
    let place = Place::new();
    let file = place.folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (near, gone) = (path(&place.near()), path(&place.folder.path().join("gone")));
    for (arguments, said) in [
        (vec!["probe", &gone], "does not exist; create it, or mount"),
        (vec!["probe", file.to_str().unwrap()], "is not a folder"),
        (vec!["probe", &near, "--far", &gone], "does not exist"),
        (vec!["probe", &near, "--far", &near], "same folder"),
    ] {
        let (status, text) = run(&arguments);
        assert_eq!(status.code(), Some(1));
        assert!(text.contains(said), "{arguments:?}: {text}");
    }
    let (status, text) = run(&["probe", &near, "--timeout", "soon"]);
    assert!(status.code() == Some(2) && text.contains("--timeout"), "{text}");
}

#[test]
fn an_interrupted_probe_removes_its_files() {
    let place = Place::new();
    let mut command = hoft();
    command.arg("probe").arg(place.near()).arg("--far").arg(place.far()).args(["--timeout", "1h"]);
    let log = place.folder.path().join("probe.log");
    let mut process = Process::start(command, &log);
    let is_sent = |name: &String| name.starts_with("hoft-probe-");
    eventually("a file is on its way", || names(&place.near()).iter().any(is_sent).then_some(()));
    process.ask_to_end();
    assert_eq!(process.wait().code(), Some(1));
    assert_eq!(names(&place.near()), [""; 0]);
    let text = std::fs::read_to_string(log).unwrap();
    assert!(text.contains("its files are removed") && text.contains("interrupted"), "{text}");
}

/// Runs a script of the shell with mounts of its own; `None` where that cannot be had.
fn with_mounts(folder: &Path, script: &str) -> Option<String> {
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let required = std::env::var("HOFT_REQUIRE").is_ok_and(|names| names.split(',').any(|name| name == "root"));
    if !root {
        assert!(!required, "HOFT_REQUIRE names root, and this is not the superuser");
        println!("SKIPPED: only the superuser can mount");
        return None;
    }
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "--propagation", "private", "sh", "-ec", script, HOFT]).arg(folder);
    let output = shell.output().unwrap();
    Some(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn a_full_folder_is_told_to_be_full() {
    let place = Place::new();
    let script = "mount -t tmpfs -o size=256k hoft-test $1\ndd if=/dev/zero of=$1/ballast bs=4k || true\n$0 probe $1";
    let Some(text) = with_mounts(&place.near(), script) else { return };
    assert!(text.contains("cannot be written") && text.contains("free space on its volume"), "{text}");
}

#[test]
fn a_read_only_folder_is_told_to_be_read_only() {
    let place = Place::new();
    let script = "mount -t tmpfs -o ro hoft-test $1\n$0 probe $1";
    let Some(text) = with_mounts(&place.near(), script) else { return };
    assert!(text.contains("mounted read-only: mount its volume for writing"), "{text}");
}

#[test]
fn a_small_volume_is_probed_with_what_fits_and_left_as_it_was() {
    let place = Place::new();
    let script = "mount -t tmpfs -o size=12m hoft-test $1\n$0 probe $1 || echo status $?\nls -A $1";
    let Some(text) = with_mounts(&place.near(), script) else { return };
    assert!(text.contains("tmpfs, local, a mount of its own") && text.contains("BAD"), "{text}");
    assert!(text.ends_with("status 1\n") || text.contains("not usable as it is: free space"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("hoft-probe-") || line.starts_with(".hoft-probe-")), "{text}");
}

#[test]
fn an_odd_share_is_seen_through() {
    with_own_mounts("probe::an_odd_share_is_seen_through", || {
        if !fuse_is_there() {
            return;
        }
        let place = Place::new();
        let share = OddShare::mount(&place.near());
        let _mirror = place.mirror(&[]);
        let report = place.found();
        let folder = &report["measured"]["folder"];
        assert_eq!(folder["case"], "preserving", "{folder:#}");
        assert_eq!(folder["rename"], serde_json::json!({"replaces": true, "atomic": true, "no_replace": false}));
        assert_eq!(folder["hard_links"], false);
        assert_eq!(folder["name_bytes_max"], NAME_BYTES_MAX);
        assert_eq!(folder["mtime_step_ns"], 2_000_000_000_u64);
        assert_eq!((&folder["network"], &folder["mount_point"]), (&true.into(), &true.into()));
        let refused = folder["refused_other_names"].as_array().unwrap();
        assert!(refused.len() >= 10 && folder["refused_own_names"].as_array().unwrap().is_empty(), "{folder:#}");
        assert_eq!(suggested(&report, "mirror.profile"), "Copy");
        drop(share);
    });
}

#[test]
fn a_share_that_hangs_does_not_keep_the_probe() {
    with_own_mounts("probe::a_share_that_hangs_does_not_keep_the_probe", || {
        if !fuse_is_there() {
            return;
        }
        let place = Place::new();
        let share = OddShare::mount(&place.near());
        share.set(Mood::Hangs);
        let near = place.near().display().to_string();
        let mut command = hoft();
        command.args(["probe", &near, "--timeout", "1s"]);
        let log = place.folder.path().join("probe.log");
        let mut process = Process::start(command, &log);
        // A process with a call that hangs ends when the call does.
        eventually("the probe gives up", || {
            let text = std::fs::read_to_string(&log).unwrap();
            text.contains("does not answer: opening the folders").then_some(())
        });
        share.set(Mood::Well);
        assert_eq!(process.wait().code(), Some(1));
    });
}
