//! Weighted rendezvous hashing: which server a key prefers, without a table (Schindelhauer and Schomaker, 2005, "logarithmic method").
//!
//! Invariants: a key's order of two servers does not depend on who else there is, so one that leaves moves only its own keys; a server of
//! twice the weight gets twice the keys. Integers only: every machine computes the same. It is no protection against servers that choose
//! their own names. Test to read first: `keys_follow_the_weights` in the tests of membership.

use wire::EndpointId;
use wire::digest::sha256;

/// Bits behind the point of a logarithm.
const FRACTION_BITS: u32 = 32;

/// The key of calls from one caller by one route, or without a route to one authority.
#[must_use]
pub fn call_key(caller: &EndpointId, route_or_authority: &str) -> u64 {
    let digest = sha256(&[b"hoft1 choice", caller.as_bytes(), route_or_authority.as_bytes()]);
    fold(&digest)
}

/// The rank of a server for a key: the lowest is chosen. The time to the first event of a process whose rate is the weight.
pub(super) fn rank(key: u64, server: &EndpointId, weight: u64) -> u128 {
    let drawn = mix(key ^ mix(fold(server.as_bytes())));
    // At least 1, so that its logarithm exists.
    let negative_log = (64 << FRACTION_BITS) - log2(drawn | 1);
    // Divided by the weight, with enough bits left to tell close ones apart.
    (u128::from(negative_log) << FRACTION_BITS) / u128::from(weight.max(1))
}

fn fold(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(0, |sum, chunk| {
        let mut word = [0; 8];
        word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        mix(sum ^ u64::from_le_bytes(word))
    })
}

/// The finalizer of SplitMix64: every bit of the input changes half of the output's.
const fn mix(mut word: u64) -> u64 {
    word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The binary logarithm of a number above zero, with [`FRACTION_BITS`] bits behind the point: by repeated squaring.
fn log2(number: u64) -> u64 {
    let whole = number.ilog2();
    // In [1, 2), as a fixed-point number with 63 bits behind the point.
    let mut rest = u128::from(number << (63 - whole));
    let mut log = u64::from(whole);
    for _ in 0..FRACTION_BITS {
        rest = (rest * rest) >> 63;
        let carry = rest >> 64 != 0;
        log = log << 1 | u64::from(carry);
        if carry {
            rest >>= 1;
        }
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::cast_precision_loss, reason = "compared with a tolerance")]
    fn logarithms_are_those_of_the_textbook() {
        for number in [1, 2, 3, 10, 1 << 31, (1 << 40) + 12_345, u64::MAX] {
            let exact = (number as f64).log2();
            let mine = log2(number) as f64 / f64::from(u32::MAX);
            assert!((exact - mine).abs() < 1e-6 * exact.max(1.0), "{number}: {exact} is not {mine}");
        }
    }

    #[test]
    fn another_route_or_caller_is_another_key() {
        let (one, other) = (EndpointId::from_bytes([1; 16]), EndpointId::from_bytes([2; 16]));
        let keys = [call_key(&one, "a"), call_key(&one, "b"), call_key(&other, "a")];
        assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
        assert_eq!(call_key(&one, "a"), keys[0]);
    }
}
