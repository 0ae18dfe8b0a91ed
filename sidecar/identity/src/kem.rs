//! X-Wing through HPKE base mode, export only: one shared secret of 32 bytes per packet.
//!
//! Invariants: the encapsulation reads exactly the 64 bytes of randomness it is given and nothing
//! else, so equal inputs give equal outputs and the hedge of the wire format decides them; the
//! KEM shared secret never leaves this module, only the HPKE exporter's output does.
//! It does not authenticate anybody: the packet's signature does.
//! Spec: wire format §5 step 2, RFC 9180 §5, X-Wing draft 08.
//! Read `encapsulation_with_fixed_randomness_gives_the_published_secret` in `vectors.rs` first.

use core::convert::Infallible;

use hpke::aead::ExportOnlyAead;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable, setup_receiver, setup_sender_with_rng};
use wire::schedule::{HPKE_EXPORT, HPKE_INFO};
use zeroize::Zeroizing;

/// Bytes of randomness one encapsulation reads.
pub(crate) const RANDOMNESS_LEN: usize = 64;

/// The 32 bytes a packet's key schedule starts from; wiped when dropped.
pub(crate) type SharedSecret = Zeroizing<[u8; 32]>;

/// An encapsulation or decapsulation could not be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KemFailed;

/// A KEM key pair, expanded from its seed of 32 bytes.
pub(crate) struct KemSecret {
    key: <XWing as Kem>::PrivateKey,
}

impl KemSecret {
    /// The pair of a seed. Every 32 bytes are a valid seed.
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Result<Self, KemFailed> {
        let key = <XWing as Kem>::PrivateKey::from_bytes(seed).map_err(|_| KemFailed)?;
        Ok(Self { key })
    }

    /// The public key's 1,216 bytes.
    pub(crate) fn public_bytes(&self) -> Vec<u8> {
        XWing::sk_to_pk(&self.key).to_bytes().to_vec()
    }

    /// The shared secret in `ciphertext`. X-Wing rejects implicitly: a ciphertext made for
    /// another key gives another secret, not an error, and the commitment then differs.
    pub(crate) fn decapsulate(&self, ciphertext: &[u8]) -> Result<SharedSecret, KemFailed> {
        let enc = <XWing as Kem>::EncappedKey::from_bytes(ciphertext).map_err(|_| KemFailed)?;
        let context = setup_receiver::<ExportOnlyAead, HkdfSha256, XWing>(&OpModeR::Base, &self.key, &enc, HPKE_INFO)
            .map_err(|_| KemFailed)?;
        let mut secret = Zeroizing::new([0; 32]);
        context.export(HPKE_EXPORT, &mut *secret).map_err(|_| KemFailed)?;
        Ok(secret)
    }
}

/// Somebody's KEM public key.
#[derive(Clone)]
pub(crate) struct KemPublic {
    key: <XWing as Kem>::PublicKey,
}

impl KemPublic {
    /// Reads 1,216 bytes; refuses what is no valid ML-KEM-768 encapsulation key.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, KemFailed> {
        let key = <XWing as Kem>::PublicKey::from_bytes(bytes).map_err(|_| KemFailed)?;
        Ok(Self { key })
    }

    /// Makes a ciphertext and the secret in it from 64 secret random bytes.
    ///
    /// # Errors
    /// `KemFailed` if the library refuses, or asks for more randomness than the format defines.
    pub(crate) fn encapsulate(
        &self,
        randomness: Zeroizing<[u8; RANDOMNESS_LEN]>,
    ) -> Result<(Vec<u8>, SharedSecret), KemFailed> {
        let mut rng = SeedRng { bytes: randomness, used: 0, asked: 0 };
        let (enc, context) =
            setup_sender_with_rng::<ExportOnlyAead, HkdfSha256, XWing>(&OpModeS::Base, &self.key, HPKE_INFO, &mut rng)
                .map_err(|_| KemFailed)?;
        if rng.asked != RANDOMNESS_LEN {
            return Err(KemFailed);
        }
        let mut secret = Zeroizing::new([0; 32]);
        context.export(HPKE_EXPORT, &mut *secret).map_err(|_| KemFailed)?;
        Ok((enc.to_bytes().to_vec(), secret))
    }
}

/// Hands out 64 bytes once. Beyond them it yields zeros, which `encapsulate` then refuses:
/// the trait has no way to fail, and a panic must not depend on a library's appetite.
struct SeedRng {
    bytes: Zeroizing<[u8; RANDOMNESS_LEN]>,
    used: usize,
    asked: usize,
}

impl TryRng for SeedRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut word = [0; 4];
        self.try_fill_bytes(&mut word)?;
        Ok(u32::from_le_bytes(word))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut word = [0; 8];
        self.try_fill_bytes(&mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        self.asked = self.asked.saturating_add(dst.len());
        let rest = &self.bytes[self.used..];
        let n = rest.len().min(dst.len());
        let (head, tail) = dst.split_at_mut(n);
        head.copy_from_slice(&rest[..n]);
        tail.fill(0);
        self.used += n;
        Ok(())
    }
}

impl TryCryptoRng for SeedRng {}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::suite::XWING_CT_LEN;

    const PUBLIC_LEN: usize = 1216;

    #[test]
    fn the_seed_generator_gives_its_bytes_once_and_counts_what_was_asked() {
        let mut rng = SeedRng { bytes: Zeroizing::new([9; 64]), used: 0, asked: 0 };
        let mut first = [0; 60];
        let mut second = [1; 8];
        rng.try_fill_bytes(&mut first).unwrap();
        rng.try_fill_bytes(&mut second).unwrap();
        assert_eq!(first, [9; 60]);
        assert_eq!(second, [9, 9, 9, 9, 0, 0, 0, 0]);
        assert_eq!(rng.asked, 68);
        assert_eq!(rng.try_next_u32().unwrap(), 0);
        assert_eq!(rng.try_next_u64().unwrap(), 0);
    }

    #[test]
    fn both_ends_hold_the_same_secret_and_another_key_holds_another() {
        let receiver = KemSecret::from_seed(&[5; 32]).unwrap();
        let public = KemPublic::from_bytes(&receiver.public_bytes()).unwrap();
        let (ct, sent) = public.encapsulate(Zeroizing::new([8; 64])).unwrap();
        assert_eq!(ct.len(), XWING_CT_LEN);
        assert_eq!(receiver.public_bytes().len(), PUBLIC_LEN);
        assert_eq!(*receiver.decapsulate(&ct).unwrap(), *sent);
        let other = KemSecret::from_seed(&[6; 32]).unwrap();
        assert_ne!(*other.decapsulate(&ct).unwrap(), *sent);
    }

    #[test]
    fn malformed_keys_and_ciphertexts_are_refused() {
        assert!(KemPublic::from_bytes(&[0xff; PUBLIC_LEN]).is_err(), "coefficients beyond q");
        assert!(KemPublic::from_bytes(&[0; PUBLIC_LEN - 1]).is_err());
        let receiver = KemSecret::from_seed(&[5; 32]).unwrap();
        assert!(receiver.decapsulate(&[0; XWING_CT_LEN - 1]).is_err());
    }
}
