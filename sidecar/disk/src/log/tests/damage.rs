//! Every torn tail is cut and every flipped bit is found: no wrong entry is ever returned.

use super::*;

type Pairs = Vec<(u8, Vec<u8>)>;

/// A log of three commits, its entries, and the end of what each commit made durable.
fn three_commits() -> (MemStorage, Pairs, Vec<usize>) {
    let storage = MemStorage::new();
    let (mut log, _) = open_mem(&storage).unwrap();
    log.roll([(40, b"checkpoint".to_vec())].into_iter()).unwrap();
    let mut all = vec![(40, b"checkpoint".to_vec())];
    let mut ends = Vec::new();
    for n in 0..3_u8 {
        for (kind, len) in [(16 + n, 3), (32 + n, 20 * usize::from(n))] {
            log.append(kind, &[&vec![n; len]]).unwrap();
            all.push((kind, vec![n; len]));
        }
        log.commit().unwrap();
        ends.push(log.end().offset as usize);
    }
    (storage, all, ends)
}

fn with_contents(bytes: &[u8]) -> MemStorage {
    let storage = MemStorage::new();
    storage.put(&format::segment_name(2), bytes);
    storage
}

#[test]
fn tail_torn_at_any_byte_is_cut_at_the_last_whole_entry() {
    let (storage, all, ends) = three_commits();
    let bytes = storage.contents(&format::segment_name(2)).unwrap();
    assert_eq!(bytes.len(), ends[2]);
    let last = ends[2] - (20 + 40_usize).next_multiple_of(8);
    for len in last..bytes.len() {
        for fill in [0, 1, 100] {
            let mut torn = bytes[..len].to_vec();
            torn.resize(len + fill, 0);
            if torn.len() >= bytes.len() && bytes[len..].iter().all(|byte| *byte == 0) {
                // The zeros that follow are those that were torn off.
                continue;
            }
            let storage = with_contents(&torn);
            let (mut log, recovered) = open_mem(&storage).unwrap();
            assert_eq!(recovered.torn_bytes, (torn.len() - last) as u64);
            assert_eq!(entries(recovered), all[..all.len() - 1]);
            assert_eq!(log.end().offset as usize, last);
            log.append(99, &[b"next"]).unwrap();
            log.commit().unwrap();
            storage.power_cut(0);
            assert_eq!(entries(open_mem(&storage).unwrap().1).last().unwrap(), &(99, b"next".to_vec()));
        }
    }
}

#[test]
fn flipped_bit_is_never_returned() {
    let (storage, all, ends) = three_commits();
    let bytes = storage.contents(&format::segment_name(2)).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let storage = with_contents(&flipped);
        match open_mem(&storage) {
            // The last commit has no later entry to vouch for it: a bad one there is a torn tail.
            Ok((_, recovered)) => {
                assert!(bit / 8 >= ends[1], "bit {bit} was durable before the last commit");
                let found = entries(recovered);
                assert!(found.len() < all.len() && all.starts_with(&found), "bit {bit}");
            }
            Err(LogError::Damaged { offset, .. }) => {
                assert!(bit / 8 < ends[1], "bit {bit}");
                assert!(offset as usize <= bit / 8, "bit {bit} reported at {offset}");
                assert_eq!(storage.contents(&format::segment_name(2)).unwrap(), flipped, "damage is not repaired");
            }
            Err(other) => panic!("bit {bit}: {other}"),
        }
    }
}

#[test]
fn flipped_bit_is_found_by_readers() {
    let (storage, _, _) = three_commits();
    let (mut log, _) = open_mem(&storage).unwrap();
    let payload = vec![5; 100];
    let position = log.append(16, &[&payload]).unwrap();
    let start = position.offset as usize;
    let bytes = storage.contents(&format::segment_name(2)).unwrap();
    for bit in start * 8..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        storage.put(&format::segment_name(2), &flipped);
        assert!(matches!(log.reader().read(position), Err(LogError::Damaged { .. })), "bit {bit}");
        assert!(matches!(log.reader().read_at(position, 3, 5), Err(LogError::Damaged { .. })), "bit {bit}");
    }
    storage.put(&format::segment_name(2), &bytes);
    assert_eq!(log.reader().read_at(position, 3, 5).unwrap(), payload[..5]);
}

