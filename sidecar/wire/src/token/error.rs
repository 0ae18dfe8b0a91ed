//! What can be wrong with a token, in words for the person who pasted it (wire format §12).
//!
//! Invariant: every message says what to do, or what was found and what is possible. It does not decide: [`super::parse_token`] does.
//! Test to read first: `texts_that_are_no_token_say_why`.

/// Why a text is not a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Empty.
    #[error("the token is empty: paste the line that begins with \"hoft1\"")]
    Empty,
    /// Longer than any token.
    #[error("the token has {len} characters; at most 16,384 are possible: paste one token only")]
    TooLong {
        /// Its characters.
        len: usize,
    },
    /// It does not begin with "hoft1".
    #[error("not a hoft token: it must begin with \"hoft1\"")]
    Prefix,
    /// White space inside it.
    #[error("white space inside the token at character {at}: join its lines into one")]
    WhiteSpace {
        /// Bytes before it.
        at: usize,
    },
    /// Characters or final bits that base64url does not have.
    #[error("the token is damaged or cut: {cause}")]
    Base64 {
        /// What the base64 decoder says.
        cause: base64::DecodeError,
    },
    /// The check sum at the end differs.
    #[error("the token is damaged or cut: its check sum differs; copy it again, whole")]
    CheckSum,
    /// The payload ends early.
    #[error("the token's content ends inside its {field}")]
    Cut {
        /// Where it ends.
        field: &'static str,
    },
    /// A format of a later program.
    #[error("the token has format {format}, written by a later hoft; this program reads 1")]
    Format {
        /// Its format.
        format: u8,
    },
    /// Not the bundle of a side.
    #[error("the token has class {class}; this program knows 1, the keys of a side")]
    Class {
        /// Its class.
        class: u8,
    },
    /// A field that must be zero is not.
    #[error("a reserved field of the token is not zero")]
    Reserved,
    /// Version 0.
    #[error("the token has version 0; versions begin at 1")]
    Version,
    /// The side's name is no valid name.
    #[error("the token's side name is not 1-63 characters of a-z, 0-9 and \"-\"")]
    SideName,
    /// No key, or more than 8.
    #[error("the token has {count} keys; 1-8 are possible")]
    KeyCount {
        /// Its keys.
        count: usize,
    },
    /// Keys are not ascending by algorithm.
    #[error("the token's keys are not in ascending order of algorithm, each once")]
    KeyOrder,
    /// A key's use does not fit its algorithm.
    #[error("the token has a key of algorithm {alg} for use {usage}")]
    KeyUsage {
        /// Its algorithm.
        alg: u16,
        /// Its use.
        usage: u8,
    },
    /// A key's length does not fit its algorithm.
    #[error("the token has a key of algorithm {alg} with {len} bytes")]
    KeyLength {
        /// Its algorithm.
        alg: u16,
        /// Its bytes.
        len: usize,
    },
    /// Bytes after the last key.
    #[error("the token has {len} bytes after its last key")]
    Trailing {
        /// How many.
        len: usize,
    },
}
