//! The committed corpora before every target: what fuzzing found once stays found, on any toolchain.
//!
//! `HOFT_GOLDEN=write cargo test -p fuzz seeds` writes the seeds anew.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fuzz::{TARGETS, alone, seeds};

/// The folder of a target's inputs.
fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

#[test]
fn seeds_are_in_the_corpora() {
    let _turn = alone();
    for (target, _) in TARGETS {
        let seeds = seeds::of(target);
        assert!(!seeds.is_empty(), "{target}");
        for (name, seed) in seeds {
            let path = corpus(target).join(format!("seed-{name}"));
            if std::env::var("HOFT_GOLDEN").as_deref() == Ok("write") {
                fs::create_dir_all(corpus(target)).unwrap();
                fs::write(&path, &seed).unwrap();
            }
            assert!(fs::read(&path).unwrap() == seed, "{} is not what is made", path.display());
        }
    }
}

#[test]
fn corpora_are_replayed() {
    let _turn = alone();
    for (target, run) in TARGETS {
        let mut inputs: Vec<PathBuf> =
            fs::read_dir(corpus(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "{target}");
        for input in inputs {
            let data = fs::read(&input).unwrap();
            let outcome = std::panic::catch_unwind(|| run(&data));
            assert!(outcome.is_ok(), "target {target} failed on {}", input.display());
        }
    }
}

#[test]
fn seeds_of_configurations_are_good_ones() {
    let _turn = alone();
    for (name, seed) in seeds::of("config") {
        let text = String::from_utf8(seed).unwrap();
        let read = sidecar_config::parse(&text, &name, Path::new("/base"));
        assert!(read.is_ok(), "{}", read.unwrap_err());
    }
}

#[test]
fn every_target_has_a_program() {
    let _turn = alone();
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/targets/Cargo.toml")).unwrap();
    for (target, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
        let program =
            fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("targets/bins/{target}.rs")));
        assert!(program.unwrap().contains(&format!("fuzz::fuzz_{target}")), "{target}");
    }
}

/// Name and version of every package of a lock file.
fn locked(path: &str) -> BTreeSet<(String, String)> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let value = |line: &str, key: &str| Some(line.strip_prefix(key)?.trim_matches('"').to_owned());
    let lines: Vec<&str> = text.lines().collect();
    let pairs = lines.windows(2).filter_map(|pair| Some((value(pair[0], "name = ")?, value(pair[1], "version = ")?)));
    pairs.collect()
}

#[test]
fn programs_are_built_with_the_versions_of_the_product() {
    let _turn = alone();
    let (theirs, ours) = (locked("targets/Cargo.lock"), locked("../../Cargo.lock"));
    assert!(theirs.len() > 100);
    let own = ["targets", "libfuzzer-sys", "arbitrary"];
    let other: Vec<_> = theirs.difference(&ours).filter(|(name, _)| !own.contains(&name.as_str())).collect();
    assert!(other.is_empty(), "copy Cargo.lock to tests/fuzz/targets and run `cargo metadata` there: {other:?}");
}
