//! What the API server asks, and what it is answered.
//!
//! Invariants: pure; the same conditions and the same patch as the MutatingAdmissionPolicy `hoft-inject` of the chart,
//! operation by operation; a refusal names the peering, its namespace and the remedy. Test to read first:
//! `tests::the_patch_is_the_policys`.

use crd_types::{ConditionStatus, Mechanism, TunnelPeering, names};
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation};
use kube::core::DynamicObject;
use kube::core::admission::{
    AdmissionRequest, AdmissionResponse, AdmissionReview, META_API_VERSION_V1, META_KIND, Operation,
};
use kube::core::response::StatusSummary;
use serde_json::{Value, json};

use crate::metrics::WebhookResult;

/// Longest name of an object (RFC 1123 subdomain).
const NAME_MAX: usize = 253;
/// Longest text of a condition that a refusal repeats, in characters.
const QUOTE_MAX: usize = 400;

/// The body holds no question of an API server.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// It is not an AdmissionReview at all.
    #[error("this is no AdmissionReview of admission.k8s.io/v1: {0}")]
    Json(#[from] serde_json::Error),
    /// It is one of another version or kind.
    #[error("kind {kind} of {api_version} is not understood: only AdmissionReview of admission.k8s.io/v1 is")]
    Version {
        /// What it calls itself.
        kind: String,
        /// Its group and version.
        api_version: String,
    },
    /// It has no request.
    #[error("the AdmissionReview has no request")]
    NoRequest,
    /// A pod without a place.
    #[error("the request has no object or no valid namespace")]
    NoPod,
    /// The answer cannot be written.
    #[error("the answer could not be made: {0}")]
    Answer(#[from] kube::core::admission::SerializePatchError),
}

/// What a pod asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    /// Nothing of ours.
    Nothing,
    /// An engine of this peering.
    Peering {
        /// The namespace of pod and peering.
        namespace: &'a str,
        /// Name of the peering.
        name: &'a str,
    },
    /// Something that cannot be.
    Refusal(String),
}

/// What becomes of a pod.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// It passes as it is.
    Unchanged,
    /// It gets an engine.
    Inject(Patch),
    /// It is refused, for good until something is changed.
    Deny(String),
    /// It is refused, because the operator cannot tell.
    Fail(String),
}

impl Answer {
    pub(super) const fn result(&self) -> WebhookResult {
        match self {
            Self::Unchanged => WebhookResult::Unchanged,
            Self::Inject(_) => WebhookResult::Injected,
            Self::Deny(_) => WebhookResult::Denied,
            Self::Fail(_) => WebhookResult::Failed,
        }
    }
}

/// Reads the question.
pub(super) fn parse(body: &[u8]) -> Result<AdmissionRequest<DynamicObject>, Malformed> {
    let review: AdmissionReview<DynamicObject> = serde_json::from_slice(body)?;
    if review.types.kind != META_KIND || review.types.api_version != META_API_VERSION_V1 {
        return Err(Malformed::Version { kind: review.types.kind, api_version: review.types.api_version });
    }
    review.try_into().map_err(|_| Malformed::NoRequest)
}

/// What the pod in question asks for.
pub(super) fn wanted(request: &AdmissionRequest<DynamicObject>) -> Result<Wanted<'_>, Malformed> {
    let resource = &request.resource;
    let created_pod = request.operation == Operation::Create
        && resource.group.is_empty()
        && resource.resource == "pods"
        && request.sub_resource.as_deref().unwrap_or_default().is_empty();
    if !created_pod {
        return Ok(Wanted::Nothing);
    }
    let pod = request.object.as_ref().ok_or(Malformed::NoPod)?;
    let Some(name) = pod.metadata.labels.as_ref().and_then(|labels| labels.get(names::LABEL_INJECT)) else {
        return Ok(Wanted::Nothing);
    };
    if has_container(pod, "initContainers") {
        return Ok(Wanted::Nothing);
    }
    // Both become part of a path.
    let namespace = request.namespace.as_deref().filter(|name| is_name(name)).ok_or(Malformed::NoPod)?;
    if !is_name(name) {
        return Ok(Wanted::Refusal(format!(
            "the label {} of this pod must be the name of a TunnelPeering in the namespace {namespace}; {name:?} cannot be one",
            names::LABEL_INJECT
        )));
    }
    Ok(Wanted::Peering { namespace, name })
}

