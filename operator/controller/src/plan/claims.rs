//! The claims that a peering names: the condition VolumeReady, and the mounts made of them.
//!
//! Invariants: a folder is mounted where the configuration says; two folders on one claim are one volume. What can be
//! known without mounting is judged here, the rest is the engine's to say. Test to read first: `tests/volumes.rs`.

use crd_types::{Reason, TunnelPeering, TunnelPeeringSpec};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Volume, VolumeMount};

use super::config::{INBOX_DIR, OUTBOX_DIR};
use super::health::Health;
use super::verdict::{Verdict, clip};
use super::world::World;

/// Most bytes of an engine's own words in a message.
const WORDS_BYTES_MAX: usize = 600;

struct Named<'a> {
    field: &'static str,
    claim: &'a str,
    read_only: bool,
}

fn named(spec: &TunnelPeeringSpec) -> Vec<Named<'_>> {
    let volume = &spec.volume;
    let mut named = vec![
        Named { field: "spec.volume.outbox", claim: &volume.outbox.claim_name, read_only: false },
        Named { field: "spec.volume.inbox", claim: &volume.inbox.claim_name, read_only: volume.inbox.read_only },
    ];
    if let Some(claim) = volume.state.as_ref().and_then(|state| state.claim_name.as_deref()) {
        named.push(Named { field: "spec.volume.state", claim, read_only: false });
    }
    named
}

/// Whether the folders are there and can be used.
pub(super) fn verdict(world: &World<'_>, health: &Health<'_>) -> Verdict {
    let spec = &world.peering.spec;
    for Named { field, claim, .. } in named(spec) {
        if !world.claims.contains_key(claim) {
            let message = format!("{field}: there is no PersistentVolumeClaim {claim} in this namespace: make it.");
            return Verdict::fails(Reason::ClaimMissing, message);
        }
    }
    for named in named(spec) {
        if let Some(claim) = world.claims.get(named.claim)
            && let Some(message) = access_problem(spec, &named, claim)
        {
            return Verdict::fails(Reason::AccessMode, message);
        }
    }
    for Named { field, claim: name, .. } in named(spec) {
        let phase = world.claims.get(name).and_then(|claim| claim.status.as_ref()?.phase.as_deref());
        if phase != Some("Bound") {
            let phase = phase.unwrap_or("not seen by the cluster yet");
            let message = format!(
                "{field}: PersistentVolumeClaim {name} is not bound to a volume ({phase}): see `kubectl describe pvc {name}`. \
                 Some storage classes bind it once the first pod needs it."
            );
            return Verdict::fails(Reason::ClaimNotBound, message);
        }
    }
    if let Some((pod, cause)) = health.outbox_failure() {
        let message =
            format!("Packets cannot be written into spec.volume.outbox; pod {pod}: {}", clip(cause, WORDS_BYTES_MAX));
        return Verdict::fails(Reason::OutboxFailing, message);
    }
    Verdict::holds(Reason::Bound, "The claims are bound.")
}

/// Why pods on several nodes could not mount a claim.
fn access_problem(spec: &TunnelPeeringSpec, named: &Named<'_>, claim: &PersistentVolumeClaim) -> Option<String> {
    let several = spec.gateway.as_ref().is_some_and(|gateway| gateway.replicas > 1);
    if spec.injection.is_none() && !several {
        return None;
    }
    let of_volume =
        claim.status.as_ref().and_then(|status| status.access_modes.clone()).filter(|modes| !modes.is_empty());
    let of_claim = || claim.spec.as_ref().and_then(|spec| spec.access_modes.clone());
    let modes = of_volume.or_else(of_claim).unwrap_or_default();
    let fits = modes.iter().any(|mode| mode == "ReadWriteMany" || (named.read_only && mode == "ReadOnlyMany"));
    (!fits).then(|| {
        format!(
            "{}: PersistentVolumeClaim {} can be used as {} only, and injected engines run on any node: use a claim with \
             ReadWriteMany, or replace spec.injection by `gateway: {{}}`.",
            named.field,
            named.claim,
            if modes.is_empty() { "nothing known".to_owned() } else { modes.join(", ") }
        )
    })
}

/// The volumes of the mirrored folders, and their mounts.
pub(super) fn mirrored(peering: &TunnelPeering) -> (Vec<Volume>, Vec<VolumeMount>) {
    let (outbox, inbox) = (&peering.spec.volume.outbox, &peering.spec.volume.inbox);
    let one = outbox.claim_name == inbox.claim_name;
    let (out_name, in_name) = if one { ("hoft-mirror", "hoft-mirror") } else { ("hoft-outbox", "hoft-inbox") };
    let mut volumes = vec![of_claim(out_name, &outbox.claim_name)];
    if !one {
        volumes.push(of_claim(in_name, &inbox.claim_name));
    }
    let mounts = [(out_name, OUTBOX_DIR, outbox, false), (in_name, INBOX_DIR, inbox, inbox.read_only)];
    let mounts = mounts.map(|(name, path, folder, read_only)| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        sub_path: folder.sub_path.clone(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    });
    (volumes, mounts.into())
}

pub(super) fn of_claim(name: &str, claim: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim.to_owned(),
            read_only: None,
        }),
        ..Volume::default()
    }
}
