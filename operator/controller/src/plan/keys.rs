//! The keys of both sides: what of the spec can be used, and where this side's secret half is.
//!
//! Invariants: a key past its end never reaches an engine's configuration; a token's text is judged by the same code as in
//! the engine. It generates nothing and reads no Secret. Test to read first: `tests/keys.rs`.

use crd_types::{IdentityStatus, Mode, Reason, RemoteKey, TunnelPeering, TunnelPeeringSpec};
use identity::PeerKeys;
use jiff::Timestamp;

use super::verdict::Verdict;
use super::world::{Role, World};

/// The far side's keys, judged at one time.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Ids and tokens that engines may pin, in the order of the spec.
    pub(super) usable: Vec<(String, String)>,
    /// One of them is valid already.
    any_valid: bool,
    /// What is wrong with others.
    pub(super) invalid: Vec<String>,
    /// Ids of those past spec.remote.publicKeys[].notAfter or their own end.
    expired: Vec<String>,
    /// What to say of those past their own end.
    pub(super) ended: Vec<String>,
    /// The modes need a key of the far side.
    needed: bool,
}

enum Judged {
    Valid,
    NotYet,
    Expired,
    Ended(String),
    Invalid(String),
}

impl Keys {
    pub(super) fn of(spec: &TunnelPeeringSpec, now: Timestamp) -> Self {
        let accept = accepted_modes(spec);
        let sealed = accept.contains(&Mode::Sealed) || spec.mode == Mode::Sealed;
        let needed = sealed || accept.iter().any(|mode| *mode != Mode::Checksum);
        let mut keys = Self { needed, ..Self::default() };
        for listed in &spec.remote.public_keys {
            match judge(listed, &spec.remote.name, sealed, now) {
                judged @ (Judged::Valid | Judged::NotYet) => {
                    keys.any_valid |= matches!(judged, Judged::Valid);
                    if keys.usable.iter().all(|(_, token)| *token != listed.key) {
                        keys.usable.push((listed.id.clone(), listed.key.clone()));
                    }
                }
                Judged::Expired => keys.expired.push(listed.id.clone()),
                Judged::Ended(why) => {
                    keys.expired.push(listed.id.clone());
                    keys.ended.push(why);
                }
                Judged::Invalid(why) => keys.invalid.push(why),
            }
        }
        keys
    }

    /// Whether both sides' keys are there.
    pub(super) fn verdict(&self, peering: &TunnelPeering) -> Verdict {
        let remote = &peering.spec.remote.name;
        if own_secret(peering).is_none() {
            return Verdict::unknown(Reason::Pending, "This side's keys are being generated.");
        }
        if !self.needed {
            return Verdict::holds(Reason::KeysReady, "Mode Checksum needs no key of the far side.");
        }
        if self.any_valid {
            let ids: Vec<&str> = self.usable.iter().map(|(id, _)| id.as_str()).collect();
            return Verdict::holds(Reason::KeysReady, format!("Side {remote} is known by {}.", ids.join(", ")));
        }
        if !self.usable.is_empty() {
            let message = format!(
                "No key of side {remote} in spec.remote.publicKeys is valid yet: wait, or keep the older one beside it."
            );
            return Verdict::fails(Reason::AwaitingPeerKey, message);
        }
        if !self.expired.is_empty() {
            let ids = self.expired.join(", ");
            let message = format!(
                "Every key of side {remote} is past its end ({ids}): put status.identity.publicKey of that side's object \
                 into spec.remote.publicKeys, or give a key that is still right a later notAfter."
            );
            return Verdict::fails(Reason::AllPeerKeysExpired, message);
        }
        Verdict::fails(Reason::AwaitingPeerKey, awaiting(peering))
    }
}

fn awaiting(peering: &TunnelPeering) -> String {
    let (local, remote) = (&peering.spec.local.name, &peering.spec.remote.name);
    let ours = match own_identity(peering) {
        Some(identity) => {
            format!(
                "There, side {local} is known by this key (fingerprint {}): {}",
                identity.fingerprint, identity.public_key
            )
        }
        None => format!(
            "There, side {local} is known by the public key that `hoft keygen` wrote beside the Secret's content."
        ),
    };
    format!(
        "spec.remote.publicKeys has no key of side {remote}: put status.identity.publicKey of that side's object there. {ours}"
    )
}

/// The modes that are accepted from the far side.
pub(super) fn accepted_modes(spec: &TunnelPeeringSpec) -> Vec<Mode> {
    if spec.accept_modes.is_empty() { vec![spec.mode] } else { spec.accept_modes.clone() }
}

