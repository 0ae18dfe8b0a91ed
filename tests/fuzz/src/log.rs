//! A segment of the log, as a disk or a neighbour may have left it.

use std::sync::Arc;

use bytes::Bytes;
use disk::log::{KIND_USER_MIN, Log, LogError, LogFiles, LogOptions, LogReader, MemStorage, Position, Storage};

use crate::bound::within;

/// The endpoint of the log.
pub(crate) const OWNER: [u8; 16] = [7; 16];
/// The segment's name.
pub(crate) const SEGMENT: &str = "0000000000000001.log";

const HEADER_LEN: usize = 64;
const ENTRY_LEN: usize = 20;

type Entries = Vec<(Position, u8, Bytes)>;

/// Damage is named and changes nothing; what opens reads the same by position, after a restart, and after a power cut, with what was
/// appended; whoever only looks finds as many entries. With an odd first byte, the checksums of what follows are mended before.
pub fn fuzz_log(data: &[u8]) {
    let Some((first, segment)) = data.split_first() else { return };
    let mut segment = segment.to_vec();
    if first % 2 == 1 {
        mend(&mut segment);
    }
    let storage = MemStorage::new();
    storage.put(SEGMENT, &segment);
    let bytes_max = (1 << 18) + 64 * segment.len();
    let opened = within(bytes_max, || open(&storage));
    let looked = within(bytes_max, || look(&storage));
    let Ok((mut log, before)) = opened else {
        let unchanged = storage.contents(SEGMENT).unwrap() == segment;
        return assert!(unchanged, "a log that is not used is not changed");
    };
    let (entries, findings) = looked;
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(entries, before.len());
    by_position(&log.reader(), &before);
    let position = log.append(KIND_USER_MIN, &[b"after ", b"all"]).unwrap();
    log.commit().unwrap();
    drop(log);
    storage.power_cut(u64::from(*first));
    let (log, after) = open(&storage).unwrap();
    let mut expected = before;
    expected.push((position, KIND_USER_MIN, Bytes::from_static(b"after all")));
    assert_eq!(after, expected);
    by_position(&log.reader(), &after);
}

fn open(storage: &MemStorage) -> Result<(Log, Entries), LogError> {
    let (log, recovered) = Log::open_on(Arc::new(storage.clone()), OWNER, LogOptions::default())?;
    let entries = recovered.map(|entry| entry.map(|entry| (entry.position, entry.kind, entry.payload)));
    let entries = entries.collect::<Result<_, _>>()?;
    Ok((log, entries))
}

/// How many entries somebody finds who only looks, and what is wrong.
fn look(storage: &MemStorage) -> (usize, Vec<String>) {
    let storage: Arc<dyn Storage> = Arc::new(storage.clone());
    let files = LogFiles::open_on(&storage, None).unwrap();
    let mut entries = 0;
    let walk = files.walk(1, &mut |_| entries += 1);
    (entries, walk.findings.iter().map(|finding| format!("{} at {}", finding.what, finding.offset)).collect())
}

fn by_position(reader: &LogReader, entries: &Entries) {
    for (position, kind, payload) in entries {
        assert_eq!(reader.read(*position).unwrap(), (*kind, payload.clone()));
        assert_eq!(reader.read_at(*position, 0, payload.len()).unwrap(), *payload);
    }
}

/// Makes the header this log's, and every checksum fit, entry after entry as far as their lengths lead.
pub(crate) fn mend(segment: &mut Vec<u8>) {
    segment.resize(segment.len().max(HEADER_LEN), 0);
    segment[..10].copy_from_slice(b"hoft log\x01\0");
    segment[16..32].copy_from_slice(&OWNER);
    segment[32..40].copy_from_slice(&1_u64.to_le_bytes());
    let sum = crc32c::crc32c(&segment[..60]);
    segment[60..64].copy_from_slice(&sum.to_le_bytes());
    let salt: [u8; 8] = *segment[48..].first_chunk().unwrap();
    let (mut at, mut heads, mut inside) = (HEADER_LEN, 0, 0_u64);
    while let Some(head) = segment.get(at..).and_then(<[u8]>::first_chunk::<ENTRY_LEN>) {
        let (len, kind) = (u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize, head[4]);
        let end = (at + ENTRY_LEN).saturating_add(len).next_multiple_of(8);
        if end > segment.len() {
            return;
        }
        if kind == 2 && len == 12 {
            segment[at + 20..at + 28].copy_from_slice(&inside.saturating_sub(1).to_le_bytes());
            segment[at + 28..at + 32].copy_from_slice(&u32::to_le_bytes(heads));
        }
        let sum = crc32c::crc32c(&segment[at + ENTRY_LEN..end]);
        segment[at + 12..at + 16].copy_from_slice(&sum.to_le_bytes());
        let place = u32::try_from(at).unwrap().to_le_bytes();
        let sum = crc32c::crc32c(&[&salt[..], &place, &segment[at..at + 16]].concat());
        segment[at + 16..at + 20].copy_from_slice(&sum.to_le_bytes());
        heads = crc32c::crc32c_append(heads, &segment[at..at + ENTRY_LEN]);
        inside += 1;
        at = end;
    }
}
