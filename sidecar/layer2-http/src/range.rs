//! Parts of a stored result: Range, If-Range and If-None-Match (RFC 9110 §13 and §14).
//!
//! Invariants: a Range that is malformed, of another unit, or of several parts is as if it were not there, as RFC 9110 §14.2
//! allows; a part is never empty and lies within the content; a weak validator never makes parts fit together. Test to read
//! first: `one_range_is_a_part_and_several_are_the_whole`.

use crate::fields::Fields;

/// What of the content is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selected {
    /// All of it: status 200.
    Whole,
    /// The octets from `first` to `last`, both included: status 206.
    Part {
        /// The first octet, from 0.
        first: u64,
        /// The last octet.
        last: u64,
    },
    /// Nothing that there is: status 416.
    Unsatisfiable,
    /// The caller has it: status 304.
    NotModified,
}

/// What a request for content of `length` octets with this strong ETag (in its quotes) selects.
#[must_use]
pub fn select(fields: &Fields, length: u64, etag: &str) -> Selected {
    if fields.contains("if-none-match") && none_match_fails(fields, etag) {
        return Selected::NotModified;
    }
    let mut ranges = fields.get_all("range");
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return Selected::Whole };
    if let Some(condition) = fields.get("if-range")
        && trim(condition) != etag.as_bytes()
    {
        // Another content, a weak validator, or a date, of which none is known here.
        return Selected::Whole;
    }
    std::str::from_utf8(range).map_or(Selected::Whole, |range| part(range, length))
}

fn none_match_fails(fields: &Fields, etag: &str) -> bool {
    fields.members("if-none-match").any(|member| {
        let tag = trim(member);
        tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag.as_bytes()
    })
}

/// One range of bytes (RFC 9110 §14.1.2).
fn part(range: &str, length: u64) -> Selected {
    let Some((unit, set)) = range.split_once('=') else { return Selected::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Selected::Whole;
    }
    let Some((first, last)) = set.trim().split_once('-') else { return Selected::Whole };
    if first.is_empty() {
        return number(last).map_or(Selected::Whole, |octets| suffix(octets, length));
    }
    let to = if last.is_empty() { Some(u64::MAX) } else { number(last) };
    match (number(first), to) {
        (Some(first), Some(to)) if first <= to && first < length => Selected::Part { first, last: to.min(length - 1) },
        (Some(first), Some(to)) if first <= to => Selected::Unsatisfiable,
        _ => Selected::Whole,
    }
}

/// The last octets.
const fn suffix(octets: u64, length: u64) -> Selected {
    if octets == 0 || length == 0 {
        return Selected::Unsatisfiable;
    }
    Selected::Part { first: length.saturating_sub(octets), last: length - 1 }
}

/// Digits; what is larger than any content is as large as can be.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

const fn trim(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ETAG: &str = "\"abc\"";

    fn selected(lines: &[(&str, &str)], length: u64) -> Selected {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.push(name.to_string(), value.to_string()).unwrap();
        }
        select(&fields, length, ETAG)
    }

    fn of(range: &str) -> Selected {
        selected(&[("range", range)], 100)
    }

    #[test]
    fn one_range_is_a_part_and_several_are_the_whole() {
        for (range, first, last) in [
            ("bytes=0-0", 0, 0),
            ("bytes=0-99", 0, 99),
            ("bytes=10-", 10, 99),
            ("bytes=10-1000", 10, 99),
            ("bytes=-1", 99, 99),
            ("bytes=-100", 0, 99),
            ("bytes=-99999999999999999999999999", 0, 99),
            ("Bytes=5-6", 5, 6),
        ] {
            assert_eq!(of(range), Selected::Part { first, last }, "{range}");
        }
        for range in [
            "bytes=0-1,5-6",
            "bytes=0-1,",
            "bytes=6-5",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=x-",
            "bytes=1-x",
            "items=0-1",
            "bytes=+1-2",
        ] {
            assert_eq!(of(range), Selected::Whole, "{range}");
        }
        assert_eq!(selected(&[("range", "bytes=0-1"), ("range", "bytes=0-1")], 100), Selected::Whole);
        assert_eq!(selected(&[], 100), Selected::Whole);
    }

    #[test]
    fn a_range_beyond_the_end_cannot_be_satisfied() {
        for range in ["bytes=100-", "bytes=100-200", "bytes=99999999999999999999-", "bytes=-0"] {
            assert_eq!(of(range), Selected::Unsatisfiable, "{range}");
        }
        assert_eq!(selected(&[("range", "bytes=0-")], 0), Selected::Unsatisfiable);
        assert_eq!(selected(&[("range", "bytes=-5")], 0), Selected::Unsatisfiable);
    }

    #[test]
    fn a_part_is_given_only_of_the_content_the_caller_has_the_rest_of() {
        let with = |condition| selected(&[("range", "bytes=1-2"), ("if-range", condition)], 100);
        assert_eq!(with(ETAG), Selected::Part { first: 1, last: 2 });
        for other in ["\"xyz\"", "W/\"abc\"", "Wed, 21 Oct 2015 07:28:00 GMT", ""] {
            assert_eq!(with(other), Selected::Whole, "{other}");
        }
    }

    #[test]
    fn who_has_it_gets_nothing() {
        for value in [ETAG, "W/\"abc\"", "*", "\"x\", \"abc\""] {
            assert_eq!(
                selected(&[("if-none-match", value), ("range", "bytes=0-1")], 100),
                Selected::NotModified,
                "{value}"
            );
        }
        assert_eq!(selected(&[("if-none-match", "\"x\"")], 100), Selected::Whole);
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_content(range in "(bytes=)?[0-9]{0,20}-?[0-9]{0,20}", length in 0_u64..1_000) {
            if let Selected::Part { first, last } = selected(&[("range", &range)], length) {
                prop_assert!(first <= last && last < length);
            }
        }
    }
}
