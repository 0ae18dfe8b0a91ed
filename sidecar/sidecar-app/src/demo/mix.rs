//! What is called: the mix of calls of one run, drawn from the seed, and the right answer to each.
//!
//! Invariants: the same seed and number of calls give the same mix; every mix has one large body each way and at least one
//! call of each kind; whether a call may be repeated follows from its method alone. It calls nothing.
//! Test to read first: `every_mix_has_all_kinds`.

use http::Method;

use super::content::{Content, Mark};
use super::dice::Dice;

/// The large bodies, in octets.
pub(super) const LARGE: u64 = 50 << 20;
/// The fewest calls that hold every kind and leave some to be in flight at both kills.
pub(super) const CALLS_MIN: u32 = 12;
/// Largest and smallest of the small bodies, in octets.
const SMALL: (u64, u64) = (64, 64 << 10);
/// Longest pause of the upstream before it answers, in milliseconds.
const PAUSE_MS_MAX: u64 = 150;

/// What kind of call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// GET a small body.
    Get,
    /// POST a small body and get it back.
    Echo,
    /// POST a large body; the upstream counts and measures it.
    Upload,
    /// GET a large body.
    Download,
    /// GET a body that comes in pieces over time.
    Stream,
    /// GET what is not there: the upstream's 404.
    Missing,
    /// POST to what fails: the upstream's 500.
    Failing,
    /// A destination that the near side refuses.
    RefusedNear,
    /// A destination that only the far side refuses.
    RefusedFar,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Upload,
        Self::Download,
        Self::Get,
        Self::Echo,
        Self::Stream,
        Self::Missing,
        Self::Failing,
        Self::RefusedNear,
        Self::RefusedFar,
    ];

    /// The word of lines for people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Echo => "echo",
            Self::Upload => "upload",
            Self::Download => "download",
            Self::Stream => "stream",
            Self::Missing => "missing",
            Self::Failing => "failing",
            Self::RefusedNear => "refused here",
            Self::RefusedFar => "refused there",
        }
    }

    fn drawn(dice: &mut Dice) -> Self {
        match dice.below(100) {
            0..38 => Self::Get,
            38..74 => Self::Echo,
            74..82 => Self::Stream,
            82..86 => Self::Missing,
            86..91 => Self::Failing,
            91..95 => Self::RefusedNear,
            _ => Self::RefusedFar,
        }
    }
}

/// By which door of the local port a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// `/to/{route}/…`.
    Route,
    /// An absolute target, as a forward proxy gets it.
    Proxy,
}

/// One call to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Its place in the run, from 0.
    pub(super) number: u32,
    /// What it does.
    pub(super) kind: Kind,
    /// How it is made.
    pub(super) door: Door,
    /// What is sent (POST) or asked for (GET).
    pub(super) content: Content,
    /// How long the upstream works at it, in milliseconds.
    pub(super) pause_ms: u64,
}

/// The right answer to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// Its status.
    pub(super) status: u16,
    /// Its body; not asked for where a side refuses, whose words may change.
    pub(super) body: Option<Mark>,
}

impl Plan {
    /// The method.
    pub(super) const fn method(&self) -> Method {
        match self.kind {
            Kind::Echo | Kind::Upload | Kind::Failing => Method::POST,
            Kind::Get | Kind::Download | Kind::Stream | Kind::Missing | Kind::RefusedNear | Kind::RefusedFar => {
                Method::GET
            }
        }
    }

    /// May it be made again when nobody knows what became of it (RFC 9110 §9.2.2)?
    pub(super) fn repeatable(&self) -> bool {
        self.method().is_idempotent()
    }

    /// Does one of the sides refuse it?
    pub(super) const fn refused(&self) -> bool {
        matches!(self.kind, Kind::RefusedNear | Kind::RefusedFar)
    }

    /// Path and query at the upstream.
    pub(super) fn path(&self) -> String {
        let Content { seed, size, text } = self.content;
        let place = match self.kind {
            Kind::Get | Kind::Download => "open/content",
            Kind::Echo => "open/echo",
            Kind::Upload => "open/upload",
            Kind::Stream => "open/stream",
            Kind::Missing => "open/nothing-here",
            Kind::Failing => "open/failing",
            Kind::RefusedNear => "closed/here",
            Kind::RefusedFar => "guarded/there",
        };
        let text = u8::from(text);
        format!("/{place}?seed={seed}&size={size}&text={text}&pause_ms={}", self.pause_ms)
    }

    /// The request's body; `None` for a GET.
    pub(super) fn request(&self) -> Option<Content> {
        (self.method() == Method::POST).then_some(self.content)
    }

