//! The one suite every backing of [`Dir`] passes.
//!
//! Each case gets a fresh empty folder. It covers what all backings share; what only the operating system has
//! (links, pipes, permissions) is in `tests.rs`.

use std::io::ErrorKind;

use super::{Dir, DirEntry, EntryKind, PublishError};

type Case = (&'static str, fn(&dyn Dir));

pub(super) const SUITE: &[Case] = &[
    ("published_file_reads_back", published_file_reads_back),
    ("temporary_file_is_hidden_and_removed_on_drop", temporary_file_is_hidden_and_removed_on_drop),
    ("publish_never_replaces", publish_never_replaces),
    ("publish_into_another_folder", publish_into_another_folder),
    ("second_temporary_file_of_a_name_is_refused", second_temporary_file_of_a_name_is_refused),
    ("direct_file_keeps_its_name", direct_file_keeps_its_name),
    ("dropped_direct_file_is_removed", dropped_direct_file_is_removed),
    ("reads_stop_at_the_end", reads_stop_at_the_end),
    ("missing_things_are_not_found", missing_things_are_not_found),
    ("folder_is_not_read_as_a_file", folder_is_not_read_as_a_file),
    ("file_is_not_walked_through", file_is_not_walked_through),
    ("listing_tells_kinds_and_lengths", listing_tells_kinds_and_lengths),
    ("listing_is_bounded", listing_is_bounded),
    ("pages_show_every_name_once", pages_show_every_name_once),
    ("create_dirs_is_repeatable", create_dirs_is_repeatable),
    ("rename_never_replaces", rename_never_replaces),
    ("removing_a_folder_as_a_file_is_refused", removing_a_folder_as_a_file_is_refused),
    ("empty_folders_go_up_to_the_first_full_one", empty_folders_go_up_to_the_first_full_one),
    ("open_file_outlives_its_name", open_file_outlives_its_name),
    ("escapes_are_refused_by_every_call", escapes_are_refused_by_every_call),
    ("space_is_told", space_is_told),
];

fn publish(dir: &dyn Dir, path: &str, bytes: &[u8]) {
    let mut file = dir.create_temp(path).unwrap();
    file.write_all(bytes).unwrap();
    file.sync().unwrap();
    file.publish_noreplace(path).unwrap();
}

fn contents(dir: &dyn Dir, path: &str) -> Vec<u8> {
    let file = dir.open_read(path).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len()).unwrap()];
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), bytes.len());
    bytes
}

fn names(dir: &dyn Dir, path: &str) -> Vec<String> {
    let mut names: Vec<String> = dir.list(path).unwrap().into_iter().map(|entry| entry.name).collect();
    names.sort();
    names
}

fn published_file_reads_back(dir: &dyn Dir) {
    publish(dir, "a.hft", b"hello");
    assert_eq!(contents(dir, "a.hft"), b"hello");
    assert_eq!(names(dir, ""), ["a.hft"]);
    publish(dir, "empty", b"");
    assert_eq!(contents(dir, "empty"), b"");
    dir.sync_dir("").unwrap();
    dir.remove_file("a.hft").unwrap();
    assert_eq!(names(dir, ""), ["empty"]);
}

fn temporary_file_is_hidden_and_removed_on_drop(dir: &dyn Dir) {
    let mut file = dir.create_temp("a.hft").unwrap();
    file.write_all(b"hello").unwrap();
    assert!(names(dir, "").iter().all(|name| name.starts_with('.') && name.ends_with(".part")));
    assert_eq!(dir.open_read("a.hft").err().unwrap().kind(), ErrorKind::NotFound);
    drop(file);
    assert!(names(dir, "").is_empty());
    publish(dir, "a.hft", b"again");
}

fn publish_never_replaces(dir: &dyn Dir) {
    publish(dir, "a.hft", b"first");
    let mut file = dir.create_temp("a.hft").unwrap();
    file.write_all(b"second").unwrap();
    assert!(matches!(file.publish_noreplace("a.hft"), Err(PublishError::Exists)));
    assert_eq!(contents(dir, "a.hft"), b"first");
    assert_eq!(names(dir, ""), ["a.hft"]);
    dir.create_dirs("folder").unwrap();
    let file = dir.create_temp("folder").unwrap();
    assert!(matches!(file.publish_noreplace("folder"), Err(PublishError::Exists)));
}

fn publish_into_another_folder(dir: &dyn Dir) {
    dir.create_dirs("to/deep").unwrap();
    let mut file = dir.create_temp("to/deep/a").unwrap();
    file.write_all(b"x").unwrap();
    file.publish_noreplace("to/deep/b").unwrap();
    assert_eq!(names(dir, "to/deep"), ["b"]);
    let file = dir.create_temp("c").unwrap();
    assert!(matches!(file.publish_noreplace("nowhere/c"), Err(PublishError::Io(_))));
    assert_eq!(names(dir, ""), ["to"]);
    assert_eq!(dir.create_temp("nowhere/c").err().unwrap().kind(), ErrorKind::NotFound);
}

