//! The public bundle of a side: its token, key ids and fingerprint (wire format §12).
//!
//! Invariants: a bundle that was parsed gives the same payload, fingerprint and token again, also with keys of unknown algorithms;
//! every error says what is wrong with the text a person pasted. Whether a key is usable (small order, revoked, enough for a suite)
//! is judged by `identity`. Test to read first: `a_token_comes_back`.

mod error;

pub use error::TokenError;

use crate::digest::sha256;
use crate::ids::{push_lp, valid_name};
use crate::limits::{MAX_BUNDLE_KEYS, MAX_TOKEN};
use alloc::string::String;
use alloc::vec::Vec;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use core::str::FromStr;

/// What every token begins with.
pub const TOKEN_PREFIX: &str = "hoft1";

/// Algorithms of public keys.
pub mod alg {
    /// Ed25519, 32 bytes.
    pub const ED25519: u16 = 1;
    /// ML-DSA-65, 1,952 bytes.
    pub const MLDSA65: u16 = 2;
    /// X-Wing, 1,216 bytes.
    pub const XWING: u16 = 3;
    /// ML-DSA-87, 2,592 bytes.
    pub const MLDSA87: u16 = 4;
    /// ML-KEM-1024, 1,568 bytes.
    pub const MLKEM1024: u16 = 5;
}

/// Uses of public keys.
pub mod usage {
    /// Verifies signatures.
    pub const SIGN: u8 = 1;
    /// Is encrypted to.
    pub const KEM: u8 = 2;
}

const FORMAT: u8 = 1;
const CLASS_SIDE: u8 = 1;
const CHECK_LEN: usize = 4;

/// Use and length of the keys of a known algorithm.
const fn rule(alg: u16) -> Option<(u8, usize)> {
    match alg {
        alg::ED25519 => Some((usage::SIGN, 32)),
        alg::MLDSA65 => Some((usage::SIGN, 1952)),
        alg::XWING => Some((usage::KEM, 1216)),
        alg::MLDSA87 => Some((usage::SIGN, 2592)),
        alg::MLKEM1024 => Some((usage::KEM, 1568)),
        _ => None,
    }
}

/// A public key as it stands in a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// See [`alg`]; others are kept, and skipped.
    pub alg: u16,
    /// See [`usage`].
    pub usage: u8,
    /// The key.
    pub bytes: Vec<u8>,
}

impl PublicKey {
    /// Its id: that of a KEM key.
    #[must_use]
    pub fn id(&self) -> [u8; 8] {
        key_id(&[(self.alg, &self.bytes)])
    }
}

/// What a side publishes about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Rises with each new bundle of the side; from 1 on.
    pub version: u32,
    /// Valid from this time on, Unix milliseconds.
    pub not_before_ms: i64,
    /// Valid until this time, Unix milliseconds; 0: no end.
    pub not_after_ms: i64,
    /// The side's name.
    pub side: String,
    /// 1–8 keys, ascending by algorithm, each algorithm once.
    pub keys: Vec<PublicKey>,
}

/// The id of a key or key pair: give (algorithm, bytes) in ascending order of algorithm.
#[must_use]
pub fn key_id(keys: &[(u16, &[u8])]) -> [u8; 8] {
    let numbers: Vec<[u8; 2]> = keys.iter().map(|(alg, _)| alg.to_le_bytes()).collect();
    let mut parts: Vec<&[u8]> = Vec::from([&b"hoft1 key"[..]]);
    for (number, (_, bytes)) in numbers.iter().zip(keys) {
        parts.extend([&number[..], bytes]);
    }
    let digest = sha256(&parts);
    core::array::from_fn(|i| digest[i])
}

impl Bundle {
    /// The key of this algorithm.
    #[must_use]
    pub fn key(&self, alg: u16) -> Option<&PublicKey> {
        self.keys.iter().find(|key| key.alg == alg)
    }

    /// The id of the signing pair (Ed25519 and ML-DSA-65), if both are there.
    #[must_use]
    pub fn signing_id(&self) -> Option<[u8; 8]> {
        let (ed25519, mldsa) = (self.key(alg::ED25519)?, self.key(alg::MLDSA65)?);
        Some(key_id(&[(ed25519.alg, &ed25519.bytes), (mldsa.alg, &mldsa.bytes)]))
    }

    /// The id of the X-Wing key, if it is there.
    #[must_use]
    pub fn kem_id(&self) -> Option<[u8; 8]> {
        self.key(alg::XWING).map(PublicKey::id)
    }

