//! What the engines say, put together: who answers, and whether the far side is heard and hears us.
//!
//! Invariants: an answer is believed for a while and no longer; silence is said of a far side only by an engine that
//! answers. Far engines that went for good spoil nothing: one that is heard is enough. Nothing here holds an age, which would
//! change by itself. Test to read first: `tests/connected.rs`.

use std::time::Duration;

use crd_types::{Reason, TunnelPeeringSpec};
use jiff::Timestamp;

use super::config::duration_or;
use super::verdict::{Verdict, clip};
use super::world::{Container, Instance, World};
use crate::observe::{EngineStatus, Peer};

/// Longest time between two questions to an engine.
const POLL_PERIOD: Duration = Duration::from_secs(15);
/// A record is never called stalled before it waited so long.
const STALLED_MIN: Duration = Duration::from_secs(120);
/// Most bytes of an engine's own words in a message.
const WORDS_BYTES_MAX: usize = 600;
/// Most pods that a message names.
const NAMES_MAX: usize = 3;
/// Reasons of a waiting container that are no failure.
const BENIGN: [&str; 3] = ["ContainerCreating", "PodInitializing", "Completed"];

/// The engines of a peering at one time, by name of their pods.
#[derive(Debug)]
pub(super) struct Health<'a> {
    pub(super) engines: Vec<Engine<'a>>,
    times: Times,
    remote: &'a str,
}

/// The times that answers are measured with.
#[derive(Clone, Copy, Debug)]
struct Times {
    now: Timestamp,
    loss: Duration,
    believed: Duration,
    stalled: Duration,
}

/// One engine that runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Engine<'a> {
    pub(super) instance: &'a Instance,
    pub(super) container: &'a Container,
    /// What it said last, and when, if that may still be believed.
    pub(super) report: Option<(Timestamp, &'a EngineStatus)>,
}

impl Engine<'_> {
    /// It runs, and this operator has not asked it yet: it may have been another's to ask a moment ago.
    pub(super) fn unasked(&self) -> bool {
        let instance = self.instance;
        let runs = self.container.started && failure(self.container).is_none() && instance.address.is_some();
        runs && instance.report.is_none() && instance.unreachable.is_none()
    }

    /// It answers and takes calls.
    pub(super) fn ready(&self) -> bool {
        let takes_calls = |(_, report): (Timestamp, &EngineStatus)| {
            report.started && report.log_failure.is_none() && !report.log_full
        };
        self.container.started && failure(self.container).is_none() && self.report.is_some_and(takes_calls)
    }
}

/// Why a container does not run, in its own words.
pub(super) fn failure(container: &Container) -> Option<String> {
    let reason = container.reason.as_deref().filter(|reason| !BENIGN.contains(reason) && !container.ready)?;
    let said =
        container.message.as_deref().map(|message| clip(message, WORDS_BYTES_MAX)).filter(|said| !said.is_empty());
    Some(said.map_or_else(|| reason.to_owned(), |said| format!("{reason}: {said}")))
}

/// A far engine as one of ours sees it.
struct Pair<'a> {
    pod: &'a str,
    peer: &'a Peer,
    heard: Heard,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Heard {
    Now,
    Before,
    Never,
    /// It was, when our engine last answered, and that is long ago.
    Unsaid,
}

impl<'a> Health<'a> {
    pub(super) fn of(world: &World<'a>) -> Self {
        let times = Times::of(&world.peering.spec, world.now);
        let mut engines: Vec<Engine<'a>> = world
            .instances
            .iter()
            .filter(|instance| !instance.terminating && !instance.ended)
            .filter_map(|instance| {
                let container = instance.container.as_ref()?;
                let report = instance.report.as_ref().map(|(at, report)| (*at, report));
                let report = report.filter(|(at, _)| times.since(*at) <= times.believed);
                Some(Engine { instance, container, report })
            })
            .collect();
        engines.sort_by(|one, other| {
            (&one.instance.pod, &one.instance.uid).cmp(&(&other.instance.pod, &other.instance.uid))
        });
        Self { engines, times, remote: &world.peering.spec.remote.name }
    }

    /// What stands is not overturned before everyone was asked: an operator that has just started knows nothing.
    pub(super) fn any_unasked(&self) -> bool {
        self.engines.iter().any(Engine::unasked)
    }

    /// The same for one engine alone.
    pub(super) fn alone(&self, engine: Engine<'a>) -> Self {
        Self { engines: vec![engine], times: self.times, remote: self.remote }
    }

    fn answering(&self) -> impl Iterator<Item = (&'a str, &'a EngineStatus, Timestamp)> {
        self.engines.iter().filter_map(|engine| {
            let (at, report) = engine.report?;
            Some((engine.instance.pod.as_str(), report, at))
        })
    }

