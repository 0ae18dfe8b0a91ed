//! Looking at logs: everything wrong is named with its file and offset, nothing is changed, nobody is disturbed.

use super::*;

/// Three segments with two commits each after their checkpoints, in a folder.
fn three_segments(dir: &Path) -> Vec<Position> {
    let (mut log, _) = open(dir);
    let mut positions = Vec::new();
    for n in 0..3_u8 {
        for m in 0..2_u8 {
            positions.push(log.append(16 + n, &[&[m; 100]]).unwrap());
            log.pin(positions[positions.len() - 1]);
            log.commit().unwrap();
        }
        if n < 2 {
            // Octets that differ: among equal ones, a sum before them that ends in the same octet would move their place.
            log.roll([(40, (n..n + 50).collect())].into_iter()).unwrap();
        }
    }
    positions
}

fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| std::fs::read(dir.join(&name)).map(|bytes| (name, bytes)).unwrap();
    log_files(dir).into_iter().map(read).collect()
}

/// Every finding: number of the segment, offset, flaw.
fn findings(files: &LogFiles) -> Vec<(u64, u64, Flaw)> {
    let mut all = Vec::new();
    for segment in files.segments() {
        let found = files.walk(segment.number, &mut |_| {}).findings;
        all.extend(found.into_iter().map(|one| {
            assert_eq!(one.file, segment.file);
            (segment.number, one.offset, one.flaw)
        }));
    }
    all
}

fn file(dir: &Path, number: u64) -> PathBuf {
    dir.join(format::segment_name(number))
}

#[test]
fn whole_log_has_no_findings_and_gives_every_entry() {
    let place = tempfile::tempdir().unwrap();
    let positions = three_segments(place.path());
    let before = contents(place.path());
    let files = LogFiles::open(place.path()).unwrap();
    assert_eq!((files.holder(), files.owner(), files.newest()), (None, Some(OWNER), Some(3)));
    assert_eq!(findings(&files), []);
    let mut seen = Vec::new();
    for number in 1..=3 {
        let walk = files.walk(number, &mut |entry| seen.push((entry.position, entry.in_checkpoint)));
        assert_eq!((walk.entries, walk.checkpoint_entries, walk.torn_bytes), (2, u64::from(number > 1), 0));
    }
    let appended: Vec<Position> = seen.iter().filter(|(_, checkpoint)| !checkpoint).map(|(at, _)| *at).collect();
    assert_eq!(appended, positions);
    for position in positions {
        assert_eq!(files.reader().look(position).unwrap().1, 100);
    }
    assert_eq!(contents(place.path()), before);
}

