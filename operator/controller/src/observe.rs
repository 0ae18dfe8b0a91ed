//! What an engine says of itself: the part of `/statusz` that the operator reads.
//!
//! Unknown fields are skipped and missing ones have defaults, so operators and engines of neighbouring versions get along.
//! Test to read first: `tests::what_the_engine_writes_is_read`.

use serde::Deserialize;

/// `/statusz` of one engine.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct EngineStatus {
    /// Version of the engine.
    pub version: String,
    /// Its endpoint, as UUID.
    pub endpoint: String,
    /// It has opened its log and takes calls.
    pub started: bool,
    /// Its side's public key token.
    pub public_key: Option<String>,
    /// Its fingerprint.
    pub fingerprint: Option<String>,
    /// Why packets cannot be published, if they cannot.
    pub outbox_failure: Option<String>,
    /// Why the log cannot be written, if it cannot.
    pub log_failure: Option<String>,
    /// The log takes no more.
    pub log_full: bool,
    /// The oldest operations begun here and not ended.
    pub open_operations: Vec<OpenOperation>,
    /// How many there are in all.
    pub open_operations_total: u64,
    /// Endpoints of the far side.
    pub peers: Vec<Peer>,
}

/// An operation begun at an engine and not ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct OpenOperation {
    /// Its id.
    pub id: String,
    /// How far it got.
    pub state: String,
}

/// An endpoint of the far side, as an engine sees it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Peer {
    /// Its endpoint, as UUID.
    pub endpoint: String,
    /// `never_seen`, `alive` or `silent`.
    pub alive: String,
    /// Time since its last packet.
    pub last_heard_ms_ago: Option<u64>,
    /// A stable word.
    pub diagnosis_name: String,
    /// The same for people.
    pub diagnosis: String,
    /// What it runs.
    pub software: String,
    /// The engine's incarnation towards it.
    pub my_incarnation: String,
    /// How long the oldest record waits at least.
    pub oldest_unacknowledged_ms: Option<u64>,
    /// Bytes that it did not acknowledge.
    pub backlog_bytes: u64,
}
