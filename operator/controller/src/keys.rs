//! A peering's own keys: generated once, kept in an immutable Secret that the operator can make but never read.
//!
//! Invariants: the secret half leaves this function in the body of one POST only and is wiped afterwards as far as the
//! client's buffers allow; the public half goes into the status. A Secret whose status was never written is left over, unused, and
//! removed with its peering. Test to read first: `tests::what_is_generated_is_what_the_engine_reads`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use crd_types::{IdentityStatus, TunnelPeering, names};
use identity::Identity;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};

use crate::plan::child_metadata;

/// Makes keys for a peering and stores them. The status must be written next, or they are made again under another name.
///
/// # Errors
/// When the randomness or the API server fails.
pub async fn generate(client: &Client, peering: &TunnelPeering) -> Result<IdentityStatus> {
    let (secret, status) = make(peering)?;
    let api: Api<Secret> = Api::namespaced(client.clone(), &peering.namespace().unwrap_or_default());
    api.create(&PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() }, &secret)
        .await
        .with_context(|| format!("the Secret {} cannot be made", status.secret_name))?;
    Ok(status)
}

fn make(peering: &TunnelPeering) -> Result<(Secret, IdentityStatus)> {
    let side = &peering.spec.local.name;
    let identity = Identity::generate(side).with_context(|| format!("keys for the side {side} cannot be made"))?;
    let token = identity.bundle(1, 0, 0).to_token().context("the public token cannot be written")?;
    let key_id: String = identity.signing_id().iter().map(|byte| format!("{byte:02x}")).collect();
    let name = names::identity_secret(&peering.name_any(), &key_id);
    let mut metadata = child_metadata(peering, name.clone());
    metadata.annotations = Some(BTreeMap::from([(names::ANNOTATION_PUBLIC_KEY.to_owned(), token.clone())]));
    let secret = Secret {
        metadata,
        immutable: Some(true),
        string_data: Some(BTreeMap::from([(names::SECRET_KEY.to_owned(), identity.encode_secret().to_string())])),
        type_: Some("hoft.dev/identity".to_owned()),
        ..Secret::default()
    };
    let status = IdentityStatus {
        key_id,
        public_key: token,
        fingerprint: identity.fingerprint(),
        secret_name: name,
        not_after: None,
    };
    Ok((secret, status))
}

#[cfg(test)]
mod tests {
    //! The Secret and the status belong together.
    use super::*;

    #[test]
    fn what_is_generated_is_what_the_engine_reads() {
        let peering: TunnelPeering = serde_yaml::from_str(
            "apiVersion: hoft.dev/v1alpha1\nkind: TunnelPeering\nmetadata: {name: south, namespace: shop, uid: u}
spec: {local: {name: north}, remote: {name: south}, gateway: {}, volume: {outbox: {claimName: m, subPath: out}, inbox: {claimName: m, subPath: in}}}",
        )
        .unwrap();
        let (secret, status) = make(&peering).unwrap();
        let text = &secret.string_data.as_ref().unwrap()[names::SECRET_KEY];
        let read = Identity::parse_secret(text).unwrap();
        assert_eq!(read.side(), "north");
        assert_eq!(read.bundle(1, 0, 0).to_token().unwrap(), status.public_key);
        assert_eq!(read.fingerprint(), status.fingerprint);
        assert_eq!(secret.metadata.name.as_deref(), Some(status.secret_name.as_str()));
        assert!(status.secret_name.starts_with("south-identity-"));
        assert_eq!(secret.immutable, Some(true));
        assert_eq!(secret.metadata.owner_references.unwrap()[0].name, "south");
    }
}
