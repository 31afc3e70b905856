//! What a list is of: a revision, or, over all tenants in several partitions, one of each.

use api::Revision;
use std::collections::BTreeMap;
use std::fmt;

/// The number of a partition. The operators' own objects are in partition 0.
pub type PartitionId = u8;

/// The point in time that a list shows and a watch goes on from. To clients it is opaque.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// In one partition: a number.
    At(Revision),
    /// In each of several: `0.7-3.12`.
    Each(BTreeMap<PartitionId, Revision>),
}

impl Version {
    /// Reads what [`Version::Each`] looks like; `None` for any other text.
    pub fn parse_each(text: &str) -> Option<Version> {
        let mut each = BTreeMap::new();
        for part in text.split('-') {
            let (id, revision) = part.split_once('.')?;
            let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            if !is_number(id) || !is_number(revision) || each.insert(id.parse().ok()?, revision.parse().ok()?).is_some()
            {
                return None;
            }
        }
        Some(Version::Each(each))
    }

    /// The largest revision in it.
    pub fn newest(&self) -> Revision {
        match self {
            Version::At(revision) => *revision,
            Version::Each(each) => each.values().copied().max().unwrap_or(0),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::At(revision) => write!(f, "{revision}"),
            Version::Each(each) => {
                let parts: Vec<String> = each.iter().map(|(id, revision)| format!("{id}.{revision}")).collect();
                f.write_str(&parts.join("-"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_of_several_partitions_is_read_as_it_was_written_and_nothing_else_is() {
        let each = Version::Each(BTreeMap::from([(0, 7), (3, 12)]));
        assert_eq!(each.to_string(), "0.7-3.12");
        assert_eq!(Version::parse_each("0.7-3.12"), Some(each));
        for bad in ["", "7", "0.7-", "0.7-0.8", "0.-1.2", "256.1", "0.7 ", "+0.7", "0.18446744073709551616", "a.b"] {
            assert_eq!(Version::parse_each(bad), None, "{bad}");
        }
    }
}
