//! Properties of a world that has come to rest.

use layer2_http::ProblemKind;
use layer2_http::operation::{Executed, OperationId, OperationView, State};
use sidecar_app::status::EngineStatus;

use crate::oracle::{Begin, Op};
use crate::world::World;

/// Octets of a response's head and its end, at most.
const AROUND_A_BODY: u64 = 1_000;

/// Judges a world at rest.
pub fn at_the_end(world: &mut World) {
    s12_one_dispatch_mark_per_call(world);
    for index in 0..world.nodes.len() {
        if world.nodes[index].retired {
            continue;
        }
        let Some(engine) = world.nodes[index].engine.as_mut() else {
            world.shared.blame("L1", format!("node {index} does not run at the end"));
            continue;
        };
        let (Some(status), operations) = (engine.status(), engine.operations()) else { continue };
        s3_every_accepted_call_ended_in_one_way(world, index, &operations);
        s3_a_kept_result_is_there(world, index, &operations);
        s9_nothing_was_beyond_credit(world, index, &status);
        l1_every_record_is_acknowledged(world, index, &status);
        l2_both_clocks_agree(world, index, &status);
        l6_storage_returns_to_its_baseline(world, index, &status);
    }
}

/// Whether an execution is known to who made it: an endpoint that went back to an image knows nothing of what came after, and
/// nothing tells it so before it answers.
fn is_remembered(world: &World, executions: &[usize]) -> bool {
    let rewinds = world.shared.rewinds.borrow();
    let oracle = world.shared.oracle.borrow();
    let mut made = executions.iter().map(|index| &oracle.executions[*index]);
    made.any(|made| !rewinds.iter().any(|rewind| rewind.node == made.node && rewind.image_at <= made.at))
}

/// S3: each accepted message ends in exactly one of delivered, reported failed, reported unknown; never silent. What an engine says
/// of a call must agree with what callers and upstreams saw. Calls of an endpoint whose state folder was lost, or went back in
/// time, are known to their callers as such: their connections broke and nobody knows their ids.
fn s3_every_accepted_call_ended_in_one_way(world: &World, index: usize, operations: &[OperationView]) {
    let oracle = world.shared.oracle.borrow();
    let mut blames = Vec::new();
    for (id, op) in oracle.ops.iter().filter(|(_, op)| op.node == index && !op.forgotten) {
        let view = operations.iter().find(|view| view.id == *id);
        match (op.begin, view) {
            (Begin::Refused, _) if !op.executions.is_empty() => {
                blames.push(format!("call {} was refused and executed", op.number));
            }
            (Begin::Refused | Begin::Asked | Begin::Unanswered, None) => {
                if !op.executions.is_empty() {
                    blames.push(format!("call {} is not known to its engine and was executed", op.number));
                }
            }
            (Begin::Refused, Some(_)) => {}
            (Begin::Accepted, None) => {
                blames.push(format!("call {} was accepted and is not known any more", op.number))
            }
            (_, Some(view)) if !view.state.is_terminal() => {
                blames.push(format!("call {} never ended: it is {}", op.number, view.state));
            }
            (_, Some(_)) if op.problems.contains(&Some(Executed::No)) && is_remembered(world, &op.executions) => {
                blames.push(format!("the caller of {} was told that it was not executed, and it was", op.number));
            }
            (_, Some(view)) => blames.extend(disagreement(op, view, world, world.nodes[index].starts)),
        }
    }
    drop(oracle);
    for what in blames {
        world.shared.blame("S3", what);
    }
}

/// S12: a call that must not be repeated has at most one dispatch mark, whoever wrote it: on all disks together. Where an endpoint went
/// back to an image it writes another one for what it had executed after that.
fn s12_one_dispatch_mark_per_call(world: &World) {
    if !world.shared.rewinds.borrow().is_empty() {
        return;
    }
    let mut marks = std::collections::BTreeMap::<OperationId, usize>::new();
    for node in &world.nodes {
        for (id, attempts) in &node.disk.view().dispatched {
            *marks.entry(*id).or_default() += attempts.len();
        }
    }
    let oracle = world.shared.oracle.borrow();
    let twice = |(id, marks): &(&OperationId, &usize)| {
        **marks > 1 && oracle.ops.get(id).is_some_and(|op| !op.class.repeatable())
    };
    let found: Vec<u64> = marks.iter().filter(twice).map(|(id, _)| oracle.ops[id].number).collect();
    drop(oracle);
    if !found.is_empty() {
        world.shared.blame("S12", format!("calls {found:?} must not be repeated and have several dispatch marks"));
    }
}

