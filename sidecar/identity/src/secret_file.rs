//! The secret-key file: a small text that carries a side's three seeds.
//!
//! ```text
//! hoft-secret-key v1
//! # any number of comment and blank lines from here on
//! side: north
//! ed25519: 64 lower-case hex digits
//! ml-dsa-65: 64 lower-case hex digits
//! x-wing: 64 lower-case hex digits
//! checksum: 16 lower-case hex digits
//! ```
//! Invariants: the first line names the format and its version, an unknown version is refused by
//! name; the checksum covers the five lines above it, so a cut or edited file never yields other
//! keys; no error repeats a value, only line numbers and field names; the text never begins with
//! `hoft1`, which is what public tokens begin with.
//! It does not read or write files, and does not encrypt: whoever stores the text protects it.
//! Read `the_committed_key_file_still_opens_and_is_written_the_same` first.

use wire::digest::{hex, sha256};
use wire::ids::valid_name;
use zeroize::Zeroizing;

use crate::side_keys::{Identity, IdentityError, Seeds};

/// Longest secret-key file that is read, in bytes.
pub const SECRET_FILE_LEN_MAX: usize = 16 * 1024;

const MAGIC: &str = "hoft-secret-key";
const VERSION: &str = "v1";
const SIDE: &str = "side";
const ED25519: &str = "ed25519";
const ML_DSA: &str = "ml-dsa-65";
const X_WING: &str = "x-wing";
const CHECKSUM: &str = "checksum";

/// Why a text is not a usable secret-key file. Nothing of the file's values is repeated here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The text is longer than a key file can be.
    #[error("a secret-key file has at most {SECRET_FILE_LEN_MAX} bytes, this has {0}")]
    TooLong(usize),
    /// A public token was given where the secret-key file belongs.
    #[error("this is a public token (it begins with hoft1), not the secret-key file of this side")]
    PublicToken,
    /// The first line is not that of a secret-key file.
    #[error("not a secret-key file: its first line must be \"{MAGIC} {VERSION}\"")]
    NotSecretKey,
    /// A version this program does not read.
    #[error("secret-key file of version {0:?}; this program reads {VERSION} only, use a newer one")]
    UnknownVersion(String),
    /// A line is not the field expected there.
    #[error("secret-key file, line {line}: expected \"{expected}: ...\"")]
    Line {
        /// Line number from 1.
        line: usize,
        /// Name of the field that belongs here.
        expected: &'static str,
    },
    /// A field's value is malformed.
    #[error("secret-key file, line {line}: the value of \"{field}\" must be {rule}")]
    Value {
        /// Line number from 1.
        line: usize,
        /// Name of the field.
        field: &'static str,
        /// What a good value looks like.
        rule: &'static str,
    },
    /// The file ends too early.
    #[error("secret-key file is cut off: \"{0}: ...\" is missing; restore it from its origin")]
    Missing(&'static str),
    /// Something follows the checksum.
    #[error("secret-key file, line {0}: nothing may follow the checksum")]
    Trailing(usize),
    /// The checksum differs.
    #[error("secret-key file is damaged: its checksum does not match; restore it from its origin")]
    Checksum,
    /// The keys could not be expanded.
    #[error(transparent)]
    Keys(#[from] IdentityError),
}

impl Identity {
    /// The secret-key file of these keys; wiped when dropped. Retired keys are not in it.
    #[must_use]
    pub fn encode_secret(&self) -> Zeroizing<String> {
        let seeds = self.seeds();
        let covered = covered_lines(
            self.side(),
            &Zeroizing::new(hex(&*seeds.ed25519)),
            &Zeroizing::new(hex(&*seeds.ml_dsa)),
            &Zeroizing::new(hex(&*seeds.x_wing)),
        );
        let checksum = checksum(&covered);
        let (first, fields) = covered.split_once('\n').unwrap_or((&covered, ""));
        // Reserved in one piece: growing would leave copies of the secrets in freed memory.
        let mut text = Zeroizing::new(String::with_capacity(covered.len() + 512));
        for part in [
            first,
            "\n# Secret keys of one hoft side. Whoever reads this file can sign as this side and\n",
            "# open what is sealed to it. Never copy it to the other side: give that the token.\n",
            "# signing key id ",
            &hex(&self.signing_id()),
            ", KEM key id ",
            &hex(&self.kem_id()),
            "\n",
            fields,
            CHECKSUM,
            ": ",
            &checksum,
            "\n",
        ] {
            text.push_str(part);
        }
        text
    }

    /// Reads a secret-key file.
    ///
    /// # Errors
    /// [`SecretError`] with the line and the remedy; it never contains a value of the file.
    pub fn parse_secret(text: &str) -> Result<Self, SecretError> {
        if text.len() > SECRET_FILE_LEN_MAX {
            return Err(SecretError::TooLong(text.len()));
        }
        if text.trim_start().starts_with("hoft1") {
            return Err(SecretError::PublicToken);
        }
        let mut lines = Lines { rest: text.lines().enumerate() };
        lines.check_first()?;
        let (line, side) = lines.field(SIDE)?;
        if !valid_name(side) {
            // Not left to `expand`, which names the value: a secret may have slipped in here.
            let rule = "1 to 63 characters of a-z, 0-9 and '-'";
            return Err(SecretError::Value { line, field: SIDE, rule });
        }
        let (ed25519_hex, ed25519) = lines.seed(ED25519)?;
        let (ml_dsa_hex, ml_dsa) = lines.seed(ML_DSA)?;
        let (x_wing_hex, x_wing) = lines.seed(X_WING)?;
        let (line, found) = lines.field(CHECKSUM)?;
        if !is_lower_hex(found, 16) {
            let rule = "16 lower-case hex digits";
            return Err(SecretError::Value { line, field: CHECKSUM, rule });
        }
        if let Some((line, _)) = lines.next_used() {
            return Err(SecretError::Trailing(line));
        }
        if checksum(&covered_lines(side, ed25519_hex, ml_dsa_hex, x_wing_hex)) != found {
            return Err(SecretError::Checksum);
        }
        Ok(Self::expand(side, Seeds { ed25519, ml_dsa, x_wing })?)
    }
}

/// The lines of a file with their numbers; blank lines and comments are passed over.
struct Lines<'a> {
    rest: core::iter::Enumerate<core::str::Lines<'a>>,
}

