//! What became slower since another report. Pure.

use super::book::{Book, Row};
use std::collections::BTreeMap;

/// Below this share, two runs of the same differ by chance. Tails and short runs differ more.
const NOISE: f64 = 0.15;
const NOISE_OF_TAILS: f64 = 0.5;

/// Differences below these are the clock's: CPU is told in hundredths of a second.
const LEAST: [(&str, f64); 4] = [("ms", 0.3), ("µs", 1.0), ("s", 0.1), ("MB", 1.0)];

/// One figure that differs by more than chance.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub name: String,
    pub unit: String,
    pub before: f64,
    pub after: f64,
    pub better: bool,
}

impl Change {
    /// `+25 %` for a quarter more.
    pub fn percent(&self) -> String {
        format!("{:+.0} %", (self.after / self.before - 1.0) * 100.0)
    }
}

/// What differs, the worst first, and then what is missing in one of them.
pub fn changes(before: &Book, after: &Book) -> (Vec<Change>, Vec<String>) {
    let old: BTreeMap<_, f64> = before.rows().map(|row| (owned(&row), row.figure.value)).collect();
    let mut found: Vec<Change> = after.rows().filter_map(|row| change(*old.get(&owned(&row))?, &row)).collect();
    let badness = |change: &Change| {
        let ratio = (change.after.max(1e-9) / change.before.max(1e-9)).ln().abs();
        if change.better { -1.0 / ratio.max(1e-9) } else { ratio }
    };
    found.sort_by(|a, b| badness(b).total_cmp(&badness(a)));
    let new: BTreeMap<_, f64> = after.rows().map(|row| (owned(&row), row.figure.value)).collect();
    let missing = old.keys().filter(|key| !new.contains_key(*key));
    (found, missing.map(|(benchmark, _, name)| format!("{benchmark}: {name}")).collect())
}

fn owned(row: &Row<'_>) -> (String, String, String) {
    let (benchmark, title, name) = row.key();
    (benchmark.to_owned(), title.to_owned(), name.to_owned())
}

fn change(before: f64, row: &Row<'_>) -> Option<Change> {
    let (after, figure) = (row.figure.value, row.figure);
    let band = if figure.name.contains("p99") { NOISE_OF_TAILS } else { NOISE };
    let least = LEAST.iter().find(|(unit, _)| *unit == figure.unit).map_or(0.0, |(_, least)| *least);
    let (low, high) = (before.min(after), before.max(after));
    if high - low <= least || high <= low * (1.0 + band) {
        return None;
    }
    Some(Change {
        name: format!("{}: {}", row.benchmark, figure.name),
        unit: figure.unit.clone(),
        before,
        after,
        better: (after > before) == figure.more_is_better(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::book::sample;
    use super::*;

    #[test]
    fn what_differs_by_more_than_chance_is_told_the_worst_first() {
        let before =
            sample(&[("steady", 10.0), ("slower", 10.0), ("much slower", 10.0), ("faster", 10.0), ("gone", 1.0)]);
        let after = sample(&[("steady", 11.0), ("slower", 13.0), ("much slower", 30.0), ("faster", 5.0), ("new", 1.0)]);
        let (found, missing) = changes(&before, &after);
        let told: Vec<_> = found.iter().map(|c| (c.name.as_str(), c.percent(), c.better)).collect();
        let wanted = [
            ("api: much slower", "+200 %".to_owned(), false),
            ("api: slower", "+30 %".to_owned(), false),
            ("api: faster", "-50 %".to_owned(), true),
        ];
        assert_eq!(told, wanted);
        assert_eq!(missing, ["api: gone"]);
    }

    #[test]
    fn tails_and_small_times_have_a_wider_band() {
        let told = |before: &[(&str, f64)], after: &[(&str, f64)]| changes(&sample(before), &sample(after)).0.len();
        assert_eq!(told(&[("get, p99", 10.0)], &[("get, p99", 14.0)]), 0);
        assert_eq!(told(&[("get, p99", 10.0)], &[("get, p99", 16.0)]), 1);
        assert_eq!(told(&[("get, p50", 0.1)], &[("get, p50", 0.3)]), 0);
    }

    #[test]
    fn of_a_rate_less_is_worse() {
        let rate = |value| {
            let mut book = sample(&[]);
            book.measured[0].figures[0].add("rate", value, "/s", None);
            book
        };
        assert!(!changes(&rate(100.0), &rate(50.0)).0[0].better);
    }
}