/// What an engine says of an ended call against what was seen of it.
///
/// "A response of which a part was given up to its reader: given up; the operation fails as incomplete" (the driver's table of
/// what a crash can leave): an engine that ended after its caller read the last octet, and before that was durable, may say so of
/// a response that was delivered. It says too that the call was executed.
fn disagreement(op: &Op, view: &OperationView, world: &World, starts: u64) -> Option<String> {
    let oracle = world.shared.oracle.borrow();
    let given_up = view.problem.as_deref() == Some(ProblemKind::ResponseIncomplete.slug());
    let cut_off = given_up && view.executed == Some(Executed::Yes) && op.delivered_in < starts;
    let executed = op.executions.len();
    let answered = op.executions.iter().any(|index| oracle.executions[*index].answer.is_some());
    let (number, state) = (op.number, view.state);
    match state {
        State::Done if executed == 0 => Some(format!("call {number} is done and was never executed")),
        State::Done if !answered => Some(format!("call {number} is done without an answer")),
        State::Failed if view.executed == Some(Executed::No) && is_remembered(world, &op.executions) => {
            Some(format!("call {number} failed as not executed ({:?}) and was executed", view.problem))
        }
        State::Failed if view.executed == Some(Executed::Yes) && executed == 0 => {
            Some(format!("call {number} failed as executed and was not"))
        }
        // Whoever reads a response to a false end goes away.
        State::Cancelled if oracle.was_answered_falsely(op) => None,
        State::Cancelled if !op.gone && !op.detached && op.begin == Begin::Accepted && op.delivered == 0 => {
            Some(format!("call {number} was cancelled by nobody"))
        }
        State::Expired => Some(format!("call {number} expired")),
        State::Failed | State::Unknown if op.delivered > 0 && !cut_off => {
            let why = (view.problem.as_deref(), view.executed);
            Some(format!("call {number} is {state} {why:?} though its response was delivered"))
        }
        _ => op.told.filter(|told| *told != state).map(|told| format!("call {number} was told {told} and is {state}")),
    }
}

/// S3: the stored response of a call whose caller chose its id is there until its time is over ("response payload: final consumer
/// acked or TTL (24 h)", protocol §3), and no world lasts that long. Beyond the quota older results go: where all responses together
/// fit in, none may be missing. A head and an end have fewer than [`AROUND_A_BODY`] octets.
fn s3_a_kept_result_is_there(world: &mut World, index: usize, operations: &[OperationView]) {
    let oracle = world.shared.oracle.borrow();
    let answer =
        |op: &Op| op.executions.iter().filter_map(|at| oracle.executions[*at].answer).map(|(_, len)| len).max();
    let mine = oracle.ops.values().filter(|op| op.node == index);
    let all: u64 = mine.map(|op| answer(op).unwrap_or(0) + AROUND_A_BODY).sum();
    let kept: Vec<_> = operations
        .iter()
        .filter(|view| view.state == State::Done && view.result)
        .filter_map(|view| {
            oracle.ops.get(&view.id).filter(|op| op.chosen && !op.forgotten).map(|op| (view.id, op.number))
        })
        .collect();
    drop(oracle);
    if all > world.shared.options.results_bytes_max {
        return;
    }
    let Some(engine) = world.nodes[index].engine.as_mut() else { return };
    let gone: Vec<u64> = kept.into_iter().filter(|(id, _)| !engine.has_result(*id)).map(|(_, number)| number).collect();
    if !gone.is_empty() {
        world.shared.blame("S3", format!("the results of calls {gone:?} are not there though nothing made them go"));
    }
}

