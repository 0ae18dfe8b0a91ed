//! What is pinned of a remote side: its bundles, as parsed and checked tokens.
//!
//! Invariants: every bundle here names the expected side and has a signing pair that is not weak;
//! where sealing is accepted each has a KEM key; of several tokens at least one is valid at import.
//! It does not fetch or accept keys by itself: only what a person or the operator wrote is pinned.
//! Spec: wire format §11 row 7, §12. Read `each_refusal_names_the_token_and_the_remedy` first.

use core::fmt;

use wire::digest::hex;
use wire::reject::Reject;
use wire::suite::Suite;
use wire::token::{Bundle, TokenError, alg, parse_token};

use crate::kem::KemPublic;
use crate::side_keys::KeyId;
use crate::signing::{KeyRefused, VerifyingPair};

/// Why the tokens of a remote side were not accepted. Tokens are counted from 1, in the order given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerKeysError {
    /// An accepted suite needs keys and there is no token.
    #[error("no token of side {0:?}: paste the token that its operator or `hoft` shows there")]
    NoToken(String),
    /// A text is no token.
    #[error("token {number}: {cause}; copy the whole token from side {side:?} again")]
    Malformed {
        /// Which token.
        number: usize,
        /// The side it should be of.
        side: String,
        /// What is wrong with it.
        cause: TokenError,
    },
    /// The token is of another side.
    #[error(
        "token {number} ({fingerprint}) is of side {found:?}, but this peering's remote side is {expected:?}: \
         paste that side's token, or correct the remote name"
    )]
    OtherSide {
        /// Which token.
        number: usize,
        /// Its fingerprint.
        fingerprint: String,
        /// The side in the token.
        found: String,
        /// The configured remote side.
        expected: String,
    },
    /// The token lacks Ed25519 or ML-DSA-65.
    #[error("token {number} ({fingerprint}) has no Ed25519 and ML-DSA-65 signing pair: ask for a complete token")]
    NoSigningPair {
        /// Which token.
        number: usize,
        /// Its fingerprint.
        fingerprint: String,
    },
    /// The token lacks a KEM key although sealed packets are accepted.
    #[error(
        "token {number} ({fingerprint}) has no X-Wing key, which suite sealed needs: ask for a complete token, \
         or accept only suites without sealing on both sides"
    )]
    NoKemKey {
        /// Which token.
        number: usize,
        /// Its fingerprint.
        fingerprint: String,
    },
    /// A key is weak or no key of its algorithm.
    #[error("token {number} ({fingerprint}): its {key}; do not use it, ask for new keys")]
    BadKey {
        /// Which token.
        number: usize,
        /// Its fingerprint.
        fingerprint: String,
        /// What is wrong with which key.
        key: &'static str,
    },
    /// No token is valid now, and this one ended last.
    #[error(
        "token {number} ({fingerprint}) expired at Unix ms {not_after_ms} (now {now_ms}) and no other is valid: \
         paste the current token of that side, or correct this machine's clock"
    )]
    Expired {
        /// Which token.
        number: usize,
        /// Its fingerprint.
        fingerprint: String,
        /// Its end, Unix ms.
        not_after_ms: i64,
        /// The time it was compared with, Unix ms.
        now_ms: i64,
    },
    /// No token is valid yet, and this one begins first.
    #[error(
        "token {number} ({fingerprint}) is valid only from Unix ms {not_before_ms} (now {now_ms}) and no other is \
         valid: wait, keep the older token beside it, or correct this machine's clock"
    )]
    NotYetValid {
        /// Which token.
        number: usize,
        /// Its fingerprint.
        fingerprint: String,
        /// Its begin, Unix ms.
        not_before_ms: i64,
        /// The time it was compared with, Unix ms.
        now_ms: i64,
    },
}

/// One pinned bundle with its keys ready for use.
struct Pinned {
    bundle: Bundle,
    fingerprint: String,
    signing_id: KeyId,
    signing: VerifyingPair,
    kem: Option<(KeyId, KemPublic)>,
    revoked: bool,
}

impl Pinned {
    const fn valid_at(&self, now_ms: i64) -> bool {
        let Bundle { not_before_ms, not_after_ms, .. } = self.bundle;
        now_ms >= not_before_ms && (not_after_ms == 0 || now_ms <= not_after_ms)
    }
}

