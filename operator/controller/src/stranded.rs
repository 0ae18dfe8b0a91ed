//! Tells which calls were in flight in a pod that went away with its log.
//!
//! An injected engine keeps its log on the pod's own volume: when the pod is deleted, nobody is left to fetch the answers of
//! its calls. The far side finishes what it began (nothing is executed twice), so the calls are named, for people to look
//! after. A gateway's pod comes back with its log and strands nothing. What is named is what the engine last said:
//! its last words where it ended gracefully, else its last answer.
//! Test to read first: `tests::the_note_names_the_calls_and_says_how_old_the_news_is`.

use std::collections::BTreeSet;

use crd_types::TunnelPeering;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::ResourceExt;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::Store;

use crate::apply;
use crate::observe::EngineStatus;
use crate::plan::Event;
use crate::reports::Reports;

/// Most calls that one Event names.
const CALLS_NAMED_MAX: usize = 16;

/// Names the calls of pods that are gone.
pub async fn tell(recorder: &Recorder, peering: &TunnelPeering, pods: &[Store<Pod>], reports: &Reports) {
    let running: BTreeSet<String> = pods.iter().flat_map(Store::state).filter_map(|pod| pod.uid()).collect();
    let me = kube::runtime::reflector::ObjectRef::from_obj(peering);
    for report in reports.take_gone(&me, &running) {
        if let (true, Some((when, status))) = (report.subject.sidecar, &report.answer)
            && let Some(event) = event(&report.subject.pod, *when, Timestamp::now(), status)
        {
            let pod = ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                namespace: peering.namespace(),
                name: Some(report.subject.pod.clone()),
                ..ObjectReference::default()
            };
            apply::tell(recorder, peering, &event, Some(pod)).await;
        }
    }
}

fn event(pod: &str, when: Timestamp, now: Timestamp, status: &EngineStatus) -> Option<Event> {
    if status.open_operations.is_empty() {
        return None;
    }
    let named: Vec<&str> =
        status.open_operations.iter().take(CALLS_NAMED_MAX).map(|operation| operation.id.as_str()).collect();
    let total = status.open_operations_total.max(status.open_operations.len() as u64);
    let more = total.saturating_sub(named.len() as u64);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(Event {
        warning: true,
        reason: "InstanceStranded",
        action: "PodGone",
        note: format!(
            "Pod {pod} is gone with its log; {} s before, {total} of its calls had no answer: {}{more}. None is executed twice; \
             whether each was executed, the far side's journal tells.",
            now.duration_since(when).as_secs().max(0),
            named.join(", ")
        ),
    })
}

#[cfg(test)]
mod tests {
    //! What the Event says.
    use super::*;
    use crate::observe::OpenOperation;

    #[test]
    fn the_note_names_the_calls_and_says_how_old_the_news_is() {
        let when = Timestamp::UNIX_EPOCH;
        let now = Timestamp::from_second(7).unwrap();
        assert_eq!(event("app-1", when, now, &EngineStatus::default()), None, "nothing was in flight");
        let open = |count: usize| EngineStatus {
            open_operations: (0..count)
                .map(|n| OpenOperation { id: format!("01890a5d-ac96-774b-bcce-b302099a{n:04}"), state: "sent".into() })
                .collect(),
            open_operations_total: 40,
            ..EngineStatus::default()
        };
        let event = event("app-1", when, now, &open(32)).unwrap();
        assert!(
            event.note.starts_with("Pod app-1 is gone with its log; 7 s before, 40 of its calls"),
            "{}",
            event.note
        );
        assert!(event.note.contains("01890a5d-ac96-774b-bcce-b302099a0015 and 24 more"), "{}", event.note);
        assert!(event.note.len() <= 1024, "{}", event.note.len());
    }
}
