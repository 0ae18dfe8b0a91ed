//! A small world for tests: two endpoints, a mirror that loses, cuts, doubles, delays and reorders, disks that are durable late, crashes, lost
//! disks, cancelled calls. One seed decides everything; the same seed gives the same history.
//!
//! Checked all the time: a record is taken once for each association and is what was written; nothing is released that is not durable at the
//! other side; credit is never exceeded; a packet number is never used for two packets. Checked after the faults end: everything finishes in
//! bounded time, then both sides are quiet and hold nothing.

mod app;
mod node;

pub(crate) use node::header;

use crate::config::Config;
use crate::time::{Duration, Timestamp};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::rc::Rc;
use alloc::vec::Vec;
use bytes::Bytes;
use node::Node;
use wire::{Control, Header, Incarnation, Record, RecordHeader};

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub(crate) fn percent(&mut self, p: u64) -> bool {
        self.below(100) < p
    }
}

/// What is drawn from the seed. Times in µs, chances in percent.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    pub(crate) loss: u64,
    pub(crate) cut: u64,
    pub(crate) duplicate: u64,
    pub(crate) delay: (u64, u64),
    /// Of the packets: cannot be published.
    pub(crate) publish_fails: u64,
    /// Publishing takes up to this long, a commit up to half of it.
    pub(crate) jitter: u64,
    /// Mean time between crashes of a node; 0: none.
    pub(crate) crash_every: u64,
    /// Of the crashes: the disk is lost.
    pub(crate) disk_lost: u64,
    /// Of the commits: the log is rolled.
    pub(crate) roll: u64,
    /// The mirror stands still this long, now and then; 0: never.
    pub(crate) outage: u64,
    pub(crate) faults_for: u64,
    pub(crate) operations: [u64; 2],
    pub(crate) body_max: u64,
    pub(crate) chunk_max: u64,
    /// Of the operations: the first try is cancelled on the way.
    pub(crate) cancels: u64,
    /// Of the moments at a node: its disk is as full as it likes.
    pub(crate) pressure: u64,
    pub(crate) config: Config,
}

impl Options {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut rng = Rng(seed);
        // From milliseconds to most of an hour one way.
        let fast = 1_000 << if rng.percent(80) { rng.below(12) } else { rng.below(20) };
        let config = Config {
            expected_latency: Duration::from_micros(fast * rng.between(1, 20)),
            packet_bytes_target: rng.between(50_000, 1_000_000),
            receive_pool_bytes: rng.between(250_000, 3_000_000),
            stream_window_bytes: rng.between(300_000, 1_500_000),
            stream_window_bytes_max: rng.below(6_000_000),
            exchanges_max: rng.between(1, 20),
            send_log_bytes_max: rng.between(500_000, 5_000_000),
            ..Config::default()
        };
        Self {
            seed,
            loss: rng.below(40),
            cut: rng.below(40),
            duplicate: rng.below(20),
            publish_fails: rng.below(4),
            jitter: 10_000 << rng.below(7),
            delay: (fast, fast * rng.between(1, 6)),
            crash_every: if rng.percent(60) { fast * rng.between(5, 60) + 1_000_000 } else { 0 },
            disk_lost: if rng.percent(40) { rng.between(10, 60) } else { 0 },
            roll: rng.below(10),
            outage: if rng.percent(30) { fast * rng.between(5, 100) } else { 0 },
            faults_for: fast * rng.between(50, 400) + 5_000_000,
            operations: [rng.between(1, 24), rng.below(8)],
            body_max: 1 << rng.between(8, 18),
            chunk_max: rng.between(200, 120_000),
            cancels: if rng.percent(60) { rng.below(80) } else { 0 },
            pressure: rng.below(10),
            config,
        }
    }
}

/// A published file.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) header: Header,
    pub(crate) control: Control,
    pub(crate) records: Vec<Record>,
}

/// Records of one log under one association: (sender, its life, the recipient's life).
pub(crate) type BookKey = (usize, Incarnation, Incarnation);

/// What the checks know.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// Records that were written.
    pub(crate) written: BTreeMap<BookKey, BTreeMap<u64, (RecordHeader, Bytes)>>,
    /// Records that are durable at the recipient.
    pub(crate) durable: BTreeMap<BookKey, BTreeSet<u64>>,
    /// Packets by (sender, its life, number).
    pub(crate) packets: BTreeSet<(usize, Incarnation, u64)>,
    /// Operations that completed, by opener.
    pub(crate) completed: [BTreeSet<u64>; 2],
    pub(crate) associations: u64,
    /// Tombstones taken.
    pub(crate) tombstones: u64,
}

pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) now: u64,
    pub(crate) rng: Rng,
    pub(crate) nodes: Vec<Node>,
    pub(crate) truth: Truth,
    pub(crate) faults: bool,
    pub(crate) packets_published: u64,
    pub(crate) steps: u64,
    pub(crate) trace: u64,
    /// (time, tie) → (recipient, file, records that arrive).
    mirror: BTreeMap<(u64, u64), (usize, Rc<File>, usize)>,
    tie: u64,
    outage_until: u64,
}

impl World {
    pub(crate) fn new(options: Options) -> Self {
        let mut rng = Rng(options.seed ^ 0x5eed);
        let nodes = (0..2).map(|index| Node::new(index, &options, &mut rng)).collect();
        let mut world = Self {
            options,
            now: 1,
            rng,
            nodes,
            truth: Truth::default(),
            faults: true,
            packets_published: 0,
            steps: 0,
            trace: 0,
            mirror: BTreeMap::new(),
            tie: 0,
            outage_until: 0,
        };
        for index in 0..2 {
            world.start(index);
        }
        world
    }

