//! Formats of strings, as upstream's registry of formats checks them. Unknown ones hold for everything.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Whether a format is known for strings.
pub fn is_known(format: &str) -> bool {
    checker(format).is_some()
}

/// Whether a text is of a format; true for unknown formats.
pub fn holds(format: &str, text: &str) -> bool {
    checker(format).is_none_or(|check| check(text))
}

fn checker(format: &str) -> Option<fn(&str) -> bool> {
    Some(match format.replace('-', "").as_str() {
        "bsonobjectid" => |text| text.len() == 24 && is_hex(text),
        "uri" => uri,
        "email" => email,
        "hostname" => hostname,
        "ipv4" => ipv4,
        "ipv6" => ipv6,
        "cidr" => cidr,
        "mac" => mac,
        "uuid" => |text| uuid(text, None),
        "uuid3" => |text| uuid(text, Some('3')),
        "uuid4" => |text| uuid(text, Some('4')),
        "uuid5" => |text| uuid(text, Some('5')),
        "isbn" => |text| isbn10(text) || isbn13(text),
        "isbn10" => isbn10,
        "isbn13" => isbn13,
        "creditcard" => credit_card,
        "ssn" => ssn,
        "hexcolor" => hex_color,
        "rgbcolor" => rgb_color,
        "byte" => base64,
        "password" => |_| true,
        "date" => date,
        "datetime" => date_time,
        "duration" => duration,
        "k8sshortname" => dns_label,
        "k8slongname" => |text| text.len() <= 253 && text.split('.').all(dns_label_of_any_length),
        _ => return None,
    })
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn two_digits(text: &str) -> Option<u32> {
    (text.len() == 2 && is_digits(text)).then(|| text.parse().ok()).flatten()
}

fn date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts.as_slice() else { return false };
    let (Some(month), Some(day)) = (two_digits(month), two_digits(day)) else { return false };
    if year.len() != 4 || !is_digits(year) {
        return false;
    }
    let year: u32 = year.parse().unwrap_or(0);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return false,
    };
    (1..=days).contains(&day)
}

fn date_time(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let Some((day, time)) = lower.split_once('t') else { return false };
    let (Some(clock), Some(rest)) = (time.get(..8), time.get(8..)) else { return false };
    let parts: Vec<Option<u32>> = clock.split(':').map(two_digits).collect();
    let [Some(hours), Some(minutes), Some(seconds)] = parts.as_slice() else { return false };
    if *hours > 23 || *minutes > 59 || *seconds > 59 || !date(day) {
        return false;
    }
    let zone = match rest.strip_prefix(['.', ',']) {
        Some(fraction) => {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
        None => rest,
    };
    zone == "z"
        || zone.strip_prefix(['+', '-', '|']).is_some_and(|zone| {
            zone.split_once(':').is_some_and(|(h, m)| two_digits(h).is_some() && two_digits(m).is_some())
        })
}

fn email(text: &str) -> bool {
    let address = match text.split_once('<') {
        Some((_, rest)) => match rest.strip_suffix('>') {
            Some(address) => address,
            None => return false,
        },
        None => text.trim(),
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let atom = |c: char| c.is_alphanumeric() || "!#$%&'*+/=?^_`{|}~-".contains(c) || !c.is_ascii();
    let dotted =
        |text: &str| !text.is_empty() && text.split('.').all(|part| !part.is_empty() && part.chars().all(atom));
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let literal = domain.starts_with('[') && domain.ends_with(']');
    (quoted || dotted(local)) && (literal || dotted(domain))
}

fn hostname(text: &str) -> bool {
    let label = |label: &str| {
        let bytes = label.as_bytes();
        label.len() <= 63
            && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
    };
    text.len() <= 255 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

/// Leading zeros are taken, as upstream takes them.
fn ipv4(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let octet = |part: &&str| is_digits(part) && part.len() <= 10 && part.parse::<u64>().is_ok_and(|n| n <= 255);
    parts.len() == 4 && parts.iter().all(octet)
}

fn ipv6(text: &str) -> bool {
    text.contains(':') && text.parse::<Ipv6Addr>().is_ok()
}

fn cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let max = match () {
        () if ipv6(address) => Ipv6Addr::BITS,
        () if ipv4(address) => Ipv4Addr::BITS,
        () => return false,
    };
    is_digits(bits) && bits.parse::<u32>().is_ok_and(|bits| bits <= max)
}

fn mac(text: &str) -> bool {
    let groups = |separator: char, digits: usize, counts: &[usize]| {
        let parts: Vec<&str> = text.split(separator).collect();
        counts.contains(&parts.len()) && parts.iter().all(|part| part.len() == digits && is_hex(part))
    };
    groups(':', 2, &[6, 8, 20]) || groups('-', 2, &[6, 8, 20]) || groups('.', 4, &[3, 4, 10])
}

fn uri(text: &str) -> bool {
    if text.bytes().any(|b| b < b' ' || b == 0x7f) || text.is_empty() {
        return false;
    }
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    };
    let rest = match text.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => rest,
        _ if text.starts_with('/') => text,
        _ => return text == "*",
    };
    let escapes = text.match_indices('%').all(|(i, _)| text.get(i + 1..i + 3).is_some_and(is_hex));
    let host = rest.strip_prefix("//").map_or("", |rest| rest.split(['/', '?']).next().unwrap_or_default());
    let port = host.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
    escapes && !host.contains([' ', '<', '>', '"']) && port.is_none_or(|(_, port)| port.is_empty() || is_digits(port))
}

