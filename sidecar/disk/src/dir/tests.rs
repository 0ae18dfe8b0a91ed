//! Tests of folders: the conformance suite on every backing, and what only the operating system has.

use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use proptest::prelude::*;

use super::conformance::SUITE;
use super::publish::link_and_unlink;
use super::*;

fn open(path: &Path) -> StdDir {
    StdDir::open(path).unwrap()
}

fn fifo(folder: &Path, name: &str) {
    let handle = std::fs::File::open(folder).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(&handle, name, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

#[test]
fn std_dir_conforms() {
    for (name, case) in SUITE {
        println!("case {name}");
        let root = tempfile::tempdir().unwrap();
        case(&open(root.path()));
    }
}

#[test]
fn std_dir_with_temp_folder_conforms() {
    for (name, case) in SUITE {
        println!("case {name}");
        let place = tempfile::tempdir().unwrap();
        let [root, temp] = ["root", "temp"].map(|name| place.path().join(name));
        std::fs::create_dir(&root).unwrap();
        std::fs::create_dir(&temp).unwrap();
        case(&open(&root).with_temp_folder(&temp).unwrap());
        assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0, "{name} left a temporary file");
    }
}

#[test]
fn mem_dir_conforms() {
    for (name, case) in SUITE {
        println!("case {name}");
        case(&MemDir::new());
    }
}

#[derive(Clone, Debug)]
enum Op {
    Publish(String, String, u8),
    Direct(String, u8),
    Dirs(String),
    Remove(String),
    RemoveEmpty(String),
    Rename(String, String),
    List(String),
    Read(String),
}

fn paths() -> impl Strategy<Value = String> {
    let part = || prop_oneof![Just("a"), Just("b"), Just(".c"), Just("..")];
    prop::collection::vec(part(), 0..4).prop_map(|parts| parts.join("/"))
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        (paths(), paths(), any::<u8>()).prop_map(|(near, path, n)| Op::Publish(near, path, n)),
        (paths(), any::<u8>()).prop_map(|(path, n)| Op::Direct(path, n)),
        paths().prop_map(Op::Dirs),
        paths().prop_map(Op::Remove),
        paths().prop_map(Op::RemoveEmpty),
        (paths(), paths()).prop_map(|(from, to)| Op::Rename(from, to)),
        paths().prop_map(Op::List),
        paths().prop_map(Op::Read),
    ]
}

/// What a call answered, as far as the backings must agree: success with its bytes, or failure.
fn answer(dir: &dyn Dir, op: &Op) -> Result<Vec<u8>, ()> {
    let write = |file: io::Result<Box<dyn TempFile>>, path: &str, n: u8| {
        let mut file = file.map_err(drop)?;
        file.write_all(&[n]).map_err(drop)?;
        file.publish_noreplace(path).map_err(drop)
    };
    let done = match op {
        Op::Publish(near, path, n) => write(dir.create_temp(near), path, *n),
        Op::Direct(path, n) => write(dir.create_direct(path), path, *n),
        Op::Dirs(path) => dir.create_dirs(path).map_err(drop),
        Op::Remove(path) => dir.remove_file(path).map_err(drop),
        Op::RemoveEmpty(path) => dir.remove_empty_dirs(path).map_err(drop),
        // Only files are renamed; what renaming a folder does is left to the backing.
        Op::Rename(from, to) if dir.open_read(from).is_ok() => dir.rename_noreplace(from, to).map_err(drop),
        Op::Rename(..) => Ok(()),
        Op::List(path) => {
            let mut entries = dir.list(path).map_err(drop)?;
            entries.sort();
            return Ok(format!("{entries:?}").into_bytes());
        }
        Op::Read(path) => {
            let mut buf = [0; 8];
            let n = dir.read_at(path, 0, &mut buf).map_err(drop)?;
            return Ok(buf[..n].to_vec());
        }
    };
    done.map(|()| Vec::new())
}

proptest! {
    #[test]
    fn both_backings_answer_alike(ops in prop::collection::vec(ops(), 1..40)) {
        let root = tempfile::tempdir().unwrap();
        let real = open(root.path());
        let memory = MemDir::new();
        for op in &ops {
            prop_assert_eq!(answer(&real, op), answer(&memory, op), "{:?}", op);
        }
    }
}

#[test]
fn temporary_name_is_the_one_mirrors_ignore() {
    let root = tempfile::tempdir().unwrap();
    let _file = open(root.path()).create_temp("a.hft").unwrap();
    assert!(root.path().join(".a.hft.part").exists());
}

