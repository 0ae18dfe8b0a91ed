//! Names that the operator, the chart, the policies and the engines agree on. They are an interface: never changed.

/// Label of a pod (its value names the peering) that asks for an engine beside its containers.
pub const LABEL_INJECT: &str = "hoft.dev/inject";
/// Label of every object made for a peering: the peering's name.
pub const LABEL_PEERING: &str = "hoft.dev/peering";
/// Label of pods that are engines of their own: `gateway`.
pub const LABEL_ROLE: &str = "hoft.dev/role";
/// Value of [`LABEL_ROLE`] of a gateway's pods.
pub const ROLE_GATEWAY: &str = "gateway";
/// Annotation of an injected pod: the revision of `status.injection` that it got.
pub const ANNOTATION_INJECTED_VERSION: &str = "hoft.dev/injected-version";
/// Annotation of an injected pod: the peering it belongs to.
pub const ANNOTATION_PEERING: &str = "hoft.dev/peering";
/// Annotation of an identity Secret: its public key token.
pub const ANNOTATION_PUBLIC_KEY: &str = "hoft.dev/public-key";
/// Name of the container that is an engine.
pub const CONTAINER: &str = "hoft";
/// Key of the secret-key file in an identity Secret.
pub const SECRET_KEY: &str = "secret";
/// Key of the engine's configuration in its ConfigMap.
pub const CONFIG_KEY: &str = "hoft.yaml";
/// Port on which apps call their engine.
pub const PORT_PROXY: u16 = 8470;
/// Port on which an engine answers probes, the operator and Prometheus.
pub const PORT_ADMIN: u16 = 9470;
/// Pod condition: the far side is heard and hears us.
pub const POD_PEER_CONNECTED: &str = "hoft.dev/PeerConnected";
/// Pod condition: the engine's log can be written and has room.
pub const POD_LOG_HEALTHY: &str = "hoft.dev/LogHealthy";
/// Field manager of the objects made for a peering.
pub const MANAGER: &str = "hoft-operator";
/// Field manager of a peering's status.
pub const MANAGER_STATUS: &str = "hoft-operator-status";
/// Field manager of pod conditions.
pub const MANAGER_POD_STATUS: &str = "hoft-operator-podstatus";
/// Field manager of the webhook's CA bundle.
pub const MANAGER_WEBHOOK: &str = "hoft-operator-webhook";

/// Name of the immutable ConfigMap of a peering's engines; each configuration has one of its own, so that an engine that is
/// started again in an older pod reads what that pod was made for.
#[must_use]
pub fn config_map(peering: &str, sha256_hex: &str) -> String {
    format!("{peering}-engine-{}", &sha256_hex[..sha256_hex.len().min(8)])
}

/// Name of the gateway's StatefulSet and of its Service.
#[must_use]
pub fn gateway(peering: &str) -> String {
    format!("{peering}-gateway")
}

/// Name of the Secret of a generated identity; `key_id_hex` is the signing key's id.
#[must_use]
pub fn identity_secret(peering: &str, key_id_hex: &str) -> String {
    format!("{peering}-identity-{}", &key_id_hex[..key_id_hex.len().min(8)])
}
