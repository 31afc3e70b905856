//! Strategic merge patch: lists are merged by keys that the schema names, directives in the patch say more.
//!
//! `$patch: replace|delete|merge` in an object or as an element of a list, `$retainKeys`, `$setElementOrder/LIST`,
//! `$deleteFromPrimitiveList/LIST`.

use crate::definitions::{Definition, Definitions, Field, Schema};
use api::Error;
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

type Object = Map<String, Value>;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Applies a strategic merge patch. 400 for a patch in no proper form.
pub fn strategic(defs: &Definitions, def: &Definition, target: Value, patch: &Value) -> api::Result<Value> {
    let (Value::Object(target), Value::Object(patch)) = (target, patch) else {
        return Err(Error::bad_request("invalid JSON document"));
    };
    let merged = merge_object(Types { defs, here: Here::Object(def) }, target, patch.clone())?;
    Ok(Value::Object(merged))
}

/// What is known of the types at a place of the object.
#[derive(Clone, Copy)]
struct Types<'a> {
    defs: &'a Definitions,
    here: Here<'a>,
}

#[derive(Clone, Copy)]
enum Here<'a> {
    Object(&'a Definition),
    /// A map of values of this schema.
    Map(&'a Schema),
    Unknown,
}

impl<'a> Types<'a> {
    fn field(self, name: &str) -> Option<&'a Field> {
        match self.here {
            Here::Object(def) => def.field(name),
            Here::Map(_) | Here::Unknown => None,
        }
    }

    /// The types within a field, or within the elements of a field that is a list.
    fn within(self, name: &str) -> Types<'a> {
        let schema = match self.here {
            Here::Object(def) => def.field(name).map(|field| &field.schema),
            Here::Map(schema) => Some(schema),
            Here::Unknown => None,
        };
        let schema = schema.map(|schema| match schema {
            Schema::List(item) => item,
            Schema::OrBool(other) | Schema::OrList(_, other) => other,
            schema => schema,
        });
        let here = match schema {
            Some(Schema::Object(id)) => Here::Object(self.defs.at(*id)),
            Some(Schema::Map(item)) => Here::Map(item),
            _ => Here::Unknown,
        };
        Types { here, ..self }
    }

    /// The key by which the elements of a list are told apart; `None` for a list that is replaced.
    fn list_key(self, name: &str) -> Option<&'static str> {
        self.field(name)?.merge.list_key
    }
}

fn merge_object(types: Types, mut original: Object, mut patch: Object) -> api::Result<Object> {
    match patch.remove(PATCH) {
        None => {}
        Some(directive) => match directive.as_str() {
            Some("replace") => return Ok(patch),
            Some("delete") => return Ok(Object::new()),
            Some("merge") => {}
            _ => return Err(Error::bad_request(format!("unknown patch type {directive}"))),
        },
    }
    retain_keys(&mut original, &mut patch)?;
    merge_ordered_lists(types, &mut original, &mut patch)?;
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix(DELETE_FROM) {
            delete_from(&mut original, list, value)?;
            continue;
        }
        if value.is_null() {
            original.remove(&name);
            continue;
        }
        let merged = match (original.remove(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                if types.field(&name).is_some_and(|field| field.merge.replace) {
                    Value::Object(new)
                } else {
                    Value::Object(merge_object(types.within(&name), old, new)?)
                }
            }
            (Some(Value::Array(old)), Value::Array(new)) => match types.list_key(&name) {
                Some(key) => Value::Array(merge_list(types.within(&name), key, old, new)?),
                None => Value::Array(new),
            },
            (_, new) => match without_directives(new) {
                Some(new) => new,
                None => continue,
            },
        };
        original.insert(name, merged);
    }
    Ok(original)
}

