//! Sets of completion indexes, as jobs keep them in their status: `1,3-5,7`. Pure.

/// Ascending intervals that neither touch nor overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes(Vec<(i64, i64)>);

impl Indexes {
    /// Reads what is below `completions`; what is no index is left out.
    pub fn parse(text: &str, completions: i64) -> Indexes {
        let mut found = Vec::new();
        for part in text.split(',').filter(|p| !p.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>())
                && first >= 0
                && first < completions
            {
                found.push((first, last.min(completions - 1)));
            }
        }
        Indexes::of(found)
    }

    fn of(mut intervals: Vec<(i64, i64)>) -> Indexes {
        intervals.retain(|(first, last)| first <= last);
        intervals.sort_unstable();
        let mut merged: Vec<(i64, i64)> = Vec::with_capacity(intervals.len());
        for (first, last) in intervals {
            match merged.last_mut().filter(|before| before.1 + 1 >= first) {
                Some(before) => before.1 = before.1.max(last),
                None => merged.push((first, last)),
            }
        }
        Indexes(merged)
    }

    /// These and more.
    pub fn with(&self, more: impl IntoIterator<Item = i64>) -> Indexes {
        let more = more.into_iter().map(|index| (index, index));
        Indexes::of(self.0.iter().copied().chain(more).collect())
    }

    pub fn union(&self, other: &Indexes) -> Indexes {
        Indexes::of(self.0.iter().chain(&other.0).copied().collect())
    }

    pub fn has(&self, index: i64) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= index);
        after.checked_sub(1).is_some_and(|at| index <= self.0[at].1)
    }

    /// How many there are.
    pub fn total(&self) -> i64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// How many are in both.
    pub fn common(&self, other: &Indexes) -> i64 {
        let (mut a, mut b, mut count) = (self.0.iter().peekable(), other.0.iter().peekable(), 0);
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            count += (x.1.min(y.1) - x.0.max(y.0) + 1).max(0);
            let first = if x.1 < y.1 { &mut a } else { &mut b };
            first.next();
        }
        count
    }

    /// The first indexes below `completions` that are not in it, at most so many.
    pub fn first_missing(&self, count: usize, completions: i64) -> Vec<i64> {
        let ends = self.0.iter().copied().chain([(completions, completions)]);
        let mut from = 0;
        let mut found = Vec::new();
        for (first, last) in ends {
            found.extend((from..first.min(completions)).take(count - found.len()));
            from = last + 1;
        }
        found
    }
}

impl std::fmt::Display for Indexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_written_and_read_as_intervals() {
        for (given, completions, written) in [
            ("", 5, ""),
            ("1,2", 5, "1,2"),
            ("0-2,4", 9, "0-2,4"),
            ("3,1,2", 9, "1-3"),
            ("1-100", 5, "1-4"),
            ("7,x,-1,2-", 5, ""),
        ] {
            assert_eq!(Indexes::parse(given, completions).to_string(), written, "{given}");
        }
        let some = Indexes::parse("1-3,7", 9);
        assert_eq!(some.with([4, 0]).to_string(), "0-4,7");
        assert_eq!(some.union(&Indexes::parse("5,6", 9)).to_string(), "1-3,5-7");
        assert_eq!((some.total(), some.has(3), some.has(4), some.has(0)), (4, true, false, false));
        assert_eq!(some.common(&Indexes::parse("0,2-7", 9)), 3);
    }

    #[test]
    fn what_is_missing_is_found_in_order() {
        let some = Indexes::parse("1-3,6", 9);
        assert_eq!(some.first_missing(3, 8), [0, 4, 5]);
        assert_eq!(some.first_missing(9, 8), [0, 4, 5, 7]);
        assert_eq!(some.first_missing(9, 2), [0]);
        assert_eq!(Indexes::default().first_missing(2, 1 << 31), [0, 1]);
    }
}
