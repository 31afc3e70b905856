//! The revisions of a partition as etcd's own, raised now and then.
//!
//! A tenant that comes from another partition must find later revisions than those that it had there, and etcd's revisions
//! cannot be made to jump. So a record in the cluster says by how much they count more, and from which on.
//! Invariant: later revisions of etcd are later revisions of the partition, and each has one for good.

use api::Revision;

/// One raise: from this revision of etcd on, so much is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Raise {
    from: u64,
    add: u64,
}

/// All raises of a partition, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Revisions {
    raises: Vec<Raise>,
    /// When the record was written; 0 without one.
    written: u64,
}

impl Revisions {
    /// Reads the record `add@from add@from … add`, of which the last is from the revision of the record itself on.
    pub(super) fn parse(record: &[u8], written: i64) -> Option<Revisions> {
        let written = written.cast_unsigned();
        let raise = |text: &str| {
            let (add, from) = text.split_once('@').map_or((text, None), |(add, from)| (add, Some(from)));
            Some(Raise { add: add.parse().ok()?, from: from.map_or(Some(written), |from| from.parse().ok())? })
        };
        let raises: Vec<Raise> = std::str::from_utf8(record).ok()?.split(' ').map(raise).collect::<Option<_>>()?;
        let grow = raises.is_sorted_by(|a, b| a.from < b.from && a.add < b.add);
        grow.then_some(Revisions { raises, written })
    }

    /// The record with which the next revision of the partition is behind `floor`, when the last one is `last`.
    pub(super) fn raised(&self, last: Revision, floor: Revision) -> String {
        let mut texts: Vec<String> = self.raises.iter().map(|raise| format!("{}@{}", raise.add, raise.from)).collect();
        let add = self.raises.last().map_or(0, |raise| raise.add) + floor.saturating_sub(last);
        texts.push(add.to_string());
        texts.join(" ")
    }

    /// The revision of etcd at which the record was written; 0 without one.
    pub(super) fn written(&self) -> i64 {
        self.written.cast_signed()
    }

    /// The partition's revision of one of etcd's.
    pub(super) fn of_etcd(&self, revision: i64) -> Revision {
        let revision = revision.cast_unsigned();
        let raise = self.raises.iter().rev().find(|raise| raise.from <= revision);
        revision + raise.map_or(0, |raise| raise.add)
    }

    /// The revision of etcd's that is this one of the partition.
    pub(super) fn to_etcd(&self, revision: Revision) -> i64 {
        let raise = self.raises.iter().rev().find(|raise| raise.from + raise.add <= revision);
        (revision - raise.map_or(0, |raise| raise.add)).cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_grow_over_raises_and_come_back_as_they_were() {
        let none = Revisions::default();
        assert_eq!((none.of_etcd(7), none.to_etcd(7)), (7, 7));
        let record = none.raised(7, 1000);
        let once = Revisions::parse(record.as_bytes(), 9).expect("a record");
        let twice = Revisions::parse(once.raised(once.of_etcd(20), 5000).as_bytes(), 21).expect("a record");
        assert!(once.of_etcd(9) > 1000 && twice.of_etcd(21) > 5000);
        let all: Vec<Revision> = (1..30).map(|revision| twice.of_etcd(revision)).collect();
        assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
        for revision in 1..30 {
            assert_eq!(twice.to_etcd(twice.of_etcd(revision)), revision);
            assert!(revision > 20 || twice.of_etcd(revision) == once.of_etcd(revision), "{revision} is for good");
        }
        for bad in ["", "x", "5@9 3", "5@", "5@9@1 7"] {
            assert_eq!(Revisions::parse(bad.as_bytes(), 21), None, "{bad}");
        }
    }
}
