//! PeerAlive, Delivering and Connected: what several engines say of several far engines, put together.

use crd_types::ConditionType::{Connected, Delivering, PeerAlive};

use super::scene::{Scene, peer};

fn scene() -> Scene {
    Scene::sidecar().settle()
}

#[test]
fn each_diagnosis_of_one_engine_has_its_reasons() {
    for (alive, diagnosis, heard, delivering, connected) in [
        ("alive", "healthy", "True/Heard", "True/Delivering", "True/Connected"),
        ("alive", "waiting_for_credit", "True/Heard", "True/Delivering", "True/Connected"),
        ("alive", "outbound_silent", "True/Heard", "False/OutboundSilent", "False/OutboundSilent"),
        ("alive", "content_dropped", "True/Heard", "False/ContentDropped", "False/ContentDropped"),
        ("alive", "associating", "True/Heard", "Unknown/PeerNotAlive", "Unknown/PeerNotAlive"),
        ("alive", "halted", "False/Halted", "Unknown/PeerNotAlive", "False/Halted"),
        ("silent", "inbound_silent", "False/InboundSilent", "Unknown/PeerNotAlive", "False/InboundSilent"),
        ("silent", "peer_silent", "False/PeerSilent", "Unknown/PeerNotAlive", "False/PeerSilent"),
        ("silent", "key_mismatch", "False/KeyMismatch", "Unknown/PeerNotAlive", "False/KeyMismatch"),
        ("never_seen", "key_mismatch", "False/KeyMismatch", "Unknown/PeerNotAlive", "False/KeyMismatch"),
        ("never_seen", "never_seen", "Unknown/NeverSeen", "Unknown/PeerNotAlive", "Unknown/NeverSeen"),
        ("alive", "a_word_of_a_later_version", "True/Heard", "True/Delivering", "True/Connected"),
    ] {
        let plan = scene().pod("a").sees(alive, diagnosis).plan();
        let said = [plan.says(PeerAlive), plan.says(Delivering), plan.says(Connected)];
        assert_eq!(said, [heard, delivering, connected], "{alive} {diagnosis}");
        for kind in [PeerAlive, Delivering, Connected] {
            assert!(!plan.message(kind).is_empty());
        }
    }
}

#[test]
fn one_engine_that_hears_one_far_engine_is_enough() {
    let far = |alive: &str, diagnosis: &str, endpoint: &str| {
        let mut far = peer(alive, diagnosis);
        far.endpoint = endpoint.to_owned();
        far
    };
    let gone =
        vec![far("silent", "peer_silent", "e1"), far("alive", "healthy", "e2"), far("never_seen", "never_seen", "e3")];
    let plan = scene().pod("a").says(|report| report.peers = gone).plan();
    assert_eq!(plan.says(Connected), "True/Connected", "a far pod that is gone for good spoils nothing");

    let plan = scene().pod("a").sees("never_seen", "never_seen").pod("b").sees("alive", "healthy").plan();
    assert_eq!(plan.says(PeerAlive), "True/Heard");
    assert!(plan.message(PeerAlive).contains("by 1 of 2 engines"), "{}", plan.message(PeerAlive));
}

#[test]
fn an_engine_that_is_not_heard_is_named() {
    let plan = scene().pod("a").sees("alive", "healthy").pod("b").sees("alive", "outbound_silent").plan();
    assert_eq!(plan.says(Connected), "False/OutboundSilent");
    assert!(plan.message(Connected).contains("does not hear pod b"), "{}", plan.message(Connected));
    let many = (0..6).fold(scene(), |scene, n| scene.pod(&format!("p{n}")).sees("alive", "outbound_silent"));
    assert!(
        many.plan().message(Connected).contains("pods p0, p1, p2 and 3 others"),
        "{}",
        many.plan().message(Connected)
    );
}

