//! The share under the outbox goes away, is read-only or full for a while, and comes back: every call is answered, and the
//! engine says what is wrong and what helps. So does an engine that starts while its share is like that.
//!
//! Mounts are made in a mount namespace of their own: the test starts itself again inside `unshare`, which takes everything down
//! with it. That needs the superuser; others skip it, and `HOFT_REQUIRE=root` makes that a failure. Read first: [`suffers`].

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;
use sidecar_config::{ByteSize, ConfigFile};

use crate::harness::{Engine, Line, Options};
use crate::odd_share::{Mood, OddShare};
use crate::process::{eventually, folder};

/// Set inside the namespace.
const INSIDE: &str = "HOFT_LINE_INSIDE";
/// Calls that are under way while the share is bad.
const CALLS: usize = 6;

/// Runs a test, named by its path, with mounts of its own.
pub(crate) fn with_mounts(name: &str, work: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        return work();
    }
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let required = std::env::var("HOFT_REQUIRE").is_ok_and(|names| names.split(',').any(|name| name == "root"));
    if !root {
        assert!(!required, "HOFT_REQUIRE names root, and this is not the superuser");
        println!("SKIPPED: only the superuser can mount");
        return;
    }
    let mut inner = Command::new("unshare");
    inner.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--"]);
    inner.arg(std::env::current_exe().unwrap()).args(["--exact", name, "--nocapture"]);
    // A folder with a mount in it cannot be removed from inside; here it can, once the namespace is gone.
    let place = folder();
    let output = inner.env(INSIDE, "1").env("TMPDIR", place.path()).stdin(Stdio::null()).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// Can file systems be served from user space? Else the test is skipped, and `HOFT_REQUIRE=fuse` makes that a failure.
pub(crate) fn fuse_is_there() -> bool {
    let there = Path::new("/dev/fuse").exists();
    let required = std::env::var("HOFT_REQUIRE").is_ok_and(|names| names.split(',').any(|name| name == "fuse"));
    assert!(there || !required, "HOFT_REQUIRE names fuse: there is no /dev/fuse");
    if !there {
        println!("SKIPPED: there is no /dev/fuse");
    }
    there
}

fn run(program: &str, arguments: &[&str], path: &Path) {
    let output = Command::new(program).args(arguments).arg(path).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?} {}: {output:?}", path.display());
}

/// Mounts a volume of 4 MiB in memory.
fn mount(path: &Path) {
    run("mount", &["-t", "tmpfs", "-o", "size=4m", "hoft-test"], path);
}

fn condition(engine: &Engine, folder: &str) -> Value {
    let status = engine.statusz();
    let folders = status["folders"].as_array().unwrap();
    folders.iter().find(|found| found["folder"] == folder).unwrap().clone()
}

/// Waits until the canary of the near outbox says so; `meanwhile` is done again and again.
#[track_caller]
fn is_said(line: &Line, word: &str, meanwhile: &dyn Fn()) -> Value {
    eventually(&format!("the outbox is {word}"), || {
        meanwhile();
        Some(condition(&line.near, "outbox")).filter(|found| found["condition"] == word)
    })
}

/// Breaks the outbox of a line under traffic, waits until the engine says `word`, and mends it: every call is answered.
fn suffers(line: &Line, word: &str, breaks: &dyn Fn(&Path), holds: &dyn Fn(&Path), mends: &dyn Fn(&Path)) {
    let outbox = line.near.folder.join("out");
    line.assert_works();
    is_said(line, "good", &|| {});
    breaks(&outbox);
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..CALLS)
            .map(|n| scope.spawn(move || line.door().post(&line.url("/echo"), format!("call {n}").as_bytes())))
            .collect();
        let said = is_said(line, word, &|| holds(&outbox));
        assert_ne!(said["remedy"], "", "{said}");
        let diagnosed = eventually("the pair says that its outbox fails", || {
            holds(&outbox);
            Some(line.near.statusz()["peers"][0].clone()).filter(|peer| peer["diagnosis_name"] == "outbox_failing")
        });
        assert!(diagnosed["diagnosis"].as_str().unwrap().contains("tried again"), "{diagnosed}");
        let metrics = line.near.admin().get("/metrics").text();
        assert!(metrics.contains("hoft_volume_probes_total{folder=\"outbox\",result=\"bad\"}"), "{metrics}");
        assert!(line.near.runs());
        mends(&outbox);
        is_said(line, "good", &|| {});
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(call.join().unwrap().expect_status(200).text(), format!("call {n}"));
        }
    });
    line.assert_works();
}

