//! Walks over typed values: what they consist of, how two differ, what a merge of them is, and what is left without some
//! of their fields. The rules are those of structured merge and diff.

use super::set::{FieldSet, key_step};
use super::types::{Fields, Items, List, Scalar, Type, TypeId, Typed, Types};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap, HashSet};

/// How two values differ.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub added: FieldSet,
    pub modified: FieldSet,
    pub removed: FieldSet,
}

impl Comparison {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// What differs apart from these fields and all below them.
    pub fn without(self, ignored: &FieldSet) -> Comparison {
        if ignored.is_empty() || self.is_empty() {
            return self;
        }
        Comparison {
            added: self.added.without(ignored),
            modified: self.modified.without(ignored),
            removed: self.removed.without(ignored),
        }
    }
}

/// A fault of a value, with the path to it as messages write it.
type Faults = Vec<(String, String)>;

fn shown(faults: &Faults) -> String {
    let one = |(path, why): &(String, String)| if path.is_empty() { why.clone() } else { format!("{path}: {why}") };
    match faults.as_slice() {
        [fault] => one(fault),
        faults => faults.iter().fold("errors:".to_owned(), |text, fault| format!("{text}\n  {}", one(fault))),
    }
}

/// How many faults are told of one value.
const FAULTS_MAX: usize = 50;

impl Typed<'_> {
    /// What does not fit the type. Items of a list may repeat where that is allowed.
    pub(crate) fn check(self, value: &Value, duplicates: bool) -> Result<(), String> {
        let mut faults = Faults::new();
        self.types.check(self.root, value, duplicates, &mut String::new(), &mut faults);
        if faults.is_empty() { Ok(()) } else { Err(shown(&faults)) }
    }

    /// The fields of a value.
    pub(crate) fn fields(self, value: &Value) -> FieldSet {
        self.types.fields(self.root, value).below
    }

    pub(crate) fn compare(self, old: &Value, new: &Value) -> Comparison {
        let Difference { added, modified, removed } = self.types.compare(self.root, Some(old), Some(new));
        Comparison { added: added.below, modified: modified.below, removed: removed.below }
    }

    /// `live` with what `config` says.
    pub(crate) fn merge(self, live: &Value, config: &Value) -> Result<Value, String> {
        let mut faults = Faults::new();
        let merged = self.types.merge(self.root, Some(live), Some(config), &mut String::new(), &mut faults);
        if faults.is_empty() { Ok(merged.unwrap_or_default()) } else { Err(shown(&faults)) }
    }

    /// What is left of a value without these fields.
    pub(crate) fn remove(self, value: &Value, fields: &FieldSet) -> Value {
        self.types.remove(self.root, value, fields)
    }

    /// The set with those fields of objects that lead to what is in it.
    pub(crate) fn with_parents(self, set: &FieldSet) -> FieldSet {
        self.types.with_parents(Some(self.root), set)
    }
}

/// What a value is, by its type.
#[derive(Clone, Copy, PartialEq)]
enum Atom<'a> {
    Map(&'a Fields),
    Scalar(Scalar),
    List(&'a List),
}

/// Marks of one place: the place itself, and what is below.
#[derive(Default)]
struct Marks {
    member: bool,
    below: FieldSet,
}

impl Marks {
    fn own() -> Marks {
        Marks { member: true, below: FieldSet::default() }
    }
}

#[derive(Default)]
struct Difference {
    added: Marks,
    modified: Marks,
    removed: Marks,
}

impl Difference {
    fn leaf(old: Option<&Value>, new: Option<&Value>) -> Difference {
        match (old, new) {
            (None, _) => Difference { added: Marks::own(), ..Difference::default() },
            (_, None) => Difference { removed: Marks::own(), ..Difference::default() },
            (Some(old), Some(new)) if !same(old, new) => Difference { modified: Marks::own(), ..Difference::default() },
            _ => Difference::default(),
        }
    }

    fn each(&mut self) -> [&mut Marks; 3] {
        [&mut self.added, &mut self.modified, &mut self.removed]
    }

    /// Takes over what differs behind a step.
    fn add(&mut self, step: impl FnOnce() -> String, mut behind: Difference) {
        if behind.each().iter().all(|marks| !marks.member && marks.below.is_empty()) {
            return;
        }
        let step = step();
        for (own, behind) in self.each().into_iter().zip(behind.each()) {
            own.below.add(&step, behind.member, std::mem::take(&mut behind.below));
        }
    }
}

/// Whether two values are equal; numbers by what they count.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|((k, x), (l, y))| k == l && same(x, y))
        }
        _ => a == b,
    }
}

fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_))
}

impl Type {
    fn atom(&self, value: Option<&Value>) -> Option<Atom<'_>> {
        match value {
            Some(value) if is_scalar(value) && self.scalar.is_some() => self.scalar.map(Atom::Scalar),
            Some(Value::Array(_)) if self.list.is_some() => self.list.as_ref().map(Atom::List),
            Some(Value::Object(_)) if self.map.is_some() => self.map.as_ref().map(Atom::Map),
            _ => {
                let map = self.map.as_ref().map(Atom::Map);
                map.or(self.scalar.map(Atom::Scalar)).or(self.list.as_ref().map(Atom::List))
            }
        }
    }
}

impl Scalar {
    fn fault(self, value: &Value) -> Option<String> {
        let fits = match self {
            _ if value.is_null() => true,
            Scalar::Numeric => value.is_number(),
            Scalar::String => value.is_string(),
            Scalar::Boolean => value.is_boolean(),
            Scalar::Any => is_scalar(value),
        };
        (!fits).then(|| match self {
            Scalar::Numeric => format!("expected numeric (int or float), got {}", go_type(value)),
            Scalar::String => format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_value(value)),
            Scalar::Boolean => format!("expected boolean, got &{{{}}}", go_text(value)),
            Scalar::Any => format!("expected any scalar, got &{{{}}}", go_text(value)),
        })
    }
}

/// The name of Go's type of a value.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A value as Go prints it with `%#v`.
fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_value).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(map) => {
            let items: Vec<String> = map.iter().map(|(k, v)| format!("{k:?}:{}", go_value(v))).collect();
            format!("map[string]interface {{}}{{{}}}", items.join(", "))
        }
    }
}

/// A value as Go prints it with `%v`.
fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let items: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", go_text(v))).collect();
            format!("map[{}]", items.join(" "))
        }
    }
}

fn field_step(name: &str) -> String {
    format!("f:{name}")
}

