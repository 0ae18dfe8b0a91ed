//! A log's folder in memory that can be crashed: pending and durable bytes are kept apart.
//!
//! Invariants: what was synced survives everything; of what was not, a power cut keeps any part, writes torn at
//! sectors of 512 bytes, reordered, with zeros in the gaps, and any part of the changes to names. The same seed
//! gives the same outcome. It is for tests and simulation, and no faithful model of any one file system: it is
//! worse than all of them. Test: `log/tests/crash.rs`.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::storage::{Storage, StoredFile};

const SECTOR: usize = 512;

/// What goes wrong at a chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process is gone: this call is half done if it writes, else not done, and all later ones fail.
    Stop,
    /// No space left: a write is half done. Later calls work.
    Full,
    /// An input/output error: a write is half done, and a sync loses what it was to save. Later calls work.
    Broken,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Cut(usize),
}

#[derive(Clone)]
enum Naming {
    Link { name: String, inode: u64 },
    Rename { from: String, to: String, inode: u64 },
    Unlink { name: String },
}

#[derive(Clone, Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    seen: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    pending: Vec<Naming>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    stopped: bool,
    /// Handles of an earlier life no longer work.
    life: u64,
}

/// A log's folder in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemStorage {
    state: Arc<Mutex<State>>,
}

impl MemStorage {
    /// An empty folder.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls so far that change anything or make it durable.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Lets the call of this number go wrong, counted as by [`MemStorage::calls`] from 0.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.lock().fault = Some((call, fault));
    }

    /// The process is killed and started again; the operating system lives on and keeps everything, but
    /// nothing becomes durable by that.
    pub fn restart(&self) {
        let mut state = self.lock();
        state.fault = None;
        state.stopped = false;
        state.life += 1;
    }

    /// The machine loses power and starts again. Seed 0 loses everything that was not durable, seed 1 keeps
    /// it all, every other one keeps some.
    pub fn power_cut(&self, seed: u64) {
        let mut state = self.lock();
        let mut dice = Dice { seed, state: seed };
        let State { inodes, seen, durable, pending, .. } = &mut *state;
        for naming in pending.drain(..) {
            if dice.keeps() {
                naming.apply(durable);
            }
        }
        seen.clone_from(durable);
        for inode in inodes.values_mut() {
            for change in inode.pending.drain(..) {
                change.apply_some(&mut inode.durable, &mut dice);
            }
            inode.seen.clone_from(&inode.durable);
        }
        drop(state);
        self.restart();
    }

    /// An image of the folder as it is now: a folder of its own, as a power cut of this seed would leave this one.
    #[must_use]
    pub fn image(&self, seed: u64) -> Self {
        let copy = Self { state: Arc::new(Mutex::new(self.lock().clone())) };
        copy.power_cut(seed);
        copy
    }

    /// What a file holds, if it exists.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        let inode = state.inodes.get(state.seen.get(name)?)?;
        Some(inode.seen.clone())
    }

    /// Sets what a file holds, durably, creating it if need be: the neighbour who damages files.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.lock();
        let next = state.inodes.len() as u64;
        let number = *state.seen.entry(name.to_owned()).or_insert(next);
        state.durable.insert(name.to_owned(), number);
        let inode = Inode { seen: bytes.to_vec(), durable: bytes.to_vec(), pending: Vec::new() };
        state.inodes.insert(number, inode);
    }

    fn handle(&self, inode: u64, life: u64) -> Arc<dyn StoredFile> {
        Arc::new(MemFile { storage: self.clone(), inode, life })
    }
}

