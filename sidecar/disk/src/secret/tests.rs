//! Tests of key files.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn secret_written_reads_back_and_is_private() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("key");
    write_secret_file(&path, b"secret").unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(read_secret_file(&path, false).unwrap().as_slice(), b"secret");
    let names: Vec<_> = std::fs::read_dir(place.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["key"]);
}

#[test]
fn existing_file_is_never_overwritten() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("key");
    std::fs::write(&path, b"old").unwrap();
    assert!(matches!(write_secret_file(&path, b"new"), Err(NewFileError::Exists { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    let dangling = place.path().join("dangling");
    symlink("target", &dangling).unwrap();
    assert!(matches!(write_new_file(&dangling, b"new", 0o644), Err(NewFileError::Exists { .. })));
    assert!(!place.path().join("target").exists());
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 2);
}

#[test]
fn readable_secret_is_refused_unless_allowed() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("key");
    write_secret_file(&path, b"secret").unwrap();
    for mode in [0o644, 0o640, 0o604, 0o620, 0o601, 0o660] {
        set_mode(&path, mode);
        match read_secret_file(&path, false) {
            Err(error @ SecretFileError::Readable { .. }) => {
                assert!(error.to_string().contains(&format!("mode {mode:04o}")), "{error}");
                assert!(error.to_string().contains("chmod 600"), "{error}");
            }
            other => panic!("mode {mode:o}: {other:?}"),
        }
        assert_eq!(read_secret_file(&path, true).unwrap().as_slice(), b"secret");
    }
    set_mode(&path, 0o400);
    assert_eq!(read_secret_file(&path, false).unwrap().as_slice(), b"secret");
}

#[test]
fn secret_volume_of_links_is_read() {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("..2024")).unwrap();
    write_secret_file(&place.path().join("..2024/key"), b"secret").unwrap();
    symlink("..2024", place.path().join("..data")).unwrap();
    symlink("..data/key", place.path().join("key")).unwrap();
    assert_eq!(read_secret_file(&place.path().join("key"), false).unwrap().as_slice(), b"secret");
}

#[test]
fn what_is_no_secret_file_is_named() {
    let place = tempfile::tempdir().unwrap();
    let missing = read_secret_file(&place.path().join("no"), false);
    assert!(matches!(missing, Err(SecretFileError::Missing { .. })));
    assert!(matches!(read_secret_file(place.path(), true), Err(SecretFileError::NotRegular { .. })));
    let handle = File::open(place.path()).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(&handle, "pipe", rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(matches!(read_secret_file(&place.path().join("pipe"), false), Err(SecretFileError::NotRegular { .. })));
    let large = place.path().join("large");
    write_secret_file(&large, b"").unwrap();
    assert!(read_secret_file(&large, false).unwrap().is_empty());
    OpenOptions::new().write(true).open(&large).unwrap().set_len(SECRET_FILE_BYTES_MAX + 1).unwrap();
    match read_secret_file(&large, false) {
        Err(SecretFileError::TooLarge { len, .. }) => assert_eq!(len, SECRET_FILE_BYTES_MAX + 1),
        other => panic!("{other:?}"),
    }
}

#[test]
fn missing_folder_and_bad_names_are_told() {
    let place = tempfile::tempdir().unwrap();
    for path in [place.path().join("no/key"), place.path().join(".."), "/".into()] {
        assert!(matches!(write_secret_file(&path, b""), Err(NewFileError::Io { .. })), "{path:?}");
    }
}

#[test]
fn new_file_gets_its_mode() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("token");
    write_new_file(&path, b"public", 0o640).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & !0o640, 0);
}