/// The pinned keys of a remote side. `default()` pins none: only suite checksum then works.
#[derive(Default)]
pub struct PeerKeys {
    pinned: Vec<Pinned>,
    loaded_at_ms: i64,
}

impl PeerKeys {
    /// Parses and checks the tokens pinned for side `expected_side`, of which packets in `suites`
    /// are accepted, at `now_ms` (Unix ms). Tokens whose time has not come or is over are kept,
    /// without use, as long as another is valid. No token is needed if `suites` is checksum alone.
    ///
    /// # Errors
    /// [`PeerKeysError`] for the first token that breaks a rule.
    pub fn from_tokens(
        tokens: &[&str],
        expected_side: &str,
        suites: &[Suite],
        now_ms: i64,
    ) -> Result<Self, PeerKeysError> {
        let sealed = suites.iter().any(|suite| suite.sealed());
        let signed = suites.iter().any(|suite| suite.signed());
        if tokens.is_empty() && signed {
            return Err(PeerKeysError::NoToken(expected_side.to_owned()));
        }
        let mut pinned = Vec::with_capacity(tokens.len());
        for (index, token) in tokens.iter().enumerate() {
            pinned.push(pin(index + 1, token, expected_side, sealed)?);
        }
        let keys = Self { pinned, loaded_at_ms: now_ms };
        if signed {
            keys.check_time(now_ms)?;
        }
        Ok(keys)
    }

    /// The same keys with these signing pairs revoked: packets signed by them are rejected as
    /// `key_revoked` and nothing is sealed to the KEM keys that came with them.
    #[must_use]
    pub fn with_revoked(mut self, signing_ids: &[KeyId]) -> Self {
        for pinned in &mut self.pinned {
            pinned.revoked |= signing_ids.contains(&pinned.signing_id);
        }
        self
    }

    /// Fingerprints of the bundles, in the order of the tokens.
    #[must_use]
    pub fn fingerprints(&self) -> Vec<String> {
        self.pinned.iter().map(|pinned| pinned.fingerprint.clone()).collect()
    }

    /// The bundles, in the order of the tokens.
    pub fn bundles(&self) -> impl Iterator<Item = &Bundle> {
        self.pinned.iter().map(|pinned| &pinned.bundle)
    }

    /// Ids of the KEM keys of bundles that are not revoked, without repetition.
    #[must_use]
    pub fn kem_ids(&self) -> Vec<KeyId> {
        distinct(self.usable().filter_map(|pinned| pinned.kem.as_ref().map(|(id, _)| *id)))
    }

    /// Ids of the signing pairs of bundles that are not revoked, without repetition.
    #[must_use]
    pub fn signing_ids(&self) -> Vec<KeyId> {
        distinct(self.usable().map(|pinned| pinned.signing_id))
    }

    /// Whether this signing pair is pinned and not revoked.
    #[must_use]
    pub fn pinned(&self, signing_id: KeyId) -> bool {
        self.usable().any(|pinned| pinned.signing_id == signing_id)
    }

    /// Row 7 of the order of checks, at `now_ms` (Unix ms), for a suite that signs.
    ///
    /// # Errors
    /// `key_unknown` for an id that is not pinned or outside its bundle's bounds, `key_revoked`.
    pub fn check_signing_key(&self, signing_id: KeyId, now_ms: i64) -> Result<(), Reject> {
        let found = || self.pinned.iter().filter(|pinned| pinned.signing_id == signing_id);
        if found().any(|pinned| pinned.revoked) {
            Err(Reject::KeyRevoked)
        } else if found().any(|pinned| pinned.valid_at(now_ms)) {
            Ok(())
        } else {
            Err(Reject::KeyUnknown)
        }
    }

    /// Id of the KEM key to seal to at import time: of the highest bundle version valid then.
    #[must_use]
    pub fn newest_kem_id(&self) -> Option<KeyId> {
        self.kem_at(self.loaded_at_ms).map(|(id, _)| *id)
    }

    /// The KEM key to seal to at `now_ms` (Unix ms); of equal versions the last token's.
    pub(crate) fn kem_at(&self, now_ms: i64) -> Option<&(KeyId, KemPublic)> {
        self.usable()
            .filter(|pinned| pinned.valid_at(now_ms) && pinned.kem.is_some())
            .max_by_key(|pinned| pinned.bundle.version)
            .and_then(|pinned| pinned.kem.as_ref())
    }

