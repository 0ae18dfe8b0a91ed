//! Idle engines and a mirror that stops in one direction: each side says which one it is, and that it is well again.

use std::time::Duration;

use crate::harness::{Engine, Line, Options};
use crate::process::eventually;

fn beating() -> Options {
    fn beat(file: &mut sidecar_config::ConfigFile) {
        file.heartbeat.interval = Some(Duration::from_secs(1));
        file.heartbeat.loss_timeout = Some(Duration::from_secs(5));
    }
    Options { near: Box::new(beat), far: Box::new(beat), ..Options::default() }
}

/// Waits until both engines say so of their only peer, at the same time.
#[track_caller]
fn assert_say(engines: [(&Engine, &str); 2]) {
    let what = engines.map(|(engine, diagnosis)| format!("`{}` says {diagnosis}", engine.side)).join(" while ");
    eventually(&what, || {
        engines
            .iter()
            .all(|(engine, diagnosis)| engine.statusz()["peers"][0]["diagnosis_name"] == *diagnosis)
            .then_some(())
    });
}

fn check(cut_from: impl Fn(&Line) -> [&Engine; 2]) {
    let line = Line::start(&beating());
    let [sender, receiver] = cut_from(&line);
    assert_say([(sender, "healthy"), (receiver, "healthy")]);
    let outage = line.outage_from(sender);
    assert_say([(sender, "outbound_silent"), (receiver, "inbound_silent")]);
    drop(outage);
    assert_say([(sender, "healthy"), (receiver, "healthy")]);
    line.assert_works();
}

#[test]
fn both_idle_engines_name_the_direction_from_near_to_far_when_it_stops() {
    check(|line| [&line.near, &line.far]);
}

#[test]
fn both_idle_engines_name_the_direction_from_far_to_near_when_it_stops() {
    check(|line| [&line.far, &line.near]);
}
