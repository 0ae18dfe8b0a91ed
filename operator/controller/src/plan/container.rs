//! The container that is an engine, and its volumes: the same in a gateway's pod and beside an app.
//!
//! Invariants: it runs where pod security `restricted` is enforced, whoever the pod's other containers run as; only fields
//! of the oldest supported Kubernetes are used; it sees no service account token. It does not decide where it runs.
//! Test to read first: `tests/golden.rs`, and the files in `golden/`.

use crd_types::{TunnelPeering, names};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource,
    HTTPGetAction, KeyToPath, ObjectFieldSelector, Probe, ProjectedVolumeSource, ResourceRequirements, SeccompProfile,
    SecretProjection, SecretVolumeSource, SecurityContext, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::check::shared_state_path;
use super::claims;
use super::config::{AUTHORITIES_DIR, CONFIG_DIR, IDENTITY_DIR, STATE_DIR, authorities};
use super::world::{Role, Settings};

/// User and group of the engine's image.
pub(super) const USER: i64 = 65_532;
/// Mode of mounted Secrets: with a group of our own and no fsGroup, anything stricter could not be read.
const READABLE: i32 = 0o444;
const TOKEN_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Name of the volume of the state, and of a gateway's claim templates.
pub(super) const STATE_VOLUME: &str = "hoft-state";

/// What every engine of a peering is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Engine<'a> {
    pub(super) peering: &'a TunnelPeering,
    pub(super) settings: &'a Settings,
    /// Secret with this side's keys.
    pub(super) secret_name: &'a str,
    /// SHA-256 of the configuration.
    pub(super) config_sha256: &'a str,
}

