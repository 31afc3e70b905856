//! What a write does to the managers of an object: an update takes the fields that it changes, an apply those that it
//! names, and what is no longer applied by anybody goes.

use super::entries::{Fields, Id, Managed, Manager};
use super::set::{FieldSet, count_members};
use super::types::Typed;
use super::walk::{Comparison, same};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// How many managers that update an object has; older ones are made one.
const UPDATERS_MAX: usize = 10;
const OLD_UPDATES: &str = "ancient-changes";
const BEFORE_APPLY: &str = "before-first-apply";

/// The versions of a kind, as far as managers use them.
pub trait Versions {
    /// The type of the kind's objects in a version; `None` for a version that is not served.
    fn typed(&self, api_version: &str) -> Option<Typed<'_>>;
    /// An object in another version.
    fn convert(&self, object: &Value, from: &str, to: &str) -> Option<Value>;
}

/// A write whose managers are to be kept.
pub struct Writer<'a> {
    /// Empty counts as `unknown`.
    pub manager: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    pub api_version: &'a str,
    /// As managers' times are written.
    pub now: &'a str,
    pub versions: &'a dyn Versions,
    /// Fields that this write does not change, whatever it holds.
    pub ignored: &'a FieldSet,
    /// A new object of the kind, before anything is set.
    pub empty: &'a Value,
}

/// Why an object is not applied.
#[derive(Debug)]
pub enum Refused {
    /// Others manage fields that the apply would change.
    Conflicts(Vec<Conflict>),
    /// The patch does not fit its type.
    Invalid(String),
}

/// A field that somebody else manages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The manager as messages name it.
    pub manager: String,
    /// The field as messages name it.
    pub path: String,
}