fn away(outbox: &Path) -> PathBuf {
    outbox.with_file_name("away")
}

#[test]
fn every_call_is_answered_after_the_outbox_was_gone() {
    let line = Line::start(&Options::default());
    suffers(&line, "gone", &|outbox| std::fs::rename(outbox, away(outbox)).unwrap(), &|_| {}, &|outbox| {
        std::fs::rename(away(outbox), outbox).unwrap()
    });
}

/// Only when the log's own quota is used up is a caller sent away, and is told when to come back.
#[test]
fn callers_are_sent_away_only_when_the_log_is_full() {
    let small = |file: &mut ConfigFile| file.state.send_log = ByteSize::mib(1);
    let line = Line::start(&Options { near: Box::new(small), ..Options::default() });
    line.assert_works();
    let outbox = line.near.folder.join("out");
    std::fs::rename(&outbox, away(&outbox)).unwrap();
    is_said(&line, "gone", &|| {});
    std::thread::scope(|scope| {
        let call = |bytes: usize| {
            scope.spawn({
                let line = &line;
                move || line.door().post(&line.url("/echo"), &vec![b'x'; bytes])
            })
        };
        let early: Vec<_> = (0..3).map(|_| call(10)).collect();
        eventually("the calls are in the log", || (line.near.statusz()["open_operations_total"] == 3).then_some(()));
        let mut late = Vec::new();
        let refused = eventually("a caller is sent away", || {
            let answer = line.door().patient_for(Duration::from_secs(2)).call("POST", &line.url("/echo"));
            late.push(call(100_000));
            answer.body(&[b'y'; 10]).try_send().ok()
        });
        assert_eq!(refused.status, 503);
        assert!(refused.get("retry-after").is_some_and(|after| after.parse::<u64>().is_ok()), "{refused:?}");
        std::fs::rename(away(&outbox), &outbox).unwrap();
        for call in early {
            call.join().unwrap().expect_status(200);
        }
        for call in late {
            let answer = call.join().unwrap();
            assert!(answer.status == 200 && answer.body.len() == 100_000 || answer.status == 503, "{answer:?}");
        }
    });
    eventually("there is room again", || (line.near.statusz()["log_full"] == false).then_some(()));
    line.assert_works();
}

fn on_a_volume() -> Line {
    Line::start(&Options { prepare: Box::new(|place| mount(&place.join("north/out"))), ..Options::default() })
}

#[test]
fn every_call_is_answered_after_the_outbox_was_not_mounted() {
    with_mounts("shares::every_call_is_answered_after_the_outbox_was_not_mounted", || {
        let line = on_a_volume();
        suffers(&line, "unmounted", &|outbox| run("umount", &["--lazy"], outbox), &|_| {}, &|outbox| {
            let below: Vec<_> = std::fs::read_dir(outbox).unwrap().collect();
            assert!(below.is_empty(), "written below the mount point: {below:?}");
            mount(outbox);
        });
    });
}

#[test]
fn every_call_is_answered_after_the_outbox_was_read_only() {
    with_mounts("shares::every_call_is_answered_after_the_outbox_was_read_only", || {
        let line = on_a_volume();
        suffers(
            &line,
            "read_only",
            // Whoever is writing right now keeps it from that.
            &|outbox| {
                eventually("it is read-only", || {
                    let remount = Command::new("mount").args(["-o", "remount,ro"]).arg(outbox).output().unwrap();
                    remount.status.success().then_some(())
                });
            },
            &|_| {},
            &|outbox| run("mount", &["-o", "remount,rw"], outbox),
        );
    });
}

#[test]
fn every_call_is_answered_after_the_outbox_was_full() {
    fn fill(outbox: &Path) {
        use std::io::Write;
        // What is acknowledged is removed meanwhile, so it is filled up again and again.
        let ballast = std::fs::OpenOptions::new().create(true).append(true).open(outbox.join("ballast"));
        while ballast.as_ref().is_ok_and(|mut file| file.write_all(&[b'x'; 4096]).is_ok()) {}
    }
    with_mounts("shares::every_call_is_answered_after_the_outbox_was_full", || {
        let line = on_a_volume();
        suffers(&line, "full", &fill, &fill, &|outbox| std::fs::remove_file(outbox.join("ballast")).unwrap());
    });
}

