//! What the near folder does by itself: renaming, appending, syncing, listing, times and space. Names are `names.rs`'s.
//!
//! Everything happens in a hidden folder of this run, so that mirrors have no part in it. Invariants: a measurement that fails
//! says why and spoils no other; nothing is waited for longer than the session lets. Test to read first:
//! `an_ordinary_folder_is_measured`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::findings::{Append, Findings, Rename};
use super::names;
use super::session::{Interrupted, Session};

/// How often small things are measured.
const ROUNDS: usize = 7;
/// How often a name is replaced while it is read.
const REPLACEMENTS: u64 = 200;
/// How long an append, or a new file, may take to be seen on the same machine. Directory caches of NFS last a minute.
const SEEN_WITHIN: Duration = Duration::from_secs(70);
/// How long a removed file is watched.
const UNDONE_WITHIN: Duration = Duration::from_millis(500);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);
/// A small packet.
const SMALL: usize = 4_096;

/// Measures the folder `near`, working in `hidden`, which exists.
pub(super) fn measure(
    session: &Session,
    near: &Path,
    hidden: &Path,
    findings: &mut Findings,
) -> Result<(), Interrupted> {
    session.step("looking at the file system")?;
    describe(near, findings);
    session.step("writing, syncing and renaming files")?;
    let costs = keep(findings, "cost of writing", costs(hidden));
    if let Some([publish, file, folder]) = costs {
        let found = &mut findings.folder;
        (found.publish_ms, found.sync_file_ms, found.sync_folder_ms) = (publish, file, folder);
    }
    findings.folder.rename = keep(findings, "rename", rename(hidden));
    findings.folder.hard_links = keep(findings, "hard links", links(hidden));
    session.step("appending to a file while it is read")?;
    let append = append(session, hidden)?;
    findings.folder.append = keep(findings, "append", append);
    session.step("looking for a new file")?;
    let lag = lag(session, hidden)?;
    if let Some((open, list)) = keep(findings, "listing", lag) {
        (findings.folder.open_lag_ms, findings.folder.list_lag_ms) = (open, list);
    }
    session.step("removing a file")?;
    let undone = delete_undone(session, hidden)?;
    findings.folder.delete_undone = keep(findings, "removing", undone);
    session.step("reading times")?;
    if let Some((step, ahead)) = keep(findings, "times", times(hidden)) {
        (findings.folder.mtime_step_ns, findings.folder.mtime_ahead_ms) = (step, Some(ahead));
    }
    session.step("trying names")?;
    names::measure(session, hidden, findings)
}

/// The value, or a note of why there is none.
pub(super) fn keep<T>(findings: &mut Findings, what: &'static str, result: io::Result<T>) -> Option<T> {
    result.map_err(|error| findings.troubles.insert(what, error.to_string())).ok()
}

fn describe(near: &Path, findings: &mut Findings) {
    let found = &mut findings.folder;
    found.file_system = file_system(near);
    if let Ok(dir) = disk::dir::StdDir::open(near) {
        found.network = Some(disk::dir::Dir::is_network(&dir));
    }
    if let Ok(stat) = rustix::fs::statvfs(near) {
        found.free_bytes = Some(stat.f_bavail.saturating_mul(stat.f_frsize));
        found.total_bytes = Some(stat.f_blocks.saturating_mul(stat.f_frsize));
        found.free_files = (stat.f_files > 0).then_some(stat.f_favail);
    }
    let device = |path: &Path| rustix::fs::stat(path).ok().map(|stat| stat.st_dev);
    if let (Some(own), Some(above)) = (device(near), device(&near.join(".."))) {
        found.mount_point = Some(own != above);
    }
}

/// The kernel's name of the file system a path is on: that of the last mount at the longest beginning of the path.
fn file_system(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let (left, right) = line.split_once(" - ")?;
        let Some(top) = left.split(' ').nth(4).map(unescape) else { continue };
        let Some(kind) = right.split(' ').next() else { continue };
        if path.starts_with(&top) && best.is_none_or(|(longest, _)| longest <= top.len()) {
            best = Some((top.len(), kind));
        }
    }
    best.map(|(_, kind)| kind.to_owned())
}

/// `mountinfo` writes white space and backslashes as three octal digits.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Milliseconds to publish a file, to sync it and to sync its folder: medians. The syncs are `None` where they are not supported.
fn costs(hidden: &Path) -> io::Result<[Option<f64>; 3]> {
    let (mut publish, mut file_sync, mut folder_sync) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let (temporary, last) = (hidden.join(format!(".cost-{round}.part")), hidden.join(format!("cost-{round}")));
        let began = Instant::now();
        let mut file = File::create_new(&temporary)?;
        file.write_all(&[b'x'; SMALL])?;
        let written = began.elapsed();
        let began = Instant::now();
        if file.sync_all().is_ok() {
            file_sync.push(began.elapsed());
        }
        drop(file);
        let began = Instant::now();
        fs::rename(&temporary, &last)?;
        publish.push(written + began.elapsed());
        let began = Instant::now();
        if File::open(hidden).and_then(|folder| folder.sync_all()).is_ok() {
            folder_sync.push(began.elapsed());
        }
        fs::remove_file(&last)?;
    }
    Ok([median(publish), median(file_sync), median(folder_sync)])
}

