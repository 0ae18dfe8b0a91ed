//! The world of one seed: nodes, mirror, callers and troubles on one clock.
//!
//! Invariants: one thing happens at a time, in an order that follows from the seed; faults end at a fixed time, and from then on
//! nothing goes wrong but what was set in motion before. Checkers run at every step they can judge. Test to read first:
//! `a_quiet_world_answers_every_call`.

use std::rc::Rc;

use layer2_http::operation::OperationId;

use crate::callers;
use crate::checkers;
use crate::engine::{Deed, Down, Planned};
use crate::faults::Counts;
use crate::folder;
use crate::forge::Forger;
use crate::mirror::Mirror;
use crate::node::Node;
use crate::options::Options;
use crate::oracle::{Begin, Violation};
use crate::rng::Rng;
use crate::servers;
use crate::shared::Shared;
use crate::time::SEC;
use crate::trace::Trace;
use crate::troubles::Plan;

/// Steps beyond which a world is busy with nothing.
const STEPS_MAX: u64 = 400_000;

/// What became of a seed.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Broken promises, the first one first.
    pub violations: Vec<Violation>,
    /// Injected faults.
    pub faults: Counts,
    /// Records that engines took from others.
    pub records: u64,
    /// Steps.
    pub steps: u64,
    /// Hash of the history.
    pub hash: u64,
    /// Simulated seconds.
    pub simulated_s: u64,
    /// The last events, if they were kept.
    pub last_events: Vec<String>,
    /// How the engines stand, if something is held against one.
    pub states: Vec<String>,
}

/// Everything there is.
pub struct World {
    /// What all share.
    pub shared: Rc<Shared>,
    /// The machines.
    pub nodes: Vec<Node>,
    /// Between them.
    pub mirror: Mirror,
    /// Records that became durable on disks that are gone.
    pub records: u64,
    /// Steps so far.
    pub steps: u64,
    /// Facts that checkers keep.
    pub watch: checkers::Watch,
    pub(crate) forger: Forger,
    pub(crate) rng: Rng,
    pub(crate) plan: Plan,
    pub(crate) calls_begun: u64,
}

impl World {
    /// The world of these options, before its first moment.
    #[must_use]
    pub fn new(options: Options, trace: Trace) -> Self {
        let rng = Rng::new(options.seed ^ 0x51b0_57a7);
        let places = servers::places(&options);
        let plan = Plan::draw(&options, &places, &mut rng.split(1));
        let shared = Rc::new(Shared::new(options, trace));
        let mirror = Mirror::new(Rc::clone(&shared), rng.split(2));
        let nodes = places
            .into_iter()
            .enumerate()
            .map(|(index, place)| {
                let side = place.side_number;
                Node::new(index, place, [&mirror.outs[side], &mirror.ins[side]], rng.split(100 + index as u64))
            })
            .collect();
        let forger = Forger::new(rng.split(3));
        let watch = checkers::Watch::default();
        Self { shared, nodes, mirror, records: 0, steps: 0, watch, forger, rng: rng.split(4), plan, calls_begun: 0 }
    }

    /// Runs both phases and judges.
    #[must_use]
    pub fn run(mut self) -> Report {
        let end = self.shared.options.faults_for_us;
        while self.step(end) && self.is_sound() {}
        if self.is_sound() {
            self.end_faults();
            self.come_to_rest();
        }
        if self.is_sound() {
            checkers::at_the_end(&mut self);
        }
        self.report()
    }

