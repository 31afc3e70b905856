//! Numbers as Go sees and prints them.

use serde_json::Number;

/// The greatest whole number that every reader of JSON takes as it is.
const JSON_INTEGER_MAX: f64 = 9_007_199_254_740_991.0;

/// A number of a body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Go {
    Int(i64),
    Float(f64),
}

impl Go {
    pub fn of(number: &Number) -> Go {
        match number.as_i64() {
            Some(int) => Go::Int(int),
            None => Go::Float(number.as_f64().unwrap_or(f64::INFINITY)),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "as upstream compares them")]
    pub fn as_f64(self) -> f64 {
        match self {
            Go::Int(int) => int as f64,
            Go::Float(float) => float,
        }
    }

    /// Whether it is a whole number to JSON.
    pub fn is_whole(self) -> bool {
        match self {
            Go::Int(_) => true,
            Go::Float(float) => is_json_integer(float),
        }
    }

    pub fn fits_i64(self) -> bool {
        match self {
            Go::Int(_) => true,
            Go::Float(float) => float.fract() == 0.0 && float.abs() < 9_223_372_036_854_775_808.0,
        }
    }

    pub fn fits_i32(self) -> bool {
        self.fits_i64() && self.as_f64() >= f64::from(i32::MIN) && self.as_f64() <= f64::from(i32::MAX)
    }

    pub fn fits_f32(self) -> bool {
        self.as_f64().abs() <= f64::from(f32::MAX)
    }
}

pub fn is_json_integer(float: f64) -> bool {
    if !float.is_finite() || float.abs() > JSON_INTEGER_MAX {
        return false;
    }
    let whole = float.trunc();
    let difference = (float - whole).abs();
    difference == 0.0 || difference / (float.abs() + whole.abs()) < 1e-9
}

/// Whether a number is a multiple of another that is greater than zero.
pub fn is_multiple(number: f64, of: f64) -> bool {
    is_json_integer(if of < 1.0 { 1.0 / of * number } else { number / of })
}

/// As `%v` prints it.
pub fn shown(float: f64) -> String {
    let size = float.abs();
    if float == 0.0 || (1e-4..1e21).contains(&size) {
        return format!("{float}");
    }
    let text = format!("{float:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(("+", exponent), |exponent| ("-", exponent));
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}
