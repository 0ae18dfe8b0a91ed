//! The Dockerfile: both images are really built, around stand-ins for the two programs.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::programs::{missing, program, repository, run, text_of};

/// The owner's digit of this process: 0 is root.
fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .and_then(|ids| ids.split_whitespace().next())
        .is_some_and(|id| id == "0")
}

/// What is in an image: its configuration, and the names in its layers with their modes.
struct Built {
    config: Value,
    files: Vec<String>,
}

fn build(buildah: &Path, folder: &Path, target: &str) -> Built {
    let name = format!("hoft-{target}:test");
    let (storage, runtime, stand_in) = (folder.join("storage"), folder.join("runtime"), folder.join("build"));
    let command = |arguments: &[&str]| {
        let mut command = Command::new(buildah);
        command
            .args(["--storage-driver", "vfs", "--root"])
            .arg(&storage)
            .arg("--runroot")
            .arg(&runtime)
            .args(arguments);
        command.current_dir(repository());
        command
    };
    let mut building = command(&["bud", "--isolation", "chroot", "--target", target]);
    building.arg(format!("--build-context=build={}", stand_in.display())).args(["-t", &name, "."]);
    run(&mut building).unwrap();
    let archive = folder.join(format!("{target}.tar"));
    run(&mut command(&["push", &name, &format!("docker-archive:{}:{name}", archive.display())])).unwrap();
    let parts = folder.join(target);
    std::fs::create_dir(&parts).unwrap();
    run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&parts)).unwrap();
    let manifest: Value = serde_json::from_slice(&std::fs::read(parts.join("manifest.json")).unwrap()).unwrap();
    let config = std::fs::read(parts.join(manifest[0]["Config"].as_str().unwrap())).unwrap();
    let mut files = Vec::new();
    for layer in manifest[0]["Layers"].as_array().unwrap() {
        let layer = parts.join(layer.as_str().unwrap());
        let listed = run(Command::new("tar").arg("-tvf").arg(layer)).unwrap();
        let words = listed.lines().filter(|line| !line.starts_with('d')).map(|line| line.split_whitespace().collect());
        files.extend(words.map(|words: Vec<&str>| format!("{} {} /{}", words[0], words[1], words[5])));
    }
    files.sort();
    Built { config: serde_json::from_slice(&config).unwrap(), files }
}

#[test]
fn each_image_holds_its_program_the_authorities_and_the_licence() {
    let Some(buildah) = program("buildah") else { return };
    if !is_root() {
        missing("buildah", "images are built as root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("build/out");
    std::fs::create_dir_all(&out).unwrap();
    for file in ["hoft", "hoft-operator", "ca-certificates.crt"] {
        std::fs::write(out.join(file), file).unwrap();
    }
    for (target, entry) in [("sidecar", "hoft"), ("operator", "hoft-operator")] {
        let built = build(&buildah, folder.path(), target);
        let config = &built.config["config"];
        assert_eq!(config["User"], "65532:65532", "{target}");
        assert_eq!(config["Entrypoint"], json!([format!("/{entry}")]), "{target}");
        assert!(config["Cmd"].is_null(), "{target}");
        let label = |name: &str| config["Labels"][format!("org.opencontainers.image.{name}")].clone();
        assert_eq!(label("title"), format!("hoft-{target}"));
        assert_eq!(label("licenses"), "Apache-2.0");
        assert!(label("description").as_str().is_some_and(|text| text.len() > 20), "{target}");
        // Nothing else: no shell, nobody's files but root's, and the program cannot be changed by its user.
        let expected = [
            "-rw-r--r-- 0/0 /etc/ssl/certs/ca-certificates.crt".to_owned(),
            "-rw-r--r-- 0/0 /licenses/hoft/LICENSE".to_owned(),
            format!("-rwxr-xr-x 0/0 /{entry}"),
        ];
        assert_eq!(built.files, expected, "{target}");
    }
}

#[test]
fn the_compiler_of_the_image_is_the_pinned_one() {
    let toolchain = text_of("rust-toolchain.toml");
    let version = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap().trim_matches('"');
    let dockerfile = text_of("Dockerfile");
    assert!(dockerfile.contains(&format!("FROM docker.io/library/rust:{version}-bookworm AS build")), "{version}");
    assert!(dockerfile.contains(&format!("ENV RUSTUP_TOOLCHAIN={version}")), "{version}");
    assert!(dockerfile.contains("cargo build --locked --release"));
}

#[test]
fn the_build_context_has_every_member_of_the_workspace() {
    let kept: Vec<String> =
        text_of(".dockerignore").lines().filter_map(|line| line.strip_prefix('!')).map(str::to_owned).collect();
    let manifest = text_of("Cargo.toml");
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    let members: Vec<String> = serde_json::from_str(members).unwrap();
    let folders = members.iter().map(|member| member.split('/').next().unwrap());
    for needed in folders.chain(["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "LICENSE"]) {
        assert!(kept.iter().any(|name| name == needed), ".dockerignore leaves out {needed}");
    }
}
