//! Pods as the planner sees them: which peering a pod belongs to, and what its status says of the engine in it.
//!
//! Invariants: nothing of a pod is trusted further than its labels say; a pod belongs to one peering of its own namespace
//! at most. It asks nobody. Test to read first: `tests::a_labelled_pod_without_an_engine_is_seen_as_such`.

use std::collections::BTreeMap;

use crd_types::{TunnelPeering, names};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use serde::Deserialize;

use crate::plan::{Container, Instance, Role};
use crate::reports::{Report, Subject};

/// The peering that a pod belongs to, by its labels.
#[must_use]
pub fn peering_of(pod: &Pod) -> Option<ObjectRef<TunnelPeering>> {
    let namespace = pod.metadata.namespace.as_deref()?;
    let labels = pod.metadata.labels.as_ref()?;
    let name = labels.get(names::LABEL_INJECT).or_else(|| gateway_label(pod, labels))?;
    Some(ObjectRef::new(name).within(namespace))
}

/// The peering of a gateway's pod: by its labels, and by the StatefulSet that made it.
fn gateway_label<'a>(pod: &Pod, labels: &'a BTreeMap<String, String>) -> Option<&'a String> {
    let peering = labels.get(names::LABEL_PEERING)?;
    let set = names::gateway(peering);
    let owned = pod.owner_references().iter().any(|owner| owner.kind == "StatefulSet" && owner.name == set);
    (owned && labels.get(names::LABEL_ROLE).map(String::as_str) == Some(names::ROLE_GATEWAY)).then_some(peering)
}

/// Whose engine runs in a pod.
#[must_use]
pub fn subject(pod: &Pod) -> Option<Subject> {
    let sidecar = pod.labels().contains_key(names::LABEL_INJECT);
    Some(Subject { peering: peering_of(pod)?, pod: pod.name_any(), sidecar })
}

/// A pod with what its engine last said.
#[must_use]
pub fn instance(pod: &Pod, report: Option<&Report>) -> Instance {
    let labels = pod.labels();
    let role = if labels.contains_key(names::LABEL_INJECT) { Role::Sidecar } else { Role::Gateway };
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    Instance {
        pod: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        role,
        address: address(pod),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        ended: matches!(phase, Some("Succeeded" | "Failed")),
        container: has_engine(pod).then(|| container(pod)),
        injected_version: pod.annotations().get(names::ANNOTATION_INJECTED_VERSION).and_then(|text| text.parse().ok()),
        report: report.and_then(|report| report.answer.clone()),
        unreachable: report.and_then(|report| report.unreachable.clone()),
        conditions: status
            .and_then(|status| status.conditions.clone())
            .unwrap_or_default()
            .into_iter()
            .filter(|condition| {
                condition.type_ == names::POD_PEER_CONNECTED || condition.type_ == names::POD_LOG_HEALTHY
            })
            .collect(),
    }
}

/// The address at which the pod's engine can be asked; `None` while there is none or the engine does not run.
#[must_use]
pub fn address(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    engine_status(pod)?.state.as_ref()?.running.as_ref()?;
    status.pod_ip.clone().filter(|address| !address.is_empty())
}

/// What an engine said at its graceful end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct LastWords {
    /// The oldest of the calls that it left open.
    pub open_operations: Vec<String>,
    /// How many there were in all.
    pub open_operations_total: u64,
    /// Calls whose callers went shortly before: the pod's programs end before its engine.
    #[serde(default)]
    pub abandoned_operations: Vec<String>,
}

/// The last words of the engine of a pod that is going or gone; `None` while it may run again.
#[must_use]
pub fn last_words(pod: &Pod) -> Option<LastWords> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Succeeded" | "Failed")) {
        return None;
    }
    let ended = engine_status(pod)?.state.as_ref()?.terminated.as_ref()?;
    serde_json::from_str(ended.message.as_deref()?).ok()
}

fn has_engine(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let beside = spec.init_containers.iter().flatten();
    beside.chain(&spec.containers).any(|container| container.name == names::CONTAINER)
}

