//! What the disk of [`super`] holds, twice: as programs see it, and as a power cut would leave it at worst.
//!
//! Every change of a file's bytes or length and of a folder's names is *pending* until it is synced: the bytes and the
//! length of a file by a sync of that file, names by a sync of their folder, and nothing by anything else. A cut keeps any
//! subset of the pending changes, as [`Loss`] says, and drops the rest; a change of names (a rename has two) is kept or
//! dropped as one. Invariants: what was synced survives every cut; after a cut nothing is pending and every inode has a new
//! number, so that no cache of the kernel can bring back what is lost. Permissions and times are never lost. Test to
//! read first: `what_was_not_synced_may_be_lost_and_what_was_is_not`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::time::SystemTime;

use crate::dice::Dice;

/// Number of the top folder.
pub(super) const ROOT: u64 = 1;

/// Which of the pending changes a power cut loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of them.
    Everything,
    /// None.
    Nothing,
    /// Those after some moment.
    AfterAMoment,
    /// Any of them, independently.
    Any,
    /// Any of them, and of every write any sectors of this size.
    Sectors(usize),
}

impl Loss {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Everything, Self::Nothing, Self::AfterAMoment, Self::Any, Self::Sectors(512), Self::Sectors(4096)];
}

/// What a cut did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CutReport {
    /// Changes that were pending.
    pub pending: u64,
    /// Of these, how many left no trace.
    pub dropped: u64,
    /// Of these, how many writes were kept in part.
    pub torn: u64,
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: u64, bytes: Vec<u8> },
    Length(u64),
}

/// A pending change of names: each name of each folder with what it stands for afterwards.
#[derive(Clone, Debug)]
struct Renaming {
    number: u64,
    effects: Vec<(u64, OsString, Option<u64>)>,
}

/// What a file is, apart from its names.
#[derive(Clone, Debug, Default)]
struct FileBytes {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<(u64, Change)>,
}

type Names = BTreeMap<OsString, u64>;

#[derive(Clone, Debug)]
enum Body {
    File(FileBytes),
    Folder { seen: Names, durable: Names },
}

/// A file or folder.
#[derive(Clone, Debug)]
pub(super) struct Node {
    body: Body,
    /// Permission bits.
    pub(super) mode: u32,
    /// What it is for: see `watch`.
    pub(super) role: &'static str,
    /// When its bytes, or the names in it, were last changed: mirrors look for it.
    pub(super) modified: SystemTime,
    /// Open handles.
    pub(super) opened: u64,
}

impl Node {
    /// Length of a file, 0 of a folder.
    pub(super) fn len(&self) -> u64 {
        match &self.body {
            Body::File(file) => file.seen.len() as u64,
            Body::Folder { .. } => 0,
        }
    }

    /// True for folders.
    pub(super) fn is_folder(&self) -> bool {
        matches!(self.body, Body::Folder { .. })
    }

    /// The names in a folder.
    pub(super) fn names(&self) -> Option<&BTreeMap<OsString, u64>> {
        match &self.body {
            Body::Folder { seen, .. } => Some(seen),
            Body::File(_) => None,
        }
    }
}

/// Everything on the disk.
#[derive(Clone, Debug)]
pub(super) struct Store {
    nodes: BTreeMap<u64, Node>,
    renamings: Vec<Renaming>,
    next_node: u64,
    next_change: u64,
}

impl Store {
    /// An empty disk whose top folder has this role.
    pub(super) fn new(role: &'static str) -> Self {
        let body = Body::Folder { seen: Names::new(), durable: Names::new() };
        let root = Node { body, mode: 0o755, role, modified: SystemTime::now(), opened: 0 };
        Self { nodes: BTreeMap::from([(ROOT, root)]), renamings: Vec::new(), next_node: ROOT + 1, next_change: 1 }
    }

    pub(super) fn node(&self, ino: u64) -> Option<&Node> {
        self.nodes.get(&ino)
    }

    pub(super) fn node_mut(&mut self, ino: u64) -> Option<&mut Node> {
        self.nodes.get_mut(&ino)
    }

    pub(super) fn lookup(&self, folder: u64, name: &OsStr) -> Option<u64> {
        self.node(folder)?.names()?.get(name).copied()
    }

