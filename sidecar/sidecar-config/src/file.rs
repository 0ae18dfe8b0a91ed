//! The file as it is written: the shape of the YAML, before anything in it is judged.
//!
//! The operator fills a [`ConfigFile`] and writes it with [`ConfigFile::to_yaml`]; [`crate::parse`] reads one and
//! checks it into a [`crate::Config`]. Names, hosts, addresses and the like are plain text here, so that all that is
//! wrong with them can be reported together. Unknown fields are refused everywhere.
//! Test to read first: `what_the_operator_writes_the_engine_reads` in `read/tests.rs`.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::{
    cache::Cache,
    callbacks::Callbacks,
    far_side::{Cookies, Credential, Headers, OAuth},
    interception::Interception,
    quantity,
    quota::Quota,
    rule::Retry,
    section::{EndpointKind, Folders, Heartbeat, Identity, Limits, Log, Mirror, Outbox, State},
    tunnels::Tunnels,
};

/// The version of the file format that this program reads and writes.
pub const VERSION: u32 = 1;

/// A whole configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigFile {
    /// Version of the file format: 1. No default.
    pub version: u32,
    /// This side. No default.
    pub local: Local,
    /// The far side. No default.
    pub remote: Remote,
    /// Tells apart peerings whose sides have the same names; the same text on both sides. Default: empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub realm: String,
    /// This side's secret keys.
    #[serde(default)]
    pub identity: Identity,
    /// How packets are protected.
    #[serde(default)]
    pub modes: Modes,
    /// Must be true for `Checksum`, which proves nothing about who wrote a packet. Default: false.
    #[serde(default)]
    pub allow_unauthenticated: bool,
    /// The mirrored folders. No default.
    pub folders: Folders,
    /// Bounds on what is written into the outbox folder. Default: none.
    #[serde(default, skip_serializing_if = "Outbox::is_default")]
    pub outbox: Outbox,
    /// The durable state. No default.
    pub state: State,
    /// What is known of the mirroring service.
    #[serde(default)]
    pub mirror: Mirror,
    /// The local ports.
    #[serde(default)]
    pub listen: Listen,
    /// How an idle engine shows that it is alive.
    #[serde(default)]
    pub heartbeat: Heartbeat,
    /// What may be called on the far side. Default: nothing.
    #[serde(default)]
    pub outbound: Outbound,
    /// What the far side may call here. Default: nothing.
    #[serde(default)]
    pub inbound: Inbound,
    /// To whom results and events may be reported. Default: nobody.
    #[serde(default, skip_serializing_if = "Callbacks::is_default")]
    pub callbacks: Callbacks,
    /// Whether the engine ends the TLS of its callers itself.
    #[serde(default, skip_serializing_if = "Interception::is_default")]
    pub interception: Interception,
    /// Bounds on what callers and the peer may use.
    #[serde(default)]
    pub limits: Limits,
    /// What the engine writes to its standard error.
    #[serde(default)]
    pub log: Log,
}

impl ConfigFile {
    /// A file that names the sides and folders and leaves the rest at its defaults: it allows no call.
    #[must_use]
    pub fn new(local: &str, remote: &str, folders: Folders, state_folder: PathBuf) -> Self {
        Self {
            version: VERSION,
            local: Local::new(local),
            remote: Remote {
                name: remote.to_owned(),
                keys: Vec::new(),
                key_files: Vec::new(),
                revoked_keys: Vec::new(),
                forget_after: None,
            },
            realm: String::new(),
            identity: Identity::default(),
            modes: Modes::default(),
            allow_unauthenticated: false,
            folders,
            outbox: Outbox::default(),
            state: State::in_folder(state_folder),
            mirror: Mirror::default(),
            listen: Listen::default(),
            heartbeat: Heartbeat::default(),
            outbound: Outbound::default(),
            inbound: Inbound::default(),
            callbacks: Callbacks::default(),
            interception: Interception::default(),
            limits: Limits::default(),
            log: Log::default(),
        }
    }

    /// The file's text; the same file gives the same text every time.
    ///
    /// # Errors
    /// A value that YAML cannot hold, such as a path that is not UTF-8.
    pub fn to_yaml(&self) -> Result<String, ToYamlError> {
        serde_yaml::to_string(self).map_err(|error| ToYamlError { cause: error.to_string() })
    }
}

/// A [`ConfigFile`] holds a value that YAML cannot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration cannot be written as YAML: {cause}")]
pub struct ToYamlError {
    cause: String,
}

