//! What the picture shows, gathered from the ports of the engines and the summaries of the mirrors.
//!
//! Invariant: an engine that is down or answers strangely leaves gaps, never an error: the picture is no judge.
//! Test to read first: `a_status_of_any_shape_is_read_without_complaint`.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::client::Client;
use super::packets::{self, Packets};

/// How long the picture waits for an engine's status.
const PATIENCE: Duration = Duration::from_millis(150);

/// Where the numbers come from.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    /// Admin port of the near engine.
    pub(super) near: Client,
    /// Admin port of the far engine.
    pub(super) far: Client,
    /// Journals of the mirrors: from near to far, and back.
    pub(super) journals: [PathBuf; 2],
}

/// An engine as its status shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EngineView {
    /// Its peer acknowledged its records up to here.
    pub(super) acknowledged: u64,
    /// Its records end here.
    pub(super) appended: u64,
    /// Packets sent.
    pub(crate) packets: u64,
    /// Records sent once more.
    pub(super) resent: u64,
    /// The round trip, in milliseconds.
    pub(super) round_trip_ms: Option<u64>,
}

/// Everything from outside the demo's own process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// The near engine; `None` while it does not answer.
    pub(super) near: Option<EngineView>,
    /// The far engine.
    pub(super) far: Option<EngineView>,
    /// What the mirrors did so far: from near to far, and back.
    pub(super) mirrors: [Packets; 2],
}

impl View {
    /// This view; where an engine is silent, what was known of it before.
    pub(super) fn or(self, before: Self) -> Self {
        Self { near: self.near.or(before.near), far: self.far.or(before.far), ..self }
    }
}

impl Sources {
    /// Looks at everything once.
    pub(super) async fn look(&self) -> View {
        let (near, far) = tokio::join!(status(&self.near), status(&self.far));
        let mirrors = [packets::so_far(&self.journals[0]), packets::so_far(&self.journals[1])];
        View { near, far, mirrors }
    }
}

async fn status(admin: &Client) -> Option<EngineView> {
    let answer = tokio::time::timeout(PATIENCE, admin.get("/statusz")).await.ok()?.ok()?;
    serde_json::from_slice(&answer.beginning).ok().map(|value| engine_view(&value))
}

/// Adds up what a status says of all peers.
pub(crate) fn engine_view(status: &Value) -> EngineView {
    let mut view = EngineView::default();
    let peers = status.get("peers").and_then(Value::as_array);
    for peer in peers.into_iter().flatten() {
        let number = |name: &str| peer.get(name).and_then(Value::as_u64).unwrap_or_default();
        view.acknowledged += number("acknowledged");
        // `next` is the number of the record that comes next.
        view.appended += number("next").saturating_sub(1);
        view.packets += number("packets_sent");
        view.resent += number("records_resent");
        let srtt_ms = peer.get("srtt_ms").and_then(Value::as_f64).filter(|ms| ms.is_finite() && *ms >= 0.0);
        view.round_trip_ms = srtt_ms.map(|ms| Duration::from_secs_f64((ms / 1000.0).min(1e6)).as_millis() as u64);
    }
    view
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_of_any_shape_is_read_without_complaint() {
        for strange in [json!(null), json!({}), json!({"peers": 7}), json!({"peers": ["x", {"next": "y"}]})] {
            assert_eq!(engine_view(&strange), EngineView::default(), "{strange}");
        }
        let status =
            json!({"peers": [{"acknowledged": 3, "next": 8, "packets_sent": 2, "records_resent": 1, "srtt_ms": 12.6}]});
        let expected = EngineView { acknowledged: 3, appended: 7, packets: 2, resent: 1, round_trip_ms: Some(12) };
        assert_eq!(engine_view(&status), expected);
    }

    #[tokio::test]
    async fn engines_that_are_down_leave_a_gap() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let client = Client::new(nobody, Default::default());
        let sources =
            Sources { near: client.clone(), far: client, journals: ["/nowhere/a".into(), "/nowhere/b".into()] };
        assert_eq!(sources.look().await, View::default());
    }
}
