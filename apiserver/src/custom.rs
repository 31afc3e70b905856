//! The kinds that tenants define: found by tenant, compiled when they are first used, and forgotten when they are not.
//!
//! Nothing is followed: the definitions are read from the store's snapshot, so that what one request wrote the next one
//! sees, and a tenant without definitions costs nothing. [`Catalogue::definition`] is the one place where a tenant's
//! definition is looked for.
//!
//! Invariant: the tenant is part of every key. What is kept weighs no more than `BYTES_MAX`, and of one tenant no more than
//! `TENANT_BYTES_MAX`, measured by the encoded definitions.

use crate::conversion::{Converter, Webhook};
use crate::path::ResourcePath;
use crate::registry::Call;
use crate::server::Server;
use api::{Error, Kind, Object, ObjectKey, Reason, ResourceId, Result, Revision, Space, TenantName};
use dashmap::DashMap;
use kinds::custom::{Definition, GROUP, PLURAL, Version, compare_versions};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What compiled definitions of all tenants may weigh, and those of one.
const BYTES_MAX: usize = 128 << 20;
const TENANT_BYTES_MAX: usize = 16 << 20;

/// How many definitions a tenant may have.
const DEFINITIONS_MAX: usize = 2_000;

/// Tenants that are gone are looked for once the catalogue knows so many more than before.
const FORGET_AFTER: usize = 64;

/// A definition, compiled, and since when what is stored conforms to it.
#[derive(Debug)]
pub struct Compiled {
    pub definition: Definition,
    /// Of the definition's object.
    revision: Revision,
    /// Counts changes of the definition's spec.
    generation: i64,
    /// Objects of later revisions were stored under this spec.
    since: Revision,
    /// Who converts objects, where that takes more than another name of their version.
    webhook: Option<Webhook>,
    bytes: usize,
}

/// A version of a kind that a tenant defines, as a request found it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Custom {
    pub compiled: Arc<Compiled>,
    pub version: Arc<Version>,
    key: Arc<ObjectKey>,
    /// Where a webhook converts objects.
    converter: Option<Arc<Converter>>,
}

impl Custom {
    /// Whether a stored object's bytes are what this version shows.
    pub fn shows_stored(&self, object: &Object) -> bool {
        self.is_current(object) && self.compiled.definition.is_stored_as(&self.version)
    }

    /// Whether an object was stored under this very definition.
    fn is_current(&self, object: &Object) -> bool {
        object.revision > self.compiled.since
    }

    /// A stored object as this version shows it.
    pub fn view(&self, object: &Object) -> Result<Value> {
        self.view_of(object, object.to_value()?)
    }

    /// What a stored object holds, or most of it, as this version shows it. What a webhook converts must be ready.
    pub fn view_of(&self, object: &Object, mut value: Value) -> Result<Value> {
        let definition = &self.compiled.definition;
        if let (Some(converter), false) = (&self.converter, self.is_shown(&value)) {
            let mut converted =
                converter.converted(object).ok_or_else(|| Error::internal("an object was not converted"))?;
            let converted_metadata = converted["metadata"].take();
            for field in ["labels", "annotations"] {
                match &converted_metadata[field] {
                    Value::Null => drop(value["metadata"].as_object_mut().map(|metadata| metadata.remove(field))),
                    texts => value["metadata"][field] = texts.clone(),
                }
            }
            converted["metadata"] = value["metadata"].take();
            return Ok(definition.shown(converted, &self.version));
        }
        definition.view(value, &self.version, self.is_current(object))
    }

    fn is_shown(&self, value: &Value) -> bool {
        value["apiVersion"] == *self.version.kind.api_version()
    }

    /// Has the webhook convert stored objects, where there is one, so that they can be viewed.
    pub async fn ready(&self, objects: &[Arc<Object>]) -> Result<()> {
        let (Some(converter), Some(webhook)) = (&self.converter, &self.compiled.webhook) else { return Ok(()) };
        // By the version that they are stored in: a review has objects of one.
        let mut waiting: BTreeMap<String, (Vec<&Arc<Object>>, Vec<Value>)> = BTreeMap::new();
        for object in objects.iter().filter(|object| !converter.knows(object)) {
            let mut value = object.to_value()?;
            if self.is_shown(&value) {
                continue;
            }
            if !self.is_current(object) {
                self.compiled.definition.conform_stored(&mut value);
            }
            let (waiting, values) =
                waiting.entry(value["apiVersion"].as_str().unwrap_or_default().to_owned()).or_default();
            waiting.push(object);
            values.push(value);
        }
        for (objects, values) in waiting.into_values() {
            let converted = converter.convert(webhook, values, &self.version.kind.api_version()).await?;
            converter.keep(objects.into_iter(), converted);
        }
        Ok(())
    }

