//! Properties of what engines publish and read, judged file by file against disks and folders.

use std::collections::{BTreeMap, BTreeSet};

use disk::dir::{Dir, MemDir};
use wire::header::{HEADER_LEN, Header};
use wire::{EndpointId, Incarnation, RangeSet};

use super::fork::Forks;
use super::servers::NEWER_ANNOUNCEMENTS;
use crate::engine::{Planned, suite};
use crate::forge::Forger;
use crate::node::Node;
use crate::shared::Shared;
use crate::time::SEC;

/// One direction of one association: sender, its life, the recipient, its life.
type Way = (EndpointId, Incarnation, EndpointId, Incarnation);

/// What was said on a way, by the newest packet.
#[derive(Clone, Debug, Default)]
struct Said {
    pn: u64,
    cum: u64,
    una_seen: u64,
    max_log_bytes: u64,
    max_exchanges: u64,
    pn_floor: u64,
    /// The largest number of a packet of the peer, by which start of the engine: a start begins anew.
    largest: (u64, u64),
    /// Everything that was ever acknowledged, cumulatively or not.
    held: RangeSet,
}

/// What checkers keep of the past.
#[derive(Debug, Default)]
pub struct Watch {
    said: BTreeMap<Way, Said>,
    salts: BTreeMap<[u8; 32], (EndpointId, Incarnation, u64)>,
    numbers: BTreeSet<(EndpointId, Incarnation, EndpointId, u64)>,
    newest: BTreeMap<String, u64>,
    files: BTreeMap<String, Packet>,
    reported: BTreeMap<Way, Reported>,
    forks: Forks,
    /// The records of each packet.
    carried: BTreeMap<(Way, u64), Vec<u64>>,
    /// Packets published.
    pub packets: u64,
    /// Of them with records.
    pub with_records: u64,
}

/// S5: no frame is used unless a pinned key signed for it. S11: a replayed, reflected, spoofed or re-addressed file changes
/// nothing: forged ones are not even shown to the driver, and a packet of my own never is.
/// S14: the suite used is in the pinned set.
pub fn verified(shared: &Shared, forger: &Forger, node: usize, header: &Header) {
    s5_only_genuine_packets_are_verified(shared, forger, node, header);
    s14_the_suite_is_the_pinned_one(shared, node, header);
}

fn s5_only_genuine_packets_are_verified(shared: &Shared, forger: &Forger, node: usize, header: &Header) {
    if forger.made(header) {
        shared.blame("S5", format!("node {node} took a forged packet for genuine: {header:?}"));
    }
    if header.sender == header.recipient {
        shared.blame("S11", format!("node {node} was shown a packet of its own: {header:?}"));
    }
}

fn s14_the_suite_is_the_pinned_one(shared: &Shared, node: usize, header: &Header) {
    if header.suite().ok() != Some(suite(shared)) {
        shared.blame("S14", format!("node {node} took a packet of suite {}", header.suite_number));
    }
}

impl Watch {
    /// The highest record number that went under names that begin so.
    #[must_use]
    pub fn newest_seq(&self, prefix: &str) -> Option<u64> {
        self.newest.get(prefix).copied()
    }

    /// A node's driver was given these records of a peer's life.
    pub fn given(
        &mut self,
        shared: &Shared,
        node: &Node,
        from: (EndpointId, Incarnation),
        records: &[(u64, wire::Digest)],
    ) {
        self.forks.given(shared, node, from, records);
    }

    /// A node's step is over.
    pub fn remember_held(&mut self, node: &Node) {
        self.forks.remember_held(node);
    }

