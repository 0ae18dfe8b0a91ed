//! Properties of worlds with several servers: which calls they get, and how long their words stay.
//!
//! Invariants: as in `mod.rs`. Test to read first: `every_property_has_a_checker`.

use crate::oracle::Begin;
use crate::time::SEC;
use crate::world::World;

/// Announcements that stay in the folder: "its sender keeps the last two and removes older ones"; "presence: two newer ones of that
/// sender and incarnation are there" (protocol §6 and §3).
pub(super) const NEWER_ANNOUNCEMENTS: usize = 2;

/// L1: "a server that is silent past its validity: its unsent calls move to another one", and new ones go there. Where nothing goes
/// wrong but with servers, every call has ended that was begun when no server had fallen silent within the time that its last word
/// counts, or just before it fell silent: others may wait for who does not answer. Calls of an endpoint that was in trouble itself are
/// not looked at.
pub fn l1_calls_go_to_the_servers_that_are_there(world: &World) {
    let options = &world.shared.options;
    let Some(servers) = options.servers.filter(|servers| servers.alone) else { return };
    let round = options.latency_us * 3 + options.think_us + options.publish_us;
    let settles = round * 12 + 20 * SEC;
    let now = world.shared.clock.now();
    let events = world.shared.server_events.borrow();
    let calm = |at: u64| {
        at + settles < now
            && events.iter().all(|(_, event)| at + settles < *event || at > event + servers.valid_us() + settles)
    };
    let troubled = |node: usize| events.iter().any(|(other, _)| *other == node);
    let oracle = world.shared.oracle.borrow();
    let waiting: Vec<u64> = oracle
        .ops
        .values()
        .filter(|op| calm(op.asked_at) && !troubled(op.node) && !op.gone)
        .filter(|op| matches!(op.begin, Begin::Asked | Begin::Accepted))
        .filter(|op| op.delivered == 0 && op.problems.is_empty() && op.told.is_none())
        .map(|op| op.number)
        .collect();
    drop((oracle, events));
    if !waiting.is_empty() {
        world.shared.blame("L1", format!("calls {waiting:?} wait though other servers are there"));
    }
}