impl Writer<'_> {
    fn id(&self, applies: bool, name: &str) -> Id<'static> {
        let name = if name.is_empty() { "unknown" } else { name };
        let version = if applies { "" } else { self.api_version };
        Id {
            name: Cow::Owned(name.to_owned()),
            applies,
            updates_version: Cow::Owned(version.to_owned()),
            subresource: Cow::Owned(self.subresource.to_owned()),
        }
    }

    fn typed(&self) -> Typed<'_> {
        match self.versions.typed(self.api_version) {
            Some(typed) => typed,
            None => super::types::deduced_type(),
        }
    }

    /// The managers of a new object, if these are those that it came with.
    pub fn create(&self, managed: Managed<'_>, new: &Value) -> String {
        self.track(managed, self.empty, new, self.manager).write()
    }

    /// The managers after `live` became `new`. Where nobody manages an object, nobody does after an update.
    pub fn update<'m>(&self, managed: Managed<'m>, live: &Value, new: &Value) -> Managed<'m> {
        if managed.is_empty() {
            return managed;
        }
        self.track(managed, live, new, self.manager)
    }

    fn track<'m>(&self, mut managed: Managed<'m>, live: &Value, new: &Value, manager: &str) -> Managed<'m> {
        let change = self.typed().compare(live, new).without(self.ignored);
        let id = self.id(false, manager);
        let time = (self.subresource != "scale").then(|| Cow::Owned(self.now.to_owned()));
        if let [only] = &mut *managed.0
            && only.id == id
            && only.api_version == self.api_version
            && is_covered(&change, &only.fields)
        {
            // Its fields stay as they are written, as with every heartbeat.
            only.time = time;
            return managed;
        }
        let change = self.take_from_others(&mut managed, change, None, live, new);
        let own = change.added.union(change.modified).difference(unmanaged());
        if !own.is_empty() {
            let own = match managed.take(&id) {
                Some(previous) => own.union(previous.fields.set()),
                None => own,
            };
            let api_version = Cow::Owned(self.api_version.to_owned());
            managed.0.push(Manager { id, api_version, time, fields: Fields::Set(own) });
        }
        cap(managed)
    }

    /// Takes what changed from all managers but `own`, and drops those that have nothing left or use unknown versions.
    /// Gives the change back.
    fn take_from_others(
        &self,
        managed: &mut Managed<'_>,
        change: Comparison,
        own: Option<&Id<'_>>,
        live: &Value,
        new: &Value,
    ) -> Comparison {
        if managed.is_empty() {
            return change;
        }
        let touched = (!change.is_empty())
            .then(|| change.added.clone().union(change.modified.clone()).union(change.removed.clone()));
        let mut elsewhere = Elsewhere::default();
        managed.0.retain_mut(|manager| {
            if own == Some(&manager.id) {
                return true;
            }
            let touched = if manager.api_version == self.api_version {
                touched.as_ref()
            } else {
                match elsewhere.change(self, &manager.api_version, live, new) {
                    None => return false,
                    Some(change) => change.touched.as_ref(),
                }
            };
            match &manager.fields {
                Fields::Text("{}") => return false,
                Fields::Text(text) if touched.is_none_or(|touched| count_members(text, touched) == Some(0)) => {
                    return true;
                }
                Fields::Text(_) | Fields::Set(_) => {}
            }
            let mut left = manager.fields.set();
            if let Some(touched) = touched {
                left = left.difference(touched);
            }
            let keeps = !left.is_empty();
            manager.fields = Fields::Set(left);
            keeps
        });
        change
    }

    /// Applies `config` to `live`, or to nothing. Gives the object, not yet defaulted, and its managers.
    pub fn apply<'m>(
        &self,
        managed: Managed<'m>,
        live: Option<&Value>,
        config: &Value,
        force: bool,
    ) -> Result<(Value, Managed<'m>), Refused> {
        let live = live.unwrap_or(self.empty);
        let applied = self.apply_once(managed.clone(), live, config, force);
        // kubectl takes over what it applied on the client's side.
        let applied = match applied {
            Err(Refused::Conflicts(conflicts)) if self.manager == super::last_applied::KUBECTL => {
                match super::last_applied::applied_fields(self.typed(), self.api_version, live) {
                    None => Err(Refused::Conflicts(conflicts)),
                    Some(allowed) => {
                        let mut paths = std::collections::HashSet::new();
                        allowed.for_each_path(&mut |path| {
                            paths.insert(path.to_owned());
                        });
                        let left: Vec<Conflict> =
                            conflicts.into_iter().filter(|conflict| !paths.contains(&conflict.path)).collect();
                        if left.is_empty() {
                            self.apply_once(managed, live, config, true)
                        } else {
                            Err(Refused::Conflicts(left))
                        }
                    }
                }
            }
            other => other,
        };
        let (mut object, managed) = applied?;
        if self.manager == super::last_applied::KUBECTL {
            super::last_applied::keep_current(&mut object, config);
        }
        Ok((object, managed))
    }

    fn apply_once<'m>(
        &self,
        mut managed: Managed<'m>,
        live: &Value,
        config: &Value,
        force: bool,
    ) -> Result<(Value, Managed<'m>), Refused> {
        let typed = self.typed();
        if managed.is_empty() {
            managed = self.track(managed, self.empty, live, BEFORE_APPLY);
        }
        check_config(typed, config).map_err(Refused::Invalid)?;
        let merged =
            typed.merge(live, config).map_err(|why| Refused::Invalid(format!("failed to merge config: {why}")))?;
        let id = self.id(true, self.manager);
        let last = managed.take(&id);
        let own = typed.fields(config).without(self.ignored);
        let last_set = last.as_ref().map(|last| last.fields.set()).unwrap_or_default();
        let own_manager = |fields: FieldSet| Manager {
            id: id.clone(),
            api_version: Cow::Owned(self.api_version.to_owned()),
            time: last.as_ref().and_then(|last| last.time.clone()),
            fields: Fields::Set(fields),
        };
        managed.0.push(own_manager(own.clone()));
        let last_version = last.as_ref().map_or(self.api_version, |last| &last.api_version);
        let dropped = last_version != self.api_version || !last_set.clone().difference(&own).is_empty();
        let object = if dropped { self.prune(merged, &managed, &last_set, last_version) } else { merged };
        let change = typed.compare(live, &object).without(self.ignored);
        if !force {
            let conflicts = self.conflicts(&managed, &change, &id, live, &object);
            if !conflicts.is_empty() {
                return Err(Refused::Conflicts(conflicts));
            }
        }
        self.take_from_others(&mut managed, change, Some(&id), live, &object);
        let own = own.difference(unmanaged());
        if own.is_empty() {
            managed.take(&id);
        } else if let Some(manager) = managed.get_mut(&id) {
            manager.fields = Fields::Set(own);
            if !same(live, &object) {
                manager.time = Some(Cow::Owned(self.now.to_owned()));
            }
        }
        Ok((object, cap(managed)))
    }

    fn conflicts(
        &self,
        managed: &Managed<'_>,
        change: &Comparison,
        own: &Id<'_>,
        live: &Value,
        object: &Value,
    ) -> Vec<Conflict> {
        let mut elsewhere = Elsewhere::default();
        let mut others: Vec<&Manager<'_>> = managed.0.iter().filter(|manager| manager.id != *own).collect();
        others.sort_by(|a, b| a.id.cmp(&b.id));
        let wanted = change.modified.clone().union(change.added.clone());
        let mut conflicts = Vec::new();
        for manager in others {
            let wanted = if manager.api_version == self.api_version {
                Some(&wanted)
            } else {
                elsewhere.change(self, &manager.api_version, live, object).map(|change| &change.wanted)
            };
            let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { continue };
            let shown = manager.id.shown();
            manager.fields.set().intersection(wanted).for_each_path(&mut |path| {
                conflicts.push(Conflict { manager: shown.clone(), path: path.to_owned() });
            });
        }
        conflicts
    }

    /// The merged object without what the manager applied before and neither it nor anybody else has now.
    fn prune(&self, merged: Value, managed: &Managed<'_>, last: &FieldSet, last_version: &str) -> Value {
        let convert = |object: &Value, from: &str, to: &str| {
            if from == to { Some(object.clone()) } else { self.versions.convert(object, from, to) }
        };
        let prune = || {
            let typed = self.versions.typed(last_version)?;
            let at_last = convert(&merged, self.api_version, last_version)?;
            let last = typed.with_parents(last);
            let mut pruned = typed.remove(&at_last, &last);
            let mut owned: BTreeMap<&str, FieldSet> = BTreeMap::new();
            for manager in &managed.0 {
                let set = owned.entry(&*manager.api_version).or_default();
                *set = std::mem::take(set).union(manager.fields.set());
            }
            let first = owned.remove(last_version).map(|set| (last_version, set));
            let mut version = last_version;
            for (other, owned) in first.into_iter().chain(owned) {
                let Some(typed) = self.versions.typed(other) else { continue };
                let all = convert(&at_last, last_version, other)?;
                let left = convert(&pruned, version, other)?;
                let of = |object: &Value| typed.with_parents(&typed.fields(object));
                let kept = of(&left).union(typed.with_parents(&owned));
                pruned = typed.remove(&all, &of(&all).difference(&kept));
                version = other;
            }
            let pruned = convert(&pruned, version, last_version)?;
            let of = |object: &Value| typed.with_parents(&typed.fields(object));
            let gone = of(&at_last).difference(&of(&pruned)).intersection(&last);
            convert(&typed.remove(&at_last, &gone), last_version, self.api_version)
        };
        if last.is_empty() {
            return merged;
        }
        prune().unwrap_or(merged)
    }
}

