//! A mirror that does not do what `mirror.profile` says is noticed, and the profile that fits is named; one that does is not.

use serde_json::Value;
use sidecar_config::{ConfigFile, Profile};

use crate::harness::{Line, Options};
use crate::process::eventually;

/// Calls that make enough packets.
const CALLS: usize = 24;

fn advice(line: &Line, folder: &str) -> Value {
    let status = line.near.statusz();
    let folders = status["folders"].as_array().unwrap();
    folders.iter().find(|found| found["folder"] == folder).unwrap()["profile_advice"].clone()
}

/// A line over mirrors of one profile, of which the near engine believes another one.
fn line(mirror: Profile, believed: Profile) -> Line {
    let near = Box::new(move |file: &mut ConfigFile| file.mirror.profile = believed);
    Line::start(&Options { profile: mirror, near, ..Options::default() })
}

#[test]
fn a_mirror_of_another_profile_is_said_with_the_one_that_fits() {
    for (mirror, believed, word) in [(Profile::Copy, Profile::Move, "Copy"), (Profile::Move, Profile::Copy, "Move")] {
        let line = line(mirror, believed);
        let said = eventually(&format!("{mirror:?} is noticed"), || {
            line.assert_works();
            advice(&line, "outbox").as_str().map(str::to_owned)
        });
        assert!(said.contains(word), "{said}");
        let log = std::fs::read_to_string(line.near.log()).unwrap();
        assert_eq!(log.matches("does not do what mirror.profile says").count(), 1, "{log}");
    }
}

#[test]
fn a_mirror_of_the_configured_profile_is_no_trouble() {
    for profile in [Profile::Copy, Profile::Move, Profile::Sync] {
        let line = line(profile, profile);
        for _ in 0..CALLS {
            line.assert_works();
        }
        for folder in ["outbox", "inbox"] {
            assert_eq!(advice(&line, folder), Value::Null, "{profile:?} {folder}");
        }
    }
}
