//! One side's secret keys and what is derived from them: public bundle, key ids, local hedge key.
//!
//! Invariants: an `Identity` is complete (signing pair and KEM key) and its side name is valid;
//! seeds and every key derived from them are wiped when dropped; `Debug` prints ids, no secret.
//! It does no file I/O and does not decide which keys a peer pins.
//! Spec: wire format §5 (K_local), §12. Read `key_ids_and_token_match_the_published_values` first.

use core::fmt;

use wire::digest::hex;
use wire::ids::valid_name;
use wire::schedule::local_key;
use wire::token::{Bundle, PublicKey, alg, key_id, usage};
use zeroize::Zeroizing;

use crate::kem::{KemFailed, KemSecret, SharedSecret};
use crate::signing::{SigningFailed, SigningPair};

/// First 8 bytes of a hash that names a public key or a signing pair (wire format §12).
pub type KeyId = [u8; 8];

/// Own KEM keys one identity can open with: its own and the retired ones. KEYS announces as many.
pub const KEM_KEYS_MAX: usize = 8;

/// The three seeds a side's keys are expanded from, 32 bytes each; wiped when dropped.
pub(crate) struct Seeds {
    pub(crate) ed25519: Zeroizing<[u8; 32]>,
    pub(crate) ml_dsa: Zeroizing<[u8; 32]>,
    pub(crate) x_wing: Zeroizing<[u8; 32]>,
}

/// Why an identity could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The side name is not 1–63 of `[a-z0-9-]`.
    #[error("side name {0:?} is not 1 to 63 characters of a-z, 0-9 and '-'")]
    SideName(String),
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness: {0}")]
    Randomness(String),
    /// The cryptographic library refused a seed; no seed of 32 bytes should be.
    #[error("the cryptographic library could not expand the {0} key")]
    Library(&'static str),
    /// More retired keys than a peer can be told of.
    #[error("at most {KEM_KEYS_MAX} KEM keys can be held at once; remove the oldest retired key file")]
    TooManyKeys,
    /// A retired identity of another side.
    #[error("retired keys belong to side {found:?}, these to side {expected:?}")]
    OtherSide {
        /// Side of this identity.
        expected: String,
        /// Side of the retired one.
        found: String,
    },
}

/// One side's secret keys: Ed25519, ML-DSA-65 and X-Wing.
pub struct Identity {
    side: String,
    seeds: Seeds,
    signing: SigningPair,
    signing_id: KeyId,
    local: Zeroizing<[u8; 32]>,
    kem_id: KeyId,
    kem: Vec<(KeyId, KemSecret)>,
    public: Vec<PublicKey>,
    fingerprint: String,
}

impl Identity {
    /// New keys from the operating system's randomness.
    ///
    /// # Errors
    /// `SideName` for an invalid name, `Randomness` if the operating system gives none.
    pub fn generate(side: &str) -> Result<Self, IdentityError> {
        let seeds = Seeds { ed25519: random()?, ml_dsa: random()?, x_wing: random()? };
        Self::expand(side, seeds)
    }

    /// The keys of three seeds, 32 bytes each, which must be secret and uniformly random.
    ///
    /// # Errors
    /// `SideName` for an invalid name.
    pub fn from_seeds(
        side: &str,
        ed25519: &[u8; 32],
        ml_dsa: &[u8; 32],
        x_wing: &[u8; 32],
    ) -> Result<Self, IdentityError> {
        let seeds = Seeds {
            ed25519: Zeroizing::new(*ed25519),
            ml_dsa: Zeroizing::new(*ml_dsa),
            x_wing: Zeroizing::new(*x_wing),
        };
        Self::expand(side, seeds)
    }

