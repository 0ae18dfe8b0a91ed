//! Tables of endpoints, servers and folders, and the numbers of packets.
//!
//! Invariant: each table has a caption and headers with a scope, and says what its emptiness means. Test to read first:
//! `names_from_outside_are_escaped`.

use super::health::Tone;
use super::html::{Html, put};
use super::watcher::Scene;
use super::words;
use crate::status::{FolderCondition, Liveness, PeerView};

/// Endpoints shown at most.
const PEERS_MAX: usize = 50;

/// Endpoints of the far side, and those of them that execute calls.
pub(super) fn peers(scene: &Scene) -> Html {
    let mut html = Html::new();
    if scene.status.peers.is_empty() {
        put!(
            html,
            "<p class=\"empty\">No endpoint of the far side is known yet. Check that it runs, and that the mirror fills the inbox folder.</p>"
        );
        return html;
    }
    put!(html, "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Endpoints of the far side\"><table>");
    put!(
        html,
        "<caption class=\"hidden\">Endpoints of the far side</caption><thead><tr><th scope=\"col\">Endpoint</th>"
    );
    put!(html, "<th scope=\"col\">State</th><th scope=\"col\">Heard</th><th scope=\"col\">Round trip</th>");
    put!(html, "<th scope=\"col\">Waits for it</th><th scope=\"col\">Takes calls</th></tr></thead><tbody>");
    for peer in scene.status.peers.iter().take(PEERS_MAX) {
        row(&mut html, scene, peer);
    }
    put!(html, "</tbody></table></div>");
    let more = scene.status.peers.len().saturating_sub(PEERS_MAX);
    if more > 0 {
        put!(html, "<p>And ", { words::count(more as u64) }, " more.</p>");
    }
    html
}

fn row(html: &mut Html, scene: &Scene, peer: &PeerView) {
    let server = scene.status.servers.iter().find(|server| server.endpoint == peer.endpoint);
    let name = match (&peer.name, server) {
        (_, Some(server)) => format!("{} {}", server.kind, server.name),
        (Some(name), None) => name.clone(),
        (None, None) => peer.endpoint.chars().take(8).collect(),
    };
    let tone = match peer.alive {
        Liveness::Alive if peer.halted.is_none() => Tone::Good,
        Liveness::NeverSeen => Tone::Waiting,
        Liveness::Alive | Liveness::Silent => Tone::Bad,
    };
    put!(html, "<tr><th scope=\"row\" title=\"", { &peer.endpoint }, "\">", { name });
    put!(html, "<small>", { &peer.software }, "</small></th><td class=\"", tone.class(), "\">");
    put!(html, { peer.diagnosis_name.name().replace('_', " ") }, "</td><td>");
    match peer.last_heard_ms_ago {
        Some(ms) => put!(html, { words::span(ms) }, " ago"),
        None => put!(html, "never"),
    }
    put!(html, "</td><td>", { peer.srtt_ms.map_or_else(|| "–".to_owned(), words::span_of) }, "</td><td>");
    put!(html, { words::counted(peer.backlog_records, "record", "records") }, "<small>", {
        words::bytes(peer.backlog_bytes)
    });
    put!(html, "</small></td><td>");
    match server {
        Some(server) => {
            put!(html, { server.standing }, "<small>", { words::counted(server.calls, "call", "calls") }, "</small>")
        }
        None => put!(html, "–"),
    }
    put!(html, "</td></tr>");
}

/// The mirrored folders.
pub(super) fn folders(scene: &Scene) -> Html {
    let mut html = Html::new();
    if scene.status.folders.is_empty() {
        put!(html, "<p class=\"empty\">The folders have not been looked at yet.</p>");
        return html;
    }
    put!(html, "<ul class=\"folders\">");
    for folder in &scene.status.folders {
        let tone = match folder.condition {
            FolderCondition::Good => Tone::Good,
            FolderCondition::Unchecked => Tone::Waiting,
            _ => Tone::Bad,
        };
        put!(html, "<li><b>", { folder.folder }, "</b> <span class=\"", tone.class(), "\">");
        put!(html, { folder.condition.name().replace('_', " ") }, "</span>");
        put!(html, " <small>since ", { words::moment(folder.since_ms) });
        if let Some(ms) = folder.took_ms {
            put!(html, "; the last look took ", { words::span_of(ms) });
        }
        put!(html, "</small>");
        if let Some(trouble) = folder.trouble() {
            put!(html, "<p class=\"bad\">", { trouble }, ".</p>");
        }
        put!(html, "</li>");
    }
    put!(html, "</ul>");
    html
}

/// What was sent, received, cut and sent again.
pub(super) fn packets(scene: &Scene) -> Html {
    let status = &scene.status;
    let sum = |of: fn(&PeerView) -> u64| status.peers.iter().map(of).fold(0, u64::saturating_add);
    let inbox = &status.inbox;
    let rows = [
        ("Packets sent", sum(|peer| peer.packets_sent), Some(words::bytes(status.published_bytes))),
        ("… given up as lost", sum(|peer| peer.packets_lost), None),
        ("Packets received whole", inbox.complete, Some(words::bytes(inbox.frame_bytes))),
        ("… cut or damaged", inbox.partial, None),
        ("… that grew whole later", inbox.reopened, None),
        ("Files that came twice", inbox.duplicates, None),
        ("Files put aside", inbox.quarantined, None),
        ("Records sent", sum(|peer| peer.records_sent), None),
        ("… sent again", sum(|peer| peer.records_resent), None),
        ("Records received", sum(|peer| peer.records_received), None),
        ("… that were here already", sum(|peer| peer.records_duplicate), None),
    ];
    let mut html = Html::new();
    put!(html, "<table class=\"numbers\"><caption>Since this engine started</caption><tbody>");
    for (name, number, detail) in rows {
        put!(html, "<tr><th scope=\"row\">", name, "</th><td>", { words::count(number) });
        if let Some(detail) = detail {
            put!(html, "<small>", { detail }, "</small>");
        }
        put!(html, "</td></tr>");
    }
    put!(html, "</tbody></table>");
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{EngineStatus, FolderView, ServerView};

    #[test]
    fn names_from_outside_are_escaped() {
        let bad = "<img src=x onerror=alert(1)>".to_owned();
        let peer =
            PeerView { software: bad.clone(), endpoint: bad.clone(), name: Some(bad.clone()), ..PeerView::default() };
        let other = PeerView { endpoint: "e".to_owned(), ..PeerView::default() };
        let server =
            ServerView { endpoint: "e".to_owned(), kind: bad.clone(), name: bad.clone(), ..ServerView::default() };
        let folder =
            FolderView { folder: "outbox", condition: FolderCondition::Failing, detail: bad, ..FolderView::default() };
        let status = EngineStatus {
            peers: vec![peer, other],
            servers: vec![server],
            folders: vec![folder],
            ..EngineStatus::default()
        };
        let scene = Scene { status, ..Scene::default() };
        for html in [peers(&scene), folders(&scene)] {
            let text = html.into_string();
            assert!(!text.contains("<img") && text.contains("&lt;img src=x"), "{text}");
        }
    }

    #[test]
    fn emptiness_says_what_to_do() {
        let scene = Scene::default();
        assert!(peers(&scene).as_str().contains("Check that it runs"));
        assert!(folders(&scene).as_str().contains("not been looked at yet"));
        assert!(packets(&scene).as_str().contains("Packets sent"));
    }
}
