//! What a closed packet says is missing: lost now, unless a later packet that carries it is open; acted on once for each packet.

use super::*;
use alloc::collections::BTreeSet;

/// How many records of a packet arrive; `None`: nothing of it was read yet.
type Arrived = Option<usize>;

/// One record each in two packets, the second a probe with both; times such that nothing but reports acts.
struct Bench {
    a: Side,
    b: Side,
    now: Timestamp,
    files: [File; 2],
    /// By packet: its records, and whether the sender was told that it is closed.
    carriers: BTreeMap<u64, (Vec<u64>, bool)>,
    held: BTreeSet<u64>,
}

impl Bench {
    fn new() -> Self {
        let (mut a, b, now) = pair(config());
        let stream = a.peer.open_exchange();
        for _ in 0..2 {
            a.append(now, stream, kind::DATA, vec![7; 10]).unwrap();
        }
        let first = a.send(now).remove(0);
        a.peer.wishes.probes = 1;
        let files = [first, a.send(now).remove(0)];
        assert!(files.iter().all(|file| file.records.len() == 2));
        let carriers = files.iter().map(|file| (file.header.pn.get(), (vec![1, 2], false))).collect();
        Self { a, b, now, files, carriers, held: BTreeSet::new() }
    }

    /// The receiver reads packets as far as they arrive, and reports them in one block.
    fn report(&mut self, read: &[(usize, usize)]) -> Control {
        for (index, count) in read {
            let file = self.files[*index].clone();
            self.b.read(self.now, &file, *count);
            self.held.extend(1..=*count as u64);
        }
        self.b.persist(self.now);
        self.b.peer.ping();
        self.b.send(self.now).pop().unwrap().control
    }

    /// What the rule says is lost by this report, told once for each packet.
    fn expected(&mut self, control: &Control) -> BTreeSet<u64> {
        let packets = control.packets.as_ref().unwrap();
        let is_closed = |pn: u64| packets.complete.contains(pn) || packets.partial.contains(pn);
        let newly: Vec<u64> =
            self.carriers.iter().filter(|(pn, (_, closed))| !closed && is_closed(**pn)).map(|(pn, _)| *pn).collect();
        for pn in &newly {
            self.carriers.get_mut(pn).unwrap().1 = true;
        }
        let lost = |seq: &u64, pn: u64| {
            let later_open = self.carriers.range(pn + 1..).any(|(_, (seqs, closed))| seqs.contains(seq) && !closed);
            !self.held.contains(seq) && !later_open
        };
        newly.iter().flat_map(|pn| [1, 2].into_iter().filter(|seq| lost(seq, *pn))).collect()
    }

    /// The sender reads a report: what it sends again before any timer but that of gathering.
    fn tell(&mut self, control: Control) -> BTreeSet<u64> {
        let pn = PacketNumber::new(5_000 + self.carriers.len() as u64 + self.now.as_micros()).unwrap();
        let file = File { header: header(1, life(1, 2), life(1, 1), pn, 0), control, records: vec![] };
        // A round trip of an hour, so that no timer of loss interferes.
        self.a.peer.rtt.restore(3_600_000_000, 1_000);
        self.a.receive(self.now, core::slice::from_ref(&file));
        self.a.peer.rtt.restore(3_600_000_000, 1_000);
        self.a.peer.update_loss();
        let mut files = self.a.send(self.now);
        files.extend(self.a.wait(self.now.after(limits::FLUSH_SMALL.1)).1);
        self.now = self.now.after(SEC);
        let mut again = BTreeSet::new();
        for file in files.iter().filter(|file| !file.records.is_empty()) {
            let seqs: Vec<u64> = file.records.iter().map(|record| record.head.seq.get()).collect();
            let newest = *self.carriers.last_key_value().unwrap().0;
            assert!(file.header.pn.get() > newest, "a new number");
            again.extend(seqs.iter().copied());
            self.carriers.insert(file.header.pn.get(), (seqs, false));
        }
        again
    }
}

#[test]
fn what_a_closed_packet_misses_is_lost_at_once_unless_a_later_open_one_carries_it_in_every_combination() {
    let arrivals: [Arrived; 4] = [None, Some(0), Some(1), Some(2)];
    let mut combinations = 0;
    for (first, probe) in arrivals.into_iter().flat_map(|first| arrivals.map(|probe| (first, probe))) {
        for (order, together) in [([0, 1], false), ([1, 0], false), ([0, 1], true)] {
            let mut bench = Bench::new();
            let reads: Vec<(usize, usize)> =
                order.iter().filter_map(|index| Some((*index, [first, probe][*index]?))).collect();
            let blocks: Vec<&[(usize, usize)]> =
                if together { vec![&reads[..]] } else { reads.iter().map(core::slice::from_ref).collect() };
            for block in blocks.into_iter().filter(|block| !block.is_empty()) {
                let control = bench.report(block);
                let mut without = control.clone();
                (without.ack, without.sack) = (None, None);
                assert!(bench.tell(without).is_empty(), "nothing is said to be missing without what is held");
                let expected = bench.expected(&control);
                let again = bench.tell(control.clone());
                assert_eq!(again, expected, "{first:?} {probe:?} {order:?} {together} {block:?}");
                assert!(bench.tell(control).is_empty(), "acted on once");
                combinations += 1;
            }
        }
    }
    assert_eq!(combinations, 9 * 5 + 6 * 3);
}

#[test]
fn what_a_timer_sent_again_is_not_sent_again_by_a_report_of_its_first_packet() {
    let mut bench = Bench::new();
    let control = bench.report(&[(1, 0)]);
    let probe = *bench.carriers.last_key_value().unwrap().0;
    bench.a.peer.pair.packets.closed(probe);
    bench.a.peer.record_lost(1, probe);
    bench.a.peer.record_lost(2, probe);
    bench.a.peer.record_lost(2, probe);
    let again = bench.tell(control);
    assert_eq!(again, BTreeSet::from([1, 2]));
    let losses = |bench: &Bench, seq| bench.a.peer.pair.log.get(seq).unwrap().losses;
    assert_eq!((losses(&bench, 1), losses(&bench, 2)), (1, 1), "once for each packet");
    let control = bench.report(&[(0, 0)]);
    assert!(bench.tell(control).is_empty(), "a later packet is open");
}
