//! Is this one item of deterministic CBOR (RFC 8949 §4.2.1)? A check before anything is decoded.
//!
//! Invariants: lengths and numbers have their shortest form and are definite, map keys ascend bytewise (so none
//! repeats), text is UTF-8, nesting is bounded, nothing follows. It builds nothing and allocates nothing. Floats are
//! not looked into: no key of ours has one. Test to read first: `what_rfc_8949_calls_not_deterministic_is_refused`.

use crate::limits::MAX_CBOR_DEPTH;

/// Why bytes are not one deterministic CBOR item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// The bytes end inside the item.
    #[error("the CBOR is cut short")]
    Cut,
    /// A number, or a length, is not in its shortest form.
    #[error("a CBOR number is not in its shortest form")]
    NotShortest,
    /// An indefinite length, or a reserved value.
    #[error("the CBOR has an indefinite length or a reserved value")]
    Reserved,
    /// Map keys do not strictly ascend.
    #[error("the keys of a CBOR map repeat or are out of order")]
    KeyOrder,
    /// Text that is not UTF-8.
    #[error("a CBOR text is not UTF-8")]
    Text,
    /// Nested deeper than [`MAX_CBOR_DEPTH`].
    #[error("the CBOR nests deeper than {MAX_CBOR_DEPTH}")]
    Depth,
    /// Bytes after the item.
    #[error("bytes follow the CBOR item")]
    Rest,
}

/// Checks that `bytes` are one item of deterministic CBOR.
pub(crate) fn check(mut bytes: &[u8]) -> Result<(), CborError> {
    item(&mut bytes, 0)?;
    if bytes.is_empty() { Ok(()) } else { Err(CborError::Rest) }
}

fn item(input: &mut &[u8], depth: usize) -> Result<(), CborError> {
    if depth > MAX_CBOR_DEPTH {
        return Err(CborError::Depth);
    }
    let (major, argument) = head(input)?;
    match major {
        0 | 1 | 7 => Ok(()),
        2 | 3 => {
            let len = usize::try_from(argument).map_err(|_| CborError::Cut)?;
            let text = take(input, len)?;
            if major == 3 && std::str::from_utf8(text).is_err() { Err(CborError::Text) } else { Ok(()) }
        }
        // Every item takes a byte or fails, so these loops end with the input whatever the count says.
        4 => (0..argument).try_for_each(|_| item(input, depth + 1)),
        5 => {
            let mut last: &[u8] = &[];
            for _ in 0..argument {
                let start = *input;
                item(input, depth + 1)?;
                let key = &start[..start.len() - input.len()];
                if key <= last {
                    return Err(CborError::KeyOrder);
                }
                last = key;
                item(input, depth + 1)?;
            }
            Ok(())
        }
        _ => item(input, depth + 1),
    }
}

/// Major type and argument; floats give argument 0.
fn head(input: &mut &[u8]) -> Result<(u8, u64), CborError> {
    let first = take(input, 1)?[0];
    let (major, info) = (first >> 5, first & 31);
    let len = match info {
        0..=23 => return Ok((major, u64::from(info))),
        24..=27 => 1_usize << (info - 24),
        _ => return Err(CborError::Reserved),
    };
    let argument = take(input, len)?.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    if major == 7 && len > 1 {
        return Ok((major, 0));
    }
    let smallest = match (major, len) {
        (7, _) => 32,
        (_, 1) => 24,
        (_, 2) => 1 << 8,
        (_, 4) => 1 << 16,
        _ => 1 << 32,
    };
    if argument < smallest { Err(CborError::NotShortest) } else { Ok((major, argument)) }
}

fn take<'a>(input: &mut &'a [u8], len: usize) -> Result<&'a [u8], CborError> {
    let (bytes, rest) = input.split_at_checked(len).ok_or(CborError::Cut)?;
    *input = rest;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rfc_8949_calls_not_deterministic_is_refused() {
        let cases: [(&[u8], CborError); 12] = [
            (&[0x18, 0x17], CborError::NotShortest),
            (&[0x19, 0x00, 0xff], CborError::NotShortest),
            (&[0x1a, 0, 0, 0xff, 0xff], CborError::NotShortest),
            (&[0x1b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], CborError::NotShortest),
            (&[0x9f, 0xff], CborError::Reserved),
            (&[0xbf, 0xff], CborError::Reserved),
            (&[0x5f, 0xff], CborError::Reserved),
            (&[0xa2, 1, 0, 1, 0], CborError::KeyOrder),
            (&[0xa2, 2, 0, 1, 0], CborError::KeyOrder),
            (&[0x62, 0xff, 0xff], CborError::Text),
            (&[0xf8, 0x10], CborError::NotShortest),
            (&[0x00, 0x00], CborError::Rest),
        ];
        for (bytes, error) in cases {
            assert_eq!(check(bytes), Err(error), "{bytes:02x?}");
        }
    }

    #[test]
    fn deterministic_items_pass() {
        let cases: [&[u8]; 8] = [
            &[0x17],
            &[0x18, 0x18],
            &[0xa0],
            &[0xa3, 1, 0, 0x18, 24, 0, 0x20, 0x61, b'a'],
            &[0xc1, 0x00],
            &[0xf5],
            &[0xfb, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0x82, 0x41, 0xff, 0x81, 0xf6],
        ];
        for bytes in cases {
            assert_eq!(check(bytes), Ok(()), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_huge_count_ends_with_the_input() {
        assert_eq!(check(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Err(CborError::Cut));
        assert_eq!(check(&[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Err(CborError::Cut));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| [vec![0x81; depth], vec![0]].concat();
        assert_eq!(check(&nested(MAX_CBOR_DEPTH)), Ok(()));
        assert_eq!(check(&nested(MAX_CBOR_DEPTH + 1)), Err(CborError::Depth));
        assert_eq!(check(&vec![0x81; 1 << 16]), Err(CborError::Depth));
    }
}