    /// Forgets what was converted and has been shown.
    pub fn shown(&self) {
        if let Some(converter) = &self.converter {
            converter.forget();
        }
    }

    /// An object in another version of its kind.
    pub async fn convert(&self, mut value: Value, to: &Version) -> Result<Value> {
        let wanted = to.kind.api_version();
        if value["apiVersion"] == *wanted {
            return Ok(value);
        }
        if let (Some(converter), Some(webhook)) = (&self.converter, &self.compiled.webhook) {
            let mut converted = converter.convert(webhook, vec![value], &wanted).await?;
            return converted.pop().ok_or_else(|| Error::internal("an object was not converted"));
        }
        self.compiled.definition.convert(&mut value, to)?;
        Ok(value)
    }

    /// A request's object as it is stored.
    pub async fn to_stored(&self, value: Value) -> Result<Value> {
        let definition = &self.compiled.definition;
        definition.to_stored(self.convert(value, definition.storage()).await?)
    }

    /// Whether the definition is still the one that was found.
    pub fn is_unchanged(&self, store: &store::Store) -> bool {
        store.snapshot().get(&self.key).is_some_and(|object| object.revision == self.compiled.revision)
    }
}

/// One kind of a tenant, for discovery.
#[derive(Debug)]
struct Row {
    revision: Revision,
    /// Of every version that is served.
    kinds: Vec<Arc<Kind>>,
}

/// The versions of a group, preferred first, with their kinds.
type Versions = Vec<(String, Vec<Arc<Kind>>)>;

/// What discovery tells of a tenant's own kinds.
#[derive(Debug, Default)]
pub struct Listing {
    /// Of the definitions' revisions.
    print: u64,
    rows: BTreeMap<Box<str>, Arc<Row>>,
    /// By the names of groups.
    pub groups: BTreeMap<String, Versions>,
}

/// The kinds of all tenants that were used of late.
#[derive(Default)]
pub struct Catalogue {
    tenants: DashMap<TenantName, Tenant>,
    bytes: AtomicUsize,
    clock: AtomicU64,
    kept: AtomicUsize,
}

#[derive(Default)]
struct Tenant {
    compiled: HashMap<Box<str>, Slot>,
    listing: Option<(Revision, Arc<Listing>)>,
}

struct Slot {
    compiled: Arc<Compiled>,
    /// When it was used last, by the catalogue's clock.
    used: AtomicU64,
}

fn resource() -> ResourceId {
    ResourceId::new(GROUP, PLURAL)
}

impl Catalogue {
    /// The version of a kind that a path names, if the tenant defines it and it is served.
    pub fn find(
        &self,
        server: &Server,
        tenant: &TenantName,
        group: &str,
        version: &str,
        plural: &str,
    ) -> Result<Option<Custom>> {
        let name = format!("{plural}.{group}");
        let Some((key, compiled)) = self.definition(server, tenant, &name)? else { return Ok(None) };
        let found = compiled.definition.served(version).cloned();
        Ok(found.map(|version| {
            let converter = compiled.webhook.is_some().then(|| {
                let converter = Converter::new(server.egress.clone(), tenant.clone());
                Arc::new(converter)
            });
            Custom { compiled, version, key: Arc::new(key), converter }
        }))
    }

    /// The version of a tenant's own kind of a name, if it is served.
    pub fn by_kind(
        &self,
        server: &Server,
        tenant: &TenantName,
        group: &str,
        version: &str,
        kind: &str,
    ) -> Result<Option<Custom>> {
        let Some(listing) = self.listing(server, tenant)? else { return Ok(None) };
        let versions = listing.groups.get(group).into_iter().flatten();
        let mut kinds = versions.filter(|(known, _)| known == version).flat_map(|(_, kinds)| kinds);
        match kinds.find(|known| known.kind == kind) {
            Some(known) => self.find(server, tenant, group, version, &known.plural),
            None => Ok(None),
        }
    }

    /// A tenant's definition of a name, compiled. The one place where one is looked for.
    fn definition(
        &self,
        server: &Server,
        tenant: &TenantName,
        name: &str,
    ) -> Result<Option<(ObjectKey, Arc<Compiled>)>> {
        #[cfg(test)]
        let tenant = &crate::planted::definitions_of(tenant);
        let Ok(key) = ObjectKey::new(resource(), Space::Tenant(tenant.clone()), "", name) else { return Ok(None) };
        let snapshot = server.store.snapshot();
        // What operators force on everyone comes before what a tenant has of the name.
        if let Some(forced) = crate::shared::forced_definition(&snapshot, tenant, name) {
            let system = TenantName::system();
            return Ok(Some((forced.key.clone(), self.compiled(server, &system, name, &forced)?)));
        }
        let Some(object) = snapshot.get(&key).cloned() else { return Ok(None) };
        Ok(Some((key, self.compiled(server, tenant, name, &object)?)))
    }