fn median(mut times: Vec<Duration>) -> Option<f64> {
    times.sort_unstable();
    times.get(times.len() / 2).map(|time| time.as_secs_f64() * 1e3)
}

fn rename(hidden: &Path) -> io::Result<Rename> {
    let (old, new) = (hidden.join("rename-old"), hidden.join("rename-new"));
    let write = |path: &Path, text: &str| fs::write(path, text);
    write(&old, "a")?;
    fs::rename(&old, &new)?;
    write(&old, "b")?;
    let replaces = match fs::rename(&old, &new) {
        Ok(()) => fs::read_to_string(&new)? == "b",
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    let atomic = if replaces { Some(is_replacing_atomic(&old, &new)?) } else { None };
    let third = hidden.join("rename-third");
    write(&third, "c")?;
    let flags = RenameFlags::NOREPLACE;
    let kept = renameat_with(CWD, &third, CWD, &new, flags) == Err(rustix::io::Errno::EXIST);
    let no_replace = kept && renameat_with(CWD, &third, CWD, hidden.join("rename-fourth"), flags).is_ok();
    Ok(Rename { replaces, atomic, no_replace })
}

/// Replaces a file again and again while another thread reads it.
fn is_replacing_atomic(old: &Path, new: &Path) -> io::Result<bool> {
    let (ends, torn, reads) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                let whole = fs::read(new).is_ok_and(|bytes| {
                    bytes.len() == 1 || (bytes.len() == SMALL && bytes.iter().all(|byte| Some(byte) == bytes.first()))
                });
                if !whole {
                    torn.store(true, Ordering::Relaxed);
                }
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
        let replace = || -> io::Result<()> {
            // A reader that is not there yet would find nothing.
            while reads.load(Ordering::Relaxed) == 0 && !reader.is_finished() {
                std::thread::yield_now();
            }
            for round in 0..REPLACEMENTS {
                fs::write(old, vec![u8::try_from(round % 251).unwrap_or(0); SMALL])?;
                fs::rename(old, new)?;
            }
            Ok(())
        };
        let result = replace();
        ends.store(true, Ordering::Relaxed);
        result
    })?;
    Ok(!torn.load(Ordering::Relaxed))
}

fn links(hidden: &Path) -> io::Result<bool> {
    let (file, link) = (hidden.join("link-a"), hidden.join("link-b"));
    fs::write(&file, "a")?;
    Ok(fs::hard_link(&file, &link).is_ok())
}

fn append(session: &Session, hidden: &Path) -> Result<io::Result<Append>, Interrupted> {
    let path = hidden.join("append");
    let begin = || -> io::Result<(File, File)> {
        let mut writer = OpenOptions::new().create_new(true).append(true).open(&path)?;
        writer.write_all(&[b'a'; SMALL])?;
        let mut held = File::open(&path)?;
        held.read_to_end(&mut Vec::new())?;
        writer.write_all(&[b'b'; SMALL])?;
        writer.flush()?;
        Ok((writer, held))
    };
    // Both handles stay open until the end.
    let (_writer, mut held) = match begin() {
        Ok(handles) => handles,
        Err(error) => return Ok(Err(error)),
    };
    let grown = |bytes: &[u8]| bytes.len() == 2 * SMALL && bytes.get(SMALL..) == Some(&[b'b'; SMALL]);
    let fresh_ms = seen(session, || Ok(grown(&fs::read(&path)?)))?;
    let held_ms = seen(session, || {
        let mut bytes = Vec::new();
        held.rewind()?;
        held.read_to_end(&mut bytes)?;
        Ok(grown(&bytes))
    })?;
    Ok(Ok(Append { fresh_ms, held_ms }))
}

/// After how many milliseconds something is so; `None`: not in time.
fn seen(session: &Session, mut is_so: impl FnMut() -> io::Result<bool>) -> Result<Option<u64>, Interrupted> {
    let began = Instant::now();
    let patience = SEEN_WITHIN.min(session.left() / 4);
    loop {
        let looked = Instant::now();
        if is_so().unwrap_or(false) {
            return Ok(Some(ms(looked.duration_since(began))));
        }
        if began.elapsed() >= patience {
            return Ok(None);
        }
        session.wait(LOOK)?;
    }
}

/// Milliseconds until something was so; `None`: not in time.
type Lags = (Option<u64>, Option<u64>);

/// Time until a new file can be opened, and until it is listed.
fn lag(session: &Session, hidden: &Path) -> Result<io::Result<Lags>, Interrupted> {
    // A listing before, so that there is something to be stale.
    let begin = || -> io::Result<()> {
        fs::read_dir(hidden)?.count();
        fs::write(hidden.join("new"), "x")
    };
    if let Err(error) = begin() {
        return Ok(Err(error));
    }
    let listed = || -> io::Result<bool> {
        Ok(fs::read_dir(hidden)?.flatten().any(|entry| entry.file_name().eq_ignore_ascii_case("new")))
    };
    let list = seen(session, listed)?;
    let open = seen(session, || Ok(File::open(hidden.join("new")).is_ok()))?;
    Ok(Ok((open, list)))
}

