//! Tests of the log: what it promises in the absence of crashes, and what it refuses.

mod crash;
mod damage;
mod fixture;
mod inspect;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use bytes::Bytes;

use super::format::{self, SegmentHeader};
use super::*;

const OWNER: [u8; 16] = [7; 16];
const SMALL: LogOptions = LogOptions { segment_bytes: 4096 };

fn open(dir: &Path) -> (Log, Recovered) {
    Log::open(dir.to_path_buf(), OWNER, SMALL).unwrap()
}

fn open_mem(storage: &MemStorage) -> Result<(Log, Recovered), LogError> {
    Log::open_on(Arc::new(storage.clone()), OWNER, SMALL)
}

fn entries(recovered: Recovered) -> Vec<(u8, Vec<u8>)> {
    recovered.map(|entry| entry.unwrap()).map(|entry| (entry.kind, entry.payload.to_vec())).collect()
}

fn log_files(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != "state.lock").collect();
    names.sort();
    names
}

#[test]
fn appended_entries_come_back_in_order() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("state/log");
    let (mut log, recovered) = open(&dir);
    assert!(recovered.fresh);
    assert_eq!((recovered.segments, recovered.torn_bytes, entries(recovered).len()), (1, 0, 0));
    let first = log.append(16, &[b"he", b"", b"llo"]).unwrap();
    let second = log.append(255, &[]).unwrap();
    assert!(first < second && second < log.end());
    log.commit().unwrap();
    drop(log);
    let (log, recovered) = open(&dir);
    assert!(!recovered.fresh);
    let found: Vec<Entry> = recovered.map(|entry| entry.unwrap()).collect();
    assert_eq!(found.iter().map(|entry| entry.position).collect::<Vec<_>>(), [first, second]);
    assert!(found.iter().all(|entry| !entry.in_checkpoint));
    assert_eq!((found[0].kind, found[0].payload.as_ref()), (16, b"hello".as_ref()));
    assert_eq!((found[1].kind, found[1].payload.as_ref()), (255, b"".as_ref()));
    assert_eq!(log.reader().read(first).unwrap(), (16, Bytes::from_static(b"hello")));
}

#[test]
fn entry_is_readable_before_the_commit_and_from_other_threads() {
    let place = tempfile::tempdir().unwrap();
    let (mut log, _) = open(place.path());
    let large = vec![9; 300_000];
    let position = log.append(20, &[b"head", &large, b"tail"]).unwrap();
    let reader = log.reader();
    let read = std::thread::spawn(move || reader.read(position).unwrap()).join().unwrap();
    assert_eq!(read.0, 20);
    assert_eq!(read.1, [b"head".as_ref(), &large, b"tail"].concat());
}

#[test]
fn entry_is_read_in_pieces() {
    let place = tempfile::tempdir().unwrap();
    let (mut log, _) = open(place.path());
    let payload: Vec<u8> = (0..700_000_u32).map(|n| n as u8).collect();
    let position = log.append(20, &[&payload]).unwrap();
    let reader = log.reader();
    for (skip, len) in [(0, 10), (1, 699_999), (123_456, 300_000), (700_000, 0), (0, 700_000)] {
        assert_eq!(reader.read_at(position, skip, len).unwrap(), payload[skip..skip + len]);
    }
    for (skip, len) in [(0, 700_001), (700_001, 0), (usize::MAX, 1), (1, usize::MAX)] {
        assert!(matches!(reader.read_at(position, skip, len), Err(LogError::OutOfRange { .. })));
    }
}

#[test]
fn longest_entry_fits_and_a_longer_one_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let (mut log, _) = open(place.path());
    let payload = vec![1; PAYLOAD_BYTES_MAX];
    let position = log.append(16, &[&payload]).unwrap();
    assert!(matches!(log.append(16, &[&payload, b"x"]), Err(LogError::TooLarge { .. })));
    for kind in 0..KIND_USER_MIN {
        assert!(matches!(log.append(kind, &[]), Err(LogError::ReservedKind { .. })));
    }
    log.commit().unwrap();
    drop(log);
    let (log, recovered) = open(place.path());
    assert_eq!(entries(recovered), [(16, payload)]);
    assert_eq!(log.reader().read(position).unwrap().1.len(), PAYLOAD_BYTES_MAX);
}

