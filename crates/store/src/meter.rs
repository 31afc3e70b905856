//! What each tenant holds: its objects and their encoded bytes, counted with every event.
//!
//! What is decided and not published yet is added where it is asked for, so that a decision sees what the last one made.

use crate::event::{Event, EventKind};
use crate::snapshot::State;
use api::{Object, TenantName};
use dashmap::DashMap;
use std::sync::Arc;

/// What a tenant holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub objects: u64,
    /// Encoded bytes of the objects.
    pub bytes: u64,
}

/// What all tenants hold. Knows only tenants that hold something.
#[derive(Debug, Default)]
pub(crate) struct Meter(DashMap<TenantName, Held>);

impl Meter {
    /// Counts a state from nothing.
    pub(crate) fn of_state(state: &State) -> Meter {
        let meter = Meter::default();
        meter.count(state);
        meter
    }

    /// Forgets what was counted and counts another state.
    pub(crate) fn begin_anew(&self, state: &State) {
        self.0.clear();
        self.count(state);
    }

    fn count(&self, state: &State) {
        let mut run: Option<(TenantName, Held)> = None;
        // Neighbours are of one tenant.
        for object in state.objects() {
            let Some(tenant) = object.tenant() else { continue };
            let more = Held::of(object);
            match &mut run {
                Some((of, held)) if of == tenant => held.add(more),
                run => {
                    if let Some((of, held)) = run.replace((tenant.clone(), more)) {
                        self.0.entry(of).or_default().add(held);
                    }
                }
            }
        }
        if let Some((of, held)) = run {
            self.0.entry(of).or_default().add(held);
        }
    }

    /// Counts an event that is published.
    pub(crate) fn apply(&self, event: &Event) {
        let Some(tenant) = event.object.tenant() else { return };
        let mut now = match self.0.get_mut(tenant) {
            Some(now) => now,
            None => self.0.entry(tenant.clone()).or_default(),
        };
        now.follow(event);
        let empty = now.objects == 0;
        drop(now);
        if empty {
            self.0.remove_if(tenant, |_, held| held.objects == 0);
        }
    }

    pub(crate) fn of(&self, tenant: &TenantName) -> Held {
        self.0.get(tenant).map(|held| *held).unwrap_or_default()
    }

    /// What a tenant holds once these events are published too.
    pub(crate) fn with(&self, tenant: &TenantName, pending: &[Arc<Event>]) -> Held {
        let mut held = self.of(tenant);
        pending.iter().filter(|event| event.object.tenant() == Some(tenant)).for_each(|event| held.follow(event));
        held
    }

    pub(crate) fn all(&self) -> Vec<(TenantName, Held)> {
        self.0.iter().map(|entry| (entry.key().clone(), *entry.value())).collect()
    }
}

impl Held {
    fn of(object: &Object) -> Held {
        Held { objects: 1, bytes: object.bytes.len() as u64 }
    }

    fn follow(&mut self, event: &Event) {
        if event.kind != EventKind::Deleted {
            self.add(Held::of(&event.object));
        }
        let gone = event.previous.as_deref().map(Held::of).unwrap_or_default();
        self.objects = self.objects.saturating_sub(gone.objects);
        self.bytes = self.bytes.saturating_sub(gone.bytes);
    }

    fn add(&mut self, more: Held) {
        self.objects += more.objects;
        self.bytes += more.bytes;
    }
}