/// Puts the engine of a peering into the pod of a request that asks for it.
pub(super) fn inject(
    request: &AdmissionRequest<DynamicObject>,
    peering: Option<&TunnelPeering>,
    namespace: &str,
    name: &str,
) -> Answer {
    let label = names::LABEL_INJECT;
    let Some(peering) = peering else {
        return Answer::Deny(format!(
            "TunnelPeering {namespace}/{name} does not exist, and the label {label} of this pod names it: create it in the \
             pod's namespace, or correct the label"
        ));
    };
    let Some(injection) = &peering.spec.injection else {
        return Answer::Deny(format!(
            "TunnelPeering {namespace}/{name} puts no engine into pods: add `spec.injection: {{}}` to it, or remove the \
             label {label} and call its gateway"
        ));
    };
    if injection.mechanism == Mechanism::None {
        return Answer::Deny(format!(
            "TunnelPeering {namespace}/{name} has spec.injection.mechanism: None, so pods get no engine: set it to Auto, \
             or remove the label {label}"
        ));
    }
    let Some(rendered) = peering.status.as_ref().and_then(|status| status.injection.as_ref()) else {
        return Answer::Deny(not_rendered(peering, namespace, name));
    };
    if injection.mechanism == Mechanism::AdmissionPolicy {
        return Answer::Deny(format!(
            "TunnelPeering {namespace}/{name} leaves injection to the MutatingAdmissionPolicy hoft-inject, which put no \
             engine into this pod: try again if the peering is new, else install the policy, or set \
             spec.injection.mechanism: Auto"
        ));
    }
    let Some(pod) = &request.object else { return Answer::Unchanged };
    if has_container(pod, "containers") {
        return Answer::Deny(format!(
            "this pod has a container of its own named {}, the name of the engine that TunnelPeering {namespace}/{name} \
             puts beside it: rename it",
            names::CONTAINER
        ));
    }
    Answer::Inject(patch(pod, &rendered.container, &rendered.volumes, rendered.revision, name))
}

type Object = serde_json::Map<String, Value>;

fn patch(pod: &DynamicObject, container: &Object, volumes: &[Object], revision: i64, peering: &str) -> Patch {
    let mut operations = Vec::new();
    let mut add = |path: &[&str], value: Value| {
        operations
            .push(PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(path.iter().copied()), value }));
    };
    if list(pod, "initContainers").is_empty() {
        add(&["spec", "initContainers"], json!([]));
    }
    add(&["spec", "initContainers", "0"], Value::Object(container.clone()));
    if list(pod, "volumes").is_empty() {
        add(&["spec", "volumes"], json!([]));
    }
    for volume in volumes {
        add(&["spec", "volumes", "-"], Value::Object(volume.clone()));
    }
    if pod.metadata.annotations.is_none() {
        add(&["metadata", "annotations"], json!({}));
    }
    add(&["metadata", "annotations", names::ANNOTATION_INJECTED_VERSION], json!(revision.to_string()));
    add(&["metadata", "annotations", names::ANNOTATION_PEERING], json!(peering));
    Patch(operations)
}

fn not_rendered(peering: &TunnelPeering, namespace: &str, name: &str) -> String {
    let conditions = peering.status.iter().flat_map(|status| &status.conditions);
    let why = conditions.filter(|condition| condition.status != ConditionStatus::True.as_str()).find_map(|condition| {
        (!condition.message.is_empty()).then(|| {
            let message = quote(&condition.message);
            format!("{} is {} ({}): {message}", condition.type_, condition.status, condition.reason)
        })
    });
    let why = why.unwrap_or_else(|| "the operator has not looked at it yet".to_owned());
    format!(
        "TunnelPeering {namespace}/{name} is not ready to be put into pods. {why}. Try again when `kubectl get tunnelpeering \
         {name} -n {namespace}` shows it ready; a workload's controller does so by itself"
    )
}

/// The beginning of a text, ready to be followed by a full stop.
fn quote(text: &str) -> String {
    let text = text.trim_end_matches('.');
    match text.char_indices().nth(QUOTE_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Writes the answer.
pub(super) fn response(request: &AdmissionRequest<DynamicObject>, answer: Answer) -> Result<Vec<u8>, Malformed> {
    let response = AdmissionResponse::from(request);
    let response = match answer {
        Answer::Unchanged => response,
        Answer::Inject(patch) => response.with_patch(patch)?,
        Answer::Deny(message) => refuse(response, &message, 403, "Forbidden"),
        Answer::Fail(message) => refuse(response, &message, 503, "ServiceUnavailable"),
    };
    Ok(serde_json::to_vec(&response.into_review())?)
}

fn refuse(response: AdmissionResponse, message: &str, code: u16, reason: &str) -> AdmissionResponse {
    let mut response = response.deny(message);
    response.result.status = Some(StatusSummary::Failure);
    response.result.code = code;
    reason.clone_into(&mut response.result.reason);
    response
}

/// An array of the pod's spec; absent and null are empty.
fn list<'a>(pod: &'a DynamicObject, field: &str) -> &'a [Value] {
    pod.data.get("spec").and_then(|spec| spec.get(field)).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn has_container(pod: &DynamicObject, field: &str) -> bool {
    list(pod, field).iter().any(|container| container.get("name").and_then(Value::as_str) == Some(names::CONTAINER))
}

/// Could it be the name of an object (RFC 1123)? Nothing else may become part of a path.
fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    name.len() <= NAME_MAX && name.split('.').all(label)
}

#[cfg(test)]
pub(super) mod tests;