#[test]
fn a_record_that_waits_long_is_a_stall_by_the_mirrors_own_pace() {
    let waiting = |scene: Scene, ms: u64| {
        let mut far = peer("alive", "healthy");
        far.oldest_unacknowledged_ms = Some(ms);
        scene.pod("a").says(|report| report.peers = vec![far]).plan().says(Delivering)
    };
    assert_eq!(waiting(scene(), 119_999), "True/Delivering");
    assert_eq!(waiting(scene(), 120_000), "False/Stalled");
    let slow = || scene().spec("{volume: {mirror: {expectedLatency: 1h}}, heartbeat: {interval: 1h, lossTimeout: 4h}}");
    assert_eq!(waiting(slow(), 3 * 3_600_000 - 1), "True/Delivering");
    assert_eq!(waiting(slow(), 3 * 3_600_000), "False/Stalled");
    assert_eq!(waiting(scene(), u64::MAX), "False/Stalled");
}

#[test]
fn an_outbox_that_cannot_be_written_is_the_certain_cause() {
    let far = peer("never_seen", "outbox_failing");
    let plan = scene()
        .pod("a")
        .says(|report| {
            report.outbox_failure = Some("read-only file system".to_owned());
            report.peers = vec![far];
        })
        .plan();
    assert_eq!(plan.says(PeerAlive), "Unknown/NeverSeen");
    assert_eq!(plan.says(Delivering), "False/OutboxFailing");
    assert_eq!(plan.says(Connected), "False/OutboxFailing");
    assert!(plan.message(Connected).contains("read-only file system"));
}

#[test]
fn an_old_answer_is_believed_for_three_questions_and_no_longer() {
    let heard = scene().pod("a").sees("alive", "healthy").but(|pod| pod.unreachable = Some("timed out".to_owned()));
    assert_eq!(heard.clone().later(45).plan().says(PeerAlive), "True/Heard");
    let plan = heard.clone().later(46).plan();
    assert_eq!(plan.says(PeerAlive), "Unknown/NoInstances");
    assert!(plan.message(PeerAlive).contains("pod a: timed out"), "{}", plan.message(PeerAlive));
    assert_eq!(plan.says(Connected), "Unknown/NoInstances");
}

#[test]
fn with_a_long_loss_timeout_what_was_heard_ages_with_the_answer() {
    let slow = "heartbeat: {interval: 30s, lossTimeout: 10m}";
    let heard = scene().spec(slow).pod("a").sees("alive", "healthy");
    assert_eq!(heard.clone().later(500).plan().says(PeerAlive), "True/Heard");
    // 1.5 s before the answer, and 599 s since.
    assert_eq!(heard.clone().later(599).plan().says(PeerAlive), "Unknown/NoInstances");
    assert_eq!(heard.later(601).plan().says(PeerAlive), "Unknown/NoInstances");
}

#[test]
fn an_engine_without_far_engines_has_heard_nothing() {
    let plan = scene().pod("a").says(|_| {}).plan();
    assert_eq!(plan.says(PeerAlive), "Unknown/NeverSeen");
    assert!(plan.message(PeerAlive).contains("side south"));
}

#[test]
fn pods_that_end_or_have_no_engine_say_nothing() {
    for scene in [
        scene().pod("a").sees("alive", "healthy").but(|pod| pod.terminating = true),
        scene().pod("a").sees("alive", "healthy").but(|pod| pod.ended = true),
        scene().pod("a").sees("alive", "healthy").but(|pod| pod.container = None),
    ] {
        assert_eq!(scene.plan().says(PeerAlive), "Unknown/NoInstances");
        assert!(scene.plan().pods.is_empty());
    }
}

#[test]
fn a_key_mismatch_tells_what_to_compare() {
    let plan = scene().pod("a").sees("never_seen", "key_mismatch").plan();
    assert!(plan.message(PeerAlive).contains("status.identity.fingerprint"), "{}", plan.message(PeerAlive));
}
