//! What befalls engines, disks, folders and the mirror, and when: drawn before the world begins.
//!
//! Invariant: a trouble is counted when it takes effect; one that finds nobody home does nothing. Test to read first:
//! `a_plan_follows_from_its_seed`.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use disk::log::Fault as DiskFault;

use crate::disk::Disk;
use crate::engine::Down;
use crate::faults::Fault;
use crate::node::{Aftermath, Node};
use crate::options::Options;
use crate::place::Place;
use crate::rng::Rng;
use crate::shared::Rewind;
use crate::time::SEC;
use crate::world::World;

/// A day, in milliseconds.
const DAY_MS: u64 = 86_400_000;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A call begins at a node.
    Call(usize),
    /// A node's engine ends by this fault.
    Crash(usize, Fault),
    /// The disk of a node's log fails at a call.
    Disk(usize, DiskFault),
    /// A node stands still.
    Stall(usize),
    /// A node's wall clock jumps.
    Jump(usize),
    /// A side's folders fail so, for a while.
    Folder(usize, Fault),
    /// A side's folders work again.
    FolderWell(usize),
    /// A direction of the mirror stands still.
    Outage(usize),
    /// A file that nobody sent appears.
    Forge,
    /// One record is eaten for a while.
    Poison,
    /// Everything sent until then is lost.
    Swallow(u64),
    /// A node loses its state folder.
    Lose(usize),
    /// An image of a node's state folder is taken.
    Image(usize),
    /// A node goes back to its image.
    Restore(usize),
    /// A second engine starts from a node's image.
    Clone(usize),
    /// A server is gone with its disk.
    Gone(usize),
    /// A server stands still for longer than its word counts.
    Silent(usize),
    /// A server drains.
    Drain(usize),
}

/// What is to happen.
#[derive(Debug, Default)]
pub struct Plan {
    due: BTreeMap<(u64, u64), Trouble>,
    tie: u64,
}

impl Plan {
    /// Draws.
    #[must_use]
    pub fn draw(options: &Options, places: &[Place], rng: &mut Rng) -> Self {
        let mut plan = Self::default();
        let span = options.faults_for_us;
        let last_call = options.lost_tail.map_or(span * 3 / 4, |(_, until)| until);
        for _ in 0..options.calls {
            let node = index(rng, places.len());
            plan.push(rng.below(last_call), Trouble::Call(node));
        }
        if let Some((from, until)) = options.lost_tail {
            plan.push(from, Trouble::Swallow(until));
        }
        let troubles = &options.troubles;
        let power = troubles.power_percent;
        plan.repeat(rng, span, troubles.crash, |rng| {
            let fault = match (rng.percent(power), rng.below(8)) {
                (true, 0..=3) => Fault::PowerCut,
                (true, _) => Fault::PowerCutAtCall,
                (false, 0..=2) => Fault::Kill,
                (false, 3..=6) => Fault::KillAtCall,
                (false, _) => Fault::Stop,
            };
            Trouble::Crash(index(rng, places.len()), fault)
        });
        plan.repeat(rng, span, troubles.disk, |rng| {
            let fault = if rng.percent(50) { DiskFault::Full } else { DiskFault::Broken };
            Trouble::Disk(index(rng, places.len()), fault)
        });
        plan.repeat(rng, span, troubles.stall, |rng| Trouble::Stall(index(rng, places.len())));
        plan.repeat(rng, span, troubles.jump, |rng| Trouble::Jump(index(rng, places.len())));
        plan.repeat(rng, span, troubles.outage, |rng| Trouble::Outage(index(rng, 2)));
        plan.repeat(rng, span, troubles.forge, |_| Trouble::Forge);
        plan.repeat(rng, span, troubles.poison, |_| Trouble::Poison);
        plan.repeat(rng, span, troubles.folder, |rng| {
            let fault = if rng.percent(50) { Fault::FolderFull } else { Fault::FolderBroken };
            Trouble::Folder(index(rng, 2), fault)
        });
        plan.draw_rare(options, places.len(), rng);
        plan.draw_servers(options, places, rng);
        plan
    }

