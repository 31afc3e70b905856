//! Which controllers run.

use api::{Error, Result};
use std::collections::BTreeSet;
use std::str::FromStr;

/// The controllers that are enabled, from a list such as `*`, `a,b` or `*,-c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerSet(BTreeSet<&'static str>);

impl ControllerSet {
    /// Every controller.
    pub fn all() -> ControllerSet {
        ControllerSet(names().collect())
    }

    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

impl FromStr for ControllerSet {
    type Err = Error;

    /// The last word on a name holds. Names may be given with or without `-controller` at their end.
    fn from_str(text: &str) -> Result<ControllerSet> {
        let mut enabled = BTreeSet::new();
        for item in text.split(',').map(str::trim).filter(|i| !i.is_empty()) {
            match item.strip_prefix('-') {
                None if item == "*" => enabled.extend(names()),
                None => {
                    enabled.insert(find(item)?);
                }
                Some(name) => {
                    enabled.remove(find(name)?);
                }
            }
        }
        Ok(ControllerSet(enabled))
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    crate::controllers::ALL.iter().map(|c| c.name)
}

fn find(name: &str) -> Result<&'static str> {
    let found = names().find(|n| *n == name || n.strip_suffix("-controller") == Some(name));
    found.ok_or_else(|| {
        let valid: Vec<&str> = names().collect();
        Error::bad_request(format!("there is no controller {name:?}; the controllers are {}", valid.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ControllerSet {
        text.parse().expect("a list of controllers")
    }

    #[test]
    fn a_list_names_all_some_or_all_but_some() {
        assert_eq!(parse("*"), ControllerSet::all());
        assert_eq!(
            parse("deployment, replicaset-controller").0,
            ["deployment-controller", "replicaset-controller"].into()
        );
        let but_one = parse("*,-deployment");
        assert!(!but_one.contains("deployment-controller") && but_one.0.len() == ControllerSet::all().0.len() - 1);
        assert_eq!(parse("").0, [].into());
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_valid_ones() {
        for text in ["deploymant", "*,-deploymant", "-", "*-"] {
            let error = text.parse::<ControllerSet>().expect_err("a refusal");
            assert!(error.message().contains("deployment-controller, "), "{}", error.message());
        }
    }
}
