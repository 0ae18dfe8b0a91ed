//! Several servers of a side over the same folders: who they are, and what befalls them besides everything else.
//!
//! Some seeds have two or three gateways that execute calls, announce themselves in presence packets, drain before they stop, stand
//! still for longer than their word counts, or are gone with their disk. Whoever is gone is replaced by an empty machine of the same
//! name when the faults end, as a StatefulSet would do; until then its calls must do without it. In some of these worlds nothing else
//! goes wrong: then it is judged that calls go to the servers that are there.
//!
//! Invariants: it draws from numbers of its own, so that all other seeds have the histories that they had; at least one gateway of a
//! side is left alone. Test to read first: `servers_are_drawn_for_a_share_of_the_seeds`.

use std::time::Duration;

use layer1_replication::limits::VALID_INTERVALS;

use crate::engine::Down;
use crate::faults::Fault;
use crate::options::{FileFaults, Options, POISON_EVERY, Rare, TAIL_EVERY, Troubles};
use crate::place::Place;
use crate::rng::Rng;
use crate::time::SEC;
use crate::troubles::{Plan, Trouble};
use crate::world::World;

/// Every so many seeds there are several servers.
pub const SERVERS_EVERY: u64 = 5;
/// Of the seeds with real keys every so many.
const SEALED_SERVERS_EVERY: u64 = 60;
/// A draining server is stopped at the latest after so many times the latency.
const GRACE_ROUNDS: u64 = 40;

/// The servers of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Servers {
    /// Gateways of each side; the other endpoints are pods.
    pub gateways: [usize; 2],
    /// Nothing goes wrong but with servers.
    pub alone: bool,
    /// Servers that are gone with their disk.
    pub gone: u64,
    /// Servers that stand still for longer than their word counts.
    pub silent: u64,
    /// Servers that drain and stop.
    pub drained: u64,
    /// Between two announcements.
    pub interval_us: u64,
}

/// Whether a seed has several servers.
#[must_use]
pub const fn has_servers(seed: u64) -> bool {
    let other = seed % POISON_EVERY == POISON_EVERY / 2 || seed % TAIL_EVERY == TAIL_EVERY * 7 / 10;
    !other && (seed % SERVERS_EVERY == 3 || seed % SEALED_SERVERS_EVERY == 39)
}

impl Servers {
    /// How long a server's word counts.
    #[must_use]
    pub fn valid_us(&self) -> u64 {
        self.interval_us * u64::from(VALID_INTERVALS)
    }
}

impl Options {
    /// The same world with several servers, if this seed has some.
    #[must_use]
    pub(crate) fn with_servers(self) -> Self {
        if !has_servers(self.seed) {
            return self;
        }
        let mut rng = Rng::new(self.seed ^ 0x5e_57e2);
        let souths = rng.between(2, 3);
        let norths = if rng.percent(30) { 2 } else { 1 };
        let pods = [u64::from(rng.percent(40)), u64::from(rng.percent(20))];
        let interval_us = (self.latency_us * rng.between(4, 12)).clamp(5 * SEC, 60 * SEC);
        let servers = Servers {
            gateways: [usize::try_from(norths).unwrap_or(1), usize::try_from(souths).unwrap_or(2)],
            alone: rng.percent(35),
            gone: u64::from(rng.percent(60)),
            silent: rng.below(3),
            drained: rng.below(3),
            interval_us,
        };
        let faults_for_us = self.faults_for_us.max(self.latency_us * 80 + servers.valid_us() * rng.between(5, 8));
        let mut drawn = Self {
            norths: usize::try_from(norths + pods[0]).unwrap_or(1),
            souths: usize::try_from(souths + pods[1]).unwrap_or(2),
            bulky: false,
            faults_for_us,
            servers: Some(servers),
            ..self
        };
        drawn.replication.heartbeat = Some(Duration::from_micros(interval_us));
        if servers.alone {
            (drawn.files, drawn.troubles, drawn.rare) = (FileFaults::default(), Troubles::default(), Rare::default());
            drawn.spread_percent = drawn.spread_percent.min(20);
        }
        drawn
    }
}

/// The endpoints of a world.
#[must_use]
pub fn places(options: &Options) -> Vec<Place> {
    let gateways = options.servers.map_or([1, 1], |servers| servers.gateways);
    let of =
        |side: usize, count: usize| {
            (0..count).map(move |number| {
                if number < gateways[side] { Place::gateway(side, number) } else { Place::pod(side, number) }
            })
        };
    of(0, options.norths).chain(of(1, options.souths)).collect()
}

