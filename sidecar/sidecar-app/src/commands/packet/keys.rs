//! Whose packets can be verified, and which can be opened: by public tokens, or by an engine's configuration.
//!
//! Invariants: a signature counts only for the side whose token holds its key; with a configuration the far side's pinned
//! keys and this side's own are used, as the engine has them. Secrets are never shown. Keys outside their time are kept, so
//! that it can be said whose signature it is; they verify nothing. Test to read first: `../tests/origin.rs`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use identity::{Identity, KeyId, PeerKeys, verify_prefix};
use serde::Serialize;
use sidecar_config::Config;
use wire::digest::hex;
use wire::{Control, EndpointId, Header, Reject, SideId, Suite, endpoint_id, side_id};

use crate::commands::given::GivenArgs;
use crate::commands::key_material::{self, Material};
use crate::preflight::{load_config, load_identity, load_peer_keys, suite};

/// Gateways of a side have ordinals below this.
const GATEWAYS: u32 = 1_024;

/// Which keys to look with.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct KeyArgs {
    /// Public key of a side that may have signed: its token (hoft1…) or a file with it. Several may be given.
    #[arg(long = "key", value_name = "BUNDLE")]
    keys: Vec<String>,
    /// Configuration of an engine: its own secret keys open what is sealed to it, and its pinned keys say who signed.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    given: GivenArgs,
}

/// What is known of who signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OriginResult {
    /// Signed by a key that was given.
    Verified,
    /// A key that was given should have signed, and did not sign these bytes.
    Bad,
    /// Signed by a key that was given, but outside the time its token names.
    OutOfTime,
    /// The configuration says that this key is believed no more.
    Revoked,
    /// No key that was given has this id.
    UnknownKey,
    /// No key was given.
    NotChecked,
    /// Suite checksum: the checksum is good, and proves nothing about who wrote it.
    Unproven,
    /// What is signed is not all there.
    Cut,
}

/// Who signed.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Origin {
    pub(super) result: OriginResult,
    pub(super) reject: Option<&'static str>,
    pub(super) side: Option<String>,
    pub(super) fingerprint: Option<String>,
    /// Signed by this side itself (the one of the configuration).
    pub(super) own: bool,
}

impl Origin {
    pub(super) const fn new(result: OriginResult) -> Self {
        Self { result, reject: None, side: None, fingerprint: None, own: false }
    }
}

/// The keys of one side.
struct Side {
    name: String,
    own: bool,
    keys: PeerKeys,
}

/// All keys that were given.
#[derive(Default)]
pub(super) struct Keyring {
    sides: Vec<Side>,
    identity: Option<Identity>,
    /// What the configuration takes; `None` without one.
    pub(super) accepted: Option<Vec<Suite>>,
    names: BTreeMap<EndpointId, String>,
    /// The sides of the configuration's peering: the far one, then this one.
    peering: Vec<SideId>,
}

impl Keyring {
    /// Reads what was named.
    pub(super) fn read(args: &KeyArgs, now_ms: i64) -> Result<Self> {
        let mut ring = Self::default();
        let mut tokens: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for given in &args.keys {
            match key_material::read(given, true).context("--key")? {
                Material::Public(bundle) => {
                    let token = bundle.to_token().context("--key")?;
                    tokens.entry(bundle.side).or_default().push(token);
                }
                Material::Secret(_) => {
                    bail!(
                        "--key {given}: these are secret keys; give the public token (`hoft key public {given}` prints it)"
                    )
                }
            }
        }
        for (name, tokens) in tokens {
            ring.sides.push(Side::pin(name, &tokens, false, now_ms).map_err(|error| anyhow!("--key: {error}"))?);
        }
        if let Some(path) = &args.config {
            let config = load_config(path, &args.given.overrides())?;
            ring.take(&config, now_ms).with_context(|| format!("--config {}", path.display()))?;
        }
        Ok(ring)
    }