#[test]
fn a_budget_of_files_slows_the_outbox_and_loses_nothing() {
    let tight = |file: &mut ConfigFile| {
        file.outbox.files_per_second = Some(5);
        file.outbox.bytes_per_second = Some(ByteSize::kib(200));
        file.outbox.files_max = Some(4);
    };
    let line = Line::start(&Options { near: Box::new(tight), ..Options::default() });
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..20)
            .map(|n| {
                scope.spawn({
                    let line = &line;
                    move || line.door().post(&line.url("/echo"), format!("call {n}").as_bytes())
                })
            })
            .collect();
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(call.join().unwrap().expect_status(200).text(), format!("call {n}"));
        }
    });
}

/// A line whose near outbox is on an odd share, and the share.
fn on_an_odd_share() -> (Line, Arc<OddShare>) {
    let share: Arc<OnceLock<OddShare>> = Arc::default();
    let mounted = Arc::clone(&share);
    let prepare = Box::new(move |place: &Path| drop(mounted.set(OddShare::mount(&place.join("north/out")))));
    let line = Line::start(&Options { prepare, ..Options::default() });
    let share = Arc::into_inner(share).and_then(OnceLock::into_inner).unwrap();
    (line, Arc::new(share))
}

#[test]
fn every_call_is_answered_after_the_outbox_gave_io_errors() {
    with_mounts("shares::every_call_is_answered_after_the_outbox_gave_io_errors", || {
        if !fuse_is_there() {
            return;
        }
        let (line, share) = on_an_odd_share();
        suffers(&line, "failing", &|_| share.set(Mood::Broken), &|_| {}, &|_| share.set(Mood::Well));
        drop(line);
    });
}

#[test]
fn every_call_is_answered_after_the_outbox_hung() {
    with_mounts("shares::every_call_is_answered_after_the_outbox_hung", || {
        if !fuse_is_there() {
            return;
        }
        let (line, share) = on_an_odd_share();
        suffers(&line, "hanging", &|_| share.set(Mood::Hangs), &|_| {}, &|_| share.set(Mood::Well));
        drop(line);
    });
}

/// Starts the near engine of a line on a share that is bad: it takes calls, says `word`, and answers them once that is mended.
fn starts_on(line: &Line, word: &str, breaks: &dyn Fn(&Path), mends: &dyn Fn(&Path)) {
    let outbox = line.near.folder.join("out");
    line.assert_works();
    line.near.kill();
    breaks(&outbox);
    line.near.start_again();
    assert_eq!(line.near.admin().get("/readyz").status, 200, "it takes calls");
    std::thread::scope(|scope| {
        let call = scope.spawn(|| line.door().post(&line.url("/echo"), b"begun on a bad share"));
        let said = is_said(line, word, &|| {});
        assert_ne!(said["remedy"], "", "{said}");
        eventually("the call is in the log", || (line.near.statusz()["open_operations_total"] == 1).then_some(()));
        let log = std::fs::read_to_string(line.near.log()).unwrap();
        assert!(log.contains("cannot be used") || log.contains("did not answer"), "{log}");
        mends(&outbox);
        is_said(line, "good", &|| {});
        assert_eq!(call.join().unwrap().expect_status(200).text(), "begun on a bad share");
    });
    line.assert_works();
}

#[test]
fn an_engine_starts_while_its_outbox_is_gone() {
    let line = Line::start(&Options::default());
    starts_on(&line, "gone", &|outbox| std::fs::rename(outbox, away(outbox)).unwrap(), &|outbox| {
        assert!(!outbox.exists(), "a folder was made where a mirror was expected");
        std::fs::rename(away(outbox), outbox).unwrap();
    });
}

#[test]
fn an_engine_starts_while_its_outbox_is_read_only() {
    with_mounts("shares::an_engine_starts_while_its_outbox_is_read_only", || {
        let line = on_a_volume();
        let remount = |how: &'static str| move |outbox: &Path| run("mount", &["-o", how], outbox);
        starts_on(&line, "read_only", &remount("remount,ro"), &remount("remount,rw"));
    });
}

#[test]
fn an_engine_starts_while_its_outbox_is_full() {
    with_mounts("shares::an_engine_starts_while_its_outbox_is_full", || {
        let line = on_a_volume();
        let fill = |outbox: &Path| drop(std::fs::write(outbox.join("ballast"), vec![b'x'; 5 << 20]));
        starts_on(&line, "full", &fill, &|outbox| std::fs::remove_file(outbox.join("ballast")).unwrap());
    });
}

#[test]
fn an_engine_starts_while_its_outbox_hangs() {
    with_mounts("shares::an_engine_starts_while_its_outbox_hangs", || {
        if !fuse_is_there() {
            return;
        }
        let (line, share) = on_an_odd_share();
        starts_on(&line, "hanging", &|_| share.set(Mood::Hangs), &|_| share.set(Mood::Well));
        drop(line);
    });
}
