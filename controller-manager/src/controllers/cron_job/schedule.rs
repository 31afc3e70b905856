//! When a cron schedule is due: five fields or a descriptor, in a time zone. Pure.
//!
//! As cron has it, days of the month and of the week are alternatives where both are given. A time that a change of
//! clocks leaves out is skipped; one that it repeats is due twice.

use api::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp as Instant, ToSpan};

/// A schedule that is not due for so long never is: there is no 30th of February.
const YEARS_MAX: i16 = 5;

#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// In whole seconds.
    Every(i64),
    Fields(Fields),
}

/// Sets of numbers, as bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Fields {
    minutes: u64,
    hours: u64,
    days: Days,
    months: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Days {
    of_month: u64,
    of_week: u64,
    /// One of them is any: then both have to match.
    both: bool,
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Schedule {
    pub fn parse(text: &str) -> Result<Schedule, String> {
        let text = text.trim();
        if let Some(every) = text.strip_prefix("@every ") {
            let seconds = duration(every).ok_or_else(|| format!("failed to parse duration {text}"))?;
            return Ok(Schedule::Every(seconds.max(1)));
        }
        let fields = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            _ if text.starts_with('@') => return Err(format!("unrecognized descriptor: {text}")),
            _ => text,
        };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let [minutes, hours, of_month, months, of_week] = fields[..] else {
            return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
        };
        let (minutes, _) = field(minutes, 0, 59, &[], 0)?;
        let (hours, _) = field(hours, 0, 23, &[], 0)?;
        let (of_month, any_day) = field(of_month, 1, 31, &[], 0)?;
        let (months, _) = field(months, 1, 12, MONTHS, 1)?;
        let (of_week, any_weekday) = field(of_week, 0, 6, WEEKDAYS, 0)?;
        let days = Days { of_month, of_week, both: any_day || any_weekday };
        Ok(Schedule::Fields(Fields { minutes, hours, days, months }))
    }

    /// The first time after another that it is due, if ever.
    pub fn after(&self, time: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Schedule::Every(seconds) => Some(Timestamp::from_unix_secs(time.unix_secs().checked_add(*seconds)?)),
            Schedule::Fields(fields) => fields.after(time, zone),
        }
    }
}

impl Fields {
    fn after(&self, time: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let minute = time.unix_secs().div_euclid(60) + 1;
        let mut now = Instant::from_second(minute.checked_mul(60)?).ok()?;
        let last_year = zone.to_datetime(now).year().checked_add(YEARS_MAX)?;
        loop {
            let local = zone.to_datetime(now);
            if local.year() > last_year {
                return None;
            }
            now = if !has(self.months, local.month()) {
                start_of(zone, local.date().first_of_month().checked_add(1.month()).ok()?.at(0, 0, 0, 0), now)?
            } else if !self.days.contain(local) {
                start_of(zone, local.date().tomorrow().ok()?.at(0, 0, 0, 0), now)?
            } else if !has(self.hours, local.hour()) {
                now.checked_add(SignedDuration::from_mins(60 - i64::from(local.minute()))).ok()?
            } else if !has(self.minutes, local.minute()) {
                now.checked_add(SignedDuration::from_mins(1)).ok()?
            } else {
                return Some(Timestamp::from_unix_secs(now.as_second()));
            };
        }
    }
}

impl Days {
    fn contain(&self, time: DateTime) -> bool {
        let of_month = has(self.of_month, time.day());
        let of_week = has(self.of_week, time.weekday().to_sunday_zero_offset());
        if self.both { of_month && of_week } else { of_month || of_week }
    }
}

fn has(set: u64, number: i8) -> bool {
    set >> number & 1 == 1
}

/// The instant of a local time, later than another.
fn start_of(zone: &TimeZone, local: DateTime, after: Instant) -> Option<Instant> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    let first = ambiguous.compatible().ok()?;
    if first > after { Some(first) } else { zone.to_ambiguous_timestamp(local).later().ok().filter(|at| *at > after) }
}