fn second_temporary_file_of_a_name_is_refused(dir: &dyn Dir) {
    dir.create_dirs("x").unwrap();
    let mut first = dir.create_temp("a").unwrap();
    assert_eq!(dir.create_temp("a").err().unwrap().kind(), ErrorKind::AlreadyExists);
    let other = dir.create_temp("x/a").unwrap();
    first.write_all(b"first").unwrap();
    first.publish_noreplace("a").unwrap();
    other.publish_noreplace("x/a").unwrap();
    assert_eq!(contents(dir, "a"), b"first");
}

fn direct_file_keeps_its_name(dir: &dyn Dir) {
    let mut file = dir.create_direct("a").unwrap();
    file.write_all(b"part").unwrap();
    assert_eq!(contents(dir, "a"), b"part");
    assert_eq!(dir.create_direct("a").err().unwrap().kind(), ErrorKind::AlreadyExists);
    file.publish_noreplace("a").unwrap();
    assert_eq!(contents(dir, "a"), b"part");
    let file = dir.create_direct("b").unwrap();
    assert!(matches!(file.publish_noreplace("c"), Err(PublishError::Io(_))));
    assert_eq!(names(dir, ""), ["a"]);
}

fn dropped_direct_file_is_removed(dir: &dyn Dir) {
    drop(dir.create_direct("a").unwrap());
    assert!(names(dir, "").is_empty());
}

fn reads_stop_at_the_end(dir: &dyn Dir) {
    publish(dir, "a", b"0123456789");
    let mut buf = [0; 8];
    assert_eq!(dir.read_at("a", 4, &mut buf).unwrap(), 6);
    assert_eq!(&buf[..6], b"456789");
    assert_eq!(dir.read_at("a", 10, &mut buf).unwrap(), 0);
    assert_eq!(dir.read_at("a", 1 << 40, &mut buf).unwrap(), 0);
    assert_eq!(dir.read_at("a", 0, &mut []).unwrap(), 0);
    let file = dir.open_read("a").unwrap();
    assert_eq!(file.read_vec(4, 20).unwrap(), buf[..6]);
    assert_eq!(file.read_vec(4, 3).unwrap(), buf[..3]);
    assert_eq!((file.read_vec(10, 5).unwrap(), file.read_vec(1 << 40, 5).unwrap()), (vec![], vec![]));
    assert_eq!(file.read_vec(0, 0).unwrap(), [0; 0]);
    assert_eq!(dir.open_read("a").unwrap().len(), 10);
}

