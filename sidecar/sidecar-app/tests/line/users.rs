//! Engines of another user than the owner of their folders, as on Kubernetes: what suffices, and what is said if not.
//!
//! Only the superuser can start a process as somebody else. For others the tests say that they were skipped, which
//! `HOFT_REQUIRE=root` turns into failures.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use sidecar_config::{ConfigFile, Folders, Layout, PublishSync};
use tempfile::TempDir;

use crate::harness::keygen;
use crate::process::{HOFT, Process, eventually, folder, hoft_at};

/// Who engines are in containers, and the group of a shared volume.
const USER: u32 = 65_532;
const GROUP: u32 = 2_000;

fn may_become_others() -> bool {
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let required = std::env::var("HOFT_REQUIRE").is_ok_and(|names| names.split(',').any(|name| name == "root"));
    assert!(root || !required, "HOFT_REQUIRE names root, and this is not the superuser");
    if !root {
        println!("SKIPPED: only the superuser can start processes of other users");
    }
    root
}

fn set(path: &Path, group: u32, mode: u32) {
    chown(path, Some(0), Some(group)).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// What Kubernetes mounts: a volume of its group, an emptyDir of everybody, a Secret that all may read.
fn place() -> (TempDir, ConfigFile) {
    let place = folder();
    for side in ["north", "south"] {
        std::fs::create_dir(place.path().join(side)).unwrap();
        keygen(place.path(), side);
    }
    let home = place.path().join("north");
    for (name, group, mode) in [("out", GROUP, 0o2770), ("in", GROUP, 0o2770), ("state", 0, 0o777)] {
        std::fs::create_dir(home.join(name)).unwrap();
        set(&home.join(name), group, mode);
    }
    set(&home.join("north.key"), 0, 0o444);
    for path in [place.path(), &home, &place.path().join("south")] {
        set(path, 0, 0o755);
    }
    let folders =
        Folders { outbox: "out".into(), inbox: "in".into(), layout: Layout::Tree, publish_sync: PublishSync::Auto };
    let mut file = ConfigFile::new("north", "south", folders, "state".into());
    file.identity.secret_file = Some("north.key".into());
    file.identity.allow_readable = true;
    file.remote.key_files = vec!["../south/south.pub".into()];
    file.listen.proxy = "127.0.0.1:0".to_owned();
    file.listen.admin = "127.0.0.1:0".to_owned();
    (place, file)
}

fn engine(place: &TempDir, file: &ConfigFile) -> Command {
    let config = place.path().join("north/hoft.yaml");
    std::fs::write(&config, file.to_yaml().unwrap()).unwrap();
    // Another user may not reach the folder that the binary was built in.
    let program = place.path().join("hoft");
    std::fs::copy(HOFT, &program).unwrap();
    let mut command = hoft_at(&program);
    command.args(["sidecar", "--config"]).arg(config).uid(USER).gid(GROUP);
    command
}

/// The folders below one, as paths.
fn folders_below(path: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(path).unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| path.is_dir()).flat_map(|path| [folders_below(&path), vec![path]].concat()).collect()
}

#[test]
fn an_engine_runs_on_what_kubernetes_mounts() {
    if !may_become_others() {
        return;
    }
    let (place, file) = place();
    let log = place.path().join("engine.log");
    let mut process = Process::start(engine(&place, &file), &log);
    let outbox = place.path().join("north/out");
    let made = eventually("the engine publishes a packet", || {
        assert!(process.ended().is_none(), "{}", std::fs::read_to_string(&log).unwrap());
        Some(folders_below(&outbox))
            .filter(|made| made.iter().any(|path| path.read_dir().unwrap().flatten().any(|f| f.path().is_file())))
    });
    // The mirror, of the same group, may take files out of them.
    for path in made {
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o2070, 0o2070, "{}: {mode:o}", path.display());
    }
    process.ask_to_end();
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn a_folder_that_is_not_ours_to_write_is_named_with_ids_and_remedy() {
    if !may_become_others() {
        return;
    }
    let refused = |change: &dyn Fn(&Path)| {
        let (place, file) = place();
        change(&place.path().join("north"));
        let output = engine(&place, &file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        said
    };
    let said = refused(&|home| set(&home.join("out"), 0, 0o755));
    for words in ["folders.outbox", "user 65532, group", "belongs to user 0, group 0, mode 0755", "chmod 2770"] {
        assert!(said.contains(words), "`{words}` is not said:\n{said}");
    }
    assert!(said.contains(&format!("chgrp {GROUP} ")), "{said}");
    // Its group is ours already, so only the mode is to be changed.
    let said = refused(&|home| set(&home.join("out"), GROUP, 0o2750));
    assert!(said.contains("chmod 2770") && !said.contains("chgrp"), "{said}");
    let said = refused(&|home| set(&home.join("state"), 0, 0o755));
    assert!(said.contains("state.folder") && said.contains("this process is user 65532"), "{said}");
    let said = refused(&|home| set(&home.join("in"), 0, 0o700));
    assert!(said.contains("folders.inbox") && said.contains("this process is user 65532"), "{said}");
}
