//! The committed log of major 1 stays readable, entry by entry.
//!
//! It was written by `examples/log_fixture.rs`; it is never written again.

use super::*;

#[test]
fn fixture_of_major_1_reads_back() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/log-v1");
    let place = tempfile::tempdir().unwrap();
    let names = ["0000000000000001.log", "0000000000000002.log"];
    for name in names {
        std::fs::copy(fixture.join(name), place.path().join(name)).unwrap();
    }
    let owner = *b"fixture endpoint";
    let (mut log, recovered) = Log::open(place.path().to_path_buf(), owner, SMALL).unwrap();
    assert_eq!((recovered.torn_bytes, recovered.segments, recovered.fresh), (0, 2, false));
    let found: Vec<Entry> = recovered.map(|entry| entry.unwrap()).collect();
    let pinned = Position::from_bytes(found[0].payload.as_ref().try_into().unwrap());
    assert_eq!(pinned, Position { segment: 1, offset: 120 });
    let expected: [(u8, &[u8], bool); 6] = [
        (16, &pinned.to_bytes(), true),
        (63, b"carried forward", true),
        (64, b"", false),
        (127, b"seven", false),
        (128, &[0xa5; 5000], false),
        (255, b"12345678", false),
    ];
    let facts: Vec<_> = found.iter().map(|e| (e.kind, e.payload.as_ref(), e.in_checkpoint)).collect();
    assert_eq!(facts, expected);
    let offsets: Vec<u32> = found.iter().map(|entry| entry.position.offset).collect();
    assert_eq!(offsets, [88, 120, 192, 216, 248, 5272]);
    assert_eq!(log.reader().read(pinned).unwrap(), (17, Bytes::from_static(b"still needed")));
    log.pin(pinned);
    log.reclaim();
    assert_eq!(log.end(), Position { segment: 2, offset: 5304 });
    drop(log);
    for name in names {
        let [old, new] = [&fixture, &place.path().to_path_buf()].map(|dir| std::fs::read(dir.join(name)).unwrap());
        assert_eq!(old, new, "{name} was changed by opening it");
    }
}
