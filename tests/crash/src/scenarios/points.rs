//! Either engine is killed before and after each kind of call on its disk, and every kind must be met.
//!
//! Both sides' folders lie on disks of our own, which kill the engine at the wanted call; nothing unsynced is lost. Which kind
//! of call is met when: by traffic, by a start with an empty state folder, by a start over what the kill before has left, or
//! when the log grows beyond a segment. A call of an engine that no list names fails the scenario, so that the lists are
//! complete. Read first: [`points`].

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::caller::{Call, Mix, Traffic};
use crate::cutfs::{Act, CutDisk, Phase, Trigger};
use crate::dice::Dice;
use crate::line::{Change, Line, Place, Which, empty};
use crate::oracle::{Kind, Record};
use crate::process::eventually;
use crate::runner::Context;

const fn act(role: &'static str, call: &'static str) -> Act {
    Act { role, call }
}

/// Met by a start with an empty state folder.
const FRESH: &[Act] = &[
    act("lock", "create"),
    act("lock", "truncate"),
    act("lock", "write"),
    act("prepared", "create"),
    act("prepared", "write"),
    act("prepared", "fsync"),
    act("prepared", "rename"),
    act("state-dir", "fsync"),
];

/// Met by any start.
const START: &[Act] = &[
    act("check", "create"),
    act("check", "write"),
    act("check", "unlink"),
    act("lock", "truncate"),
    act("lock", "write"),
    act("segment", "fsync"),
    act("state-dir", "fsync"),
];

/// Met by traffic.
const TRAFFIC: &[Act] = &[
    act("segment", "write"),
    act("segment", "fsync"),
    act("part", "create"),
    act("part", "write"),
    act("part", "fsync"),
    act("part", "rename"),
    act("outbox-dir", "fsync"),
    act("packet", "unlink"),
    act("arrived", "unlink"),
];

/// Met by traffic where renames without replacing are refused.
const LINKING: &[Act] = &[act("part", "link"), act("part", "unlink")];

/// Met when the log grows beyond its segment, in this order; each kill is followed by a start, which tries again.
const ROLL: &[(Act, Phase)] = &[
    (act("prepared", "create"), Phase::Before),
    (act("prepared", "create"), Phase::After),
    (act("prepared", "write"), Phase::Before),
    (act("prepared", "write"), Phase::After),
    (act("prepared", "fsync"), Phase::Before),
    (act("prepared", "fsync"), Phase::After),
    (act("prepared", "rename"), Phase::Before),
    (act("prepared", "rename"), Phase::After),
];

/// Met as well, and no points of their own: folders of packets come and go with incarnations.
const BESIDE: &[Act] =
    &[act("top", "fsync"), act("outbox-dir", "mkdir"), act("outbox-dir", "rmdir"), act("inbox-dir", "rmdir")];

struct Bench {
    line: Line,
    disks: [CutDisk; 2],
    /// Kills at each point, by side.
    killed: BTreeMap<String, u64>,
}

/// The disks can go only when nobody uses them any more.
impl Drop for Bench {
    fn drop(&mut self) {
        self.line.end();
    }
}

impl Bench {
    fn prepare(context: Context<'_>, change: Change) -> Self {
        let place = Place::new(context.inside);
        let disks = Which::BOTH.map(|which| CutDisk::mount_side(&place.disk(which)).unwrap());
        let line = Line::prepare(place, context.seed, change);
        disks.iter().for_each(CutDisk::settle);
        Self { line, disks, killed: BTreeMap::new() }
    }

    fn disk(&self, which: Which) -> &CutDisk {
        &self.disks[usize::from(which == Which::Far)]
    }

    fn newest_segment(&self, which: Which) -> PathBuf {
        let files = std::fs::read_dir(self.line.place.state(which)).unwrap().flatten().map(|entry| entry.path());
        files.filter(|path| path.extension().is_some_and(|end| end == "log")).max().unwrap()
    }

    /// Starts an engine that is to die at this point.
    fn dies_after_start(&mut self, which: Which, act: Act, phase: Phase) {
        self.disk(which).arm_next(Trigger::Point(act, phase, 1));
        self.line.engine(which).spawn();
        self.dies(which, act, phase);
    }

    /// Waits until a running engine dies at the nth occurrence of this point.
    fn dies_in_traffic(&mut self, which: Which, act: Act, phase: Phase, nth: u64) {
        let pid = self.line.engine(which).id();
        self.disk(which).arm(pid, Trigger::Point(act, phase, nth)).unwrap();
        self.dies(which, act, phase);
    }

    fn dies(&mut self, which: Which, act: Act, phase: Phase) {
        let engine = self.line.engine(which);
        eventually(&format!("`{}` meets {act} {phase:?}", which.side()), || engine.has_ended().then_some(()));
        let fired = self.disk(which).fired();
        self.disk(which).disarm();
        self.line.engine(which).kill();
        assert_eq!(fired, Some((act, phase)), "it ended by itself\n{}", self.line.logs());
        *self.killed.entry(format!("{} {act} {phase:?}", which.side())).or_default() += 1;
    }

    fn start(&mut self, which: Which) {
        self.disk(which).arm_next(Trigger::Never);
        self.line.engine(which).start_and_wait();
    }

    /// An upload that fills a segment of both logs, under way.
    fn upload(&self) -> JoinHandle<Record> {
        let target = self.line.target();
        let call = Call { kind: Kind::Post, body: SEGMENT_BYTES, answer: 10, delay_ms: 0, absolute: false };
        thread::spawn(move || call.make(target))
    }
}

/// More than what a segment holds.
const SEGMENT_BYTES: u64 = 66 << 20;

const PHASES: [Phase; 2] = [Phase::Before, Phase::After];