    fn pairs(&self) -> Vec<Pair<'a>> {
        let mut pairs: Vec<Pair<'a>> = self
            .answering()
            .flat_map(|(pod, report, at)| {
                report.peers.iter().map(move |peer| Pair { pod, peer, heard: self.times.heard(peer, at) })
            })
            .collect();
        pairs.sort_by(|one, other| (one.pod, &one.peer.endpoint).cmp(&(other.pod, &other.peer.endpoint)));
        pairs
    }

    /// The first engine that cannot write packets, and why.
    pub(super) fn outbox_failure(&self) -> Option<(&'a str, &'a str)> {
        self.answering().find_map(|(pod, report, _)| Some((pod, report.outbox_failure.as_deref()?)))
    }

    /// When the far side was last heard, and what it ran then.
    pub(super) fn last_heard(&self) -> Option<(Timestamp, &'a Peer)> {
        let heard = self.answering().flat_map(|(_, report, at)| {
            report.peers.iter().filter_map(move |peer| {
                let ago = i64::try_from(peer.last_heard_ms_ago?).ok()?;
                let moment = Timestamp::from_millisecond(at.as_millisecond().checked_sub(ago)?).ok()?;
                Some((moment, peer))
            })
        });
        let (moment, peer) =
            heard.max_by(|(one, a), (other, b)| one.cmp(other).then_with(|| b.endpoint.cmp(&a.endpoint)))?;
        Some((moment.min(self.times.now), peer))
    }

    /// Whether the far side is heard. `absence` is said where no engine could say.
    pub(super) fn peer_alive(&self, absence: &str) -> Verdict {
        let remote = self.remote;
        if self.answering().next().is_none() {
            return Verdict::unknown(Reason::NoInstances, absence);
        }
        let pairs = self.pairs();
        let hearing = hearing(&pairs);
        if !hearing.is_empty() {
            let (count, all) = (hearing.len(), self.engines.len());
            let part = if count < all { format!(" by {count} of {all} engines") } else { String::new() };
            return Verdict::holds(Reason::Heard, format!("Side {remote} is heard{part}."));
        }
        let diagnosed = |name: &str| pairs.iter().find(|pair| pair.peer.diagnosis_name == name);
        if let Some(pair) = diagnosed("halted") {
            let message = format!("Pod {}: {}", pair.pod, clip(&pair.peer.diagnosis, WORDS_BYTES_MAX));
            return Verdict::fails(Reason::Halted, message);
        }
        if diagnosed("key_mismatch").is_some() {
            let message = format!(
                "Files arrive and none verifies: another key than in spec.remote.publicKeys, or another mode than accepted here, or \
                 somebody else's files. Compare status.identity.fingerprint on both sides: side {remote} must know this side's key, \
                 and this one that of side {remote}."
            );
            return Verdict::fails(Reason::KeyMismatch, message);
        }
        let silent: Vec<&Pair<'_>> = pairs.iter().filter(|pair| pair.heard == Heard::Before).collect();
        if !silent.is_empty() && silent.iter().all(|pair| pair.peer.diagnosis_name == "peer_silent") {
            let message = format!(
                "An engine of side {remote} is silent while others were heard through the same folders: it does not run, or its \
                 outgoing mirror is interrupted."
            );
            return Verdict::fails(Reason::PeerSilent, message);
        }
        if !silent.is_empty() {
            let message = format!(
                "Side {remote} was heard and is not any more: the incoming mirror is interrupted, or side {remote} is. Look at the \
                 age of the newest file in spec.volume.inbox. Calls go on waiting."
            );
            return Verdict::fails(Reason::InboundSilent, message);
        }
        if pairs.iter().any(|pair| pair.heard == Heard::Unsaid) {
            return Verdict::unknown(Reason::NoInstances, absence);
        }
        let message = format!(
            "Nothing of side {remote} arrived yet: check that it runs, that its outbox is mirrored into spec.volume.inbox, and that \
             each side has the other's key."
        );
        Verdict::unknown(Reason::NeverSeen, message)
    }

    /// Whether the far side takes what is sent. `absence` is said where no engine could say.
    pub(super) fn delivering(&self, absence: &str) -> Verdict {
        let remote = self.remote;
        if self.answering().next().is_none() {
            return Verdict::unknown(Reason::NoInstances, absence);
        }
        if let Some((pod, cause)) = self.outbox_failure() {
            let message = format!(
                "Packets cannot be written into spec.volume.outbox; pod {pod}: {}",
                clip(cause, WORDS_BYTES_MAX)
            );
            return Verdict::fails(Reason::OutboxFailing, message);
        }
        let pairs = self.pairs();
        let alive: Vec<&Pair<'_>> = pairs.iter().filter(|pair| pair.hears()).collect();
        if alive.is_empty() {
            return Verdict::unknown(
                Reason::PeerNotAlive,
                format!("Nothing can be said while side {remote} is not heard."),
            );
        }
        let of = |name: &str| pods(alive.iter().filter(|pair| pair.peer.diagnosis_name == name));
        if let Some(pods) = of("outbound_silent") {
            let message = format!(
                "Side {remote} is heard, and does not hear {pods}: the outgoing mirror is interrupted, or the incoming one of side \
                 {remote}. Look whether files of spec.volume.outbox arrive there."
            );
            return Verdict::fails(Reason::OutboundSilent, message);
        }
        if let Some(pods) = of("content_dropped") {
            let message = format!(
                "One record of {pods} never passes while others do: something on the way removes files by their content. Ask who \
                 runs the mirror."
            );
            return Verdict::fails(Reason::ContentDropped, message);
        }
        let late = |pair: &&&Pair<'_>| {
            pair.peer.oldest_unacknowledged_ms.is_some_and(|ms| Duration::from_millis(ms) >= self.times.stalled)
        };
        if let Some(pods) = pods(alive.iter().filter(late)) {
            let message = format!(
                "What {pods} sent is not acknowledged by side {remote} within {}: the outgoing mirror is slow or loses much, or \
                 programs there do not take what arrived.",
                sidecar_config::format_duration(self.times.stalled)
            );
            return Verdict::fails(Reason::Stalled, message);
        }
        if alive.iter().all(|pair| pair.peer.diagnosis_name == "associating") {
            let message =
                format!("Side {remote} is heard; calls pass as soon as each side has heard the other's answer.");
            return Verdict::unknown(Reason::PeerNotAlive, message);
        }
        Verdict::holds(Reason::Delivering, format!("Side {remote} acknowledges what is sent."))
    }
}