impl Engine<'_> {
    /// The container.
    pub(super) fn container(&self, role: Role) -> Container {
        let sidecar = role == Role::Sidecar;
        let settings = self.settings;
        Container {
            name: names::CONTAINER.to_owned(),
            image: Some(settings.sidecar_image.clone()),
            image_pull_policy: Some(settings.image_pull_policy.clone()).filter(|policy| !policy.is_empty()),
            command: Some(
                ["/hoft", "sidecar", "--config", &format!("{CONFIG_DIR}/{}", names::CONFIG_KEY)]
                    .map(str::to_owned)
                    .into(),
            ),
            env: Some(self.environment(role)),
            ports: Some(vec![ContainerPort {
                name: Some("hoft-admin".to_owned()),
                container_port: names::PORT_ADMIN.into(),
                protocol: Some("TCP".to_owned()),
                ..ContainerPort::default()
            }]),
            restart_policy: sidecar.then(|| "Always".to_owned()),
            startup_probe: Some(probe("/startedz", 1, 120)),
            liveness_probe: Some(probe("/livez", 10, 3)),
            // Beside an app it would take the whole pod out of its Services whenever the far side is away.
            readiness_probe: (!sidecar).then(|| probe("/readyz", 5, 3)),
            resources: Some(self.resources(role)),
            security_context: Some(self.security()),
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            volume_mounts: Some(self.mounts(role)),
            ..Container::default()
        }
    }

    fn environment(&self, role: Role) -> Vec<EnvVar> {
        let (kind, endpoint) = match role {
            Role::Gateway => ("gateway", "metadata.labels['apps.kubernetes.io/pod-index']"),
            Role::Sidecar => ("pod", "metadata.uid"),
        };
        vec![
            value("HOFT_KIND", kind),
            field("HOFT_ENDPOINT", endpoint),
            field("HOFT_NAMESPACE", "metadata.namespace"),
            field("HOFT_SERVICE_ACCOUNT", "spec.serviceAccountName"),
            value("HOFT_CONFIG_SHA256", self.config_sha256),
            value("HOFT_TERMINATION_LOG", "/dev/termination-log"),
        ]
    }

    fn resources(&self, role: Role) -> ResourceRequirements {
        let spec = &self.peering.spec;
        let given = match role {
            Role::Gateway => spec.gateway.as_ref().and_then(|gateway| gateway.resources.clone()),
            Role::Sidecar => spec.injection.as_ref().and_then(|injection| injection.resources.clone()),
        };
        given.unwrap_or_else(|| ResourceRequirements {
            requests: Some(
                [("cpu".to_owned(), Quantity("10m".to_owned())), ("memory".to_owned(), Quantity("32Mi".to_owned()))]
                    .into(),
            ),
            limits: Some([("memory".to_owned(), Quantity("512Mi".to_owned()))].into()),
            claims: None,
        })
    }

    fn security(&self) -> SecurityContext {
        SecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(self.group()),
            read_only_root_filesystem: Some(true),
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
            ..SecurityContext::default()
        }
    }

    /// The group that owns the folders: a fsGroup would not reach hostPath and most shared volumes.
    pub(super) fn group(&self) -> i64 {
        self.peering.spec.volume.group.unwrap_or(USER)
    }

    /// The claim on which every engine has a folder, if there is one.
    pub(super) fn shared_state(&self) -> Option<&str> {
        self.peering.spec.volume.state.as_ref()?.claim_name.as_deref()
    }

    fn mounts(&self, role: Role) -> Vec<VolumeMount> {
        let mut mounts = vec![read_only("hoft-config", CONFIG_DIR), read_only("hoft-identity", IDENTITY_DIR)];
        mounts.extend(claims::mirrored(self.peering).1);
        mounts.push(VolumeMount {
            name: STATE_VOLUME.to_owned(),
            mount_path: STATE_DIR.to_owned(),
            sub_path_expr: self.shared_state().map(|_| {
                let kind = if role == Role::Gateway { "gateway" } else { "pod" };
                format!("{}/{kind}-$(HOFT_ENDPOINT)", shared_state_path(self.peering))
            }),
            ..VolumeMount::default()
        });
        if !authorities(&self.peering.spec).is_empty() {
            mounts.push(read_only("hoft-authorities", AUTHORITIES_DIR));
        }
        if role == Role::Sidecar {
            // Else the app's own token would be mounted there.
            mounts.push(read_only("hoft-no-token", TOKEN_DIR));
        }
        mounts
    }

    /// The volumes; a gateway's own state is its claim template.
    pub(super) fn volumes(&self, role: Role) -> Vec<Volume> {
        let mut volumes = vec![self.config_volume(), self.identity_volume()];
        volumes.extend(claims::mirrored(self.peering).0);
        match (self.shared_state(), role) {
            (Some(claim), _) => volumes.push(claims::of_claim(STATE_VOLUME, claim)),
            (None, Role::Sidecar) => {
                let size = self.peering.spec.volume.state.as_ref().and_then(|state| state.size.clone());
                volumes.push(empty(STATE_VOLUME, size.map(Quantity)));
            }
            (None, Role::Gateway) => {}
        }
        volumes.extend(self.authorities_volume());
        if role == Role::Sidecar {
            volumes.push(empty("hoft-no-token", None));
        }
        volumes
    }

    fn config_volume(&self) -> Volume {
        Volume {
            name: "hoft-config".to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: names::config_map(&self.peering.name_any(), self.config_sha256),
                default_mode: Some(READABLE),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        }
    }

    fn identity_volume(&self) -> Volume {
        Volume {
            name: "hoft-identity".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(self.secret_name.to_owned()),
                items: Some(vec![file(names::SECRET_KEY, names::SECRET_KEY.to_owned())]),
                default_mode: Some(READABLE),
                optional: None,
            }),
            ..Volume::default()
        }
    }

    fn authorities_volume(&self) -> Option<Volume> {
        let listed = authorities(&self.peering.spec);
        if listed.is_empty() {
            return None;
        }
        let source = |(rule, secret): (&str, &str)| VolumeProjection {
            secret: Some(SecretProjection {
                name: secret.to_owned(),
                items: Some(vec![file("ca.crt", format!("{rule}/ca.crt"))]),
                optional: None,
            }),
            ..VolumeProjection::default()
        };
        Some(Volume {
            name: "hoft-authorities".to_owned(),
            projected: Some(ProjectedVolumeSource {
                default_mode: Some(READABLE),
                sources: Some(listed.into_iter().map(source).collect()),
            }),
            ..Volume::default()
        })
    }
}

fn file(key: &str, path: String) -> KeyToPath {
    KeyToPath { key: key.to_owned(), path, mode: None }
}

fn empty(name: &str, size_limit: Option<Quantity>) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource { medium: None, size_limit }),
        ..Volume::default()
    }
}

fn read_only(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), read_only: Some(true), ..VolumeMount::default() }
}

fn value(name: &str, text: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(text.to_owned()), value_from: None }
}

fn field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { field_path: path.to_owned(), api_version: Some("v1".to_owned()) }),
            ..EnvVarSource::default()
        }),
    }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(names::PORT_ADMIN.into()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(if period_seconds > 1 { 3 } else { 1 }),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}
