//! The pure parts of the key schedule: hashes, derivations, nonces and associated data (wire format §5), and the HELLO nonce (§10).
//!
//! Invariants: nothing here draws randomness, encapsulates or encrypts; the commitment and the CRC never enter a hash that they depend on.
//! The results are secret where the inputs are: whoever keeps them wipes them. Test to read first: `keys_of_the_specification`.

use crate::digest::{Digest, Sha256Stream};
use crate::header::{COMMITMENT_AT, CRC_AT, HEADER_LEN, SALT_AT};
use crate::ids::EndpointId;
use crate::kmac::{kmac256, kmac256_keys};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// The `info` of HPKE.
pub const HPKE_INFO: &[u8] = b"hoft1 packet";
/// The exporter context of the shared secret.
pub const HPKE_EXPORT: &[u8] = b"hoft1 ss";

/// What one packet is sealed with.
#[derive(Clone, PartialEq, Eq)]
pub struct PacketKeys {
    /// AES-256-GCM key of control and table.
    pub control: [u8; 32],
    /// AES-256-GCM key of the frames.
    pub frames: [u8; 32],
    /// Goes into the header; a reader compares it in constant time.
    pub commitment: [u8; 32],
}

impl fmt::Debug for PacketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PacketKeys { .. }")
    }
}

/// The randomness of one packet.
#[derive(Clone, PartialEq, Eq)]
pub struct Hedge {
    /// Goes into the header.
    pub salt: [u8; 32],
    /// The secret randomness of the encapsulation.
    pub seed: [u8; 64],
}

impl fmt::Debug for Hedge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hedge { .. }")
    }
}

fn hash_with_zeroed(hash: &mut Sha256Stream, header: &[u8; HEADER_LEN], zeroed: &[Range<usize>]) {
    let mut header = *header;
    for range in zeroed {
        header[range.clone()].fill(0);
    }
    hash.update(&header);
}

/// HH: SHA-256 over the header with commitment and CRC zeroed, the ext block and the KEM ciphertext.
#[must_use]
pub fn header_hash(header: &[u8; HEADER_LEN], ext: &[u8], ct: &[u8]) -> Digest {
    let mut hash = Sha256Stream::new();
    hash_with_zeroed(&mut hash, header, &[COMMITMENT_AT, CRC_AT]);
    hash.update(ext);
    hash.update(ct);
    hash.finish()
}

/// What of a packet enters its hedge: SHA-256 over the header with salt, commitment and CRC zeroed, ext, clear control and clear table.
#[must_use]
pub fn hedge_input(header: &[u8; HEADER_LEN], ext: &[u8], control: &[u8], table: &[u8]) -> Digest {
    let mut hash = Sha256Stream::new();
    hash_with_zeroed(&mut hash, header, &[SALT_AT, COMMITMENT_AT, CRC_AT]);
    for part in [ext, control, table] {
        hash.update(part);
    }
    hash.finish()
}

/// Salt and encapsulation seed of a packet, from the local secret, 32 bytes of the system's random source and [`hedge_input`].
#[must_use]
pub fn hedge(local_key: &[u8; 32], os_random: &[u8; 32], input: &Digest) -> Hedge {
    let mut out = [0; 96];
    kmac256(local_key, &[os_random, input], b"hoft1 hedge", &mut out);
    let mut hedge = Hedge { salt: [0; 32], seed: [0; 64] };
    hedge.salt.copy_from_slice(&out[..32]);
    hedge.seed.copy_from_slice(&out[32..]);
    hedge
}

/// K_local: the local secret of [`hedge`], from the seeds of the two signing keys.
#[must_use]
pub fn local_key(ed25519_seed: &[u8; 32], mldsa_seed: &[u8; 32]) -> [u8; 32] {
    let mut key = [0; 32];
    kmac256_keys(&[ed25519_seed, mldsa_seed], &[], b"hoft1 local", &mut key);
    key
}

/// KM: the keys of one packet from the KEM's shared secret, the pre-shared key if it is mixed in, and [`header_hash`].
#[must_use]
pub fn derive_keys(ss: &[u8; 32], psk: Option<&[u8]>, hh: &Digest) -> PacketKeys {
    let mut km = [0; 96];
    kmac256_keys(&[ss, psk.unwrap_or_default()], &[hh], b"hoft1 packet keys", &mut km);
    let mut keys = PacketKeys { control: [0; 32], frames: [0; 32], commitment: [0; 32] };
    keys.control.copy_from_slice(&km[..32]);
    keys.frames.copy_from_slice(&km[32..64]);
    keys.commitment.copy_from_slice(&km[64..]);
    keys
}

