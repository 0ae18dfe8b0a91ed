//! The protection suites that are implemented: checksum, signed, sealed (wire format §4).
//!
//! Invariant: a number outside 1–3 is refused by name (`suite_unknown`); the numbers are no order of strength. Which suites
//! a peering accepts is not known here. Test to read first: `lengths_are_those_of_the_table`.

use core::fmt;
use core::str::FromStr;

/// Bytes of the SHA-256 "signature" of the checksum suite.
pub const CHECKSUM_LEN: usize = 32;
/// Bytes of an Ed25519 signature.
pub const ED25519_SIGNATURE_LEN: usize = 64;
/// Bytes of an ML-DSA-65 signature.
pub const MLDSA65_SIGNATURE_LEN: usize = 3309;
/// Bytes of the signature field of suites 2 and 3: Ed25519, then ML-DSA-65.
pub const SIGNATURE_LEN: usize = ED25519_SIGNATURE_LEN + MLDSA65_SIGNATURE_LEN;
/// Bytes of an X-Wing ciphertext.
pub const XWING_CT_LEN: usize = 1120;
/// Bytes of an AEAD tag.
pub const AEAD_TAG_LEN: usize = 16;
/// Bytes of a frame table entry in the implemented suites.
pub const ENTRY_LEN: usize = 64;

/// How a packet is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suite {
    /// A SHA-256 checksum: finds damage, proves nothing.
    Checksum = 1,
    /// Signed with Ed25519 and ML-DSA-65, readable by anyone.
    Signed = 2,
    /// Signed as `Signed` and encrypted to an X-Wing key.
    Sealed = 3,
}

/// A suite number that is not implemented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("suite {0} is not implemented")]
pub struct UnknownSuite(pub u16);

/// A suite name that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such suite: \"checksum\", \"signed\" or \"sealed\" is expected")]
pub struct UnknownSuiteName;

impl Suite {
    /// The implemented suites.
    pub const ALL: [Self; 3] = [Self::Checksum, Self::Signed, Self::Sealed];

    /// The suite of a header's number.
    ///
    /// # Errors
    /// If it is not implemented.
    pub const fn from_number(number: u16) -> Result<Self, UnknownSuite> {
        match number {
            1 => Ok(Self::Checksum),
            2 => Ok(Self::Signed),
            3 => Ok(Self::Sealed),
            _ => Err(UnknownSuite(number)),
        }
    }

    /// The number in the header.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// "checksum", "signed" or "sealed".
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Checksum => "checksum",
            Self::Signed => "signed",
            Self::Sealed => "sealed",
        }
    }

    /// Whether control, table and frames are encrypted.
    #[must_use]
    pub const fn sealed(self) -> bool {
        matches!(self, Self::Sealed)
    }

    /// Whether its packets are signed with keys pinned for a peering.
    #[must_use]
    pub const fn signed(self) -> bool {
        matches!(self, Self::Signed | Self::Sealed)
    }

    /// Bytes of the KEM ciphertext.
    #[must_use]
    pub const fn kem_ct_len(self) -> usize {
        if self.sealed() { XWING_CT_LEN } else { 0 }
    }

    /// Bytes of the tag after an encrypted part; 0 without encryption.
    #[must_use]
    pub const fn tag_len(self) -> usize {
        if self.sealed() { AEAD_TAG_LEN } else { 0 }
    }

    /// Bytes of a frame table entry.
    #[must_use]
    pub const fn entry_len(self) -> usize {
        ENTRY_LEN
    }

    /// Bytes of the signature field, before its padding.
    #[must_use]
    pub const fn signature_len(self) -> usize {
        match self {
            Self::Checksum => CHECKSUM_LEN,
            Self::Signed | Self::Sealed => SIGNATURE_LEN,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Suite {
    type Err = UnknownSuiteName;

    fn from_str(name: &str) -> Result<Self, UnknownSuiteName> {
        Self::ALL.into_iter().find(|suite| suite.name() == name).ok_or(UnknownSuiteName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_the_table() {
        let rows = Suite::ALL.map(|s| (s.number(), s.kem_ct_len(), s.sealed(), s.entry_len(), s.signature_len()));
        assert_eq!(rows, [(1, 0, false, 64, 32), (2, 0, false, 64, 3373), (3, 1120, true, 64, 3373)]);
    }

    #[test]
    fn numbers_and_names_come_back() {
        for suite in Suite::ALL {
            assert_eq!(Suite::from_number(suite.number()), Ok(suite));
            assert_eq!(suite.name().parse(), Ok(suite));
        }
        assert_eq!("Sealed".parse::<Suite>(), Err(UnknownSuiteName));
    }

    #[test]
    fn reserved_and_unassigned_suites_are_unknown() {
        for number in [0, 4, 5, 6, 7, 32_767, 65_535] {
            assert_eq!(Suite::from_number(number), Err(UnknownSuite(number)));
        }
    }
}
