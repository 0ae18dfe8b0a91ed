//! What the driver decides about one peer: policy, sizes and identities. Nothing here changes during the life of a [`crate::Peer`].

use crate::time::Duration;
use alloc::string::String;
use wire::control::EndpointName;
use wire::{EndpointId, Incarnation};

/// Policy for one peer. Sizes are bytes.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a file is expected to take one way, before anything was measured. The first probe timeout is twice this. Default 15 s.
    pub expected_latency: Duration,
    /// A bulk packet is closed at this size, headers of records included. Default 64 MB.
    pub packet_bytes_target: u64,
    /// Disk set aside for what the peer sends and nobody consumed yet: the window of log credit. Default 256 MiB.
    pub receive_pool_bytes: u64,
    /// How far one stream of the peer may run ahead of its consumer. Default 64 MiB.
    pub stream_window_bytes: u64,
    /// How far it may at most, if a round trip is so long that the window holds it back: then its window doubles. Less than
    /// [`Self::stream_window_bytes`]: windows stay as they are. Default 0.
    pub stream_window_bytes_max: u64,
    /// Exchanges the peer may have open at once. Default 256.
    pub exchanges_max: u64,
    /// Disk for records that the peer has not acknowledged yet. Default 1 GiB.
    pub send_log_bytes_max: u64,
    /// Clear length of a frame, and sum of the raw lengths in it, that this endpoint takes (LIMITS). At least 2 MiB. Default 16 MiB.
    pub max_frame: u64,
    /// Interval of heartbeats while idle; `None`: a quarter of the round trip, between 5 s and 5 min.
    pub heartbeat: Option<Duration>,
    /// Maximum packet lifetime: after that a packet is neither waited for nor kept. Default 7 days.
    pub mpl: Duration,
    /// Name and version told to the peer, at most 64 bytes.
    pub software: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            expected_latency: Duration::from_secs(15),
            packet_bytes_target: 64_000_000,
            receive_pool_bytes: 256 << 20,
            stream_window_bytes: 64 << 20,
            stream_window_bytes_max: 0,
            exchanges_max: 256,
            send_log_bytes_max: 1 << 30,
            max_frame: 1 << 24,
            heartbeat: None,
            mpl: Duration::from_secs(7 * 86_400),
            software: String::from("hoft"),
        }
    }
}

/// Who talks to whom.
#[derive(Clone)]
pub struct Ids {
    /// This endpoint.
    pub me: EndpointId,
    /// Kind and name that `me` is derived from.
    pub my_name: EndpointName,
    /// The life of this endpoint's log.
    pub my_incarnation: Incarnation,
    /// The endpoint at the other end.
    pub peer: EndpointId,
    /// Durable, and new with each incarnation: what the nonces of HELLO are derived from. Never leaves the process.
    pub nonce_secret: [u8; 32],
}

impl core::fmt::Debug for Ids {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Ids")
            .field("me", &self.me)
            .field("my_incarnation", &self.my_incarnation)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