/// S9: the sender never exceeds credit, the receiver never its reserved disk: no record had to be dropped for want of credit.
fn s9_nothing_was_beyond_credit(world: &World, index: usize, status: &EngineStatus) {
    for peer in &status.peers {
        if peer.records_dropped_credit > 0 && world.shared.rewinds.borrow().is_empty() {
            let what = format!("node {index} dropped {} records beyond credit", peer.records_dropped_credit);
            world.shared.blame("S9", what);
        }
    }
}

/// L1: every record is acknowledged, tombstoned or expired.
fn l1_every_record_is_acknowledged(world: &World, index: usize, status: &EngineStatus) {
    for peer in &status.peers {
        if peer.backlog_records > 0 {
            world
                .shared
                .blame("L1", format!("node {index} still has {} records for {}", peer.backlog_records, peer.endpoint));
        }
    }
}

/// L2: the clocks of both sides converge when idle.
fn l2_both_clocks_agree(world: &World, index: usize, status: &EngineStatus) {
    for peer in status.peers.iter().filter(|peer| peer.incarnation.is_some()) {
        if peer.acknowledged + 1 != peer.next || peer.received_up_to + 1 < peer.peer_next {
            let what = format!(
                "node {index} and {}: next {}, acknowledged {}, received {}, theirs {}",
                peer.endpoint, peer.next, peer.acknowledged, peer.received_up_to, peer.peer_next
            );
            world.shared.blame("L2", what);
        }
    }
}

/// L6: storage returns to its baseline after the drain: a log that is rolled at its size, and what stored results pin.
fn l6_storage_returns_to_its_baseline(world: &World, index: usize, status: &EngineStatus) {
    let oracle = world.shared.oracle.borrow();
    let kept = oracle.ops.values().filter(|op| op.node == index).count() as u64;
    let segment = world.shared.options.segment_bytes;
    // A turn gathers up to 4 MiB before it looks whether the segment is full; a checkpoint is as long as what it remembers.
    let turn = if world.shared.options.bulky { 4 << 20 } else { 600_000 };
    let one = segment * 2 + turn + kept * 400;
    let allowed = one * 2 + if status.results_bytes > 0 { one * kept } else { 0 };
    drop(oracle);
    if status.log_bytes > allowed {
        world
            .shared
            .blame("L6", format!("the log of node {index} still has {} octets, {allowed} allowed", status.log_bytes));
    }
}

/// L1: "Tail: PTO = \[...\], ×2 per expiry": where the last packets are lost and nothing follows them, a probe finds that out, long
/// before the next heartbeat would. Every call has ended by now.
pub fn l1_a_lost_tail_is_found_without_a_heartbeat(world: &World) {
    let oracle = world.shared.oracle.borrow();
    let waiting: Vec<u64> = oracle
        .ops
        .values()
        .filter(|op| matches!(op.begin, Begin::Asked | Begin::Accepted) && !op.gone)
        .filter(|op| op.delivered == 0 && op.problems.is_empty() && op.told.is_none())
        .map(|op| op.number)
        .collect();
    drop(oracle);
    if !waiting.is_empty() {
        world.shared.blame("L1", format!("calls {waiting:?} still wait for what was lost"));
    }
}

/// L5: a poisoned record delays others by a bounded number of packets. Where nothing else goes wrong, every call that began well
/// before has ended while the record is still eaten; the one that it belongs to may wait.
pub fn l5_a_poisoned_record_does_not_stop_the_others(world: &World) {
    let options = &world.shared.options;
    let round = options.latency_us * 3 + options.think_us + options.publish_us;
    let long_ago = world.shared.clock.now().saturating_sub(round * 12 + 20 * crate::time::SEC);
    let oracle = world.shared.oracle.borrow();
    let waiting: Vec<u64> = oracle
        .ops
        .values()
        .filter(|op| op.asked_at < long_ago && op.begin == Begin::Accepted && !op.gone)
        .filter(|op| op.delivered == 0 && op.problems.is_empty() && op.told.is_none())
        .map(|op| op.number)
        .collect();
    drop(oracle);
    if waiting.len() > 1 {
        world.shared.blame("L5", format!("calls {waiting:?} wait while one record does not get through"));
    }
}