/// Whether a change gave other values to fields in this set, and did nothing else.
fn is_covered(change: &Comparison, fields: &Fields<'_>) -> bool {
    let Fields::Text(text) = fields else { return false };
    change.added.is_empty()
        && change.removed.is_empty()
        && !change.modified.is_empty()
        && count_members(text, &change.modified) == Some(change.modified.len())
}

/// A change as managers of other versions see it.
#[derive(Default)]
struct Elsewhere(BTreeMap<String, Option<Seen>>);

struct Seen {
    touched: Option<FieldSet>,
    wanted: FieldSet,
}

impl Elsewhere {
    /// `None` for a version that is not served.
    fn change(&mut self, writer: &Writer<'_>, version: &str, live: &Value, new: &Value) -> Option<&Seen> {
        if !self.0.contains_key(version) {
            let see = || {
                let typed = writer.versions.typed(version)?;
                let live = writer.versions.convert(live, writer.api_version, version)?;
                let new = writer.versions.convert(new, writer.api_version, version)?;
                let change = typed.compare(&live, &new).without(writer.ignored);
                let wanted = change.added.union(change.modified);
                let touched = wanted.clone().union(change.removed);
                Some(Seen { touched: (!touched.is_empty()).then_some(touched), wanted })
            };
            self.0.insert(version.to_owned(), see());
        }
        self.0.get(version).and_then(Option::as_ref)
    }
}

