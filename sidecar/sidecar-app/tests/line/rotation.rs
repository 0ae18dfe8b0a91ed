//! A side changes its keys while calls go on, and its old keys are then believed no more.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Engine, Line, Options, keygen};
use crate::process::{eventually, folder, run};

/// What `hoft key show` says of a token.
fn shown(token: &Path) -> Value {
    let (status, text) = run(&["key", "show", "--json", token.to_str().unwrap()]);
    assert!(status.success(), "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Lets two files change places while the engine that reads them stands still.
fn swap(engine: &Engine, one: &Path, other: &Path) {
    assert!(engine.stop().success());
    let (first, second) = (fs::read(one).unwrap(), fs::read(other).unwrap());
    fs::write(one, second).unwrap();
    fs::write(other, first).unwrap();
    engine.start_again();
}

/// Adds a field to the far side's section of an engine's file and starts it again.
fn with_remote_field(engine: &Engine, field: &str) {
    assert!(engine.stop().success());
    let text = fs::read_to_string(engine.config()).unwrap();
    let line = text.lines().find(|line| line.trim_start().starts_with("keyFiles:")).unwrap();
    let indent = &line[..line.len() - line.trim_start().len()];
    fs::write(engine.config(), text.replacen(line, &format!("{indent}{field}\n{line}"), 1)).unwrap();
    engine.start_again();
}

fn rejected(engine: &Engine, reject: &str) -> u64 {
    engine.statusz()["inbox"]["rejects"][reject].as_u64().unwrap_or(0)
}

/// The order of docs/key-file.md: the new keys open, then they are pinned, then they sign, then the old ones are revoked.
#[test]
fn keys_are_changed_without_a_gap_and_the_old_ones_revoked() {
    let place = folder();
    fs::create_dir(place.path().join("south")).unwrap();
    keygen(place.path(), "south");
    let (other, token) = (place.path().join("south/south.key"), place.path().join("south/south.pub"));
    let (opens, pinned) = (other.clone(), token.clone());
    let line = Line::start(&Options {
        far: Box::new(move |file| file.identity.retired_files.push(opens.clone())),
        near: Box::new(move |file| file.remote.key_files.push(pinned.clone())),
        ..Options::default()
    });
    // North seals to the key of the token that it pinned last, which south holds beside the one that it signs with.
    line.assert_works();
    let signs = line.far.folder.join("south.key");
    swap(&line.far, &signs, &other);
    line.assert_works();
    let old = shown(&line.far.folder.join("south.pub"))["signing_key"].as_str().unwrap().to_owned();
    assert_ne!(old, shown(&token)["signing_key"]);
    with_remote_field(&line.near, &format!("revokedKeys: [\"{old}\"]"));
    line.assert_works();
    // Whoever stole the old keys.
    let before = rejected(&line.near, "key_revoked");
    swap(&line.far, &signs, &other);
    let _call = line.door().call("POST", &line.url("/echo")).body(b"whom do I talk to?").begin().unwrap();
    eventually("what the revoked key signed is dropped", || {
        (rejected(&line.near, "key_revoked") > before).then_some(())
    });
    swap(&line.far, &signs, &other);
    line.assert_works();
}
