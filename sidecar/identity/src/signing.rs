//! The hybrid signature: Ed25519 and ML-DSA-65 over the same message, both of which must verify.
//!
//! Invariants: a signature is 64 + 3,309 bytes, Ed25519 first; Ed25519 is verified strictly (RFC
//! 8032 cofactorless, canonical S, no small-order key or nonce point) and ML-DSA purely with an
//! empty context (FIPS 204). ML-DSA signing is hedged with fresh randomness, so two signatures of
//! one message differ. It does not know what a packet is.
//! Spec: wire format §4. Read `either_half_alone_does_not_verify` first.

use aws_lc_rs::signature::{KeyPair, ML_DSA_65, ML_DSA_65_SIGNING, ParsedPublicKey, PqdsaKeyPair};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use wire::reject::Reject;
use wire::suite::{ED25519_SIGNATURE_LEN, MLDSA65_SIGNATURE_LEN, SIGNATURE_LEN};

const ED25519_PUBLIC_LEN: usize = 32;
const ML_DSA_PUBLIC_LEN: usize = 1952;

/// A signature could not be made, or a key could not be expanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SigningFailed;

/// The secret halves of a signing pair.
pub(crate) struct SigningPair {
    ed25519: SigningKey,
    ml_dsa: PqdsaKeyPair,
}

impl SigningPair {
    /// Expands both keys from their seeds. Every 32 bytes are a valid seed of either.
    pub(crate) fn from_seeds(ed25519: &[u8; 32], ml_dsa: &[u8; 32]) -> Result<Self, SigningFailed> {
        let ml_dsa = PqdsaKeyPair::from_seed(&ML_DSA_65_SIGNING, ml_dsa).map_err(|_| SigningFailed)?;
        Ok(Self { ed25519: SigningKey::from_bytes(ed25519), ml_dsa })
    }

    /// The public keys' bytes: Ed25519 (32), ML-DSA-65 (1,952).
    pub(crate) fn public_bytes(&self) -> (Vec<u8>, Vec<u8>) {
        let ed25519 = self.ed25519.verifying_key().to_bytes().to_vec();
        (ed25519, self.ml_dsa.public_key().as_ref().to_vec())
    }

    /// Signs `message` with both keys.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningFailed> {
        let mut out = vec![0; SIGNATURE_LEN];
        let (ed25519, ml_dsa) = out.split_at_mut(ED25519_SIGNATURE_LEN);
        let made = self.ed25519.try_sign(message).map_err(|_| SigningFailed)?;
        ed25519.copy_from_slice(&made.to_bytes());
        match self.ml_dsa.sign(message, ml_dsa) {
            Ok(MLDSA65_SIGNATURE_LEN) => Ok(out),
            Ok(_) | Err(_) => Err(SigningFailed),
        }
    }
}

/// Why a public signing key was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyRefused {
    /// An Ed25519 key that is no point of the curve.
    Ed25519,
    /// An Ed25519 key of small order: some signatures would verify for every message.
    SmallOrder,
    /// No ML-DSA-65 public key.
    MlDsa,
}

/// The public halves of a signing pair.
pub(crate) struct VerifyingPair {
    ed25519: VerifyingKey,
    ml_dsa: ParsedPublicKey,
}

impl VerifyingPair {
    /// Reads both public keys and refuses weak ones.
    pub(crate) fn from_bytes(ed25519: &[u8], ml_dsa: &[u8]) -> Result<Self, KeyRefused> {
        let bytes: &[u8; ED25519_PUBLIC_LEN] = ed25519.try_into().map_err(|_| KeyRefused::Ed25519)?;
        let ed25519 = VerifyingKey::from_bytes(bytes).map_err(|_| KeyRefused::Ed25519)?;
        if ed25519.is_weak() {
            return Err(KeyRefused::SmallOrder);
        }
        if ml_dsa.len() != ML_DSA_PUBLIC_LEN {
            return Err(KeyRefused::MlDsa);
        }
        let ml_dsa = ParsedPublicKey::new(&ML_DSA_65, ml_dsa).map_err(|_| KeyRefused::MlDsa)?;
        Ok(Self { ed25519, ml_dsa })
    }

