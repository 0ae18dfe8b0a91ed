//! Configurations, keys, folders and ports that cannot be used: each is said plainly, all together, with status 1.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sidecar_config::{ConfigFile, Folders, Layout, PublishSync};
use tempfile::TempDir;

use crate::harness::keygen;
use crate::process::{folder, hoft};

const START: &[&str] = &["sidecar", "--config"];
const CHECK: &[&str] = &["config", "check"];

/// A place with keys and folders of both sides, and a good configuration of `north` in it.
fn place() -> (TempDir, ConfigFile) {
    let place = folder();
    for side in ["north", "south"] {
        for name in ["out", "in", "state"] {
            std::fs::create_dir_all(place.path().join(side).join(name)).unwrap();
        }
        keygen(place.path(), side);
    }
    let folders =
        Folders { outbox: "out".into(), inbox: "in".into(), layout: Layout::Tree, publish_sync: PublishSync::Auto };
    let mut file = ConfigFile::new("north", "south", folders, "state".into());
    file.identity.secret_file = Some("north.key".into());
    file.remote.key_files = vec!["../south/south.pub".into()];
    file.listen.proxy = "127.0.0.1:0".to_owned();
    file.listen.admin = "127.0.0.1:0".to_owned();
    (place, file)
}

/// Starts an engine that must not start: status 1, no panic, and every one of `words` in what it says.
#[track_caller]
fn assert_refused(config: &Path, words: &[&str]) {
    for subcommand in [START, CHECK] {
        assert_refused_by(subcommand, config, words);
    }
}