    /// Verifies a signature by the pinned pair `signing_id`.
    pub(crate) fn verify(&self, signing_id: KeyId, message: &[u8], signature: &[u8]) -> Result<(), Reject> {
        let mut found = self.pinned.iter().filter(|pinned| pinned.signing_id == signing_id);
        match found.next() {
            Some(pinned) if pinned.revoked => Err(Reject::KeyRevoked),
            Some(pinned) => pinned.signing.verify(message, signature),
            None => Err(Reject::KeyUnknown),
        }
    }

    fn usable(&self) -> impl Iterator<Item = &Pinned> {
        self.pinned.iter().filter(|pinned| !pinned.revoked)
    }

    fn check_time(&self, now_ms: i64) -> Result<(), PeerKeysError> {
        if self.pinned.iter().any(|pinned| pinned.valid_at(now_ms)) {
            return Ok(());
        }
        let numbered = || self.pinned.iter().zip(1..);
        let coming = numbered()
            .filter(|(pinned, _)| now_ms < pinned.bundle.not_before_ms)
            .min_by_key(|(pinned, _)| pinned.bundle.not_before_ms);
        if let Some((pinned, number)) = coming {
            return Err(PeerKeysError::NotYetValid {
                number,
                fingerprint: pinned.fingerprint.clone(),
                not_before_ms: pinned.bundle.not_before_ms,
                now_ms,
            });
        }
        match numbered().max_by_key(|(pinned, _)| pinned.bundle.not_after_ms) {
            Some((pinned, number)) => Err(PeerKeysError::Expired {
                number,
                fingerprint: pinned.fingerprint.clone(),
                not_after_ms: pinned.bundle.not_after_ms,
                now_ms,
            }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for PeerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signing = self.signing_ids().iter().map(|id| hex(id)).collect::<Vec<_>>();
        f.debug_struct("PeerKeys")
            .field("fingerprints", &self.fingerprints())
            .field("signing_ids", &signing)
            .finish_non_exhaustive()
    }
}

fn pin(number: usize, token: &str, side: &str, sealed: bool) -> Result<Pinned, PeerKeysError> {
    let malformed = |cause| PeerKeysError::Malformed { number, side: side.to_owned(), cause };
    let bundle = parse_token(token).map_err(malformed)?;
    let fingerprint = bundle.fingerprint().map_err(malformed)?;
    if bundle.side != side {
        return Err(PeerKeysError::OtherSide { number, fingerprint, found: bundle.side, expected: side.to_owned() });
    }
    let key = |alg| bundle.key(alg).map(|key| &*key.bytes);
    let (Some(ed25519), Some(ml_dsa), Some(signing_id)) = (key(alg::ED25519), key(alg::MLDSA65), bundle.signing_id())
    else {
        return Err(PeerKeysError::NoSigningPair { number, fingerprint });
    };
    let signing = match VerifyingPair::from_bytes(ed25519, ml_dsa) {
        Ok(signing) => signing,
        Err(refused) => {
            return Err(PeerKeysError::BadKey { number, fingerprint, key: refused_key(refused) });
        }
    };
    let kem = match (key(alg::XWING).map(KemPublic::from_bytes), bundle.kem_id()) {
        (Some(Ok(kem)), Some(id)) => Some((id, kem)),
        (Some(Err(_)), _) => {
            let key = "X-Wing key is invalid";
            return Err(PeerKeysError::BadKey { number, fingerprint, key });
        }
        (_, _) if sealed => return Err(PeerKeysError::NoKemKey { number, fingerprint }),
        (_, _) => None,
    };
    Ok(Pinned { bundle, fingerprint, signing_id, signing, kem, revoked: false })
}

const fn refused_key(refused: KeyRefused) -> &'static str {
    match refused {
        KeyRefused::Ed25519 => "Ed25519 key is invalid",
        KeyRefused::SmallOrder => "Ed25519 key is of small order, so anybody could sign with it",
        KeyRefused::MlDsa => "ML-DSA-65 key is invalid",
    }
}

fn distinct(ids: impl Iterator<Item = KeyId>) -> Vec<KeyId> {
    let mut seen = Vec::new();
    for id in ids {
        if !seen.contains(&id) {
            seen.push(id);
        }
    }
    seen
}

#[cfg(test)]
mod tests;
