//! Field lines of a message, in order and byte-exact (RFC 9110 §5).
//!
//! Invariants: a name is a non-empty lower-case token; a value holds no control byte but HTAB and neither begins nor
//! ends with white space; at most [`MAX_FIELD_LINES`] lines. Repeated names keep their order. It gives no field a
//! meaning: that is `hop`. Test to read first: `header_map_and_back_keeps_every_value`.

use crate::limits::MAX_FIELD_LINES;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::fmt;

/// Why a field line is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The name is empty, or has a byte that is no lower-case token character.
    #[error("field name {name:?} is not a lower-case token")]
    Name {
        /// The name, escaped and shortened.
        name: String,
    },
    /// The value has a control byte (CR, LF and NUL among them) or white space at an end.
    #[error("the value of field {name} has a control byte, or white space at an end")]
    Value {
        /// Name of the field.
        name: String,
    },
    /// More lines than [`MAX_FIELD_LINES`].
    #[error("more than {MAX_FIELD_LINES} field lines")]
    TooMany,
}

/// An ordered list of field lines.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(Bytes, Bytes)>);

impl Fields {
    /// No lines.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Appends a line.
    ///
    /// # Errors
    /// If name or value break the invariants of this type, or there are too many lines.
    pub fn push(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<(), FieldError> {
        let (name, value) = (name.into(), value.into());
        if !valid_name(&name) {
            return Err(FieldError::Name { name: shown(&name) });
        }
        if !valid_value(&value) {
            return Err(FieldError::Value { name: shown(&name) });
        }
        if self.0.len() >= MAX_FIELD_LINES {
            return Err(FieldError::TooMany);
        }
        self.0.push((name, value));
        Ok(())
    }

    /// Removes every line of `name`, then appends one.
    ///
    /// # Errors
    /// As [`Fields::push`]; the old lines are then kept.
    pub fn set(&mut self, name: &str, value: impl Into<Bytes>) -> Result<(), FieldError> {
        let mut one = Self::new();
        one.push(Bytes::copy_from_slice(name.as_bytes()), value)?;
        self.remove(name);
        if self.0.len() >= MAX_FIELD_LINES {
            return Err(FieldError::TooMany);
        }
        self.0.append(&mut one.0);
        Ok(())
    }

    /// Removes every line of `name`; says how many there were.
    pub fn remove(&mut self, name: &str) -> usize {
        let before = self.0.len();
        self.0.retain(|(n, _)| n != name.as_bytes());
        before - self.0.len()
    }

    /// Keeps the lines for which `keep(name, value)` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &[u8]) -> bool) {
        self.0.retain(|(name, value)| keep(as_str(name), value));
    }

    /// The value of the first line of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(n, _)| n == name.as_bytes()).map(|(_, value)| &value[..])
    }

    /// The values of all lines of `name`, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.0.iter().filter(move |(n, _)| n == name.as_bytes()).map(|(_, value)| &value[..])
    }

    /// Is there a line of `name`?
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The comma-separated members of all lines of `name`, trimmed, without empty ones (RFC 9110 §5.6.1). Commas inside
    /// quoted strings separate too: use it for lists of tokens.
    pub fn members<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.get_all(name)
            .flat_map(|value| value.split(|b| *b == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
    }

    /// All lines as (name, value), in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Bytes)> {
        self.0.iter().map(|(name, value)| (as_str(name), value))
    }

    /// Number of lines.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Are there no lines?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of these lines as an RFC 9292 field section: what the limits are about.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let prefixed = |bytes: &Bytes| wire::varint::encoded_len(bytes.len() as u64) + bytes.len();
        1 + self.0.iter().map(|(name, value)| prefixed(name) + prefixed(value)).sum::<usize>()
    }

    /// Takes the lines of a header map. White space around a value is no part of it (RFC 9110 §5.5) and is left out.
    ///
    /// # Errors
    /// If a value has a control byte, or there are too many lines.
    pub fn from_header_map(map: &HeaderMap) -> Result<Self, FieldError> {
        let mut fields = Self(Vec::with_capacity(map.len().min(MAX_FIELD_LINES)));
        for (name, value) in map {
            let value = Bytes::copy_from_slice(value.as_bytes().trim_ascii());
            fields.push(Bytes::copy_from_slice(name.as_str().as_bytes()), value)?;
        }
        Ok(fields)
    }

    /// These lines as a header map.
    ///
    /// # Errors
    /// If the `http` crate refuses a line (a name above 64 KiB).
    pub fn to_header_map(&self) -> Result<HeaderMap, FieldError> {
        let mut map = HeaderMap::with_capacity(self.0.len());
        for (name, value) in &self.0 {
            let refused = || FieldError::Name { name: shown(name) };
            let header = HeaderName::from_lowercase(name).map_err(|_| refused())?;
            let value =
                HeaderValue::from_maybe_shared(value.clone()).map_err(|_| FieldError::Value { name: shown(name) })?;
            map.try_append(header, value).map_err(|_| FieldError::TooMany)?;
        }
        Ok(map)
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(n, v)| (as_str(n), v.escape_ascii().to_string()))).finish()
    }
}

/// Is this byte a token character (RFC 9110 §5.6.2)?
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
    ) || byte.is_ascii_alphanumeric()
}

fn valid_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| is_token_byte(*b) && !b.is_ascii_uppercase())
}

fn valid_value(value: &[u8]) -> bool {
    let white = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    !white(value.first())
        && !white(value.last())
        && value.iter().all(|b| matches!(b, b'\t' | b' '..=b'~' | 0x80..=0xff))
}

/// A name as text: it is a token, so this never falls back.
fn as_str(name: &[u8]) -> &str {
    std::str::from_utf8(name).unwrap_or_default()
}

/// Outside bytes for a message: escaped, and at most 64 of them.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let mut text = bytes[..bytes.len().min(64)].escape_ascii().to_string();
    if bytes.len() > 64 {
        text.push('…');
    }
    text
}

#[cfg(test)]
pub(crate) mod tests;