/// Kills at every point; gives the figures.
#[must_use]
pub fn points(context: Context<'_>) -> String {
    let mut dice = Dice::new(context.seed, "points");
    let mut bench = Bench::prepare(context, |_| {});
    for which in Which::BOTH {
        fresh(&mut bench, which);
    }
    Which::BOTH.iter().for_each(|which| bench.start(*which));
    let traffic = bench.line.traffic(Mix::default(), context.seed);
    traffic.go_on_for(5);
    in_traffic(&mut bench, TRAFFIC, &mut dice, &traffic);
    bench.disks.iter().for_each(|disk| disk.refuse_exclusive_renames(true));
    in_traffic(&mut bench, LINKING, &mut dice, &traffic);
    bench.disks.iter().for_each(|disk| disk.refuse_exclusive_renames(false));
    for which in Which::BOTH {
        at_starts(&mut bench, which);
    }
    let verdict = bench.line.conclude(traffic);
    assert!(verdict.findings.is_empty(), "seed {}: {verdict}\n{}", context.seed, verdict.findings.join("\n"));
    let figures = told(&bench);
    format!("{figures}; {verdict}")
}

/// Every call that an engine made is in a list.
fn told(bench: &Bench) -> String {
    let rolling = ROLL.iter().map(|(act, _)| *act);
    let known: Vec<Act> = [FRESH, START, TRAFFIC, LINKING, BESIDE].concat().into_iter().chain(rolling).collect();
    let known = [known, OPENING.to_vec(), vec![UNLINK]].concat();
    for which in Which::BOTH {
        let unknown = bench.disk(which).unknown(&known);
        // The space set aside holds nothing: whatever becomes of it loses space and no data.
        let names: Vec<String> =
            unknown.iter().map(ToString::to_string).filter(|name| !name.starts_with("reserve.")).collect();
        assert!(names.is_empty(), "calls of an engine that are no points yet: {}", names.join(", "));
    }
    let kills: u64 = bench.killed.values().sum();
    format!("{} points met, {kills} kills", bench.killed.len())
}

fn fresh(bench: &mut Bench, which: Which) {
    for act in FRESH {
        for phase in PHASES {
            empty(&bench.line.place.state(which));
            bench.dies_after_start(which, *act, phase);
            bench.start(which);
            bench.line.engine(which).kill();
        }
    }
    empty(&bench.line.place.state(which));
}

fn in_traffic(bench: &mut Bench, acts: &[Act], dice: &mut Dice, traffic: &Traffic) {
    for which in Which::BOTH {
        for act in acts {
            for phase in PHASES {
                bench.dies_in_traffic(which, *act, phase, dice.within(1, 4));
                bench.start(which);
            }
        }
        traffic.go_on_for(5);
    }
}

/// Met by a start over a log with a torn tail, and over a segment that was being prepared.
const OPENING: &[Act] = &[act("segment", "truncate"), act("prepared", "unlink")];
const UNLINK: Act = act("segment", "unlink");

fn at_starts(bench: &mut Bench, which: Which) {
    for act in START {
        for phase in PHASES {
            bench.line.engine(which).kill();
            bench.dies_after_start(which, *act, phase);
            bench.start(which);
        }
    }
    for act in OPENING {
        for phase in PHASES {
            bench.line.engine(which).kill();
            leave_behind(bench, which);
            bench.dies_after_start(which, *act, phase);
            bench.start(which);
        }
    }
}

/// What a crash in the middle of an append and of a roll leaves.
fn leave_behind(bench: &Bench, which: Which) {
    let segment = bench.newest_segment(which);
    std::fs::OpenOptions::new().append(true).open(&segment).unwrap().write_all(&[7; 100]).unwrap();
    let number = segment.file_stem().and_then(|stem| u64::from_str_radix(&stem.to_string_lossy(), 16).ok()).unwrap();
    std::fs::write(segment.with_file_name(format!("{:016x}.new", number + 1)), b"begun").unwrap();
}

/// Kills at every point of a roll; gives the figures.
#[must_use]
pub fn rolls(context: Context<'_>) -> String {
    // A kept result keeps its whole segment: of calls that had an id, and of those whose caller died with the engine.
    let mut bench = Bench::prepare(context, |file| file.state.result_ttl = Duration::from_secs(1));
    Which::BOTH.iter().for_each(|which| bench.start(*which));
    let mix = Mix { callers: 2, operations: false, ..Mix::default() };
    let traffic = bench.line.traffic(mix, context.seed);
    let mut uploads = Vec::new();
    for which in Which::BOTH {
        // The first upload is met by the roll's first point; what it left is rolled by every start.
        for (number, (act, phase)) in ROLL.iter().enumerate() {
            if number == 0 {
                uploads.push(bench.upload());
                bench.dies_in_traffic(which, *act, *phase, 1);
            } else {
                bench.dies_after_start(which, *act, *phase);
            }
        }
        bench.start(which);
        for phase in PHASES {
            uploads.push(bench.upload());
            bench.dies_in_traffic(which, act("state-dir", "fsync"), phase, 1);
            if phase == Phase::Before {
                bench.start(which);
            }
        }
        for phase in PHASES {
            // The segments that the rolls made superfluous are unlinked by the next start, or when nobody needs them.
            bench.dies_after_start(which, UNLINK, phase);
        }
        bench.start(which);
    }
    traffic.go_on_for(10);
    let mut records = traffic.stop();
    records.extend(uploads.into_iter().map(|upload| upload.join().unwrap()));
    let verdict = bench.line.judge(&records);
    assert!(verdict.findings.is_empty(), "seed {}: {verdict}\n{}", context.seed, verdict.findings.join("\n"));
    format!("{}; {verdict}", told(&bench))
}