fn engine_status(pod: &Pod) -> Option<&ContainerStatus> {
    let status = pod.status.as_ref()?;
    let beside = status.init_container_statuses.iter().flatten();
    beside.chain(status.container_statuses.iter().flatten()).find(|container| container.name == names::CONTAINER)
}

fn container(pod: &Pod) -> Container {
    let Some(status) = engine_status(pod) else { return Container::default() };
    let state = status.state.as_ref();
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let ended = state.and_then(|state| state.terminated.as_ref());
    let last_ended = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let said = |terminated: &k8s_openapi::api::core::v1::ContainerStateTerminated| terminated.message.clone();
    Container {
        started: status.started.unwrap_or(false),
        ready: status.ready,
        restarts: status.restart_count,
        reason: waiting
            .and_then(|waiting| waiting.reason.clone())
            .or_else(|| ended.and_then(|ended| ended.reason.clone())),
        message: ended
            .and_then(said)
            .or_else(|| last_ended.and_then(said))
            .or_else(|| waiting.and_then(|waiting| waiting.message.clone())),
    }
}

#[cfg(test)]
mod tests {
    //! Pods written as YAML.
    use super::*;

    fn pod(text: &str) -> Pod {
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn a_labelled_pod_without_an_engine_is_seen_as_such() {
        let pod = pod(
            "metadata: {name: app, namespace: shop, uid: u1, labels: {hoft.dev/inject: south}}\nspec: {containers: [{name: app}]}",
        );
        assert_eq!(peering_of(&pod), Some(ObjectRef::new("south").within("shop")));
        let instance = instance(&pod, None);
        assert!(instance.container.is_none());
        assert_eq!(instance.role, Role::Sidecar);
    }

    #[test]
    fn a_pod_of_another_workload_with_the_peering_label_alone_is_not_an_instance() {
        let pod = pod("metadata: {name: x, namespace: shop, labels: {hoft.dev/peering: south}}");
        assert_eq!(peering_of(&pod), None);
        let text = "metadata: {name: x, namespace: shop, labels: {hoft.dev/peering: south, hoft.dev/role: gateway}}";
        assert_eq!(peering_of(&serde_yaml::from_str(text).unwrap()), None, "its StatefulSet did not make it");
    }

    #[test]
    fn last_words_count_only_when_the_pod_goes() {
        let text = |deleted: &str| {
            format!(
                "metadata: {{name: app, namespace: shop, labels: {{hoft.dev/inject: south}}{deleted}}}
spec: {{containers: [{{name: app}}], initContainers: [{{name: hoft}}]}}
status: {{initContainerStatuses: [{{name: hoft, image: x, imageID: y, ready: false, restartCount: 0,
  state: {{terminated: {{exitCode: 0, message: '{{\"open_operations\":[\"a\"],\"open_operations_total\":1}}'}}}}}}]}}"
            )
        };
        assert_eq!(last_words(&pod(&text(""))), None, "the container is started again, with its log");
        let words = last_words(&pod(&text(", deletionTimestamp: 2026-01-01T00:00:00Z"))).unwrap();
        assert_eq!(
            words,
            LastWords { open_operations: vec!["a".to_owned()], open_operations_total: 1, ..LastWords::default() }
        );
    }

    #[test]
    fn what_a_crashing_engine_said_is_kept() {
        let pod = pod(
            "metadata: {name: south-gateway-0, namespace: shop, labels: {hoft.dev/peering: south, hoft.dev/role: gateway},
  ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: south-gateway, uid: s}]}
spec: {containers: [{name: hoft}]}
status:
  podIP: 10.0.0.9
  containerStatuses:
  - {name: hoft, image: x, imageID: y, ready: false, restartCount: 3, state: {waiting: {reason: CrashLoopBackOff, message: back-off}}, lastState: {terminated: {exitCode: 1, message: 'folders.outbox: not writable'}}}",
        );
        let instance = instance(&pod, None);
        let container = instance.container.unwrap();
        assert_eq!(container.reason.as_deref(), Some("CrashLoopBackOff"));
        assert_eq!(container.message.as_deref(), Some("folders.outbox: not writable"));
        assert_eq!(instance.address, None, "an engine that does not run is not asked");
    }
}
