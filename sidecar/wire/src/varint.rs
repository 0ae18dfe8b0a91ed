//! Variable-length integers: RFC 9000 §16, with the shortest form required (wire format §1).
//!
//! Invariant: every value below 2^62 has exactly one encoding, and `decode` accepts no other.
//! Test to read first: `check_values_of_the_specification`.

use alloc::vec::Vec;

/// The largest value a varint can hold: 2^62 − 1.
pub const MAX: u64 = (1 << 62) - 1;

/// Why bytes are not a varint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VarintError {
    /// The bytes end inside the number.
    #[error("the bytes end inside a varint")]
    Cut,
    /// A longer form than needed was used.
    #[error("a varint is not in its shortest form")]
    NotShortest,
}

/// Bytes `encode` writes for `value`: 1, 2, 4 or 8.
#[must_use]
pub const fn encoded_len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Appends `value`. A value above [`MAX`] is written as `MAX`: only a saturated counter gets there.
pub fn encode(value: u64, out: &mut Vec<u8>) {
    let value = value.min(MAX);
    let bytes = value.to_be_bytes();
    let len = encoded_len(value);
    let start = out.len();
    out.extend_from_slice(&bytes[8 - len..]);
    // The two top bits are log2 of the length.
    out[start] |= (len.trailing_zeros() as u8) << 6;
}

/// Takes one varint off the front of `input`.
///
/// # Errors
/// If the bytes end inside it, or it is not in its shortest form; `input` is then unchanged.
pub fn decode(input: &mut &[u8]) -> Result<u64, VarintError> {
    let first = *input.first().ok_or(VarintError::Cut)?;
    let len = 1_usize << (first >> 6);
    let (bytes, rest) = input.split_at_checked(len).ok_or(VarintError::Cut)?;
    let mut value = u64::from(first & 0x3f);
    for byte in &bytes[1..] {
        value = value << 8 | u64::from(*byte);
    }
    if encoded_len(value) != len {
        return Err(VarintError::NotShortest);
    }
    *input = rest;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn encoded(value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        encode(value, &mut out);
        out
    }

    #[test]
    fn check_values_of_the_specification() {
        assert_eq!(encoded(0), [0]);
        assert_eq!(encoded(63), [0x3f]);
        assert_eq!(encoded(64), [0x40, 0x40]);
        assert_eq!(encoded(16_384), [0x80, 0, 0x40, 0]);
        assert_eq!(encoded(1 << 30), [0xc0, 0, 0, 0, 0x40, 0, 0, 0]);
        assert_eq!(encoded(MAX), [0xff; 8]);
    }

    #[test]
    fn a_longer_form_than_needed_is_refused() {
        for bytes in [vec![0x40, 0x3f], vec![0x80, 0, 0x3f, 0xff], vec![0xc0, 0, 0, 0, 0x3f, 0xff, 0xff, 0xff]] {
            let mut input = &bytes[..];
            assert_eq!(decode(&mut input), Err(VarintError::NotShortest));
            assert_eq!(input, &bytes[..]);
        }
    }

    #[test]
    fn a_cut_number_is_refused() {
        for value in [64, 16_384, 1 << 30] {
            let bytes = encoded(value);
            for len in 0..bytes.len() {
                assert_eq!(decode(&mut &bytes[..len]), Err(VarintError::Cut));
            }
        }
    }

    #[test]
    fn a_saturated_counter_is_written_as_the_largest_value() {
        assert_eq!(encoded(u64::MAX), encoded(MAX));
    }

    proptest! {
        #[test]
        fn every_value_comes_back(shift in 0_u32..64, raw: u64, rest: Vec<u8>) {
            let value = (raw >> shift).min(MAX);
            let mut bytes = encoded(value);
            prop_assert_eq!(bytes.len(), encoded_len(value));
            bytes.extend_from_slice(&rest);
            let mut input = &bytes[..];
            prop_assert_eq!(decode(&mut input), Ok(value));
            prop_assert_eq!(input, &rest[..]);
        }

        #[test]
        fn whatever_decodes_encodes_to_the_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..10)) {
            let mut input = &bytes[..];
            if let Ok(value) = decode(&mut input) {
                prop_assert_eq!(&encoded(value)[..], &bytes[..bytes.len() - input.len()]);
            }
        }
    }
}
