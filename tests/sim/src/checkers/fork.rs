//! Properties of logs of which one went back in time or has a twin: two different records under one number.
//!
//! Invariants: records are compared by the digests that chains are made of, as both disks have them; what the checkers keep is read
//! from disks, never asked of engines. Who goes back is the sender here: a receiver that went back knows less than it said, and
//! rule 4 makes that an alarm. Test to read first: `every_property_has_a_checker`.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

use wire::{Digest, EndpointId, Incarnation};

use super::wire::has_rewound;
use crate::disk::PairView;
use crate::engine::Planned;
use crate::node::Node;
use crate::shared::Shared;

/// A life of the receiver and one of the sender.
type Lives = (Incarnation, Incarnation);

/// What was seen of forks.
#[derive(Debug, Default)]
pub(super) struct Forks {
    /// What each node held beyond its cumulative acknowledgement, by sender, after its last step.
    held: BTreeMap<(usize, EndpointId), (Lives, BTreeMap<u64, Digest>)>,
    /// Forks that a node was shown.
    shown: BTreeMap<(usize, EndpointId), Shown>,
    /// Released records that were compared.
    compared: BTreeMap<(usize, EndpointId), (Lives, usize, u64)>,
}

/// A node was given another record under a number that it holds.
#[derive(Clone, Copy, Debug)]
struct Shown {
    lives: Lives,
    seq: u64,
    at: u64,
    /// The start of its engine.
    start: u64,
    /// Packets of the pair that it published since.
    packets: u64,
}

fn beyond_cum(pair: &PairView) -> BTreeMap<u64, Digest> {
    let whole_to = pair.whole_to();
    pair.digests.received.range(whole_to + 1..).map(|(seq, digest)| (*seq, *digest)).collect()
}

impl Forks {
    /// A node's driver was given these records of a peer.
    pub(super) fn given(
        &mut self,
        shared: &Shared,
        node: &Node,
        from: (EndpointId, Incarnation),
        records: &[(u64, Digest)],
    ) {
        let view = node.disk.view();
        let Some(pair) = view.pairs.get(&from.0) else { return };
        let Some((lives, held)) = self.held.get(&(node.index, from.0)) else { return };
        if pair.association != Some(*lives) || lives.1 != from.1 {
            return;
        }
        // It held it before and holds it after, so it held it when it was given the other one.
        let forked = |(seq, digest): &&(u64, Digest)| {
            *seq > pair.whole_to() && held.get(seq).is_some_and(|before| before != digest)
        };
        if let Some((seq, _)) = records.iter().find(forked) {
            let (at, start) = (shared.clock.now(), node.starts);
            let shown = Shown { lives: *lives, seq: *seq, at, start, packets: 0 };
            let known = self.shown.entry((node.index, from.0)).or_insert(shown);
            if known.lives != *lives || known.start != start {
                *known = shown;
            }
        }
    }

    /// A node's step is over.
    pub(super) fn remember_held(&mut self, node: &Node) {
        for (peer, pair) in &node.disk.view().pairs {
            match pair.association {
                Some(lives) => drop(self.held.insert((node.index, *peer), (lives, beyond_cum(pair)))),
                None => drop(self.held.remove(&(node.index, *peer))),
            }
        }
    }

    /// S4: "seq already held with another chain input: alarm `forked`" (wire format §11, 21), and a halted pair neither sends nor
    /// delivers: else what is delivered may be made of two logs. One packet may have been on its way to the folder.
    pub(super) fn s4_a_forked_pair_halts(&mut self, shared: &Shared, node: &Node, planned: &Planned) {
        let Some(shown) = self.shown.get_mut(&(node.index, planned.recipient)) else { return };
        let lives = (planned.incarnation, planned.recipient_incarnation);
        let before = shown.start != node.starts || shown.at >= shared.clock.now();
        if shown.lives != lives || before || planned.control.log.is_none() {
            return;
        }
        shown.packets += 1;
        if shown.packets > 1 {
            let what = format!("node {} was shown two records {} and goes on with the pair", node.index, shown.seq);
            shared.blame("S4", what);
        }
    }

    /// S1: "data is released only by cum with matching chain": every record that its sender released lies on its receiver's disk as it
    /// was written, also where the sender went back in time and wrote another one under the same number.
    pub(super) fn s1_what_is_released_is_what_was_written(&mut self, shared: &Shared, nodes: &[Node], index: usize) {
        let rewinds = shared.rewinds.borrow().len();
        if rewinds == 0 {
            return;
        }
        let me = nodes[index].place.me;
        let mine = nodes[index].disk.view();
        for (peer, pair) in &mine.pairs {
            let Some(receiver) = nodes.iter().find(|node| node.place.me == *peer) else { continue };
            let lives = pair.association.filter(|(life, _)| mine.life == Some(*life));
            let Some(lives) = lives.filter(|_| !has_rewound(shared, nodes, receiver.index)) else { continue };
            let theirs = receiver.disk.view();
            let Some(there) = theirs.pairs.get(&me).filter(|pair| pair.association == Some((lives.1, lives.0))) else {
                continue;
            };
            let compared = self.compared.entry((index, *peer)).or_insert((lives, rewinds, 0));
            if (compared.0, compared.1) != (lives, rewinds) {
                *compared = (lives, rewinds, 0);
            }
            let to = pair.una.max(compared.2);
            let mut released = pair.digests.sent.range((Excluded(compared.2), Included(to)));
            let other = |(seq, digest): &(&u64, &Digest)| {
                there.digests.received.get(seq).is_some_and(|received| received != *digest)
            };
            if let Some((seq, _)) = released.find(other) {
                let what = format!("node {index} released record {seq}, but node {} holds another one", receiver.index);
                shared.blame("S1", what);
            }
            compared.2 = to;
        }
    }
}
