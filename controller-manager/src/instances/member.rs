//! The membership: says that this process lives, and moves slots when instances come and go.

use super::share::Share;
use super::slots::COUNT;
use super::table::{Instance, Living, Shares, TABLE, Table};
use crate::view::View;
use api::{Result, Timestamp};
use client::{CONTROLLER_INSTANCES, Cache, Client, DeleteParams, Events, ListParams, PatchType, Reflector, reflect};
use futures::StreamExt;
use http::HeaderValue;
use runtime::Stop;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often an instance says that it lives.
const RENEW_EVERY: Duration = Duration::from_secs(2);

/// After how long without a word others take the share of an instance.
const LEASE: Duration = Duration::from_secs(7);

/// How long after a word an instance works on without another: less than [`LEASE`] by more than clocks can differ.
const VALID: Duration = Duration::from_secs(5);

/// How often everyone looks at everyone.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long what is in work may take to end when its slot is to go elsewhere; then its writes are refused.
const DRAIN: Duration = Duration::from_millis(1200);

/// How this process shares the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// With nobody: there are no other instances.
    Alone,
    /// With others. This process cannot be cut off from the API, which ends with it.
    WithServer,
    /// With others. It is what an instance of this type says again and again.
    Leased(&'static str),
}

/// The type of an instance that is one process with the only API server of a store.
const WITH_SERVER: &str = "server";

/// This process among the instances.
pub struct Member {
    client: Client,
    share: Share,
    kind: &'static str,
    known: Cache<Instance>,
    changes: Events<Instance>,
    now: fn() -> Timestamp,
    own: Option<Own>,
    /// The version of each other instance, and since when it is known.
    heard: HashMap<String, (String, Instant)>,
    /// The version of the table that this process has replaced, until the cache shows it, and since when.
    replaced: Option<(String, Instant)>,
}

struct Own {
    name: Arc<str>,
    uid: String,
    epoch: i64,
    /// The cache has shown it.
    seen: bool,
    renewed: Instant,
    /// What it says of its share.
    says: Value,
}

impl Member {
    /// A member that does not act yet, and what keeps its view of the others current. `client` may write instances.
    pub fn new(
        client: Client,
        share: Share,
        sharing: Sharing,
        now: fn() -> Timestamp,
    ) -> (Member, Reflector<Instance>) {
        let (known, reflector, changes) = reflect(client.clone(), Instance::RESOURCE, ListParams::default());
        let kind = match sharing {
            Sharing::Leased(kind) => kind,
            Sharing::Alone | Sharing::WithServer => WITH_SERVER,
        };
        let member =
            Member { client, share, kind, known, changes, now, own: None, heard: HashMap::new(), replaced: None };
        (member, reflector)
    }

    /// Takes part until it is told to stop; then leaves. Nothing may be in work by then.
    pub async fn run(mut self, stop: Stop) -> Result<()> {
        tokio::select! {
            biased;
            () = stop.stopped() => return Ok(()),
            // Cancelled at shutdown, before anything was written.
            () = self.known.synced() => {}
        }
        self.bury_predecessors().await;
        loop {
            let failed = self.step().await.inspect_err(|error| tracing::debug!(%error, "sharing work; trying again"));
            let alone = self.is_with_server() && self.others().is_empty() && failed.is_ok();
            let look = async {
                match alone {
                    true => std::future::pending().await,
                    false => tokio::time::sleep(LOOK_EVERY).await,
                }
            };
            tokio::select! {
                biased;
                () = stop.stopped() => break,
                // Cancel-safe: what it tells is in the cache.
                _ = self.changes.next() => {}
                () = look => {}
            }
        }
        self.leave().await;
        Ok(())
    }

    fn is_with_server(&self) -> bool {
        self.kind == WITH_SERVER
    }

    /// Every instance by its name; the table too.
    fn all(&self) -> BTreeMap<String, Arc<Instance>> {
        self.known.list().into_iter().map(|(key, instance)| (key.name, instance)).collect()
    }

    fn others(&self) -> Vec<Arc<Instance>> {
        let own = self.own.as_ref().map(|own| own.name.clone());
        let is_other = |name: &str| name != TABLE && own.as_deref() != Some(name);
        self.all().into_iter().filter(|(name, _)| is_other(name)).map(|(_, instance)| instance).collect()
    }

