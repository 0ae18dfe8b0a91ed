//! What never changes while an engine runs, and is known before its log is read.
//!
//! Invariant: nothing of the secret keys is here but what was made to be handed out. It decides nothing. Test to read
//! first: `status::tests::json_is_the_documented_one`.

use identity::Identity;
use sidecar_config::Config;
use wire::EndpointId;

/// Who an engine is.
#[derive(Clone, Debug)]
pub struct EngineFacts {
    /// Its endpoint's id.
    pub endpoint: EndpointId,
    /// Name of its side.
    pub side: String,
    /// What its endpoint is named by: `gateway` or `pod`.
    pub kind: &'static str,
    /// Name of its endpoint: ordinal or UID.
    pub endpoint_name: String,
    /// The token to hand to the far side; none where only checksums are used.
    pub public_key: Option<String>,
    /// What people compare of that token.
    pub fingerprint: Option<String>,
}

impl EngineFacts {
    /// The facts of the engine that is configured so.
    #[must_use]
    pub fn new(config: &Config, endpoint: EndpointId, identity: Option<&Identity>) -> Self {
        Self {
            endpoint,
            side: config.local.name.to_string(),
            kind: config.local.kind.as_str(),
            endpoint_name: config.local.endpoint.clone(),
            // As `hoft keygen` writes it: the same keys give the same token.
            public_key: identity.and_then(|identity| identity.bundle(1, 0, 0).to_token().ok()),
            fingerprint: identity.map(Identity::fingerprint),
        }
    }
}

#[cfg(test)]
impl EngineFacts {
    /// A gateway of side `north` without keys.
    pub(crate) fn of_test() -> Self {
        Self {
            endpoint: EndpointId::from_bytes([1; 16]),
            side: "north".to_owned(),
            kind: "gateway",
            endpoint_name: "0".to_owned(),
            public_key: None,
            fingerprint: None,
        }
    }
}
