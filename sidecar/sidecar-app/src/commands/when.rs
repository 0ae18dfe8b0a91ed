//! Times for people: Unix milliseconds as RFC 3339 in UTC, and back.
//!
//! Invariants: every number of milliseconds has a text, also one that a stranger wrote into a header; reading takes whole
//! seconds or milliseconds in UTC only (`2026-11-23T12:00:00Z`), or a day (`2026-11-23`, its first moment).
//! It knows no time zones and no leap seconds, and reads no clock. Test to read first: `times_come_back`.

const DAY_MS: i64 = 86_400_000;

/// The text of a time.
pub fn rfc3339(unix_ms: i64) -> String {
    let (days, rest) = (unix_ms.div_euclid(DAY_MS), unix_ms.rem_euclid(DAY_MS));
    let (year, month, day) = civil(days);
    let (hour, minute, second, ms) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60, rest % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Unix milliseconds of a text.
///
/// # Errors
/// What is expected, if the text is something else.
pub fn parse(text: &str) -> Result<i64, String> {
    read(text).ok_or_else(|| format!("`{text}` is no time in UTC: write 2026-11-23 or 2026-11-23T12:00:00Z"))
}

fn read(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let (time, ms) = match time.split_once('.') {
        Some((time, ms)) => (time, digits(ms, 3)?),
        None => (time, 0),
    };
    let [year, month, day] = three(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = three(time, ':', [2, 2, 2])?;
    let days = (month >= 1 && day >= 1).then(|| days_of(year, month, day))?;
    let exists = civil(days) == (year, month, day) && hour < 24 && minute < 60 && second < 60;
    exists.then(|| days * DAY_MS + hour * 3_600_000 + minute * 60_000 + second * 1_000 + ms)
}

fn three(text: &str, between: char, lens: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(between);
    let found = [digits(parts.next()?, lens[0])?, digits(parts.next()?, lens[1])?, digits(parts.next()?, lens[2])?];
    parts.next().is_none().then_some(found)
}

fn digits(text: &str, len: usize) -> Option<i64> {
    let good = text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit());
    if good { text.parse().ok() } else { None }
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar of all times. Years are counted from
/// March, so that a leap day is the last of its year; 400 years have 146,097 days.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day_of_year - (153 * from_march + 2) / 5 + 1)
}

/// The other way round, for years of four digits.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_436_196_123, "2026-11-23T12:16:36.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
            assert_eq!(parse(text), Ok(ms), "{text}");
        }
        assert_eq!(parse("2026-11-23"), Ok(1_795_392_000_000));
        assert_eq!(parse("2026-11-23T00:00:01Z"), Ok(1_795_392_001_000));
    }

    #[test]
    fn every_number_has_a_text() {
        assert_eq!(rfc3339(i64::MIN), "-292275055-05-16T16:47:04.192Z");
        assert_eq!(rfc3339(i64::MAX), "292278994-08-17T07:12:55.807Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "2026-02-29",
            "2026-13-01",
            "2026-00-01",
            "2026-1-1",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
