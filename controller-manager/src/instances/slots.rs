//! Slots: equal ranges of the hashes of objects, and sets of them.

use api::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// How many slots there are.
pub const COUNT: u8 = 64;

/// Hashes are numbers of 63 bits, of which the first six tell the slot.
const SHIFT: u32 = 57;

/// A set of slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slots(u64);

impl Slots {
    pub const NONE: Slots = Slots(0);
    pub const ALL: Slots = Slots(u64::MAX);

    pub fn from_bits(bits: u64) -> Slots {
        Slots(bits)
    }

    pub fn bits(self) -> u64 {
        self.0
    }

    /// The one that a hash falls into.
    pub fn of_hash(hash: u64) -> u8 {
        u8::try_from(hash >> SHIFT).unwrap_or(COUNT - 1).min(COUNT - 1)
    }

    pub fn contains(self, slot: u8) -> bool {
        self.0 & (1 << slot) != 0
    }

    #[must_use]
    pub fn with(self, slot: u8) -> Slots {
        Slots(self.0 | 1 << slot)
    }

    #[must_use]
    pub fn and(self, other: Slots) -> Slots {
        Slots(self.0 & other.0)
    }

    #[must_use]
    pub fn without(self, other: Slots) -> Slots {
        Slots(self.0 & !other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..COUNT).filter(move |&slot| self.contains(slot))
    }

    /// Runs of slots that follow each other: first and last.
    fn runs(self) -> Vec<(u8, u8)> {
        let mut runs: Vec<(u8, u8)> = Vec::new();
        for slot in self.iter() {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == slot => *last = slot,
                _ => runs.push((slot, slot)),
            }
        }
        runs
    }

    /// The hashes that fall into them, as ranges with both ends.
    pub fn ranges(self) -> Vec<(u64, u64)> {
        let range =
            |(first, last): (u8, u8)| (u64::from(first) << SHIFT, ((u64::from(last) + 1) << SHIFT).wrapping_sub(1));
        self.runs().into_iter().map(range).map(|(first, last)| (first, last & (i64::MAX as u64))).collect()
    }
}

impl fmt::Display for Slots {
    /// As `0-15,32`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.runs().into_iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
        }
        Ok(())
    }
}

impl FromStr for Slots {
    type Err = Error;

    fn from_str(text: &str) -> Result<Slots> {
        let bad = || Error::bad_request(format!("{text:?} names no slots"));
        let slot = |text: &str| text.parse::<u8>().ok().filter(|&slot| slot < COUNT).ok_or_else(bad);
        let mut slots = Slots::NONE;
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            for slot in slot(first)?..=slot(last)? {
                slots = slots.with(slot);
            }
        }
        Ok(slots)
    }
}