#[test]
fn links_are_never_followed_below_the_root() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("root");
    std::fs::create_dir_all(root.join("d")).unwrap();
    std::fs::create_dir(place.path().join("secret")).unwrap();
    std::fs::write(place.path().join("secret/key"), b"key").unwrap();
    symlink("../secret/key", root.join("file")).unwrap();
    symlink("../secret", root.join("folder")).unwrap();
    symlink("missing", root.join("dangling")).unwrap();
    let dir = open(&root);
    for link in ["file", "dangling"] {
        assert_eq!(dir.open_read(link).err().unwrap().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(dir.open_read("folder/key").err().unwrap().kind(), ErrorKind::NotADirectory);
    assert_eq!(dir.list("folder").unwrap_err().kind(), ErrorKind::NotADirectory);
    assert_eq!(dir.create_dirs("folder/x").unwrap_err().kind(), ErrorKind::NotADirectory);
    assert_eq!(dir.create_temp("folder/x").err().unwrap().kind(), ErrorKind::NotADirectory);
    assert_eq!(dir.create_direct("dangling").err().unwrap().kind(), ErrorKind::AlreadyExists);
    let file = dir.create_temp("dangling").unwrap();
    assert!(matches!(file.publish_noreplace("dangling"), Err(PublishError::Exists)));
    assert!(dir.remove_empty_dirs("folder").is_err());
    let mut kinds: Vec<_> = dir.list("").unwrap().into_iter().map(|e| (e.name, e.kind, e.len)).collect();
    kinds.sort();
    let expected = [
        ("d", EntryKind::Dir),
        ("dangling", EntryKind::Other),
        ("file", EntryKind::Other),
        ("folder", EntryKind::Other),
    ];
    assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind, 0)));
    dir.remove_file("file").unwrap();
    assert!(place.path().join("secret/key").exists());
}

#[test]
fn linked_root_is_fine() {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("real")).unwrap();
    symlink("real", place.path().join("root")).unwrap();
    let dir = open(&place.path().join("root"));
    dir.create_temp("a").unwrap().publish_noreplace("a").unwrap();
    assert!(place.path().join("real/a").exists());
}

#[test]
fn pipes_and_sockets_are_refused_without_waiting() {
    let root = tempfile::tempdir().unwrap();
    fifo(root.path(), "pipe");
    let _listener = UnixListener::bind(root.path().join("socket")).unwrap();
    let dir = open(root.path());
    for name in ["pipe", "socket"] {
        let error = dir.open_read(name).err().unwrap();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::InvalidInput, "not a regular file"));
    }
    assert!(dir.list("").unwrap().iter().all(|entry| entry.kind == EntryKind::Other && entry.len == 0));
}

#[test]
fn names_that_are_not_text_are_left_out() {
    use std::os::unix::ffi::OsStrExt;
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), b"").unwrap();
    std::fs::write(root.path().join("ok"), b"").unwrap();
    assert_eq!(open(root.path()).list("").unwrap().len(), 1);
    let page = open(root.path()).list_page("", 0, 1_000, &|_| false).unwrap();
    assert_eq!((page.entries.len(), page.next), (1, None));
}

