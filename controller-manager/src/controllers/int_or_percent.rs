//! Counts of pods that users give as a number or as a share of all. Pure.

use serde_json::Value;

/// The most that the API lets a number of pods be.
pub const COUNT_MAX: i64 = i32::MAX as i64;

/// Where a share is no whole number.
#[derive(Clone, Copy)]
pub enum Rounding {
    Up,
    Down,
}

/// A number, or a percentage of `total`.
pub fn scaled(value: &Value, total: i64, rounding: Rounding) -> i64 {
    let percent = value.as_str().and_then(|text| text.strip_suffix('%')).and_then(|p| p.parse::<i64>().ok());
    let given = match (value.as_i64(), percent) {
        (Some(number), _) => number,
        (None, Some(percent)) => {
            let hundredfold = percent.saturating_mul(total);
            let up = matches!(rounding, Rounding::Up) && hundredfold % 100 > 0;
            hundredfold.div_euclid(100) + i64::from(up)
        }
        (None, None) => 0,
    };
    given.min(COUNT_MAX)
}