#[test]
fn damage_names_file_offset_and_remedy() {
    let (storage, _, ends) = three_commits();
    let mut bytes = storage.contents(&format::segment_name(2)).unwrap();
    bytes[ends[0] + 3] ^= 0x10;
    let error = open_mem(&with_contents(&bytes)).err().unwrap().to_string();
    assert!(error.contains("memory/0000000000000002.log is damaged"), "{error}");
    assert!(error.contains(&format!("at offset {}", ends[0])), "{error}");
    assert!(error.contains("restore the volume"), "{error}");
}

#[test]
fn reordered_tail_of_one_commit_is_a_crash_and_not_damage() {
    let (storage, all, _) = three_commits();
    let (mut log, _) = open_mem(&storage).unwrap();
    let hole = log.append(50, &[&[1; 600]]).unwrap();
    log.append(51, &[&[2; 600]]).unwrap();
    let mut bytes = storage.contents(&format::segment_name(2)).unwrap();
    bytes[hole.offset as usize..][..300].fill(0);
    let (_, recovered) = open_mem(&with_contents(&bytes)).unwrap();
    assert!(recovered.torn_bytes > 1200);
    assert_eq!(entries(recovered), all);
}

#[test]
fn cut_tail_never_comes_back_behind_a_new_entry() {
    let (storage, all, _) = three_commits();
    let (mut log, _) = open_mem(&storage).unwrap();
    let hole = log.append(50, &[&[1; 600]]).unwrap();
    log.append(51, &[b"an old tail"]).unwrap();
    let mut bytes = storage.contents(&format::segment_name(2)).unwrap();
    bytes[hole.offset as usize] ^= 1;
    let storage = with_contents(&bytes);
    let (mut log, _) = open_mem(&storage).unwrap();
    // The same length as the bad entry: without the cut, the old tail would follow it seamlessly.
    log.append(52, &[&[3; 600]]).unwrap();
    log.commit().unwrap();
    storage.power_cut(0);
    let found = entries(open_mem(&storage).unwrap().1);
    assert_eq!(found.len(), all.len() + 1);
    assert_eq!(found.last().unwrap().0, 52);
}

#[test]
fn shortened_checkpoint_is_damage() {
    let (storage, _, _) = three_commits();
    let bytes = storage.contents(&format::segment_name(2)).unwrap();
    let checkpoint_end = 64 + 24 + 32 + 32;
    for len in 0..checkpoint_end {
        assert!(matches!(open_mem(&with_contents(&bytes[..len])), Err(LogError::Damaged { .. })), "{len}");
    }
    let (_, recovered) = open_mem(&with_contents(&bytes[..checkpoint_end])).unwrap();
    assert_eq!(entries(recovered).len(), 1);
}

#[test]
fn damaged_old_segment_is_told_at_open_or_at_the_read() {
    let storage = MemStorage::new();
    let (mut log, _) = open_mem(&storage).unwrap();
    let position = log.append(16, &[b"pinned"]).unwrap();
    log.pin(position);
    log.roll(std::iter::empty()).unwrap();
    drop(log);
    let bytes = storage.contents(&format::segment_name(1)).unwrap();
    let mut flipped = bytes.clone();
    flipped[40] ^= 1;
    storage.put(&format::segment_name(1), &flipped);
    assert!(matches!(open_mem(&storage), Err(LogError::Damaged { offset: 0, .. })));
    let mut flipped = bytes;
    flipped[position.offset as usize + 22] ^= 1;
    storage.put(&format::segment_name(1), &flipped);
    let (log, _) = open_mem(&storage).unwrap();
    assert!(matches!(log.reader().read(position), Err(LogError::Damaged { .. })));
}
