//! What survives a cut of the model, case by case.

use super::*;

fn name(text: &str) -> OsString {
    OsString::from(text)
}

fn bytes_of<'a>(store: &'a Store, file: &str) -> Option<&'a [u8]> {
    store.read(store.lookup(ROOT, OsStr::new(file))?, 0, usize::MAX)
}

/// A disk with `a` = "old", durable.
fn with_a_file() -> (Store, u64) {
    let mut store = Store::new("top");
    let ino = store.make(ROOT, OsStr::new("a"), 0o600, false, "other");
    assert!(store.write(ino, 0, b"old"));
    store.settle();
    (store, ino)
}

#[test]
fn what_was_not_synced_may_be_lost_and_what_was_is_not() {
    for loss in Loss::ALL {
        for seed in 0..50 {
            let (mut store, ino) = with_a_file();
            store.write(ino, 3, b"synced");
            store.sync_file(ino);
            store.write(ino, 9, b"pending");
            store.make(ROOT, OsStr::new("b"), 0o600, false, "other");
            let report = store.cut(loss, &mut Dice::new(seed, "test"));
            assert_eq!(report.pending, 2);
            let kept = bytes_of(&store, "a").unwrap();
            assert!(kept.starts_with(b"oldsynced"), "{loss:?} {seed}");
            match loss {
                Loss::Everything => assert_eq!((kept, bytes_of(&store, "b")), (&b"oldsynced"[..], None)),
                Loss::Nothing => assert_eq!((kept, bytes_of(&store, "b")), (&b"oldsyncedpending"[..], Some(&b""[..]))),
                _ => assert!(kept.len() <= 16),
            }
        }
    }
}

#[test]
fn a_synced_file_without_a_synced_name_is_gone() {
    let (mut store, _) = with_a_file();
    let ino = store.make(ROOT, OsStr::new("new"), 0o600, false, "other");
    store.write(ino, 0, b"whole");
    store.sync_file(ino);
    let mut named = store.clone();
    store.cut(Loss::Everything, &mut Dice::new(1, "test"));
    assert_eq!(bytes_of(&store, "new"), None);
    named.sync_folder(ROOT);
    named.cut(Loss::Everything, &mut Dice::new(1, "test"));
    assert_eq!(bytes_of(&named, "new"), Some(&b"whole"[..]));
}

#[test]
fn a_rename_is_kept_or_dropped_as_one_and_an_unlink_may_come_undone() {
    let (mut seen_old, mut seen_new) = (0, 0);
    for seed in 0..60 {
        let (mut store, ino) = with_a_file();
        store.rename_as(vec![(ROOT, name("a"), None), (ROOT, name("z"), Some(ino))]);
        store.cut(Loss::Any, &mut Dice::new(seed, "test"));
        match (bytes_of(&store, "a"), bytes_of(&store, "z")) {
            (Some(b"old"), None) => seen_old += 1,
            (None, Some(b"old")) => seen_new += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(seen_old > 0 && seen_new > 0);
    let (mut store, _) = with_a_file();
    store.rename_as(vec![(ROOT, name("a"), None)]);
    store.forget_unreachable();
    assert_eq!(bytes_of(&store, "a"), None);
    store.cut(Loss::Everything, &mut Dice::new(1, "test"));
    assert_eq!(bytes_of(&store, "a"), Some(&b"old"[..]));
}

#[test]
fn later_changes_can_survive_without_earlier_ones() {
    let survived = (0..200).any(|seed| {
        let (mut store, ino) = with_a_file();
        store.write(ino, 3, b"first");
        store.write(ino, 8, b"second");
        store.cut(Loss::Any, &mut Dice::new(seed, "test"));
        bytes_of(&store, "a") == Some(b"old\0\0\0\0\0second")
    });
    assert!(survived, "writes are never reordered");
}

#[test]
fn writes_are_torn_at_sectors_of_the_file() {
    let mut torn_within = 0;
    for seed in 0..50 {
        let (mut store, ino) = with_a_file();
        store.write(ino, 3, &[7; 2000]);
        store.cut(Loss::Sectors(512), &mut Dice::new(seed, "test"));
        let kept = bytes_of(&store, "a").unwrap();
        let of = |from: usize, to: usize| kept.get(from..to.min(kept.len())).unwrap_or_default();
        for sector in [of(3, 512), of(512, 1024), of(1024, 1536), of(1536, 2003)] {
            assert!(sector.iter().all(|byte| *byte == 7) || sector.iter().all(|byte| *byte == 0), "{seed}");
        }
        torn_within += usize::from(kept.len() > 3 && kept[3..].contains(&0));
    }
    assert!(torn_within > 10);
}

#[test]
fn the_same_seed_loses_the_same_and_nothing_is_pending_afterwards() {
    let cut = |seed| {
        let (mut store, ino) = with_a_file();
        for at in 0..40 {
            store.write(ino, at * 10, &[1; 10]);
        }
        store.cut(Loss::Any, &mut Dice::new(seed, "test"));
        assert_eq!(store.cut(Loss::Everything, &mut Dice::new(seed, "test")).pending, 0);
        bytes_of(&store, "a").unwrap().to_vec()
    };
    assert_eq!(cut(3), cut(3));
    assert_ne!(cut(3), cut(4));
}