#[test]
fn log_can_live_on_a_thread_of_its_own() {
    fn is_send<T: Send>() {}
    fn is_shared<T: Send + Sync + Clone>() {}
    is_send::<Log>();
    is_send::<Recovered>();
    is_shared::<LogReader>();
}

#[test]
fn positions_keep_their_twelve_bytes() {
    let position = Position { segment: 0x0102_0304_0506_0708, offset: 0x0a0b_0c0d };
    assert_eq!(position.to_bytes(), [8, 7, 6, 5, 4, 3, 2, 1, 0x0d, 0x0c, 0x0b, 0x0a]);
    assert_eq!(Position::from_bytes(position.to_bytes()), position);
}

#[test]
fn checkpoint_replaces_what_was_before() {
    let place = tempfile::tempdir().unwrap();
    let (mut log, _) = open(place.path());
    assert!(!log.needs_checkpoint());
    for n in 0..4 {
        log.append(16, &[&[n; 1024]]).unwrap();
    }
    assert!(log.needs_checkpoint());
    let positions = log.roll([(17, b"a".to_vec()), (18, b"b".to_vec())].into_iter()).unwrap();
    assert!(!log.needs_checkpoint());
    assert_eq!(log.reader().read(positions[1]).unwrap(), (18, Bytes::from_static(b"b")));
    log.append(19, &[b"c"]).unwrap();
    log.commit().unwrap();
    assert_eq!(log_files(place.path()), ["0000000000000002.log"]);
    drop(log);
    let (_log, recovered) = open(place.path());
    let found: Vec<Entry> = recovered.map(|entry| entry.unwrap()).collect();
    let kinds: Vec<_> = found.iter().map(|entry| (entry.kind, entry.in_checkpoint)).collect();
    assert_eq!(kinds, [(17, true), (18, true), (19, false)]);
    assert_eq!(found[0].position, positions[0]);
}

#[test]
fn segment_smaller_than_its_checkpoint_is_not_full_at_once() {
    let place = tempfile::tempdir().unwrap();
    let (mut log, _) = open(place.path());
    log.roll((0..20).map(|_| (16, vec![0; 1000]))).unwrap();
    assert!(!log.needs_checkpoint());
    log.append(16, &[&[0; 15_000]]).unwrap();
    assert!(!log.needs_checkpoint());
    log.append(16, &[&[0; 6_000]]).unwrap();
    assert!(log.needs_checkpoint());
}

#[test]
fn pinned_segment_stays_until_its_last_pin_goes() {
    let place = tempfile::tempdir().unwrap();
    let (mut log, _) = open(place.path());
    let a = log.append(16, &[b"a"]).unwrap();
    let b = log.append(16, &[&[1; 9000]]).unwrap();
    log.pin(a);
    log.pin(b);
    log.pin(b);
    log.roll(std::iter::empty()).unwrap();
    let both = log.bytes_on_disk();
    assert!(log.holds(a));
    log.unpin(a);
    log.unpin(b);
    assert_eq!(log.reader().read(a).unwrap().1, b"a".as_ref());
    log.unpin(b);
    assert!(!log.holds(b));
    assert!(matches!(log.reader().read(b), Err(LogError::Gone { .. })));
    assert_eq!(log_files(place.path()), ["0000000000000002.log"]);
    assert!(log.bytes_on_disk() + 9000 < both);
    let size = std::fs::metadata(place.path().join("0000000000000002.log")).unwrap().len();
    assert_eq!(log.bytes_on_disk(), size);
}

