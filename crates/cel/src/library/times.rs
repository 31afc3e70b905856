//! Parts of timestamps and durations.

use super::Row;
use crate::context::{Context, Fault};
use crate::value::Value;
use jiff::tz::{Offset, TimeZone};

const OF_TIME: &[&str] = &["timestamp.() int", "timestamp.(string) int"];
const OF_BOTH: &[&str] = &["timestamp.() int", "timestamp.(string) int", "duration.() int"];

pub(super) const ROWS: &[Row] = &[
    ("getFullYear", |args, _| part(args, |time| i64::from(time.year())), OF_TIME),
    ("getMonth", |args, _| part(args, |time| i64::from(time.month()) - 1), OF_TIME),
    ("getDayOfYear", |args, _| part(args, |time| i64::from(time.day_of_year()) - 1), OF_TIME),
    ("getDayOfMonth", |args, _| part(args, |time| i64::from(time.day()) - 1), OF_TIME),
    ("getDate", |args, _| part(args, |time| i64::from(time.day())), OF_TIME),
    ("getDayOfWeek", |args, _| part(args, |time| i64::from(time.weekday().to_sunday_zero_offset())), OF_TIME),
    ("getHours", |args, _| either(args, 3_600_000_000_000, |time| i64::from(time.hour())), OF_BOTH),
    ("getMinutes", |args, _| either(args, 60_000_000_000, |time| i64::from(time.minute())), OF_BOTH),
    ("getSeconds", |args, _| either(args, 1_000_000_000, |time| i64::from(time.second())), OF_BOTH),
    ("getMilliseconds", milliseconds, OF_BOTH),
];

fn part<'a>(args: &[Value<'a>], part: fn(&jiff::Zoned) -> i64) -> Result<Value<'a>, Fault> {
    let Value::Timestamp(time) = &args[0] else { return Err(Fault::no_overload()) };
    let zone = match args.get(1) {
        None => TimeZone::UTC,
        Some(Value::String(name)) => zone(name).ok_or_else(|| Fault::new(format!("unknown time zone {}", &**name)))?,
        Some(_) => return Err(Fault::no_overload()),
    };
    Ok(Value::Int(part(&time.to_zoned(zone))))
}

/// A zone by name, or as `+01:30`.
fn zone(name: &str) -> Option<TimeZone> {
    let Some((hours, minutes)) = name.split_once(':') else {
        return if name.is_empty() || name == "UTC" { Some(TimeZone::UTC) } else { TimeZone::get(name).ok() };
    };
    let (negative, digits) = match hours.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, hours.strip_prefix('+').unwrap_or(hours)),
    };
    let seconds = digits.parse::<i32>().ok()?.checked_mul(3600)? + minutes.parse::<i32>().ok()?.checked_mul(60)?;
    Some(TimeZone::fixed(Offset::from_seconds(if negative { -seconds } else { seconds }).ok()?))
}

fn either<'a>(args: &[Value<'a>], unit: i64, of_time: fn(&jiff::Zoned) -> i64) -> Result<Value<'a>, Fault> {
    match &args[0] {
        Value::Duration(nanos) => Ok(Value::Int(nanos / unit)),
        _ => part(args, of_time),
    }
}

fn milliseconds<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    either(args, 1_000_000, |time| i64::from(time.subsec_nanosecond() / 1_000_000))
}
