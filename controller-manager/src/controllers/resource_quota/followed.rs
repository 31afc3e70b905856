//! Follows kinds that some quota counts, from when the first one does, so that quotas are counted again when objects of
//! those kinds go. Nothing of the objects is kept but their names.

use super::{Quota, queue_namespace};
use api::Result;
use client::{Cache, Client, DiscoveredResource, ListParams, ObjectRef, WorkQueue, is_operators, reflect};
use runtime::{Stop, Tasks};
use serde::de::IgnoredAny;
use std::collections::HashMap;
use tokio::sync::{Mutex, mpsc};

/// Kinds that wait to be followed.
const WAITING_MAX: usize = 64;

pub struct Followed {
    reader: Client,
    quotas: Cache<Quota>,
    queue: WorkQueue<ObjectRef>,
    /// By group and plural: whether it is followed. One that is not is of some tenant alone.
    known: Mutex<HashMap<(String, String), bool>>,
    sender: mpsc::Sender<DiscoveredResource>,
    waiting: Mutex<mpsc::Receiver<DiscoveredResource>>,
}

impl Followed {
    pub fn new(reader: Client, quotas: Cache<Quota>, queue: WorkQueue<ObjectRef>) -> Followed {
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        Followed { reader, quotas, queue, known: Mutex::default(), sender, waiting: Mutex::new(waiting) }
    }

    /// Sees to it that a kind is followed. `false` for one that cannot be, over all tenants.
    pub async fn follow(&self, resource: &DiscoveredResource) -> bool {
        let name = (resource.group.to_string(), resource.plural.to_string());
        let mut known = self.known.lock().await;
        if let Some(known) = known.get(&name) {
            return *known;
        }
        let Ok(everywhere) = self.reader.discover().await else { return false };
        let is_it = |r: &&DiscoveredResource| r.group == resource.group && r.plural == resource.plural;
        let found = everywhere.iter().find(is_it).filter(|r| r.can("watch") && !is_operators(*r));
        let followed = match found {
            Some(found) => self.sender.try_send(found.clone()).is_ok(),
            None => false,
        };
        if followed || found.is_none() {
            known.insert(name, followed);
        }
        followed
    }

    /// Follows kinds as they are asked for, until it is told to stop.
    pub async fn run(self: std::sync::Arc<Self>, stop: Stop) -> Result<()> {
        let tasks = Tasks::new();
        let mut waiting = self.waiting.lock().await;
        loop {
            let next = tokio::select! {
                biased;
                () = stop.stopped() => None,
                // Cancel-safe: nothing is taken until it is returned.
                next = waiting.recv() => next,
            };
            let Some(resource) = next else { break };
            let (_, mut reflector, _) =
                reflect::<IgnoredAny>(self.reader.all_tenants(), resource, ListParams::default());
            let (quotas, queue) = (self.quotas.clone(), self.queue.clone());
            reflector.on_change(move |change| {
                if change.new.is_none() {
                    queue_namespace(&change.key, &quotas, &queue);
                }
            });
            let stop = stop.clone();
            tasks.spawn("quota monitor", async move {
                if let Err(error) = reflector.run(stop).await {
                    tracing::error!(%error, "a kind is no longer followed for quotas");
                }
            });
        }
        tasks.ended().await;
        Ok(())
    }
}
