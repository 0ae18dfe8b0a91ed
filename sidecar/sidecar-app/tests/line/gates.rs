//! Gates: places where the upstream waits until a test lets it go on, so that tests order events without sleeping.
//!
//! Invariant: a wait that does not end becomes a panic with the gate's name. Read first: [`Gates::pass`].

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Far longer than anything takes: only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(180);

#[derive(Clone, Copy, Default)]
struct Gate {
    arrived: usize,
    permits: usize,
    open: bool,
}

/// Named gates, closed until opened.
#[derive(Default)]
pub(crate) struct Gates {
    gates: Mutex<HashMap<String, Gate>>,
    changed: Condvar,
}

impl Gates {
    /// Waits at a gate (upstream side). Gives up quietly after a long time: the test has failed by then.
    pub(crate) fn pass(&self, name: &str) {
        let mut gates = self.lock();
        gates.entry(name.to_owned()).or_default().arrived += 1;
        self.changed.notify_all();
        let began = Instant::now();
        loop {
            let gate = gates.entry(name.to_owned()).or_default();
            if gate.open {
                return;
            }
            if gate.permits > 0 {
                gate.permits -= 1;
                return;
            }
            if began.elapsed() > PATIENCE * 2 {
                return;
            }
            gates = self.wait(gates);
        }
    }

    /// Waits until `count` calls in all came to the gate (test side).
    pub(crate) fn wait_for_arrivals(&self, name: &str, count: usize) {
        let began = Instant::now();
        let mut gates = self.lock();
        while gates.get(name).map_or(0, |gate| gate.arrived) < count {
            if began.elapsed() > PATIENCE {
                drop(gates);
                panic!("the call number {count} did not reach the upstream's gate {name:?}");
            }
            gates = self.wait(gates);
        }
    }

    /// How many calls came to the gate.
    pub(crate) fn arrivals(&self, name: &str) -> usize {
        self.lock().get(name).map_or(0, |gate| gate.arrived)
    }

    /// Lets one call pass.
    pub(crate) fn let_one_pass(&self, name: &str) {
        self.lock().entry(name.to_owned()).or_default().permits += 1;
        self.changed.notify_all();
    }

    /// Lets every call pass from now on.
    pub(crate) fn open(&self, name: &str) {
        self.lock().entry(name.to_owned()).or_default().open = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Gate>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, gates: MutexGuard<'a, HashMap<String, Gate>>) -> MutexGuard<'a, HashMap<String, Gate>> {
        self.changed.wait_timeout(gates, Duration::from_secs(1)).unwrap_or_else(PoisonError::into_inner).0
    }
}
