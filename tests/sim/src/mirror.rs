//! The mirror between the two sides' folders: it copies files when and how it likes.
//!
//! Invariants: while faults are off every file that lies at its sender arrives whole, once, within bounded time; a fault is
//! counted when it takes effect. It knows names and bytes, and for content-dependent faults what the sender planned. It never
//! touches what lies at the sender, except that a moving mirror takes files away. Test to read first:
//! `a_mirror_without_faults_copies_every_file_once`.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use disk::dir::{Dir, MemDir};
use layer0_pipe::Profile;

use crate::fate::{Fate, Shape};
use crate::faults::Fault;
use crate::rng::Rng;
use crate::shared::Shared;

/// Files that forgeries are made of, at most.
const CARRIED_MAX: usize = 300;

/// A file that was carried: what forgers and replayers have at hand.
#[derive(Clone, Debug)]
pub struct Carried {
    /// From which side.
    pub from: usize,
    /// Under which name.
    pub path: String,
    /// What it holds.
    pub bytes: Arc<Vec<u8>>,
}

enum Job {
    /// The mirror reads the file at its sender.
    Pick { path: String, fate: Fate },
    /// A state of a file appears at its reader. The last one says whether it is new there.
    Put { path: String, bytes: Arc<Vec<u8>>, shape: Shape },
    /// A deletion arrives.
    Remove { path: String },
}

/// Both directions.
pub struct Mirror {
    shared: Rc<Shared>,
    /// The senders' folders, by side.
    pub outs: [MemDir; 2],
    /// The readers' folders, by side.
    pub ins: [MemDir; 2],
    rng: Rng,
    jobs: BTreeMap<(u64, u64), (usize, Job)>,
    tie: u64,
    outage_until: [u64; 2],
    /// Records whose files are eaten: sender's folder prefix and number, and until when.
    poison: Option<Poison>,
    /// Everything that is picked up before is lost.
    swallows_until: u64,
    /// What was carried so far.
    pub carried: Vec<Carried>,
    newest: [BTreeMap<String, Arc<Vec<u8>>>; 2],
    /// Names under which something else than the whole file ever lay at its reader.
    damaged: BTreeSet<String>,
    /// When files that are still on their way arrive, by size, to notice that one overtakes another.
    underway: [Vec<(u64, u64)>; 2],
    faults: bool,
}

/// A record that does not get through.
#[derive(Clone, Debug)]
struct Poison {
    /// Files of this sender to this recipient, as names begin.
    prefix: String,
    seq: u64,
    until: u64,
}

impl Mirror {
    /// Between empty folders.
    #[must_use]
    pub fn new(shared: Rc<Shared>, rng: Rng) -> Self {
        Self {
            shared,
            outs: [MemDir::new(), MemDir::new()],
            ins: [MemDir::new(), MemDir::new()],
            rng,
            jobs: BTreeMap::new(),
            tie: 0,
            outage_until: [0; 2],
            poison: None,
            swallows_until: 0,
            carried: Vec::new(),
            newest: [BTreeMap::new(), BTreeMap::new()],
            damaged: BTreeSet::new(),
            underway: [Vec::new(), Vec::new()],
            faults: true,
        }
    }

    /// From now on it carries everything.
    pub fn end_faults(&mut self) {
        self.faults = false;
        self.outage_until = [0; 2];
        self.poison = None;
        // What lies at its sender and was lost or is still to come late is carried as any file.
        for from in 0..2 {
            for path in self.outs[from].files() {
                if !self.newest[from].contains_key(&path) && !is_part(&path) {
                    self.plan(from, path, Fate::plain(), 1);
                }
            }
        }
    }