#[test]
fn unlink_waits_for_the_commit_of_its_reason() {
    let place = tempfile::tempdir().unwrap();
    let (mut log, _) = open(place.path());
    let a = log.append(16, &[b"a"]).unwrap();
    log.pin(a);
    log.roll(std::iter::empty()).unwrap();
    log.append(17, &[b"a is done"]).unwrap();
    log.unpin(a);
    assert!(log.holds(a), "the reason is not durable yet");
    log.pin(a);
    log.commit().unwrap();
    assert!(log.holds(a), "pinned again meanwhile");
    log.unpin(a);
    assert!(!log.holds(a));
}

#[test]
fn nothing_is_unlinked_before_the_recovered_pins_are_complete() {
    let place = tempfile::tempdir().unwrap();
    let (mut log, _) = open(place.path());
    let a = log.append(16, &[b"a"]).unwrap();
    log.pin(a);
    log.roll(std::iter::empty()).unwrap();
    let b = log.append(16, &[b"b"]).unwrap();
    log.pin(b);
    log.roll(std::iter::empty()).unwrap();
    drop(log);
    let (mut log, recovered) = open(place.path());
    assert_eq!(recovered.segments, 3);
    log.pin(a);
    log.unpin(a);
    log.pin(a);
    assert!(log.holds(a) && log.holds(b));
    log.reclaim();
    assert!(log.holds(a) && !log.holds(b));
    assert_eq!(log.reader().read(a).unwrap().1, b"a".as_ref());
}

#[test]
fn many_segments_need_few_open_files() {
    let place = tempfile::tempdir().unwrap();
    let (mut log, _) = open(place.path());
    let mut positions = Vec::new();
    for n in 0..100_u8 {
        let position = log.append(16, &[&[n]]).unwrap();
        log.pin(position);
        positions.push(position);
        log.roll(std::iter::empty()).unwrap();
    }
    let reader = log.reader();
    for (n, position) in positions.iter().enumerate() {
        assert_eq!(reader.read(*position).unwrap().1, [n as u8].as_ref());
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        let ours = open.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
        assert!(ours.filter(|path| path.starts_with(place.path())).count() < 40);
    }
    drop(log);
    let (log, recovered) = open(place.path());
    assert_eq!(recovered.segments, 101);
    assert_eq!(log.reader().read(positions[0]).unwrap().1, [0].as_ref());
}

#[test]
fn reader_of_a_carried_entry_is_sent_on_when_its_segment_is_gone() {
    let place = tempfile::tempdir().unwrap();
    let (mut log, _) = open(place.path());
    log.reclaim();
    let reader = log.reader();
    let mut places = vec![log.append(16, &[b"0"]).unwrap()];
    log.pin(places[0]);
    for n in ["1", "2", "3"] {
        log.roll(std::iter::empty()).unwrap();
        let (old, new) = (places[places.len() - 1], log.append(16, &[n.as_bytes()]).unwrap());
        log.pin(new);
        log.forward(old, new);
        assert_ne!(reader.read(old).unwrap().1, n.as_bytes(), "it is read where it is while it is there");
        log.commit().unwrap();
        log.unpin(old);
        assert!(!log.holds(old));
        places.push(new);
        for old in &places {
            assert_eq!(reader.read(*old).unwrap().1, n.as_bytes());
            assert_eq!(reader.look(*old).unwrap(), (16, 1));
        }
    }
    log.unpin(places[3]);
    log.roll(std::iter::empty()).unwrap();
    assert!(places.iter().all(|old| matches!(reader.read(*old), Err(LogError::Gone { .. }))));
}