#[test]
fn flipped_bits_are_found_at_or_before_its_place() {
    let place = tempfile::tempdir().unwrap();
    three_segments(place.path());
    let last_commit = LogFiles::open(place.path()).unwrap();
    let mut ends = Vec::new();
    last_commit.walk(3, &mut |entry| ends.push(u64::from(entry.position.offset)));
    for number in 1..=3 {
        let path = file(place.path(), number);
        let whole = std::fs::read(&path).unwrap();
        for bit in (0..whole.len() * 8).step_by(5) {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &flipped).unwrap();
            let files = LogFiles::open(place.path()).unwrap();
            let found = findings(&files);
            let walk = files.walk(number, &mut |_| {});
            // Who wrote it tells a foreign segment: without a checksum that fits, nobody did.
            if found.is_empty() {
                assert!(number == 3 && bit as u64 / 8 >= ends[2], "bit {bit} of segment {number} is not seen");
                assert_eq!(walk.torn_at, ends[2], "bit {bit}");
            } else {
                let (of, offset, flaw) = found[0];
                assert_eq!((of, found.len()), (number, 1), "bit {bit}: {found:?}");
                assert!(offset <= bit as u64 / 8, "bit {bit} is reported at {offset}");
                assert!(matches!(flaw, Flaw::NotASegment | Flaw::Header | Flaw::Entry | Flaw::CutShort), "{flaw:?}");
            }
        }
        std::fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn file_cut_at_any_byte_is_damage_or_a_torn_tail() {
    let place = tempfile::tempdir().unwrap();
    three_segments(place.path());
    for number in 1..=3 {
        let files = LogFiles::open(place.path()).unwrap();
        let mut starts = Vec::new();
        let checkpoint_end =
            files.walk(number, &mut |entry| starts.push(entry.position.offset as usize)).checkpoint_end;
        let path = file(place.path(), number);
        let whole = std::fs::read(&path).unwrap();
        starts.push(checkpoint_end as usize);
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            let files = LogFiles::open(place.path()).unwrap();
            let found = findings(&files);
            if len < checkpoint_end as usize || (number < 3 && !starts.contains(&len)) {
                assert_eq!(found.len(), 1, "{number} cut at {len}: {found:?}");
                assert_eq!((found[0].0, found[0].2), (number, Flaw::CutShort), "{number} cut at {len}: {found:?}");
            } else {
                // Between entries nothing is to be seen, and the newest segment has the torn tail of a crash.
                assert_eq!(found, [], "{number} cut at {len}");
            }
        }
        std::fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn what_lies_behind_damage_is_read_on() {
    let place = tempfile::tempdir().unwrap();
    let positions = three_segments(place.path());
    let path = file(place.path(), 2);
    let mut bytes = std::fs::read(&path).unwrap();
    let payload: Vec<u8> = (0..50).collect();
    let checkpoint = bytes.windows(50).position(|window| window == payload).unwrap();
    bytes[checkpoint] = 9;
    bytes[positions[2].offset as usize + 30] = 9;
    std::fs::write(&path, bytes).unwrap();
    let files = LogFiles::open(place.path()).unwrap();
    let mut seen = Vec::new();
    let walk = files.walk(2, &mut |entry| seen.push(entry.position));
    assert_eq!(seen, [positions[3]]);
    let offsets: Vec<u64> = walk.findings.iter().map(|one| one.offset).collect();
    assert_eq!(offsets, [checkpoint as u64 - 20, u64::from(positions[2].offset)]);
}

#[test]
fn swapped_foreign_later_and_strange_segments_are_named() {
    let place = tempfile::tempdir().unwrap();
    three_segments(place.path());
    let [one, two, three] = [1, 2, 3].map(|number| file(place.path(), number));
    let (first, second) = (std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
    std::fs::write(&one, &second).unwrap();
    std::fs::write(&two, &first).unwrap();
    let found = findings(&LogFiles::open(place.path()).unwrap());
    assert_eq!(found, [(1, 32, Flaw::Renamed), (2, 32, Flaw::Renamed)]);
    let elsewhere = tempfile::tempdir().unwrap();
    drop(Log::open(elsewhere.path().to_path_buf(), [9; 16], SMALL).unwrap());
    std::fs::copy(file(elsewhere.path(), 1), &one).unwrap();
    std::fs::write(&two, [b"not a segment".as_slice(), &[0; 100]].concat()).unwrap();
    let found = findings(&LogFiles::open(place.path()).unwrap());
    assert_eq!(found, [(1, 16, Flaw::Foreign), (2, 0, Flaw::NotASegment)]);
    let mut later = std::fs::read(&three).unwrap();
    later[8] = 2;
    let crc = crc32c::crc32c(&later[..60]);
    later[60..64].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&three, later).unwrap();
    let found = findings(&LogFiles::open(place.path()).unwrap());
    assert_eq!(found[found.len() - 1], (3, 0, Flaw::LaterVersion));
    std::fs::remove_file(&three).unwrap();
    std::fs::create_dir(&three).unwrap();
    assert_eq!(findings(&LogFiles::open(place.path()).unwrap()).last().unwrap().2, Flaw::Unreadable);
}

#[test]
fn folders_that_are_no_logs_are_refused_or_empty() {
    let place = tempfile::tempdir().unwrap();
    assert_eq!(LogFiles::open(place.path()).unwrap().segments().len(), 0);
    assert!(log_files(place.path()).is_empty());
    assert!(!place.path().join("state.lock").exists());
    let missing = place.path().join("missing");
    assert!(matches!(LogFiles::open(&missing), Err(LogError::Io { .. })));
    assert!(!missing.exists(), "it was made");
    std::fs::write(&missing, "a file").unwrap();
    assert!(matches!(LogFiles::open(&missing), Err(LogError::Io { .. })));
}

#[test]
fn running_engine_is_named_and_not_disturbed() {
    let place = tempfile::tempdir().unwrap();
    let (mut log, _) = open(place.path());
    log.append(16, &[b"one"]).unwrap();
    log.commit().unwrap();
    // Half of an entry that is being written.
    let path = file(place.path(), 1);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [whole.as_slice(), &[7; 12]].concat()).unwrap();
    let files = LogFiles::open(place.path()).unwrap();
    assert!(files.holder().is_some_and(|holder| holder.contains(&std::process::id().to_string())));
    let mut count = 0;
    let walk = files.walk(1, &mut |_| count += 1);
    assert_eq!((count, walk.torn_at, walk.torn_bytes, walk.findings), (1, whole.len() as u64, 12, Vec::new()));
    log.append(16, &[b"two"]).unwrap();
    log.commit().unwrap();
    drop(log);
    assert_eq!(LogFiles::open(place.path()).unwrap().holder(), None);
}

#[test]
fn engine_starts_while_somebody_asks_who_runs() {
    let place = tempfile::tempdir().unwrap();
    drop(open(place.path()));
    let file = std::fs::File::open(place.path().join("state.lock")).unwrap();
    file.try_lock_shared().unwrap();
    let asker = std::thread::spawn(move || {
        // An asker that a busy machine does not let go on at once.
        std::thread::sleep(std::time::Duration::from_millis(200));
        drop(file);
    });
    open(place.path());
    asker.join().unwrap();
}