    /// Nothing is held against anyone so far.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.shared.oracle.borrow().violations.is_empty()
    }

    /// What engines say of themselves, one line per pair.
    fn states(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for node in self.nodes.iter_mut().filter(|node| node.engine.is_some()) {
            let (index, me) = (node.index, node.place.me);
            let Some(engine) = &mut node.engine else { continue };
            let Some(status) = engine.status() else { continue };
            let (open, executions, tasks) = (status.open_operations_total, status.executions, engine.tasks());
            lines.push(format!("#{index} is {me}: {open} operations, {executions} executions, {tasks} tasks"));
            for open in status.open_operations {
                let number = OperationId::parse(&open.id).map_or(u64::MAX, |id| self.shared.number(id));
                lines.push(format!("#{index} call {number} is {} for {} ms: {}", open.state, open.age_ms, open.id));
            }
            for peer in status.peers {
                lines.push(format!(
                    "#{index} to {}: next {} acked {} received {} of {} backlog {} blocked {} in flight {} suspended {} halted {:?} {}",
                    peer.endpoint,
                    peer.next,
                    peer.acknowledged,
                    peer.received_up_to,
                    peer.peer_next,
                    peer.backlog_records,
                    peer.blocked_records,
                    peer.in_flight_packets,
                    peer.suspended,
                    peer.halted.map(|alarm| alarm.name),
                    peer.incarnation.unwrap_or_default(),
                ));
            }
        }
        lines
    }

    fn report(mut self) -> Report {
        let states = if self.is_sound() { Vec::new() } else { self.states() };
        let records = self.records + self.nodes.iter().map(|node| node.disk.view().records).sum::<u64>();
        let trace = self.shared.trace.borrow();
        Report {
            seed: self.shared.options.seed,
            violations: self.shared.oracle.borrow().violations.clone(),
            faults: self.shared.counts.borrow().clone(),
            records,
            steps: self.steps,
            hash: trace.hash(),
            simulated_s: self.shared.clock.now() / SEC,
            last_events: trace.last(60),
            states,
        }
    }

    /// The next moment at which anything happens, up to `until`; false if there is none before.
    pub fn step(&mut self, until: u64) -> bool {
        let nodes = self.nodes.iter().filter_map(Node::due);
        let others = [self.mirror.due(), self.shared.clock.next_due(), self.plan.due()].into_iter().flatten();
        let next = nodes.chain(others).min().filter(|next| *next <= until);
        let Some(next) = next else {
            self.shared.clock.set(until);
            return false;
        };
        self.shared.clock.set(next);
        self.steps += 1;
        if self.steps > STEPS_MAX {
            self.shared.blame("L2", format!("endless activity: {STEPS_MAX} steps"));
            return false;
        }
        while let Some(trouble) = self.plan.take_due(self.shared.clock.now()) {
            self.befall(trouble);
        }
        let arrived = self.mirror.run();
        for node in &mut self.nodes {
            let hinted = self.rng.percent(self.shared.options.hint_percent);
            if arrived[node.place.side_number]
                && hinted
                && let Some(engine) = &mut node.engine
            {
                engine.hint();
            }
        }
        self.shared.clock.wake_due();
        for index in 0..self.nodes.len() {
            self.run_node(index);
        }
        true
    }

    fn run_node(&mut self, index: usize) {
        let now = self.shared.clock.now();
        let node = &mut self.nodes[index];
        if node.stalled_until > now || node.due().is_none_or(|due| due > now) {
            return;
        }
        if node.engine.is_none() {
            if let Some(what) = node.start(&self.shared) {
                self.shared.blame("S1", format!("node {index} cannot start from its log: {what}"));
            }
            self.resume_callers(index);
        }
        let Some(engine) = &mut self.nodes[index].engine else { return };
        let ran = engine.run();
        self.take_deeds(index);
        if let Err(down) = ran {
            self.end_engine(index, down);
        }
    }

    /// The engine is gone; what it last said of its counters is kept.
    pub(crate) fn end_engine(&mut self, index: usize, down: Down) {
        self.take_deeds(index);
        self.nodes[index].ended(&self.shared, down);
    }

    /// Callers whose engine ended ask its next start for their results.
    fn resume_callers(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if node.original != index {
            return;
        }
        let Some(engine) = &mut node.engine else { return };
        let oracle = self.shared.oracle.borrow();
        let left = oracle.ops.iter().filter(|(_, op)| {
            op.node == index
                && matches!(op.begin, Begin::Accepted | Begin::Unanswered)
                && op.delivered == 0
                && op.problems.is_empty()
                && op.told.is_none()
                && !op.forgotten
                && (!op.gone || op.chosen)
        });
        for (id, op) in left {
            if op.chosen || op.detached || op.number % 3 == 0 {
                engine.spawn(callers::fetch(Rc::clone(&self.shared), *id, engine.handle.clone()));
            }
        }
    }

    fn take_deeds(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let side = node.place.side_number;
        let deeds = node.engine.as_mut().map(crate::engine::Engine::take_deeds).unwrap_or_default();
        let (in_outbox, met) = node.outbox.take_deeds();
        self.shared.counts.borrow_mut().merge(&met);
        let (in_inbox, met) = node.inbox.take_deeds();
        self.shared.counts.borrow_mut().merge(&met);
        let mut plans = Vec::new();
        for deed in deeds {
            match deed {
                Deed::Publishes(planned) => plans.push(planned),
                Deed::Verified(header) => checkers::verified(&self.shared, &self.forger, index, &header),
                Deed::Given(sender, life, records) => {
                    self.watch.given(&self.shared, &self.nodes[index], (sender, life), &records);
                }
            }
        }
        if !self.shared.rewinds.borrow().is_empty() {
            self.watch.remember_held(&self.nodes[index]);
        }
        let mut plans = plans.into_iter();
        for deed in in_outbox {
            match deed {
                folder::Deed::Published(path) => {
                    let pn = pn_of(&path);
                    // Packets to an endpoint and to its side are numbered apart.
                    let recipient = |planned: &Planned| path.starts_with(&planned.recipient.to_hex32());
                    let Some(planned) = plans.find(|planned| Some(planned.pn) == pn && recipient(planned)) else {
                        continue;
                    };
                    self.shared.note_at(index, "publishes", &[planned.pn, planned.seqs.len() as u64]);
                    for record in &planned.records {
                        self.shared.note_at(index, "  record", record);
                    }
                    self.watch.published(&self.shared, &self.nodes, index, &planned, &self.mirror.outs[side], &path);
                    self.mirror.published(side, path, &planned.seqs);
                }
                folder::Deed::Removed(path, _) => {
                    self.watch.removed_from_outbox(&self.shared, &self.nodes, index, &path);
                    self.mirror.removed_at_sender(side, path);
                }
            }
        }
        for deed in in_inbox {
            if let folder::Deed::Removed(path, len) = deed {
                let whole = self.mirror.len_of(1 - side, &path) == Some(len);
                if whole && !self.mirror.was_damaged(&path) && !self.mirror.has_copy(side, &path, len) {
                    self.watch.removed_from_inbox(&self.shared, &self.nodes, index, &path);
                }
                self.mirror.removed_at_reader(side, &path);
            }
        }
    }

    /// Begins the next call at a node, as long as its engine runs.
    pub(crate) fn begin_call(&mut self, index: usize) {
        let now = self.shared.clock.now();
        let number = self.calls_begun;
        self.calls_begun += 1;
        let plan = callers::draw(&mut self.rng, number, &self.shared);
        let node = &mut self.nodes[index];
        let Some(engine) = &mut node.engine else { return };
        self.shared.oracle.borrow_mut().ops.insert(plan.id, plan.op(index, now));
        let details =
            [plan.number, plan.class as u64, plan.request_len, u64::from(plan.chosen), plan.cut_at.unwrap_or(u64::MAX)];
        self.shared.note_at(index, "asks", &details);
        engine.spawn(callers::call(Rc::clone(&self.shared), plan, engine.handle.clone()));
    }
}

/// The packet number in a file's name.
fn pn_of(path: &str) -> Option<u64> {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    u64::from_str_radix(name.get(..16)?, 16).ok()
}
