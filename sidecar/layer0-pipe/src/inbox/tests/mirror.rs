//! A mirror that loses, cuts, zero-fills, grows slowly, repeats and renames at random: what arrives is exactly what
//! it let through.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use wire::Suite;
use wire::header::Header;
use wire::record::kind;

use crate::testkit::*;
use crate::{Closure, InboxOptions, Outbox, OutboxOptions};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// At this time a file gets these contents.
struct Write {
    at: Duration,
    path: String,
    bytes: Vec<u8>,
}

/// One copy of a file as the mirror delivers it: maybe damaged, maybe in pieces. Returns which bytes are true.
fn copy(random: &mut Random, at: Duration, path: &str, bytes: &[u8], writes: &mut Vec<Write>) -> usize {
    let cut = random.below(bytes.len() as u64 + 1) as usize;
    let (good, contents) = match random.below(4) {
        0 => (cut, bytes[..cut].to_vec()),
        1 => {
            let mut zeros = bytes[..cut].to_vec();
            zeros.resize(bytes.len(), 0);
            (cut, zeros)
        }
        _ => (bytes.len(), bytes.to_vec()),
    };
    let pieces = 1 + if random.one_in(3) { random.below(6) as usize } else { 0 };
    for piece in 1..=pieces {
        let mut part = contents[..contents.len() * piece / pieces].to_vec();
        if random.one_in(8) {
            part.resize(contents.len(), 0); // preallocated
        }
        let at = at + Duration::from_millis(700) * (piece as u32 - 1);
        writes.push(Write { at, path: path.to_owned(), bytes: part });
    }
    good
}

impl Write {
    fn describe(&self) -> String {
        let true_len = self.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        format!("{:?} {} {} of {} bytes", self.at, self.path, true_len, self.bytes.len())
    }
}

struct Run {
    world: World,
    writes: Vec<Write>,
    /// Frames of each packet that got through in some copy.
    expected: BTreeMap<u64, BTreeSet<u32>>,
    total: BTreeMap<u64, u32>,
}

fn prepare(seed: u64, suite: Suite) -> Run {
    let mut random = Random(seed);
    let mut world = World::with(suite, InboxOptions::default());
    let options = OutboxOptions { suite, frame_bytes: 600, ..OutboxOptions::default() };
    world.outbox =
        Outbox::new(Arc::new(world.out.clone()), north(), Some(KEYS.north.clone()), pin(&KEYS.south), options).unwrap();
    let (mut writes, mut expected, mut total) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    for number in 1..=40 {
        let count = random.below(12);
        let seqs = (0..count).map(|i| number * 100 + i);
        let plan = plan(number, seqs.map(|seq| planned(seq, kind::DATA, 1 + (seq * 37 % 550) as u32)).collect());
        let (path, bytes) = world.publish(&plan);
        let places = frame_places(&bytes);
        let prefix = Header::parse(&bytes).unwrap().frames_at as usize;
        total.insert(number, places.len() as u32);
        if random.one_in(8) {
            continue; // lost
        }
        let at = S + Duration::from_millis(random.below(60_000));
        let mut through = BTreeSet::new();
        let mut seen = false;
        for again in 0..1 + random.below(3) {
            // A copy put over another of the same length may be gone again before anybody looks: each has its own name.
            let name =
                if again > 0 || random.one_in(3) { format!("copy {number} ({again}).hft") } else { path.clone() };
            let at = at + Duration::from_millis(random.below(600_000)) * u32::from(again > 0);
            let good = copy(&mut random, at, &name, &bytes, &mut writes);
            seen |= good >= prefix;
            if good >= prefix {
                through.extend((0u32..).zip(&places).filter(|(_, (_, end))| *end <= good).map(|(i, _)| i));
            }
        }
        if seen {
            expected.insert(number, through);
        }
    }
    writes.sort_by_key(|write| write.at);
    Run { world, writes, expected, total }
}

fn check(seed: u64, suite: Suite) {
    let Run { mut world, writes, expected, total } = prepare(seed, suite);
    let mut got = Got::default();
    let story: Vec<String> = writes.iter().map(Write::describe).collect();
    let mut told = 0;
    let mut rest = writes.into_iter().peekable();
    let end = S * 20_000;
    while world.now < end {
        while rest.peek().is_some_and(|write| write.at <= world.now) {
            let write = rest.next().unwrap();
            world.put(&write.path, &write.bytes);
        }
        let report = world.scan_into(&mut got);
        // The driver makes it durable and says so a little later.
        for (file, _, _) in got.closed.iter().skip(told) {
            world.inbox.done(*file);
        }
        told = got.closed.len();
        let next_write = rest.peek().map_or(end, |write| write.at);
        world.now = (world.now + report.next_after).min(next_write.max(world.now + Duration::from_millis(1)));
    }
    let mut frames: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for (pn, index, _) in &got.frames {
        frames.entry(*pn).or_default().push(*index);
    }
    for (pn, through) in &expected {
        let mut arrived = frames.remove(pn).unwrap_or_default();
        arrived.sort_unstable();
        let (name, copy) = (format!("{pn:016x}-"), format!("copy {pn} "));
        let story: Vec<&String> = story.iter().filter(|line| line.contains(&name) || line.contains(&copy)).collect();
        let through: Vec<u32> = through.iter().copied().collect();
        assert_eq!(arrived, through, "seed {seed}, packet {pn}: {story:#?}");
        let last = got.closures().iter().rev().find(|(number, _)| number == pn).map(|(_, closure)| *closure);
        let whole = through.len() as u32 == total[pn];
        assert_eq!(last, Some(if whole { Closure::Complete } else { Closure::Partial }), "seed {seed}, packet {pn}");
    }
    assert!(frames.is_empty(), "seed {seed}: {frames:?}");
    assert_eq!(got.packets.len(), expected.len(), "seed {seed}: the driver is asked once");
    world.inbox.set_floor(north(), NORTH_LIFE, 1_000);
    // What is still there is junk without a whole prefix, or was put back again and again after it was removed.
    let put_back = world.folder.files().into_iter().filter(|path| world.inbox.spent.holds(path, None)).count();
    let (used, junk) = world.inbox.tracked();
    assert_eq!((used, world.folder.files().len()), (0, put_back + junk), "seed {seed}");
}

#[test]
fn a_faulty_mirror_costs_only_what_it_ate() {
    for seed in 0..24 {
        check(seed, Suite::Checksum);
    }
    check(1_000, Suite::Signed);
}
