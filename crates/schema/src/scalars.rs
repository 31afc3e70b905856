//! Strings with a meaning: times, quantities and bytes. Each is checked, and brought into the one form that Go prints.
//!
//! Errors have Go's texts.

use api::{Quantity, Timestamp};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine, alphabet};

/// The canonical form of a string, `None` if it has it already.
pub(crate) type Canonical = Result<Option<String>, String>;

/// A `metav1.Time`: seconds, in UTC.
pub(crate) fn time(text: &str) -> Canonical {
    let layout = "2006-01-02T15:04:05Z07:00";
    let seconds = "0000-00-00T00:00:00Z".len();
    let parsed = point_in_time(text, layout, false)?;
    Ok((text.len() != seconds || !text.ends_with('Z')).then(|| parsed.to_string()))
}

/// A `metav1.MicroTime`: microseconds, in UTC.
pub(crate) fn micro_time(text: &str) -> Canonical {
    let parsed = point_in_time(text, "2006-01-02T15:04:05.000000Z07:00", true)?;
    Ok((!text.ends_with('Z')).then(|| parsed.to_micro_string()))
}

/// Reads RFC 3339, with a fraction of exactly six digits if `micros`, otherwise with or without one.
fn point_in_time(text: &str, layout: &str, micros: bool) -> Result<Timestamp, String> {
    let failed = |why: String| format!("parsing time {text:?} as {layout:?}: {why}");
    let no_match = |rest: &str, element: &str| failed(format!("cannot parse {rest:?} as {element:?}"));
    let mut rest = text;
    for element in ["2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05"] {
        let given = rest.get(..element.len()).unwrap_or_default();
        let matches = match element {
            "-" | "T" | ":" => given == element,
            _ => !given.is_empty() && given.bytes().all(|b| b.is_ascii_digit()),
        };
        if !matches {
            return Err(no_match(rest, element));
        }
        rest = &rest[element.len()..];
        let range = match element {
            "01" => Some(("month", 1, 12)),
            "02" => Some(("day", 1, 31)),
            "15" => Some(("hour", 0, 23)),
            "04" => Some(("minute", 0, 59)),
            "05" => Some(("second", 0, 59)),
            _ => None,
        };
        if let Some((name, least, most)) = range
            && !given.parse().is_ok_and(|value: u32| (least..=most).contains(&value))
        {
            return Err(format!("parsing time {text:?}: {name} out of range"));
        }
    }
    let fraction = match rest.strip_prefix('.') {
        Some(digits) => digits.bytes().take_while(u8::is_ascii_digit).count(),
        None => 0,
    };
    if micros && fraction < 6 {
        return Err(no_match(rest, ".000000"));
    }
    if fraction > 0 {
        rest = &rest[if micros { 7 } else { 1 + fraction }..];
    }
    if !is_zone(rest) {
        return Err(no_match(rest, "Z07:00"));
    }
    Timestamp::parse(text).ok_or_else(|| format!("parsing time {text:?}: day out of range"))
}

fn is_zone(text: &str) -> bool {
    match text.as_bytes() {
        b"Z" => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => {
            let number = |a: &u8, b: &u8| u32::from(a.wrapping_sub(b'0')) * 10 + u32::from(b.wrapping_sub(b'0'));
            [h1, h2, m1, m2].into_iter().all(u8::is_ascii_digit) && number(h1, h2) <= 24 && number(m1, m2) < 60
        }
        _ => false,
    }
}

/// A quantity, in its canonical form.
pub(crate) fn quantity(text: &str) -> Canonical {
    if is_small_quantity(text) {
        return Ok(None);
    }
    let Some(quantity) = Quantity::parse(text) else {
        return Err(quantity_error(text).to_owned());
    };
    let canonical = quantity.to_string();
    Ok((canonical != text).then_some(canonical))
}

/// Whether the text is one to three digits and a suffix, which has no other form: nearly every quantity is.
fn is_small_quantity(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let suffix = &text[digits..];
    let suffixes = ["", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "u", "n"];
    (1..=3).contains(&digits) && !text.starts_with('0') && suffixes.contains(&suffix)
}