    /// A packet lies in its sender's folder.
    pub fn published(
        &mut self,
        shared: &Shared,
        nodes: &[Node],
        index: usize,
        planned: &Planned,
        folder: &MemDir,
        path: &str,
    ) {
        self.packets += 1;
        self.with_records += u64::from(!planned.seqs.is_empty());
        let prefix: String = path.split('/').take(2).collect::<Vec<_>>().join("/");
        if let Some(newest) = planned.seqs.last() {
            let known = self.newest.entry(prefix).or_default();
            *known = (*known).max(*newest);
        }
        self.remember(shared, &nodes[index], planned, path);
        self.s6_no_salt_twice(shared, index, folder, path);
        self.s6_no_number_twice(shared, nodes, index, planned);
        s2_a_record_is_taken_once(shared, &nodes[index]);
        self.s1_what_is_acknowledged_is_durable(shared, nodes, index, planned);
        self.s1_what_is_complete_is_durable(shared, nodes, index, planned);
        self.s7_what_was_said_is_not_taken_back(shared, nodes, index, planned);
        s1_what_is_released_is_durable_at_the_receiver(shared, nodes, index);
        self.forks.s4_a_forked_pair_halts(shared, &nodes[index], planned);
        self.forks.s1_what_is_released_is_what_was_written(shared, nodes, index);
        s16_a_closed_life_never_comes_back(shared, nodes, index);
    }

    fn remember(&mut self, shared: &Shared, node: &Node, planned: &Planned, path: &str) {
        let packet =
            Packet {
                sender: node.place.me,
                incarnation: planned.incarnation,
                recipient: planned.recipient,
                recipient_incarnation: planned.recipient_incarnation,
                pn: planned.pn,
                seqs: planned.seqs.clone(),
                at: shared.clock.now(),
                start: node.starts,
                is_presence: planned.control.presence.is_some(),
                // Answers to strangers say nothing of a log.
                member: planned.control.log.is_some()
                    && node.disk.view().pairs.get(&planned.recipient).is_some_and(|pair| {
                        pair.association == Some((planned.incarnation, planned.recipient_incarnation))
                    }),
            };
        if let Some(report) = &planned.control.packets {
            let reported = self.reported.entry(packet.way()).or_default();
            reported.largest = reported.largest.max(report.largest);
            for set in [&report.complete, &report.partial, &report.unopenable] {
                reported.closed.union(set);
            }
        }
        if let Some(ack) = &planned.control.ack {
            let reported = self.reported.entry(packet.way()).or_default();
            reported.cum = reported.cum.max(ack.cum);
        }
        if let Some(log) = &planned.control.log {
            let said = self.said.entry(packet.way()).or_default();
            said.pn_floor = said.pn_floor.max(log.pn_floor);
        }
        if !packet.seqs.is_empty() {
            self.carried.insert((packet.way(), packet.pn), packet.seqs.clone());
        }
        self.files.insert(path.to_owned(), packet);
    }

    /// S6: no (key, nonce) pair seals two different plaintexts. The key follows from the header with its salt, and every salt
    /// follows from the content (protocol §2): an equal salt over other octets is the violation.
    fn s6_no_salt_twice(&mut self, shared: &Shared, index: usize, folder: &MemDir, path: &str) {
        let mut bytes = [0; HEADER_LEN];
        if folder.read_at(path, 0, &mut bytes).is_err() {
            return;
        }
        let Ok(header) = Header::parse(&bytes) else {
            shared.blame("S6", format!("node {index} published a file without a header: {path}"));
            return;
        };
        let mine = (header.sender, header.sender_incarnation, header.pn.get());
        if let Some(other) = self.salts.insert(header.salt, mine) {
            shared.blame("S6", format!("node {index} used a salt twice: {other:?} and {mine:?}"));
        }
    }

    /// A packet number is used once: "pn must survive for the protocol, or each crash looks like a fork" (protocol §2). An
    /// endpoint that went back in time, or has a twin, cannot know.
    fn s6_no_number_twice(&mut self, shared: &Shared, nodes: &[Node], index: usize, planned: &Planned) {
        let me = nodes[index].place.me;
        let fresh = self.numbers.insert((me, planned.incarnation, planned.recipient, planned.pn));
        if !fresh && !has_rewound(shared, nodes, index) {
            shared.blame("S6", format!("node {index} used packet number {} twice", planned.pn));
        }
    }