    /// The bytes that token and fingerprint are made of.
    ///
    /// # Errors
    /// If a rule of the format is broken: what [`Self::from_payload`] would answer.
    pub fn payload(&self) -> Result<Vec<u8>, TokenError> {
        self.check()?;
        let mut out = Vec::from([FORMAT, CLASS_SIDE, 0, 0]);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.not_before_ms.to_le_bytes());
        out.extend_from_slice(&self.not_after_ms.to_le_bytes());
        push_lp(&mut out, &self.side);
        out.push(self.keys.len() as u8);
        for key in &self.keys {
            out.extend_from_slice(&key.alg.to_le_bytes());
            out.extend_from_slice(&[key.usage, 0]);
            out.extend_from_slice(&(key.bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(&key.bytes);
        }
        Ok(out)
    }

    fn check(&self) -> Result<(), TokenError> {
        if self.version == 0 {
            return Err(TokenError::Version);
        }
        if !valid_name(&self.side) {
            return Err(TokenError::SideName);
        }
        if !(1..=MAX_BUNDLE_KEYS).contains(&self.keys.len()) {
            return Err(TokenError::KeyCount { count: self.keys.len() });
        }
        if !self.keys.windows(2).all(|pair| pair[0].alg < pair[1].alg) {
            return Err(TokenError::KeyOrder);
        }
        for PublicKey { alg, usage, bytes } in &self.keys {
            let Some((expected_usage, expected_len)) = rule(*alg) else { continue };
            if *usage != expected_usage {
                return Err(TokenError::KeyUsage { alg: *alg, usage: *usage });
            }
            if bytes.len() != expected_len {
                return Err(TokenError::KeyLength { alg: *alg, len: bytes.len() });
            }
        }
        Ok(())
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// The first rule of the format that is broken.
    pub fn from_payload(payload: &[u8]) -> Result<Self, TokenError> {
        let mut rest = Rest(payload);
        let [format, class] = rest.array("header")?;
        if format != FORMAT {
            return Err(TokenError::Format { format });
        }
        if class != CLASS_SIDE {
            return Err(TokenError::Class { class });
        }
        if rest.array("header")? != [0; 2] {
            return Err(TokenError::Reserved);
        }
        let version = u32::from_le_bytes(rest.array("version")?);
        let not_before_ms = i64::from_le_bytes(rest.array("times")?);
        let not_after_ms = i64::from_le_bytes(rest.array("times")?);
        let side_len = u16::from_le_bytes(rest.array("side name")?);
        let side = rest.take(side_len.into(), "side name")?;
        let side = core::str::from_utf8(side).map_err(|_| TokenError::SideName)?.into();
        let [count] = rest.array("key count")?;
        if !(1..=MAX_BUNDLE_KEYS).contains(&count.into()) {
            return Err(TokenError::KeyCount { count: count.into() });
        }
        let keys = (0..count).map(|_| rest.key()).collect::<Result<Vec<_>, _>>()?;
        if !rest.0.is_empty() {
            return Err(TokenError::Trailing { len: rest.0.len() });
        }
        let bundle = Self { version, not_before_ms, not_after_ms, side, keys };
        bundle.check()?;
        Ok(bundle)
    }

    /// The token: one line of text.
    ///
    /// # Errors
    /// As [`Self::payload`], and `TooLong`.
    pub fn to_token(&self) -> Result<String, TokenError> {
        let mut bytes = self.payload()?;
        let check = check_sum(&bytes);
        bytes.extend_from_slice(&check);
        let mut token = String::from(TOKEN_PREFIX);
        URL_SAFE_NO_PAD.encode_string(&bytes, &mut token);
        if token.len() > MAX_TOKEN {
            return Err(TokenError::TooLong { len: token.len() });
        }
        Ok(token)
    }

    /// 24 characters in six groups, to read to each other.
    ///
    /// # Errors
    /// As [`Self::payload`].
    pub fn fingerprint(&self) -> Result<String, TokenError> {
        Ok(fingerprint(&self.payload()?))
    }
}

impl FromStr for Bundle {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        parse_token(text)
    }
}

/// Reads a token; white space around it is ignored.
///
/// # Errors
/// What is wrong with it, in words for the person who pasted it.
pub fn parse_token(text: &str) -> Result<Bundle, TokenError> {
    let token = text.trim();
    if token.is_empty() {
        return Err(TokenError::Empty);
    }
    let encoded = token.strip_prefix(TOKEN_PREFIX).ok_or(TokenError::Prefix)?;
    if token.len() > MAX_TOKEN {
        return Err(TokenError::TooLong { len: token.len() });
    }
    if let Some(at) = token.find(char::is_whitespace) {
        return Err(TokenError::WhiteSpace { at });
    }
    let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|cause| TokenError::Base64 { cause })?;
    let (payload, check) = bytes.split_last_chunk::<CHECK_LEN>().ok_or(TokenError::CheckSum)?;
    if *check != check_sum(payload) {
        return Err(TokenError::CheckSum);
    }
    Bundle::from_payload(payload)
}

fn check_sum(payload: &[u8]) -> [u8; CHECK_LEN] {
    let digest = sha256(&[b"hoft1 token", payload]);
    core::array::from_fn(|i| digest[i])
}

/// The fingerprint of a bundle's payload: 15 bytes of a digest in Crockford base32, lower case.
#[must_use]
pub fn fingerprint(payload: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let digest = sha256(&[b"hoft1 fingerprint", payload]);
    let mut text = String::new();
    for (i, five_bytes) in digest[..15].chunks_exact(5).enumerate() {
        let bits = five_bytes.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        for digit in 0..8 {
            if digit % 4 == 0 && i + digit > 0 {
                text.push('-');
            }
            text.push(char::from(DIGITS[(bits >> (35 - 5 * digit)) as usize & 31]));
        }
    }
    text
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], TokenError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(TokenError::Cut { field })?;
        self.0 = rest;
        Ok(*array)
    }

    fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], TokenError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(TokenError::Cut { field })?;
        self.0 = rest;
        Ok(taken)
    }

    fn key(&mut self) -> Result<PublicKey, TokenError> {
        let alg = u16::from_le_bytes(self.array("keys")?);
        let [usage, zero] = self.array("keys")?;
        let len = u32::from_le_bytes(self.array("keys")?);
        if zero != 0 {
            return Err(TokenError::Reserved);
        }
        let len = usize::try_from(len).map_err(|_| TokenError::Cut { field: "keys" })?;
        Ok(PublicKey { alg, usage, bytes: self.take(len, "keys")?.to_vec() })
    }
}

#[cfg(test)]
mod tests;
