//! What a start says in place of its file: flags, or the variables that Kubernetes sets.
//!
//! They are texts here; `sidecar-config` judges them together with the file, so that everything that is wrong is said at
//! once and in one way. It knows no defaults: those are the file's.

use sidecar_config::Overrides;

/// What differs between pods that read one file.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct GivenArgs {
    /// Name of this endpoint, in place of local.endpoint: its ordinal (gateway) or its pod's UID (pod).
    #[arg(long, env = "HOFT_ENDPOINT")]
    endpoint: Option<String>,
    /// Kind of this endpoint, in place of local.kind: gateway or pod.
    #[arg(long, env = "HOFT_KIND")]
    kind: Option<String>,
    /// Kubernetes namespace of the programs that call here, in place of local.namespace.
    #[arg(long, env = "HOFT_NAMESPACE")]
    namespace: Option<String>,
    /// Service account of the programs that call here, in place of local.serviceAccount.
    #[arg(long, env = "HOFT_SERVICE_ACCOUNT")]
    service_account: Option<String>,
}

impl GivenArgs {
    /// As the configuration takes them.
    pub fn overrides(&self) -> Overrides {
        let Self { endpoint, kind, namespace, service_account } = self.clone();
        Overrides { endpoint, kind, namespace, service_account }
    }
}