    /// S1 and rule 1: "Ack, and send, only what is fsynced". Every acknowledged record is durable on the disk of who says so.
    /// S8: a SACK is durable, and stays.
    fn s1_what_is_acknowledged_is_durable(&mut self, shared: &Shared, nodes: &[Node], index: usize, planned: &Planned) {
        let view = nodes[index].disk.view();
        let Some(ack) = &planned.control.ack else { return };
        let Some(pair) = view.pairs.get(&planned.recipient) else {
            shared.blame("S1", format!("node {index} acknowledges without an association on its disk"));
            return;
        };
        if pair.association != Some((planned.incarnation, planned.recipient_incarnation)) {
            return;
        }
        if ack.cum > 0 && !pair.received.covers(1, ack.cum) {
            let what = format!("node {index} acknowledges record {}, but only {} is durable", ack.cum, pair.whole_to());
            shared.blame("S1", what);
        }
        for (low, high) in planned.control.sack.iter().flat_map(RangeSet::iter) {
            if !pair.received.covers(low, high) {
                shared.blame("S8", format!("node {index} lists records {low} to {high}, which are not durable"));
            }
        }
    }

    /// S1: a packet that is reported as complete was taken in full: every record of it is durable on the disk of who says so.
    /// Where one of both went back in time, numbers have two meanings.
    fn s1_what_is_complete_is_durable(&self, shared: &Shared, nodes: &[Node], index: usize, planned: &Planned) {
        let Some(report) = &planned.control.packets else { return };
        let sender = nodes.iter().find(|node| node.place.me == planned.recipient).map_or(index, |node| node.index);
        if has_rewound(shared, nodes, index) || has_rewound(shared, nodes, sender) {
            return;
        }
        let view = nodes[index].disk.view();
        let Some(pair) = view.pairs.get(&planned.recipient) else { return };
        if pair.association != Some((planned.incarnation, planned.recipient_incarnation)) {
            return;
        }
        let way = (planned.recipient, planned.recipient_incarnation, nodes[index].place.me, planned.incarnation);
        for pn in report.complete.values() {
            let seqs = self.carried.get(&(way, pn)).into_iter().flatten();
            if let Some(seq) = seqs.copied().find(|seq| !pair.received.contains(*seq)) {
                let what = format!("node {index} reports packet {pn} as complete and does not hold its record {seq}");
                shared.blame("S1", what);
                return;
            }
        }
    }