    /// A definition's object, compiled: as it was before, if it is still the same.
    fn compiled(&self, server: &Server, tenant: &TenantName, name: &str, object: &Object) -> Result<Arc<Compiled>> {
        let before = self.tenants.get(tenant).and_then(|known| {
            let slot = known.compiled.get(name)?;
            slot.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
            Some(slot.compiled.clone())
        });
        if let Some(known) = before.as_ref().filter(|known| known.revision == object.revision) {
            return Ok(known.clone());
        }
        let compiled = Arc::new(compile(object, before.as_deref())?);
        self.keep(server, tenant, name, compiled.clone());
        Ok(compiled)
    }

    fn keep(&self, server: &Server, tenant: &TenantName, name: &str, compiled: Arc<Compiled>) {
        let mut known = self.tenants.entry(tenant.clone()).or_default();
        let used = AtomicU64::new(self.clock.fetch_add(1, Ordering::Relaxed));
        self.bytes.fetch_add(compiled.bytes, Ordering::Relaxed);
        if let Some(before) = known.compiled.insert(name.into(), Slot { compiled, used }) {
            self.bytes.fetch_sub(before.compiled.bytes, Ordering::Relaxed);
        }
        let snapshot = server.store.snapshot();
        let mut freed = 0;
        let scope = store::Scope::Tenant(resource(), tenant.clone());
        if known.compiled.len() > snapshot.count(&scope) {
            let exists = |name: &str| {
                let key = ObjectKey::new(resource(), Space::Tenant(tenant.clone()), "", name);
                key.is_ok_and(|key| snapshot.get(&key).is_some())
            };
            known.compiled.retain(|name, slot| exists(name) || drops(&mut freed, slot));
        }
        let weight = |known: &Tenant| known.compiled.values().map(|slot| slot.compiled.bytes).sum::<usize>();
        while known.compiled.len() > 1 && weight(&known) > TENANT_BYTES_MAX {
            let oldest = known.compiled.iter().min_by_key(|(_, slot)| slot.used.load(Ordering::Relaxed));
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else { break };
            known.compiled.remove(&oldest).inspect(|slot| freed += slot.compiled.bytes);
        }
        drop(known);
        self.bytes.fetch_sub(freed, Ordering::Relaxed);
        self.forget(tenant, |tenant| server.tenant(tenant).is_some());
    }

    /// Forgets tenants that are gone, and everyone else's definitions when all weigh too much together.
    fn forget(&self, of: &TenantName, is_there: impl Fn(&TenantName) -> bool) {
        let (kept, bytes) = (self.kept.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let heavy = bytes > BYTES_MAX;
        if !heavy && self.tenants.len() <= kept.saturating_mul(2).saturating_add(FORGET_AFTER) {
            return;
        }
        let mut freed = 0;
        self.tenants.retain(|tenant, known| {
            let stays = tenant == of || (is_there(tenant) && !heavy);
            if !stays {
                freed += known.compiled.values().map(|slot| slot.compiled.bytes).sum::<usize>();
            }
            stays
        });
        self.bytes.fetch_sub(freed, Ordering::Relaxed);
        self.kept.store(self.tenants.len(), Ordering::Relaxed);
    }

    /// What discovery tells of a tenant's kinds; `None` for a tenant without any.
    pub fn listing(&self, server: &Server, tenant: &TenantName) -> Result<Option<Arc<Listing>>> {
        #[cfg(test)]
        let tenant = &crate::planted::definitions_of(tenant);
        let checked = server.store.resource_revision(&resource());
        if checked == 0 {
            return Ok(None);
        }
        let before = self.tenants.get(tenant).and_then(|known| known.listing.clone());
        if let Some((at, listing)) = &before
            && *at == checked
        {
            return Ok(Some(listing.clone()).filter(|listing| !listing.groups.is_empty()));
        }
        let snapshot = server.store.snapshot();
        let forced = crate::shared::forced_definitions(&snapshot, tenant);
        let own = snapshot.range(&store::Scope::Tenant(resource(), tenant.clone()), None).take(DEFINITIONS_MAX);
        let mut objects: Vec<&Arc<Object>> =
            own.filter(|own| !forced.iter().any(|forced| forced.key.name == own.key.name)).chain(&forced).collect();
        objects.sort_by(|a, b| a.key.name.cmp(&b.key.name));
        if objects.is_empty() && before.is_none() {
            return Ok(None);
        }
        let listing = match before {
            Some((_, before)) if before.is_of(&objects) => before,
            before => Arc::new(Listing::of(&objects, before.as_ref().map(|(_, listing)| &**listing))?),
        };
        self.tenants.entry(tenant.clone()).or_default().listing = Some((checked, listing.clone()));
        self.forget(tenant, |tenant| server.tenant(tenant).is_some());
        Ok(Some(listing).filter(|listing| !listing.groups.is_empty()))
    }
}

fn drops(freed: &mut usize, slot: &Slot) -> bool {
    *freed += slot.compiled.bytes;
    false
}

fn compile(object: &Object, before: Option<&Compiled>) -> Result<Compiled> {
    let value = object.to_value()?;
    let definition = Definition::compile(&value);
    if definition.versions.is_empty() {
        return Err(Error::internal("a stored definition has no versions"));
    }
    let generation = value["metadata"]["generation"].as_i64().unwrap_or(0);
    let same = before.filter(|before| before.generation == generation && before.definition.uid == definition.uid);
    let since = same.map_or(object.revision, |before| before.since);
    let webhook = Webhook::of(&value["spec"]["conversion"]);
    Ok(Compiled { definition, revision: object.revision, generation, since, webhook, bytes: object.bytes.len() })
}

impl Listing {
    /// Tells this listing from those of other definitions.
    pub fn print(&self) -> u64 {
        self.print
    }

