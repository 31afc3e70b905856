//! Nobody gives away more than they have: whether the rules of a role to be written or bound are held already.
//!
//! Invariant: what a question costs has a limit, whatever the rules are. What would cost more is refused.

use super::Rule;
use super::rule::{Atom, On};
use api::Identity;
use std::collections::HashMap;
use std::sync::Arc;

/// What is not covered as a whole is looked at verb by verb on resource by resource. A rule of a thousand verbs, groups
/// and resources, which fits in 15 KB, would be 10⁹ of those.
const ATOMS_MAX: usize = 100_000;

/// Each is compared with all texts of the rules that are held: so many comparisons take a fraction of a second.
const COMPARISONS_MAX: usize = 50_000_000;

/// A refusal does not go on past so many bytes of missing rules.
const MISSING_BYTES_MAX: usize = 256 * 1024;

/// What a rule, and one more verb in it, take besides their texts.
const RULE_BYTES: usize = 64;
const TEXT_BYTES: usize = 4;

/// Why somebody may not give rules away. [`escalation`] words it.
#[derive(Debug)]
pub enum NotHeld {
    /// What is missing, with verbs on the same resource joined. `more`: it is not all.
    Missing { rules: Vec<Rule>, more: bool },
    /// The rules allow too much to look at each part of it.
    TooMany,
}

/// Whether the rules that are held allow everything that `wanted` would.
pub(super) fn covered(held: &[&Rule], wanted: &[Arc<Rule>]) -> Result<(), NotHeld> {
    let weight: usize = held.iter().map(|rule| rule.weight()).sum();
    let affordable = |parts: usize| parts.checked_mul(weight).is_some_and(|all| all <= COMPARISONS_MAX);
    if !affordable(wanted.iter().map(|rule| rule.weight()).sum()) {
        return Err(NotHeld::TooMany);
    }
    let open: Vec<&Arc<Rule>> = wanted.iter().filter(|rule| !held.iter().any(|own| own.covers(rule))).collect();
    let atoms = open.iter().try_fold(0, |sum: usize, rule| sum.checked_add(rule.count()?));
    if !atoms.is_some_and(|atoms| atoms <= ATOMS_MAX && affordable(atoms)) {
        return Err(NotHeld::TooMany);
    }
    let mut missing = Missing::default();
    for atom in open.iter().flat_map(|rule| rule.atoms()) {
        if held.iter().any(|own| own.covers_atom(&atom)) {
            continue;
        }
        if missing.bytes > MISSING_BYTES_MAX {
            return Err(NotHeld::Missing { rules: missing.rules, more: true });
        }
        missing.add(atom);
    }
    if missing.rules.is_empty() { Ok(()) } else { Err(NotHeld::Missing { rules: missing.rules, more: false }) }
}

/// What is missing so far.
#[derive(Default)]
struct Missing<'a> {
    rules: Vec<Rule>,
    /// Which of the rules is on a resource.
    on: HashMap<On<'a>, usize>,
    bytes: usize,
}

impl<'a> Missing<'a> {
    fn add(&mut self, atom: Atom<'a>) {
        if let Some(&at) = self.on.get(&atom.on) {
            self.bytes += TEXT_BYTES + atom.verb.len();
            self.rules[at].verbs.push(atom.verb.to_owned());
            return;
        }
        let rule = atom.to_rule();
        let texts = rule.lists().into_iter().flat_map(|(_, list)| list);
        self.bytes += RULE_BYTES + atom.verb.len() + texts.map(String::len).sum::<usize>();
        if matches!(atom.on, On::Resource { .. }) {
            self.on.insert(atom.on, self.rules.len());
        }
        self.rules.push(rule);
    }
}

/// What a 403 says of missing rules: the text that follows `… is forbidden: `.
pub fn escalation(who: &Identity, refused: &NotHeld) -> String {
    let groups = go_list(&who.groups);
    let user = &who.user;
    let intro = format!("user {user:?} (groups={groups}) is attempting to grant RBAC permissions");
    let NotHeld::Missing { rules, more } = refused else {
        return format!("{intro} that are too many to check, write fewer or smaller rules");
    };
    let mut rules: Vec<String> = rules.iter().map(compact).collect();
    rules.sort();
    rules.dedup();
    if *more {
        rules.push("and more".to_owned());
    }
    format!("{intro} not currently held:\n{}", rules.join("\n"))
}

/// `{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}`
fn compact(rule: &Rule) -> String {
    let named = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ];
    let parts: Vec<String> = named
        .iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(name, list)| format!("{name}:{}", go_list(list)))
        .collect();
    format!("{{{}}}", parts.join(", "))
}

