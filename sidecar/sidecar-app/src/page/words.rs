//! Numbers, times and targets as people read them.
//!
//! Invariants: a target is shown without its query, fragment and credentials; every number has a text. It reads no clock.
//! Test to read first: `queries_and_credentials_are_never_shown`.

/// Octets with a unit.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1_024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1_024.0;
    for unit in UNITS {
        // What would be rounded up to 1024 belongs to the next unit.
        if value < 1_023.5 || unit == "EiB" {
            return if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") };
        }
        value /= 1_024.0;
    }
    format!("{count} B")
}

/// Octets per second.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is neither negative nor near 2^63")]
pub(super) fn rate(bytes_per_second: f64) -> String {
    format!("{}/s", bytes(bytes_per_second.max(0.0).round() as u64))
}

/// A count with its thousands apart.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// So many of a thing.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A duration.
pub(super) fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms} ms"),
        1..=9 => format!("{seconds}.{} s", ms % 1_000 / 100),
        10..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A duration in milliseconds with a fraction.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a duration is neither negative nor near 2^63"
)]
pub(super) fn span_of(ms: f64) -> String {
    if ms < 10.0 { format!("{ms:.1} ms") } else { span(ms.max(0.0).round() as u64) }
}

/// A moment as `2026-11-23 12:00:00 UTC`.
pub(super) fn moment(unix_ms: u64) -> String {
    let text = crate::commands::when::rfc3339(i64::try_from(unix_ms).unwrap_or(i64::MAX));
    let seconds = text.split('.').next().unwrap_or(&text);
    format!("{} UTC", seconds.replace('T', " "))
}

/// How much of a target is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Up to its path.
    Path,
    /// Scheme, host and port.
    Origin,
}

/// Characters of a target that are shown.
const TARGET_MAX: usize = 200;

/// A target without its query, fragment and credentials.
pub(super) fn target(target: &str, shown: Shown) -> String {
    let end = target.find(['?', '#']).unwrap_or(target.len());
    let bare = target.get(..end).unwrap_or_default();
    let (scheme, rest) = bare.split_once("://").map_or(("", bare), |(scheme, rest)| (scheme, rest));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    let path = match shown {
        Shown::Path => path,
        Shown::Origin => "",
    };
    let text = if scheme.is_empty() { format!("{host}{path}") } else { format!("{scheme}://{host}{path}") };
    if text.chars().count() <= TARGET_MAX {
        return text;
    }
    text.chars().take(TARGET_MAX).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_and_credentials_are_never_shown() {
        for (full, path, origin) in [
            ("https://a.example:8443/b/c?token=secret#x", "https://a.example:8443/b/c", "https://a.example:8443"),
            ("https://user:secret@a.example/b", "https://a.example/b", "https://a.example"),
            ("https://user:p@ss@a.example", "https://a.example", "https://a.example"),
            ("https://a.example?secret@b/c", "https://a.example", "https://a.example"),
            ("a.example:443", "a.example:443", "a.example:443"),
            ("user:secret@a.example:443", "a.example:443", "a.example:443"),
            ("http://[::1]:80/x@y", "http://[::1]:80/x@y", "http://[::1]:80"),
            ("", "", ""),
        ] {
            assert_eq!(target(full, Shown::Path), path);
            assert_eq!(target(full, Shown::Origin), origin);
        }
        let long = format!("http://a.example/{}", "é".repeat(500));
        assert_eq!(target(&long, Shown::Path).chars().count(), TARGET_MAX + 1);
    }

    #[test]
    fn sizes_have_three_digits_at_most_and_a_unit() {
        for (count, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (10_240, "10 KiB"),
            (1_048_575, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(rate(-0.0), "0 B/s");
    }

    #[test]
    fn counts_and_spans_are_read_at_a_glance() {
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(counted(1, "record", "records"), "1 record");
        assert_eq!(counted(2_000, "record", "records"), "2\u{202f}000 records");
        for (ms, text) in [(5, "5 ms"), (1_500, "1.5 s"), (61_000, "61 s"), (600_000, "10 min"), (8 * 3_600_000, "8 h")]
        {
            assert_eq!(span(ms), text);
        }
        assert_eq!(span_of(1.26), "1.3 ms");
        assert_eq!(moment(0), "1970-01-01 00:00:00 UTC");
    }
}