/// The numbers of a field, as bits, and whether it is any.
fn field(text: &str, low: u32, high: u32, names: &[&str], first: u32) -> Result<(u64, bool), String> {
    let number = |text: &str| -> Result<u32, String> {
        let name = names.iter().position(|name| *name == text.to_lowercase());
        let named = name.and_then(|at| u32::try_from(at).ok()).map(|at| at + first);
        named.or_else(|| text.parse().ok()).ok_or_else(|| format!("failed to parse int from {text}"))
    };
    let (mut set, mut any) = (0, false);
    for part in text.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let is_star = matches!(range, "*" | "?");
        let (start, end) = match range.split_once('-') {
            _ if is_star => (low, high),
            Some((start, end)) => (number(start)?, number(end)?),
            None if step.is_some() => (number(range)?, high),
            None => (number(range)?, number(range)?),
        };
        let step = step.map_or(Ok(1), number)?;
        if start < low || end > high || start > end || step == 0 {
            return Err(format!("range or step out of bounds: {part}"));
        }
        any |= is_star && step == 1;
        set |= (start..=end).step_by(step as usize).fold(0u64, |set, number| set | 1 << number);
    }
    Ok((set, any))
}

/// The whole seconds of a duration as Go writes it: `1h30m`.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut nanos = 0.0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| at + digits);
        let unit = match &rest[digits..unit_end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        nanos += number * unit;
        rest = &rest[unit_end..];
    }
    (!text.is_empty() && nanos.is_finite()).then_some((nanos / 1e9) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first times after a Thursday's noon that a schedule is due, in local time.
    fn due(schedule: &str, zone: &str, from: &str, count: usize) -> String {
        let zone = TimeZone::get(zone).expect("a zone");
        let schedule = Schedule::parse(schedule).expect("a schedule");
        let mut time = Timestamp::parse(from).expect("a time");
        let mut found = Vec::new();
        for _ in 0..count {
            let Some(next) = schedule.after(time, &zone) else { break };
            time = next;
            let local = Instant::from_second(next.unix_secs()).expect("a time").to_zoned(zone.clone());
            found.push(local.strftime("%m-%dT%H:%M%:z").to_string());
        }
        found.join(" ")
    }

    #[test]
    fn schedules_are_due_as_cron_has_it() {
        let noon = "2026-01-01T12:00:00Z";
        for (schedule, expected) in [
            ("*/20 * * * *", "01-01T12:20+00:00 01-01T12:40+00:00"),
            ("5,10 13 * * *", "01-01T13:05+00:00 01-01T13:10+00:00"),
            ("0 9-17/4 * * MON-fri", "01-01T13:00+00:00 01-01T17:00+00:00"),
            ("30 4 1,15 * 5", "01-02T04:30+00:00 01-09T04:30+00:00"),
            ("30 4 * * 5", "01-02T04:30+00:00 01-09T04:30+00:00"),
            ("30 4 15 * *", "01-15T04:30+00:00 02-15T04:30+00:00"),
            ("0 0 */10 * 1", "01-05T00:00+00:00 01-11T00:00+00:00"),
            ("0 12 1 1 *", "01-01T12:00+00:00 01-01T12:00+00:00"),
            ("0 0 29 Feb *", "02-29T00:00+00:00 02-29T00:00+00:00"),
            ("0 0 30 2 *", ""),
            ("@hourly", "01-01T13:00+00:00 01-01T14:00+00:00"),
            ("@weekly", "01-04T00:00+00:00 01-11T00:00+00:00"),
            ("@every 90s", "01-01T12:01+00:00 01-01T12:03+00:00"),
            ("@every 1h30m", "01-01T13:30+00:00 01-01T15:00+00:00"),
        ] {
            assert_eq!(due(schedule, "UTC", noon, 2), expected, "{schedule}");
        }
    }

    #[test]
    fn clocks_that_change_skip_and_repeat() {
        let zone = "Europe/Berlin";
        let spring = due("30 2 * * *", zone, "2026-03-28T12:00:00Z", 1);
        assert_eq!(spring, "03-30T02:30+02:00", "there is no such time on the 29th");
        let autumn = due("30 2 * * *", zone, "2026-10-24T12:00:00Z", 3);
        assert_eq!(autumn, "10-25T02:30+02:00 10-25T02:30+01:00 10-26T02:30+01:00");
        assert_eq!(due("0 9 * * *", zone, "2026-01-01T12:00:00Z", 1), "01-02T09:00+01:00");
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in
            ["", "* * * *", "60 * * * *", "* * 0 * *", "5-1 * * * *", "*/0 * * * *", "* * * * 7", "@never", "@every x"]
        {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
    }
}