#[test]
fn a_full_disk_uses_the_reserve_and_grows_it_again() {
    let storage = MemStorage::new();
    let (mut log, _) = open_mem(&storage).unwrap();
    assert_eq!(log.aside(), SetAside::default());
    let wanted = 9 << 20;
    assert_eq!(log.set_aside(wanted).unwrap(), SetAside { bytes: wanted, wanted });
    let before = log.append(16, &[b"one"]).unwrap();
    storage.fail_at(storage.calls(), Fault::Full);
    let after = log.append(16, &[b"two"]).unwrap();
    assert_eq!(log.aside(), SetAside { bytes: 5 << 20, wanted });
    storage.fail_at(storage.calls(), Fault::Full);
    assert!(!log.refill().is_whole());
    assert!(log.refill().is_whole());
    assert!(log.give_back(100 << 20));
    assert!(!log.give_back(1), "there is nothing left to give");
    storage.fail_at(storage.calls(), Fault::Full);
    assert!(matches!(log.append(16, &[b"three"]), Err(LogError::Full { .. })));
    log.append(16, &[b"four"]).unwrap();
    log.commit().unwrap();
    assert_eq!([before, after].map(|place| log.reader().read(place).unwrap().1), [b"one".as_slice(), b"two"]);
    drop(log);
    storage.power_cut(0);
    let (mut log, recovered) = open_mem(&storage).unwrap();
    assert_eq!(entries(recovered).len(), 3);
    assert!(log.set_aside(wanted).unwrap().is_whole());
    assert!(log.set_aside(1 << 20).unwrap().is_whole());
    assert_eq!(storage.contents("reserve").unwrap().len(), 1 << 20);
}

#[test]
fn space_set_aside_is_taken_from_a_real_disk() {
    use std::os::unix::fs::MetadataExt;
    let place = tempfile::tempdir().unwrap();
    let (mut log, _) = open(place.path());
    log.set_aside(5 << 20).unwrap();
    let taken = || std::fs::metadata(place.path().join("reserve")).unwrap().blocks() * 512;
    assert!(taken() >= 5 << 20, "{}", taken());
    assert!(log.give_back(1));
    assert!(taken() < 2 << 20, "{}", taken());
    assert!(log.refill().is_whole() && taken() >= 5 << 20);
}

#[test]
fn second_log_is_refused_naming_the_first() {
    let place = tempfile::tempdir().unwrap();
    let (log, _) = open(place.path());
    let error = Log::open(place.path().to_path_buf(), OWNER, SMALL).err().unwrap();
    assert!(matches!(error, LogError::Locked { .. }));
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    drop(log);
    open(place.path());
}

#[test]
fn other_owner_is_refused_naming_both() {
    let place = tempfile::tempdir().unwrap();
    drop(open(place.path()));
    let error = Log::open(place.path().to_path_buf(), [9; 16], SMALL).err().unwrap().to_string();
    assert!(error.contains("07070707-0707-0707-0707-070707070707"), "{error}");
    assert!(error.contains("09090909-0909-0909-0909-090909090909"), "{error}");
}

#[test]
fn later_version_is_refused_by_name_and_left_alone() {
    let storage = MemStorage::new();
    drop(open_mem(&storage).unwrap());
    let name = format::segment_name(1);
    let mut bytes = storage.contents(&name).unwrap();
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(b"whatever a later version keeps here");
    storage.put(&name, &bytes);
    storage.put("0000000000000002.new", b"prepared by it");
    let error = open_mem(&storage).err().unwrap().to_string();
    assert!(error.contains("written by a later hoft: log major 2; this program reads 1"), "{error}");
    assert_eq!(storage.contents(&name).unwrap(), bytes);
    assert!(storage.contents("0000000000000002.new").is_some());
}

#[test]
fn renamed_swapped_and_foreign_segments_are_damage() {
    let storage = MemStorage::new();
    drop(open_mem(&storage).unwrap());
    let bytes = storage.contents(&format::segment_name(1)).unwrap();
    for (contents, offset) in [(bytes.as_slice(), 32), (b"short".as_ref(), 0), (&[0; 4096], 0)] {
        storage.put(&format::segment_name(2), contents);
        match open_mem(&storage) {
            Err(LogError::Damaged { offset: found, .. }) => assert_eq!(found, offset),
            other => panic!("{:?}", other.err()),
        }
    }
}

#[test]
fn files_are_private_and_links_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("a/b");
    drop(open(&dir));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let segment = dir.join(format::segment_name(1));
    assert_eq!([&place.path().join("a"), &dir].map(|path| mode(path)), [0o700; 2]);
    assert_eq!([&segment, &dir.join("state.lock")].map(|path| mode(path)), [0o600; 2]);
    std::fs::rename(&segment, place.path().join("elsewhere")).unwrap();
    symlink(place.path().join("elsewhere"), &segment).unwrap();
    assert!(matches!(Log::open(dir, OWNER, SMALL), Err(LogError::Io { .. })));
}

