//! Durations and byte sizes as people write them: `15s`, `1h30m`, `64Mi`.
//!
//! Invariants: what [`format_duration`] and [`format_size`] write, [`parse_duration`] and [`parse_size`]
//! read back exactly, so the operator's file and the engine's view of it are the same.
//! It does not judge whether a value makes sense; `check` does. Test to read first: `durations_round_trip`.

use std::time::Duration;

use bytesize::ByteSize;

const UNITS_MS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const SIZE_UNITS: [(&str, u64); 8] = [
    ("Ti", bytesize::TIB),
    ("Gi", bytesize::GIB),
    ("Mi", bytesize::MIB),
    ("Ki", bytesize::KIB),
    ("T", bytesize::TB),
    ("G", bytesize::GB),
    ("M", bytesize::MB),
    ("k", bytesize::KB),
];

/// Reads `500ms`, `15s`, `5m`, `24h`, `7d` or a sum of them such as `1h30m`.
///
/// # Errors
/// A sentence that names the text and shows how to write a duration.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    duration_ms(text).map(Duration::from_millis).ok_or_else(|| {
        format!("`{text}` is not a duration: write whole numbers with a unit, such as 500ms, 15s, 5m, 24h, 7d or 1h30m")
    })
}

fn duration_ms(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        let factor = UNITS_MS.iter().find(|(name, _)| *name == unit)?.1;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        rest = next;
    }
    Some(total)
}

/// Writes a duration with the largest unit that is exact; parts of a millisecond are dropped.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".to_owned();
    }
    // Days are read but not written: 24h is how this file and Kubernetes write a day.
    for (unit, factor) in UNITS_MS.into_iter().skip(1) {
        if ms.is_multiple_of(factor) {
            return format!("{}{unit}", ms / factor);
        }
    }
    format!("{ms}ms")
}

/// Reads `65536`, `500M` (powers of 1000) or `64Mi` (powers of 1024).
///
/// # Errors
/// A sentence that names the text and shows how to write a size.
pub fn parse_size(text: &str) -> Result<ByteSize, String> {
    match text.trim().parse::<ByteSize>() {
        Ok(size) if size.as_u64() < u64::MAX => Ok(size),
        Ok(_) => Err(format!("`{text}` is larger than any file system")),
        Err(_) => Err(format!(
            "`{text}` is not a size: write bytes, or a number with k, M, G (powers of 1000) or Ki, Mi, Gi (powers of 1024)"
        )),
    }
}

/// Writes a size exactly, with the unit that makes it shortest.
#[must_use]
pub fn format_size(size: ByteSize) -> String {
    let bytes = size.as_u64();
    let mut shortest = bytes.to_string();
    for (unit, factor) in SIZE_UNITS {
        if bytes != 0 && bytes.is_multiple_of(factor) {
            let text = format!("{}{unit}", bytes / factor);
            if text.len() < shortest.len() {
                shortest = text;
            }
        }
    }
    shortest
}

/// `#[serde(with)]` of a [`Duration`].
pub(crate) mod duration {
    use std::{fmt, time::Duration};

    use serde::{Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::format_duration(*value))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        from.deserialize_any(Visitor)
    }

    struct Visitor;

    impl de::Visitor<'_> for Visitor {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as 500ms, 15s, 5m or 24h")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            super::parse_duration(text).map_err(E::custom)
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Duration, E> {
            Err(E::custom(format_args!("`{number}` has no unit: write {number}s for seconds, or ms, m, h, d")))
        }
    }
}

/// `#[serde(with)]` of an optional [`Duration`].
pub(crate) mod duration_option {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Inner(#[serde(with = "super::duration")] Duration);

    pub(crate) fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(duration) => super::duration::serialize(duration, to),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Inner>::deserialize(from)?.map(|inner| inner.0))
    }
}

/// `#[serde(with)]` of a [`ByteSize`].
pub(crate) mod size {
    use std::fmt;

    use bytesize::ByteSize;
    use serde::{Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(value: &ByteSize, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::format_size(*value))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ByteSize, D::Error> {
        from.deserialize_any(Visitor)
    }

    struct Visitor;

    impl de::Visitor<'_> for Visitor {
        type Value = ByteSize;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a size such as 65536, 500M or 64Mi")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
            super::parse_size(text).map_err(E::custom)
        }

        fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
            Ok(ByteSize::b(bytes))
        }
    }
}

/// `#[serde(with)]` of an optional [`ByteSize`].
pub(crate) mod size_option {
    use bytesize::ByteSize;
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Inner(#[serde(with = "super::size")] ByteSize);

    pub(crate) fn serialize<S: Serializer>(value: &Option<ByteSize>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(size) => super::size::serialize(size, to),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ByteSize>, D::Error> {
        Ok(Option::<Inner>::deserialize(from)?.map(|inner| inner.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_trip() {
        for text in ["0s", "500ms", "15s", "2m", "90m", "24h", "168h", "1500ms"] {
            let read = parse_duration(text).unwrap();
            assert_eq!(format_duration(read), text);
            assert_eq!(parse_duration(&format_duration(read)).unwrap(), read);
        }
        assert_eq!(parse_duration("7d").unwrap(), Duration::from_secs(604_800));
        assert_eq!(parse_duration("1h30m").unwrap(), Duration::from_secs(5_400));
        assert_eq!(parse_duration("1s500ms").unwrap(), Duration::from_millis(1_500));
    }

    #[test]
    fn a_text_that_is_no_duration_is_refused_with_examples() {
        for text in [
            "",
            "15",
            "s",
            "15 s",
            "-15s",
            "1.5h",
            "15S",
            "15sec",
            "1h30",
            "99999999999999d",
            "18446744073709551615s",
            "½h",
        ] {
            let message = parse_duration(text).unwrap_err();
            assert!(message.contains("1h30m"), "{text}: {message}");
        }
    }

    #[test]
    fn sizes_round_trip() {
        for text in ["0", "1", "1000001", "64Mi", "500M", "1Gi", "64Ki", "16k", "3Ti", "7T"] {
            let read = parse_size(text).unwrap();
            assert_eq!(format_size(read), text);
        }
        assert_eq!(parse_size("64M").unwrap().as_u64(), 64_000_000);
        assert_eq!(parse_size("64Mi").unwrap().as_u64(), 67_108_864);
        assert_eq!(parse_size("64 MiB").unwrap().as_u64(), 67_108_864);
        assert_eq!(parse_size("1.5Gi").unwrap().as_u64(), 1_610_612_736);
    }

    #[test]
    fn a_text_that_is_no_size_is_refused() {
        for text in ["", "-1", "many", "64Q", "99999999999E", "18446744073709551615", "1e30"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