fn go_list(items: &[String]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn rules(values: &[Value]) -> Vec<Arc<Rule>> {
        values.iter().map(|rule| Arc::new(Rule::from_value(rule))).collect()
    }

    fn texts(prefix: &str, count: usize) -> Vec<String> {
        (0..count).map(|i| format!("{prefix}{i}")).collect()
    }

    fn ask(held: &[Value], wanted: &[Value]) -> Result<(), NotHeld> {
        let held = rules(held);
        covered(&held.iter().map(|rule| &**rule).collect::<Vec<_>>(), &rules(wanted))
    }

    fn pods() -> Value {
        json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]})
    }

    /// A thousand verbs on a thousand resources in a thousand groups.
    fn thousand_million() -> Value {
        json!({"verbs": texts("v", 1000), "apiGroups": texts("g", 1000), "resources": texts("r", 1000)})
    }

    #[test]
    fn a_role_that_allows_a_thousand_million_things_is_refused_without_looking_at_each() {
        assert!(matches!(ask(&[pods()], &[thousand_million()]), Err(NotHeld::TooMany)));
        let many: Vec<Value> = texts("r", 101)
            .iter()
            .map(|resource| json!({"verbs": texts("v", 1000), "apiGroups": ["g"], "resources": [resource]}))
            .collect();
        assert!(matches!(ask(&[pods()], &many), Err(NotHeld::TooMany)), "the limit is of all rules together");
    }

    #[test]
    fn more_parts_than_can_be_counted_are_refused() {
        let list = texts("", 1 << 16);
        let huge = json!({"verbs": list, "apiGroups": list, "resources": list, "resourceNames": list});
        assert!(matches!(ask(&[], &[huge]), Err(NotHeld::TooMany)));
    }

    #[test]
    fn a_rule_that_is_held_as_a_whole_is_given_away_whatever_its_size() {
        let all = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
        assert!(ask(&[pods(), all], &[thousand_million(), pods()]).is_ok());
    }

    #[test]
    fn what_is_held_in_parts_is_given_away() {
        let held = [
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "secrets"], "resourceNames": ["a"]}),
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["b"]}),
            json!({"verbs": ["get"], "nonResourceURLs": ["/api/*"]}),
            json!({"verbs": ["get"], "nonResourceURLs": ["/version"]}),
        ];
        let named = |names: &[&str]| json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": names});
        assert!(ask(&held, &[named(&["a", "b"])]).is_ok());
        assert!(ask(&held, &[named(&["a", "c"])]).is_err());
        assert!(ask(&held, &[named(&[])]).is_err(), "every name is more than some");
        let paths = |paths: &[&str]| json!({"verbs": ["get"], "nonResourceURLs": paths});
        assert!(ask(&held, &[paths(&["/api/v1", "/version"])]).is_ok());
        assert!(ask(&held, &[paths(&["/version", "/metrics"])]).is_err());
    }

    #[test]
    fn many_parts_against_much_that_is_held_are_refused() {
        let wanted = json!({"verbs": texts("v", 250), "apiGroups": ["g"], "resources": texts("r", 200)});
        assert!(matches!(ask(&[pods()], std::slice::from_ref(&wanted)), Err(NotHeld::Missing { .. })));
        let held = json!({"verbs": texts("v", 1000), "apiGroups": [""], "resources": ["pods"]});
        assert!(matches!(ask(std::slice::from_ref(&held), &[wanted]), Err(NotHeld::TooMany)));
        let long = json!({"verbs": texts("w", 60_000), "apiGroups": ["g"], "resources": ["r"]});
        assert!(matches!(ask(&[held], &[long]), Err(NotHeld::TooMany)));
    }

    #[test]
    fn a_rule_without_verbs_is_no_work_however_long_its_lists_are() {
        let nothing = json!({"verbs": [], "apiGroups": texts("g", 200_000), "resources": texts("r", 200_000)});
        assert!(ask(&[pods()], &[nothing]).is_ok());
    }

    #[test]
    fn a_refusal_tells_no_more_than_fits() {
        let who = Identity::new(api::TenantName::system(), "eve", &[]);
        let long = "x".repeat(1000);
        for (wanted, whole) in [
            (json!({"verbs": ["get"], "apiGroups": texts(&long, 100), "resources": texts(&long, 900)}), false),
            (json!({"verbs": texts("v", 90_000), "apiGroups": [""], "resources": ["pods"]}), false),
            (json!({"verbs": texts("v", 1000), "apiGroups": [""], "resources": texts("r", 10)}), true),
        ] {
            let refused = ask(&[pods()], &[wanted]).expect_err("not held");
            assert!(matches!(&refused, NotHeld::Missing { more, .. } if *more != whole));
            let text = escalation(&who, &refused);
            assert_eq!(text.ends_with("\nand more"), !whole);
            assert!(text.len() < 2 * MISSING_BYTES_MAX, "{}", text.len());
        }
        let text = escalation(&who, &NotHeld::TooMany);
        assert_eq!(
            text,
            "user \"eve\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions that are too many to \
             check, write fewer or smaller rules"
        );
    }
}
