//! Allow rules: what apps here may call, and what the far side may call here.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What apps here may call on the far side.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbound {
    /// The rules. Each is also a route: `http://localhost:8470/to/<name>/…` leads to its first destination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub allow: Vec<OutboundRule>,
}

/// One outbound rule.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboundRule {
    /// Name of the rule and of its route.
    #[schemars(length(min = 1, max = 40), regex(pattern = crate::bounds::NAME))]
    pub name: String,
    /// Who may call. Default: every pod with an engine of this peering.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub callers: Vec<Caller>,
    /// What may be called.
    #[schemars(length(min = 1, max = 16))]
    pub destinations: Vec<Destination>,
    /// How long a caller is held before it is told where to fetch the answer later. Default: 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 20), regex(pattern = crate::bounds::DURATION))]
    pub timeout: Option<String>,
    /// How much may be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
}

/// Who may call.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Caller {
    /// Service account of the calling pod.
    #[schemars(length(min = 1, max = 253), regex(pattern = crate::bounds::OBJECT_NAME))]
    pub service_account: String,
}

/// How much a rule's callers may use.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// Calls a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub requests_per_minute: Option<i32>,
    /// Bytes a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), regex(pattern = crate::bounds::SIZE))]
    pub bytes_per_day: Option<String>,
    /// Calls unfinished at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub max_in_flight: Option<i32>,
}

/// What the far side may call here.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inbound {
    /// The rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub allow: Vec<InboundRule>,
}

/// One inbound rule.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboundRule {
    /// Name of the rule.
    #[schemars(length(min = 1, max = 40), regex(pattern = crate::bounds::NAME))]
    pub name: String,
    /// Whose calls it allows.
    #[schemars(length(min = 1, max = 32))]
    pub from: Vec<From>,
    /// What may be called.
    #[schemars(length(min = 1, max = 16))]
    pub destinations: Vec<Destination>,
    /// The server that really answers. Default: the host that the call names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Networks (10.0.0.0/8) that may be connected to although they are private or otherwise special. A serviceRef's own addresses need no entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 2, max = 50), regex(pattern = crate::bounds::NETWORK)))]
    pub addresses: Vec<String>,
    /// How long the called server may take to begin its response. Default: 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 20), regex(pattern = crate::bounds::DURATION))]
    pub timeout: Option<String>,
}

/// Whose calls an inbound rule allows.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct From {
    /// Name of the far side: spec.remote.name.
    #[schemars(length(min = 1, max = 40), regex(pattern = crate::bounds::NAME))]
    pub peer: String,
    /// Service account of the calling pod, as the far side states it. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = crate::bounds::OBJECT_NAME))]
    pub caller: Option<String>,
}

/// Something that may be called.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("!has(self.paths) || self.paths.all(p, p.startsWith('/') && !p.contains('..'))").message("destinations[].paths must begin with / and hold no `..`"))]
pub struct Destination {
    /// Schemes. Default: https.
    #[serde(default = "https_only")]
    #[schemars(length(min = 1, max = 2))]
    pub schemes: Vec<Scheme>,
    /// A host name, an IP address, or `*.` and a suffix.
    #[schemars(length(min = 1, max = 253), regex(pattern = crate::bounds::HOST))]
    pub host: String,
    /// Port. Default: that of the scheme.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Methods.
    #[schemars(length(min = 1, max = 10))]
    pub methods: Vec<Method>,
    /// Beginnings of paths, matched segment by segment. Default: every path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 256)))]
    pub paths: Vec<String>,
}

fn https_only() -> Vec<Scheme> {
    vec![Scheme::Https]
}

/// A scheme.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// With TLS.
    Https,
    /// Without.
    Http,
}

impl Scheme {
    /// The word of URLs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }
}

/// A method (RFC 9110 §9, RFC 5789).
#[derive(schemars::JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
    /// TRACE
    Trace,
    /// CONNECT
    Connect,
}

impl Method {
    /// The word of requests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Connect => "CONNECT",
        }
    }
}

/// The server that really answers: a Service, or a URL.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.serviceRef) != has(self.url)").message("inbound.allow[].target needs either serviceRef or url, and not both"),
    validation = Rule::new("!has(self.tls) || !has(self.url) || self.url.startsWith('https://')").message("inbound.allow[].target.tls needs a url that begins with https://"),
)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// A Service of this namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_ref: Option<ServiceRef>,
    /// Scheme, host and port, without a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 300), regex(pattern = crate::bounds::URL))]
    pub url: Option<String>,
    /// How the server proves who it is. Present: https.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TargetTls>,
}

/// A Service of the same namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRef {
    /// Name of the Service.
    #[schemars(length(min = 1, max = 63), regex(pattern = crate::bounds::NAME))]
    pub name: String,
    /// Its port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
}

/// How a called server proves who it is.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetTls {
    /// A Secret whose key `ca.crt` holds the only authorities to trust.
    #[serde(rename = "caSecretRef", skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<crate::peering::SecretRef>,
}