impl Plan {
    /// What befalls servers.
    pub(crate) fn draw_servers(&mut self, options: &Options, places: &[Place], rng: &mut Rng) {
        let Some(servers) = options.servers else { return };
        let span = options.faults_for_us;
        // The last gateway of each side is left alone.
        let of_side = |side: usize| places.iter().enumerate().filter(move |(_, place)| place.side_number == side);
        let mut may: Vec<usize> = Vec::new();
        for side in 0..2 {
            let gateways: Vec<usize> =
                of_side(side).filter(|(_, place)| place.is_gateway()).map(|(index, _)| index).collect();
            may.extend(gateways.split_last().into_iter().flat_map(|(_, others)| others));
        }
        let pick = |rng: &mut Rng| may.get(usize::try_from(rng.below(may.len() as u64)).unwrap_or(0)).copied();
        for _ in 0..servers.gone {
            let at = rng.between(span / 8, span / 2);
            self.extend(pick(rng).map(|node| (at, Trouble::Gone(node))));
        }
        for _ in 0..servers.silent {
            let at = rng.below(span * 2 / 3);
            self.extend(pick(rng).map(|node| (at, Trouble::Silent(node))));
        }
        for _ in 0..servers.drained {
            let at = rng.below(span * 5 / 6);
            let grace = rng.between(options.latency_us, options.latency_us * GRACE_ROUNDS) + SEC;
            for (at, trouble) in pick(rng)
                .into_iter()
                .flat_map(|node| [(at, Trouble::Drain(node)), (at + grace, Trouble::Crash(node, Fault::Stop))])
            {
                self.push(at, trouble);
            }
        }
    }

    fn extend(&mut self, more: Option<(u64, Trouble)>) {
        if let Some((at, trouble)) = more {
            self.push(at, trouble);
        }
    }
}

impl World {
    /// A machine is gone with its disk, until the faults end.
    pub(crate) fn machine_gone(&mut self, index: usize) {
        if self.nodes[index].engine.is_some() {
            self.end_engine(index, Down::Killed);
        }
        self.records += std::mem::take(&mut self.nodes[index].disk.view().records);
        let now = self.shared.clock.now();
        let node = &mut self.nodes[index];
        node.lose_state();
        (node.start_at, node.gone_at) = (None, Some(now));
        self.server_event(index, Fault::ServerGone);
        self.note_lost(index);
    }

    /// An empty machine takes the place of one that is gone.
    pub(crate) fn replace_gone(&mut self) {
        let now = self.shared.clock.now();
        for node in &mut self.nodes {
            if node.gone_at.take().is_some() && !node.retired {
                node.start_at = Some(now);
            }
        }
    }

    /// A machine stands still for longer than its word counts.
    pub(crate) fn fall_silent(&mut self, index: usize) {
        let Some(servers) = self.shared.options.servers else { return };
        if self.nodes[index].engine.is_some() {
            let valid = servers.valid_us();
            self.nodes[index].stalled_until = self.shared.clock.now() + self.rng.between(valid * 5 / 4, valid * 3);
            self.server_event(index, Fault::ServerSilent);
        }
    }

    /// An engine is told to execute nothing new; it is stopped some time later.
    pub(crate) fn drain(&mut self, index: usize) {
        if let Some(engine) = &mut self.nodes[index].engine {
            engine.drain();
            self.server_event(index, Fault::Drain);
        }
    }

    fn server_event(&self, index: usize, fault: Fault) {
        self.shared.count(fault);
        self.shared.note_at(index, fault.name(), &[]);
        self.shared.server_events.borrow_mut().push((index, self.shared.clock.now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_drawn_for_a_share_of_the_seeds() {
        let drawn: Vec<Options> = (0..500).map(Options::draw).filter(|options| options.servers.is_some()).collect();
        assert!((90..=120).contains(&drawn.len()), "{}", drawn.len());
        assert!(drawn.iter().any(|options| options.sealed));
        for options in &drawn {
            let places = places(options);
            let gateways = places.iter().filter(|place| place.side_number == 1 && place.is_gateway()).count();
            assert!((2..=3).contains(&gateways) && places.len() == options.norths + options.souths);
        }
        let met = |what: fn(&Servers) -> bool| drawn.iter().filter_map(|options| options.servers).filter(what).count();
        assert!(met(|servers| servers.alone) > 20 && met(|servers| servers.gone > 0) > 30);
        assert!(met(|servers| servers.silent > 0) > 30 && met(|servers| servers.drained > 0) > 30);
    }

    #[test]
    fn one_gateway_of_each_side_is_left_alone() {
        for seed in (0..400).filter(|seed| has_servers(*seed)) {
            let options = Options::draw(seed);
            let places = places(&options);
            let mut plan = Plan::default();
            plan.draw_servers(&options, &places, &mut Rng::new(seed));
            let last = |side: usize| {
                (0..places.len()).rfind(|at| places[*at].side_number == side && places[*at].is_gateway()).unwrap()
            };
            let spared = [last(0), last(1)];
            while let Some(trouble) = plan.take_due(u64::MAX) {
                assert!(
                    !matches!(trouble, Trouble::Gone(node) | Trouble::Silent(node) | Trouble::Drain(node) if spared.contains(&node)),
                    "seed {seed}: {trouble:?}"
                );
            }
        }
    }
}