/// Makes the oldest of too many managers that update the object one.
fn cap(mut managed: Managed<'_>) -> Managed<'_> {
    let updaters = managed.0.iter().filter(|manager| !manager.id.applies).count();
    if updaters <= UPDATERS_MAX {
        return managed;
    }
    let (mut updaters, mut all): (Vec<_>, Vec<_>) = managed.0.drain(..).partition(|manager| !manager.id.applies);
    updaters.sort_by(|a, b| (&a.time, &a.id).cmp(&(&b.time, &b.id)));
    let mut left = updaters.len();
    // The first of a version stays as it is until a second one joins it.
    let mut buckets: Vec<Manager<'_>> = Vec::new();
    let mut kept = Vec::new();
    for manager in updaters {
        if left <= UPDATERS_MAX {
            kept.push(manager);
            continue;
        }
        match buckets.iter_mut().find(|bucket| bucket.api_version == manager.api_version) {
            None => buckets.push(manager),
            Some(bucket) => {
                bucket.id = Id {
                    name: Cow::Borrowed(OLD_UPDATES),
                    applies: false,
                    updates_version: bucket.api_version.clone(),
                    subresource: Cow::Borrowed(""),
                };
                bucket.fields = Fields::Set(bucket.fields.set().union(manager.fields.set()));
                bucket.time = manager.time;
                left -= 1;
            }
        }
    }
    for bucket in buckets {
        // An older bucket may have been written to by a client, who gave it a later time.
        match kept.iter_mut().find(|manager: &&mut Manager<'_>| manager.id == bucket.id) {
            Some(older) => older.fields = Fields::Set(older.fields.set().union(bucket.fields.set())),
            None => all.push(bucket),
        }
    }
    all.append(&mut kept);
    Managed(all)
}

/// Fields of metadata that nobody manages.
fn unmanaged() -> &'static FieldSet {
    static SET: OnceLock<FieldSet> = OnceLock::new();
    SET.get_or_init(|| {
        let mut set = FieldSet::of_fields(&[&["apiVersion"], &["kind"], &["metadata"]]);
        for field in [
            "clusterName",
            "creationTimestamp",
            "generation",
            "hashKey",
            "managedFields",
            "name",
            "namespace",
            "resourceVersion",
            "selfLink",
            "tenant",
            "uid",
        ] {
            set.insert(&["f:metadata", &format!("f:{field}")]);
        }
        set
    })
}

/// Whether a configuration fits its built-in type, in upstream's words.
pub fn check(group: &str, version: &str, kind: &str, config: &Value) -> Result<(), String> {
    match super::types::builtin_type(group, version, kind) {
        Some(typed) => check_config(typed, config),
        None => Ok(()),
    }
}

fn check_config(typed: Typed<'_>, config: &Value) -> Result<(), String> {
    let unfit = |why| format!("failed to create typed patch object ({}): {why}", described(config));
    typed.check(config, false).map_err(unfit)
}

/// An object as messages name it.
fn described(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
    let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let version = if version.contains('/') { version } else { format!("/{version}") };
    format!("{namespace}/{name}; {version}, Kind={kind}")
}