/// The AES-GCM nonce of frame `index` (from 0): 96 bits, big-endian. Control and table use twelve zero bytes with a key of their own.
#[must_use]
pub fn frame_nonce(index: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&index.to_be_bytes());
    nonce
}

/// The associated data of frame `index`: HH, the index as u64, the table entry's bytes.
#[must_use]
pub fn frame_aad(hh: &Digest, index: u64, entry: &[u8]) -> Vec<u8> {
    let mut aad = Vec::with_capacity(hh.len() + 8 + entry.len());
    aad.extend_from_slice(hh);
    aad.extend_from_slice(&index.to_le_bytes());
    aad.extend_from_slice(entry);
    aad
}

/// My HELLO nonce for `endpoint`: `confirmations` counts how often I confirmed it, 0 without a record of it.
#[must_use]
pub fn hello_nonce(secret: &[u8; 32], endpoint: &EndpointId, confirmations: u64) -> [u8; 16] {
    let mut nonce = [0; 16];
    kmac256(secret, &[endpoint.as_bytes(), &confirmations.to_le_bytes()], b"hoft1 nonce", &mut nonce);
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{from_hex, sha256};

    #[test]
    fn keys_of_the_specification() {
        let keys = derive_keys(&[0x22; 32], None, &[0x11; 32]);
        let expected = PacketKeys {
            control: from_hex("97a28f231f2e530aaa47eeeaabe96544e53ef57148e5ba10553d9e5402c26cc8").unwrap(),
            frames: from_hex("b76ab4806c613468f09803f083ab599a60dfe90f82263bec8733541f7daa0e1c").unwrap(),
            commitment: from_hex("c61a2ac91aab8c6bdaab09a0ab4e8b8ed75826dc18de7bce21d08e805bab1ef3").unwrap(),
        };
        assert_eq!(keys, expected);
        assert_ne!(derive_keys(&[0x22; 32], Some(b"psk"), &[0x11; 32]), expected);
    }

    #[test]
    fn header_hash_sees_all_but_commitment_and_crc() {
        let header = [0xaa; HEADER_LEN];
        let hash = header_hash(&header, b"ext", b"ct");
        let mut zeroed = header;
        zeroed[168..200].fill(0);
        zeroed[252..].fill(0);
        assert_eq!(hash, sha256(&[&zeroed, b"ext", b"ct"]));
        for at in 0..HEADER_LEN {
            let mut changed = header;
            changed[at] ^= 1;
            let same = (168..200).contains(&at) || at >= 252;
            assert_eq!(header_hash(&changed, b"ext", b"ct") == hash, same, "byte {at}");
        }
    }

    #[test]
    fn hedge_input_leaves_the_salt_out_too() {
        let header = [0xaa; HEADER_LEN];
        let mut changed = header;
        changed[136..200].fill(1);
        changed[252..].fill(1);
        assert_eq!(hedge_input(&header, b"e", b"c", b"t"), hedge_input(&changed, b"e", b"c", b"t"));
        assert_ne!(hedge_input(&header, b"e", b"c", b"t"), hedge_input(&header, b"e", b"c", b"u"));
    }

    #[test]
    fn hedge_is_salt_then_seed_of_one_kmac() {
        let hedge = hedge(&local_key(&[1; 32], &[2; 32]), &[7; 32], &[3; 32]);
        let mut out = [0; 96];
        let mut local = [0; 32];
        kmac256(&[[1; 32], [2; 32]].concat(), &[], b"hoft1 local", &mut local);
        kmac256(&local, &[&[[7; 32], [3; 32]].concat()], b"hoft1 hedge", &mut out);
        assert_eq!([&hedge.salt[..], &hedge.seed].concat(), out);
    }

    #[test]
    fn nonce_is_big_endian_and_associated_data_little_endian() {
        assert_eq!(frame_nonce(0x0102), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(frame_aad(&[9; 32], 0x0102, b"entry"), [&[9; 32][..], &[2, 1, 0, 0, 0, 0, 0, 0], b"entry"].concat());
    }

    #[test]
    fn hello_nonce_differs_by_endpoint_and_by_confirmation() {
        let (a, b) = (EndpointId::from_bytes([1; 16]), EndpointId::from_bytes([2; 16]));
        assert_ne!(hello_nonce(&[0; 32], &a, 0), hello_nonce(&[0; 32], &b, 0));
        assert_ne!(hello_nonce(&[0; 32], &a, 0), hello_nonce(&[0; 32], &a, 1));
    }
}
