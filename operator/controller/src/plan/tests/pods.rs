//! Conditions of pods.

use crate::plan::PodStatus;

use super::scene::Scene;

fn said(pod: &PodStatus) -> Vec<String> {
    let conditions = pod.conditions.iter();
    conditions.map(|each| format!("{}={}/{}", each.type_, each.status, each.reason.as_deref().unwrap())).collect()
}

#[test]
fn each_pod_shows_what_its_own_engine_sees() {
    let scene = Scene::sidecar().settle();
    let scene = scene.pod("a").sees("alive", "healthy").pod("b").sees("silent", "inbound_silent").pod("c");
    let scene = scene.pod("d").says(|report| report.log_full = true);
    let scene = scene.pod("e").says(|report| report.log_failure = Some("Input/output error".to_owned()));
    let plan = scene.plan();
    let all: Vec<Vec<String>> = plan.pods.iter().map(said).collect();
    assert_eq!(
        all,
        [
            ["hoft.dev/PeerConnected=True/Connected", "hoft.dev/LogHealthy=True/LogHealthy"],
            ["hoft.dev/PeerConnected=False/InboundSilent", "hoft.dev/LogHealthy=True/LogHealthy"],
            ["hoft.dev/PeerConnected=Unknown/EngineUnreachable", "hoft.dev/LogHealthy=Unknown/EngineUnreachable"],
            ["hoft.dev/PeerConnected=Unknown/NeverSeen", "hoft.dev/LogHealthy=False/LogFull"],
            ["hoft.dev/PeerConnected=Unknown/NeverSeen", "hoft.dev/LogHealthy=False/LogFailing"],
        ]
    );
    assert!(plan.pods.iter().all(|pod| pod.changed), "nothing was written yet");
    assert_eq!((plan.pods[0].pod.as_str(), plan.pods[0].uid.as_str()), ("a", "uid-a"));
    let failing = plan.pods[4].conditions[1].message.as_deref().unwrap();
    assert!(failing.contains("Input/output error"), "{failing}");
}

#[test]
fn only_a_turn_moves_the_time_and_only_a_change_is_written() {
    let scene = Scene::sidecar().settle().pod("a").sees("alive", "healthy").settle();
    let first = scene.plan().pods.remove(0);
    assert!(!first.changed);
    let later = scene.later(30);
    let same = later.clone().sees("alive", "waiting_for_credit").plan().pods.remove(0);
    assert!(!same.changed);
    assert_eq!(same.conditions, first.conditions);

    let silent = later.clone().sees("silent", "inbound_silent").plan().pods.remove(0);
    assert!(silent.changed);
    assert_ne!(silent.conditions[0].last_transition_time, first.conditions[0].last_transition_time);
    assert_eq!(silent.conditions[1], first.conditions[1], "the log's condition did not turn");

    let stalled = later.clone().sees("silent", "inbound_silent").settle().later(5);
    let halted = stalled.clone().sees("silent", "halted").plan().pods.remove(0);
    assert!(halted.changed, "another reason");
    assert_eq!(halted.conditions[0].last_transition_time, stalled.plan().pods[0].conditions[0].last_transition_time);
}

#[test]
fn an_engine_that_crashes_says_why_on_its_pod() {
    let scene = Scene::sidecar().settle().pod("a").container(|container| {
        container.ready = false;
        container.reason = Some("CrashLoopBackOff".to_owned());
        container.message = Some("disk full".to_owned());
    });
    let message = scene.plan().pods[0].conditions[1].message.clone().unwrap();
    assert!(message.contains("CrashLoopBackOff: disk full"), "{message}");
}
