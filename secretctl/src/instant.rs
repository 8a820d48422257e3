//! Durations and instants as people write and read them.
//!
//! Durations as Go and Docker have them (`1h30m`, `500ms`; a unit always), instants as RFC 3339 in
//! UTC. Not here: asking for the time, but in [`now`].

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto::id::Timestamp;

/// Seconds of a day.
const DAY: u64 = 86_400;

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(millis(since))
}

/// Milliseconds of a duration, as messages carry it.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Units and their milliseconds, longest name first where one begins like another.
const UNITS: &[(&str, u64)] =
    &[("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("d", DAY * 1_000)];

/// Reads `1h30m`, `15s`, `500ms`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a duration such as 10s, 500ms or 1h30m, not `{text}`");
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (digits, tail) = rest.split_at_checked(unit_at).ok_or_else(wrong)?;
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        let (tail, unit) = UNITS
            .iter()
            .find_map(|(name, unit)| tail.strip_prefix(name).map(|tail| (tail, unit)))
            .ok_or_else(wrong)?;
        total =
            number.checked_mul(*unit).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        rest = tail;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_millis(total)) }
}

/// A duration as it is written.
pub(crate) fn format_duration(ms: u64) -> String {
    let (whole, rest) = (ms / 1_000, ms % 1_000);
    if ms == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (unit, size, of) in [("d", DAY, u64::MAX), ("h", 3_600, 24), ("m", 60, 60), ("s", 1, 60)] {
        let count = whole / size % of;
        if count > 0 {
            write!(text, "{count}{unit}").ok();
        }
    }
    if rest > 0 {
        write!(text, "{rest}ms").ok();
    }
    text
}

/// How long ago, in one unit, as `docker … ls` says it.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    if at.0 == 0 {
        return "never".into();
    }
    let in_future = at > now;
    let seconds = now.0.abs_diff(at.0) / 1_000;
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..DAY => (seconds / 3_600, "hour"),
        _ => (seconds / DAY, "day"),
    };
    let s = if count == 1 { "" } else { "s" };
    if in_future { format!("in {count} {unit}{s}") } else { format!("{count} {unit}{s} ago") }
}

/// The day since 1970-01-01 of a date (Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `days_from_civil`); none before it.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let month_shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

/// Reads an instant in UTC: `2026-01-31`, `2026-01-31T12:00:00Z`, with or without a fraction.
fn parse_instant(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
    let numbers = |text: &str, separator: char, widths: [usize; 3]| -> Option<[u64; 3]> {
        let parts: Vec<&str> = text.split(separator).collect();
        let parts: [&str; 3] = parts.try_into().ok()?;
        let mut numbers = [0; 3];
        for ((number, part), width) in numbers.iter_mut().zip(parts).zip(widths) {
            if part.len() != width || !part.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            *number = part.parse().ok()?;
        }
        Some(numbers)
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let time = time.strip_suffix('Z')?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let fits = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
        && (1..=9).contains(&fraction.len())
        && fraction.bytes().all(|b| b.is_ascii_digit());
    if !fits {
        return None;
    }
    let ms: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let seconds = days(year, month, day)? * DAY + hour * 3_600 + minute * 60 + second;
    Some(Timestamp(seconds * 1_000 + ms))
}

/// Reads a point in the past: a duration back from now, or an instant.
pub(crate) fn parse_since(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Some(instant) = parse_instant(text) {
        return Ok(instant);
    }
    let back = parse_duration(text).map_err(|_| {
        format!("expected a duration such as 10m, or an instant such as 2026-01-31T12:00:00Z, not `{text}`")
    })?;
    Ok(Timestamp(now.0.saturating_sub(millis(back))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, ms) in [
            ("10s", 10_000),
            ("500ms", 500),
            ("1h30m", 5_400_000),
            ("0s", 0),
            ("1m1ms", 60_001),
            ("2d", 172_800_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(parse_duration(&format_duration(ms)), Ok(Duration::from_millis(ms)));
        }
        for bad in ["", "10", "s", "-1s", "1x", "1 s", "99999999999999999999s", "1.5s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert_eq!(format_duration(90_061_000), "1d1h1m1s");
    }

    #[test]
    fn instants_survive_their_text() {
        for (text, ms) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2000-02-29T12:34:56.789Z", 951_827_696_789),
            ("2026-12-31T23:59:59.999Z", 1_798_761_599_999),
        ] {
            assert_eq!(Timestamp(ms).to_rfc3339(), text);
            assert_eq!(parse_instant(text), Some(Timestamp(ms)), "{text}");
        }
        assert_eq!(parse_instant("2000-03-01"), Some(Timestamp(951_868_800_000)));
        assert_eq!(parse_instant("2000-03-01T00:00:00Z"), Some(Timestamp(951_868_800_000)));
        assert_eq!(parse_instant("2000-03-01T00:00:00.5Z"), Some(Timestamp(951_868_800_500)));
        for bad in ["", "2000", "2000-13-01", "2000-01-01T25:00:00Z", "2000-01-01T00:00:00", "1m"] {
            assert_eq!(parse_instant(bad), None, "{bad}");
        }
    }

    #[test]
    fn since_is_either() {
        let now = Timestamp(1_000_000);
        assert_eq!(parse_since("10s", now), Ok(Timestamp(990_000)));
        assert_eq!(parse_since("1970-01-01T00:00:01Z", now), Ok(Timestamp(1_000)));
        assert!(parse_since("yesterday", now).is_err());
    }

    #[test]
    fn ages_are_told_in_one_unit() {
        let now = Timestamp(10 * DAY * 1_000);
        let back = |seconds: u64| ago(Timestamp(now.0 - seconds * 1_000), now);
        assert_eq!(back(1), "1 second ago");
        assert_eq!(back(119), "1 minute ago");
        assert_eq!(back(7_200), "2 hours ago");
        assert_eq!(back(2 * DAY), "2 days ago");
        assert_eq!(ago(Timestamp(now.0 + 3_600_000), now), "in 1 hour");
        assert_eq!(ago(Timestamp(0), now), "never");
    }
}
