//! The facts about types that k8s-openapi lacks, as one table. `hack/overlay.py` writes it and explains its format.

use crate::{additions, unpublished};
use serde_json::Value;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::LazyLock;

static KUBERNETES: &str = include_str!("overlay.txt");

/// Facts of the definitions that only Ursa has.
static URSA: &str = "
io.k8s.api.core.v1.Tenant kinds=/v1/Tenant
 metadata zero
 spec zero
 status zero
io.k8s.api.core.v1.TenantList kinds=/v1/TenantList
 items null
 metadata zero
io.k8s.api.core.v1.TenantSpec
 finalizers list=atomic
 issuers list=map patch=merge merge=url keys=url
io.k8s.api.core.v1.TenantIssuer
 audiences list=atomic
io.k8s.api.core.v1.TenantScheduling
 preempts list=atomic
io.k8s.api.core.v1.TenantStatus
 conditions list=map patch=merge merge=type keys=type
";

/// Facts of the definitions that no document publishes, and of what was added to upstream's.
static WRITTEN: LazyLock<String> = LazyLock::new(|| unpublished::overlay() + &additions::overlay());

/// What the table says of one definition.
#[derive(Default)]
pub(crate) struct DefinitionFacts {
    /// (group, version, kind); `*` is every published group and version.
    pub kinds: Vec<[&'static str; 3]>,
    pub unions: Option<Value>,
    pub map: Option<&'static str>,
    pub fields: BTreeMap<&'static str, FieldFacts>,
    /// In no document.
    pub unpublished: bool,
}

/// What the table says of one field.
#[derive(Default)]
pub(crate) struct FieldFacts {
    pub list: Option<&'static str>,
    pub keys: Vec<&'static str>,
    pub map: Option<&'static str>,
    /// `merge`, `merge,retainKeys`, `replace` or `retainKeys`.
    pub patch: Option<&'static str>,
    pub merge: Option<&'static str>,
    pub default: Option<Value>,
    pub zero: bool,
    pub null: bool,
    pub pointer: bool,
}

/// Reads the table. It is part of the program: a line that it cannot read is a mistake of ours.
pub(crate) fn facts() -> BTreeMap<&'static str, DefinitionFacts> {
    let mut definitions: BTreeMap<&'static str, DefinitionFacts> = BTreeMap::new();
    let mut current = DefinitionFacts::default();
    let mut name = "";
    let mut add = |name, facts: DefinitionFacts| match definitions.entry(name) {
        Entry::Vacant(new) => drop(new.insert(facts)),
        Entry::Occupied(known) => known.into_mut().fields.extend(facts.fields),
    };
    let lines = KUBERNETES.lines().chain(URSA.lines()).chain(WRITTEN.lines());
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().expect("a line of the table starts with a name");
        if line.starts_with(' ') {
            current.fields.insert(first, field_facts(words));
        } else {
            add(std::mem::replace(&mut name, first), std::mem::take(&mut current));
            definition_facts(&mut current, words);
        }
    }
    add(name, current);
    definitions.remove("");
    definitions
}

fn definition_facts(facts: &mut DefinitionFacts, words: impl Iterator<Item = &'static str>) {
    for word in words {
        match word.split_once('=') {
            None if word == "unpublished" => facts.unpublished = true,
            Some(("kinds", kinds)) => facts.kinds = kinds.split(',').map(kind).collect(),
            Some(("unions", json)) => facts.unions = Some(parse(json)),
            Some(("map", map)) => facts.map = Some(map),
            _ => panic!("the overlay has no fact {word:?} of definitions"),
        }
    }
}

fn field_facts(words: impl Iterator<Item = &'static str>) -> FieldFacts {
    let mut facts = FieldFacts::default();
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("list", list) => facts.list = Some(list),
            ("keys", keys) => facts.keys = keys.split(',').collect(),
            ("map", map) => facts.map = Some(map),
            ("patch", patch) => facts.patch = Some(patch),
            ("merge", merge) => facts.merge = Some(merge),
            ("default", json) => facts.default = Some(parse(json)),
            ("zero", _) => facts.zero = true,
            ("null", _) => facts.null = true,
            ("pointer", _) => facts.pointer = true,
            _ => panic!("the overlay has no fact {word:?} of fields"),
        }
    }
    facts
}

fn kind(text: &'static str) -> [&'static str; 3] {
    let mut parts = text.splitn(3, '/');
    [(); 3].map(|()| parts.next().expect("a kind of the overlay has three parts"))
}

fn parse(json: &str) -> Value {
    serde_json::from_str(json).expect("the overlay's JSON is JSON")
}