    fn is_of(&self, objects: &[&Arc<Object>]) -> bool {
        self.rows.len() == objects.len()
            && self
                .rows
                .iter()
                .zip(objects)
                .all(|((name, row), object)| **name == *object.key.name && row.revision == object.revision)
    }

    fn of(objects: &[&Arc<Object>], before: Option<&Listing>) -> Result<Listing> {
        let mut listing = Listing::default();
        for object in objects {
            let name = &*object.key.name;
            let known = before.and_then(|before| before.rows.get(name)).filter(|row| row.revision == object.revision);
            let row = match known {
                Some(row) => row.clone(),
                None => Arc::new(Row { revision: object.revision, kinds: served(object)? }),
            };
            listing.print = listing.print.wrapping_mul(0x0100_0000_01b3).wrapping_add(row.revision);
            listing.rows.insert(name.into(), row);
        }
        for kind in listing.rows.values().flat_map(|row| &row.kinds) {
            let versions = listing.groups.entry(kind.group.clone()).or_default();
            match versions.iter_mut().find(|(version, _)| *version == kind.version) {
                Some((_, kinds)) => kinds.push(kind.clone()),
                None => versions.push((kind.version.clone(), vec![kind.clone()])),
            }
        }
        for versions in listing.groups.values_mut() {
            versions.sort_by(|(a, _), (b, _)| compare_versions(a, b));
        }
        Ok(listing)
    }
}

/// The kinds of a definition that are served.
fn served(object: &Object) -> Result<Vec<Arc<Kind>>> {
    let mut value = object.to_value()?;
    // Of the schemas, discovery needs nothing.
    for version in value["spec"]["versions"].as_array_mut().into_iter().flatten() {
        version["schema"] = Value::Null;
    }
    let definition = Definition::compile(&value);
    let served = definition.versions.iter().filter(|version| definition.served(&version.kind.version).is_some());
    Ok(served.map(|version| version.kind.clone()).collect())
}

/// Refuses one definition too many.
pub fn admit_definition(call: Call<'_>) -> Result<()> {
    let (group, plural) = (&call.kind.group, &call.kind.plural);
    if *group != GROUP || *plural != PLURAL {
        return Ok(());
    }
    let scope = call.target.scope(call.kind, "")?;
    if call.server.store.snapshot().count(&scope) < DEFINITIONS_MAX {
        return Ok(());
    }
    Err(Error::forbidden(group, plural, "", &format!("a tenant may have no more than {DEFINITIONS_MAX} of them")))
}

/// Refuses what upstream refuses of a kind that a tenant defines, before anything else looks at the request.
pub fn admit(custom: &Custom, path: &ResourcePath, verb: &str) -> Result<()> {
    let kind = &*custom.version.kind;
    let across = matches!(verb, "list" | "watch");
    if path.namespace.is_empty() == kind.namespaced() && !(kind.namespaced() && across) {
        return Err(Error::page_not_found());
    }
    let refused = |why: &str| {
        let error = Error::new(Reason::MethodNotAllowed, format!("{verb} {why}"));
        Err(error.about(&kind.group, &kind.plural, ""))
    };
    if custom.compiled.definition.deleting && path.subresource.is_empty() && verb == "create" {
        return refused("not allowed while custom resource definition is terminating");
    }
    if path.subresource.is_empty() {
        return Ok(());
    }
    if kind.subresource(&path.subresource).is_none() || !path.rest.is_empty() {
        return Err(Error::not_found(&kind.group, &kind.plural, &path.name));
    }
    if !matches!(verb, "get" | "update" | "patch") {
        return refused(&format!("is not supported on resources of kind \"{}.{}\"", kind.plural, kind.group));
    }
    Ok(())
}
