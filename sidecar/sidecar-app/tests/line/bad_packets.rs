//! Files in the inbox that are not what they seem: each is counted and put aside, and calls go on.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use wire::PacketNumber;
use wire::header::{Header, Layout};

use crate::harness::{Line, Options};
use crate::process::eventually;

/// Every packet file below a folder.
fn packets(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(packets(&path));
        } else if path.extension().is_some_and(|extension| extension == "hft") {
            found.push(path);
        }
    }
    found
}

/// A packet of the near side and its place below the mirrored folder, caught before its sender tidies up.
fn a_packet(line: &Line) -> (PathBuf, Vec<u8>) {
    let outbox = line.near.folder.join("out");
    eventually("a packet of the near side can be read", || {
        line.assert_works();
        packets(&outbox).into_iter().find_map(|path| {
            let content = fs::read(&path).ok()?;
            let whole = Header::parse(&content).is_ok_and(|header| header.total_len == content.len() as u64);
            whole.then(|| (path.strip_prefix(&outbox).unwrap().to_owned(), content))
        })
    })
}

/// How often a file was not used, for whatever reason, so far.
fn put_aside(line: &Line) -> u64 {
    let status = line.far.statusz();
    status["inbox"]["rejects"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
}

/// Does something to the far inbox and waits until as many files more are put aside; calls work before and after.
#[track_caller]
fn assert_put_aside(line: &Line, what: &str, count: u64, act: impl FnOnce()) {
    line.assert_works();
    let before = put_aside(line);
    act();
    eventually(&format!("{what}: {count} files are put aside"), || (put_aside(line) >= before + count).then_some(()));
    line.assert_works();
    assert!(line.far.runs());
    assert_eq!(line.far.statusz()["peers"][0]["halted"], serde_json::Value::Null, "{what}");
}

#[test]
fn files_that_are_no_packets_are_counted_and_disturb_nothing() {
    let line = Line::start(&Options::default());
    let (place, packet) = a_packet(&line);
    let inbox = line.far.folder.join("in");
    let shard = inbox.join(place.parent().unwrap());
    fs::create_dir_all(&shard).unwrap();
    let named = |pn: u64, tag: u32| shard.join(format!("{pn:016x}-{tag:08x}.hft"));

    assert_put_aside(&line, "an empty file", 1, || fs::write(named(0x70_0000, 1), b"").unwrap());
    assert_put_aside(&line, "garbage", 2, || {
        let garbage: Vec<u8> = (0..100_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        fs::write(named(0x70_0001, 1), &garbage).unwrap();
        fs::write(shard.join("not a packet (1).hft"), &garbage).unwrap();
    });
    assert_put_aside(&line, "a name that lies", 1, || fs::write(named(0x70_0002, 7), &packet).unwrap());
    assert_put_aside(&line, "a changed octet", 1, || {
        let mut changed = packet.clone();
        changed[300] ^= 1;
        fs::write(named(0x70_0003, 1), changed).unwrap();
    });
    let header = Header::parse(&packet).unwrap();
    let later = PacketNumber::new(header.pn.get() + 5_000).unwrap();
    assert_put_aside(&line, "a header that claims 2^40 octets", 1, || {
        let claim = Header { total_len: 1 << 40, pn: later, ..header.clone() };
        fs::write(named(later.get(), 1), [&claim.encode()[..], &packet[256..]].concat()).unwrap();
    });
    assert_put_aside(&line, "a header that claims a huge table", 1, || {
        let frames = 65_536;
        let layout = Layout::new(header.suite().unwrap(), header.header_len, header.control_len, frames);
        let frames_at = u32::try_from(layout.frames_at).unwrap();
        let claim = Header { total_len: 1 << 40, frame_count: frames, frames_at, pn: later, ..header.clone() };
        fs::write(named(later.get(), 2), [&claim.encode()[..], &packet[256..]].concat()).unwrap();
    });
    assert_put_aside(&line, "a link and a folder", 2, || {
        symlink("/etc/passwd", named(0x70_0004, 1)).unwrap();
        fs::create_dir(named(0x70_0005, 1)).unwrap();
    });
    assert_put_aside(&line, "a packet that comes back to its sender", 0, || {
        let own = line.near.folder.join("in").join(&place);
        fs::create_dir_all(own.parent().unwrap()).unwrap();
        fs::write(own, &packet).unwrap();
    });
    assert!(fs::read("/etc/passwd").is_ok(), "a link was followed");
    if let Some(peak) = line.far.peak_memory() {
        assert!(peak <= 128 << 20, "{} MiB for headers that claim much", peak >> 20);
    }
    let log = fs::read_to_string(line.far.log()).unwrap();
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn an_inbox_that_vanishes_is_waited_for() {
    let line = Line::start(&Options::default());
    line.assert_works();
    let (inbox, away) = (line.far.folder.join("in"), line.far.folder.join("in-away"));
    fs::rename(&inbox, &away).unwrap();
    let waiting = line.door().call("POST", &line.url("/echo")).body(b"patience").begin().unwrap();
    eventually("the far engine says so", || {
        assert!(line.far.runs(), "an engine must outlive its folder");
        line.far.statusz()["inbox_alarm"].as_str().filter(|alarm| alarm.contains("cannot be read")).map(|_| ())
    });
    fs::rename(&away, &inbox).unwrap();
    assert_eq!(waiting.answer().unwrap().expect_status(200).text(), "patience");
    eventually("the alarm is over", || line.far.statusz()["inbox_alarm"].is_null().then_some(()));
}
