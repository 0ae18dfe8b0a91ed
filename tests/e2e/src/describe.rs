//! What an error message or an artefact says about objects: their state, and the Events and logs around them.
//!
//! Best effort: what cannot be read is said to be so, because the reader already has an error to understand.

use std::fmt::Write;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject, ListParams, LogParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt};
use serde_json::Value;

use crate::handle::Cluster;
use crate::objects::Subject;

/// Lines of each container's log that are shown.
const LOG_LINES: i64 = 25;

/// Events that are shown.
const EVENTS_SHOWN: usize = 30;

impl Cluster {
    /// The object's status (or all of it, if it has none), and what happened in its namespace.
    pub async fn describe(&self, subject: &Subject) -> String {
        let mut text = match self.object(subject).await {
            Ok(Some(object)) => {
                let shown = if object["status"].is_null() { &object } else { &object["status"] };
                let deletion = object["metadata"]["deletionTimestamp"].as_str();
                let deleting = deletion.map(|since| format!(" (being deleted since {since})")).unwrap_or_default();
                format!("--- {subject}{deleting}\n{}\n", yaml(shown))
            }
            Ok(None) => format!("--- {subject} does not exist\n"),
            Err(error) => format!("--- {subject} cannot be read: {error:#}\n"),
        };
        if let Some(namespace) = &subject.namespace {
            text.push_str(&self.describe_namespace(namespace).await);
        }
        text
    }

    /// The pods, Events and logs of a namespace.
    pub async fn describe_namespace(&self, namespace: &str) -> String {
        let mut text = String::new();
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        match pods.list(&ListParams::default()).await {
            Ok(list) => {
                for pod in &list.items {
                    let _ = writeln!(text, "--- pod {namespace}/{}\n{}", pod.name_any(), pod_lines(pod));
                }
                text.push_str(&self.describe_events(namespace).await);
                for pod in &list.items {
                    self.describe_logs(&pods, pod, &mut text).await;
                }
            }
            Err(error) => {
                let _ = writeln!(text, "--- the pods of {namespace} cannot be read: {error}");
            }
        }
        text
    }

    async fn describe_events(&self, namespace: &str) -> String {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("events.k8s.io", "v1", "Event"));
        let events: Api<DynamicObject> = Api::namespaced_with(self.client(), namespace, &resource);
        let list = match events.list(&ListParams::default()).await {
            Ok(list) => list,
            Err(error) => return format!("--- the Events of {namespace} cannot be read: {error}\n"),
        };
        let mut lines: Vec<(String, String)> = list.items.iter().map(|event| event_line(&event.data)).collect();
        lines.sort();
        let mut text = format!("--- Events in {namespace}, the last {EVENTS_SHOWN}\n");
        for (at, line) in lines.iter().skip(lines.len().saturating_sub(EVENTS_SHOWN)) {
            let _ = writeln!(text, "{at} {line}");
        }
        text
    }

    async fn describe_logs(&self, pods: &Api<Pod>, pod: &Pod, text: &mut String) {
        let Some(spec) = &pod.spec else { return };
        let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
        for container in containers {
            for previous in [true, false] {
                let parameters = LogParams {
                    container: Some(container.name.clone()),
                    tail_lines: Some(LOG_LINES),
                    previous,
                    ..LogParams::default()
                };
                // A container that never ran or was never restarted has none.
                let Ok(log) = pods.logs(&pod.name_any(), &parameters).await else { continue };
                let life = if previous { ", its last life" } else { "" };
                let _ = writeln!(text, "--- log of {}/{}{life}\n{}", pod.name_any(), container.name, log.trim_end());
            }
        }
    }
}

fn event_line(event: &Value) -> (String, String) {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let at = [&event["eventTime"], &event["deprecatedLastTimestamp"], &event["metadata"]["creationTimestamp"]];
    let at = at.into_iter().map(word).find(|at| !at.is_empty()).unwrap_or_default();
    let regarding = &event["regarding"];
    let line = format!(
        "{} {} {}/{}: {}",
        word(&event["type"]),
        word(&event["reason"]),
        word(&regarding["kind"]),
        word(&regarding["name"]),
        word(&event["note"])
    );
    (at, line)
}

fn pod_lines(pod: &Pod) -> String {
    let Some(status) = &pod.status else { return "no status".to_owned() };
    let mut text = format!("phase {}", status.phase.as_deref().unwrap_or("unknown"));
    for condition in status.conditions.iter().flatten() {
        let said = [condition.reason.as_deref(), condition.message.as_deref()].into_iter().flatten();
        let said = said.collect::<Vec<_>>().join(": ");
        let _ = write!(text, "\n  {}={} {said}", condition.type_, condition.status);
    }
    for container in status.init_container_statuses.iter().chain(&status.container_statuses).flatten() {
        let state = container.state.as_ref().map(serde_json::to_string).and_then(Result::ok).unwrap_or_default();
        let last = container.last_state.as_ref().map(serde_json::to_string).and_then(Result::ok).unwrap_or_default();
        let _ = write!(
            text,
            "\n  container {}: ready={} restarts={} state={state} last={last}",
            container.name, container.ready, container.restart_count
        );
    }
    text
}

/// The value as YAML, or as JSON where it cannot be.
pub(crate) fn yaml(value: &Value) -> String {
    serde_yaml::to_string(value).unwrap_or_else(|_| value.to_string())
}