fn judge(listed: &RemoteKey, side: &str, sealed: bool, now: Timestamp) -> Judged {
    let field = format!("spec.remote.publicKeys[{}]", listed.id);
    if let Some(text) = &listed.not_after {
        match text.parse::<Timestamp>() {
            Ok(end) if end <= now => return Judged::Expired,
            Ok(_) => {}
            Err(_) => {
                let why =
                    format!("{field}.notAfter `{text}` is no point in time: write one such as 2030-01-31T00:00:00Z");
                return Judged::Invalid(why);
            }
        }
    }
    let now_ms = now.as_millisecond();
    // No suite: whether it is valid now and can be sealed to is asked below, for each key by itself.
    let pinned = match PeerKeys::from_tokens(&[&listed.key], side, &[], now_ms) {
        Ok(pinned) => pinned,
        Err(error) => {
            let text = error.to_string();
            let text = text.strip_prefix("token 1").map_or_else(|| text.clone(), |rest| format!("the token{rest}"));
            return Judged::Invalid(format!("{field}.key: {text}"));
        }
    };
    let Some(bundle) = pinned.bundles().next() else {
        return Judged::Invalid(format!("{field}.key: holds no keys; ask for a complete token"));
    };
    if sealed && bundle.kem_id().is_none() {
        return Judged::Invalid(format!(
            "{field}.key: the token has no key to encrypt to, which mode Sealed needs; ask for a complete token, or use \
             mode Signed on both sides"
        ));
    }
    if bundle.not_after_ms != 0 && now_ms > bundle.not_after_ms {
        return Judged::Ended(format!(
            "{field}.key: the token is past its own end; put the current token of side {side} there"
        ));
    }
    if now_ms < bundle.not_before_ms { Judged::NotYet } else { Judged::Valid }
}

/// Name of the Secret with this side's keys; `None` before they were generated.
pub(super) fn own_secret(peering: &TunnelPeering) -> Option<&str> {
    let generated = || Some(peering.status.as_ref()?.identity.as_ref()?.secret_name.as_str());
    given_secret(peering).or_else(generated).filter(|name| !name.is_empty())
}

fn given_secret(peering: &TunnelPeering) -> Option<&str> {
    let named = peering.spec.identity.as_ref()?.secret_ref.as_ref()?;
    Some(named.name.as_str()).filter(|name| !name.is_empty())
}

/// This side's public key as it stands in the status, if it is that of the Secret in use.
fn own_identity(peering: &TunnelPeering) -> Option<&IdentityStatus> {
    let standing = peering.status.as_ref()?.identity.as_ref()?;
    (own_secret(peering) == Some(standing.secret_name.as_str())).then_some(standing)
}

/// This side's public key: what stands, or, for a Secret made by hand, what an engine that read it says.
pub(super) fn identity_status(world: &World<'_>) -> Option<IdentityStatus> {
    let standing = own_identity(world.peering).cloned();
    let Some(secret_name) = given_secret(world.peering) else { return standing };
    let reported = world.instances.iter().filter(|instance| reads_secret(instance, world)).find_map(|instance| {
        let (_, report) = instance.report.as_ref()?;
        described(report.public_key.as_deref()?, &world.peering.spec.local.name, secret_name, world.now)
    });
    reported.or(standing)
}

/// The engine was made with the Secret that the spec names, as far as can be told.
fn reads_secret(instance: &super::world::Instance, world: &World<'_>) -> bool {
    let status = world.peering.status.as_ref();
    match instance.role {
        // One that still reads the former Secret is about to be replaced; the next report corrects it.
        Role::Gateway => !instance.terminating && !instance.ended,
        Role::Sidecar => {
            let rendered = status.and_then(|status| status.injection.as_ref());
            instance.injected_version.is_some()
                && instance.injected_version == rendered.map(|injection| injection.revision)
        }
    }
}

fn described(token: &str, side: &str, secret_name: &str, now: Timestamp) -> Option<IdentityStatus> {
    let pinned = PeerKeys::from_tokens(&[token], side, &[], now.as_millisecond()).ok()?;
    let bundle = pinned.bundles().next()?;
    let end = (bundle.not_after_ms != 0).then(|| Timestamp::from_millisecond(bundle.not_after_ms).ok()).flatten();
    Some(IdentityStatus {
        key_id: hex(&bundle.signing_id()?),
        public_key: token.trim().to_owned(),
        fingerprint: bundle.fingerprint().ok()?,
        secret_name: secret_name.to_owned(),
        not_after: end.map(super::conditions::in_seconds),
    })
}

/// Bytes in hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
