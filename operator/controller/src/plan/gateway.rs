//! The gateway: a StatefulSet of engines and its headless Service.
//!
//! Invariants: an object of that name that is not ours is left alone; what Kubernetes does not let us change of a StatefulSet
//! is kept, and said. It deletes no claims. Test to read first: `tests/gateway.rs`, and `golden/gateway.yaml`.

use crd_types::{AccessMode, Gateway, names};
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PodSecurityContext, PodSpec, PodTemplateSpec, SeccompProfile,
    Service, ServicePort, ServiceSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

use super::config::STATE_BYTES;
use super::container::{Engine, STATE_VOLUME, USER};
use super::keys::hex;
use super::world::{Role, World, child_metadata, is_child};

/// Annotation of a pod template: SHA-256 of the configuration.
const ANNOTATION_CONFIG: &str = "hoft.dev/config-sha256";
/// Annotation of the StatefulSet: SHA-256 of all that was rendered, to know it again under the API server's defaults.
const ANNOTATION_RENDERED: &str = "hoft.dev/rendered-sha256";

fn labels(peering: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (names::LABEL_PEERING.to_owned(), peering.to_owned()),
        (names::LABEL_ROLE.to_owned(), names::ROLE_GATEWAY.to_owned()),
    ])
}

/// The Service that gives the engines their names.
pub(super) fn service(engine: &Engine<'_>) -> Service {
    let name = engine.peering.name_any();
    Service {
        metadata: child_metadata(engine.peering, names::gateway(&name)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(labels(&name)),
            ports: Some(vec![ServicePort {
                name: Some("admin".to_owned()),
                port: names::PORT_ADMIN.into(),
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::Int(names::PORT_ADMIN.into())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// The StatefulSet; of `standing` it takes what cannot be changed.
pub(super) fn stateful_set(engine: &Engine<'_>, gateway: &Gateway, standing: Option<&StatefulSet>) -> StatefulSet {
    let name = engine.peering.name_any();
    let mut metadata = child_metadata(engine.peering, names::gateway(&name));
    let spec = StatefulSetSpec {
        service_name: Some(names::gateway(&name)),
        replicas: Some(gateway.replicas),
        // One engine that does not start must not keep its successor, which would, from being made.
        pod_management_policy: Some("Parallel".to_owned()),
        selector: LabelSelector { match_labels: Some(labels(&name)), match_expressions: None },
        template: template(engine),
        volume_claim_templates: templates(engine, standing),
        ..StatefulSetSpec::default()
    };
    let rendered = serde_json::to_vec(&spec).unwrap_or_default();
    metadata.annotations = Some([(ANNOTATION_RENDERED.to_owned(), hex(&Sha256::digest(&rendered)))].into());
    StatefulSet { metadata, spec: Some(spec), status: None }
}

fn template(engine: &Engine<'_>) -> PodTemplateSpec {
    let mut labels = labels(&engine.peering.name_any());
    labels.insert("app.kubernetes.io/name".to_owned(), "hoft".to_owned());
    labels.insert("app.kubernetes.io/managed-by".to_owned(), "hoft-operator".to_owned());
    let secrets = engine.settings.image_pull_secrets.clone();
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some([(ANNOTATION_CONFIG.to_owned(), engine.config_sha256.to_owned())].into()),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![engine.container(Role::Gateway)],
            volumes: Some(engine.volumes(Role::Gateway)),
            security_context: Some(security(engine)),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            image_pull_secrets: (!secrets.is_empty()).then_some(secrets),
            ..PodSpec::default()
        }),
    }
}

fn security(engine: &Engine<'_>) -> PodSecurityContext {
    let own_claims = engine.shared_state().is_none();
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(engine.group()),
        supplemental_groups: engine.peering.spec.volume.group.map(|group| vec![group]),
        // For the claims made here. The group is that of the mirrored folders, so that theirs is not changed.
        fs_group: own_claims.then(|| engine.group()),
        fs_group_change_policy: own_claims.then(|| "OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

fn state_size(engine: &Engine<'_>) -> Quantity {
    let given = engine.peering.spec.volume.state.as_ref().and_then(|state| state.size.clone());
    Quantity(given.unwrap_or_else(|| sidecar_config::format_size(STATE_BYTES)))
}

fn templates(engine: &Engine<'_>, standing: Option<&StatefulSet>) -> Option<Vec<PersistentVolumeClaim>> {
    if engine.shared_state().is_some() {
        return None;
    }
    let state = engine.peering.spec.volume.state.clone();
    let mode = match state.as_ref().map(|state| state.access_mode).unwrap_or_default() {
        AccessMode::ReadWriteOnce => "ReadWriteOnce",
        AccessMode::ReadWriteOncePod => "ReadWriteOncePod",
        AccessMode::ReadWriteMany => "ReadWriteMany",
    };
    let size = standing.and_then(standing_size).cloned().unwrap_or_else(|| state_size(engine));
    Some(vec![PersistentVolumeClaim {
        metadata: ObjectMeta { name: Some(STATE_VOLUME.to_owned()), ..ObjectMeta::default() },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec![mode.to_owned()]),
            storage_class_name: state.and_then(|state| state.storage_class_name),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), size)].into()),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }])
}

/// The size of the claims that a StatefulSet makes; it cannot be changed in it.
fn standing_size(standing: &StatefulSet) -> Option<&Quantity> {
    let templates = standing.spec.as_ref()?.volume_claim_templates.as_ref()?;
    let state = templates.iter().find(|claim| claim.metadata.name.as_deref() == Some(STATE_VOLUME))?;
    state.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")
}

/// What has to be done by hand for a grown spec.volume.state.size.
pub(super) fn to_be_grown(engine: &Engine<'_>, standing: &StatefulSet) -> Option<String> {
    if engine.shared_state().is_some() {
        return None;
    }
    let (asked, stands) = (state_size(engine), standing_size(standing)?);
    let bytes = |quantity: &Quantity| sidecar_config::parse_size(&quantity.0).ok();
    if bytes(&asked) == bytes(stands) {
        return None;
    }
    let gateway = names::gateway(&engine.peering.name_any());
    Some(format!(
        "spec.volume.state.size asks for {}, and the gateway's claims have {}, which Kubernetes does not let a StatefulSet \
         change: raise spec.resources.requests.storage of the PersistentVolumeClaim {STATE_VOLUME}-{gateway}-0 by hand, then \
         `kubectl delete statefulset {gateway} --cascade=orphan`; it is made anew around the running engine.",
        asked.0, stands.0
    ))
}

/// An object of the gateway's name that another made; it is not touched.
pub(super) fn foreign<'a>(world: &World<'a>) -> Option<&'a StatefulSet> {
    let ours = world.peering.uid();
    world.stateful_set.filter(|standing| !ours.as_ref().is_some_and(|uid| is_child(*standing, uid)))
}

/// Whether a StatefulSet is what was planned, and all its engines are of it and ready.
pub(super) fn ready(planned: &StatefulSet, standing: &StatefulSet) -> bool {
    let rendered = |set: &StatefulSet| set.annotations().get(ANNOTATION_RENDERED).cloned();
    let wanted = planned.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let Some(status) = &standing.status else { return wanted == 0 };
    rendered(planned) == rendered(standing)
        && status.observed_generation >= standing.metadata.generation
        && status.updated_replicas.unwrap_or(0) >= wanted
        && status.ready_replicas.unwrap_or(0) >= wanted
        && status.replicas <= wanted
}