    pub(crate) fn expand(side: &str, seeds: Seeds) -> Result<Self, IdentityError> {
        if !valid_name(side) {
            return Err(IdentityError::SideName(side.chars().take(64).collect()));
        }
        let signing = SigningPair::from_seeds(&seeds.ed25519, &seeds.ml_dsa)
            .map_err(|SigningFailed| IdentityError::Library("ML-DSA-65"))?;
        let kem = KemSecret::from_seed(&seeds.x_wing).map_err(|KemFailed| IdentityError::Library("X-Wing"))?;
        let local = Zeroizing::new(local_key(&seeds.ed25519, &seeds.ml_dsa));
        let (ed25519, ml_dsa) = signing.public_bytes();
        let public = vec![
            PublicKey { alg: alg::ED25519, usage: usage::SIGN, bytes: ed25519 },
            PublicKey { alg: alg::MLDSA65, usage: usage::SIGN, bytes: ml_dsa },
            PublicKey { alg: alg::XWING, usage: usage::KEM, bytes: kem.public_bytes() },
        ];
        let signing_id = key_id(&[(alg::ED25519, &public[0].bytes), (alg::MLDSA65, &public[1].bytes)]);
        let kem_id = public[2].id();
        let mut identity = Self {
            side: side.to_owned(),
            seeds,
            signing,
            signing_id,
            local,
            kem_id,
            kem: vec![(kem_id, kem)],
            public,
            fingerprint: String::new(),
        };
        identity.fingerprint = identity.bundle(1, 0, 0).fingerprint().map_err(|_| IdentityError::Library("public"))?;
        Ok(identity)
    }

    /// Lets this identity also open what was sealed to the KEM key of `older`, as needed from a
    /// rotation until the packet lifetime has passed. Nothing is signed with older keys.
    ///
    /// # Errors
    /// `OtherSide`, or `TooManyKeys` beyond [`KEM_KEYS_MAX`].
    pub fn with_retired(mut self, older: Self) -> Result<Self, IdentityError> {
        if older.side != self.side {
            return Err(IdentityError::OtherSide { expected: self.side, found: older.side });
        }
        for (id, secret) in older.kem {
            if self.kem.iter().all(|(held, _)| *held != id) {
                self.kem.push((id, secret));
            }
        }
        if self.kem.len() > KEM_KEYS_MAX {
            return Err(IdentityError::TooManyKeys);
        }
        Ok(self)
    }

    /// Name of the side these keys belong to.
    #[must_use]
    pub fn side(&self) -> &str {
        &self.side
    }

    /// The public bundle a peer pins, with its version (from 1) and bounds in Unix ms; 0 leaves
    /// the bound open. `bundle(..).to_token()` is the text to hand to the other side; it fails for
    /// version 0 only.
    #[must_use]
    pub fn bundle(&self, version: u32, not_before_ms: i64, not_after_ms: i64) -> Bundle {
        Bundle { version, not_before_ms, not_after_ms, side: self.side.clone(), keys: self.public.clone() }
    }

    /// Id of the signing pair, as written in the headers of this side's packets.
    #[must_use]
    pub const fn signing_id(&self) -> KeyId {
        self.signing_id
    }

    /// Id of the KEM key that the bundle names.
    #[must_use]
    pub const fn kem_id(&self) -> KeyId {
        self.kem_id
    }

    /// Ids of all KEM keys this identity opens with, the bundle's first (for the KEYS TLV).
    #[must_use]
    pub fn kem_ids(&self) -> Vec<KeyId> {
        self.kem.iter().map(|(id, _)| *id).collect()
    }

    /// Fingerprint of `bundle(1, 0, 0)`, for people to compare. A bundle with another version or
    /// bounds has another fingerprint: `bundle(..).fingerprint()`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    pub(crate) const fn seeds(&self) -> &Seeds {
        &self.seeds
    }

    /// K_local of the wire format: what makes a weak or repeated random source harmless.
    pub(crate) fn local_key(&self) -> &[u8; 32] {
        &self.local
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningFailed> {
        self.signing.sign(message)
    }

    /// Opens an encapsulation to the key named `id`; fails if no such key is held.
    pub(crate) fn decapsulate(&self, id: KeyId, ciphertext: &[u8]) -> Result<SharedSecret, KemFailed> {
        let (_, secret) = self.kem.iter().find(|(held, _)| *held == id).ok_or(KemFailed)?;
        secret.decapsulate(ciphertext)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("side", &self.side)
            .field("signing_id", &hex(&self.signing_id))
            .field("kem_ids", &self.kem.iter().map(|(id, _)| hex(id)).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

fn random() -> Result<Zeroizing<[u8; 32]>, IdentityError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|e| IdentityError::Randomness(e.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