#[test]
fn leftovers_go_and_strangers_stay() {
    let place = tempfile::tempdir().unwrap();
    drop(open(place.path()));
    let strangers = ["view.redb", "1.log", "000000000000000G.log", "x.new", "0000000000000002.log.bak"];
    for name in strangers {
        std::fs::write(place.path().join(name), b"?").unwrap();
    }
    std::fs::write(place.path().join("0000000000000002.new"), b"half a segment").unwrap();
    let (_log, recovered) = open(place.path());
    assert_eq!(recovered.segments, 1);
    let mut expected: Vec<&str> = strangers.into_iter().chain(["0000000000000001.log"]).collect();
    expected.sort_unstable();
    assert_eq!(log_files(place.path()), expected);
}

#[test]
fn copy_of_an_entry_in_a_payload_is_never_an_entry() {
    let storage = MemStorage::new();
    let (mut log, _) = open_mem(&storage).unwrap();
    log.append(16, &[b"before"]).unwrap();
    log.commit().unwrap();
    log.append(16, &[b"after"]).unwrap();
    log.commit().unwrap();
    let whole = storage.contents(&format::segment_name(1)).unwrap();
    // Someone sends our own log through the tunnel, at every alignment; then its last bytes are torn off.
    let parts: Vec<&[u8]> = (0..8).flat_map(|n| [&whole[..], &[0; 8][..n]]).collect();
    log.append(17, &parts).unwrap();
    let mut torn = storage.contents(&format::segment_name(1)).unwrap();
    torn.truncate(torn.len() - 1);
    storage.restart();
    storage.put(&format::segment_name(1), &torn);
    let (_, recovered) = open_mem(&storage).unwrap();
    assert!(recovered.torn_bytes > 0);
    assert_eq!(entries(recovered), [(16, b"before".to_vec()), (16, b"after".to_vec())]);
}

#[test]
fn full_disk_refuses_an_append_and_the_log_goes_on() {
    let storage = MemStorage::new();
    let (mut log, _) = open_mem(&storage).unwrap();
    log.append(16, &[b"kept"]).unwrap();
    storage.fail_at(storage.calls(), Fault::Full);
    let end = log.end();
    assert!(matches!(log.append(16, &[&[1; 5000]]), Err(LogError::Full { .. })));
    assert_eq!(log.end(), end);
    assert_eq!(storage.contents(&format::segment_name(1)).unwrap().len(), end.offset as usize);
    log.append(16, &[b"too"]).unwrap();
    log.commit().unwrap();
    storage.power_cut(0);
    assert_eq!(entries(open_mem(&storage).unwrap().1), [(16, b"kept".to_vec()), (16, b"too".to_vec())]);
}

#[test]
fn full_disk_refuses_a_roll_and_the_log_goes_on() {
    let storage = MemStorage::new();
    let (mut log, _) = open_mem(&storage).unwrap();
    let checkpoint = || [(16, vec![1; 5000])].into_iter();
    log.append(16, &[b"a"]).unwrap();
    log.commit().unwrap();
    // Create, write and sync of the new segment; the call before them removes a leftover.
    for call in 1..=3 {
        storage.fail_at(storage.calls() + call, Fault::Full);
        assert!(matches!(log.roll(checkpoint()), Err(LogError::Full { .. })), "call {call}");
        assert_eq!(log.end().segment, 1);
        assert!(storage.contents(&format::prepared_name(2)).is_none());
        log.append(16, &[b"b"]).unwrap();
        log.commit().unwrap();
    }
    assert!(matches!(log.roll([(1, vec![])].into_iter()), Err(LogError::ReservedKind { .. })));
    log.roll(checkpoint()).unwrap();
    assert_eq!(log.end().segment, 2);
}

