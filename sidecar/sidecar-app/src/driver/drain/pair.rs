//! Two sides and the mirror between them.
//!
//! Invariant: time moves only when nobody has anything to do. What this file does not do: look into a side.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use disk::dir::{Dir, MemDir};
use layer0_pipe::Profile;

use super::side::{MPL, Machine, RESULT_TTL, Side};

/// How long a run goes on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// So many steps.
    Steps(usize),
    /// Nobody waits for anything, and no packet was carried for a while.
    Quiet,
}

/// Two sides.
pub(super) struct Pair {
    machine: Arc<Machine>,
    profile: Profile,
    sides: [Option<Side>; 2],
    /// What was carried from each.
    carried: [BTreeSet<String>; 2],
    /// One large file in so many is cut in half; 0: none.
    pub(super) cut_files: usize,
    pub(super) cut: usize,
    files: usize,
    /// Nothing is carried.
    pub(super) outage: bool,
}

impl Pair {
    pub(super) fn new(profile: Profile) -> Self {
        let machine = Arc::new(Machine::new(7));
        let folders = [MemDir::new(), MemDir::new(), MemDir::new(), MemDir::new()];
        let [a_out, a_in, b_out, b_in] = folders;
        let near = Side::new(("north", "south"), machine.clone(), profile, (a_out, a_in));
        let far = Side::new(("south", "north"), machine.clone(), profile, (b_out, b_in));
        Self {
            machine,
            profile,
            sides: [Some(near), Some(far)],
            carried: Default::default(),
            cut_files: 0,
            cut: 0,
            files: 0,
            outage: false,
        }
    }

    pub(super) fn near(&mut self) -> &mut Side {
        self.sides[0].as_mut().unwrap()
    }

    pub(super) fn far(&mut self) -> &mut Side {
        self.sides[1].as_mut().unwrap()
    }

    pub(super) fn restart_near(&mut self) {
        self.sides[0] = self.sides[0].take().map(Side::again);
    }

    pub(super) fn restart_far(&mut self) {
        self.sides[1] = self.sides[1].take().map(Side::again);
    }

    pub(super) fn lose_far(&mut self) {
        self.sides[1] = self.sides[1].take().map(Side::without_state);
    }

    /// Runs; panics if that takes more than so many steps.
    pub(super) fn run(&mut self, until: Until, steps_max: usize) {
        let mut idle_since = None;
        for step in 0..steps_max {
            let any = self.step().unwrap();
            let waits = self.sides.iter().flatten().any(Side::has_tasks);
            let now = self.machine.elapsed();
            idle_since = if any || waits { None } else { idle_since.or(Some(now)) };
            let over = match until {
                Until::Steps(steps) => step + 1 >= steps,
                Until::Quiet => idle_since.is_some_and(|since| now >= since + Duration::from_millis(900)),
            };
            if over {
                return;
            }
        }
        panic!("{until:?} is not reached in {steps_max} steps");
    }

    /// Runs until a log fails; false if none did for so many steps.
    pub(super) fn run_until_stopped(&mut self, steps: usize) -> bool {
        (0..steps).any(|_| self.step().is_err())
    }

    /// One round of everybody; then time moves if nobody had anything to do.
    fn step(&mut self) -> Result<bool, crate::driver::DriverError> {
        let mut any = false;
        for side in self.sides.iter_mut().flatten() {
            any |= side.step()?;
        }
        if !self.outage {
            any |= self.carry(0) | self.carry(1);
        }
        if !any {
            let wait = self.sides.iter().flatten().map(Side::wait).min().unwrap_or_default();
            self.machine.pass(wait.max(Duration::from_millis(1)));
        }
        Ok(any)
    }

    /// The mirror's round in one direction.
    fn carry(&mut self, from: usize) -> bool {
        let (Some(source), Some(target)) = (&self.sides[from], &self.sides[1 - from]) else { return false };
        let (out, folder) = (source.out.clone(), target.folder.clone());
        let mut any = false;
        let sources: Vec<String> = out.files();
        let carried = &mut self.carried[from];
        if self.profile == Profile::Sync {
            for path in carried.iter().filter(|path| !sources.contains(path)) {
                let _ = folder.remove_file(path);
            }
        }
        carried.retain(|path| sources.contains(path));
        for path in sources {
            if carried.insert(path.clone()) {
                any = true;
                let mut bytes = out.contents(&path).unwrap();
                if self.cut_files > 0 && bytes.len() > 100_000 {
                    self.files += 1;
                    if self.files.is_multiple_of(self.cut_files) {
                        self.cut += 1;
                        bytes.truncate(bytes.len() / 2);
                    }
                }
                folder.put(&path, &bytes).unwrap();
            }
            if self.profile == Profile::Move {
                out.remove_file(&path).unwrap();
            }
        }
        if any {
            // What a hint would do.
            let now = self.machine.elapsed();
            if let Some(target) = &mut self.sides[1 - from] {
                target.next_scan = now;
            }
        }
        any
    }

    /// Lets so much time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.machine.elapsed() + time;
        while self.machine.elapsed() < end {
            self.step().unwrap();
        }
    }

    /// Lets every time to live pass.
    pub(super) fn drain(&mut self) {
        self.run(Until::Quiet, 40_000);
        self.pass(RESULT_TTL.max(2 * MPL) + Duration::from_secs(200));
        self.run(Until::Quiet, 40_000);
    }

    pub(super) fn assert_no_exchange(&mut self, what: &str) {
        self.near().assert_no_exchange(&format!("near side, {what}"));
        self.far().assert_no_exchange(&format!("far side, {what}"));
    }

    pub(super) fn assert_baseline(&mut self, what: &str) {
        self.near().assert_baseline(&format!("near side, {what}"));
        self.far().assert_baseline(&format!("far side, {what}"));
    }
}