/// This side, as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Local {
    /// Name of this side: `[a-z0-9-]`, 1 to 63 characters. No default.
    pub name: String,
    /// Name of this endpoint: its ordinal (`gateway`) or its pod's UID (`pod`). Default: "0".
    #[serde(default = "Local::first_endpoint")]
    pub endpoint: String,
    /// What the endpoint is named by. Default: `gateway`.
    #[serde(default)]
    pub kind: EndpointKind,
    /// Kubernetes namespace of the programs that call here, told to the far side. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Service account of the programs that call here: what rules with `callers` ask for. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// This endpoint's share of the far side's new calls, beside other endpoints of this side that execute them. Default: 1.
    #[serde(default = "Local::usual_weight", skip_serializing_if = "Local::is_usual")]
    pub weight: u32,
}

impl Local {
    /// The side's first stand-alone engine, with no caller named.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            endpoint: Self::first_endpoint(),
            kind: EndpointKind::default(),
            namespace: None,
            service_account: None,
            weight: Self::usual_weight(),
        }
    }

    fn usual_weight() -> u32 {
        1
    }

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    fn is_usual(weight: &u32) -> bool {
        *weight == Self::usual_weight()
    }

    fn first_endpoint() -> String {
        "0".to_owned()
    }
}

/// The far side, as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Remote {
    /// Name of the far side. No default.
    pub name: String,
    /// Public key tokens (`hoft1…`) of the far side. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Files that hold one public key token each. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_files: Vec<PathBuf>,
    /// Ids of signing keys of the far side that are believed no more, 16 hex digits each. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked_keys: Vec<String>,
    /// Silence after which an endpoint of the far side that is not its gateway 0 is forgotten. Default: the larger of 24h
    /// and four loss timeouts.
    #[serde(with = "quantity::duration_option", default, skip_serializing_if = "Option::is_none")]
    pub forget_after: Option<Duration>,
}

/// How packets are protected, as written: `Checksum`, `Signed` or `Sealed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Modes {
    /// What this side sends. Default: `Sealed`.
    pub send: String,
    /// What this side accepts. Default: what it sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept: Option<Vec<String>>,
}

impl Default for Modes {
    fn default() -> Self {
        Self { send: "Sealed".to_owned(), accept: None }
    }
}

/// The local ports, as written: `ADDRESS:PORT`; port 0 takes any free one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Listen {
    /// Where applications call. Default: 127.0.0.1:8470.
    pub proxy: String,
    /// Where operators look: health, status, metrics. Default: 127.0.0.1:9470.
    pub admin: String,
    /// Host names, besides localhost, under which applications may address the proxy port. Default: none.
    pub names: Vec<String>,
    /// Must be true for a proxy address that other machines can reach. Default: false.
    pub allow_remote: bool,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            proxy: "127.0.0.1:8470".to_owned(),
            admin: "127.0.0.1:9470".to_owned(),
            names: Vec::new(),
            allow_remote: false,
        }
    }
}

/// What may be called on the far side, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Outbound {
    /// Rules; a call that none of them allows is refused at once. Default: none.
    pub allow: Vec<OutboundRule>,
}

/// One outbound rule, as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutboundRule {
    /// Name of the rule, and of its route. No default.
    pub name: String,
    /// What may be called. No default.
    #[serde(default)]
    pub destinations: Vec<Destination>,
    /// Who may use the rule: only an engine whose service account is listed has it. Default: every caller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callers: Vec<Caller>,
    /// Where the route `/to/NAME/` leads; without it there is no route. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// How long a caller is held before it is told to come back for the answer. Default: 60s.
    #[serde(with = "quantity::duration", default = "default_timeout")]
    pub timeout: Duration,
    /// How much all calls of the rule together may use. Default: no bound.
    #[serde(default, skip_serializing_if = "Quota::is_default")]
    pub quota: Quota,
    /// How much the calls from one client address may use. Default: no bound.
    #[serde(default, skip_serializing_if = "Quota::is_default")]
    pub caller_quota: Quota,
    /// Whether responses are kept to be used again. Default: they are not.
    #[serde(default, skip_serializing_if = "Cache::is_default")]
    pub cache: Cache,
    /// Byte streams of the rule.
    #[serde(default, skip_serializing_if = "Tunnels::is_default")]
    pub tunnels: Tunnels,
}

