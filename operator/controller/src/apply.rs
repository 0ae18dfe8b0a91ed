//! Makes a plan true on the API server: children, status, pod conditions, events.
//!
//! Invariants: everything by server-side apply under our own field managers, forced only on objects that are ours; nothing
//! is written that did not change. It decides nothing. Test to read first: the cluster tests in `tests/e2e`.

use std::fmt::Debug;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use crd_types::{TunnelPeering, TunnelPeeringStatus, names};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference, Pod, Service};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::events::{Event as ApiEvent, EventType, Recorder};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::memory::Memory;
use crate::plan::{Event, Plan, PodStatus, is_child};

/// Applies the children of a plan, if they differ from what was applied last.
///
/// # Errors
/// What the API server said to the first that failed, naming the object.
pub async fn children(client: &Client, memory: &Memory, peering: &TunnelPeering, plan: &Plan) -> Result<()> {
    let namespace = peering.namespace().unwrap_or_default();
    let uid = peering.uid().unwrap_or_default();
    let text = serde_json::to_vec(&(&plan.config_map, &plan.service, &plan.stateful_set, plan.remove_gateway))?;
    let digest: [u8; 32] = Sha256::digest(&text).into();
    let now = Instant::now();
    if !memory.must_apply(&uid, &digest, now) {
        return Ok(());
    }
    if let Some(config_map) = &plan.config_map {
        create(client, &namespace, config_map).await?;
    }
    if let Some(service) = &plan.service {
        if let Some(standing) = read::<Service>(client, &namespace, &service.name_any()).await? {
            ensure!(
                is_child(&standing, &uid),
                "Service {namespace}/{} belongs to somebody else: rename or delete it, or rename the peering",
                service.name_any()
            );
        }
        apply(client, &namespace, service).await?;
    }
    if let Some(stateful_set) = &plan.stateful_set {
        apply(client, &namespace, stateful_set).await?;
    }
    if plan.remove_gateway {
        let name = names::gateway(&peering.name_any());
        remove::<StatefulSet>(client, &namespace, &name, &uid).await?;
        remove::<Service>(client, &namespace, &name, &uid).await?;
    }
    memory.applied(&uid, digest, now);
    Ok(())
}

async fn apply<K>(client: &Client, namespace: &str, object: &K) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let name = object.name_any();
    api.patch(&name, &PatchParams::apply(names::MANAGER).force(), &Patch::Apply(object))
        .await
        .with_context(|| format!("{} {namespace}/{name} cannot be applied", K::kind(&())))?;
    Ok(())
}

/// Makes an object whose name says what is in it: one that is there already is the same.
async fn create(client: &Client, namespace: &str, object: &ConfigMap) -> Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let params = PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(error).with_context(|| format!("ConfigMap {namespace}/{} cannot be made", object.name_any())),
    }
}

/// Reads an object by its name; `None` if there is none.
///
/// # Errors
/// What the API server said.
pub async fn read<K>(client: &Client, namespace: &str, name: &str) -> Result<Option<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    api.get_opt(name).await.with_context(|| format!("{} {namespace}/{name} cannot be read", K::kind(&())))
}

/// Deletes an object of ours; one that is another's, or gone, is left alone.
async fn remove<K>(client: &Client, namespace: &str, name: &str, peering_uid: &str) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let Some(standing) = read::<K>(client, namespace, name).await?.filter(|standing| is_child(standing, peering_uid))
    else {
        return Ok(());
    };
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let params =
        DeleteParams::background().preconditions(Preconditions { uid: standing.uid(), ..Preconditions::default() });
    match api.delete(name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("{} {namespace}/{name} cannot be deleted", K::kind(&()))),
    }
}

/// Writes the status of a peering, if it differs from the one that stands.
///
/// # Errors
/// What the API server said.
pub async fn status(
    client: &Client,
    memory: &Memory,
    peering: &TunnelPeering,
    status: &TunnelPeeringStatus,
) -> Result<()> {
    let wanted = serde_json::to_value(status)?;
    let standing = peering.status.as_ref().map(serde_json::to_value).transpose()?;
    if standing.as_ref() == Some(&wanted) || memory.is_written(peering, status) {
        return Ok(());
    }
    let namespace = peering.namespace().unwrap_or_default();
    let name = peering.name_any();
    let api: Api<TunnelPeering> = Api::namespaced(client.clone(), &namespace);
    // With the UID a successor of the same name is not given the status of its predecessor.
    let patch = json!({
        "apiVersion": TunnelPeering::api_version(&()),
        "kind": TunnelPeering::kind(&()),
        "metadata": {"name": name, "namespace": namespace, "uid": peering.uid()},
        "status": wanted,
    });
    let written = api
        .patch_status(&name, &PatchParams::apply(names::MANAGER_STATUS).force(), &Patch::Apply(&patch))
        .await
        .with_context(|| format!("the status of {namespace}/{name} cannot be written"))?;
    memory.wrote(&written, status);
    Ok(())
}

/// Writes the conditions of the pods that changed. A pod that is gone by now is left alone; one that fails does not keep
/// the others from being written.
///
/// # Errors
/// What the API server said to the first that failed, naming the pod.
pub async fn pod_conditions(client: &Client, namespace: &str, pods: &[PodStatus]) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut failure = Ok(());
    for pod in pods.iter().filter(|pod| pod.changed) {
        let patch = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod.pod, "namespace": namespace, "uid": pod.uid},
            "status": {"conditions": pod.conditions},
        });
        let params = PatchParams::apply(names::MANAGER_POD_STATUS);
        match api.patch_status(&pod.pod, &params, &Patch::Apply(&patch)).await {
            Ok(_) => {}
            // Gone, or another pod of the same name (its UID is immutable).
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 422) => {}
            Err(error) => {
                let failed = Err(error)
                    .with_context(|| format!("the conditions of pod {namespace}/{} cannot be written", pod.pod));
                failure = failure.and(failed);
            }
        }
    }
    failure
}

/// Longest note of an Event (events.k8s.io/v1).
const NOTE_BYTES_MAX: usize = 1024;

/// Tells something about a peering, and the object that it also concerns: Events of one reason about the same objects
/// become a series, which keeps the first note only. A failure is logged only: an Event is a courtesy.
pub async fn tell(recorder: &Recorder, peering: &TunnelPeering, event: &Event, also: Option<ObjectReference>) {
    let told = ApiEvent {
        type_: if event.warning { EventType::Warning } else { EventType::Normal },
        reason: event.reason.to_owned(),
        note: Some(clip(&event.note)),
        action: event.action.to_owned(),
        secondary: also,
    };
    if let Err(error) = recorder.publish(&told, &peering.object_ref(&())).await {
        tracing::warn!(peering = %peering.name_any(), reason = event.reason, %error, "an Event could not be written");
    }
}

fn clip(note: &str) -> String {
    let mut end = note.len().min(NOTE_BYTES_MAX);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note[..end].to_owned()
}

#[cfg(test)]
mod tests {
    //! What needs no API server.
    use super::*;

    #[test]
    fn a_long_note_is_clipped_at_a_character() {
        let note = "é".repeat(600);
        assert_eq!(clip(&note).len(), 1024);
        assert_eq!(clip(&format!("x{note}")).len(), 1023);
        assert_eq!(clip("short"), "short");
    }
}
