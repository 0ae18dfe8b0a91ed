//! Properties of executions, judged at the moment an upstream gets its first octet.

use layer2_http::limits::MAX_ATTEMPTS;
use layer2_http::operation::OperationId;

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
/// an endpoint went back to an image, what it had executed after that image may run once more, and nothing else.
fn s2_at_most_once_per_operation(shared: &Shared, id: OperationId, index: usize) {
    let (node, found, class, executions, far) = {
        let mut oracle = shared.oracle.borrow_mut();
        let node = oracle.executions[index].node;
        let Some(op) = oracle.op(id) else { return };
        let (class, executions, far) = (op.class, op.executions.clone(), op.far);
        let times: Vec<(usize, u64, u32)> = executions
            .iter()
            .map(|index| {
                (oracle.executions[*index].node, oracle.executions[*index].at, oracle.executions[*index].attempt)
            })
            .collect();
        (node, times, class, executions.len() as u64, far)
    };
    let first = found.first().map_or(0, |(_, at, _)| *at);
    let rewinds = shared.rewinds.borrow();
    let again = rewinds.iter().filter(|rewind| rewind.node == far && rewind.image_at <= first).count() as u64;
    let losses = shared.losses.borrow().iter().filter(|(node, _)| *node == far).count() as u64;
    let allowed = if class.repeatable() {
        // A journal that is lost begins to count anew.
        u64::from(MAX_ATTEMPTS) * (1 + again + losses)
    } else {
        1 + again
    };
    if executions > allowed {
        let times: Vec<String> =
            found.iter().map(|(node, at, attempt)| format!("#{node} at {at} µs, attempt {attempt}")).collect();
        let what = format!("operation {id} ({class:?}) was executed {executions} times: {}", times.join("; "));
        shared.blame("S2", what);
    }
    let _ = node;
}
