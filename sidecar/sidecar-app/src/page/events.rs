//! The events of the page: the parts that changed, as HTML, once a second at most (`text/event-stream`).
//!
//! Invariants: an event holds only parts that differ from what this listener got before; a listener that does not read costs
//! the one event it has not taken; the stream ends with the engine, and on the admin port before its connection would be cut.
//! Test to read first: `only_what_changed_is_sent`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::watcher::Scene;
use super::{Facts, Filter, Page, Port, charts, parts, words};
use crate::body::{BodyError, BoxedBody};

/// Media type of the stream.
pub(super) const CONTENT_TYPE: &str = "text/event-stream";
/// The least time between two events.
const EVENT_PERIOD: Duration = Duration::from_secs(1);
/// Said when nothing changed for so long: whoever is gone is noticed by it.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Connections of the admin port are short; the browser comes again by itself.
const ADMIN_LIFE: Duration = Duration::from_secs(20);
/// After so many milliseconds a browser comes again.
const RETRY: &str = "retry: 1000\n\n";

/// What one listener has.
struct Listener {
    page: Arc<Page>,
    scene: watch::Receiver<Arc<Scene>>,
    known: Known,
    view: (Filter, Port),
    ends: Option<Instant>,
    next: Instant,
    begun: bool,
    _permit: OwnedSemaphorePermit,
}

/// The stream of one listener.
pub(super) fn stream(page: Arc<Page>, permit: OwnedSemaphorePermit, filter: Filter, port: Port) -> BoxedBody {
    let mut scene = page.scene.clone();
    // What is there already is the first event.
    scene.mark_changed();
    let ends = (port == Port::Admin).then(|| Instant::now() + ADMIN_LIFE);
    let (view, known) = ((filter, port), Known::default());
    let listener = Listener { page, scene, known, view, ends, next: Instant::now(), begun: false, _permit: permit };
    let frames = stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok::<_, BodyError>(Frame::data(event)), listener))
    });
    StreamBody::new(frames).boxed_unsync()
}

impl Listener {
    /// The next event. `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.begun, true) {
            return Some(Bytes::from_static(RETRY.as_bytes()));
        }
        let stop = self.page.stop.clone();
        let ends = self.ends;
        let over = async move {
            match ends {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => None,
            () = over => None,
            event = self.changed() => event,
        }
    }

    async fn changed(&mut self) -> Option<Bytes> {
        loop {
            sleep_until(self.next).await;
            self.next = Instant::now() + EVENT_PERIOD;
            self.page.wanted.notify_one();
            match timeout(SILENCE_MAX, self.scene.changed()).await {
                Ok(Ok(())) => {}
                // Nobody looks at the engine any more.
                Ok(Err(_)) => return None,
                Err(_) => return Some(Bytes::from_static(b":\n\n")),
            }
            let scene = Arc::clone(&self.scene.borrow_and_update());
            let (filter, port) = self.view;
            if let Some(event) = self.known.event(&scene, &self.page.facts, filter, port) {
                return Some(event.into());
            }
        }
    }
}

/// What a listener was told of each part.
#[derive(Default)]
struct Known(BTreeMap<&'static str, String>);

impl Known {
    /// The event of what differs. `None` if nothing does.
    fn event(&mut self, scene: &Scene, facts: &Facts, filter: Filter, port: Port) -> Option<String> {
        let mut changed = BTreeMap::new();
        for (id, html) in parts(scene, facts, filter, port).into_iter().chain([("cuts", charts::cuts(scene))]) {
            let html = html.into_string();
            if self.0.get(id) != Some(&html) {
                changed.insert(id, html.clone());
                self.0.insert(id, html);
            }
        }
        if changed.is_empty() {
            return None;
        }
        let live = format!("live, as of {}", words::moment(scene.status.now_ms));
        let data = serde_json::json!({ "live": live, "parts": changed });
        Some(format!("data: {data}\n\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_sent() {
        let (mut known, mut scene) = (Known::default(), Scene::default());
        let mut event = |scene: &Scene| known.event(scene, &Facts::of_test(), Filter::All, Port::Local);
        let ids = |event: &str| {
            let json: serde_json::Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
            json["parts"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        let first = event(&scene).unwrap();
        assert_eq!(ids(&first).len(), 9);
        assert!(first.ends_with("\n\n") && first.matches('\n').count() == 2, "{first}");
        assert_eq!(event(&scene), None);
        scene.status.log_bytes = 5_000_000;
        assert_eq!(ids(&event(&scene).unwrap()), ["figures"]);
        scene.status.inbox.cut_positions = [1; 10];
        assert_eq!(ids(&event(&scene).unwrap()), ["cuts"]);
    }
}