    /// Makes a file or folder under a name that is free.
    pub(super) fn make(&mut self, folder: u64, name: &OsStr, mode: u32, is_folder: bool, role: &'static str) -> u64 {
        let ino = self.next_node;
        self.next_node += 1;
        let body = match is_folder {
            true => Body::Folder { seen: Names::new(), durable: Names::new() },
            false => Body::File(FileBytes::default()),
        };
        self.nodes.insert(ino, Node { body, mode, role, modified: SystemTime::now(), opened: 0 });
        self.rename_as(vec![(folder, name.to_owned(), Some(ino))]);
        ino
    }

    /// Changes names, as one.
    pub(super) fn rename_as(&mut self, effects: Vec<(u64, OsString, Option<u64>)>) {
        for (folder, name, ino) in &effects {
            if let Some(Node { body: Body::Folder { seen, .. }, modified, .. }) = self.nodes.get_mut(folder) {
                set(seen, name, *ino);
                *modified = SystemTime::now();
            }
        }
        let number = self.tick();
        self.renamings.push(Renaming { number, effects });
    }

    fn tick(&mut self) -> u64 {
        self.next_change += 1;
        self.next_change
    }

    pub(super) fn read(&self, ino: u64, at: u64, len: usize) -> Option<&[u8]> {
        let Body::File(file) = &self.node(ino)?.body else { return None };
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(file.seen.len());
        Some(&file.seen[from..from.saturating_add(len).min(file.seen.len())])
    }

    pub(super) fn write(&mut self, ino: u64, at: u64, bytes: &[u8]) -> bool {
        self.change(ino, Change::Write { at, bytes: bytes.to_vec() })
    }

    pub(super) fn set_len(&mut self, ino: u64, len: u64) -> bool {
        self.change(ino, Change::Length(len))
    }

    fn change(&mut self, ino: u64, change: Change) -> bool {
        let number = self.tick();
        let Some(Node { body: Body::File(file), modified, .. }) = self.nodes.get_mut(&ino) else { return false };
        *modified = SystemTime::now();
        apply(&mut file.seen, &change);
        file.pending.push((number, change));
        true
    }

    /// Makes the bytes and the length of a file durable.
    pub(super) fn sync_file(&mut self, ino: u64) {
        if let Some(Node { body: Body::File(file), .. }) = self.nodes.get_mut(&ino) {
            for (_, change) in file.pending.drain(..) {
                apply(&mut file.durable, &change);
            }
        }
    }

    /// Makes the names of a folder durable.
    pub(super) fn sync_folder(&mut self, ino: u64) {
        let (now, later) = std::mem::take(&mut self.renamings)
            .into_iter()
            .partition(|renaming| renaming.effects.iter().any(|(folder, ..)| *folder == ino));
        self.renamings = later;
        let now: Vec<Renaming> = now;
        now.iter().for_each(|renaming| self.keep(renaming));
        self.forget_unreachable();
    }