impl Pair<'_> {
    fn hears(&self) -> bool {
        self.heard == Heard::Now && self.peer.diagnosis_name != "halted"
    }
}

impl Times {
    fn of(spec: &TunnelPeeringSpec, now: Timestamp) -> Self {
        let loss = duration_or(&spec.heartbeat.loss_timeout, Duration::from_secs(120));
        let latency = duration_or(&spec.volume.mirror.expected_latency, Duration::from_secs(15));
        Self { now, loss, believed: (3 * POLL_PERIOD).max(loss), stalled: latency.saturating_mul(3).max(STALLED_MIN) }
    }

    /// Time since a moment; none if it is to come.
    fn since(&self, moment: Timestamp) -> Duration {
        Duration::try_from(self.now.duration_since(moment)).unwrap_or_default()
    }

    fn heard(&self, peer: &Peer, at: Timestamp) -> Heard {
        let age = self.since(at);
        let last = peer.last_heard_ms_ago.map(|ms| Duration::from_millis(ms).saturating_add(age));
        match peer.alive.as_str() {
            // While questions are answered the engine's word counts: it knows the far side's pace.
            "alive" if age <= 3 * POLL_PERIOD || last.is_some_and(|last| last <= self.loss) => Heard::Now,
            "alive" => Heard::Unsaid,
            "silent" => Heard::Before,
            _ => Heard::Never,
        }
    }
}

/// The pods whose engines hear the far side.
fn hearing<'a>(pairs: &[Pair<'a>]) -> Vec<&'a str> {
    let mut pods: Vec<&str> = pairs.iter().filter(|pair| pair.hears()).map(|pair| pair.pod).collect();
    pods.dedup();
    pods
}

/// Names of pods for people; `None` if there is none.
fn pods<'a, 'b: 'a>(pairs: impl Iterator<Item = &'a &'a Pair<'b>>) -> Option<String> {
    let mut pods: Vec<&str> = pairs.map(|pair| pair.pod).collect();
    pods.dedup();
    match pods.len() {
        0 => None,
        1 => Some(format!("pod {}", pods.join(""))),
        count if count <= NAMES_MAX => Some(format!("pods {}", pods.join(", "))),
        count => Some(format!("pods {} and {} others", pods.get(..NAMES_MAX)?.join(", "), count - NAMES_MAX)),
    }
}

/// Both at once, with the reason of the one that names the direction.
pub(super) fn connected(peer_alive: &Verdict, delivering: &Verdict) -> Verdict {
    if peer_alive.is_true() && delivering.is_true() {
        return Verdict::holds(Reason::Connected, "Both sides hear each other.");
    }
    // A certain cause here comes before a guess about the other side.
    let certain = delivering.status == crd_types::ConditionStatus::False;
    if certain || peer_alive.is_true() { delivering.clone() } else { peer_alive.clone() }
}
