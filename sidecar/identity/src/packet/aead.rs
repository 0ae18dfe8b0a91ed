//! AES-256-GCM under the keys of one packet, and the derivation of those keys.
//!
//! Invariants: derived key bytes are wiped as soon as the library holds them (which wipes its own
//! copy when dropped); control and table use nonce zero of a key no frame uses.
//! Spec: wire format §5 steps 4 to 6. Read `frames_and_table_have_keys_of_their_own` first.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use wire::digest::Digest;
use wire::schedule::{derive_keys, frame_aad, frame_nonce};
use zeroize::Zeroize;

use crate::kem::SharedSecret;

/// The cryptographic library refused an operation, or a tag does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AeadFailed;

const CONTROL_NONCE: [u8; 12] = [0; 12];

/// All keys of one sealed packet.
pub(crate) struct PacketAead {
    control: LessSafeKey,
    frames: LessSafeKey,
    hh: Digest,
    /// What the header must carry.
    pub(crate) commitment: [u8; 32],
}

impl PacketAead {
    /// Derives the keys from the KEM's shared secret and the header hash.
    pub(crate) fn derive(ss: &SharedSecret, hh: Digest) -> Result<Self, AeadFailed> {
        let mut keys = derive_keys(ss, None, &hh);
        let made = (aes(&keys.control), aes(&keys.frames));
        keys.control.zeroize();
        keys.frames.zeroize();
        let (control, frames) = (made.0?, made.1?);
        Ok(Self { control, frames, hh, commitment: keys.commitment })
    }

    /// Encrypts control ‖ table in place and returns the tag.
    pub(crate) fn seal_control(&self, text: &mut [u8]) -> Result<[u8; 16], AeadFailed> {
        let nonce = Nonce::assume_unique_for_key(CONTROL_NONCE);
        let tag = self.control.seal_in_place_separate_tag(nonce, Aad::from(&self.hh), text).map_err(|_| AeadFailed)?;
        tag.as_ref().try_into().map_err(|_| AeadFailed)
    }

    /// Decrypts control ‖ table ‖ tag in place and returns the clear part.
    pub(crate) fn open_control<'a>(&self, text: &'a mut [u8]) -> Result<&'a mut [u8], AeadFailed> {
        let nonce = Nonce::assume_unique_for_key(CONTROL_NONCE);
        self.control.open_in_place(nonce, Aad::from(&self.hh), text).map_err(|_| AeadFailed)
    }

    /// Encrypts frame `index` with its table entry's bytes in place and appends the tag.
    pub(crate) fn seal_frame(&self, index: u64, entry: &[u8], text: &mut Vec<u8>) -> Result<(), AeadFailed> {
        let nonce = Nonce::assume_unique_for_key(frame_nonce(index));
        let aad = Aad::from(frame_aad(&self.hh, index, entry));
        self.frames.seal_in_place_append_tag(nonce, aad, text).map_err(|_| AeadFailed)
    }

    /// Decrypts frame `index` in place and cuts its tag off.
    pub(crate) fn open_frame(&self, index: u64, entry: &[u8], text: &mut Vec<u8>) -> Result<(), AeadFailed> {
        let nonce = Nonce::assume_unique_for_key(frame_nonce(index));
        let aad = Aad::from(frame_aad(&self.hh, index, entry));
        let clear = self.frames.open_in_place(nonce, aad, text).map_err(|_| AeadFailed)?.len();
        text.truncate(clear);
        Ok(())
    }
}

fn aes(key: &[u8; 32]) -> Result<LessSafeKey, AeadFailed> {
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new).map_err(|_| AeadFailed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    #[test]
    fn frames_and_table_have_keys_of_their_own() {
        let aead = PacketAead::derive(&Zeroizing::new([1; 32]), [2; 32]).unwrap();
        let mut table = [0; 16];
        aead.seal_control(&mut table).unwrap();
        let mut frame = vec![0; 16];
        aead.seal_frame(0, b"", &mut frame).unwrap();
        assert_ne!(table[..], frame[..16], "nonce 0 twice must not mean the same key stream");
    }

    #[test]
    fn every_input_of_a_frame_is_bound() {
        let aead = PacketAead::derive(&Zeroizing::new([1; 32]), [2; 32]).unwrap();
        let other = PacketAead::derive(&Zeroizing::new([1; 32]), [3; 32]).unwrap();
        let mut sealed = b"clear".to_vec();
        aead.seal_frame(4, b"entry", &mut sealed).unwrap();
        assert_eq!(sealed.len(), 5 + 16);
        let open = |aead: &PacketAead, index, entry: &[u8]| {
            let mut text = sealed.clone();
            aead.open_frame(index, entry, &mut text).map(|()| text)
        };
        assert_eq!(open(&aead, 4, b"entry"), Ok(b"clear".to_vec()));
        assert_eq!(open(&aead, 5, b"entry"), Err(AeadFailed));
        assert_eq!(open(&aead, 4, b"entrz"), Err(AeadFailed));
        assert_eq!(open(&other, 4, b"entry"), Err(AeadFailed));
    }
}