    /// Makes everything durable.
    pub(super) fn settle(&mut self) {
        for renaming in std::mem::take(&mut self.renamings) {
            self.keep(&renaming);
        }
        for ino in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.sync_file(ino);
        }
        self.forget_unreachable();
    }

    fn keep(&mut self, renaming: &Renaming) {
        for (folder, name, ino) in &renaming.effects {
            if let Some(Node { body: Body::Folder { durable, .. }, .. }) = self.nodes.get_mut(folder) {
                set(durable, name, *ino);
            }
        }
    }

    /// Gives up what has neither a name, present, durable or pending, nor an open handle.
    pub(super) fn forget_unreachable(&mut self) {
        let mut needed: BTreeSet<u64> = BTreeSet::from([ROOT]);
        for (ino, node) in &self.nodes {
            if node.opened > 0 {
                needed.insert(*ino);
            }
            if let Body::Folder { seen, durable } = &node.body {
                needed.extend(seen.values().chain(durable.values()));
            }
        }
        for renaming in &self.renamings {
            needed.extend(renaming.effects.iter().flat_map(|(folder, _, ino)| [Some(*folder), *ino]).flatten());
        }
        self.nodes.retain(|ino, _| needed.contains(ino));
    }

    /// The power fails and comes back.
    pub(super) fn cut(&mut self, loss: Loss, dice: &mut Dice) -> CutReport {
        let mut report = CutReport::default();
        let numbers = self.pending_numbers();
        report.pending = numbers.len() as u64;
        let moment = match (numbers.first(), numbers.last()) {
            (Some(first), Some(last)) => dice.within(*first, last + 1),
            _ => 0,
        };
        let share = *dice.pick(&[20, 50, 80]);
        let mut kept = |number: u64| match loss {
            Loss::Everything => false,
            Loss::Nothing => true,
            Loss::AfterAMoment => number < moment,
            Loss::Any | Loss::Sectors(_) => dice.percent(share),
        };
        // Drawn in the order of the changes, so that the same changes and the same seed lose the same.
        let kept: BTreeMap<u64, bool> = numbers.into_iter().map(|number| (number, kept(number))).collect();
        for renaming in std::mem::take(&mut self.renamings) {
            match kept.get(&renaming.number) {
                Some(true) => self.keep(&renaming),
                _ => report.dropped += 1,
            }
        }
        for node in self.nodes.values_mut() {
            let Body::File(file) = &mut node.body else { continue };
            for (number, change) in std::mem::take(&mut file.pending) {
                match (loss, change) {
                    (Loss::Sectors(size), Change::Write { at, bytes }) => {
                        report.torn += 1;
                        tear(&mut file.durable, at, &bytes, size, dice);
                    }
                    (_, change) if kept.get(&number) == Some(&true) => apply(&mut file.durable, &change),
                    // The length may be written although the bytes are not.
                    (Loss::Any, Change::Write { at, bytes }) if dice.percent(25) => {
                        report.torn += 1;
                        lengthen(&mut file.durable, at + bytes.len() as u64);
                    }
                    _ => report.dropped += 1,
                }
            }
            file.seen.clone_from(&file.durable);
        }
        self.begin_again();
        report
    }

    fn pending_numbers(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> = self.renamings.iter().map(|renaming| renaming.number).collect();
        for node in self.nodes.values() {
            if let Body::File(file) = &node.body {
                numbers.extend(file.pending.iter().map(|(number, _)| *number));
            }
        }
        numbers.sort_unstable();
        numbers
    }

    /// What is durable becomes what is seen, under new numbers.
    fn begin_again(&mut self) {
        let old = std::mem::take(&mut self.nodes);
        let mut numbers = BTreeMap::from([(ROOT, ROOT)]);
        let mut to_visit = vec![ROOT];
        while let Some(ino) = to_visit.pop() {
            let Some(node) = old.get(&ino) else { continue };
            let mut node = Node { opened: 0, ..node.clone() };
            if let Body::Folder { seen, durable } = &mut node.body {
                durable.retain(|_, child| old.contains_key(child));
                for child in durable.values_mut() {
                    let known = numbers.contains_key(child);
                    let number = *numbers.entry(*child).or_insert_with(|| {
                        self.next_node += 1;
                        self.next_node
                    });
                    if !known {
                        to_visit.push(*child);
                    }
                    *child = number;
                }
                seen.clone_from(durable);
            }
            self.nodes.insert(numbers[&ino], node);
        }
        self.next_node += 1;
    }
}

fn set(names: &mut Names, name: &OsStr, ino: Option<u64>) {
    match ino {
        Some(ino) => names.insert(name.to_owned(), ino),
        None => names.remove(name),
    };
}

fn lengthen(file: &mut Vec<u8>, len: u64) {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if file.len() < len {
        file.resize(len, 0);
    }
}

fn apply(file: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { at, bytes } => {
            lengthen(file, at + bytes.len() as u64);
            let at = usize::try_from(*at).unwrap_or(0);
            file[at..at + bytes.len()].copy_from_slice(bytes);
        }
        Change::Length(len) => file.resize(usize::try_from(*len).unwrap_or(0), 0),
    }
}

/// Keeps some sectors of a write, and its length or only as much of it as the kept sectors need.
fn tear(file: &mut Vec<u8>, at: u64, bytes: &[u8], sector: usize, dice: &mut Dice) {
    if dice.percent(50) {
        lengthen(file, at + bytes.len() as u64);
    }
    let mut from = 0;
    while from < bytes.len() {
        let within = usize::try_from(at).unwrap_or(0) + from;
        let end = (from + sector - within % sector).min(bytes.len());
        if dice.percent(60) {
            apply(file, &Change::Write { at: at + from as u64, bytes: bytes[from..end].to_vec() });
        }
        from = end;
    }
}

#[cfg(test)]
mod tests;