fn quantity_error(text: &str) -> &'static str {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let suffix = unsigned.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let letters = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let exponent = letters.strip_prefix(['+', '-']).unwrap_or(letters);
    if suffix.len() < unsigned.len() && exponent.bytes().all(|b| b.is_ascii_digit()) && !suffix.is_empty() {
        return "unable to parse quantity's suffix";
    }
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
}

/// Bytes in base64. As in Go, line breaks are skipped.
pub(crate) fn bytes(text: &str) -> Canonical {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical);
    const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    let decoded =
        if text.contains(['\r', '\n']) { BASE64.decode(text.replace(['\r', '\n'], "")) } else { BASE64.decode(text) };
    let decoded = decoded.map_err(|error| {
        let at = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
            DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => text.len(),
        };
        format!("illegal base64 data at input byte {at}")
    })?;
    let canonical = BASE64.encode(decoded);
    Ok((canonical != text).then_some(canonical))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(canonical: fn(&str) -> Canonical, cases: &[(&str, &str)]) {
        for (text, expected) in cases {
            let result = match canonical(text) {
                Ok(changed) => changed.unwrap_or_else(|| (*text).to_owned()),
                Err(error) => error,
            };
            assert_eq!(result, *expected, "{text}");
        }
    }

    #[test]
    fn times_are_in_utc_and_to_the_second() {
        check(
            time,
            &[
                ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
                ("2026-01-02T03:04:05.999Z", "2026-01-02T03:04:05Z"),
                ("2026-01-02T03:04:05+01:00", "2026-01-02T02:04:05Z"),
                (
                    "yesterday",
                    r#"parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006""#,
                ),
                ("", r#"parsing time "" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "2006""#),
                (
                    "2026-01-02 03:04:05Z",
                    r#"parsing time "2026-01-02 03:04:05Z" as "2006-01-02T15:04:05Z07:00": cannot parse " 03:04:05Z" as "T""#,
                ),
                ("2026-13-02T03:04:05Z", r#"parsing time "2026-13-02T03:04:05Z": month out of range"#),
                ("2026-02-30T03:04:05Z", r#"parsing time "2026-02-30T03:04:05Z": day out of range"#),
                (
                    "2026-01-02T03:04:05",
                    r#"parsing time "2026-01-02T03:04:05" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00""#,
                ),
                (
                    "20é6-01-02T03:04:05Z",
                    r#"parsing time "20é6-01-02T03:04:05Z" as "2006-01-02T15:04:05Z07:00": cannot parse "20é6-01-02T03:04:05Z" as "2006""#,
                ),
            ],
        );
    }

    #[test]
    fn micro_times_have_six_digits() {
        check(
            micro_time,
            &[
                ("2026-01-02T03:04:05.000006Z", "2026-01-02T03:04:05.000006Z"),
                ("2026-01-02T03:04:05.000006+01:00", "2026-01-02T02:04:05.000006Z"),
                (
                    "2026-01-02T03:04:05Z",
                    r#"parsing time "2026-01-02T03:04:05Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000""#,
                ),
                (
                    "2026-01-02T03:04:05.1234567Z",
                    r#"parsing time "2026-01-02T03:04:05.1234567Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "7Z" as "Z07:00""#,
                ),
            ],
        );
    }

    #[test]
    fn quantities_are_canonical() {
        let format = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
        check(
            quantity,
            &[
                ("1000m", "1"),
                ("0.5", "500m"),
                ("1024Mi", "1Gi"),
                ("1", "1"),
                ("", format),
                ("one", format),
                ("1 Gi", format),
                ("1x", format),
                ("1KM", "unable to parse quantity's suffix"),
            ],
        );
    }

    #[test]
    fn bytes_are_base64() {
        check(
            bytes,
            &[
                ("aGk=", "aGk="),
                ("aG\nk=\n", "aGk="),
                ("", ""),
                ("aGl=", "aGk="),
                ("!!", "illegal base64 data at input byte 0"),
                ("aGk", "illegal base64 data at input byte 3"),
            ],
        );
    }
}
