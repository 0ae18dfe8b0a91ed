//! The checked configuration: what the engine reads.
//!
//! Invariants: a [`Config`] comes only from [`crate::parse`] or [`crate::load`], so it holds no contradiction that the
//! file alone can show, and every path in it is resolved against the file's folder.
//! It does not say whether folders exist, keys are valid or ports are free: only the engine can.
//! Test to read first: `the_smallest_file_is_enough` in `read/tests.rs`.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use crate::{
    callbacks::CallbackSettings,
    interception::Interception,
    name::Name,
    problem::Refusal,
    rule::{InboundRule, OutboundRule},
    section::{EndpointKind, Folders, Heartbeat, Identity, Limits, Log, Mirror, Outbox, State},
};

/// The configuration of one engine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// This side.
    pub local: Local,
    /// The far side.
    pub remote: Remote,
    /// Tells apart peerings whose sides have the same names; often empty.
    pub realm: String,
    /// This side's secret keys.
    pub identity: Identity,
    /// How packets are protected.
    pub modes: Modes,
    /// The mirrored folders.
    pub folders: Folders,
    /// Bounds on what is written into the outbox folder.
    pub outbox: Outbox,
    /// The durable state.
    pub state: State,
    /// What is known of the mirroring service.
    pub mirror: Mirror,
    /// The local ports.
    pub listen: Listen,
    /// How an idle engine shows that it is alive.
    pub heartbeat: Heartbeat,
    /// What may be called on the far side.
    pub outbound: Outbound,
    /// What the far side may call here.
    pub inbound: Inbound,
    /// To whom results and events may be reported.
    pub callbacks: CallbackSettings,
    /// Whether the engine ends the TLS of its callers itself.
    pub interception: Interception,
    /// Bounds on what callers and the peer may use.
    pub limits: Limits,
    /// What the engine writes to its standard error.
    pub log: Log,
}

/// This side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Name of this side.
    pub name: Name,
    /// Name of this endpoint within its kind: an ordinal in decimal, or a pod's UID in lower case.
    pub endpoint: String,
    /// What the endpoint is named by.
    pub kind: EndpointKind,
    /// Kubernetes namespace of the programs that call here.
    pub namespace: Option<String>,
    /// Service account of the programs that call here.
    pub service_account: Option<String>,
    /// Share of the far side's new calls that this endpoint wants, beside others of its side; 0: only if there is no other.
    pub weight: u32,
}

/// The far side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Name of the far side; differs from the local one.
    pub name: Name,
    /// Public key tokens, white space removed; they begin with `hoft1` and are not decoded yet.
    pub keys: Vec<String>,
    /// Files that hold one public key token each.
    pub key_files: Vec<PathBuf>,
    /// Ids of signing keys that are believed no more.
    pub revoked_keys: Vec<[u8; 8]>,
    /// Silence after which an endpoint of the far side that is not its gateway 0 is forgotten; at least four loss timeouts.
    pub forget_after: Duration,
}

/// How packets are protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modes {
    /// What this side sends.
    pub send: Mode,
    /// What this side accepts: at least one, each once.
    pub accept: Vec<Mode>,
}

impl Modes {
    /// Whether this side needs the far side's public keys.
    #[must_use]
    pub fn need_remote_keys(&self) -> bool {
        self.send == Mode::Sealed || self.accept.iter().any(|mode| *mode != Mode::Checksum)
    }

    /// Whether this side needs its own secret keys.
    #[must_use]
    pub fn need_identity(&self) -> bool {
        self.send != Mode::Checksum || self.accept.contains(&Mode::Sealed)
    }
}

/// How a packet is protected: a suite of the wire format (§4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// A digest only: proves nothing about who wrote the packet.
    Checksum,
    /// Signed, readable by scanners.
    Signed,
    /// Signed and encrypted.
    Sealed,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Checksum, Self::Signed, Self::Sealed];

    /// The mode as the file writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Checksum => "Checksum",
            Self::Signed => "Signed",
            Self::Sealed => "Sealed",
        }
    }

    /// The number of the suite in a packet's header.
    #[must_use]
    pub fn suite_number(self) -> u16 {
        match self {
            Self::Checksum => 1,
            Self::Signed => 2,
            Self::Sealed => 3,
        }
    }
}

impl FromStr for Mode {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text).ok_or_else(|| {
            let remedy = Self::ALL
                .into_iter()
                .find(|mode| mode.as_str().eq_ignore_ascii_case(text))
                .map_or_else(|| "write Sealed, Signed or Checksum".to_owned(), |mode| format!("write {mode}"));
            Refusal::new(format!("`{text}` is not a mode"), remedy)
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The local ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where applications call; port 0 means any free one.
    pub proxy: SocketAddr,
    /// Where operators look; port 0 means any free one.
    pub admin: SocketAddr,
    /// Host names, besides localhost, under which applications may address the proxy port; lower case, no port.
    pub names: Vec<String>,
    /// Whether `proxy` may be an address that other machines can reach.
    pub allow_remote: bool,
}

/// What may be called on the far side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outbound {
    /// The rules; their names differ.
    pub allow: Vec<OutboundRule>,
}

/// What the far side may call here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inbound {
    /// The rules; their names differ.
    pub allow: Vec<InboundRule>,
    /// Networks that no rule reaches unless it lists the very address.
    pub deny_addresses: Vec<ipnet::IpNet>,
}
