//! The caches that all controllers share: one per kind, over all tenants, started once if any controller wants it.

use crate::instances::Slots;
use crate::view::{Controlled, Pod, View};
use api::{Result, selector};
use client::{Cache, Change, Client, Index, ListParams, ObjectRef, Reflector, reflect};
use futures::FutureExt;
use futures::future::BoxFuture;
use runtime::Stop;
use std::any::{Any, TypeId};
use std::collections::HashMap;

/// The cache of one kind, before it is started.
pub struct Informer<T> {
    cache: Cache<T>,
    reflector: Reflector<T>,
}

impl<T: View> Informer<T> {
    pub fn cache(&self) -> Cache<T> {
        self.cache.clone()
    }

    /// Calls `f` after each change to the cache; it must not wait.
    pub fn on_change(&mut self, f: impl Fn(&Change<T>) + Send + Sync + 'static) {
        self.reflector.on_change(f);
    }
}

/// An informer of any kind.
trait AnyInformer: Send {
    fn as_any(&mut self) -> &mut dyn Any;
    fn resource(&self) -> &'static str;
    fn synced(&self) -> BoxFuture<'static, ()>;
    fn select(&mut self, fields: String);
    fn run(self: Box<Self>, stop: Stop) -> BoxFuture<'static, Result<()>>;
}

impl<T: View> AnyInformer for Informer<T> {
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn resource(&self) -> &'static str {
        T::RESOURCE.plural
    }

    fn synced(&self) -> BoxFuture<'static, ()> {
        let cache = self.cache.clone();
        async move { cache.synced().await }.boxed()
    }

    fn select(&mut self, fields: String) {
        self.reflector.select(fields);
    }

    fn run(self: Box<Self>, stop: Stop) -> BoxFuture<'static, Result<()>> {
        self.reflector.run(stop).boxed()
    }
}

/// What controllers need of a kind. Of what nobody has said anything, everything.
#[derive(Default)]
struct Need {
    whole: bool,
    parts: Vec<(Option<&'static str>, Slots)>,
}

/// A selector that is longer asks for everything instead.
const SELECTOR_BYTES_MAX: usize = 6000;

impl Need {
    /// `None` for everything.
    fn selector(&self) -> Option<String> {
        if self.whole {
            return None;
        }
        let mut alternatives: Vec<String> =
            self.parts.iter().map(|(owner_kind, slots)| selector::ranges(*owner_kind, &slots.ranges())).collect();
        if self.parts.iter().any(|(owner_kind, _)| owner_kind.is_some()) {
            alternatives.push(selector::orphans());
        }
        alternatives.sort();
        alternatives.dedup();
        let selector = alternatives.join(";");
        (!selector.is_empty() && selector.len() <= SELECTOR_BYTES_MAX).then_some(selector)
    }
}

/// The informers that have been asked for.
pub struct Informers {
    client: Client,
    known: HashMap<TypeId, Box<dyn AnyInformer>>,
    /// What is asked of each.
    needs: HashMap<TypeId, Need>,
    indexes: HashMap<TypeId, Box<dyn Any + Send>>,
    pods_by_node: Option<Index<Pod>>,
}

/// Where [`Informers::by_controller`] has the objects of a namespace that nothing controls. No uid looks like this.
pub fn orphans_of(key: &ObjectRef) -> String {
    let tenant = key.tenant.as_ref().map_or("", |t| t.as_str());
    format!("{tenant}/{}", key.namespace)
}

impl Informers {
    /// `client` acts as an identity that may list and watch everything.
    pub fn new(client: Client) -> Informers {
        Informers { client, known: HashMap::new(), needs: HashMap::new(), indexes: HashMap::new(), pods_by_node: None }
    }

    /// The informer of a kind, made when it is first asked for. It follows all objects.
    pub fn of<T: View>(&mut self) -> &mut Informer<T> {
        self.needs.entry(TypeId::of::<T>()).or_default().whole = true;
        self.informer()
    }

    /// The same, of which only a part is needed: what has hashes in these slots, or is owned by such an object of a kind,
    /// or by nobody. It follows all parts that anyone needs.
    pub fn part<T: View>(&mut self, owner_kind: Option<&'static str>, slots: Slots) -> &mut Informer<T> {
        let need = self.needs.entry(TypeId::of::<T>()).or_default();
        match slots == Slots::ALL || !T::FIELDS.is_empty() {
            true => need.whole = true,
            false => need.parts.push((owner_kind, slots)),
        }
        self.informer()
    }

    fn informer<T: View>(&mut self) -> &mut Informer<T> {
        let client = &self.client;
        let informer = self.known.entry(TypeId::of::<T>()).or_insert_with(|| {
            let client = if T::ONLY_SYSTEM { client.clone() } else { client.all_tenants() };
            let (cache, reflector, _) = reflect::<T>(client, T::RESOURCE, ListParams::fields(T::FIELDS));
            Box::new(Informer { cache, reflector })
        });
        informer.as_any().downcast_mut().expect("an informer is stored under the type of its view")
    }

    /// Objects by the uid of what controls them; the others under [`orphans_of`].
    pub fn by_controller<T: Controlled>(&mut self) -> Index<T> {
        let cache = self.informer::<T>().cache();
        let index = self.indexes.entry(TypeId::of::<T>()).or_insert_with(|| {
            Box::new(cache.index(|key, object| match object.controller() {
                Some(owner) => vec![owner.uid.clone()],
                None => vec![orphans_of(key)],
            }))
        });
        index.downcast_ref::<Index<T>>().expect("an index is stored under the type of its view").clone()
    }

    /// Pods by the name of the node that they are bound to; the others under the empty name.
    pub fn pods_by_node(&mut self) -> Index<Pod> {
        let cache = self.of::<Pod>().cache();
        let index = || cache.index(|_, pod: &Pod| vec![pod.spec.node_name.clone()]);
        self.pods_by_node.get_or_insert_with(index).clone()
    }

    /// Completes when every cache holds its first list.
    pub fn synced(&self) -> BoxFuture<'static, ()> {
        let all: Vec<_> = self.known.values().map(|i| i.synced()).collect();
        futures::future::join_all(all).map(drop).boxed()
    }

    /// What drives each of them: its name, and how to start it.
    pub fn into_drivers(
        self,
    ) -> impl Iterator<Item = (&'static str, impl FnOnce(Stop) -> BoxFuture<'static, Result<()>>)> {
        let needs = self.needs;
        self.known.into_iter().map(move |(kind, mut informer)| {
            if let Some(selector) = needs.get(&kind).and_then(Need::selector) {
                informer.select(selector);
            }
            (informer.resource(), move |stop| informer.run(stop))
        })
    }
}