impl<'a> Lines<'a> {
    fn check_first(&mut self) -> Result<(), SecretError> {
        let first = self.rest.next().map_or("", |(_, line)| line.trim_end());
        match first.split_once(' ') {
            Some((MAGIC, VERSION)) => Ok(()),
            // Only something shaped like a version is repeated: it might be anything else.
            Some((MAGIC, version)) if is_version(version) => Err(SecretError::UnknownVersion(version.to_owned())),
            _ => Err(SecretError::NotSecretKey),
        }
    }

    fn next_used(&mut self) -> Option<(usize, &'a str)> {
        self.rest
            .by_ref()
            .map(|(index, line)| (index + 1, line.trim()))
            .find(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    }

    fn field(&mut self, name: &'static str) -> Result<(usize, &'a str), SecretError> {
        let (line, text) = self.next_used().ok_or(SecretError::Missing(name))?;
        match text.split_once(':') {
            Some((found, value)) if found.trim_end() == name => Ok((line, value.trim_start())),
            _ => Err(SecretError::Line { line, expected: name }),
        }
    }

    fn seed(&mut self, name: &'static str) -> Result<(&'a str, Zeroizing<[u8; 32]>), SecretError> {
        let (line, text) = self.field(name)?;
        let rule = "64 lower-case hex digits";
        if !is_lower_hex(text, 64) {
            return Err(SecretError::Value { line, field: name, rule });
        }
        let mut seed = Zeroizing::new([0; 32]);
        for (byte, pair) in seed.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = nibble(pair[0]) << 4 | nibble(pair[1]);
        }
        Ok((text, seed))
    }
}

/// The five lines the checksum covers, in their one canonical form.
fn covered_lines(side: &str, ed25519: &str, ml_dsa: &str, x_wing: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(512 + side.len()));
    let fields = [(SIDE, side), (ED25519, ed25519), (ML_DSA, ml_dsa), (X_WING, x_wing)];
    text.push_str(MAGIC);
    text.push(' ');
    text.push_str(VERSION);
    text.push('\n');
    for (name, value) in fields {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value);
        text.push('\n');
    }
    text
}

fn checksum(covered: &str) -> String {
    hex(&sha256(&[covered.as_bytes()])[..8])
}

fn is_version(text: &str) -> bool {
    let digits = text.strip_prefix('v').unwrap_or("");
    (1..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
}

fn is_lower_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

const fn nibble(digit: u8) -> u8 {
    match digit {
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'0'),
    }
}

#[cfg(test)]
mod tests;
