//! Nobody gives away more than they have: whether the rules of a role to be written or bound are held already.

use super::Rule;
use api::Identity;
use serde_json::Value;

/// Whether the rules that are held allow everything that `wanted` would. The error holds what is missing, with verbs
/// on the same resource joined.
pub(super) fn covered(held: &[Rule], wanted: &[Value]) -> Result<(), Vec<Rule>> {
    let mut missing: Vec<Rule> = Vec::new();
    for atom in wanted.iter().map(Rule::from_value).flat_map(|rule| rule.atoms()) {
        if held.iter().any(|rule| rule.covers(&atom)) {
            continue;
        }
        let joinable = |other: &&mut Rule| !atom.resources.is_empty() && other.lists() == atom.lists();
        match missing.iter_mut().find(joinable) {
            Some(other) => other.verbs.extend(atom.verbs),
            None => missing.push(atom),
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}

/// What a 403 says of missing rules: the text that follows `… is forbidden: `.
pub fn escalation(who: &Identity, missing: &[Rule]) -> String {
    let mut rules: Vec<String> = missing.iter().map(compact).collect();
    rules.sort();
    rules.dedup();
    let groups = go_list(&who.groups);
    let (user, rules) = (&who.user, rules.join("\n"));
    format!("user {user:?} (groups={groups}) is attempting to grant RBAC permissions not currently held:\n{rules}")
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