#[test]
fn failed_sync_or_write_stops_the_log_for_good() {
    for call in 0..2 {
        let storage = MemStorage::new();
        let (mut log, _) = open_mem(&storage).unwrap();
        let position = log.append(16, &[b"a"]).unwrap();
        log.commit().unwrap();
        storage.fail_at(storage.calls() + call, Fault::Broken);
        let done = log.append(16, &[b"b"]).and_then(|_| log.commit());
        assert!(matches!(done, Err(LogError::Io { .. })), "{done:?}");
        assert!(matches!(log.commit(), Err(LogError::Poisoned)));
        assert!(matches!(log.append(16, &[b"c"]), Err(LogError::Poisoned)));
        assert!(matches!(log.roll(std::iter::empty()), Err(LogError::Poisoned)));
        assert_eq!(log.reader().read(position).unwrap().1, b"a".as_ref());
        storage.restart();
        assert_eq!(entries(open_mem(&storage).unwrap().1), [(16, b"a".to_vec())]);
    }
}

#[test]
fn appending_goes_on_while_the_recovered_entries_are_read() {
    let place = tempfile::tempdir().unwrap();
    let (mut log, _) = open(place.path());
    for n in 0..100_u8 {
        log.append(16, &[&[n; 500]]).unwrap();
    }
    log.commit().unwrap();
    drop(log);
    let (mut log, recovered) = open(place.path());
    for (n, entry) in recovered.enumerate() {
        assert_eq!(entry.unwrap().payload, vec![n as u8; 500]);
        log.append(17, &[b"new"]).unwrap();
    }
    log.commit().unwrap();
    drop(log);
    assert_eq!(open(place.path()).1.count(), 200);
}

#[test]
fn long_torn_tail_is_searched_to_its_end() {
    let storage = MemStorage::new();
    let (mut log, _) = open_mem(&storage).unwrap();
    let bad = log.append(16, &[b"bad"]).unwrap();
    log.commit().unwrap();
    log.append(16, &[&vec![0xff; 3 << 20]]).unwrap();
    let mut bytes = storage.contents(&format::segment_name(1)).unwrap();
    bytes[bad.offset as usize] ^= 1;
    // The entry that vouches for the bad one is long, and torn itself.
    bytes.truncate(bytes.len() - 5);
    storage.restart();
    storage.put(&format::segment_name(1), &bytes);
    assert!(matches!(open_mem(&storage), Err(LogError::Damaged { offset, .. }) if offset == u64::from(bad.offset)));
}

#[test]
fn bytes_are_those_of_the_document() {
    let header = SegmentHeader { owner: OWNER, number: 3, created_ms: 0x0102_0304, salt: 0x1122_3344_5566_7788 };
    let bytes = header.encode();
    assert_eq!(SegmentHeader::decode(&bytes).unwrap(), header);
    assert_eq!(&bytes[..16], b"hoft log\x01\0\0\0\0\0\0\0");
    assert_eq!(bytes[16..32], OWNER);
    assert_eq!(bytes[32..40], [3, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[40..48], [4, 3, 2, 1, 0, 0, 0, 0]);
    assert_eq!(bytes[48..60], [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0, 0, 0, 0]);
    assert_eq!(u32::from_le_bytes(bytes[60..].try_into().unwrap()), crc32c::crc32c(&bytes[..60]));
    let entry = format::EntryHeader { len: 5, kind: 16, durable: 64, payload_crc: 0xaabb_ccdd };
    let bytes = entry.encode(header.salt, 96);
    assert_eq!(bytes[..16], [5, 0, 0, 0, 16, 0, 0, 0, 64, 0, 0, 0, 0xdd, 0xcc, 0xbb, 0xaa]);
    assert_eq!((entry.extent(), entry.padded_len()), (32, 12));
    assert_eq!(format::EntryHeader::decode(header.salt, 96, &bytes), Some(entry));
    assert_eq!(format::EntryHeader::decode(header.salt, 104, &bytes), None);
    assert_eq!(format::EntryHeader::decode(header.salt + 1, 96, &bytes), None);
    assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
}
