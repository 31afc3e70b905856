//! Which group of API servers serves a tenant: the ranges of DataPartitionConfigs, and what sets of them are in order.
//!
//! Pure. Ranges follow one another without overlap and without gap. Tenants before the first and behind the last are
//! served by every group, so that ranges can be made, moved and taken away one after another, from the outside in.

use api::Object;
use std::fmt;

/// Tenants by their names, and who serves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The name of its config.
    pub name: String,
    /// The first tenant; empty without one.
    pub start: String,
    /// The first tenant behind it.
    pub end: Option<String>,
    pub group: String,
}

impl Range {
    /// Reads a DataPartitionConfig.
    pub fn of(config: &serde_json::Value) -> Range {
        let text = |field: &str| config[field].as_str().unwrap_or_default().to_owned();
        let bound = |field: &str, flag: &str| (config[flag] == true).then(|| text(field));
        Range {
            name: config["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            start: bound("rangeStart", "isRangeStartValid").unwrap_or_default(),
            end: bound("rangeEnd", "isRangeEndValid"),
            group: text("serviceGroupId"),
        }
    }

    fn has(&self, tenant: &str) -> bool {
        *self.start <= *tenant && self.end.as_deref().is_none_or(|end| tenant < end)
    }
}

/// What is wrong with a set of ranges.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault<'a> {
    Overlap(&'a Range, &'a Range),
    /// Between two ranges: from the end of one to the start of the other.
    Gap(&'a Range, &'a Range),
}

impl fmt::Display for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Overlap(one, other) => {
                let (one, other, from) = (&one.name, &other.name, &other.start);
                write!(f, "the ranges of {one:?} and {other:?} overlap from {from:?} on")
            }
            Fault::Gap(one, other) => {
                let (from, to) = (one.end.as_deref().unwrap_or_default(), &other.start);
                let (one, other) = (&one.name, &other.name);
                write!(f, "no range would hold the tenants from {from:?} to {to:?}, between {one:?} and {other:?}")
            }
        }
    }
}

/// Ranges in the order of their tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<Range>);

impl Ranges {
    pub fn new(ranges: impl IntoIterator<Item = Range>) -> Ranges {
        let mut ranges: Vec<Range> = ranges.into_iter().collect();
        ranges.sort_by(|a, b| (&a.start, &a.name).cmp(&(&b.start, &b.name)));
        Ranges(ranges)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of stored configs.
    pub fn of_objects<'a>(configs: impl Iterator<Item = &'a std::sync::Arc<Object>>) -> Ranges {
        Ranges::new(configs.filter_map(|config| config.to_value().ok()).map(|config| Range::of(&config)))
    }

    /// These with one replaced, added, or taken away.
    pub fn with(&self, name: &str, new: Option<Range>) -> Ranges {
        Ranges::new(self.0.iter().filter(|range| range.name != name).cloned().chain(new))
    }

    /// The group that serves a tenant; `None` where each does.
    pub fn group_of(&self, tenant: &str) -> Option<&str> {
        self.0.iter().find(|range| range.has(tenant)).map(|range| range.group.as_str())
    }

    /// The first thing that is wrong.
    pub fn fault(&self) -> Option<Fault<'_>> {
        self.0.windows(2).find_map(|pair| {
            let [one, other] = pair else { return None };
            match one.end.as_deref() {
                Some(end) if *end == *other.start => None,
                Some(end) if *end < *other.start => Some(Fault::Gap(one, other)),
                _ => Some(Fault::Overlap(one, other)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `NAME=START..END`, of the group NAME.
    fn ranges(text: &str) -> Ranges {
        let range = |text: &str| {
            let (name, (start, end)) =
                text.split_once('=').map(|(name, bounds)| (name, bounds.split_once("..").unwrap())).unwrap();
            let end = (!end.is_empty()).then(|| end.to_owned());
            Range { name: name.to_owned(), start: start.to_owned(), end, group: name.to_owned() }
        };
        Ranges::new(text.split_whitespace().map(range))
    }

    #[test]
    fn a_tenant_is_served_by_the_group_of_its_range() {
        for (text, tenant, group) in [
            ("", "acme", None),
            ("1=..", "acme", Some("1")),
            ("1=..m 2=m..", "acme", Some("1")),
            ("1=..m 2=m..", "m", Some("2")),
            ("1=..m 2=m..", "lzzz", Some("1")),
            ("2=m.. 1=..m", "zeta", Some("2")),
            ("1=b..m", "acme", None),
            ("1=b..m", "b", Some("1")),
            ("1=b..m", "m", None),
            // As two servers can have made them at a time: the same for all that look.
            ("1=a..m 2=c..", "d", Some("1")),
        ] {
            assert_eq!(ranges(text).group_of(tenant), group, "{tenant} in {text:?}");
        }
    }

    #[test]
    fn ranges_neither_overlap_nor_leave_a_gap() {
        for (text, fault) in [
            ("", None),
            ("1=..", None),
            ("1=b..m", None),
            ("1=..m 2=m..", None),
            ("1=..d 2=d..m 3=m..", None),
            ("1=..m 2=m..q", None),
            ("1=.. 2=m..", Some("the ranges of \"1\" and \"2\" overlap from \"m\" on")),
            ("1=..n 2=m..", Some("the ranges of \"1\" and \"2\" overlap from \"m\" on")),
            ("1=.. 2=..", Some("the ranges of \"1\" and \"2\" overlap from \"\" on")),
            ("1=a..z 2=b..c", Some("the ranges of \"1\" and \"2\" overlap from \"b\" on")),
            ("1=..f 2=m..", Some("no range would hold the tenants from \"f\" to \"m\", between \"1\" and \"2\"")),
        ] {
            assert_eq!(ranges(text).fault().map(|fault| fault.to_string()).as_deref(), fault, "{text:?}");
        }
    }

    #[test]
    fn ranges_change_from_the_outside_in() {
        let now = ranges("1=..m 2=m..");
        let moved = |name: &str, to: &str| now.with(name, ranges(to).0.pop());
        assert!(moved("1", "1=..k").fault().is_some(), "a gap");
        assert!(moved("2", "2=k..").fault().is_some(), "an overlap");
        let less = now.with("2", None);
        assert!(less.fault().is_none());
        assert_eq!(less.group_of("zeta"), None, "everybody serves it meanwhile");
        let less = less.with("1", ranges("1=..k").0.pop());
        assert_eq!(less.with("2", ranges("2=k..").0.pop()), ranges("1=..k 2=k.."));
    }

    #[test]
    fn bounds_count_where_they_are_said_to_be_valid() {
        let config = serde_json::json!({"metadata": {"name": "c"}, "rangeStart": "b", "rangeEnd": "m",
            "isRangeEndValid": true, "serviceGroupId": "1"});
        let range = Range::of(&config);
        assert_eq!((range.start.as_str(), range.end.as_deref(), range.group.as_str()), ("", Some("m"), "1"));
    }
}
