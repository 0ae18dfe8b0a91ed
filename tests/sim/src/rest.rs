//! The second phase: faults end, remedies are applied, everything finishes in bounded time, and then it is quiet.
//!
//! Invariants: the operator does only what an alarm's remedy says; after the bound nothing may be open. L3 and L4 are here: an
//! association that was reset opens again, and no class of calls is left behind. Test to read first:
//! `a_quiet_world_answers_every_call`.

use crate::checkers;
use crate::engine::Down;
use crate::node::Aftermath;
use crate::time::SEC;
use crate::world::World;

/// Remedies per node beyond which they are no remedies.
const REMEDIES_MAX: u64 = 6;

impl World {
    /// From now on nothing goes wrong.
    pub(crate) fn end_faults(&mut self) {
        self.shared.note("faults end", &[]);
        if self.shared.options.only_poison {
            checkers::l5_a_poisoned_record_does_not_stop_the_others(self);
        }
        if self.shared.options.lost_tail.is_some() {
            checkers::l1_a_lost_tail_is_found_without_a_heartbeat(self);
        }
        checkers::l1_calls_go_to_the_servers_that_are_there(self);
        self.plan.end_faults();
        self.mirror.end_faults();
        self.replace_gone();
        for side in 0..2 {
            self.set_folder(side, None);
        }
        for index in 0..self.nodes.len() {
            let clone = self.nodes[index].original != index;
            if clone && self.nodes[index].engine.is_some() {
                self.end_engine(index, Down::Stopped);
            }
            let node = &mut self.nodes[index];
            node.retired |= clone;
            node.disk.storage.fail_at(u64::MAX, disk::log::Fault::Stop);
            node.aftermath = Aftermath::Kept;
            node.stalled_until = 0;
            if let Some(engine) = &mut node.engine {
                engine.turns_left = None;
            }
            if node.retired {
                node.start_at = None;
            }
            if clone {
                // The remedy of a fork: one of the two is stopped, the other one starts with a new incarnation.
                let original = self.nodes[index].original;
                self.begin_anew(original);
            }
        }
    }

    /// Goes on until everything is done, then watches that it is quiet.
    pub(crate) fn come_to_rest(&mut self) {
        let latency = self.shared.options.latency_us;
        // Probe back-off may have grown to a multiple of the outage; a few round trips then finish everything.
        let limit = self.shared.clock.now() + 3_600 * SEC + 3_000 * latency;
        let interval = (latency * 4).clamp(2 * SEC, 120 * SEC);
        let mut remedies = 0;
        loop {
            let until = self.shared.clock.now() + interval;
            while self.step(until) && self.is_sound() {}
            if !self.is_sound() {
                return;
            }
            if self.apply_remedies() {
                remedies += 1;
                if remedies > REMEDIES_MAX * self.nodes.len() as u64 {
                    return self.shared.blame("L3", "the pairs are halted again and again".to_owned());
                }
                continue;
            }
            match self.open_business() {
                None => break,
                Some(what) if self.shared.clock.now() > limit => {
                    return self.shared.blame("L1", format!("not done in time: {what}"));
                }
                Some(_) => {}
            }
        }
        self.watch_quiet();
    }

    /// Does what alarms ask for; true if there was one.
    fn apply_remedies(&mut self) -> bool {
        for index in 0..self.nodes.len() {
            let Some(engine) = &mut self.nodes[index].engine else { continue };
            let Some(status) = engine.status() else { continue };
            let Some(halted) = status.peers.iter().find(|peer| peer.halted.is_some()) else { continue };
            let name = halted.halted.as_ref().map_or("", |alarm| alarm.name);
            let peer = self.nodes.iter().position(|node| node.place.me.to_string() == halted.endpoint);
            let who = if name == "forked" { peer.unwrap_or(index) } else { index };
            if self.shared.rewinds.borrow().is_empty() {
                let what = format!("node {index} halted its pair by `{name}` though nobody went back in time");
                self.shared.blame("L3", what);
            }
            self.begin_anew(who);
            return true;
        }
        false
    }

    /// What is still to be done.
    fn open_business(&mut self) -> Option<String> {
        if self.plan.due().is_some() {
            return Some("calls are still to begin".to_owned());
        }
        for node in &mut self.nodes {
            let index = node.index;
            if node.retired {
                continue;
            }
            let Some(engine) = &mut node.engine else { return Some(format!("node {index} does not run")) };
            let Some(status) = engine.status() else { return Some(format!("node {index} does not answer")) };
            if engine.tasks() > 0 {
                return Some(format!("node {index} has {} callers or executions left", engine.tasks()));
            }
            if status.open_operations_total > 0 || status.executions > 0 {
                let (open, executions) = (status.open_operations_total, status.executions);
                return Some(format!("node {index} has {open} open operations and {executions} executions"));
            }
            let busy = status.peers.iter().find(|peer| {
                let alone = peer.incarnation.is_none() && peer.next > 1;
                alone || peer.backlog_records > 0 || peer.in_flight_packets > 0
            });
            if let Some(peer) = busy {
                let (backlog, flight) = (peer.backlog_records, peer.in_flight_packets);
                let to = &peer.endpoint;
                return Some(format!(
                    "node {index} to {to}: {backlog} records, {flight} packets, {:?}",
                    peer.incarnation
                ));
            }
        }
        None
    }

    /// S13: ack-only traffic never elicits acks: an idle system quiesces to heartbeats, which are at least five seconds apart.
    fn watch_quiet(&mut self) {
        let latency = self.shared.options.latency_us;
        let settle = self.shared.clock.now() + 30 * SEC + 20 * latency;
        while self.step(settle) && self.is_sound() {}
        let (before, with_records) = (self.watch.packets, self.watch.with_records);
        let end = self.shared.clock.now() + 120 * SEC;
        while self.step(end) && self.is_sound() {}
        let packets = self.watch.packets - before;
        let pairs: u64 = (self.shared.options.norths * self.shared.options.souths * 2) as u64;
        let servers = self.nodes.iter().filter(|node| node.place.is_gateway()).count() as u64;
        let announcers = self.shared.options.servers.map_or(0, |_| servers);
        let allowed = (pairs + announcers) * (120 / 5 + 2);
        if packets > allowed {
            self.shared.blame("S13", format!("{packets} packets in two idle minutes, {allowed} allowed"));
        }
        if self.watch.with_records > with_records {
            self.shared.blame("S13", "records were sent though nothing was to be done".to_owned());
        }
    }
}
