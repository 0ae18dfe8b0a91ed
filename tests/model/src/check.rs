//! Runs the checker over a model and says how large the search was.
//!
//! Invariants: a claim is checked over the whole bounded graph, never cut short; a broken rule ends at its first counterexample. The
//! figures go to standard error past the test harness, so that they are seen in every run.
//! Test to read first: any of `tests/model`.

use std::collections::{HashSet, VecDeque};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;

use stateright::{Checker, Model};

/// How far bounds are raised: `HOFT_MODEL_DEPTH`, 0 unless it is set. CI runs 0, the long form 1.
///
/// # Panics
/// If the variable is set and is no number.
#[must_use]
pub fn depth() -> u8 {
    match std::env::var("HOFT_MODEL_DEPTH") {
        Ok(text) => text.parse().expect("HOFT_MODEL_DEPTH is a small number, such as 1"),
        Err(_) => 0,
    }
}

/// Prints one line that the test harness does not hold back.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Prints a finding and the way to it, in one piece.
pub(crate) fn say_way<A: Debug>(name: &str, what: &str, way: &[A]) {
    let steps: String = way.iter().map(|action| format!("\n    {action:?}")).collect();
    say(&format!("{name}: {what}{steps}"));
}

/// Checks every property of a model over its whole graph: each *always* holds, each *sometimes* is reached. The number of states.
///
/// # Panics
/// With the trace, if a property does not hold.
pub fn holds<M>(name: &str, model: M) -> usize
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let checker = model.checker().threads(1).spawn_bfs().join();
    for (property, path) in checker.discoveries() {
        if checker.model().property(property).expectation.discovery_is_failure() {
            let end = format!("{:#?}", path.last_state());
            let steps: Vec<String> = path.into_actions().iter().map(|action| format!("{action:?}")).collect();
            say(&format!("{name}: \"{property}\" does not hold:\n    {}\n{end}", steps.join("\n    ")));
        }
    }
    checker.assert_properties();
    let states = checker.unique_state_count();
    say(&format!("{name}: holds; {states} states, depth {}", checker.max_depth()));
    states
}

/// Checks that a model breaks one *always* property, and gives a shortest way there.
///
/// # Panics
/// If the property holds.
pub fn refuted<M>(name: &str, model: &M, property: &'static str) -> Vec<M::Action>
where
    M: Model,
    M::State: Hash,
    M::Action: Clone + Debug,
{
    let condition = model.property(property).condition;
    let mut known: HashSet<u64> = HashSet::new();
    let mut queue: VecDeque<(M::State, Vec<M::Action>)> = VecDeque::new();
    queue.extend(model.init_states().into_iter().map(|state| (state, Vec::new())));
    while let Some((state, way)) = queue.pop_front() {
        if !condition(model, &state) {
            let what = format!("\"{property}\" is broken after {} steps; {} states", way.len(), known.len());
            say_way(name, &what, &way);
            return way;
        }
        for (action, next) in model.next_steps(&state) {
            if model.within_boundary(&next) && known.insert(fingerprint(&next)) {
                queue.push_back((next, way.iter().cloned().chain([action]).collect()));
            }
        }
    }
    panic!("{name}: \"{property}\" is not broken in {} states", known.len());
}

/// A state's identity; two that share one by chance are taken for one, as the checker does.
pub(crate) fn fingerprint<S: Hash>(state: &S) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}
