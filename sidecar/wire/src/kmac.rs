//! KMAC256 (NIST SP 800-185 §4) over cSHAKE256: the one keyed function of the format.
//!
//! Invariant: key, customization and output length are all bound into the result. It does not wipe memory; the caller
//! owns its keys. Wire format §1, §5, §10. Test to read first: `nist_sample_4`.

use cshake::CShake256;
use cshake::digest::{ExtendableOutput as _, Update, XofReader as _};

/// Block size of KMAC256 in bytes.
const RATE: usize = 136;

/// `left_encode` and `right_encode` of SP 800-185 §2.3.1: the big-endian bytes of `value`, at least one, and their number.
fn big_endian(value: u64) -> ([u8; 8], usize) {
    let bytes = value.to_be_bytes();
    let len = (8 - value.leading_zeros() as usize / 8).max(1);
    (bytes, 8 - len)
}

fn left_encode(hash: &mut CShake256, value: u64) -> usize {
    let (bytes, skip) = big_endian(value);
    hash.update(&[(8 - skip) as u8]);
    hash.update(&bytes[skip..]);
    9 - skip
}

/// Fills `out` with KMAC256(`key`, the concatenation of `data`, 8 · `out.len()`, `custom`).
pub fn kmac256(key: &[u8], data: &[&[u8]], custom: &[u8], out: &mut [u8]) {
    kmac256_keys(&[key], data, custom, out);
}

/// As [`kmac256`] with a key in parts, so that secrets need not be copied together.
pub fn kmac256_keys(key: &[&[u8]], data: &[&[u8]], custom: &[u8], out: &mut [u8]) {
    let mut hash = CShake256::new_with_function_name(b"KMAC", custom);
    // bytepad(encode_string(K), 136)
    let key_len: usize = key.iter().map(|part| part.len()).sum();
    let mut written = left_encode(&mut hash, RATE as u64);
    written += left_encode(&mut hash, key_len as u64 * 8);
    for part in key {
        hash.update(part);
    }
    written += key_len;
    hash.update(&[0; RATE][..(RATE - written % RATE) % RATE]);
    for part in data {
        hash.update(part);
    }
    // right_encode(L)
    let (bytes, skip) = big_endian(out.len() as u64 * 8);
    hash.update(&bytes[skip..]);
    hash.update(&[(8 - skip) as u8]);
    hash.finalize_xof().read(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{from_hex, hex};

    fn key() -> [u8; 32] {
        core::array::from_fn(|i| 0x40 + i as u8)
    }

    #[test]
    fn nist_sample_4() {
        let mut out = [0; 64];
        kmac256(&key(), &[&[0, 1, 2, 3]], b"My Tagged Application", &mut out);
        assert_eq!(
            Some(out),
            from_hex(concat!(
                "20C570C31346F703C9AC36C61C03CB64C3970D0CFC787E9B79599D273A68D2F7",
                "F69D4CC3DE9D104A351689F27CF6F5951F0103F33F4F24871024D9C27773A8DD"
            ))
        );
    }

    #[test]
    fn nist_sample_5_has_no_customization() {
        let data: [u8; 200] = core::array::from_fn(|i| i as u8);
        let mut out = [0; 64];
        kmac256(&key(), &[&data], b"", &mut out);
        assert_eq!(
            hex(&out),
            concat!(
                "75358cf39e41494e949707927cee0af20a3ff553904c86b08f21cc414bcfd691",
                "589d27cf5e15369cbbff8b9a4c2eb17800855d0235ff635da82533ec6b759b69"
            )
        );
    }

    #[test]
    fn parts_make_no_difference_and_the_length_does() {
        let (mut a, mut b, mut c) = ([0; 32], [0; 32], [0; 33]);
        kmac256(&key(), &[b"abc"], b"s", &mut a);
        kmac256_keys(&[&key()[..5], &key()[5..]], &[b"a", b"bc"], b"s", &mut b);
        kmac256(&key(), &[b"abc"], b"s", &mut c);
        assert_eq!(a, b);
        assert_ne!(a[..], c[..32]);
    }

    #[test]
    fn a_key_of_any_length_is_taken() {
        let key = [7; 300];
        let mut seen = alloc::collections::BTreeSet::new();
        for len in 0..300 {
            let mut out = [0; 16];
            kmac256(&key[..len], &[], b"", &mut out);
            assert!(seen.insert(out));
        }
    }
}
