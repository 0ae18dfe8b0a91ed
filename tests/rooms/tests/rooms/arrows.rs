//! Compares the dependencies between our crates with the arrows of ARCHITECTURE.md.
//!
//! A new arrow between rooms is a design change: it is made here and in ARCHITECTURE.md first.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Every arrow that is allowed: a room and the rooms it may depend on. Crates under `tests/` may depend on anything.
const ARROWS: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("mutations", &[]),
    ("disk", &["mutations"]),
    ("sidecar-config", &[]),
    ("crd-types", &[]),
    ("controller", &["crd-types", "identity", "sidecar-config"]),
    ("identity", &["wire"]),
    ("layer0-pipe", &["disk", "identity", "mutations", "wire"]),
    ("layer1-replication", &["mutations", "wire"]),
    ("layer2-http", &["mutations", "wire"]),
    (
        "sidecar-app",
        &[
            "disk",
            "identity",
            "layer0-pipe",
            "layer1-replication",
            "layer2-http",
            "mutations",
            "sidecar-config",
            "wire",
        ],
    ),
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata runs in a checkout")
}

/// Every room of the workspace with the rooms it depends on, tests excluded.
fn arrows(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let ours: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let root = metadata.workspace_root.join("tests");
    metadata
        .packages
        .iter()
        .filter(|package| !package.manifest_path.starts_with(&root))
        .map(|package| {
            let to = package
                .dependencies
                .iter()
                .filter(|dependency| dependency.kind != DependencyKind::Development)
                .filter(|dependency| ours.contains(dependency.name.as_str()))
                .map(|dependency| dependency.name.clone())
                .collect();
            (package.name.to_string(), to)
        })
        .collect()
}

#[test]
fn rooms_depend_only_along_the_arrows() {
    let allowed: BTreeMap<String, BTreeSet<String>> = ARROWS
        .iter()
        .map(|(from, to)| ((*from).to_owned(), to.iter().map(|name| (*name).to_owned()).collect()))
        .collect();
    assert_eq!(arrows(&metadata()), allowed, "left: what the manifests say; right: the arrows of ARCHITECTURE.md");
}

#[test]
fn package_name_is_folder_name() {
    for package in metadata().packages {
        let folder = package.manifest_path.parent().and_then(|path| path.file_name());
        assert_eq!(folder, Some(package.name.as_str()), "{}", package.manifest_path);
    }
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    for package in metadata().packages {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{} lacks [lints] workspace = true",
            package.manifest_path
        );
    }
}

#[test]
fn features_are_named_in_the_workspace_only() {
    for package in metadata().packages {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        let outside = manifest
            .lines()
            .skip_while(|line| !line.starts_with("[dependencies]"))
            .filter(|line| line.contains("version =") || line.contains("features ="))
            .count();
        assert_eq!(outside, 0, "{}: versions and features belong into [workspace.dependencies]", package.manifest_path);
    }
}