impl State {
    /// Counts a call and says whether it goes wrong.
    fn call(&mut self) -> Result<(), (Fault, io::Error)> {
        if self.stopped {
            return Err((Fault::Stop, gone()));
        }
        let call = self.calls;
        self.calls += 1;
        match self.fault {
            Some((at, fault)) if at == call => {
                self.stopped = fault == Fault::Stop;
                let error = match fault {
                    Fault::Stop => gone(),
                    Fault::Full => io::ErrorKind::StorageFull.into(),
                    Fault::Broken => io::Error::other("input/output error"),
                };
                Err((fault, error))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn plain_call(&mut self) -> io::Result<()> {
        self.call().map_err(|(_, error)| error)
    }

    fn inode(&mut self, number: u64, life: u64) -> io::Result<&mut Inode> {
        if self.life != life || self.stopped {
            return Err(gone());
        }
        self.inodes.get_mut(&number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.seen);
        self.pending.push(naming);
    }
}

fn gone() -> io::Error {
    io::Error::other("the process was stopped")
}

impl Storage for MemStorage {
    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.lock();
        if state.stopped { Err(gone()) } else { Ok(state.seen.keys().cloned().collect()) }
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        let mut state = self.lock();
        state.plain_call()?;
        if state.seen.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.inodes.len() as u64;
        state.inodes.insert(inode, Inode::default());
        state.name(Naming::Link { name: name.to_owned(), inode });
        Ok(self.handle(inode, state.life))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        let state = self.lock();
        if state.stopped {
            return Err(gone());
        }
        let inode = state.seen.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(*inode, state.life))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.plain_call()?;
        let inode = *state.seen.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.name(Naming::Rename { from: from.to_owned(), to: to.to_owned(), inode });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.plain_call()?;
        if state.seen.contains_key(name) {
            state.name(Naming::Unlink { name: name.to_owned() });
        }
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.plain_call()?;
        state.durable = state.seen.clone();
        state.pending.clear();
        Ok(())
    }

    fn describe(&self, name: &str) -> String {
        format!("memory/{name}")
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Link { name, inode } => drop(names.insert(name.clone(), *inode)),
            Self::Rename { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            Self::Unlink { name } => drop(names.remove(name)),
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes: new } => write(bytes, *offset, new),
            Self::Cut(len) => bytes.resize(*len, 0),
        }
    }

    fn apply_some(&self, bytes: &mut Vec<u8>, dice: &mut Dice) {
        match self {
            Self::Write { offset, bytes: new } => {
                let mut at = 0;
                while at < new.len() {
                    let len = (SECTOR - (offset + at) % SECTOR).min(new.len() - at);
                    if dice.keeps() {
                        write(bytes, offset + at, &new[at..at + len]);
                    }
                    at += len;
                }
            }
            Self::Cut(_) if dice.keeps() => self.apply(bytes),
            Self::Cut(_) => {}
        }
    }
}

fn write(bytes: &mut Vec<u8>, offset: usize, new: &[u8]) {
    let end = offset + new.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(new);
}

/// A small generator (splitmix64): the same seed, the same crash.
struct Dice {
    seed: u64,
    state: u64,
}

impl Dice {
    fn keeps(&mut self) -> bool {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        match self.seed {
            0 => false,
            1 => true,
            // Some seeds keep nearly everything, some nearly nothing.
            seed => (z ^ (z >> 31)) % 8 > seed % 8,
        }
    }
}

struct MemFile {
    storage: MemStorage,
    inode: u64,
    life: u64,
}

impl StoredFile for MemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.storage.lock().inode(self.inode, self.life)?.seen.len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.storage.lock();
        let seen = &state.inode(self.inode, self.life)?.seen;
        let rest = usize::try_from(offset).ok().and_then(|offset| seen.get(offset..)).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.storage.lock();
        state.inode(self.inode, self.life)?;
        let called = state.call();
        let bytes = if called.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        let inode = state.inodes.get_mut(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let change = Change::Write { offset, bytes: bytes.to_vec() };
        change.apply(&mut inode.seen);
        inode.pending.push(change);
        called.map_err(|(_, error)| error)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.storage.lock();
        state.inode(self.inode, self.life)?;
        state.plain_call()?;
        let change = Change::Cut(usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?);
        let inode = state.inode(self.inode, self.life)?;
        change.apply(&mut inode.seen);
        inode.pending.push(change);
        Ok(())
    }

    fn set_aside(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.storage.lock();
        state.inode(self.inode, self.life)?;
        let called = state.call();
        let inode = state.inodes.get_mut(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        let pending = match called {
            Ok(()) => std::mem::take(&mut inode.pending),
            // As Linux does: what could not be saved counts as saved from here on, and only memory has it.
            Err((Fault::Broken, error)) => {
                inode.pending.clear();
                return Err(error);
            }
            Err((Fault::Stop | Fault::Full, error)) => return Err(error),
        };
        for change in pending {
            change.apply(&mut inode.durable);
        }
        Ok(())
    }
}