    /// S7: cum, una_seen, credits are monotone per incarnation, in the order of packet numbers.
    fn s7_what_was_said_is_not_taken_back(&mut self, shared: &Shared, nodes: &[Node], index: usize, planned: &Planned) {
        if has_rewound(shared, nodes, index) {
            return;
        }
        let me = nodes[index].place.me;
        let way = (me, planned.incarnation, planned.recipient, planned.recipient_incarnation);
        let said = self.said.entry(way).or_default();
        if planned.pn <= said.pn {
            return;
        }
        said.pn = planned.pn;
        let mut back = Vec::new();
        let mut check = |what: &'static str, before: &mut u64, now: u64| {
            if now < *before {
                back.push(format!("{what} from {before} to {now}"));
            }
            *before = now;
        };
        if let Some(ack) = &planned.control.ack {
            check("cum", &mut said.cum, ack.cum);
            check("una_seen", &mut said.una_seen, ack.una_seen);
            if ack.cum > 0 {
                said.held.insert_range(1..=ack.cum);
            }
        }
        if let Some(credit) = &planned.control.credit {
            check("log credit", &mut said.max_log_bytes, credit.max_log_bytes);
            check("exchanges", &mut said.max_exchanges, credit.max_exchanges);
        }
        if let Some(report) = &planned.control.packets {
            let start = nodes[index].starts;
            if said.largest.0 == start {
                check("largest packet", &mut said.largest.1, report.largest);
            }
            said.largest = (start, report.largest);
        }
        if let Some(sack) = &planned.control.sack {
            said.held.union(sack);
        }
        for what in back {
            shared.blame("S7", format!("node {index} took back in packet {}: {what}", planned.pn));
        }
        s8_a_sack_stays(shared, nodes, index, planned, &self.said[&way].held);
    }

    /// S10, sender: "it has records and cum passed them all; or pn reported closed; or age > MPL. Without records: a later pn of
    /// mine was listed or echoed" (protocol §3). The end of its association is the end of a packet too: nothing of it counts. So
    /// is the end of its engine: what an earlier start left goes below "`pn_floor` (lower packets need no closing)".
    pub fn removed_from_outbox(&mut self, shared: &Shared, nodes: &[Node], index: usize, path: &str) {
        let Some(packet) = self.files.get(path) else { return };
        if packet.is_presence {
            return self.presence_removed(shared, nodes, index, path);
        }
        let me = nodes[index].place.me;
        let Some(receiver) = nodes.iter().find(|node| node.place.me == packet.recipient && node.original == node.index)
        else {
            return;
        };
        if has_rewound(shared, nodes, index) || has_rewound(shared, nodes, receiver.index) {
            return;
        }
        let life = (packet.incarnation, packet.recipient_incarnation);
        let current = nodes[index].disk.view().pairs.get(&packet.recipient).and_then(|pair| pair.association);
        if current != Some(life) {
            return;
        }
        if packet.start != nodes[index].starts || !packet.member {
            return;
        }
        let way = (packet.recipient, packet.recipient_incarnation, me, packet.incarnation);
        let reported = self.reported.get(&way);
        let closed = reported.is_some_and(|reported| reported.closed.contains(packet.pn));
        let seen = reported.is_some_and(|reported| reported.largest >= packet.pn);
        let cum = reported.map_or(0, |reported| reported.cum);
        let held = packet.seqs.iter().all(|seq| *seq <= cum);
        let fine = if packet.seqs.is_empty() { seen || closed } else { closed || held };
        if !fine && !packet.superseded(shared.clock.now()) {
            let (pn, seqs, largest) = (packet.pn, &packet.seqs, reported.map_or(0, |reported| reported.largest));
            let what = format!("packet {pn} with records {seqs:?} before its time, reported up to {largest}: {path}");
            shared.blame("S10", format!("node {index} removed {what}"));
        }
    }

    /// S10, receiver: "all usable frames durable and file closed": a whole file that its reader removes has its records on the
    /// reader's disk, as long as its association lasts. Where its sender has a twin the pair is halted by the fork alarm, and
    /// "nothing is released, delivered or sent any more".
    pub fn removed_from_inbox(&mut self, shared: &Shared, nodes: &[Node], index: usize, path: &str) {
        let Some(packet) = self.files.get(path) else { return };
        if packet.is_presence {
            return self.presence_removed(shared, nodes, index, path);
        }
        let sender = nodes.iter().find(|node| node.place.me == packet.sender).map_or(index, |node| node.index);
        let rewound = has_rewound(shared, nodes, index) || has_rewound(shared, nodes, sender);
        if nodes[index].place.me != packet.recipient || rewound {
            return;
        }
        let view = nodes[index].disk.view();
        let Some(pair) = view.pairs.get(&packet.sender) else { return };
        let lives = pair.association.filter(|(mine, _)| view.life == Some(*mine));
        if lives != Some((packet.recipient_incarnation, packet.incarnation)) {
            return;
        }
        let floor = self.said.get(&packet.way()).map_or(0, |said| said.pn_floor);
        let missing = packet.seqs.iter().find(|seq| !pair.received.contains(**seq));
        if let Some(seq) = missing
            && packet.pn >= floor
        {
            shared.blame("S10", format!("node {index} removed packet {} without record {seq}: {path}", packet.pn));
        }
    }
}

impl Watch {
    /// S10, presence: "two newer ones of that sender and incarnation are there", or newer ones of a later life; whoever removes it. No
    /// world is as old as a packet may get.
    fn presence_removed(&self, shared: &Shared, nodes: &[Node], index: usize, path: &str) {
        let Some(packet) = self.files.get(path) else { return };
        let sender = nodes.iter().find(|node| node.place.me == packet.sender).map_or(index, |node| node.index);
        if has_rewound(shared, nodes, sender) {
            return;
        }
        let is_newer = |other: &&Packet| {
            let same_life = other.incarnation == packet.incarnation;
            other.is_presence
                && other.sender == packet.sender
                && (same_life && other.pn > packet.pn || !same_life && other.at > packet.at)
        };
        let newer = self.files.values().filter(is_newer).count();
        // Of two copies one may go.
        if newer < NEWER_ANNOUNCEMENTS && !nodes[index].inbox.has_copy(path) {
            let what = format!("announcement {} of {} with {newer} newer ones: {path}", packet.pn, packet.sender);
            shared.blame("S10", format!("node {index} removed {what}"));
        }
    }
}

