//! A peer that is wrong about its own streams: it ends one with a length or a digest that its content does not have, as a faulty program
//! or one that lost a part of a body would.
//!
//! Every frame of such a stream verifies, so nothing but the comparison at its end can tell. Invariants: it draws from numbers of its own,
//! so that all other seeds have the histories that they had; who ends a stream falsely is known to the oracle, and whoever takes such a
//! stream for whole is blamed. Test to read first: `a_false_end_is_not_the_true_one`.

use bytes::Bytes;
use layer2_http::fin::Fin;
use sidecar_app::exchange::RecordWriter;
use wire::record::kind;

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

/// Whether a stream gets a false end. Draws nothing from `rng`.
#[must_use]
pub fn is_false(shared: &Shared, rng: &Rng) -> bool {
    let seed = shared.options.seed;
    let other = seed % POISON_EVERY == POISON_EVERY / 2 || seed % TAIL_EVERY == TAIL_EVERY * 7 / 10;
    !other && seed % LIARS_EVERY == 7 && rng.split(NAME).percent(FALSE_PERCENT)
}

/// Ends a stream of so many octets falsely.
pub async fn end_falsely(shared: &Shared, rng: &Rng, len: u64, mut writer: RecordWriter) {
    shared.count(Fault::FalseEnd);
    let _ = writer.head(kind::FIN, false_end(rng, len)).await;
}

fn false_end(rng: &Rng, len: u64) -> Bytes {
    let mut rng = rng.split(NAME + 1);
    let mut digest = [0; 32];
    rng.fill(&mut digest);
    // Of a body that was cut short, or of another one.
    let content_length = if rng.percent(50) { len + rng.between(1, 1_000) } else { len };
    Bytes::copy_from_slice(&Fin { content_length, digest, bound: None }.encode())
}

#[cfg(test)]
mod tests {
    use layer2_http::body::BodyCheck;

    use super::*;

    #[test]
    fn a_false_end_is_not_the_true_one() {
        for seed in 0..20 {
            let fin = Fin::decode(&false_end(&Rng::new(seed), 0)).unwrap();
            assert!(BodyCheck::new().on_fin(&fin).is_err());
        }
    }
}
