//! The sections that mean the same in the file and in the engine: nothing in them needs translating.
//!
//! Invariant: every default stands in one `Default` implementation here, and nowhere else.
//! It does not check; `check` does. After [`crate::parse`] the paths are resolved against the file's folder.
//! Test to read first: `an_empty_section_has_the_documented_defaults` in `read/tests.rs`.

use std::{path::PathBuf, time::Duration};

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::{cache::Cache, quantity};

/// What an endpoint is named by (wire format §13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointKind {
    /// A stand-alone engine or one pod of a gateway: named by its ordinal.
    #[default]
    Gateway,
    /// An engine in an application's pod: named by the pod's UID.
    Pod,
}

impl EndpointKind {
    /// The kind as it goes into the endpoint's id.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Pod => "pod",
        }
    }
}

/// Where this side's secret keys are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Identity {
    /// File of the secret keys. Default: none, which does for nothing but `Checksum` and for accepting `Signed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Files of other secret keys of this side, earlier or to come: they only open what is sealed to them. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retired_files: Vec<PathBuf>,
    /// Whether the files may be readable by others than their owner, as mounted Kubernetes Secrets are. Default: false.
    pub allow_readable: bool,
}

/// The mirrored folders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Folders {
    /// Folder that the mirror carries to the far side; the engine writes it. No default.
    pub outbox: PathBuf,
    /// Folder into which the mirror puts what comes from the far side; the engine reads it. No default.
    pub inbox: PathBuf,
    /// How packets are named below the outbox. Default: `tree`.
    #[serde(default)]
    pub layout: Layout,
    /// When a packet is synced to the disk before it is published. Default: `auto`.
    #[serde(default)]
    pub publish_sync: PublishSync,
}

/// How packets are named below a mirrored folder (wire format §13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// One folder per endpoint pair, incarnation and shard.
    #[default]
    Tree,
    /// All packets in one folder, for mirrors that do not carry subfolders.
    Flat,
}

/// When a packet is synced to the disk before it is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PublishSync {
    /// Only on network file systems: nothing depends on an outbox file surviving a crash of this machine.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Bounds on what is written into the outbox folder. A bound that is not given does not bind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Outbox {
    /// Most packets a second, on average. Default: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files_per_second: Option<u32>,
    /// Most bytes a second, on average. Default: no bound.
    #[serde(with = "quantity::size_option", skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<ByteSize>,
    /// Own packets in the folder from which on only single ones are added. Default: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files_max: Option<u64>,
    /// Bytes of own packets in the folder from which on only single ones are added. Default: no bound.
    #[serde(with = "quantity::size_option", skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<ByteSize>,
}

impl Outbox {
    /// Nothing is bounded.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The durable state of the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct State {
    /// Folder of the log and the stored results; on a disk that is not mirrored. No default.
    pub folder: PathBuf,
    /// Most bytes of requests and responses that wait for the far side. Default: 1Gi.
    #[serde(with = "quantity::size", default = "State::send_log")]
    pub send_log: ByteSize,
    /// Most bytes received and not yet used: what the far side may send ahead. Default: 256Mi.
    #[serde(with = "quantity::size", default = "State::receive_pool")]
    pub receive_pool: ByteSize,
    /// Most bytes of stored responses that wait for their callers. Default: 256Mi.
    #[serde(with = "quantity::size", default = "State::results")]
    pub results: ByteSize,
    /// How long a finished operation and its result are kept. Default: 24h.
    #[serde(with = "quantity::duration", default = "State::result_ttl")]
    pub result_ttl: Duration,
}

impl State {
    /// The defaults, with the folder that has none.
    #[must_use]
    pub fn in_folder(folder: PathBuf) -> Self {
        Self {
            folder,
            send_log: Self::send_log(),
            receive_pool: Self::receive_pool(),
            results: Self::results(),
            result_ttl: Self::result_ttl(),
        }
    }

    fn send_log() -> ByteSize {
        ByteSize::gib(1)
    }

    fn receive_pool() -> ByteSize {
        ByteSize::mib(256)
    }

    fn results() -> ByteSize {
        ByteSize::mib(256)
    }

    fn result_ttl() -> Duration {
        Duration::from_secs(24 * 3600)
    }
}