/// `$retainKeys` lists what may stay; the patch itself must keep to it.
fn retain_keys(original: &mut Object, patch: &mut Object) -> api::Result<()> {
    let Some(retained) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let malformed = || Error::bad_request("invalid patch format of retainKeys");
    let retained: HashSet<&str> = retained.as_array().ok_or_else(malformed)?.iter().filter_map(Value::as_str).collect();
    let directive = |name: &str| name.starts_with(DELETE_FROM) || name.starts_with(SET_ORDER);
    if patch.iter().any(|(name, value)| !value.is_null() && !directive(name) && !retained.contains(name.as_str())) {
        return Err(malformed());
    }
    original.retain(|name, _| retained.contains(name.as_str()));
    Ok(())
}

/// `$deleteFromPrimitiveList/LIST` holds what goes from a list of scalars.
fn delete_from(original: &mut Object, list: &str, deleted: Value) -> api::Result<()> {
    let Value::Array(deleted) = deleted else {
        return Err(Error::bad_request("invalid patch format of primitive list"));
    };
    if let Some(Value::Array(items)) = original.get_mut(list) {
        let deleted: HashSet<String> = deleted.iter().map(Value::to_string).collect();
        items.retain(|item| !deleted.contains(&item.to_string()));
    }
    Ok(())
}

/// `$setElementOrder/LIST` holds the keys of a list's elements in their order. Takes these lists out of the patch.
fn merge_ordered_lists(types: Types, original: &mut Object, patch: &mut Object) -> api::Result<()> {
    let directives: Vec<String> = patch.keys().filter(|name| name.starts_with(SET_ORDER)).cloned().collect();
    for directive in directives {
        let malformed = || Error::bad_request("invalid patch format of setElementOrder list");
        let Some(Value::Array(order)) = patch.remove(&directive) else { return Err(malformed()) };
        let name = &directive[SET_ORDER.len()..];
        let key = types.list_key(name).unwrap_or_default();
        let added = match patch.remove(name) {
            None | Some(Value::Null) => None,
            Some(Value::Array(added)) => Some(added),
            Some(_) => return Err(malformed()),
        };
        let live = match original.get(name) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(live)) => live.clone(),
            Some(_) => return Err(malformed()),
        };
        if let Some(added) = &added {
            check_order(key, added, &order)?;
        }
        let merged = match (added, types.list_key(name)) {
            (Some(added), Some(key)) if !live.is_empty() => merge_list(types.within(name), key, live.clone(), added)?,
            (Some(added), _) => match without_directives(Value::Array(added)) {
                Some(Value::Array(added)) => added,
                _ => Vec::new(),
            },
            (None, _) if live.is_empty() => continue,
            (None, _) => live.clone(),
        };
        original.insert(name.to_owned(), Value::Array(ordered(key, merged, &order, &live)?));
    }
    Ok(())
}

/// The elements of a patch must stand in the order that it sets.
fn check_order(key: &str, added: &[Value], order: &[Value]) -> api::Result<()> {
    let mut order_left = order.iter().map(|element| identity(key, element));
    for element in added.iter().filter(|element| element.get(PATCH).is_none()) {
        let wanted = identity(key, element);
        if !order_left.any(|candidate| candidate == wanted) {
            let message = format!("the order in patch list {} does not match {SET_ORDER} list", Value::from(added));
            return Err(Error::bad_request(message));
        }
    }
    Ok(())
}