    pub(crate) fn timestamp(&self) -> Timestamp {
        Timestamp::from_micros(self.now)
    }

    /// A file appears in the outbox: the mirror does with it what it likes.
    pub(crate) fn publish(&mut self, from: usize, file: File) {
        let key = (from, file.header.sender_incarnation, file.header.pn.get());
        assert!(self.truth.packets.insert(key), "packet number {key:?} used twice");
        self.packets_published += 1;
        self.trace =
            self.trace.wrapping_mul(31).wrapping_add(self.now ^ file.header.pn.get() << 8 ^ file.records.len() as u64);
        let file = Rc::new(file);
        let (loss, duplicate, cut) = match self.faults {
            true => (self.options.loss, self.options.duplicate, self.options.cut),
            false => (0, 0, 0),
        };
        if self.faults && self.options.outage > 0 && self.rng.percent(1) {
            self.outage_until = self.now + self.options.outage;
        }
        if self.rng.percent(loss) {
            return;
        }
        let copies = 1 + u64::from(self.rng.percent(duplicate));
        for _ in 0..copies {
            let (low, high) = self.options.delay;
            let at = self.now.max(self.outage_until) + self.rng.between(low, high);
            let arrives = if self.rng.percent(cut) {
                self.rng.below(file.records.len() as u64 + 1) as usize
            } else {
                file.records.len()
            };
            self.tie += 1;
            self.mirror.insert((at, self.tie), (1 - from, file.clone(), arrives));
        }
    }

    /// The next moment at which anything happens; whether there is one before `until`.
    pub(crate) fn step(&mut self, until: u64) -> bool {
        let mirror = self.mirror.keys().next().map(|(at, _)| *at);
        let next = self.nodes.iter().filter_map(|node| node.next(self.now)).chain(mirror).min();
        let Some(next) = next.filter(|next| *next <= until) else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(next);
        self.steps += 1;
        while let Some(entry) = self.mirror.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (to, file, arrives) = entry.remove();
            self.arrive(to, file, arrives);
        }
        for index in 0..2 {
            self.run(index);
        }
        true
    }

    /// Lets the faults rage, then ends them and waits until everything is done; the time that took after the faults.
    pub(crate) fn run_to_completion(&mut self) -> u64 {
        let end = self.options.faults_for;
        while self.step(end) {
            assert!(self.steps < 400_000, "endless activity with faults: {:?}", self.options);
        }
        self.faults = false;
        let begun = self.now;
        // Probe back-off may have grown to a multiple of the outage; a few round trips then finish everything.
        let limit = begun + 3_000_000_000 + 2_000 * self.options.delay.1;
        let steps = self.steps;
        while !self.is_done() {
            assert!(self.step(limit), "not done in time: {:?}\n{}", self.options, self.describe());
            assert!(self.steps - steps < 400_000, "endless activity: {:?}\n{}", self.options, self.describe());
        }
        self.now - begun
    }

    fn is_done(&self) -> bool {
        let operations = (0..2).all(|index| self.truth.completed[index].len() as u64 == self.options.operations[index]);
        operations && self.nodes.iter().all(Node::is_at_rest)
    }

    fn describe(&self) -> alloc::string::String {
        let of = |node: &Node| {
            alloc::format!("{:?}\n{:?}\n", node.peer.as_ref().map(|peer| peer.status(self.timestamp())), node.app)
        };
        alloc::format!("completed {:?}\n{}{}", self.truth.completed, of(&self.nodes[0]), of(&self.nodes[1]))
    }

    /// When nothing is left to do, only heartbeats pass.
    pub(crate) fn assert_quiet(&mut self) {
        let settle = self.now + 60_000_000 + 20 * self.options.delay.1;
        while self.step(settle) {}
        let (before, end) = (self.packets_published, self.now + 300_000_000);
        while self.step(end) {}
        let packets = self.packets_published - before;
        // The adaptive heartbeat is at least 5 s.
        assert!(packets <= 2 * 300 / 5 + 2, "{packets} packets in five idle minutes: {:?}", self.options);
        for (node, other) in [(&self.nodes[0], &self.nodes[1]), (&self.nodes[1], &self.nodes[0])] {
            let status_of = |node: &Node| node.peer.as_ref().unwrap().status(self.timestamp());
            let (status, theirs) = (status_of(node), status_of(other));
            assert_eq!(status.credit_log.1, theirs.granted_log.1, "both count the same credit: {:?}", self.options);
            assert_eq!(
                (status.in_flight_packets, status.backlog_records, status.halted),
                (0, 0, None),
                "{:?}",
                self.options
            );
            // What an earlier start left there goes by the floor.
            let left = node.outbox.range(status.pn_floor..).count();
            assert!(left <= 12, "{left} files left in the outbox: {:?}", self.options);
            // What waits for a life of the peer that is gone waits for its age.
            let left = node
                .inbox
                .values()
                .filter(|file| Some(file.file.header.sender_incarnation) == status.peer_incarnation)
                .count();
            assert!(left <= 2, "{left} files left in the inbox: {:?}", self.options);
        }
    }
}

#[cfg(test)]
mod tests;