    /// The right answer; `marker` names the attempt it is for.
    pub(super) fn expected(&self, marker: &str) -> Expected {
        let (status, body) = match self.kind {
            Kind::Get | Kind::Echo | Kind::Download | Kind::Stream => (200, Some(self.content.mark())),
            Kind::Upload => (200, Some(Mark::of(receipt(&self.content.mark()).as_bytes()))),
            Kind::Missing => (404, Some(Mark::of(complaint(404, marker).as_bytes()))),
            Kind::Failing => (500, Some(Mark::of(complaint(500, marker).as_bytes()))),
            Kind::RefusedNear | Kind::RefusedFar => (403, None),
        };
        Expected { status, body }
    }
}

/// What the upstream answers to an upload.
pub(super) fn receipt(mark: &Mark) -> String {
    format!("{{\"length\":{},\"sha256\":\"{}\"}}\n", mark.length, mark.sha256)
}

/// What the upstream says with an error of its own; it must arrive untouched.
pub(super) fn complaint(status: u16, marker: &str) -> String {
    format!("the upstream itself says {status} to {marker}\n")
}

/// The calls of a run, in the order in which they are begun.
pub(super) fn mix(seed: u64, calls: u32) -> Vec<Plan> {
    let mut dice = Dice::new(seed, u64::from(calls));
    let count = usize::try_from(calls.max(CALLS_MIN)).unwrap_or_default();
    let mut kinds: Vec<Kind> = Kind::ALL.to_vec();
    while kinds.len() < count {
        kinds.push(Kind::drawn(&mut dice));
    }
    for last in (1..kinds.len()).rev() {
        let other = usize::try_from(dice.below(last as u64 + 1)).unwrap_or_default();
        kinds.swap(last, other);
    }
    // The large ones begin early, so that they are not all that is left at the end.
    for (place, large) in [Kind::Upload, Kind::Download].into_iter().enumerate() {
        if let Some(found) = kinds.iter().position(|kind| *kind == large) {
            let early = usize::try_from(dice.below((count / 8).max(1) as u64)).unwrap_or_default();
            kinds.swap(found, 2 * early + place);
        }
    }
    kinds.into_iter().zip(0..).map(|(kind, number)| plan(kind, number, &mut dice)).collect()
}

fn plan(kind: Kind, number: u32, dice: &mut Dice) -> Plan {
    let size = match kind {
        Kind::Upload | Kind::Download => LARGE,
        // Small sizes are as likely as large ones of ten times the size.
        _ => {
            let doublings = u64::from((SMALL.1 / SMALL.0).ilog2());
            let scale = SMALL.0 << dice.below(doublings);
            dice.within(scale, scale * 2)
        }
    };
    let door = if dice.below(2) == 0 { Door::Route } else { Door::Proxy };
    let content = Content { seed: dice.throw() >> 16, size, text: dice.below(3) == 0 && size < LARGE };
    Plan { number, kind, door, content, pause_ms: dice.below(PAUSE_MS_MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mix_has_all_kinds() {
        for seed in 0..50 {
            for calls in [CALLS_MIN, 13, 120, 300] {
                let plans = mix(seed, calls);
                assert_eq!(plans.len(), calls as usize);
                for kind in Kind::ALL {
                    let of_kind = plans.iter().filter(|plan| plan.kind == kind).count();
                    let large = matches!(kind, Kind::Upload | Kind::Download);
                    assert!(if large { of_kind == 1 } else { of_kind > 0 }, "{seed} {calls} {kind:?}: {of_kind}");
                }
                assert!(plans.iter().zip(0..).all(|(plan, number)| plan.number == number));
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_mix() {
        assert_eq!(mix(3, 100), mix(3, 100));
        assert_ne!(mix(3, 100), mix(4, 100));
    }

    #[test]
    fn large_bodies_begin_in_the_first_quarter_and_small_ones_stay_small() {
        for seed in 0..50 {
            for plan in mix(seed, 120) {
                let large = matches!(plan.kind, Kind::Upload | Kind::Download);
                assert!(!large || plan.number < 32);
                assert_eq!(plan.content.size == LARGE, large);
                assert!(large || (SMALL.0..=SMALL.1).contains(&plan.content.size), "{}", plan.content.size);
            }
        }
    }

    #[test]
    fn only_posts_may_not_be_repeated() {
        for plan in mix(1, 300) {
            assert_eq!(plan.repeatable(), plan.method() == Method::GET);
            assert_eq!(plan.request().is_some(), plan.method() == Method::POST);
        }
    }
}
