//! How the two sides are: a headline, a sentence, and each direction by itself.
//!
//! Invariants: the headline has no numbers, because it is read aloud when it changes; a direction is called down only where
//! that is known, as in `status/diagnosis.rs`. Test to read first: `each_diagnosis_says_which_direction_is_down`.

use super::Facts;
use super::html::{Html, put};
use super::samples::principal;
use super::watcher::Scene;
use super::words;
use crate::status::{Diagnosis, FolderView, Liveness, PeerView};

/// How something is, for a colour and a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Waiting,
    Warning,
    Bad,
}

impl Tone {
    /// The class of the style sheet.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Waiting => "waiting",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }

    /// A sign that is told apart without colours.
    const fn sign(self) -> &'static str {
        match self {
            Self::Good => "●",
            Self::Waiting => "○",
            Self::Warning => "▲",
            Self::Bad => "✕",
        }
    }
}

/// The headline: what a person has to know, without numbers.
pub(super) fn headline(scene: &Scene) -> Html {
    let (tone, text) = verdict(scene);
    let mut html = Html::new();
    put!(
        html,
        "<span class=\"",
        tone.class(),
        "\"><span aria-hidden=\"true\">",
        tone.sign(),
        "</span> ",
        { text },
        "</span>"
    );
    html
}

fn verdict(scene: &Scene) -> (Tone, &'static str) {
    if !scene.status.started {
        return (Tone::Waiting, "Starting: the log is being read");
    }
    if scene.late.is_some() {
        return (Tone::Bad, "This engine does not answer");
    }
    let Some(peer) = principal(&scene.status) else { return (Tone::Waiting, "Nothing heard of the far side yet") };
    match peer.diagnosis_name {
        Diagnosis::Halted => (Tone::Bad, "Halted by an alarm"),
        Diagnosis::OutboxFailing => (Tone::Bad, "Nothing can be sent: the outbox folder cannot be used"),
        Diagnosis::KeyMismatch => (Tone::Bad, "Files arrive, but none verifies: the keys do not match"),
        Diagnosis::NeverSeen => (Tone::Waiting, "Nothing heard of the far side yet"),
        Diagnosis::PeerSilent | Diagnosis::InboundSilent => (Tone::Bad, "The far side is silent"),
        Diagnosis::Associating => (Tone::Waiting, "The two sides are meeting"),
        Diagnosis::OutboundSilent => (Tone::Bad, "What is sent from here does not arrive"),
        Diagnosis::ContentDropped => (Tone::Warning, "One record never passes"),
        Diagnosis::WaitingForCredit => (Tone::Warning, "The far side does not take what it has got"),
        Diagnosis::Healthy => (Tone::Good, "Packets pass in both directions"),
    }
}

/// The sentence below the headline, and both directions.
pub(super) fn details(scene: &Scene, facts: &Facts) -> Html {
    let mut html = Html::new();
    let peer = principal(&scene.status);
    let sentence = match (scene.late, peer) {
        _ if !scene.status.started => {
            "Calls are accepted once everything that was promised before is known again.".to_owned()
        }
        (Some(late), _) => format!(
            "Its driver has not answered for {}; its disk may hang. What follows is what it said before.",
            words::span(u64::try_from(late.as_millis()).unwrap_or(u64::MAX))
        ),
        (None, Some(peer)) => peer.diagnosis.clone(),
        (None, None) => "Check that the far side runs, and that the mirror fills the inbox folder.".to_owned(),
    };
    put!(html, "<p>", { sentence }, "</p>");
    if scene.status.log_full {
        put!(
            html,
            "<p class=\"bad\">The log has no room for more: new calls are refused until the far side acknowledges.</p>"
        );
    }
    for alarm in [&scene.status.log_failure, &scene.status.inbox_alarm].into_iter().flatten() {
        put!(html, "<p class=\"warning\">", { alarm }, "</p>");
    }
    let (here, there) = (here(scene), &facts.far_side);
    put!(html, "<ul class=\"ways\">");
    let [out, inward] = ways(scene, peer);
    for (from, to, way) in [(here, there.as_str(), out), (there.as_str(), here, inward)] {
        put!(html, "<li class=\"", way.0.class(), "\"><span aria-hidden=\"true\">", way.0.sign(), "</span> <b>", {
            from
        });
        put!(html, " <span aria-label=\"to\">→</span> ", { to }, "</b> ", { way.1 }, "</li>");
    }
    put!(html, "</ul>");
    html
}

pub(super) fn here(scene: &Scene) -> &str {
    scene.status.side.as_deref().unwrap_or("this side")
}

/// The way out and the way in.
fn ways(scene: &Scene, peer: Option<&PeerView>) -> [(Tone, String); 2] {
    let Some(peer) = peer else {
        return [(Tone::Waiting, "nothing known yet".to_owned()), (Tone::Waiting, "no packet yet".to_owned())];
    };
    let now_ms = scene.status.now_ms;
    let folder = |name| scene.status.folders.iter().find(|folder| folder.folder == name && folder.condition.is_bad());
    let broken = |folder: &FolderView| {
        let since = words::moment(folder.since_ms);
        (Tone::Bad, format!("down since {since}: the {} folder is {}", folder.folder, folder.condition.name()))
    };
    let out = match folder("outbox") {
        Some(folder) => broken(folder),
        None => out(peer),
    };
    let inward = match folder("inbox") {
        Some(folder) => broken(folder),
        None => inward(peer, now_ms),
    };
    [out, inward]
}