    /// Those that were one process with the API server cannot live: there is another API server.
    async fn bury_predecessors(&self) {
        if !self.is_with_server() {
            return;
        }
        for dead in self.others().into_iter().filter(|other| other.controller_type == WITH_SERVER) {
            let exactly = DeleteParams::of_uid(&dead.metadata.uid);
            drop(self.client.delete(CONTROLLER_INSTANCES, "", &dead.metadata.name, &exactly).await);
        }
    }

    /// One look at everyone, and what follows from it.
    async fn step(&mut self) -> Result<()> {
        if self.own.is_none() {
            self.join().await?;
        }
        let all = self.all();
        let Some(own) = &mut self.own else { return Ok(()) };
        match (all.get(&*own.name), own.seen) {
            (None, false) => {}
            (Some(_), _) => own.seen = true,
            (None, true) => return self.lost(),
        }
        if !self.renew(false).await? {
            return self.lost();
        }
        self.bury_silent().await;
        self.move_slots(&all).await
    }

    async fn join(&mut self) -> Result<()> {
        let name = format!("{}-{:016x}", self.kind, rand::random::<u64>());
        let controllers: Vec<&str> = self.share.controllers().collect();
        let renewed = Instant::now();
        let instance = json!({
            "apiVersion": "v1", "kind": "ControllerInstance", "metadata": {"name": name},
            "controllerType": self.kind, "controllers": controllers, "isLocked": true,
            "renewTime": (self.now)().to_micro_string(), "leaseDurationSeconds": LEASE.as_secs(),
        });
        let created = self.client.create(CONTROLLER_INSTANCES, "", &instance).await?;
        let uid = created["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let epoch = created["epoch"].as_i64().unwrap_or(1);
        tracing::info!(name, "this instance of the controllers takes part");
        self.own = Some(Own { name: name.into(), uid, epoch, seen: false, renewed, says: Value::Null });
        self.heard.clear();
        self.say_valid();
        Ok(())
    }

    /// Others have taken the work, or the instance was deleted by hand: it starts again under another name.
    fn lost(&mut self) -> Result<()> {
        if let Some(own) = self.own.take() {
            tracing::warn!(name = %own.name, "this instance of the controllers was given up by the others; joining again");
        }
        self.share.allow(&Shares::new());
        self.share.settle(false);
        Ok(())
    }

    /// How long this process may work, and what its writes name.
    fn say_valid(&self) {
        let Some(own) = &self.own else { return };
        let until = (!self.is_with_server()).then(|| own.renewed + VALID);
        self.share.set_fence(HeaderValue::try_from(format!("{}/{}", own.name, own.epoch)).ok());
        self.share.valid(until);
    }

    /// Says that this process lives, where that is due, and what it has. `false` when it was deleted.
    async fn renew(&mut self, epoch: bool) -> Result<bool> {
        let looks = self.share.looks() & 0x7fff_ffff;
        let allowed = self.share.allowed();
        let rows =
            allowed.iter().map(|(controller, slots)| json!({"controller": controller, "slots": slots.to_string()}));
        let last = allowed.values().flat_map(|slots| slots.ranges()).map(|(_, last)| last).max();
        let says = json!({"slots": rows.collect::<Vec<_>>(), "controllerKey": last, "isLocked": allowed.is_empty()});
        let with_others = !self.others().is_empty();
        let Some(own) = &mut self.own else { return Ok(false) };
        let lives = own.renewed.elapsed() >= RENEW_EVERY && (self.kind != WITH_SERVER || with_others);
        if !lives && !epoch && own.says == says {
            return Ok(true);
        }
        let begun = Instant::now();
        let mut patch = says.clone();
        patch["metadata"] = json!({"uid": own.uid});
        patch["renewTime"] = json!((self.now)().to_micro_string());
        patch["workloadNum"] = json!(looks);
        patch["epoch"] = json!(own.epoch + i64::from(epoch));
        match self.client.patch(CONTROLLER_INSTANCES, "", &own.name, PatchType::Merge, &patch, None).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() || error.is_conflict() => return Ok(false),
            Err(error) => return Err(error),
        }
        if begun.saturating_duration_since(own.renewed) > LEASE {
            // While this process was silent it did not hear the others either.
            self.heard.clear();
        }
        (own.renewed, own.says) = (begun, says);
        own.epoch += i64::from(epoch);
        self.say_valid();
        Ok(true)
    }