    /// When it does something next.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        self.jobs.first_key_value().map(|((at, _), _)| *at)
    }

    /// Jobs that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.jobs.len()
    }

    /// A direction stands still until then.
    pub fn stand_still(&mut self, from: usize, until: u64) {
        self.outage_until[from] = self.outage_until[from].max(until);
        self.shared.count(Fault::Outage);
    }

    /// Everything is lost until then.
    pub fn swallow(&mut self, until: u64) {
        self.swallows_until = until;
    }

    /// Files with this record are eaten until then.
    pub fn poison(&mut self, prefix: String, seq: u64, until: u64) {
        self.poison = Some(Poison { prefix, seq, until });
    }

    /// True while a record is eaten.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poison.as_ref().is_some_and(|poison| self.shared.clock.now() < poison.until)
    }

    /// A file appeared at its sender, with these records.
    pub fn published(&mut self, from: usize, path: String, seqs: &[u64]) {
        let now = self.shared.clock.now();
        let poisoned = self
            .poison
            .as_ref()
            .is_some_and(|poison| now < poison.until && path.starts_with(&poison.prefix) && seqs.contains(&poison.seq));
        if poisoned {
            self.shared.count(Fault::ContentDrop);
            if self.shared.options.profile == Profile::Move {
                let _ = self.outs[from].remove_file(&path);
            }
            return;
        }
        let fate = if self.faults { Fate::draw(&mut self.rng, &self.shared.options.files) } else { Fate::plain() };
        let wait = self.rng.below(self.shared.options.latency_us / 8 + 1);
        self.plan(from, path, fate, wait);
    }

    fn plan(&mut self, from: usize, path: String, fate: Fate, wait: u64) {
        let at = (self.shared.clock.now() + wait).max(self.outage_until[from]);
        self.push(at, from, Job::Pick { path, fate });
    }

    /// A sender removed a file.
    pub fn removed_at_sender(&mut self, from: usize, path: String) {
        if self.shared.options.profile == Profile::Sync {
            let at = self.shared.clock.now() + self.delay(from, 0);
            self.push(at, from, Job::Remove { path });
        }
    }

    /// A reader removed a file.
    pub fn removed_at_reader(&mut self, reader: usize, path: &str) {
        let from = 1 - reader;
        if !self.faults || !self.rng.per_mille(self.shared.options.files.undelete) {
            return;
        }
        let Some(bytes) = self.newest[from].get(path).cloned() else { return };
        self.shared.count(Fault::DeleteUndone);
        let at = self.shared.clock.now() + self.delay(from, 0);
        self.push(at, from, Job::Put { path: path.to_owned(), bytes, shape: Shape::Whole });
    }

    /// A file appears at a reader, whoever wrote it.
    pub fn plant(&mut self, reader: usize, path: &str, bytes: &[u8]) -> bool {
        self.ins[reader].contents(path).is_none() && self.ins[reader].put(path, bytes).is_ok()
    }

    fn push(&mut self, at: u64, from: usize, job: Job) {
        self.tie += 1;
        self.jobs.insert((at, self.tie), (from, job));
    }

    fn delay(&mut self, from: usize, len: u64) -> u64 {
        let options = &self.shared.options;
        let now = self.shared.clock.now();
        let size = len * 1_000_000 / options.bytes_per_second;
        let held = self.outage_until[from].saturating_sub(now);
        if !self.faults {
            return options.latency_us + size;
        }
        let drawn = self.rng.log_normal(options.latency_us, options.spread_percent);
        if drawn > options.latency_us * 8 {
            self.shared.count(Fault::LongDelay);
        }
        held + drawn + size
    }

    /// Does what is due; returns the readers' sides at which something arrived.
    pub fn run(&mut self) -> [bool; 2] {
        let now = self.shared.clock.now();
        let mut arrived = [false; 2];
        while let Some(entry) = self.jobs.first_entry().filter(|entry| entry.key().0 <= now) {
            let (from, job) = entry.remove();
            match job {
                Job::Pick { path, fate } => self.pick(from, path, &fate),
                Job::Put { path, bytes, shape } => arrived[1 - from] |= self.put(from, &path, &bytes, shape),
                Job::Remove { path } => {
                    if self.ins[1 - from].remove_file(&path).is_ok() {
                        let _ = self.ins[1 - from].remove_empty_dirs(parent(&path));
                        self.shared.count(Fault::DeletePropagated);
                    }
                }
            }
        }
        arrived
    }

    fn pick(&mut self, from: usize, path: String, fate: &Fate) {
        let now = self.shared.clock.now();
        if self.outage_until[from] > now {
            let until = self.outage_until[from];
            return self.push(until, from, Job::Pick { path, fate: fate.clone() });
        }
        let Some(bytes) = self.outs[from].contents(&path).map(Arc::new) else { return };
        if self.shared.options.profile == Profile::Move {
            let _ = self.outs[from].remove_file(&path);
        }
        self.remember(from, &path, &bytes);
        if fate.lost || now < self.swallows_until {
            self.shared.count(Fault::Loss);
            return;
        }
        let len = bytes.len() as u64;
        let at = now + self.delay(from, len);
        self.notice_overtaking(from, at, len);
        let dest = if fate.renamed {
            self.shared.count(Fault::Rename);
            numbered(&path, 1)
        } else {
            path.clone()
        };
        let mut last = at;
        for (after, shape) in fate.course(&mut self.rng, len, self.shared.options.quiet_min) {
            last = at + after;
            self.push(last, from, Job::Put { path: dest.clone(), bytes: Arc::clone(&bytes), shape });
        }
        if fate.twice {
            let at = last + self.delay(from, len);
            let path = if self.rng.percent(50) { numbered(&path, 2) } else { dest };
            self.shared.count(Fault::Duplicate);
            self.push(at, from, Job::Put { path, bytes, shape: Shape::Whole });
        }
    }

    fn remember(&mut self, from: usize, path: &str, bytes: &Arc<Vec<u8>>) {
        self.newest[from].insert(path.to_owned(), Arc::clone(bytes));
        if self.carried.len() < CARRIED_MAX {
            self.carried.push(Carried { from, path: path.to_owned(), bytes: Arc::clone(bytes) });
        }
    }

    fn notice_overtaking(&mut self, from: usize, at: u64, len: u64) {
        let now = self.shared.clock.now();
        self.underway[from].retain(|(arrives, _)| *arrives > now);
        if self.faults && self.underway[from].iter().any(|(arrives, larger)| *arrives > at && *larger > len) {
            self.shared.count(Fault::ReorderBySize);
        }
        self.underway[from].push((at, len));
    }

    fn put(&mut self, from: usize, path: &str, bytes: &Arc<Vec<u8>>, shape: Shape) -> bool {
        let now = self.shared.clock.now();
        if self.outage_until[from] > now {
            let until = self.outage_until[from];
            let job = Job::Put { path: path.to_owned(), bytes: Arc::clone(bytes), shape };
            self.push(until, from, job);
            return false;
        }
        let (content, fault) = shape.of(bytes);
        if let Some(fault) = fault {
            self.shared.count(fault);
            self.damaged.insert(path.to_owned());
        }
        self.shared.note_at(90 + from, "arrives", &[bytes.len() as u64, content.len() as u64]);
        self.ins[1 - from].put(path, &content).is_ok()
    }

    /// How long the file of this name was at its sender.
    #[must_use]
    pub fn len_of(&self, from: usize, path: &str) -> Option<u64> {
        self.newest[from].get(path).map(|bytes| bytes.len() as u64)
    }

    /// True if another whole copy of this file lies beside it at its reader, under a name that a mirror made.
    #[must_use]
    pub fn has_copy(&self, reader: usize, path: &str, len: u64) -> bool {
        let stem = path.strip_suffix(".hft").unwrap_or(path);
        let of_it = |other: &String| other != path && other.starts_with(stem) && !self.was_damaged(other);
        let whole = |other: String| self.ins[reader].contents(&other).is_some_and(|bytes| bytes.len() as u64 == len);
        self.ins[reader].files().into_iter().filter(of_it).any(whole)
    }

    /// True if its reader ever saw something else under this name.
    #[must_use]
    pub fn was_damaged(&self, path: &str) -> bool {
        self.damaged.contains(path)
    }

    /// What lies at the senders.
    #[must_use]
    pub fn outbox_files(&self) -> [Vec<String>; 2] {
        [self.outs[0].files(), self.outs[1].files()]
    }
}

fn is_part(path: &str) -> bool {
    path.rsplit_once('/').map_or(path, |(_, name)| name).starts_with('.')
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// `a/b.hft` as `a/b (n).hft`.
fn numbered(path: &str, n: u32) -> String {
    match path.rsplit_once('.') {
        Some((stem, extension)) => format!("{stem} ({n}).{extension}"),
        None => format!("{path} ({n})"),
    }
}