/// Merges two lists, of scalars if the key is empty.
fn merge_list(types: Types, key: &str, mut live: Vec<Value>, patch: Vec<Value>) -> api::Result<Vec<Value>> {
    let objects = live.iter().chain(&patch).filter(|element| element.is_object()).count();
    if live.iter().chain(&patch).any(Value::is_array) {
        return Err(Error::bad_request("lists of lists are not supported"));
    }
    if objects == 0 {
        let mut seen = HashSet::new();
        let merged = live.iter().chain(&patch).filter(|element| seen.insert(element.to_string())).cloned().collect();
        return ordered("", merged, &patch, &live);
    }
    if objects < live.len() + patch.len() || key.is_empty() {
        return Err(Error::bad_request("cannot merge a list of objects with a list of scalars"));
    }
    let (patch, special): (Vec<Value>, Vec<Value>) =
        patch.into_iter().partition(|element| element.get(PATCH).is_none());
    let mut deleted = HashSet::new();
    let mut replaced = false;
    for element in special {
        match element[PATCH].as_str() {
            Some("replace") => replaced = true,
            Some("delete") => {
                deleted.insert(known_identity(key, &element)?);
            }
            _ => return Err(Error::bad_request(format!("unknown patch type {} in a list", element[PATCH]))),
        }
    }
    if replaced {
        return Ok(patch);
    }
    live.retain(|element| identity(key, element).is_none_or(|identity| !deleted.contains(&identity)));
    let mut merged = live.clone();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (i, element) in merged.iter().enumerate() {
        places.extend(identity(key, element).map(|identity| (identity, i)));
    }
    for element in &patch {
        let identity = known_identity(key, element)?;
        match (places.get(&identity), element) {
            (Some(&at), Value::Object(element)) => {
                let old = merged[at].as_object_mut().map(std::mem::take).unwrap_or_default();
                merged[at] = Value::Object(merge_object(types, old, element.clone())?);
            }
            (_, element) => {
                if let Some(element) = without_directives(element.clone()) {
                    places.insert(identity, merged.len());
                    merged.push(element);
                }
            }
        }
    }
    ordered(key, merged, &patch, &live)
}

/// Orders a merged list: the elements that `order` names stand in its order; each of the others is put before the first
/// of these that it preceded in the live list.
fn ordered(key: &str, merged: Vec<Value>, order: &[Value], live: &[Value]) -> api::Result<Vec<Value>> {
    let wanted = places(key, order)?;
    let lived: HashMap<String, usize> =
        live.iter().enumerate().rev().filter_map(|(i, element)| Some((identity(key, element)?, i))).collect();
    let place = |places: &HashMap<String, usize>, element: &Value| {
        identity(key, element).and_then(|identity| places.get(&identity).copied())
    };
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|element| place(&wanted, element).is_some());
    named.sort_by_key(|element| place(&wanted, element));
    others.sort_by_key(|element| place(&lived, element));
    let mut all = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for element in named {
        if let Some(limit) = place(&lived, &element) {
            while let Some(other) = others.next_if(|other| place(&lived, other).is_some_and(|at| at < limit)) {
                all.push(other);
            }
        }
        all.push(element);
    }
    all.extend(others);
    Ok(all)
}

fn places(key: &str, elements: &[Value]) -> api::Result<HashMap<String, usize>> {
    elements.iter().enumerate().rev().map(|(i, element)| Ok((known_identity(key, element)?, i))).collect()
}

/// What tells an element of a list apart; with an empty key the element itself.
fn identity(key: &str, element: &Value) -> Option<String> {
    if key.is_empty() { Some(element.to_string()) } else { element.get(key).map(Value::to_string) }
}

fn known_identity(key: &str, element: &Value) -> api::Result<String> {
    identity(key, element)
        .ok_or_else(|| Error::bad_request(format!("map: {element} does not contain declared merge key: {key}")))
}

/// A value that meets nothing to merge with: its directives and nulls go; `None` if it says to delete.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) => {
            if map.get(PATCH).is_some_and(|directive| directive == "delete") {
                return None;
            }
            let is_directive = |name: &str| {
                matches!(name, PATCH | RETAIN_KEYS) || name.starts_with(SET_ORDER) || name.starts_with(DELETE_FROM)
            };
            let kept = map.into_iter().filter(|(name, value)| !is_directive(name) && !value.is_null());
            Some(kept.filter_map(|(name, value)| Some((name, without_directives(value)?))).collect::<Object>().into())
        }
        Value::Array(items) => {
            let only_directive = |item: &Value| item.as_object().is_some_and(|o| o.len() == 1 && o.contains_key(PATCH));
            let kept = items.into_iter().filter(|item| !only_directive(item));
            Some(Value::Array(kept.filter_map(without_directives).collect()))
        }
        scalar => Some(scalar),
    }
}