/// The step to an item of a list that is no single value.
fn item_step(list: &List, item: &Value) -> Result<String, String> {
    let keys = match &list.items {
        Items::Atomic => return Err("invalid indexing of non-associative list".to_owned()),
        Items::Set => {
            return match item {
                Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
                Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
                Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
                scalar => Ok(format!("v:{scalar}")),
            };
        }
        Items::Map(keys) => keys,
    };
    let map = match item {
        Value::Object(map) => map,
        Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let mut found: Vec<(&str, &Value)> = Vec::with_capacity(keys.len());
    for (name, default) in keys {
        match map.get(&**name).or(default.as_ref()) {
            Some(value) => found.push((name, value)),
            None => {
                return Err(format!(
                    "associative list with keys has an element that omits key field {name:?} (and doesn't have default value)"
                ));
            }
        }
    }
    Ok(key_step(&found))
}

fn as_map(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

fn as_list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Runs `inner` with a step added to a path as messages write it.
fn at<T>(path: &mut String, step: &str, inner: impl FnOnce(&mut String) -> T) -> T {
    let length = path.len();
    super::set::push_step(path, step);
    let result = inner(path);
    path.truncate(length);
    result
}

impl Types {
    fn child(&self, fields: &Fields, name: &str) -> TypeId {
        // What the type does not know has no rules.
        fields.field(name).unwrap_or(super::types::DEDUCED)
    }

    fn check(&self, id: TypeId, value: &Value, duplicates: bool, path: &mut String, faults: &mut Faults) {
        if faults.len() >= FAULTS_MAX {
            return;
        }
        let mut fault = |path: &str, why: String| faults.push((path.to_owned(), why));
        match self.get(id).atom(Some(value)) {
            None => {}
            Some(Atom::Scalar(scalar)) => {
                if let Some(why) = scalar.fault(value) {
                    fault(path, why);
                }
            }
            Some(Atom::Map(fields)) => match value {
                Value::Null => {}
                Value::Object(map) => {
                    for (name, value) in map {
                        match fields.field(name) {
                            Some(id) => at(path, &field_step(name), |path| {
                                self.check(id, value, duplicates, path, faults);
                            }),
                            None => {
                                let why = "field not declared in schema".to_owned();
                                at(path, &field_step(name), |path| faults.push((path.clone(), why)));
                                break;
                            }
                        }
                    }
                }
                other => fault(path, format!("expected map, got &{{{}}}", go_text(other))),
            },
            Some(Atom::List(list)) => match value {
                Value::Null => {}
                Value::Array(items) => self.check_items(list, items, duplicates, path, faults),
                other => fault(path, format!("expected list, got &{{{}}}", go_text(other))),
            },
        }
    }

    fn check_items(&self, list: &List, items: &[Value], duplicates: bool, path: &mut String, faults: &mut Faults) {
        let mut seen = HashSet::new();
        for (i, item) in items.iter().enumerate() {
            let step = if list.items == Items::Atomic {
                format!("i:{i}")
            } else {
                match item_step(list, item) {
                    Ok(step) => {
                        if !seen.insert(step.clone()) && !duplicates {
                            let mut key = String::new();
                            super::set::push_step(&mut key, &step);
                            faults.push((path.clone(), format!("duplicate entries for key {key}")));
                        }
                        step
                    }
                    Err(why) => {
                        faults.push((path.clone(), format!("element {i}: {why}")));
                        return;
                    }
                }
            };
            at(path, &step, |path| self.check(list.element, item, duplicates, path, faults));
        }
    }

    fn fields(&self, id: TypeId, value: &Value) -> Marks {
        let mut marks = Marks::default();
        match self.get(id).atom(Some(value)) {
            None => {}
            Some(Atom::Scalar(_)) => return Marks::own(),
            Some(Atom::Map(fields)) if fields.atomic => return Marks::own(),
            Some(Atom::List(list)) if list.items == Items::Atomic => return Marks::own(),
            Some(Atom::Map(fields)) => {
                for (name, value) in as_map(Some(value)).into_iter().flatten() {
                    let inner = self.fields(self.child(fields, name), value);
                    let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                    let member = inner.member || empty || fields.declared(name).is_none();
                    marks.below.add(&field_step(name), member, inner.below);
                }
            }
            Some(Atom::List(list)) => {
                let steps = as_list(Some(value)).iter().filter_map(|item| Some((item_step(list, item).ok()?, item)));
                let mut items: BTreeMap<String, Option<&Value>> = BTreeMap::new();
                for (step, item) in steps {
                    // Of items that repeat, only that they are there counts.
                    items.entry(step).and_modify(|known| *known = None).or_insert(Some(item));
                }
                for (step, item) in items {
                    let below = item.map(|item| self.fields(list.element, item).below).unwrap_or_default();
                    marks.below.add(&step, true, below);
                }
            }
        }
        marks
    }

    fn compare(&self, id: TypeId, old: Option<&Value>, new: Option<&Value>) -> Difference {
        let own = self.get(id);
        let (was, is) = (own.atom(old), own.atom(new));
        let (mut difference, leaf) = match (old, new) {
            (_, None) => self.compare_as(was, old, new),
            (None, _) => self.compare_as(is, old, new),
            _ if was == is => self.compare_as(is, old, new),
            _ => {
                let (mut first, _) = self.compare_as(was, old, new);
                let (mut second, leaf) = self.compare_as(is, old, new);
                for (first, second) in first.each().into_iter().zip(second.each()) {
                    second.member |= first.member;
                    let below = std::mem::take(&mut first.below);
                    second.below = std::mem::take(&mut second.below).union(below);
                }
                (second, leaf)
            }
        };
        if !leaf {
            difference.added.member |= old.is_none();
            difference.removed.member |= old.is_some() && new.is_none();
        }
        difference
    }

    /// Compares what both are taken for. Also tells whether it is one value.
    fn compare_as(&self, atom: Option<Atom>, old: Option<&Value>, new: Option<&Value>) -> (Difference, bool) {
        match atom {
            Some(Atom::Map(fields)) => {
                let (left, right) = (as_map(old), as_map(new));
                let empty = left.is_none_or(Map::is_empty) && right.is_none_or(Map::is_empty);
                if fields.atomic || empty {
                    return (Difference::leaf(old, new), true);
                }
                (self.compare_fields(fields, left, right), false)
            }
            Some(Atom::List(list)) => {
                let (left, right) = (as_list(old), as_list(new));
                if list.items == Items::Atomic || (left.is_empty() && right.is_empty()) {
                    return (Difference::leaf(old, new), true);
                }
                (self.compare_items(list, left, right), false)
            }
            Some(Atom::Scalar(_)) | None => (Difference::leaf(old, new), true),
        }
    }

    fn compare_fields(
        &self,
        fields: &Fields,
        left: Option<&Map<String, Value>>,
        right: Option<&Map<String, Value>>,
    ) -> Difference {
        let mut difference = Difference::default();
        for (name, old) in left.into_iter().flatten() {
            let new = right.and_then(|right| right.get(name));
            difference.add(|| field_step(name), self.compare(self.child(fields, name), Some(old), new));
        }
        let added = right.into_iter().flatten().filter(|(name, _)| left.is_none_or(|left| !left.contains_key(*name)));
        for (name, new) in added {
            difference.add(|| field_step(name), self.compare(self.child(fields, name), None, Some(new)));
        }
        difference
    }

    fn compare_items(&self, list: &List, left: &[Value], right: &[Value]) -> Difference {
        let mut difference = Difference::default();
        if left == right {
            return difference;
        }
        let mut items: BTreeMap<String, [Vec<&Value>; 2]> = BTreeMap::new();
        for (side, values) in [left, right].into_iter().enumerate() {
            for item in values {
                if let Ok(step) = item_step(list, item) {
                    items.entry(step).or_default()[side].push(item);
                }
            }
        }
        for (step, [old, new]) in items {
            let one = |items: &[&'_ Value]| items.first().map(|item| (*item).clone());
            let behind = match (old.as_slice(), new.as_slice()) {
                (old @ ([] | [_]), new @ ([] | [_])) => {
                    self.compare(list.element, old.first().copied(), new.first().copied())
                }
                (old @ [_, _, ..], new @ [_, _, ..]) => {
                    let changed = old.len() != new.len() || old.iter().zip(new).any(|(a, b)| !same(a, b));
                    let modified = Marks { member: changed, ..Marks::default() };
                    Difference { modified, ..Difference::default() }
                }
                (_, new @ ([] | [_])) => {
                    let mut behind = match one(new) {
                        Some(new) => self.compare(list.element, None, Some(&new)),
                        None => Difference::default(),
                    };
                    behind.removed.member = true;
                    behind
                }
                (old, _) => {
                    let mut behind = match one(old) {
                        Some(old) => self.compare(list.element, Some(&old), None),
                        None => Difference::default(),
                    };
                    behind.added.member = true;
                    behind
                }
            };
            difference.add(|| step, behind);
        }
        difference
    }

    fn merge(
        &self,
        id: TypeId,
        live: Option<&Value>,
        config: Option<&Value>,
        path: &mut String,
        faults: &mut Faults,
    ) -> Option<Value> {
        let (Some(old), Some(new)) = (live, config) else { return config.or(live).cloned() };
        let own = self.get(id);
        match own.atom(config) {
            Some(Atom::Map(fields)) if !fields.atomic => {
                let (left, right) = (as_map(live), as_map(config));
                if left.is_none_or(Map::is_empty) && right.is_none_or(Map::is_empty) {
                    return config.cloned();
                }
                if !(old.is_object() || old.is_null()) {
                    return config.cloned();
                }
                let mut merged = Map::new();
                for (name, old) in left.into_iter().flatten() {
                    let new = right.and_then(|right| right.get(name));
                    let child = self.child(fields, name);
                    let value = at(path, &field_step(name), |path| self.merge(child, Some(old), new, path, faults));
                    merged.extend(value.map(|value| (name.clone(), value)));
                }
                for (name, new) in right.into_iter().flatten() {
                    if left.is_none_or(|left| !left.contains_key(name)) {
                        merged.insert(name.clone(), new.clone());
                    }
                }
                (!merged.is_empty()).then_some(Value::Object(merged))
            }
            Some(Atom::List(list)) if list.items != Items::Atomic => {
                let (left, right) = (as_list(live), as_list(config));
                if left.is_empty() && right.is_empty() {
                    return Some(new.clone());
                }
                let merged = self.merge_items(list, left, right, path, faults);
                (!merged.is_empty()).then_some(Value::Array(merged))
            }
            _ => Some(new.clone()),
        }
    }

    /// Merges two lists by what tells their items apart. Items of both keep the order of `config`, the others that of
    /// `live`, in between.
    fn merge_items(
        &self,
        list: &List,
        live: &[Value],
        config: &[Value],
        path: &mut String,
        faults: &mut Faults,
    ) -> Vec<Value> {
        let mut index = |items: &[Value], repeats: bool| {
            let mut steps = Vec::with_capacity(items.len());
            let mut seen: HashMap<String, Option<usize>> = HashMap::with_capacity(items.len());
            for (i, item) in items.iter().enumerate() {
                match item_step(list, item) {
                    Err(why) => faults.push((path.clone(), format!("element {i}: {why}"))),
                    Ok(step) => {
                        let repeated = seen.contains_key(&step);
                        if repeated && !repeats {
                            let mut key = String::new();
                            super::set::push_step(&mut key, &step);
                            faults.push((path.clone(), format!("duplicate entries for key {key}")));
                            continue;
                        }
                        // Items that repeat are not merged with others.
                        seen.insert(step.clone(), (!repeated).then_some(i));
                        steps.push((step, i));
                    }
                }
            }
            (steps, seen)
        };
        let (new_steps, new_places) = index(config, false);
        let (old_steps, old_places) = index(live, true);
        let mut shared = new_steps.iter().map(|(step, _)| step).filter(|step| old_places.contains_key(*step));
        let mut next_shared = shared.next();
        let mut merged = Vec::with_capacity(live.len().max(config.len()));
        let mut taken: HashSet<&str> = HashSet::new();
        let (mut l, mut r) = (0, 0);
        while l < old_steps.len() || r < new_steps.len() {
            let (old, new) = (old_steps.get(l), new_steps.get(r));
            if let (Some((old_step, _)), Some((new_step, _))) = (old, new)
                && old_step != new_step
                && new_places.contains_key(old_step)
                && next_shared.is_some_and(|next| next != old_step)
            {
                // An item of both, but not the one whose turn it is.
                l += 1;
                continue;
            }
            let both = matches!((old, new), (Some((old, _)), Some((new, _))) if old == new);
            if let Some((step, i)) = old
                && !both
            {
                if !new_places.contains_key(step) {
                    merged.push(live[*i].clone());
                    l += 1;
                    continue;
                }
                if taken.contains(step.as_str()) {
                    l += 1;
                }
            }
            if let Some((step, i)) = new {
                taken.insert(step);
                let known = old_places.get(step).copied().flatten().map(|i| &live[i]);
                let value = at(path, step, |path| self.merge(list.element, known, Some(&config[*i]), path, faults));
                merged.extend(value);
                r += 1;
                if next_shared.is_some_and(|next| next == step) {
                    next_shared = shared.next();
                }
                if both {
                    l += 1;
                }
            }
        }
        merged
    }

    /// What loses all that is in it stays, empty.
    fn remove_within(&self, id: TypeId, value: &Value, fields: &FieldSet) -> Value {
        match (self.remove(id, value, fields), value) {
            (Value::Null, Value::Object(_)) => Value::Object(Map::new()),
            (Value::Null, Value::Array(_)) => Value::Array(Vec::new()),
            (left, _) => left,
        }
    }

    fn remove(&self, id: TypeId, value: &Value, fields: &FieldSet) -> Value {
        match self.get(id).atom(Some(value)) {
            Some(Atom::Map(types)) => {
                let Value::Object(map) = value else { return Value::Null };
                if types.atomic {
                    return Value::Null;
                }
                let mut left = Map::new();
                for (name, value) in map {
                    match fields.step(&field_step(name)) {
                        Some(step) if step.member => {}
                        Some(step) => {
                            let inner = self.remove_within(self.child(types, name), value, &step.below);
                            left.insert(name.clone(), inner);
                        }
                        None => drop(left.insert(name.clone(), value.clone())),
                    }
                }
                if left.is_empty() { Value::Null } else { Value::Object(left) }
            }
            Some(Atom::List(list)) => {
                let Value::Array(items) = value else { return Value::Null };
                if list.items == Items::Atomic {
                    return Value::Null;
                }
                let left = items.iter().filter_map(|item| {
                    let step = item_step(list, item).ok();
                    match step.and_then(|step| fields.step(&step)) {
                        Some(step) if step.member => None,
                        Some(step) => Some(self.remove_within(list.element, item, &step.below)),
                        None => Some(item.clone()),
                    }
                });
                let left: Vec<Value> = left.collect();
                if left.is_empty() { Value::Null } else { Value::Array(left) }
            }
            Some(Atom::Scalar(_)) | None => value.clone(),
        }
    }

    fn with_parents(&self, id: Option<TypeId>, set: &FieldSet) -> FieldSet {
        let own = id.map(|id| self.get(id));
        let map = own.and_then(|own| own.map.as_ref());
        let mut whole = FieldSet::default();
        for step in set.steps() {
            let name = step.name.strip_prefix("f:");
            let declared = name.and_then(|name| map?.declared(name));
            let below = match name {
                Some(_) => declared.or(map.and_then(|map| map.others)),
                None if step.name.starts_with("k:") => own.and_then(|own| own.list.as_ref()).map(|list| list.element),
                None => None,
            };
            let leads = declared.is_some() && !step.below.is_empty();
            whole.add(&step.name, step.member || leads, self.with_parents(below, &step.below));
        }
        whole
    }
}
