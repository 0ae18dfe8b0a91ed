//! A peer that is wrong about its own streams: it ends one with a length or a digest that its content does not have, as a faulty program
//! or one that lost a part of a body would, or with the end of the same content under another head.
//!
//! Every frame of such a stream verifies, so nothing but the comparison at its end can tell. Invariants: it draws from numbers of its own,
//! so that all other seeds have the histories that they had; who ends a stream falsely is known to the oracle, and whoever takes such a
//! stream for whole is blamed. Test to read first: `a_false_end_is_not_the_true_one`.

use bytes::Bytes;
use layer2_http::fin::Fin;
use sidecar_app::exchange::RecordWriter;
use wire::record::{Bound, kind};

use crate::faults::Fault;
use crate::options::{POISON_EVERY, TAIL_EVERY};
use crate::rng::Rng;
use crate::shared::Shared;

/// Every so many seeds ends of streams may be false.
const LIARS_EVERY: u64 = 10;
/// Of their streams, percent.
const FALSE_PERCENT: u64 = 8;
/// Names the generator of this file.
const NAME: u64 = 0x11a5;

/// Who ends a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Of a request.
    Caller,
    /// Of a response.
    Upstream,
}

/// Whether a stream gets a false end. Draws nothing from `rng`.
#[must_use]
pub fn is_false(shared: &Shared, rng: &Rng) -> bool {
    let seed = shared.options.seed;
    let other = seed % POISON_EVERY == POISON_EVERY / 2 || seed % TAIL_EVERY == TAIL_EVERY * 7 / 10;
    !other && seed % LIARS_EVERY == 7 && rng.split(NAME).percent(FALSE_PERCENT)
}

/// Ends a stream falsely.
pub async fn end_falsely(shared: &Shared, rng: &Rng, mut writer: RecordWriter, role: Role) {
    shared.count(Fault::FalseEnd);
    // A calling engine names the head of each attempt itself.
    let fin = writer.fin();
    let bound = fin.bound.filter(|_| role == Role::Upstream);
    let fin = false_end(rng, Fin { bound, ..fin });
    let _ = writer.head(kind::FIN, Bytes::copy_from_slice(&fin.encode())).await;
}

fn false_end(rng: &Rng, fin: Fin) -> Fin {
    let mut rng = rng.split(NAME + 1);
    let mut digest = [0; 32];
    rng.fill(&mut digest);
    // Of a message with another head, of a body that was cut short, or of another one.
    if let Some(bound) = fin.bound.filter(|_| rng.percent(50)) {
        return Fin { bound: Some(Bound { head: digest, ..bound }), ..fin };
    }
    let more = if rng.percent(50) { rng.between(1, 1_000) } else { 0 };
    Fin { content_length: fin.content_length + more, digest, bound: None }
}

#[cfg(test)]
mod tests {
    use layer2_http::body::BodyCheck;

    use super::*;

    #[test]
    fn a_false_end_is_not_the_true_one() {
        for seed in 0..20 {
            let mut body = BodyCheck::new();
            body.on_head(&[9; 32]);
            let fin = false_end(&Rng::new(seed), body.fin());
            assert!(body.on_fin(&Fin::decode(&fin.encode()).unwrap()).is_err());
        }
    }
}
