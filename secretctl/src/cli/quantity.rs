//! Quantities as Docker's options take them: processors, bytes, ratios, preferences.
//!
//! Not here: durations (`instant`), which managers have a bound.
//!
//! Invariant: what is read is exact; what cannot be is refused, not rounded.

/// Parts of one that a decimal fraction may have, and how many digits that is.
const NANO: (u64, usize) = (1_000_000_000, 9);
const MILLIONTH: (u64, usize) = (1_000_000, 6);

/// Reads a decimal number as a whole number of parts.
fn parts(text: &str, (of_one, digits): (u64, usize)) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || whole.len() + fraction.len() == 0 {
        return None;
    }
    if fraction.len() > digits {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: u64 = format!("{fraction:0<digits$}").parse().ok()?;
    whole.checked_mul(of_one)?.checked_add(fraction)
}

/// Billionths of a processor.
pub(crate) fn parse_cpus(text: &str) -> Result<u64, String> {
    parts(text, NANO).ok_or_else(|| format!("expected a number such as 0.5 or 2, not `{text}`"))
}

/// Millionths of all.
pub(crate) fn parse_ratio(text: &str) -> Result<u32, String> {
    let millionths = parts(text, MILLIONTH).and_then(|parts| u32::try_from(parts).ok());
    millionths
        .filter(|millionths| *millionths <= 1_000_000)
        .ok_or_else(|| format!("expected a number from 0 to 1, not `{text}`"))
}

/// Bytes; `k`, `m`, `g` and `t` are powers of 1024, as in Docker.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let number = lower.strip_suffix('b').unwrap_or(&lower);
    let units = [("k", 10), ("m", 20), ("g", 30), ("t", 40)];
    let with_unit =
        units.iter().find_map(|(unit, shift)| Some((number.strip_suffix(unit)?, 1_u64 << shift)));
    let (digits, unit) = with_unit.unwrap_or((number, 1));
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    bytes
        .filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))
        .ok_or_else(|| format!("expected a number of bytes such as 512m or 2g, not `{text}`"))
}

/// What to spread over, as specs have it.
pub(crate) fn parse_preference(text: &str) -> Result<String, String> {
    let over = text.strip_prefix("spread=").map(str::trim);
    let labelled =
        |over: &&str| over.strip_prefix("node.labels.").is_some_and(|key| !key.is_empty());
    over.filter(labelled)
        .map(str::to_owned)
        .ok_or_else(|| format!("expected spread=node.labels.KEY, not `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_exact() {
        assert_eq!(parse_cpus("0.5"), Ok(500_000_000));
        assert_eq!(parse_cpus("2"), Ok(2_000_000_000));
        assert_eq!(parse_cpus(".000000001"), Ok(1));
        for bad in ["", ".", "-1", "1e3", "0.0000000001", "99999999999999", "1,5"] {
            assert!(parse_cpus(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ratios_are_from_nothing_to_all() {
        assert_eq!(parse_ratio("0"), Ok(0));
        assert_eq!(parse_ratio("0.25"), Ok(250_000));
        assert_eq!(parse_ratio("1"), Ok(1_000_000));
        for bad in ["1.000001", "-0.1", "half", "4295"] {
            assert!(parse_ratio(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_have_dockers_units() {
        assert_eq!(parse_bytes("100"), Ok(100));
        assert_eq!(parse_bytes("512M"), Ok(512 << 20));
        assert_eq!(parse_bytes("2gb"), Ok(2 << 30));
        for bad in ["", "m", "1.5g", "+1", "-1", "99999999999t", "1x"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn preferences_spread_over_labels() {
        assert_eq!(parse_preference("spread=node.labels.zone"), Ok("node.labels.zone".into()));
        for bad in ["node.labels.zone", "spread=node.labels.", "spread=node.hostname", ""] {
            assert!(parse_preference(bad).is_err(), "{bad}");
        }
    }
}
