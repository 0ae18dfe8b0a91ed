//! TLV blocks: the form of the ext and control blocks, and the ext block itself (wire format §6; check 14 of §11).
//!
//! A block is `type varint ‖ length varint ‖ value` with strictly ascending types, then 0–7 zero bytes up to a multiple of 8.
//! Even types are critical: a reader that does not know one rejects the packet; odd ones are skipped.
//! Invariant: a block that is walked without error has at most 256 TLVs, each type once. Values are judged by who knows them.
//! Test to read first: `a_block_is_laid_out_as_described`.

use crate::limits::{MAX_GREASE_LEN, MAX_TLVS};
use crate::reject::Reject;
use crate::varint;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// The type of padding: any number of zeros.
pub const PAD: u64 = 1;

/// One type and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// The type.
    pub kind: u64,
    /// The value's bytes.
    pub value: &'a [u8],
}

/// Bytes that are no TLV block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed TLV block")]
pub struct TlvMalformed;

impl From<varint::VarintError> for TlvMalformed {
    fn from(_: varint::VarintError) -> Self {
        Self
    }
}

/// Whether a reader that does not know this type rejects the packet.
#[must_use]
pub const fn is_critical(kind: u64) -> bool {
    kind.is_multiple_of(2)
}

/// The `n`th type that never gets a meaning; readers skip it. `n` is cut to what fits a varint.
#[must_use]
pub const fn grease_type(n: u64) -> u64 {
    const LAST: u64 = (varint::MAX - 33) / 62;
    62 * (if n < LAST { n } else { LAST }) + 33
}

/// The TLVs of a block, in order. An empty block has none.
///
/// # Errors
/// If the block's length is no multiple of 8, a TLV is cut, types do not ascend, there are more than 256, or the padding is not
/// 0–7 zeros; also if the value of PAD is not all zeros.
pub fn walk(block: &[u8]) -> Result<Vec<Tlv<'_>>, TlvMalformed> {
    if !block.len().is_multiple_of(8) {
        return Err(TlvMalformed);
    }
    let mut tlvs: Vec<Tlv<'_>> = Vec::new();
    let mut rest = block;
    // A zero byte where a type would stand begins the padding: type 0 does not exist.
    while rest.first().is_some_and(|byte| *byte != 0) {
        let kind = varint::decode(&mut rest)?;
        let len = usize::try_from(varint::decode(&mut rest)?).map_err(|_| TlvMalformed)?;
        let (value, after) = rest.split_at_checked(len).ok_or(TlvMalformed)?;
        let ascends = tlvs.last().is_none_or(|last| last.kind < kind);
        if !ascends || tlvs.len() == MAX_TLVS || kind == PAD && !all_zero(value) {
            return Err(TlvMalformed);
        }
        tlvs.push(Tlv { kind, value });
        rest = after;
    }
    if rest.len() < 8 && all_zero(rest) { Ok(tlvs) } else { Err(TlvMalformed) }
}

fn all_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Collects TLVs in any order and writes the block.
#[derive(Clone, Debug, Default)]
pub struct TlvWriter {
    tlvs: BTreeMap<u64, Vec<u8>>,
}

impl TlvWriter {
    /// A block without TLVs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the value of a type (from 1 on), in place of an earlier one.
    pub fn put(&mut self, kind: u64, value: Vec<u8>) {
        debug_assert!(kind != 0, "type 0 does not exist");
        self.tlvs.insert(kind, value);
    }

    /// Adds a type without meaning, with at most 16 bytes (more are left out).
    pub fn put_grease(&mut self, n: u64, bytes: &[u8]) {
        let len = bytes.len().min(MAX_GREASE_LEN);
        self.put(grease_type(n), bytes[..len].to_vec());
    }

    /// Whether it has no TLV.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tlvs.is_empty()
    }

    /// The block, padded with zeros to a multiple of 8; no bytes if it has no TLV.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let mut block = Vec::new();
        for (kind, value) in self.tlvs {
            varint::encode(kind, &mut block);
            varint::encode(value.len() as u64, &mut block);
            block.extend_from_slice(&value);
        }
        block.resize(crate::header::align8_usize(block.len()), 0);
        block
    }
}

/// Check 14: the ext block. This version knows no type in it but PAD.
///
/// # Errors
/// `ExtMalformed`, or else `ExtCritical` for an unknown even type.
pub fn check_ext(block: &[u8]) -> Result<(), Reject> {
    let tlvs = walk(block).map_err(|_| Reject::ExtMalformed)?;
    if tlvs.iter().any(|tlv| is_critical(tlv.kind)) { Err(Reject::ExtCritical) } else { Ok(()) }
}

/// The values inside a TLV, one after another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a>(pub(crate) &'a [u8]);

impl<'a> Value<'a> {
    pub(crate) fn varint(&mut self) -> Result<u64, TlvMalformed> {
        Ok(varint::decode(&mut self.0)?)
    }