fn missing_things_are_not_found(dir: &dyn Dir) {
    for path in ["a", "no/a"] {
        assert_eq!(dir.open_read(path).err().unwrap().kind(), ErrorKind::NotFound);
        assert_eq!(dir.remove_file(path).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(dir.list(path).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(dir.sync_dir(path).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(matches!(dir.rename_noreplace(path, "b"), Err(PublishError::Io(e)) if e.kind() == ErrorKind::NotFound));
        dir.remove_empty_dirs(path).unwrap();
    }
}

fn folder_is_not_read_as_a_file(dir: &dyn Dir) {
    dir.create_dirs("a").unwrap();
    assert_eq!(dir.open_read("a").err().unwrap().kind(), ErrorKind::InvalidInput);
    assert_eq!(dir.open_read("").err().unwrap().kind(), ErrorKind::InvalidInput);
}

fn file_is_not_walked_through(dir: &dyn Dir) {
    publish(dir, "a", b"x");
    assert_eq!(dir.open_read("a/b").err().unwrap().kind(), ErrorKind::NotADirectory);
    assert_eq!(dir.list("a").unwrap_err().kind(), ErrorKind::NotADirectory);
    assert_eq!(dir.create_dirs("a/b").unwrap_err().kind(), ErrorKind::NotADirectory);
    assert_eq!(dir.create_dirs("a").unwrap_err().kind(), ErrorKind::NotADirectory);
    assert!(dir.remove_empty_dirs("a").is_err());
    assert_eq!(contents(dir, "a"), b"x");
}

fn listing_tells_kinds_and_lengths(dir: &dyn Dir) {
    dir.create_dirs("d/e").unwrap();
    publish(dir, "f", b"123");
    publish(dir, "d/g", b"12345");
    let entry = |name: &str, kind, len| DirEntry { name: name.to_owned(), kind, len };
    let mut root = dir.list("").unwrap();
    root.sort();
    assert_eq!(root, [entry("d", EntryKind::Dir, 0), entry("f", EntryKind::File, 3)]);
    let mut below = dir.list("d").unwrap();
    below.sort();
    assert_eq!(below, [entry("e", EntryKind::Dir, 0), entry("g", EntryKind::File, 5)]);
    assert!(dir.list("d/e").unwrap().is_empty());
}

fn listing_is_bounded(dir: &dyn Dir) {
    for n in 0..10 {
        publish(dir, &format!("{n}"), b"");
    }
    assert_eq!(dir.list_limited("", 4).unwrap().len(), 4);
    assert_eq!(dir.list_limited("", 10).unwrap().len(), 10);
    assert_eq!(dir.list_limited("", 11).unwrap().len(), 10);
    assert!(dir.list_limited("", 0).unwrap().is_empty());
}

fn pages_show_every_name_once(dir: &dyn Dir) {
    dir.create_dirs("many/folder").unwrap();
    for n in 0..30 {
        publish(dir, &format!("many/{n}.hft"), &vec![0; n]);
    }
    for max in [0, 1, 7, 31, 32, 1_000] {
        let (mut names, mut from, mut pages) = (Vec::new(), 0, 0);
        loop {
            let page = dir.list_page("many", from, max, &|name| name == "12.hft").unwrap();
            assert!(page.entries.len() <= max.max(1));
            assert!(page.entries.iter().all(|entry| entry.name != "12.hft" || entry.len == Some(12)));
            assert!(page.entries.iter().all(|entry| (entry.kind == EntryKind::Dir) == (entry.name == "folder")));
            names.extend(page.entries.into_iter().map(|entry| entry.name));
            pages += 1;
            match page.next {
                Some(next) => from = next,
                None => break,
            }
            assert!(pages < 100, "a listing ends");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 31, "pages of {max}");
    }
    assert_eq!(dir.list_page("none", 0, 9, &|_| true).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(dir.list_page("many/1.hft", 0, 9, &|_| true).unwrap_err().kind(), ErrorKind::NotADirectory);
}

fn create_dirs_is_repeatable(dir: &dyn Dir) {
    dir.create_dirs("").unwrap();
    dir.create_dirs("a/b/c").unwrap();
    dir.create_dirs("a/b/c").unwrap();
    dir.create_dirs("a/d").unwrap();
    assert_eq!(names(dir, "a"), ["b", "d"]);
    dir.sync_dir("a/b").unwrap();
}

fn rename_never_replaces(dir: &dyn Dir) {
    dir.create_dirs("d").unwrap();
    publish(dir, "a", b"a");
    publish(dir, "b", b"b");
    assert!(matches!(dir.rename_noreplace("a", "b"), Err(PublishError::Exists)));
    dir.rename_noreplace("a", "d/c").unwrap();
    assert_eq!(contents(dir, "d/c"), b"a");
    assert_eq!(contents(dir, "b"), b"b");
    assert_eq!(names(dir, ""), ["b", "d"]);
}

fn removing_a_folder_as_a_file_is_refused(dir: &dyn Dir) {
    dir.create_dirs("a").unwrap();
    assert!(dir.remove_file("a").is_err());
    assert_eq!(names(dir, ""), ["a"]);
}

fn empty_folders_go_up_to_the_first_full_one(dir: &dyn Dir) {
    dir.create_dirs("a/b/c").unwrap();
    publish(dir, "a/f", b"");
    dir.remove_empty_dirs("a/b/c").unwrap();
    assert_eq!(names(dir, "a"), ["f"]);
    dir.remove_empty_dirs("a").unwrap();
    assert_eq!(names(dir, "a"), ["f"]);
    dir.remove_file("a/f").unwrap();
    dir.remove_empty_dirs("a/b/c").unwrap();
    assert!(names(dir, "").is_empty());
    dir.remove_empty_dirs("").unwrap();
}

fn open_file_outlives_its_name(dir: &dyn Dir) {
    publish(dir, "a", b"kept");
    let file = dir.open_read("a").unwrap();
    dir.remove_file("a").unwrap();
    let mut buf = [0; 4];
    assert_eq!(file.read_at(0, &mut buf).unwrap(), 4);
    assert_eq!(&buf, b"kept");
}

fn escapes_are_refused_by_every_call(dir: &dyn Dir) {
    publish(dir, "ok", b"");
    for bad in ["../x", "/etc/passwd", "a/../../x", ".", "..", "a//b", "a/", "a\0b"] {
        let kinds = [
            dir.list(bad).err().map(|e| e.kind()),
            dir.list_page(bad, 0, 9, &|_| true).err().map(|e| e.kind()),
            dir.open_read(bad).err().map(|e| e.kind()),
            dir.read_at(bad, 0, &mut [0]).err().map(|e| e.kind()),
            dir.create_temp(bad).err().map(|e| e.kind()),
            dir.create_direct(bad).err().map(|e| e.kind()),
            dir.create_dirs(bad).err().map(|e| e.kind()),
            dir.remove_file(bad).err().map(|e| e.kind()),
            dir.remove_empty_dirs(bad).err().map(|e| e.kind()),
            dir.sync_dir(bad).err().map(|e| e.kind()),
        ];
        assert!(kinds.iter().all(|kind| *kind == Some(ErrorKind::InvalidInput)), "{bad:?}: {kinds:?}");
        assert!(matches!(dir.rename_noreplace("ok", bad), Err(PublishError::Io(_))));
        assert!(matches!(dir.rename_noreplace(bad, "x"), Err(PublishError::Io(_))));
        assert!(matches!(dir.create_temp("x").unwrap().publish_noreplace(bad), Err(PublishError::Io(_))));
    }
    assert_eq!(names(dir, ""), ["ok"]);
}

fn space_is_told(dir: &dyn Dir) {
    assert!(dir.free_space().unwrap() > 0);
}
