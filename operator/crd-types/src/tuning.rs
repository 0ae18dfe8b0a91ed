//! Limits, packets and heartbeats.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Bounds on what callers and the far side may use.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Most bytes a second into the outbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), regex(pattern = crate::bounds::SIZE))]
    pub bandwidth: Option<String>,
    /// Most calls unfinished at once, in each direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub max_in_flight: Option<i32>,
    /// Most bytes that wait for the far side.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), regex(pattern = crate::bounds::SIZE))]
    pub max_backlog: Option<String>,
    /// How long a finished call and its response are kept.
    #[serde(rename = "requestTTL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 20), regex(pattern = crate::bounds::DURATION))]
    pub request_ttl: Option<String>,
    /// Largest body of a request or response.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), regex(pattern = crate::bounds::SIZE))]
    pub max_body_size: Option<String>,
}

/// How packets are made.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("!has(self.minSize) || quantity(self.minSize).compareTo(quantity(self.maxSize)) <= 0").message("spec.packet.minSize must not exceed spec.packet.maxSize"))]
#[serde(rename_all = "camelCase")]
pub struct Packet {
    /// Size up to which more is waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), regex(pattern = crate::bounds::SIZE))]
    pub min_size: Option<String>,
    /// Size of a packet when there is much to send. Large files tend to arrive cut, small ones cost the mirror more.
    #[serde(default = "packet_size")]
    #[schemars(length(min = 1, max = 20), regex(pattern = crate::bounds::SIZE))]
    pub max_size: String,
    /// How long is waited for more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 20), regex(pattern = crate::bounds::DURATION))]
    pub flush_interval: Option<String>,
    /// Compression of sealed packets.
    #[serde(default)]
    pub compression: Compression,
    /// Parity packets for each hundred.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub redundancy: i32,
}

impl Default for Packet {
    fn default() -> Self {
        Self {
            min_size: None,
            max_size: packet_size(),
            flush_interval: None,
            compression: Compression::default(),
            redundancy: 0,
        }
    }
}

fn packet_size() -> String {
    "64Mi".to_owned()
}

/// How the content of packets is compressed.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compression {
    /// Zstandard, where it pays.
    #[default]
    Zstd,
    /// Not at all.
    None,
}

/// How an idle engine shows that it is alive.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("duration(self.interval) + duration(self.interval) + duration(self.interval) <= duration(self.lossTimeout)").message("spec.heartbeat.lossTimeout must be at least three times spec.heartbeat.interval"))]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// Idle time after which a packet (about 5 kB) is sent only to show life.
    #[serde(default = "interval")]
    #[schemars(length(min = 2, max = 20), regex(pattern = crate::bounds::DURATION))]
    pub interval: String,
    /// Silence after which the far side counts as lost. Nothing is torn down: calls go on waiting.
    #[serde(default = "loss_timeout")]
    #[schemars(length(min = 2, max = 20), regex(pattern = crate::bounds::DURATION))]
    pub loss_timeout: String,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { interval: interval(), loss_timeout: loss_timeout() }
    }
}

fn interval() -> String {
    "15s".to_owned()
}

fn loss_timeout() -> String {
    "2m".to_owned()
}
