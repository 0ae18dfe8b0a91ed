//! The figures beside the headline: backlog both ways, round trip, clocks, calls, disk.
//!
//! Invariant: sums are over all peers; the round trip and the clocks are those of the peer that stands for the far side.
//! Test to read first: `a_backlog_shows_records_bytes_and_age`.

use super::html::{Html, put};
use super::samples::principal;
use super::watcher::Scene;
use super::words;
use crate::status::PeerView;

/// All of them.
pub(super) fn figures(scene: &Scene) -> Html {
    let status = &scene.status;
    let sum = |of: fn(&PeerView) -> u64| status.peers.iter().map(of).fold(0, u64::saturating_add);
    let mut html = Html::new();
    put!(html, "<dl class=\"figures\">");
    let waits = sum(|peer| peer.backlog_records);
    let oldest = status.peers.iter().filter_map(|peer| peer.oldest_unacknowledged_ms).max();
    let detail = match (waits, oldest) {
        (0, _) => "everything is acknowledged".to_owned(),
        (_, Some(ms)) => {
            format!("{}, the oldest for {}", words::bytes(sum(|peer| peer.backlog_bytes)), words::span(ms))
        }
        (_, None) => words::bytes(sum(|peer| peer.backlog_bytes)),
    };
    figure(&mut html, "Waiting to go out", &words::counted(waits, "record", "records"), &detail);
    let missing = sum(|peer| peer.peer_next.saturating_sub(peer.received_up_to.saturating_add(1)));
    let untaken = sum(|peer| peer.unconsumed_bytes);
    let detail = if untaken == 0 {
        "nothing waits for programs here".to_owned()
    } else {
        format!("{} wait for programs here", words::bytes(untaken))
    };
    figure(&mut html, "Waiting to come in", &words::counted(missing, "record", "records"), &detail);
    line(&mut html, scene);
    let open = words::counted(status.open_operations_total, "call", "calls");
    let executes = format!("{} of the far side", words::counted(status.executions, "call", "calls"));
    figure(&mut html, "Under way", &open, &executes);
    let results = format!("{} of kept results", words::bytes(status.results_bytes));
    figure(&mut html, "Log on disk", &words::bytes(status.log_bytes), &results);
    put!(html, "</dl>");
    html
}

/// Round trip and clocks.
fn line(html: &mut Html, scene: &Scene) {
    let peer = principal(&scene.status);
    match peer.and_then(|peer| peer.srtt_ms.map(|ms| (ms, peer.rttvar_ms))) {
        Some((ms, spread)) => {
            figure(html, "Round trip", &words::span_of(ms), &format!("give or take {}", words::span_of(spread)));
        }
        None => figure(html, "Round trip", "–", "not measured yet"),
    }
    match peer.and_then(|peer| peer.clock_offset) {
        Some(offset) => {
            let middle = offset.least_ms.midpoint(offset.most_ms);
            let spread = offset.most_ms.abs_diff(offset.least_ms) / 2;
            let which = match middle {
                0 => "the same",
                ..0 => "behind theirs",
                1.. => "ahead of theirs",
            };
            let detail = format!("ours is {which}, within {}", words::span(spread));
            figure(html, "Clocks differ by", &words::span(middle.unsigned_abs()), &detail);
        }
        None => figure(html, "Clocks differ by", "–", "not measured yet"),
    }
}

fn figure(html: &mut Html, name: &'static str, value: &str, detail: &str) {
    put!(html, "<div><dt>", name, "</dt><dd><b>", { value }, "</b><small>", { detail }, "</small></dd></div>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::EngineStatus;

    #[test]
    fn a_backlog_shows_records_bytes_and_age() {
        let peer = PeerView {
            backlog_records: 3,
            backlog_bytes: 2_048,
            oldest_unacknowledged_ms: Some(90_000),
            peer_next: 12,
            received_up_to: 9,
            unconsumed_bytes: 4_096,
            srtt_ms: Some(812.4),
            ..PeerView::default()
        };
        let other = PeerView { backlog_records: 1, backlog_bytes: 1_024, ..PeerView::default() };
        let status = EngineStatus { peers: vec![peer, other], ..EngineStatus::default() };
        let text = figures(&Scene { status, ..Scene::default() }).into_string();
        for part in
            ["4 records", "3.0 KiB, the oldest for 90 s", "2 records", "4.0 KiB wait for programs here", "812 ms"]
        {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn an_idle_engine_says_so() {
        let text = figures(&Scene::default()).into_string();
        assert!(text.contains("everything is acknowledged") && text.contains("not measured yet"), "{text}");
    }
}
