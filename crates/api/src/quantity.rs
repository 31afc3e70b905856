//! Resource quantities: `100m`, `1.5Gi`, `2e3`. Exact to a billionth, canonical as upstream prints them.

use std::cmp::Ordering;
use std::fmt;

/// How a quantity is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `n u m "" k M G T P E`
    Decimal,
    /// `Ki Mi Gi Ti Pi Ei`
    Binary,
    /// `e3`
    Exponent,
}

const NANOS: i128 = 1_000_000_000;
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

/// A number of cores, bytes or things, held in billionths.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

impl Quantity {
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::Decimal };

    /// Reads a quantity; `None` for what upstream refuses. Finer than a billionth is rounded up.
    pub fn parse(text: &str) -> Option<Quantity> {
        let digits_end = text
            .char_indices()
            .find(|&(i, c)| !(c.is_ascii_digit() || c == '.' || (i == 0 && (c == '+' || c == '-'))))
            .map_or(text.len(), |(i, _)| i);
        let (number, suffix) = text.split_at(digits_end);
        let (mantissa, fraction_digits) = parse_number(number)?;
        let (exponent10, exponent2, format) = parse_suffix(suffix)?;
        let scaled = mantissa.checked_mul(1i128.checked_shl(exponent2)?)?;
        let nanos = scale10(scaled, exponent10 + 9 - fraction_digits)?;
        Some(Quantity { nanos, format })
    }

    /// Thousandths, rounded up: how CPU is counted.
    pub fn millis(self) -> i64 {
        clamp(div_up(self.nanos, NANOS / 1000))
    }

    /// Whole units, rounded up: how memory and counts are counted.
    pub fn units(self) -> i64 {
        clamp(div_up(self.nanos, NANOS))
    }

    pub fn from_units(units: i64) -> Quantity {
        Quantity { nanos: i128::from(units) * NANOS, format: Format::Decimal }
    }

    /// A number of bytes, printed with binary suffixes.
    pub fn from_bytes(bytes: i64) -> Quantity {
        Quantity { nanos: i128::from(bytes) * NANOS, format: Format::Binary }
    }

    pub fn from_millis(millis: i64) -> Quantity {
        Quantity { nanos: i128::from(millis) * (NANOS / 1000), format: Format::Decimal }
    }

    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Near enough, for ratios.
    pub fn as_f64(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than a float holds")]
        let nanos = self.nanos as f64;
        nanos / 1e9
    }

    /// What is left of this after another, in this quantity's format; saturating.
    pub fn minus(self, other: Quantity) -> Quantity {
        Quantity { nanos: self.nanos.saturating_sub(other.nanos), format: self.format }
    }

    /// The sum, in this quantity's format unless it is zero; saturating.
    pub fn plus(self, other: Quantity) -> Quantity {
        let format = if self.is_zero() { other.format } else { self.format };
        Quantity { nanos: self.nanos.saturating_add(other.nanos), format }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl fmt::Display for Quantity {
    /// The canonical form: no fraction, the largest suffix that allows it. Binary falls back to decimal below 1 Ki
    /// or with a fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.nanos % NANOS == 0;
        let binary = self.format == Format::Binary && whole && self.nanos.abs() >= 1024 * NANOS;
        if binary {
            let units = self.nanos / NANOS;
            let fitting = BINARY.iter().rev().find(|(_, shift)| units % (1i128 << shift) == 0);
            return match fitting {
                Some((suffix, shift)) => write!(f, "{}{suffix}", units >> shift),
                None => write!(f, "{units}"),
            };
        }
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let (suffix, power) = DECIMAL
            .iter()
            .rev()
            .map(|&(suffix, exponent)| (suffix, exponent, 10i128.pow((exponent + 9).unsigned_abs())))
            .find_map(|(suffix, exponent, unit)| (self.nanos % unit == 0).then_some(((suffix, exponent), unit)))
            .unwrap_or((("n", -9), 1));
        let number = self.nanos / power;
        match (self.format, suffix) {
            (Format::Exponent, ("", _)) | (Format::Decimal | Format::Binary, ("", _)) => write!(f, "{number}"),
            (Format::Exponent, (_, exponent)) => write!(f, "{number}e{exponent}"),
            (Format::Decimal | Format::Binary, (suffix, _)) => write!(f, "{number}{suffix}"),
        }
    }
}

/// A signed decimal number as (digits without the point, digits after the point).
fn parse_number(text: &str) -> Option<(i128, i32)> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || digits.len() > 30 {
        return None;
    }
    let mantissa: i128 = format!("0{whole}{fraction}").parse().ok()?;
    Some((if negative { -mantissa } else { mantissa }, i32::try_from(fraction.len()).ok()?))
}

/// (power of ten, power of two, format)
fn parse_suffix(suffix: &str) -> Option<(i32, u32, Format)> {
    if let Some((_, exponent)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
        return Some((*exponent, 0, Format::Decimal));
    }
    if let Some((_, shift)) = BINARY.iter().find(|(s, _)| *s == suffix) {
        return Some((0, *shift, Format::Binary));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    (-18..=18).contains(&exponent).then_some((exponent, 0, Format::Exponent))
}

fn scale10(value: i128, power: i32) -> Option<i128> {
    let factor = 10i128.checked_pow(power.unsigned_abs())?;
    if power >= 0 { value.checked_mul(factor) } else { Some(div_up(value, factor)) }
}

/// Division that rounds away from zero, as upstream scales quantities.
fn div_up(value: i128, by: i128) -> i128 {
    let rest = value % by;
    value / by + if rest == 0 { 0 } else { rest.signum() }
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_print_canonically() {
        let cases = [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1500Mi", "1500Mi"),
            ("0", "0"),
            ("100", "100"),
            ("1e3", "1e3"),
            ("2000", "2k"),
            ("1.5Gi", "1536Mi"),
            ("0.1Ki", "102400m"),
            ("128974848", "128974848"),
            ("-1", "-1"),
            ("1E", "1E"),
            ("100Ki", "100Ki"),
            ("512", "512"),
            (".5", "500m"),
            ("5.", "5"),
            ("0.0000000001", "1n"),
        ];
        for (text, expected) in cases {
            assert_eq!(Quantity::parse(text).expect(text).to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for bad in ["", "a", "1x", "1.2.3", "--1", "1 Gi", "1KiB", ".", "e3"] {
            assert!(Quantity::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn counting_rounds_up() {
        let quantity = |text| Quantity::parse(text).expect("a quantity");
        assert_eq!(quantity("100m").millis(), 100);
        assert_eq!(quantity("100u").millis(), 1);
        assert_eq!(quantity("1.2").units(), 2);
        assert!(quantity("1Gi") > quantity("1G"));
    }
}
