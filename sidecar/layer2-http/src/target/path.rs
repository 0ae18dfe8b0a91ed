//! Paths in the form rules are matched in (RFC 3986 §6.2.2).
//!
//! Invariants: equal paths are equal bytes; a path that some server would read differently, by decoding once more or by
//! cutting parameters off, has no normal form. Nothing here decides what is forwarded. Test to read first:
//! `target::tests::paths_that_servers_read_differently_are_refused`.

use super::TargetError;
use crate::limits::MAX_DECODE_PASSES;

/// Is the normal path `path` the prefix itself, or beneath it at a segment border?
#[must_use]
pub fn within_prefix(path: &str, prefix: &str) -> bool {
    match path.strip_prefix(prefix.trim_end_matches('/')) {
        // "/v1/" names what is beneath it, "/v1" the resource too.
        Some("") => !prefix.ends_with('/'),
        Some(rest) => rest.starts_with('/'),
        None => false,
    }
}

/// The normal form of a path, in which rules are matched: RFC 3986 §6.2.2, after which equal paths are equal bytes.
///
/// # Errors
/// If servers could read the path differently.
pub fn normal_path(path: &str) -> Result<String, TargetError> {
    let mut normal = String::with_capacity(path.len());
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            normal.push('/');
        }
        refuse_ambiguous(segment)?;
        normalise(segment, &mut normal)?;
    }
    Ok(normal)
}

/// Refuses what some server, by decoding once more or by cutting parameters off, would take for a separator or dot segment.
fn refuse_ambiguous(segment: &str) -> Result<(), TargetError> {
    let mut bytes = segment.as_bytes().to_vec();
    for pass in 0..=MAX_DECODE_PASSES {
        let name = bytes.split(|b| *b == b';').next().unwrap_or_default();
        let separator = bytes.iter().any(|b| matches!(b, b'/' | b'\\' | 0)) || overlong(&bytes);
        if separator || name == b"." || name == b".." {
            return Err(TargetError::Ambiguous);
        }
        let decoded = percent_decode(&bytes);
        if decoded == bytes {
            return Ok(());
        }
        if pass < MAX_DECODE_PASSES {
            bytes = decoded;
        }
    }
    Err(TargetError::Ambiguous)
}

/// A dot, slash or backslash as UTF-8 longer than it needs to be, which lenient decoders take for the character (RFC 3629 §10).
fn overlong(bytes: &[u8]) -> bool {
    let short = bytes.windows(2).any(|pair| matches!(pair, [0xc0, 0xae | 0xaf] | [0xc1, 0x9c]));
    let long = |part: &[u8]| matches!(part, [0xe0, 0x80, 0xae | 0xaf] | [0xe0, 0x81, 0x9c]);
    short || bytes.windows(3).any(long)
}

fn percent_decode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        match hex_pair(tail) {
            Some(byte) if *first == b'%' => {
                out.push(byte);
                rest = &tail[2..];
            }
            Some(_) | None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    Some((digit(0)? << 4 | digit(1)?) as u8)
}

/// Decodes what needs no encoding, and writes the other triplets in upper case.
fn normalise(segment: &str, out: &mut String) -> Result<(), TargetError> {
    let mut rest = segment;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let byte = hex_pair(&rest.as_bytes()[at + 1..]).ok_or(TargetError::Percent)?;
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        rest = &rest[at + 3..];
    }
    out.push_str(rest);
    Ok(())
}