fn out(peer: &PeerView) -> (Tone, String) {
    match peer.diagnosis_name {
        Diagnosis::Halted => (Tone::Bad, "stopped by the alarm".to_owned()),
        Diagnosis::OutboxFailing => (Tone::Bad, "down: packets cannot be written".to_owned()),
        Diagnosis::OutboundSilent => {
            let since = peer.unreported_ms.map_or_else(String::new, |ms| format!(" for {}", words::span(ms)));
            (Tone::Bad, format!("down: no news that anything arrived{since}"))
        }
        Diagnosis::KeyMismatch | Diagnosis::NeverSeen | Diagnosis::PeerSilent | Diagnosis::InboundSilent => {
            (Tone::Waiting, "unknown while nothing is heard".to_owned())
        }
        Diagnosis::Associating => (Tone::Waiting, "opens when each side has heard the other".to_owned()),
        Diagnosis::ContentDropped => (Tone::Warning, "works, but one record never passes".to_owned()),
        Diagnosis::WaitingForCredit => (
            Tone::Warning,
            format!("works; {} for room there", words::counted(peer.blocked_records, "record waits", "records wait")),
        ),
        Diagnosis::Healthy => (Tone::Good, "works".to_owned()),
    }
}

fn inward(peer: &PeerView, now_ms: u64) -> (Tone, String) {
    match (peer.alive, peer.last_heard_ms_ago, peer.diagnosis_name) {
        (_, _, Diagnosis::Halted) => (Tone::Bad, "stopped by the alarm".to_owned()),
        (_, _, Diagnosis::KeyMismatch) => (Tone::Bad, "files arrive, and none verifies".to_owned()),
        (Liveness::Alive, Some(ms), _) => (Tone::Good, format!("works: heard {} ago", words::span(ms))),
        (Liveness::Alive, None, _) => (Tone::Good, "works".to_owned()),
        (Liveness::Silent, Some(ms), _) => {
            let since = words::moment(now_ms.saturating_sub(ms));
            (Tone::Bad, format!("silent since {since}, for {}", words::span(ms)))
        }
        (Liveness::Silent | Liveness::NeverSeen, _, _) => (Tone::Waiting, "no packet since the start".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{EngineStatus, FolderCondition};

    fn scene(peer: PeerView) -> Scene {
        let status = EngineStatus { started: true, now_ms: 1_000_000, peers: vec![peer], ..EngineStatus::default() };
        Scene { status, ..Scene::default() }
    }

    fn tones(scene: &Scene) -> (Tone, Tone, Tone) {
        let [out, inward] = ways(scene, principal(&scene.status));
        (verdict(scene).0, out.0, inward.0)
    }

    #[test]
    fn each_diagnosis_says_which_direction_is_down() {
        use Tone::{Bad, Good, Waiting, Warning};
        let alive = PeerView { alive: Liveness::Alive, last_heard_ms_ago: Some(900), ..PeerView::default() };
        let silent = PeerView { alive: Liveness::Silent, last_heard_ms_ago: Some(400_000), ..PeerView::default() };
        for (diagnosis_name, peer, expected) in [
            (Diagnosis::Halted, &alive, (Bad, Bad, Bad)),
            (Diagnosis::OutboxFailing, &alive, (Bad, Bad, Good)),
            (Diagnosis::KeyMismatch, &PeerView::default(), (Bad, Waiting, Bad)),
            (Diagnosis::NeverSeen, &PeerView::default(), (Waiting, Waiting, Waiting)),
            (Diagnosis::PeerSilent, &silent, (Bad, Waiting, Bad)),
            (Diagnosis::InboundSilent, &silent, (Bad, Waiting, Bad)),
            (Diagnosis::Associating, &alive, (Waiting, Waiting, Good)),
            (Diagnosis::OutboundSilent, &alive, (Bad, Bad, Good)),
            (Diagnosis::ContentDropped, &alive, (Warning, Warning, Good)),
            (Diagnosis::WaitingForCredit, &alive, (Warning, Warning, Good)),
            (Diagnosis::Healthy, &alive, (Good, Good, Good)),
        ] {
            let scene = scene(PeerView { diagnosis_name, ..peer.clone() });
            assert_eq!(tones(&scene), expected, "{}", diagnosis_name.name());
        }
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_the_direction_that_is_down() {
        let peer = PeerView { alive: Liveness::Alive, diagnosis_name: Diagnosis::Healthy, ..PeerView::default() };
        let mut scene = scene(peer);
        scene.status.folders.push(FolderView {
            folder: "inbox",
            condition: FolderCondition::Stale,
            ..FolderView::default()
        });
        let [out, inward] = ways(&scene, principal(&scene.status));
        assert_eq!((out.0, inward.0), (Tone::Good, Tone::Bad));
        assert!(inward.1.contains("down since") && inward.1.contains("stale"), "{}", inward.1);
    }

    #[test]
    fn an_engine_that_starts_or_hangs_says_so() {
        let mut scene = scene(PeerView::default());
        scene.late = Some(std::time::Duration::from_secs(12));
        assert_eq!(verdict(&scene), (Tone::Bad, "This engine does not answer"));
        assert!(details(&scene, &Facts::of_test()).as_str().contains("has not answered for 12 s"));
        scene.status.started = false;
        assert_eq!(verdict(&scene).0, Tone::Waiting);
    }
}
