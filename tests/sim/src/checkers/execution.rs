//! Properties of executions, judged at the moment an upstream gets its first octet.

use layer2_http::limits::MAX_ATTEMPTS;
use layer2_http::operation::OperationId;

use crate::oracle::Class;
use crate::shared::Shared;

/// An upstream got the first octet of a call.
pub fn executed(shared: &Shared, id: OperationId, index: usize) {
    s2_at_most_once_per_operation(shared, id, index);
}

/// S2: each message is delivered to the application at most once per message id.
///
/// What may be repeated (RFC 9110 §9.2.2, or by its Idempotency-Key) is tried at most [`MAX_ATTEMPTS`] times by one journal of
/// executions. "Residual: an in-place revert \[...\] a call dispatched in those seconds may run twice" and "when nothing sent after
/// the snapshot reached the peer; only a fence outside the volume passes" (protocol §3): there is no such fence here, so each time
/// an endpoint went back to an image, what it had executed after that image may run once more, and nothing else. Servers of one side
/// do not know each other's journals: "its unsent calls move to another one under the same message id", and nothing that was sent.
fn s2_at_most_once_per_operation(shared: &Shared, id: OperationId, index: usize) {
    let mut oracle = shared.oracle.borrow_mut();
    if oracle.executions.get(index).is_none() {
        return;
    }
    let Some(op) = oracle.op(id) else { return };
    let (class, executions) = (op.class, op.executions.clone());
    let found: Vec<_> = executions.iter().map(|index| oracle.executions[*index].clone()).collect();
    drop(oracle);
    let originals = shared.originals.borrow();
    let mut by_server = std::collections::BTreeMap::<usize, Vec<_>>::new();
    for execution in &found {
        let server = originals.get(&execution.node).copied().unwrap_or(execution.node);
        by_server.entry(server).or_default().push(execution);
    }
    let told = || {
        let times = found.iter().map(|one| format!("#{} at {} µs, attempt {}", one.node, one.at, one.attempt));
        times.collect::<Vec<_>>().join("; ")
    };
    if class == Class::Once && by_server.len() > 1 {
        shared.blame("S2", format!("operation {id} (Once) was executed at {} servers: {}", by_server.len(), told()));
    }
    for (server, executions) in &by_server {
        let times: Vec<_> = executions.iter().map(|execution| execution.at).collect();
        // Of several attempts those after the image are forgotten, and counted anew.
        let forgotten = if class.repeatable() { times.last() } else { times.first() }.copied().unwrap_or(0);
        let rewinds = shared.rewinds.borrow();
        let again =
            rewinds.iter().filter(|rewind| rewind.node == *server && rewind.image_at <= forgotten).count() as u64;
        let losses = shared.losses.borrow().iter().filter(|(node, _)| node == server).count() as u64;
        let allowed = if class.repeatable() {
            // A journal that is lost begins to count anew.
            u64::from(MAX_ATTEMPTS) * (1 + again + losses)
        } else {
            1 + again
        };
        let times = executions.len() as u64;
        if times > allowed {
            shared.blame("S2", format!("operation {id} ({class:?}) was executed {times} times: {}", told()));
        }
    }
}