    /// A varint that counts things: at most `max`.
    pub(crate) fn count(&mut self, max: usize) -> Result<usize, TlvMalformed> {
        usize::try_from(self.varint()?).ok().filter(|count| *count <= max).ok_or(TlvMalformed)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], TlvMalformed> {
        let (array, rest) = self.0.split_first_chunk().ok_or(TlvMalformed)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], TlvMalformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(TlvMalformed)?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn block(tlvs: &[(u64, &[u8])]) -> Vec<u8> {
        let mut writer = TlvWriter::new();
        for (kind, value) in tlvs {
            writer.put(*kind, value.to_vec());
        }
        writer.finish()
    }

    #[test]
    fn a_block_is_laid_out_as_described() {
        assert_eq!(block(&[(20, b"")]), [0x14, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(block(&[(95, b"ab"), (2, b"c")]), [2, 1, b'c', 0x40, 95, 2, b'a', b'b']);
        assert!(TlvWriter::new().finish().is_empty());
    }

    #[test]
    fn malformed_blocks_are_refused() {
        let cases: [(&str, &[u8]); 11] = [
            ("no multiple of 8", &[1, 0, 0, 0]),
            ("descending", &[3, 0, 1, 0, 0, 0, 0, 0]),
            ("twice the same", &[3, 0, 3, 0, 0, 0, 0, 0]),
            ("only zeros", &[0; 8]),
            ("eight zeros of padding", &[1, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            ("bytes in the padding", &[1, 0, 0, 0, 0, 0, 0, 9]),
            ("bytes after a zero", &[1, 0, 0, 3, 0, 0, 0, 0]),
            ("cut value", &[3, 7, 0, 0, 0, 0, 0, 0]),
            ("cut length", &[3, 5, 9, 9, 9, 9, 9, 5]),
            ("long form of a type", &[0x40, 3, 0, 0, 0, 0, 0, 0]),
            ("huge length", &[3, 0xc0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ];
        for (what, bytes) in cases {
            assert_eq!(walk(bytes), Err(TlvMalformed), "{what}");
        }
    }

    #[test]
    fn padding_holds_only_zeros() {
        assert_eq!(walk(&[1, 2, 0, 0, 3, 0, 0, 0]).map(|t| t.len()), Ok(2));
        assert_eq!(walk(&[1, 2, 0, 1, 3, 0, 0, 0]), Err(TlvMalformed));
    }

    #[test]
    fn a_block_has_at_most_256_tlvs() {
        let tlvs: Vec<(u64, &[u8])> = (0..257).map(|i| (2 * i + 1, &[][..])).collect();
        assert_eq!(walk(&block(&tlvs[..256])).map(|t| t.len()), Ok(256));
        assert_eq!(walk(&block(&tlvs)), Err(TlvMalformed));
    }

    #[test]
    fn ext_refuses_even_types_and_skips_odd_ones() {
        assert_eq!(check_ext(&[]), Ok(()));
        assert_eq!(check_ext(&block(&[(1, &[0; 14]), (33, b"grease"), (7, b"later")])), Ok(()));
        for kind in [2, 4, 6, 8] {
            assert_eq!(check_ext(&block(&[(kind, b"")])), Err(Reject::ExtCritical));
        }
        assert_eq!(check_ext(&[0; 8]), Err(Reject::ExtMalformed));
        // Malformed anywhere comes before critical anywhere.
        assert_eq!(check_ext(&[2, 0, 1, 0, 0, 0, 0, 0]), Err(Reject::ExtMalformed));
    }

    #[test]
    fn grease_types_are_odd_and_fit_a_varint() {
        assert_eq!([0, 1, 2].map(grease_type), [33, 95, 157]);
        for n in [1_000, u64::MAX / 62, u64::MAX] {
            assert!(!is_critical(grease_type(n)) && grease_type(n) <= varint::MAX);
            assert_eq!(grease_type(n) % 62, 33);
        }
        let mut writer = TlvWriter::new();
        writer.put_grease(0, &[7; 40]);
        assert_eq!(walk(&writer.finish()), Ok(vec![Tlv { kind: 33, value: &[7; 16] }]));
    }

    proptest! {
        #[test]
        fn a_block_comes_back(tlvs in proptest::collection::btree_map(2..varint::MAX, any::<Vec<u8>>(), 0..10)) {
            let writer = TlvWriter { tlvs: tlvs.clone() };
            let bytes = writer.finish();
            let back: BTreeMap<u64, Vec<u8>> = walk(&bytes).unwrap().into_iter().map(|t| (t.kind, t.value.to_vec())).collect();
            prop_assert_eq!(back, tlvs);
        }

        #[test]
        fn whatever_is_walked_writes_the_same_bytes(mut bytes in proptest::collection::vec(0..6_u8, 0..40)) {
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            if let Ok(tlvs) = walk(&bytes) {
                let pairs: Vec<_> = tlvs.iter().map(|t| (t.kind, t.value)).collect();
                prop_assert_eq!(block(&pairs), bytes);
            }
        }
    }
}
