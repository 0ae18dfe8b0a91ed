//! Liveness: from every state that faults can lead to, does a way without further faults lead to the goal?
//!
//! The graph is built over all actions; then the goal is searched backwards over the actions that are no faults. Of a finite graph under
//! a fair scheduler, "reachable from everywhere" is "reached at last". (The checker's own `eventually` misses cycles.)
//! Invariant: a state is left out of the search only if the model's boundary says so. It keeps all states in memory.
//! Test to read first: `association::from_everywhere_both_sides_find_each_other`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Debug;
use std::hash::Hash;

use stateright::Model;

use crate::check::{fingerprint, say, say_way};

/// What a search found.
#[derive(Debug)]
pub struct Progress<A> {
    /// States in all.
    pub states: usize,
    /// States in which the goal is reached.
    pub goals: usize,
    /// The shortest way to a state from which the goal cannot be reached.
    pub stuck: Option<Vec<A>>,
}

struct Graph<M: Model> {
    states: Vec<M::State>,
    /// The state before, and the action that led here.
    came_by: Vec<Option<(u32, M::Action)>>,
    /// Steps without a fault, as (to, from).
    back: Vec<(u32, u32)>,
}

fn index(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn build<M, F>(model: &M, faults_of: impl Fn(&M::State) -> F) -> Graph<M>
where
    M: Model,
    M::State: Hash,
    M::Action: Clone,
    F: Fn(&M::Action) -> bool,
{
    let mut graph = Graph { states: Vec::new(), came_by: Vec::new(), back: Vec::new() };
    let mut known: HashMap<u64, u32> = HashMap::new();
    for state in model.init_states() {
        known.insert(fingerprint(&state), index(graph.states.len()));
        graph.states.push(state);
        graph.came_by.push(None);
    }
    let mut at = 0;
    while at < graph.states.len() {
        let mut actions = Vec::new();
        model.actions(&graph.states[at], &mut actions);
        let is_fault = faults_of(&graph.states[at]);
        for action in actions {
            let fault = is_fault(&action);
            let next = model.next_state(&graph.states[at], action.clone());
            let Some(next) = next.filter(|next| model.within_boundary(next)) else { continue };
            let to = match known.entry(fingerprint(&next)) {
                Entry::Occupied(entry) => *entry.get(),
                Entry::Vacant(entry) => {
                    graph.states.push(next);
                    graph.came_by.push(Some((index(at), action)));
                    *entry.insert(index(graph.states.len() - 1))
                }
            };
            if !fault {
                graph.back.push((to, index(at)));
            }
        }
        at += 1;
    }
    graph.back.sort_unstable();
    graph
}

/// Searches whether `goal` can be reached from everywhere without a fault; `faults_of` a state says which of its actions are some.
pub fn search<M, F>(
    name: &str,
    model: &M,
    faults_of: impl Fn(&M::State) -> F,
    goal: impl Fn(&M::State) -> bool,
) -> Progress<M::Action>
where
    M: Model,
    M::State: Hash + Debug,
    M::Action: Clone + Debug,
    F: Fn(&M::Action) -> bool,
{
    let graph = build(model, faults_of);
    let mut reaches: Vec<bool> = graph.states.iter().map(&goal).collect();
    let mut queue: Vec<u32> = (0..index(reaches.len())).filter(|at| reaches[*at as usize]).collect();
    let goals = queue.len();
    while let Some(to) = queue.pop() {
        let first = graph.back.partition_point(|edge| edge.0 < to);
        for (_, from) in graph.back[first..].iter().take_while(|edge| edge.0 == to) {
            if !std::mem::replace(&mut reaches[*from as usize], true) {
                queue.push(*from);
            }
        }
    }
    // States are numbered in the order of their distance.
    let stuck = reaches.iter().position(|reaches| !reaches).map(|at| way_to(&graph, at));
    let states = graph.states.len();
    match &stuck {
        None => say(&format!("{name}: the goal can be reached from each of {states} states ({goals} are goals)")),
        Some(way) => {
            say_way(name, &format!("no way to the goal after {} steps; {states} states", way.len()), way);
        }
    }
    Progress { states, goals, stuck }
}

fn way_to<M: Model>(graph: &Graph<M>, mut at: usize) -> Vec<M::Action>
where
    M::Action: Clone,
{
    let mut way = Vec::new();
    while let Some((from, action)) = &graph.came_by[at] {
        way.push(action.clone());
        at = *from as usize;
    }
    way.reverse();
    way
}