/// What is known of the mirroring service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Mirror {
    /// What the mirror does with files and their deletion. Default: `Copy`.
    pub profile: Profile,
    /// How long a file usually takes one way; the first guess, replaced by measuring. Default: 15s.
    #[serde(with = "quantity::duration")]
    pub expected_latency: Duration,
    /// Largest file that the mirror carries. Default: 500M.
    #[serde(with = "quantity::size")]
    pub max_file_size: ByteSize,
    /// Size of a packet when there is much to send. Default: 64M.
    #[serde(with = "quantity::size")]
    pub packet_size: ByteSize,
    /// Longest pause between two looks into the inbox. Default: an eighth of `expectedLatency`, within 50ms and 10s.
    #[serde(with = "quantity::duration_option", skip_serializing_if = "Option::is_none")]
    pub poll_max: Option<Duration>,
    /// Shortest time without growth after which a short file counts as cut. Default: 1s.
    #[serde(with = "quantity::duration")]
    pub quiet_min: Duration,
    /// Age at which a packet file is deleted whatever became of it (MPL). Default: 168h.
    #[serde(with = "quantity::duration")]
    pub packet_lifetime: Duration,
}

impl Mirror {
    /// Longest pause between two looks into the inbox.
    #[must_use]
    pub fn poll_max(&self) -> Duration {
        self.poll_max
            .unwrap_or_else(|| (self.expected_latency / 8).clamp(Duration::from_millis(50), Duration::from_secs(10)))
    }
}

impl Default for Mirror {
    fn default() -> Self {
        Self {
            profile: Profile::Copy,
            expected_latency: Duration::from_secs(15),
            max_file_size: ByteSize::mb(500),
            packet_size: ByteSize::mb(64),
            poll_max: None,
            quiet_min: Duration::from_secs(1),
            packet_lifetime: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// What a mirror does with files and their deletion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// A file stays where it was written; a deletion is not carried over.
    #[default]
    Copy,
    /// A file vanishes here when it is picked up.
    Move,
    /// A deletion here deletes the copy there.
    Sync,
}

/// How an idle engine shows that it is alive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Heartbeat {
    /// Idle time after which a packet is sent only to show life. Default: adaptive, a quarter of the round trip within
    /// 5s and 5m.
    #[serde(with = "quantity::duration_option", skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// Silence after which the peer is shown as lost; nothing is torn down. Default: see [`Heartbeat::loss_timeout`].
    #[serde(with = "quantity::duration_option", skip_serializing_if = "Option::is_none")]
    pub loss_timeout: Option<Duration>,
}

impl Heartbeat {
    /// Silence after which the peer is shown as lost. Unless it was given: the largest of 2 minutes, four intervals
    /// and eight times the expected latency.
    #[must_use]
    pub fn loss_timeout(&self, expected_latency: Duration) -> Duration {
        self.loss_timeout.unwrap_or_else(|| {
            let beats = self.interval.unwrap_or_default().saturating_mul(4);
            Duration::from_secs(120).max(beats).max(expected_latency.saturating_mul(8))
        })
    }
}

/// Bounds on what callers and the peer may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Limits {
    /// Largest body of a request or response. Default: 256Mi.
    #[serde(with = "quantity::size")]
    pub body_max: ByteSize,
    /// Most bytes of all header fields of one message; at most 1Mi. Default: 64Ki.
    #[serde(with = "quantity::size")]
    pub header_bytes: ByteSize,
    /// Most connections open at once on the local port. Default: 1024.
    pub connections: u32,
    /// Most exchanges unfinished at once, in each direction. Default: 256.
    pub max_in_flight: u32,
    /// Most bytes of one body that are sent ahead of its reader. Default: 64Mi.
    #[serde(with = "quantity::size")]
    pub stream_window: ByteSize,
    /// Most bytes of kept responses, of all rules with a cache together. Default: 32Mi.
    #[serde(with = "quantity::size", skip_serializing_if = "Cache::is_usual_total")]
    pub cache_bytes: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_max: ByteSize::mib(256),
            header_bytes: ByteSize::kib(64),
            connections: 1024,
            max_in_flight: 256,
            stream_window: ByteSize::mib(64),
            cache_bytes: Cache::usual_total(),
        }
    }
}

/// What the engine writes to its standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Log {
    /// Shape of a line. Default: `text`.
    pub format: LogFormat,
    /// Least important line that is written. Default: `info`.
    pub level: LogLevel,
    /// Whether each call has a line at its end, whatever the level. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub access: bool,
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Least important line that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Only what stops the engine or loses a call.
    Error,
    /// Also what a person should look at.
    Warn,
    /// Also changes of state of a session.
    #[default]
    Info,
    /// Also the steps of one exchange.
    Debug,
    /// Also every packet.
    Trace,
}

impl LogLevel {
    /// The level as a log filter writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