    /// Deletes instances that were silent for too long, unless they have said something meanwhile.
    async fn bury_silent(&mut self) {
        let others = self.others();
        self.heard.retain(|name, _| others.iter().any(|other| other.metadata.name == *name));
        for other in others {
            let (name, version) = (&other.metadata.name, &other.metadata.resource_version);
            let heard = self.heard.entry(name.clone()).or_insert_with(|| (version.clone(), Instant::now()));
            if heard.0 != *version {
                *heard = (version.clone(), Instant::now());
            }
            if heard.1.elapsed() < LEASE {
                continue;
            }
            let exactly =
                DeleteParams { resource_version: Some(version.clone()), ..DeleteParams::of_uid(&other.metadata.uid) };
            match self.client.delete(CONTROLLER_INSTANCES, "", name, &exactly).await {
                Ok(()) => tracing::warn!(name, "an instance of the controllers is silent; others do its work"),
                Err(error) => tracing::debug!(name, %error, "an instance that seemed silent is not"),
            }
        }
    }

    /// Gives up what is to be another's, and takes what is nobody's and to be its own.
    async fn move_slots(&mut self, all: &BTreeMap<String, Arc<Instance>>) -> Result<()> {
        let Some(own) = &self.own else { return Ok(()) };
        if !own.seen {
            return Ok(());
        }
        let own = own.name.clone();
        let version = all.get(TABLE).map_or("", |row| row.metadata.resource_version.as_str());
        if self.replaced.as_ref().is_some_and(|(old, since)| old == version && since.elapsed() < LEASE) {
            return Ok(());
        }
        let living = |(name, instance): (&String, &Arc<Instance>)| {
            (Arc::from(name.as_str()), instance.controllers.iter().cloned().collect())
        };
        let living: Living = all.iter().filter(|(name, _)| *name != TABLE).map(living).collect();
        let row = all.get(TABLE);
        let table = row.map(|row| Table::read(&row.slots)).unwrap_or_default();
        let wanted = table.wanted(&living);
        let (held, target) = (table.held(&own), wanted.held(&own));
        let keeps: Shares = held
            .iter()
            .map(|(controller, slots)| {
                (controller.clone(), slots.and(target.get(controller).copied().unwrap_or_default()))
            })
            .collect();
        let taken = self.share.allow(&keeps);
        if !taken.is_empty() && !self.share.given_up(&taken, DRAIN).await && !self.renew(true).await? {
            return self.lost();
        }
        let mut next = table.clone();
        next.only(&living);
        for controller in living.values().flatten() {
            for slot in 0..COUNT {
                let now = table.owner(controller, slot);
                let to = wanted.owner(controller, slot);
                let is_own = now == Some(&own);
                let is_free = now.is_none_or(|owner| !living.contains_key(owner));
                if (is_own && to != now) || (is_free && to == Some(&own)) {
                    next.set(controller, slot, to.cloned());
                }
            }
        }
        self.share.settle(held == target);
        self.renew(false).await?;
        if next == table {
            return Ok(());
        }
        let mut object = json!({
            "apiVersion": "v1", "kind": "ControllerInstance", "metadata": {"name": TABLE},
            "controllerType": TABLE, "slots": next.rows(),
        });
        let written = match row {
            None => self.client.create(CONTROLLER_INSTANCES, "", &object).await,
            Some(row) => {
                object["metadata"]["uid"] = json!(row.metadata.uid);
                object["metadata"]["resourceVersion"] = json!(row.metadata.resource_version);
                self.client.update(CONTROLLER_INSTANCES, "", &object).await
            }
        };
        if !written.as_ref().is_err_and(|error| error.is_conflict() || error.is_already_exists()) {
            self.replaced = Some((version.to_owned(), Instant::now()));
        }
        match written {
            // Another was faster: the table it wrote comes next.
            Err(error) if error.is_conflict() || error.is_already_exists() => Ok(()),
            other => other.map(drop),
        }
    }

    /// Goes: the others find its slots without an owner.
    async fn leave(&mut self) {
        self.share.allow(&Shares::new());
        let Some(own) = self.own.take() else { return };
        let exactly = DeleteParams::of_uid(&own.uid);
        let gone = self.client.delete(CONTROLLER_INSTANCES, "", &own.name, &exactly);
        if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(1), gone).await {
            tracing::debug!(%error, "the others have to notice themselves that this instance is gone");
        }
    }
}