fn delete_undone(session: &Session, hidden: &Path) -> Result<io::Result<bool>, Interrupted> {
    let path = hidden.join("removed");
    if let Err(error) = fs::write(&path, "x").and_then(|()| fs::remove_file(&path)) {
        return Ok(Err(error));
    }
    let began = Instant::now();
    while began.elapsed() < UNDONE_WITHIN {
        if path.exists() {
            return Ok(Ok(true));
        }
        session.wait(LOOK)?;
    }
    Ok(Ok(false))
}

/// Coarseness of modification times in nanoseconds, and how many milliseconds the folder's clock is ahead of ours.
fn times(hidden: &Path) -> io::Result<(Option<u64>, i64)> {
    let path = hidden.join("times");
    let before = SystemTime::now();
    let mut file = File::create_new(&path)?;
    file.write_all(b"x")?;
    file.flush()?;
    let own = unix_ns(fs::metadata(&path)?.modified()?);
    let ahead = (own - unix_ns(before)) / 1_000_000;
    // An odd second with all digits: what comes back says how many are kept. The file is ours, so nothing else reads its time.
    let given = UNIX_EPOCH + Duration::new(1_700_000_001, 123_456_789);
    let step = file.set_modified(given).and_then(|()| fs::metadata(&path)).and_then(|found| found.modified());
    let step = step.ok().map(|found| coarseness(unix_ns(given), unix_ns(found)));
    Ok((step, i64::try_from(ahead).unwrap_or(i64::MAX)))
}

fn coarseness(given: i128, found: i128) -> u64 {
    let steps = [1, 100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000];
    let keeps = |step: &&i128| found == given - given % **step || found == given - given % **step + **step;
    steps.iter().find(keeps).and_then(|step| u64::try_from(*step).ok()).unwrap_or(u64::MAX)
}

fn unix_ns(time: SystemTime) -> i128 {
    let signed = |time: Duration| i128::try_from(time.as_nanos()).unwrap_or(i128::MAX);
    time.duration_since(UNIX_EPOCH).map_or_else(|error| -signed(error.duration()), signed)
}

pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    //! On whatever the temporary folder is.
    use super::*;
    use crate::commands::probe::findings::Case;
    use crate::commands::probe::session::Doing;

    #[test]
    fn an_ordinary_folder_is_measured() {
        let folder = tempfile::tempdir().unwrap();
        let hidden = folder.path().join(".work.part");
        fs::create_dir(&hidden).unwrap();
        let session = Session::new(Duration::from_secs(60), std::sync::Arc::default(), Doing::default());
        let mut findings = Findings::default();
        measure(&session, folder.path(), &hidden, &mut findings).unwrap();
        assert!(findings.troubles.is_empty(), "{:?}", findings.troubles);
        let found = findings.folder;
        assert!(found.file_system.is_some() && found.free_bytes > Some(0) && found.total_bytes >= found.free_bytes);
        assert_eq!(found.rename, Some(Rename { replaces: true, atomic: Some(true), no_replace: true }));
        assert_eq!((found.hard_links, found.case), (Some(true), Some(Case::Sensitive)));
        assert!(found.append.is_some_and(|append| append.fresh_ms.is_some() && append.held_ms.is_some()));
        assert!(found.open_lag_ms.is_some() && found.list_lag_ms.is_some() && found.publish_ms.is_some());
        assert_eq!(found.delete_undone, Some(false));
        assert!(found.mtime_step_ns.is_some_and(|step| step <= 1_000_000_000));
        assert!(found.name_bytes_max >= Some(100) && found.path_bytes_max >= Some(200));
        assert_eq!(found.refused_own_names, Some(Vec::new()));
    }

    #[test]
    fn the_steps_of_a_clock_are_told_apart() {
        let given = 1_700_000_001_123_456_789;
        for (found, step) in [
            (given, 1),
            (1_700_000_001_123_456_700, 100),
            (1_700_000_001_123_456_000, 1_000),
            (1_700_000_001_123_000_000, 1_000_000),
            (1_700_000_001_000_000_000, 1_000_000_000),
            (1_700_000_000_000_000_000, 2_000_000_000),
            (1_700_000_002_000_000_000, 1_000_000_000),
            (5, u64::MAX),
        ] {
            assert_eq!(coarseness(given, found), step, "{found}");
        }
    }

    #[test]
    fn the_file_system_of_a_path_is_that_of_its_nearest_mount() {
        assert_eq!(file_system(Path::new("/proc/self")).as_deref(), Some("proc"));
        assert_eq!(unescape(r"/mnt/my\040share\134x"), "/mnt/my share\\x");
    }
}
