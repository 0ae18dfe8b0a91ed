//! What an engine says of itself: the part of `/statusz` that the operator reads.
//!
//! Unknown fields are skipped and missing ones have defaults, so operators and engines of neighbouring versions get along.
//! Test to read first: `tests::what_the_engine_writes_is_read`.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

/// Most endpoints of the far side that are looked at.
const PEERS_MAX: usize = 1_024;
/// Most open operations that are looked at.
const OPERATIONS_MAX: usize = 32;

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
    #[serde(deserialize_with = "bounded::<_, _, OPERATIONS_MAX>")]
    pub open_operations: Vec<OpenOperation>,
    /// How many there are in all.
    pub open_operations_total: u64,
    /// Endpoints of the far side.
    #[serde(deserialize_with = "bounded::<_, _, PEERS_MAX>")]
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

/// A list of which no more than `MAX` are kept: whoever answers in an engine's place must not fill the memory.
fn bounded<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct First<T, const MAX: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for First<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut kept = Vec::new();
            while kept.len() < MAX {
                match list.next_element()? {
                    Some(one) => kept.push(one),
                    None => return Ok(kept),
                }
            }
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(kept)
        }
    }

    deserializer.deserialize_seq(First::<T, MAX>(PhantomData))
}

#[cfg(test)]
mod tests {
    //! Engines of other versions, and what is none.
    use super::*;

    #[test]
    fn what_the_engine_writes_is_read() {
        let status: EngineStatus = serde_json::from_str(
            r#"{"version":"9","later":{"x":1},"peers":[{"alive":"alive","later":2}],"open_operations":[{"id":"a"}]}"#,
        )
        .unwrap();
        assert_eq!((status.peers.len(), status.open_operations.len()), (1, 1));
    }

    #[test]
    fn a_flood_of_peers_is_cut() {
        let text = format!("{{\"peers\":[{}]}}", vec!["{}"; 50_000].join(","));
        let status: EngineStatus = serde_json::from_str(&text).unwrap();
        assert_eq!(status.peers.len(), PEERS_MAX);
    }
}
