//! Points in time as the API writes them.

use std::fmt;
use std::time::Duration;

/// A point in time, in microseconds since 1970. Components receive `now` as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    micros: i64,
}

impl Timestamp {
    /// Reads the wall clock. Called at the edges only; pure code gets a `Timestamp`.
    pub fn now() -> Timestamp {
        Timestamp::from_jiff(jiff::Timestamp::now())
    }

    pub fn from_unix_secs(secs: i64) -> Timestamp {
        Timestamp { micros: secs.saturating_mul(1_000_000) }
    }

    pub fn unix_secs(self) -> i64 {
        self.micros.div_euclid(1_000_000)
    }

    pub fn unix_micros(self) -> i64 {
        self.micros
    }

    /// Reads RFC 3339, with or without a fraction.
    pub fn parse(text: &str) -> Option<Timestamp> {
        text.parse::<jiff::Timestamp>().ok().map(Timestamp::from_jiff)
    }

    /// As `metav1.MicroTime` writes it: `2026-01-02T03:04:05.000006Z`.
    pub fn to_micro_string(self) -> String {
        format!("{}.{:06}Z", self.seconds_text(), self.micros.rem_euclid(1_000_000))
    }

    /// Time since `earlier`, zero when `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.micros.saturating_sub(earlier.micros).try_into().unwrap_or(0))
    }

    pub fn plus(self, duration: Duration) -> Timestamp {
        Timestamp { micros: self.micros.saturating_add(duration.as_micros().try_into().unwrap_or(i64::MAX)) }
    }

    fn from_jiff(time: jiff::Timestamp) -> Timestamp {
        Timestamp { micros: time.as_microsecond() }
    }

    fn seconds_text(self) -> impl fmt::Display {
        let time = jiff::Timestamp::from_second(self.unix_secs()).unwrap_or(jiff::Timestamp::MIN);
        time.strftime("%Y-%m-%dT%H:%M:%S").to_string()
    }
}

impl fmt::Display for Timestamp {
    /// As `metav1.Time` writes it, to the second: `2026-01-02T03:04:05Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}Z", self.seconds_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_back() {
        let time = Timestamp::parse("2026-01-02T03:04:05.000006Z").expect("a time");
        assert_eq!(time.to_string(), "2026-01-02T03:04:05Z");
        assert_eq!(time.to_micro_string(), "2026-01-02T03:04:05.000006Z");
        assert_eq!(Timestamp::parse("yesterday"), None);
    }
}
