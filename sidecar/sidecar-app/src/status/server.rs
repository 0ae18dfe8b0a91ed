//! An endpoint of the far side that announced that it executes calls, as `/statusz` shows it.
//!
//! Invariant: what layer 1 knows of it, in words and milliseconds. It decides nothing. Test to read first:
//! `json_is_the_documented_one` in `status/tests.rs`.

use layer1_replication::membership::ServerStatus;
use serde::Serialize;
use wire::control::Presence;

/// One server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServerView {
    /// Its endpoint, as UUID.
    pub endpoint: String,
    /// What it is named by: `gateway`.
    pub kind: String,
    /// Its name: an ordinal.
    pub name: String,
    /// The life of its log that this is about.
    pub incarnation: String,
    /// It said that it executes calls.
    pub executes: bool,
    /// It said that it wants no new ones.
    pub draining: bool,
    /// Its share of new calls.
    pub weight: u64,
    /// How long what it said last, or its last packet, still counts.
    pub valid_for_ms: u64,
    /// `live`, `candidate` (announced, not yet heard), `silent` or `draining`.
    pub standing: &'static str,
    /// Calls that it got from this engine since the start.
    pub calls: u64,
}

impl ServerView {
    /// How a server is shown that got so many calls.
    #[must_use]
    pub fn new(server: &ServerStatus, calls: u64) -> Self {
        Self {
            endpoint: server.endpoint.to_string(),
            kind: server.name.kind.clone(),
            name: server.name.name.clone(),
            incarnation: server.incarnation.to_string(),
            executes: server.role & Presence::ROLE_EXECUTES != 0,
            draining: server.role & Presence::ROLE_DRAINING != 0,
            weight: server.weight,
            valid_for_ms: u64::try_from(server.valid_for.as_millis()).unwrap_or(u64::MAX),
            standing: server.standing.name(),
            calls,
        }
    }
}