/// A packet that was published.
#[derive(Clone, Debug)]
struct Packet {
    sender: EndpointId,
    incarnation: Incarnation,
    recipient: EndpointId,
    recipient_incarnation: Incarnation,
    pn: u64,
    seqs: Vec<u64>,
    at: u64,
    /// The start of its engine.
    start: u64,
    /// It says to a whole side that its sender executes calls.
    is_presence: bool,
    /// Its association was open; else it was an answer to a stranger, and done with once that is none any more.
    member: bool,
}

impl Packet {
    fn way(&self) -> Way {
        (self.sender, self.incarnation, self.recipient, self.recipient_incarnation)
    }

    /// "Superseded probe or ack: 8 newer ones and age > 1 h" (protocol §3): only the age is looked at.
    fn superseded(&self, now: u64) -> bool {
        now.saturating_sub(self.at) > 3_600 * SEC && self.seqs.is_empty()
    }
}

/// What a reader said of the packets of a writer.
#[derive(Clone, Debug, Default)]
struct Reported {
    largest: u64,
    closed: RangeSet,
    cum: u64,
}

/// S2, of records: "everything ≤ cum is a duplicate forever", and what is held beyond it too: a record of an association is taken into
/// the log once, and so it is handed over once. Where its sender went back in time, two records have one number.
fn s2_a_record_is_taken_once(shared: &Shared, node: &Node) {
    let twice = node.disk.view().taken_twice;
    if let Some((peer, seq)) = twice.filter(|_| shared.rewinds.borrow().is_empty()) {
        shared.blame("S2", format!("node {} took record {seq} of {peer} twice", node.index));
    }
}

/// S8: what was ever listed stays taken: it is still durable on the disk of who listed it.
fn s8_a_sack_stays(shared: &Shared, nodes: &[Node], index: usize, planned: &Planned, held: &RangeSet) {
    let view = nodes[index].disk.view();
    let Some(pair) = view.pairs.get(&planned.recipient) else { return };
    if pair.association != Some((planned.incarnation, planned.recipient_incarnation)) {
        return;
    }
    if let Some((low, high)) = held.iter().find(|(low, high)| !pair.received.covers(*low, *high)) {
        shared
            .blame("S8", format!("node {index} once listed records {low} to {high}, which it does not hold any more"));
    }
}

/// S1: a record released by its sender is durable at its receiver: whatever the sender's disk says is acknowledged lies on the
/// receiver's disk. Where the receiver went back in time there is no such promise: rule 4 makes it an alarm.
fn s1_what_is_released_is_durable_at_the_receiver(shared: &Shared, nodes: &[Node], index: usize) {
    let me = nodes[index].place.me;
    let mine: Vec<_> = nodes[index]
        .disk
        .view()
        .pairs
        .iter()
        .filter_map(|(peer, pair)| Some((*peer, pair.association?, pair.una)))
        .collect();
    for (peer, (my_life, its_life), una) in mine {
        let Some(receiver) = nodes.iter().find(|node| node.place.me == peer) else { continue };
        if una == 0 || has_rewound(shared, nodes, receiver.index) || has_rewound(shared, nodes, index) {
            continue;
        }
        let view = receiver.disk.view();
        let Some(pair) = view.pairs.get(&me) else { continue };
        if pair.association == Some((its_life, my_life)) && !pair.received.covers(1, una) {
            let what =
                format!("node {index} released record {una}, but node {} holds {}", receiver.index, pair.whole_to());
            shared.blame("S1", what);
        }
    }
}

/// S16: a stale incarnation never becomes current: on a disk, a life of the peer that was followed by another one does not
/// come back within the same life of mine.
fn s16_a_closed_life_never_comes_back(shared: &Shared, nodes: &[Node], index: usize) {
    let view = nodes[index].disk.view();
    for (peer, pair) in &view.pairs {
        let Some((mine, newest)) = pair.confirmed.last() else { continue };
        let earlier = &pair.confirmed[..pair.confirmed.len() - 1];
        if earlier.iter().any(|(my_life, life)| my_life == mine && life == newest) {
            shared.blame("S16", format!("node {index} confirmed life {newest:?} of {peer} again"));
        }
    }
}

/// Has this endpoint gone back in time, or had a twin?
pub(super) fn has_rewound(shared: &Shared, nodes: &[Node], index: usize) -> bool {
    let original = nodes[index].original;
    shared.rewinds.borrow().iter().any(|rewind| rewind.node == original)
}
