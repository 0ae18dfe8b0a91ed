//! The rest of the status: engines, the far side, times.

use jiff::Timestamp;

use super::scene::{Scene, peer};

fn last_seen_time(scene: &Scene) -> Timestamp {
    scene.plan().status.remote.unwrap().last_seen_time.unwrap().0
}

fn last_seen(scene: &Scene) -> String {
    last_seen_time(scene).to_string()
}

#[test]
fn engines_are_listed_by_name_and_counted() {
    let scene = Scene::sidecar()
        .settle()
        .pod("b")
        .sees("alive", "healthy")
        .pod("a")
        .pod("c")
        .says(|report| report.log_full = true);
    let status = scene.plan().status;
    let listed: Vec<(&str, bool)> = status.instances.iter().map(|each| (each.name.as_str(), each.ready)).collect();
    assert_eq!(listed, [("a", false), ("b", true), ("c", false)]);
    assert_eq!(status.instances_ready.as_deref(), Some("1/3"));
    assert_eq!(status.instances[1].incarnation.as_deref(), Some("0199c5d2-0001"));
    assert_eq!(status.observed_generation, Some(3));
}

#[test]
fn of_many_engines_the_first_are_listed_and_all_are_counted() {
    let scene =
        (0..40).fold(Scene::sidecar().settle(), |scene, n| scene.pod(&format!("p{n:02}")).sees("alive", "healthy"));
    let status = scene.plan().status;
    assert_eq!(status.instances.len(), 32);
    assert_eq!(status.instances_ready.as_deref(), Some("40/40"));
    assert_eq!(scene.plan().pods.len(), 40);
}

#[test]
fn the_topology_says_where_engines_run() {
    assert_eq!(Scene::sidecar().plan().status.topology.as_deref(), Some("Sidecar"));
    assert_eq!(Scene::gateway().plan().status.topology.as_deref(), Some("Gateway"));
    assert_eq!(Scene::gateway().spec("injection: {}").plan().status.topology.as_deref(), Some("Gateway+Sidecar"));
    let workload = Scene::gateway().plan().status.workload.unwrap();
    assert_eq!(
        (workload.image.as_str(), workload.stateful_set.as_deref()),
        ("registry.example/hoft-sidecar:0.1.0", Some("north-gateway"))
    );
}

#[test]
fn last_seen_is_written_once_a_minute_or_when_something_turns() {
    // 04:05:06.789, and heard 1.5 s before.
    let scene = Scene::sidecar().settle().pod("a").sees("alive", "healthy");
    assert_eq!(last_seen(&scene), "2026-02-03T04:05:05Z");
    let scene = scene.settle();
    let soon = scene.clone().later(59).sees("alive", "healthy");
    assert_eq!(last_seen(&soon), "2026-02-03T04:05:05Z");
    let later = scene.clone().later(60).sees("alive", "healthy");
    assert_eq!(last_seen(&later), "2026-02-03T04:06:05Z");
    let mut far = peer("silent", "inbound_silent");
    far.last_heard_ms_ago = Some(20_000);
    let turned = scene.later(59).says(|report| report.peers = vec![far]);
    assert_eq!(last_seen(&turned), "2026-02-03T04:05:45Z");
}

#[test]
fn last_seen_is_never_ahead_of_the_clock() {
    let mut scene = Scene::sidecar().settle().pod("a").sees("alive", "healthy");
    let ahead = scene.now.checked_add(jiff::SignedDuration::from_hours(1)).unwrap();
    scene.last().report.as_mut().unwrap().0 = ahead;
    assert!(last_seen_time(&scene) <= scene.now);
    let back = scene.settle().later(-7200).sees("alive", "healthy");
    assert!(last_seen_time(&back) <= back.now, "a clock that ran ahead is not kept");
}

#[test]
fn a_far_side_that_is_not_heard_keeps_its_last_time_and_version() {
    let scene = Scene::sidecar().settle().pod("a").sees("alive", "healthy").settle();
    let mut gone = scene.clone();
    gone.instances.clear();
    let remote = gone.later(3600).plan().status.remote.unwrap();
    assert_eq!(remote, scene.peering.status.unwrap().remote.unwrap());
    assert_eq!(remote.version.as_deref(), Some("hoft/0.1.0"));
    assert_eq!(Scene::sidecar().plan().status.remote, None);
}

#[test]
fn the_key_in_use_is_named_where_there_is_no_doubt() {
    let scene = Scene::sidecar().settle().pod("a").sees("alive", "healthy");
    assert_eq!(scene.plan().status.remote.unwrap().key_id_in_use.as_deref(), Some("k1"));
    let token = super::scene::identity_of("south").bundle(2, 0, 0).to_token().unwrap();
    let two = serde_json::json!({"remote": {"publicKeys": [{"id": "k1", "key": super::scene::token_of("south")}, {"id": "k2", "key": token}]}});
    assert_eq!(scene.spec(&two.to_string()).plan().status.remote.unwrap().key_id_in_use, None);
}

#[test]
fn an_engine_that_stopped_answering_shows_since_when() {
    let scene = Scene::sidecar().settle().pod("a").sees("alive", "healthy");
    assert_eq!(scene.plan().status.instances[0].last_seen, None);
    let silent = scene.but(|pod| pod.unreachable = Some("timed out".to_owned())).later(30);
    let instance = silent.plan().status.instances.remove(0);
    assert!(instance.ready, "one question without an answer is nothing yet");
    assert_eq!(instance.last_seen.unwrap().0.to_string(), "2026-02-03T04:05:06Z");
    assert!(!silent.later(30).plan().status.instances[0].ready);
}

#[test]
fn a_restarting_engine_is_not_ready() {
    let scene =
        Scene::sidecar().settle().pod("a").sees("alive", "healthy").container(|container| container.started = false);
    assert!(!scene.plan().status.instances[0].ready);
}

#[test]
fn what_was_written_is_planned_again_unchanged() {
    for scene in [Scene::sidecar(), Scene::gateway()] {
        let scene = scene.settle().pod("a").sees("alive", "healthy").settle();
        let again = scene.clone().later(10).sees("alive", "healthy").plan();
        assert_eq!(serde_json::to_value(&again.status).unwrap(), serde_json::to_value(&scene.peering.status).unwrap());
        assert!(again.pods.iter().all(|pod| !pod.changed));
        assert!(again.events.is_empty());
    }
}

#[test]
fn numbers_and_words_from_outside_are_bounded() {
    let mut far = peer("alive", "healthy");
    far.last_heard_ms_ago = Some(u64::MAX);
    far.software = "ü\u{7}\n".repeat(500);
    far.my_incarnation = "x".repeat(500);
    let plan = Scene::sidecar().settle().pod("a").says(|report| report.peers = vec![far]).plan();
    assert_eq!(plan.status.instances[0].incarnation.as_ref().unwrap().len(), 64);
    assert!(plan.status.remote.is_none_or(|remote| remote.version.is_none_or(|version| version.len() <= 100)));
}