    fn take(&mut self, config: &Config, now_ms: i64) -> Result<()> {
        let (local, remote) = (config.local.name.as_str(), config.remote.name.as_str());
        let keys = load_peer_keys(config).map_err(|problem| anyhow!(problem))?;
        self.sides.push(Side { name: remote.to_owned(), own: false, keys });
        if let Some(identity) = load_identity(config).map_err(|problem| anyhow!(problem))? {
            let token = identity.bundle(1, 0, 0).to_token()?;
            self.sides.push(Side::pin(local.to_owned(), &[token], true, now_ms)?);
            self.identity = Some(identity);
        }
        let mut accepted: Vec<Suite> = config.modes.accept.iter().map(|mode| suite(*mode)).collect();
        accepted.push(suite(config.modes.send));
        self.accepted = Some(accepted);
        for (name, other) in [(remote, local), (local, remote)] {
            let side = side_id(&config.realm, name, other);
            self.peering.push(side);
            self.names.insert(side.as_address(), format!("side {name}"));
            for ordinal in (0..GATEWAYS).map(|ordinal| ordinal.to_string()) {
                self.names.insert(endpoint_id(&side, "gateway", &ordinal), format!("{name} gateway {ordinal}"));
            }
        }
        let me = (config.local.kind.as_str(), config.local.endpoint.as_str());
        let id = endpoint_id(&side_id(&config.realm, local, remote), me.0, me.1);
        self.names.insert(id, format!("{local} {} {}", me.0, me.1));
        Ok(())
    }

    /// Whether any public key was given.
    pub(super) fn verifies(&self) -> bool {
        self.sides.iter().any(|side| side.keys.bundles().next().is_some())
    }

    /// The secret keys of the configuration.
    pub(super) const fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Who has this id, as far as the configuration tells.
    pub(super) fn name(&self, id: &EndpointId) -> Option<&str> {
        self.names.get(id).map(String::as_str)
    }

    /// Whether that is a whole side of the configuration's peering.
    pub(super) fn is_side(&self, id: &EndpointId) -> bool {
        self.peering.iter().any(|side| side.as_address() == *id)
    }

    /// With a configuration: whether the sender is an endpoint of one of its sides, as far as the packet names it.
    pub(super) fn check_endpoint(&self, control: &Control, sender: &EndpointId) -> Result<(), Reject> {
        let good = |side| control.check_endpoint(side, sender).is_ok();
        if self.peering.is_empty() || self.peering.iter().any(good) { Ok(()) } else { Err(Reject::Endpoint) }
    }

    /// Who signed this prefix.
    pub(super) fn origin(&self, header: &Header, prefix: &[u8], now_ms: i64) -> Origin {
        if !header.suite().is_ok_and(Suite::signed) {
            return match verify_prefix(header, prefix, &PeerKeys::default()) {
                Ok(()) => Origin::new(OriginResult::Unproven),
                Err(reject) => Origin { reject: Some(reject.name()), ..Origin::new(OriginResult::Bad) },
            };
        }
        let of_key = |side: &&Side| side.fingerprint(header.signing_key).is_some();
        let Some(side) = self.sides.iter().find(of_key) else {
            let unknown = Origin { reject: Some(Reject::KeyUnknown.name()), ..Origin::new(OriginResult::UnknownKey) };
            return if self.verifies() { unknown } else { Origin::new(OriginResult::NotChecked) };
        };
        let in_time = side.keys.check_signing_key(header.signing_key, now_ms);
        let (result, reject) = match (verify_prefix(header, prefix, &side.keys), in_time) {
            (_, Err(Reject::KeyRevoked)) => (OriginResult::Revoked, Some(Reject::KeyRevoked.name())),
            (Ok(()), Ok(())) => (OriginResult::Verified, None),
            (Ok(()), Err(reject)) => (OriginResult::OutOfTime, Some(reject.name())),
            (Err(reject), _) => (OriginResult::Bad, Some(reject.name())),
        };
        Origin {
            result,
            reject,
            side: Some(side.name.clone()),
            fingerprint: side.fingerprint(header.signing_key),
            own: side.own,
        }
    }
}

impl Side {
    fn pin(name: String, tokens: &[String], own: bool, now_ms: i64) -> Result<Self> {
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        // No suite is named, so that tokens outside their time are kept: it is said what they would have verified.
        let keys = PeerKeys::from_tokens(&tokens, &name, &[], now_ms)?;
        Ok(Self { name, own, keys })
    }

    fn fingerprint(&self, signing_id: KeyId) -> Option<String> {
        let mut pinned = self.keys.bundles().zip(self.keys.fingerprints());
        pinned.find(|(bundle, _)| bundle.signing_id() == Some(signing_id)).map(|(_, fingerprint)| fingerprint)
    }
}

/// The text of a key id; nothing for none.
pub(super) fn key_text(id: KeyId) -> Option<String> {
    (id != [0; 8]).then(|| hex(&id))
}
