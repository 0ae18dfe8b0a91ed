//! Every crash point of recorded workloads: after any call, by kill or power cut, whatever was committed is
//! there and every position the state refers to reads back.
//!
//! The workload is a small keyed state whose values stay where they were appended, as bodies do. Its states are
//! remembered by sequence number; recovery must land on one of them, not before the last commit.

use std::collections::BTreeMap;

use super::*;

const PUT: u8 = 64;
const DELETE: u8 = 65;
const SEQUENCE: u8 = 66;
const CARRIED: u8 = 67;
const REFERENCE: u8 = 68;

type State = BTreeMap<u32, Vec<u8>>;

/// What the workload knows to have happened.
struct Model {
    /// The state after each operation.
    states: Vec<State>,
    committed: usize,
}

/// The workload's own view: where each value is.
struct Engine {
    log: Log,
    live: BTreeMap<u32, Position>,
    sequence: u64,
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn long(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

impl Engine {
    fn open(storage: &MemStorage) -> Result<Self, LogError> {
        let (log, recovered) = open_mem(storage)?;
        let mut engine = Self { log, live: BTreeMap::new(), sequence: 0 };
        for entry in recovered {
            let Entry { position, kind, payload, .. } = entry?;
            match kind {
                PUT => {
                    engine.sequence = long(&payload);
                    engine.set(word(&payload, 8), position);
                }
                DELETE => {
                    engine.sequence = long(&payload);
                    engine.unset(word(&payload, 8));
                }
                SEQUENCE => engine.sequence = long(&payload),
                CARRIED => engine.set(word(&payload, 0), position),
                REFERENCE => {
                    let to = Position::from_bytes(payload[4..16].try_into().unwrap());
                    engine.set(word(&payload, 0), to);
                }
                other => panic!("kind {other} was never written"),
            }
        }
        engine.log.reclaim();
        Ok(engine)
    }

    fn set(&mut self, id: u32, position: Position) {
        self.log.pin(position);
        if let Some(old) = self.live.insert(id, position) {
            self.log.unpin(old);
        }
    }

    fn unset(&mut self, id: u32) {
        if let Some(old) = self.live.remove(&id) {
            self.log.unpin(old);
        }
    }

    fn state(&self) -> Result<State, LogError> {
        let reader = self.log.reader();
        let value = |position| {
            let (kind, payload) = reader.read(position)?;
            let skip = if kind == PUT { 12 } else { 4 };
            assert_eq!(reader.read_at(position, skip, payload.len() - skip)?, payload[skip..]);
            Ok(payload[skip..].to_vec())
        };
        self.live.iter().map(|(id, position)| Ok((*id, value(*position)?))).collect()
    }

    fn step(&mut self, model: &mut Model, rng: &mut Rng) -> Result<(), LogError> {
        match rng.below(12) {
            0..6 => {
                let id = rng.below(8) as u32;
                let len = if rng.below(40) == 0 { 70_000 } else { rng.below(900) as usize };
                self.put(model, id, vec![rng.below(256) as u8; len])
            }
            6..8 => {
                let id = rng.below(8) as u32;
                let sequence = self.sequence + 1;
                self.log.append(DELETE, &[&sequence.to_le_bytes(), &id.to_le_bytes()])?;
                self.sequence = sequence;
                self.unset(id);
                let mut state = model.states.last().unwrap().clone();
                state.remove(&id);
                model.states.push(state);
                Ok(())
            }
            8..11 => self.commit(model),
            _ => self.roll(model, rng.below(2) == 0),
        }?;
        if self.log.needs_checkpoint() { self.roll(model, true) } else { Ok(()) }
    }

    fn put(&mut self, model: &mut Model, id: u32, value: Vec<u8>) -> Result<(), LogError> {
        let sequence = self.sequence + 1;
        let position = self.log.append(PUT, &[&sequence.to_le_bytes(), &id.to_le_bytes(), &value])?;
        self.sequence = sequence;
        self.set(id, position);
        let mut state = model.states.last().unwrap().clone();
        state.insert(id, value);
        model.states.push(state);
        Ok(())
    }

    fn commit(&mut self, model: &mut Model) -> Result<(), LogError> {
        self.log.commit()?;
        model.committed = model.states.len() - 1;
        Ok(())
    }

    fn roll(&mut self, model: &mut Model, carry: bool) -> Result<(), LogError> {
        let state = self.state()?;
        let mut entries = vec![(SEQUENCE, self.sequence.to_le_bytes().to_vec())];
        for (id, position) in &self.live {
            let id_bytes = id.to_le_bytes();
            entries.push(if carry && id % 2 == 0 {
                (CARRIED, [&id_bytes[..], &state[id]].concat())
            } else {
                (REFERENCE, [&id_bytes[..], &position.to_bytes()].concat())
            });
        }
        let ids: Vec<u32> = self.live.keys().copied().collect();
        let carried: Vec<bool> = entries[1..].iter().map(|(kind, _)| *kind == CARRIED).collect();
        let positions = self.log.roll(entries.into_iter())?;
        model.committed = model.states.len() - 1;
        for ((id, carried), position) in ids.into_iter().zip(carried).zip(&positions[1..]) {
            if carried {
                self.set(id, *position);
            }
        }
        Ok(())
    }
}

impl Model {
    fn new() -> Self {
        Self { states: vec![State::new()], committed: 0 }
    }

    /// Opens the log again; what it holds is durable from here on.
    fn check_recovered(&mut self, storage: &MemStorage, what: &str) -> Engine {
        let engine = Engine::open(storage).unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = engine.sequence as usize;
        assert!(self.committed <= found, "{what}: committed {}, found {found}", self.committed);
        assert!(found < self.states.len(), "{what}: issued {}, found {found}", self.states.len() - 1);
        assert_eq!(engine.state().unwrap(), self.states[found], "{what}");
        self.states.truncate(found + 1);
        self.committed = found;
        engine
    }
}

/// Runs a workload until it ends or fails for good; a full disk is not for good.
fn run(storage: &MemStorage, seed: u64, steps: usize) -> Model {
    let mut model = Model::new();
    let mut rng = Rng(seed);
    if let Ok(mut engine) = Engine::open(storage) {
        for _ in 0..steps {
            match engine.step(&mut model, &mut rng) {
                Ok(()) | Err(LogError::Full { .. }) => {}
                Err(_) => break,
            }
        }
    }
    model
}

fn calls_of(seed: u64, steps: usize) -> u64 {
    let storage = MemStorage::new();
    run(&storage, seed, steps);
    storage.calls()
}

fn crash(storage: &MemStorage, how: u64) {
    if how == 0 { storage.restart() } else { storage.power_cut(how - 1) }
}

/// Goes on for a while after a crash, crashes again, and looks once more.
fn go_on_and_crash_again(storage: &MemStorage, model: &mut Model, engine: Engine, call: u64, how: u64, what: &str) {
    let mut engine = engine;
    let mut rng = Rng(call ^ 0xabcd);
    for _ in 0..1 + call % 7 {
        engine.step(model, &mut rng).unwrap();
    }
    storage.power_cut(how);
    model.check_recovered(storage, what);
}

const STEPS: usize = 36;

#[test]
fn every_crash_point_keeps_what_was_committed() {
    for seed in 1..=12 {
        for call in 0..calls_of(seed, STEPS) {
            for how in 0..8 {
                let what = format!("seed {seed}, call {call}, crash {how}");
                let storage = MemStorage::new();
                storage.fail_at(call, Fault::Stop);
                let mut model = run(&storage, seed, STEPS);
                crash(&storage, how);
                let engine = model.check_recovered(&storage, &what);
                go_on_and_crash_again(&storage, &mut model, engine, call, how % 5, &what);
            }
        }
    }
}

#[test]
fn every_crash_during_recovery_is_recovered() {
    for seed in 11..=14 {
        for call in 0..calls_of(seed, STEPS) {
            let storage = MemStorage::new();
            storage.fail_at(call, Fault::Stop);
            let mut model = run(&storage, seed, STEPS);
            for again in 0..8 {
                crash(&storage, (seed + call + again) % 7);
                storage.fail_at(storage.calls() + again, Fault::Stop);
                drop(Engine::open(&storage));
            }
            crash(&storage, (seed + call) % 7);
            let what = format!("seed {seed}, call {call}");
            let engine = model.check_recovered(&storage, &what);
            go_on_and_crash_again(&storage, &mut model, engine, call, seed + call, &what);
        }
    }
}

#[test]
fn every_full_disk_loses_nothing() {
    for seed in 21..=26 {
        for call in 0..calls_of(seed, STEPS) {
            let what = format!("seed {seed}, call {call}");
            let storage = MemStorage::new();
            storage.fail_at(call, Fault::Full);
            let mut model = run(&storage, seed, STEPS);
            crash(&storage, call % 6);
            let engine = model.check_recovered(&storage, &what);
            go_on_and_crash_again(&storage, &mut model, engine, call, call % 5, &what);
        }
    }
}

#[test]
fn every_failed_call_loses_nothing_that_was_committed() {
    for seed in 31..=36 {
        for call in 0..calls_of(seed, STEPS) {
            for how in 0..3 {
                let what = format!("seed {seed}, call {call}, crash {how}");
                let storage = MemStorage::new();
                storage.fail_at(call, Fault::Broken);
                let mut model = run(&storage, seed, STEPS);
                crash(&storage, how);
                let engine = model.check_recovered(&storage, &what);
                go_on_and_crash_again(&storage, &mut model, engine, call, how, &what);
            }
        }
    }
}

#[test]
fn disk_returns_to_baseline_when_nothing_is_live() {
    for seed in 41..=44 {
        let storage = MemStorage::new();
        let mut model = Model::new();
        let mut engine = Engine::open(&storage).unwrap();
        let mut rng = Rng(seed);
        for _ in 0..300 {
            engine.step(&mut model, &mut rng).unwrap();
        }
        for id in engine.live.keys().copied().collect::<Vec<_>>() {
            engine.unset(id);
        }
        engine.log.roll([(SEQUENCE, engine.sequence.to_le_bytes().to_vec())].into_iter()).unwrap();
        assert_eq!(storage.list().unwrap().len(), 1);
        assert!(engine.log.bytes_on_disk() < 200);
    }
}

#[test]
fn an_image_is_a_folder_of_its_own() {
    let storage = MemStorage::new();
    let mut model = run(&storage, 51, 20);
    let image = storage.image(0);
    let calls = storage.calls();
    drop(model.check_recovered(&image, "the image"));
    assert_eq!(storage.calls(), calls, "what happens to the image happens to no other");
    crash(&storage, 0);
    drop(model.check_recovered(&storage, "the original"));
}
