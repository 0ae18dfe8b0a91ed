//! One endpoint's machine: its disk, its folders' views, its clock, and the engine that runs there or does not.
//!
//! Invariant: what survives the end of an engine is what the disk keeps: all that was written after a kill, what was made durable
//! and any part of the rest after a power cut. A supervisor starts the engine again. Test to read first:
//! `a_quiet_world_answers_every_call`.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use disk::dir::MemDir;

use crate::disk::Disk;
use crate::engine::{Down, Engine, StartError};
use crate::folder::SimDir;
use crate::place::Place;
use crate::rng::Rng;
use crate::shared::Shared;
use crate::time::{SEC, SimHost};

/// How the disk is found by the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aftermath {
    /// The operating system went on.
    Kept,
    /// The power failed; the seed says what of the rest survived.
    PowerCut(u64),
}

/// One machine.
pub struct Node {
    /// Its number.
    pub index: usize,
    /// The number of the machine it is a clone of, or its own.
    pub original: usize,
    /// Who runs there.
    pub place: Place,
    /// The state folder.
    pub disk: Disk,
    /// What the wall clock is off.
    pub wall_off_ms: Arc<AtomicI64>,
    /// Its view of its outbox folder.
    pub outbox: SimDir,
    /// Its view of its inbox folder.
    pub inbox: SimDir,
    /// The engine, while it runs.
    pub engine: Option<Engine>,
    /// When it is started.
    pub start_at: Option<u64>,
    /// It stands still until then.
    pub stalled_until: u64,
    /// What the next end of the engine leaves, once a fault at a call was planned.
    pub aftermath: Aftermath,
    /// An image taken earlier, and when.
    pub image: Option<(u64, Disk)>,
    /// Starts so far.
    pub starts: u64,
    /// The machine is gone since then: nothing is started until it is replaced.
    pub gone_at: Option<u64>,
    /// It is not started any more.
    pub retired: bool,
    rng: Rng,
}

impl Node {
    /// A machine with an empty disk.
    #[must_use]
    pub fn new(index: usize, place: Place, folders: [&MemDir; 2], rng: Rng) -> Self {
        Self {
            index,
            original: index,
            place,
            disk: Disk::new(),
            wall_off_ms: Arc::new(AtomicI64::new(0)),
            outbox: SimDir::new(folders[0].clone()),
            inbox: SimDir::new(folders[1].clone()),
            engine: None,
            start_at: Some(0),
            stalled_until: 0,
            aftermath: Aftermath::Kept,
            image: None,
            starts: 0,
            gone_at: None,
            retired: false,
            rng,
        }
    }

    /// When something is to be done here.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        match &self.engine {
            Some(engine) => Some(engine.due().max(self.stalled_until)),
            None => self.start_at,
        }
    }

    /// Starts the engine. Says what is wrong with the log, if anything is that no fault explains.
    pub fn start(&mut self, shared: &Rc<Shared>) -> Option<String> {
        self.start_at = None;
        if self.retired || self.gone_at.is_some() {
            return None;
        }
        self.starts += 1;
        shared.starts.borrow_mut().insert(self.index, self.starts);
        let rng = self.rng.split(self.starts);
        let host = Arc::new(SimHost::new(shared.clock.clone(), Arc::clone(&self.wall_off_ms), rng.split(1)));
        let folders = (&self.outbox, &self.inbox);
        let storage = Arc::new(self.disk.clone());
        match Engine::start(shared, self.index, &self.place, storage, folders, host, rng.split(2)) {
            Ok(engine) => {
                shared.note_at(self.index, "starts", &[self.starts]);
                self.engine = Some(engine);
                None
            }
            Err(StartError::Disk(_)) => {
                shared.note_at(self.index, "does not start", &[self.starts]);
                self.ended(shared, Down::Log);
                None
            }
            Err(StartError::Damage(what)) => {
                self.retired = true;
                Some(what)
            }
        }
    }

    /// The engine is no longer running: the supervisor will start it again.
    pub fn ended(&mut self, shared: &Shared, down: Down) {
        let turns = self.engine.as_ref().map_or(0, |engine| engine.turns);
        shared.note_at(self.index, "ends", &[down as u64, turns]);
        self.engine = None;
        match std::mem::replace(&mut self.aftermath, Aftermath::Kept) {
            Aftermath::Kept => self.disk.storage.restart(),
            Aftermath::PowerCut(seed) => self.disk.storage.power_cut(seed),
        }
        self.stalled_until = 0;
        self.start_at = Some(shared.clock.now() + self.rng.between(SEC / 100, SEC * 2));
    }

    /// A new, empty disk.
    pub fn lose_state(&mut self) {
        self.disk = Disk::new();
    }
}