    /// Verifies both signatures, Ed25519 first.
    ///
    /// # Errors
    /// `signature_ed25519` or `signature_mldsa`, whichever fails first; a signature of another
    /// length fails as Ed25519.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Reject> {
        if signature.len() != SIGNATURE_LEN {
            return Err(Reject::SignatureEd25519);
        }
        let (ed25519, ml_dsa) = signature.split_at(ED25519_SIGNATURE_LEN);
        let ed25519 = Signature::from_slice(ed25519).map_err(|_| Reject::SignatureEd25519)?;
        self.ed25519.verify_strict(message, &ed25519).map_err(|_| Reject::SignatureEd25519)?;
        self.ml_dsa.verify_sig(message, ml_dsa).map_err(|_| Reject::SignatureMldsa)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(seed: u8) -> (SigningPair, VerifyingPair) {
        let secret = SigningPair::from_seeds(&[seed; 32], &[seed + 1; 32]).unwrap();
        let (ed25519, ml_dsa) = secret.public_bytes();
        let public = VerifyingPair::from_bytes(&ed25519, &ml_dsa).ok().unwrap();
        (secret, public)
    }

    #[test]
    fn either_half_alone_does_not_verify() {
        let (mine, public) = pair(1);
        let (other, _) = pair(7);
        let good = mine.sign(b"message").unwrap();
        assert_eq!(good.len(), SIGNATURE_LEN);
        assert_eq!(public.verify(b"message", &good), Ok(()));
        let foreign = other.sign(b"message").unwrap();
        let ed_only = [&good[..64], &foreign[64..]].concat();
        let ml_only = [&foreign[..64], &good[64..]].concat();
        assert_eq!(public.verify(b"message", &ed_only), Err(Reject::SignatureMldsa));
        assert_eq!(public.verify(b"message", &ml_only), Err(Reject::SignatureEd25519));
        assert_eq!(public.verify(b"messagf", &good), Err(Reject::SignatureEd25519));
        assert_eq!(public.verify(b"message", &good[1..]), Err(Reject::SignatureEd25519));
    }

    #[test]
    fn ml_dsa_signing_is_hedged_and_ed25519_is_not() {
        let (mine, public) = pair(1);
        let first = mine.sign(b"m").unwrap();
        let second = mine.sign(b"m").unwrap();
        assert_eq!(first[..64], second[..64]);
        assert_ne!(first[64..], second[64..]);
        assert_eq!(public.verify(b"m", &second), Ok(()));
    }

    #[test]
    fn small_order_and_invalid_ed25519_keys_are_refused() {
        let (mine, _) = pair(1);
        let (_, ml_dsa) = mine.public_bytes();
        let mut identity_point = [0; 32];
        identity_point[0] = 1;
        let refused = |ed: &[u8], ml: &[u8]| VerifyingPair::from_bytes(ed, ml).err();
        assert_eq!(refused(&identity_point, &ml_dsa), Some(KeyRefused::SmallOrder));
        assert_eq!(refused(&[0; 32], &ml_dsa), Some(KeyRefused::SmallOrder));
        let mut off_curve = [0; 32];
        off_curve[0] = 2;
        assert_eq!(refused(&off_curve, &ml_dsa), Some(KeyRefused::Ed25519));
        assert_eq!(refused(&[1; 31], &ml_dsa), Some(KeyRefused::Ed25519));
        let (ed25519, _) = mine.public_bytes();
        assert_eq!(refused(&ed25519, &ml_dsa[1..]), Some(KeyRefused::MlDsa));
    }

    #[test]
    fn a_signature_with_a_larger_s_is_refused() {
        // S + L verifies under a lax verifier; malleable signatures are refused here.
        const L: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let (mine, public) = pair(1);
        let mut signature = mine.sign(b"m").unwrap();
        let mut carry = 0u16;
        for (byte, add) in signature[32..64].iter_mut().zip(L) {
            carry += u16::from(*byte) + u16::from(add);
            *byte = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        assert_eq!(public.verify(b"m", &signature), Err(Reject::SignatureEd25519));
    }
}