    fn draw_rare(&mut self, options: &Options, nodes: usize, rng: &mut Rng) {
        let span = options.faults_for_us;
        let lost = options.rare.lose.then(|| (rng.between(span / 4, span * 3 / 4), index(rng, nodes)));
        if let Some((at, node)) = lost {
            self.push(at, Trouble::Lose(node));
        }
        for (wanted, clone) in [(options.rare.restore, false), (options.rare.clone, true)] {
            if wanted {
                let mut node = index(rng, nodes);
                let mut image_at = rng.below(span * 2 / 3);
                // Shortly after the image nothing came in that would tell at once that it is old.
                let latest = if rng.percent(50) { (image_at + options.latency_us * 6).min(span) } else { span };
                let mut at = rng.between(image_at, latest);
                if let Some((lost_at, lost)) = lost.filter(|_| !clone) {
                    // The copy of a folder that was lost: another life of that endpoint was met meanwhile.
                    (node, image_at, at) = (lost, image_at.min(lost_at / 2), rng.between(lost_at, span));
                }
                self.push(image_at, Trouble::Image(node));
                let trouble = if clone { Trouble::Clone(node) } else { Trouble::Restore(node) };
                self.push(at, trouble);
                // What is begun in between and after it goes under the same numbers.
                for _ in 0..rng.between(1, 4) {
                    self.push(rng.between(image_at, at), Trouble::Call(node));
                    self.push(at + rng.below(options.latency_us * 4 + 2 * SEC), Trouble::Call(node));
                }
            }
        }
    }

    fn repeat(&mut self, rng: &mut Rng, span: u64, mean: u64, mut what: impl FnMut(&mut Rng) -> Trouble) {
        if mean == 0 {
            return;
        }
        let mut at = rng.below(mean * 2);
        while at < span {
            let trouble = what(rng);
            self.push(at, trouble);
            at += rng.below(mean * 2) + 1;
        }
    }

    /// Adds something that happens then.
    pub fn push(&mut self, at: u64, trouble: Trouble) {
        self.tie += 1;
        self.due.insert((at, self.tie), trouble);
    }

    /// When the next thing happens.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the next thing that is due.
    pub fn take_due(&mut self, now: u64) -> Option<Trouble> {
        let first = self.due.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(first.remove())
    }

    /// Nothing more goes wrong; calls that are planned still begin.
    pub fn end_faults(&mut self) {
        self.due.retain(|_, trouble| matches!(trouble, Trouble::Call(_)));
    }
}

fn index(rng: &mut Rng, len: usize) -> usize {
    usize::try_from(rng.below(len as u64)).unwrap_or(0)
}

impl World {
    /// Lets it happen.
    pub(crate) fn befall(&mut self, trouble: Trouble) {
        let (now, span) = (self.shared.clock.now(), self.shared.options.faults_for_us);
        let latency = self.shared.options.latency_us;
        match trouble {
            Trouble::Call(node) => self.begin_call(node),
            Trouble::Crash(node, fault) => self.crash(node, fault),
            Trouble::Disk(node, fault) => self.break_disk(node, fault),
            Trouble::Stall(node) => {
                if self.nodes[node].engine.is_some() {
                    self.nodes[node].stalled_until = now + self.rng.between(latency / 2, latency * 20);
                    self.shared.count(Fault::Stall);
                }
            }
            Trouble::Jump(node) => {
                let off = i64::try_from(self.rng.below(2 * DAY_MS)).unwrap_or(0) - DAY_MS.cast_signed();
                self.nodes[node].wall_off_ms.store(off, Ordering::Relaxed);
                self.shared.count(Fault::ClockJump);
            }
            Trouble::Folder(side, fault) => {
                self.set_folder(side, Some(fault));
                let well = now + self.rng.between(latency / 4, latency * 8 + 2_000_000);
                self.plan.push(well, Trouble::FolderWell(side));
            }
            Trouble::FolderWell(side) => self.set_folder(side, None),
            Trouble::Outage(from) => {
                let until = (now + self.rng.between(latency * 2, latency * 40)).min(span);
                self.mirror.stand_still(from, until);
            }
            Trouble::Forge => self.forge(),
            Trouble::Poison => self.poison(),
            Trouble::Swallow(until) => self.mirror.swallow(until),
            Trouble::Lose(node) => self.lose(node),
            Trouble::Image(node) => {
                let disk = self.nodes[node].disk.image(self.rng.next() | 2);
                self.nodes[node].image = Some((now, disk));
            }
            Trouble::Restore(node) => self.restore(node),
            Trouble::Clone(node) => self.clone_node(node),
            Trouble::Gone(node) => self.machine_gone(node),
            Trouble::Silent(node) => self.fall_silent(node),
            Trouble::Drain(node) => self.drain(node),
        }
    }