fn uuid(text: &str, version: Option<char>) -> bool {
    let plain: String = match text.len() {
        36 if [8, 13, 18, 23].iter().all(|&at| text.as_bytes()[at] == b'-') => text.replace('-', ""),
        32 => text.to_owned(),
        _ => return false,
    };
    let strict = matches!(version, Some('4' | '5'));
    plain.len() == 32
        && is_hex(&plain)
        && version.is_none_or(|version| plain.as_bytes()[12] == version as u8)
        && (!strict || b"89abAB".contains(&plain.as_bytes()[16]))
}

fn without_separators(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '-' | ' ')).collect()
}

fn isbn10(text: &str) -> bool {
    let text = without_separators(text);
    let Some((body, last)) = text.len().checked_sub(1).and_then(|at| text.split_at_checked(at)) else { return false };
    if text.len() != 10 || !is_digits(body) {
        return false;
    }
    let sum: u32 = (1..).zip(body.bytes()).map(|(weight, digit)| weight * u32::from(digit - b'0')).sum();
    let check = match last {
        "X" => 10,
        digit => digit.parse().unwrap_or(100),
    };
    (sum + 10 * check).is_multiple_of(11)
}

fn isbn13(text: &str) -> bool {
    let text = without_separators(text);
    if text.len() != 13 || !is_digits(&text) || !(text.starts_with("978") || text.starts_with("979")) {
        return false;
    }
    let weighted = text.bytes().enumerate().map(|(i, digit)| u32::from(digit - b'0') * if i % 2 == 0 { 1 } else { 3 });
    weighted.sum::<u32>().is_multiple_of(10)
}

fn credit_card(text: &str) -> bool {
    let digits = without_separators(text);
    if !is_digits(&digits) || !(13..=16).contains(&digits.len()) {
        return false;
    }
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, digit)| {
            let digit = u32::from(digit - b'0');
            match i % 2 {
                0 => digit,
                _ if digit > 4 => 2 * digit - 9,
                _ => 2 * digit,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

fn ssn(text: &str) -> bool {
    let plain: String = match text.as_bytes() {
        [_, _, _, b'-' | b' ', _, _, b'-' | b' ', ..] => without_separators(text),
        _ => text.to_owned(),
    };
    plain.len() == 9 && is_digits(&plain)
}

fn hex_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or(text);
    matches!(digits.len(), 3 | 6) && is_hex(digits)
}

fn rgb_color(text: &str) -> bool {
    let Some(inner) = text.strip_prefix("rgb(").and_then(|rest| rest.strip_suffix(')')) else { return false };
    let parts: Vec<&str> = inner.split(',').map(str::trim).collect();
    let plain = |part: &&str| part.len() == 1 || !part.starts_with('0');
    parts.len() == 3 && parts.iter().all(|part| plain(part) && is_digits(part) && part.parse::<u8>().is_ok())
}

fn base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !text.is_empty()
        && text.len().is_multiple_of(4)
        && text.len() - body.len() <= 2
        && body.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}