#[test]
fn the_age_of_a_file_is_told_by_its_file_system() {
    let root = tempfile::tempdir().unwrap();
    let dir = open(root.path());
    std::fs::write(root.path().join("x"), b"x").unwrap();
    assert!(dir.modified_s("x").unwrap().is_some_and(|at| at > 0));
    assert_eq!(dir.modified_s("y").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(MemDir::new().modified_s("x").unwrap(), None);
}

#[test]
fn bad_roots_are_named_with_their_remedy() {
    let place = tempfile::tempdir().unwrap();
    let missing = StdDir::open(&place.path().join("no")).unwrap_err();
    assert!(matches!(missing, DirError::Missing { .. }));
    assert!(missing.to_string().contains("no does not exist; create it"), "{missing}");
    std::fs::write(place.path().join("file"), b"").unwrap();
    let file = StdDir::open(&place.path().join("file")).unwrap_err();
    assert!(matches!(file, DirError::NotADirectory { .. }), "{file:?}");
    let dir = open(place.path());
    let temp = dir.clone().with_temp_folder(&place.path().join("no")).unwrap_err();
    assert!(matches!(temp, DirError::Missing { .. }));
    let elsewhere = dir.with_temp_folder(Path::new("/proc"));
    assert!(matches!(elsewhere, Err(DirError::TempElsewhere { .. })) || !Path::new("/proc/self").exists());
}

#[test]
fn writable_check_leaves_nothing_and_tells_the_cause() {
    let place = tempfile::tempdir().unwrap();
    let dir = open(place.path());
    dir.check_writable().unwrap();
    assert!(dir.list("").unwrap().is_empty());
    if Path::new("/proc/self").exists() {
        let error = open(Path::new("/proc")).check_writable().unwrap_err();
        assert!(error.to_string().starts_with("folder /proc "), "{error}");
    }
    let gone = place.path().join("gone");
    std::fs::create_dir(&gone).unwrap();
    let dir = open(&gone);
    std::fs::remove_dir(&gone).unwrap();
    assert!(matches!(dir.check_writable(), Err(DirError::Missing { .. })));
}

#[test]
fn folder_without_permission_is_unreadable() {
    let place = tempfile::tempdir().unwrap();
    let closed = place.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser may read everything; for everyone else it must be said.
    match StdDir::open(&closed) {
        Ok(_) => assert!(std::fs::read_dir(&closed).is_ok()),
        Err(error) => assert!(matches!(error, DirError::Unreadable { .. }), "{error:?}"),
    }
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn folder_that_comes_back_is_found_again() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let dir = open(&root);
    std::fs::rename(&root, place.path().join("away")).unwrap();
    assert_eq!(dir.list("").unwrap_err().kind(), ErrorKind::NotFound);
    std::fs::rename(place.path().join("away"), &root).unwrap();
    assert!(dir.list("").unwrap().is_empty());
}

#[test]
fn link_fallback_never_replaces() {
    let root = tempfile::tempdir().unwrap();
    let handle = std::fs::File::open(root.path()).unwrap();
    for (name, bytes) in [("a", "a"), ("b", "b")] {
        std::fs::write(root.path().join(name), bytes).unwrap();
    }
    let fallback = |old, new| link_and_unlink(handle.as_fd(), old, handle.as_fd(), new);
    assert!(matches!(fallback("a", "b"), Err(PublishError::Exists)));
    assert_eq!(std::fs::read(root.path().join("b")).unwrap(), b"b");
    fallback("a", "c").unwrap();
    assert_eq!(std::fs::read(root.path().join("c")).unwrap(), b"a");
    assert!(!root.path().join("a").exists());
    // The client asked twice: the link it finds is its own.
    std::fs::hard_link(root.path().join("b"), root.path().join("d")).unwrap();
    fallback("b", "d").unwrap();
    assert!(!root.path().join("b").exists());
}

#[test]
fn ordinary_folder_is_not_a_network() {
    let root = tempfile::tempdir().unwrap();
    assert!(!open(root.path()).is_network());
    let dir = MemDir::new();
    dir.set_network(true);
    assert!(dir.is_network());
}

#[test]
fn mem_dir_runs_out_of_space() {
    let dir = MemDir::new();
    dir.set_free_space(3);
    let mut file = dir.create_temp("a").unwrap();
    assert_eq!(file.write_all(b"12345").unwrap_err().kind(), ErrorKind::StorageFull);
    drop(file);
    assert_eq!(dir.free_space().unwrap(), 0);
    assert!(dir.files().is_empty());
}

#[test]
fn mem_dir_plays_the_neighbour() {
    let dir = MemDir::new();
    dir.put("a/b", b"12").unwrap();
    let open = dir.open_read("a/b").unwrap();
    dir.append("a/b", b"34").unwrap();
    let mut buf = [0; 8];
    assert_eq!((open.len(), open.read_at(0, &mut buf).unwrap()), (2, 4));
    assert_eq!(dir.contents("a/b").unwrap(), b"1234");
    dir.put_other("a/pipe").unwrap();
    assert_eq!(dir.open_read("a/pipe").err().unwrap().kind(), ErrorKind::InvalidInput);
    assert!(dir.put("a", b"").is_err());
    assert_eq!(dir.files(), ["a/b"]);
    assert_eq!(dir.contents("a"), None);
}

#[test]
fn a_new_folder_lets_the_group_write_if_its_parent_does() {
    let place = tempfile::tempdir().unwrap();
    let mode = |path: &str| std::fs::metadata(place.path().join(path)).unwrap().permissions().mode() & 0o7777;
    for (name, parent, group_writes) in [("shared", 0o2770, true), ("open", 0o777, true), ("own", 0o755, false)] {
        std::fs::create_dir(place.path().join(name)).unwrap();
        std::fs::set_permissions(place.path().join(name), std::fs::Permissions::from_mode(parent)).unwrap();
        open(&place.path().join(name)).create_dirs("a/b").unwrap();
        for path in ["a", "a/b"].map(|path| format!("{name}/{path}")) {
            assert_eq!(mode(&path) & 0o020 != 0, group_writes, "{path}: {:o}", mode(&path));
            assert_eq!(mode(&path) & 0o2000, parent & 0o2000, "{path}: {:o}", mode(&path));
        }
    }
}

#[test]
fn what_a_killed_check_left_does_not_make_a_folder_unusable() {
    let folder = tempfile::tempdir().unwrap();
    // Every process of a container is number 1, and every one began to count at 0.
    for count in 0..8 {
        std::fs::write(folder.path().join(format!("{CHECK_BEGIN}{}-{count}.part", std::process::id())), "").unwrap();
    }
    StdDir::open(folder.path()).unwrap().check_writable().unwrap();
}