    fn crash(&mut self, index: usize, fault: Fault) {
        let seed = self.rng.next() | 2;
        let seed = if self.rng.percent(15) { 0 } else { seed };
        let within = self.rng.below(60);
        let node = &mut self.nodes[index];
        if node.engine.is_none() && !matches!(fault, Fault::KillAtCall | Fault::PowerCutAtCall) {
            return;
        }
        self.shared.count(fault);
        match fault {
            Fault::Kill | Fault::PowerCut => {
                if fault == Fault::PowerCut {
                    node.aftermath = Aftermath::PowerCut(seed);
                }
                match (&mut node.engine, within) {
                    // In the middle of what one moment brings.
                    (Some(engine), 30..) => engine.turns_left = Some(within - 30),
                    _ => self.end_engine(index, Down::Killed),
                }
            }
            Fault::KillAtCall | Fault::PowerCutAtCall => {
                if fault == Fault::PowerCutAtCall {
                    node.aftermath = Aftermath::PowerCut(seed);
                }
                let call = node.disk.storage.calls() + within;
                node.disk.storage.fail_at(call, DiskFault::Stop);
            }
            _ => {
                if let Some(engine) = &mut node.engine {
                    engine.stop();
                }
            }
        }
    }

    fn break_disk(&mut self, index: usize, fault: DiskFault) {
        let node = &mut self.nodes[index];
        let call = node.disk.storage.calls() + self.rng.below(40);
        node.disk.storage.fail_at(call, fault);
        self.shared.count(if fault == DiskFault::Full { Fault::LogFull } else { Fault::LogBroken });
    }

    /// Sets what is wrong with the folders of a side.
    pub(crate) fn set_folder(&mut self, side: usize, trouble: Option<Fault>) {
        for node in self.nodes.iter().filter(|node| node.place.side_number == side) {
            node.outbox.set_trouble(trouble);
            node.inbox.set_trouble(trouble.filter(|fault| *fault == Fault::FolderBroken));
        }
    }

    fn stop_for_change(&mut self, index: usize) {
        if self.nodes[index].engine.is_some() {
            self.end_engine(index, Down::Killed);
        }
        self.records += std::mem::take(&mut self.nodes[index].disk.view().records);
    }

    /// The state folder of a node is lost: whatever it had accepted goes with it.
    pub(crate) fn lose(&mut self, index: usize) {
        self.stop_for_change(index);
        self.nodes[index].lose_state();
        self.shared.count(Fault::StateLost);
        self.note_lost(index);
    }

    /// Calls of a node whose memory of them is gone.
    pub(crate) fn note_lost(&mut self, index: usize) {
        let now = self.shared.clock.now();
        self.shared.losses.borrow_mut().push((index, now));
        for op in self.shared.oracle.borrow_mut().ops.values_mut().filter(|op| op.node == index) {
            op.forgotten = true;
        }
    }

    fn restore(&mut self, index: usize) {
        let Some((image_at, disk)) = self.nodes[index].image.take() else { return };
        self.stop_for_change(index);
        self.nodes[index].disk = disk;
        self.shared.count(Fault::Restore);
        self.rewind(index, image_at);
    }

    /// A node went back to an image: of what it accepted after that it knows nothing, and what it was told after that neither.
    fn rewind(&mut self, index: usize, image_at: u64) {
        self.shared.rewinds.borrow_mut().push(Rewind { node: index, image_at });
        for op in self.shared.oracle.borrow_mut().ops.values_mut().filter(|op| op.node == index) {
            op.forgotten = true;
        }
    }

    fn clone_node(&mut self, original: usize) {
        let Some((image_at, disk)) = self.nodes[original].image.take() else { return };
        let index = self.nodes.len();
        let place = self.nodes[original].place.clone();
        let side = place.side_number;
        let folders = [&self.mirror.outs[side], &self.mirror.ins[side]];
        let mut node = Node::new(index, place, folders, self.rng.split(200 + index as u64));
        node.original = original;
        node.disk = disk;
        node.start_at = Some(self.shared.clock.now());
        self.nodes.push(node);
        self.shared.originals.borrow_mut().insert(index, original);
        self.shared.count(Fault::Clone);
        for _ in 0..self.rng.between(2, 6) {
            let at = self.shared.clock.now() + self.rng.below(self.shared.options.latency_us * 8 + 2 * SEC);
            self.plan.push(at, Trouble::Call(index));
        }
        self.rewind(original, image_at);
    }

    /// A fresh disk for who must begin anew, as the remedy of an alarm says.
    pub(crate) fn begin_anew(&mut self, index: usize) {
        self.stop_for_change(index);
        self.nodes[index].disk = Disk::new();
        self.shared.note_at(index, "begins anew", &[]);
        self.note_lost(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_follows_from_its_seed() {
        let options = Options::draw(5);
        let places = [Place::gateway(0, 0), Place::gateway(1, 0)];
        let plan = |seed| Plan::draw(&options, &places, &mut Rng::new(seed)).due;
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
    }
}