#[track_caller]
fn assert_refused_by(subcommand: &[&str], config: &Path, words: &[&str]) {
    let output = hoft().args(subcommand).arg(config).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{subcommand:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    for word in words {
        assert!(said.contains(word), "{subcommand:?} does not say `{word}`:\n{said}");
    }
}

#[track_caller]
fn assert_file_refused(place: &TempDir, file: &ConfigFile, words: &[&str]) {
    let path = place.path().join("north/hoft.yaml");
    std::fs::write(&path, file.to_yaml().unwrap()).unwrap();
    assert_refused(&path, words);
}

#[test]
fn a_good_configuration_is_good() {
    let (place, file) = place();
    let path = place.path().join("north/hoft.yaml");
    std::fs::write(&path, file.to_yaml().unwrap()).unwrap();
    let output = hoft().args(["config", "check"]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_configuration_that_cannot_be_read_is_named() {
    let place = folder();
    let path = place.path().join("hoft.yaml");
    assert_refused(&path, &["hoft.yaml"]);
    assert_refused(place.path(), &[&place.path().display().to_string()]);
    for (content, words) in [
        (&b""[..], &["hoft.yaml"][..]),
        (b"version: 1\n  local: {\n", &["hoft.yaml"]),
        (b"\x00\xff\xfe garbage", &["hoft.yaml"]),
        (b"version: 1\nunheard_of: true\n", &["unheard_of"]),
        (b"version: 99\n", &["version"]),
        (b"[1, 2, 3]\n", &["hoft.yaml"]),
    ] {
        std::fs::write(&path, content).unwrap();
        assert_refused(&path, words);
    }
}

#[test]
fn everything_contradictory_is_said_at_once() {
    let (place, mut file) = place();
    file.remote.name = "north".to_owned();
    file.folders.inbox = "out".into();
    file.modes.send = "Checksum".to_owned();
    file.listen.proxy = "0.0.0.0:8470".to_owned();
    file.mirror.packet_size = sidecar_config::ByteSize::gib(1);
    let words = ["remote.name", "folders.inbox", "allowUnauthenticated", "allowRemote", "mirror.packetSize"];
    assert_file_refused(&place, &file, &words);
}

#[test]
fn missing_folders_and_keys_are_said_at_once() {
    let (place, mut file) = place();
    file.folders.outbox = "no-out".into();
    file.folders.inbox = "no-in".into();
    file.identity.secret_file = Some("no.key".into());
    file.remote.key_files = vec!["no.pub".into()];
    let path = place.path().join("north/hoft.yaml");
    std::fs::write(&path, file.to_yaml().unwrap()).unwrap();
    assert_refused_by(CHECK, &path, &["no-out", "no-in", "no.key", "no.pub", "4 problems"]);
    // Shares may come back; keys do not.
    assert_refused_by(START, &path, &["no.key", "no.pub", "2 problems"]);
    assert!(!place.path().join("north/no-out").exists(), "a folder was made where a mirror was expected");
}

#[test]
fn a_file_in_place_of_a_folder_is_said() {
    let (place, mut file) = place();
    std::fs::write(place.path().join("north/file"), b"").unwrap();
    file.folders.outbox = "file".into();
    assert_file_refused(&place, &file, &["folders.outbox", "file"]);
}

#[test]
fn a_folder_without_write_permission_is_said() {
    let (place, file) = place();
    let (path, outbox) = (place.path().join("north/hoft.yaml"), place.path().join("north/out"));
    std::fs::set_permissions(&outbox, std::fs::Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(outbox.join("probe"), b"").is_ok() {
        println!("SKIPPED with permissions: this user may write everywhere; a folder of the kernel stands in for it");
        let mut file = file;
        file.folders.outbox = "/proc/self/fdinfo".into();
        std::fs::write(&path, file.to_yaml().unwrap()).unwrap();
        return assert_refused_by(CHECK, &path, &["folders.outbox"]);
    }
    std::fs::write(&path, file.to_yaml().unwrap()).unwrap();
    assert_refused_by(CHECK, &path, &["folders.outbox", "north/out"]);
}

#[test]
fn keys_that_are_not_ours_to_use_are_said() {
    let (place, file) = place();
    let key = place.path().join("north/north.key");
    // Readable by everybody.
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_file_refused(&place, &file, &["identity.secretFile", "chmod 600"]);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    // Of the other side.
    let mut other = file.clone();
    other.identity.secret_file = Some("../south/south.key".into());
    assert_file_refused(&place, &other, &["south", "local.name"]);
    // The token of a third side, and no token at all.
    std::fs::create_dir(place.path().join("east")).unwrap();
    keygen(place.path(), "east");
    let mut third = file.clone();
    third.remote.key_files = vec!["../east/east.pub".into()];
    assert_file_refused(&place, &third, &["remote.key"]);
    std::fs::write(place.path().join("north/bad.pub"), "hoft1 is not a token").unwrap();
    let mut broken = file.clone();
    broken.remote.key_files = vec!["bad.pub".into()];
    assert_file_refused(&place, &broken, &["remote.key"]);
    // A secret file of zeros.
    std::fs::write(&key, [0; 64]).unwrap();
    assert_file_refused(&place, &file, &["identity.secretFile"]);
}

#[test]
fn a_port_in_use_is_named_with_its_field() {
    let (place, mut file) = place();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let path = place.path().join("north/hoft.yaml");
    for field in ["listen.proxy", "listen.admin"] {
        file.listen.proxy = "127.0.0.1:0".to_owned();
        file.listen.admin = "127.0.0.1:0".to_owned();
        if field == "listen.proxy" {
            file.listen.proxy.clone_from(&address)
        } else {
            file.listen.admin.clone_from(&address)
        }
        std::fs::write(&path, file.to_yaml().unwrap()).unwrap();
        let output = hoft().args(["sidecar", "--config"]).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(field) && said.contains(&address) && !said.contains("panicked"), "{said}");
    }
}

#[test]
fn a_state_folder_of_another_endpoint_is_refused() {
    let (place, file) = place();
    let path = place.path().join("north/hoft.yaml");
    std::fs::write(&path, file.to_yaml().unwrap()).unwrap();
    let mut command = hoft();
    command.args(["sidecar", "--config"]).arg(&path);
    let mut engine = crate::process::Process::start(command, &place.path().join("engine.log"));
    crate::process::eventually("the engine is ready", || {
        let log = std::fs::read_to_string(place.path().join("engine.log")).unwrap_or_default();
        assert!(engine.ended().is_none(), "{log}");
        log.contains("engine ready").then_some(())
    });
    engine.kill();
    let mut other = file;
    other.local.endpoint = "1".to_owned();
    std::fs::write(&path, other.to_yaml().unwrap()).unwrap();
    let output = hoft().args(["sidecar", "--config"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("state.folder") && !said.contains("panicked"), "{said}");
}

#[test]
fn a_state_folder_of_garbage_is_refused_or_started_over_but_never_a_panic() {
    let (place, file) = place();
    let path = place.path().join("north/hoft.yaml");
    std::fs::write(&path, file.to_yaml().unwrap()).unwrap();
    std::fs::remove_dir(place.path().join("north/state")).unwrap();
    std::fs::write(place.path().join("north/state"), b"a file where a folder was").unwrap();
    let output = hoft().args(["sidecar", "--config"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("state.folder") && !said.contains("panicked"), "{said}");
}
