//! Everything that is looked at before an engine starts: the configuration, keys, folders and ids.
//!
//! All that is wrong is reported together, each with its place and remedy, so that a person mends it in one go. Nothing is
//! changed here. What is asked of the mirrored folders is in `shares.rs`.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use identity::{Identity, PeerKeys};
use sidecar_config::{Config, Mode, Overrides};
use wire::{EndpointId, SideId, Suite, endpoint_id, side_id};

use crate::canary::Folder;
use crate::driver::chain;
use crate::shares::{Demand, Share};
use crate::status::EngineFacts;

/// Reads and checks a configuration file, with what the start says in its place.
///
/// # Errors
/// With everything that is wrong with it.
pub fn load_config(path: &Path, overrides: &Overrides) -> Result<Config> {
    sidecar_config::load_with(path, overrides).map_err(|errors| anyhow!("{errors}"))
}

/// What an engine needs from outside its configuration.
pub struct Preflight {
    /// My endpoint.
    pub me: EndpointId,
    /// My side.
    pub my_side: SideId,
    /// The far side.
    pub remote_side: SideId,
    /// The far endpoint that calls go to.
    pub peer: EndpointId,
    /// Fingerprints of the pinned tokens.
    pub peer_fingerprints: Vec<String>,
    /// My keys; none where only checksums are used.
    pub identity: Option<Arc<Identity>>,
    /// The pinned keys of the far side.
    pub peer_keys: Arc<PeerKeys>,
    /// Where packets are written.
    pub outbox: Share,
    /// Where packets arrive.
    pub inbox: Share,
}

/// The suite of a mode.
pub fn suite(mode: Mode) -> Suite {
    match mode {
        Mode::Checksum => Suite::Checksum,
        Mode::Signed => Suite::Signed,
        Mode::Sealed => Suite::Sealed,
    }
}

impl Preflight {
    /// Looks at everything the configuration names.
    ///
    /// # Errors
    /// With everything that is wrong, one line each.
    pub fn run(config: &Config, shares: Demand) -> Result<Self> {
        let mut problems = Vec::new();
        let identity = keep(load_identity(config), &mut problems).flatten();
        let peer_keys = keep(load_peer_keys(config), &mut problems);
        let (out, into) = (&config.folders.outbox, &config.folders.inbox);
        let outbox = keep(Share::find("folders.outbox", out, true, shares), &mut problems);
        let inbox = keep(Share::find("folders.inbox", into, receiver_deletes(config), shares), &mut problems);
        if let (Some(peer_keys), Some(outbox), Some(inbox)) = (peer_keys, outbox, inbox)
            && problems.is_empty()
        {
            let (local, remote) = (config.local.name.as_str(), config.remote.name.as_str());
            let my_side = side_id(&config.realm, local, remote);
            let remote_side = side_id(&config.realm, remote, local);
            return Ok(Self {
                me: endpoint_id(&my_side, config.local.kind.as_str(), &config.local.endpoint),
                my_side,
                remote_side,
                peer: endpoint_id(&remote_side, "gateway", "0"),
                peer_fingerprints: peer_keys.fingerprints(),
                identity: identity.map(Arc::new),
                peer_keys: Arc::new(peer_keys),
                outbox,
                inbox,
            });
        }
        let count = problems.len();
        let list: String = problems.iter().map(|problem| format!("\n  {problem}")).collect();
        Err(anyhow!("{count} {} before the engine can start:{list}", if count == 1 { "problem" } else { "problems" }))
    }
}

impl Preflight {
    /// The outbox and the inbox, for their canaries.
    pub fn watched(&self, config: &Config) -> [Arc<Folder>; 2] {
        let outbox = self.outbox.watched("outbox").carried(config.mirror.profile);
        [Arc::new(outbox), Arc::new(self.inbox.watched("inbox"))]
    }

    /// Who the engine is.
    pub fn facts(&self, config: &Config) -> EngineFacts {
        EngineFacts::new(config, self.me, self.identity.as_deref())
    }
}

/// With profile Sync only senders delete, so the inbox may be there to be read only.
fn receiver_deletes(config: &Config) -> bool {
    config.mirror.profile != sidecar_config::Profile::Sync
}

fn keep<T>(result: Result<T, String>, problems: &mut Vec<String>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

/// The secret keys that a configuration names.
pub(crate) fn load_identity(config: &Config) -> Result<Option<Identity>, String> {
    let Some(path) = &config.identity.secret_file else {
        return if config.modes.need_identity() {
            Err("identity.secretFile: is missing; make one with `hoft keygen`".to_owned())
        } else {
            Ok(None)
        };
    };
    let mut identity = read_identity("identity.secretFile", path, config)?;
    for (index, path) in config.identity.retired_files.iter().enumerate() {
        let field = format!("identity.retiredFiles[{index}]");
        let retired = read_identity(&field, path, config)?;
        identity = identity
            .with_retired(retired)
            .map_err(|error| format!("{field}: {}: {}", path.display(), chain(&error)))?;
    }
    Ok(Some(identity))
}

fn read_identity(field: &str, path: &Path, config: &Config) -> Result<Identity, String> {
    let bytes = disk::secret::read_secret_file(path, config.identity.allow_readable)
        .map_err(|error| format!("{field}: {}", chain(&error)))?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| format!("{field}: {} is not text; make a new one with `hoft keygen`", path.display()))?;
    let identity =
        Identity::parse_secret(text).map_err(|error| format!("{field}: {}: {}", path.display(), chain(&error)))?;
    if identity.side() != config.local.name.as_str() {
        return Err(format!(
            "{field}: {} holds the keys of side `{}`, but local.name is `{}`; name the right file",
            path.display(),
            identity.side(),
            config.local.name
        ));
    }
    Ok(identity)
}

/// The pinned keys that a configuration names.
pub(crate) fn load_peer_keys(config: &Config) -> Result<PeerKeys, String> {
    let mut tokens = config.remote.keys.clone();
    for path in &config.remote.key_files {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("remote.keyFiles: {} cannot be read: {error}", path.display()))?;
        tokens.push(text.trim().to_owned());
    }
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let mut suites: Vec<Suite> = config.modes.accept.iter().map(|mode| suite(*mode)).collect();
    suites.push(suite(config.modes.send));
    let now_ms = i64::try_from(crate::driver::unix_ms()).unwrap_or(i64::MAX);
    let keys = PeerKeys::from_tokens(&tokens, config.remote.name.as_str(), &suites, now_ms)
        .map_err(|error| format!("remote.keys: {}", chain(&error)))?
        .with_revoked(&config.remote.revoked_keys);
    if config.modes.need_remote_keys() && keys.signing_ids().is_empty() {
        return Err(
            "remote.revokedKeys: every pinned token of the far side is revoked; pin a token of its new keys".to_owned()
        );
    }
    Ok(keys)
}