impl OutboundRule {
    /// A rule for every caller, without a route.
    #[must_use]
    pub fn new(name: &str, destinations: Vec<Destination>) -> Self {
        Self {
            name: name.to_owned(),
            destinations,
            callers: Vec::new(),
            target: None,
            timeout: default_timeout(),
            quota: Quota::default(),
            caller_quota: Quota::default(),
            cache: Cache::default(),
            tunnels: Tunnels::default(),
        }
    }
}

/// A local caller, as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Caller {
    /// Its Kubernetes service account. No default.
    pub service_account: String,
}

/// What the far side may call here, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Inbound {
    /// Rules; a call that none of them allows is refused. Default: none.
    pub allow: Vec<InboundRule>,
    /// Networks that no rule reaches by a wide entry of its `addresses`, such as a cluster's own. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny_addresses: Vec<String>,
}

/// One inbound rule, as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InboundRule {
    /// Name of the rule. No default.
    pub name: String,
    /// What may be called. No default.
    #[serde(default)]
    pub destinations: Vec<Destination>,
    /// Service accounts of the far side that may use the rule, as the far side states them. Default: every caller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callers: Vec<String>,
    /// The server that calls are made to, whatever host they name: `http(s)://host[:port]`. Default: the named host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Networks that may be connected to although they are loopback, private or otherwise special. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// How long the called server may take to begin its response. Default: 60s.
    #[serde(with = "quantity::duration", default = "default_timeout")]
    pub timeout: Duration,
    /// Which calls are made again when it is unknown whether they were made. Default: `idempotent`.
    #[serde(default)]
    pub retry: Retry,
    /// Largest body of a request or response. Default: `limits.bodyMax`.
    #[serde(with = "quantity::size_option", default, skip_serializing_if = "Option::is_none")]
    pub max_body: Option<ByteSize>,
    /// How the called server proves who it is.
    #[serde(default, skip_serializing_if = "Tls::is_default")]
    pub tls: Tls,
    /// Byte streams of the rule.
    #[serde(default, skip_serializing_if = "Tunnels::is_default")]
    pub tunnels: Tunnels,
    /// Which fields of requests pass. Default: every end-to-end field.
    #[serde(default, skip_serializing_if = "Headers::is_default")]
    pub request_headers: Headers,
    /// Which fields of responses pass. Default: every end-to-end field.
    #[serde(default, skip_serializing_if = "Headers::is_default")]
    pub response_headers: Headers,
    /// Fields that are added to requests, by name. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub credentials: BTreeMap<String, Credential>,
    /// Whether the caller's own Authorization and Cookie pass although the rule adds fields. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pass_authorization: bool,
    /// Whence the access token of the rule's calls comes. Default: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth: Option<OAuth>,
    /// What becomes of cookies. Default: `pass`.
    #[serde(default, skip_serializing_if = "Cookies::is_default")]
    pub cookies: Cookies,
}

impl InboundRule {
    /// A rule for every caller, with everything else at its default.
    #[must_use]
    pub fn new(name: &str, destinations: Vec<Destination>) -> Self {
        Self {
            name: name.to_owned(),
            destinations,
            callers: Vec::new(),
            target: None,
            addresses: Vec::new(),
            timeout: default_timeout(),
            retry: Retry::default(),
            max_body: None,
            tls: Tls::default(),
            tunnels: Tunnels::default(),
            request_headers: Headers::default(),
            response_headers: Headers::default(),
            credentials: BTreeMap::new(),
            pass_authorization: false,
            oauth: None,
            cookies: Cookies::default(),
        }
    }
}

/// How a called server proves who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Tls {
    /// PEM file of the only authorities to trust. Default: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

impl Tls {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Something that may be called, as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Destination {
    /// `https`, `http` or both. Default: `[https]`.
    #[serde(default = "Destination::https_only")]
    pub schemes: Vec<String>,
    /// A host name, an IP address, or `*.` and a suffix. No default.
    pub host: String,
    /// Port. Default: 443 for https, 80 for http; none when both schemes are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Methods, or `["*"]` for any. No default.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Beginnings of paths. Default: `["/"]`, every path.
    #[serde(default = "Destination::every_path")]
    pub paths: Vec<String>,
}

impl Destination {
    fn https_only() -> Vec<String> {
        vec!["https".to_owned()]
    }

    fn every_path() -> Vec<String> {
        vec!["/".to_owned()]
    }
}

fn default_timeout() -> Duration {
    Duration::from_secs(60)
}