fn duration(text: &str) -> bool {
    go_duration(text) || long_duration(text)
}

fn go_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, after) = rest.split_at(digits);
        if number.matches('.').count() > 1 || !number.bytes().any(|b| b.is_ascii_digit()) {
            return false;
        }
        let units = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"];
        let ends = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        if !units.contains(&&after[..ends]) {
            return false;
        }
        rest = &after[ends..];
    }
    true
}

/// `3 days`, `1 week`.
fn long_duration(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit = text[digits..].trim();
    const UNITS: [&str; 31] = [
        "ns",
        "nano",
        "nanosec",
        "nanosecond",
        "nanoseconds",
        "us",
        "µs",
        "micro",
        "microsecond",
        "microseconds",
        "ms",
        "milli",
        "millisecond",
        "milliseconds",
        "s",
        "sec",
        "secs",
        "second",
        "seconds",
        "m",
        "min",
        "mins",
        "minute",
        "minutes",
        "h",
        "hr",
        "hour",
        "hours",
        "d",
        "day",
        "days",
    ];
    digits > 0 && (UNITS.contains(&unit) || matches!(unit, "w" | "week" | "weeks" | "wk"))
}

fn dns_label(text: &str) -> bool {
    text.len() <= 63 && dns_label_of_any_length(text)
}

fn dns_label_of_any_length(text: &str) -> bool {
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(plain) && bytes.last().is_some_and(plain) && bytes.iter().all(|b| plain(b) || *b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_from_what_only_looks_like_them() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            (
                "date-time",
                &["2024-01-02T03:04:05Z", "2024-01-02t03:04:05.123+02:00"],
                &["2024-01-02", "2024-13-01T00:00:00Z", "x"],
            ),
            ("date", &["2024-02-29"], &["2023-02-29", "2024-1-1"]),
            ("email", &["a@b.co", "Ann <a@b.co>"], &["nope", "a@", "@b"]),
            ("ipv4", &["1.2.3.4", "01.2.3.4"], &["1.2.3", "::1", "1.2.3.256"]),
            ("ipv6", &["::1"], &["1.2.3.4"]),
            ("cidr", &["10.0.0.0/8", "::/0"], &["10.0.0.0/33", "10.0.0.0"]),
            ("mac", &["01:23:45:67:89:ab", "01-23-45-67-89-ab", "0123.4567.89ab"], &["x", "01:23"]),
            ("uri", &["http://a/b", "/rel", "mailto:x"], &["::", "not a uri", ""]),
            ("uuid", &["6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6BA7B8109DAD11D180B400C04FD430C8"], &["x"]),
            ("uuid4", &["6ba7b810-9dad-41d1-80b4-00c04fd430c8"], &["6ba7b810-9dad-11d1-80b4-00c04fd430c8"]),
            ("isbn", &["0-306-40615-2", "9780306406157"], &["123"]),
            ("creditcard", &["4111111111111111"], &["4111111111111112"]),
            ("hexcolor", &["#ff00aa", "fff"], &["#gg0000"]),
            ("rgbcolor", &["rgb(1,2,3)"], &["rgb(300,0,0)"]),
            ("byte", &["aGVsbG8="], &["!!", "aGVsbG8", ""]),
            ("duration", &["1h30m", "3 days", "0"], &["1x", ""]),
            ("k8s-short-name", &["abc-1"], &["Abc", "-a"]),
            ("telephone", &["anything"], &[]),
        ];
        for (format, good, bad) in cases {
            for text in *good {
                assert!(holds(format, text), "{format} {text}");
            }
            for text in *bad {
                assert!(!holds(format, text), "{format} {text}");
            }
        }
    }
}
