//! Watches that a workload opens, which count what they are told; one of them keeps when each object came.

use super::pods::name;
use crate::connection::{Connection, Error, Target};
use crate::watch::{self, Lines};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Watches on one connection: below what servers allow.
const PER_CONNECTION: usize = 50;

/// A server that delivers nothing for this long has lost events.
const SILENCE_MAX: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Open watches. They end when this is dropped.
pub struct Watchers {
    pub count: usize,
    delivered: Arc<AtomicUsize>,
    arrived: Arc<Mutex<HashMap<String, Instant>>>,
    _tasks: JoinSet<()>,
}

impl Watchers {
    /// Opens watches of a collection from a version on, one after another on each of several connections.
    pub async fn open(target: &Target, collection: &str, version: &str, count: usize) -> Result<Watchers, Error> {
        let (delivered, arrived) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(HashMap::new())));
        let mut tasks = JoinSet::new();
        let mut handles: Vec<Connection> = Vec::new();
        while handles.len() < count {
            let wanted = PER_CONNECTION.min(count - handles.len());
            handles.extend(target.connect(&mut tasks).await?.handles(wanted));
        }
        for (number, handle) in handles.iter_mut().enumerate() {
            let mut lines = Lines::of(watch::open(target, handle, collection, version).await?);
            let (delivered, arrived) = (delivered.clone(), arrived.clone());
            tasks.spawn(async move {
                while let Ok(Some((now, events))) = lines.next().await {
                    if number == 0 {
                        let names = events.iter().filter_map(|event| Some((name(event)?, now)));
                        arrived.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
                    }
                    delivered.fetch_add(events.len(), Ordering::Relaxed);
                }
            });
        }
        Ok(Watchers { count, delivered, arrived, _tasks: tasks })
    }

    /// How many events all of them have got.
    pub fn delivered(&self) -> usize {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Waits until there were so many in all; fewer when no more come.
    pub async fn until_delivered(&self, wanted: usize) {
        let (mut last, mut since) = (self.delivered(), Instant::now());
        while last < wanted && since.elapsed() < SILENCE_MAX {
            kit::leave_alone(LOOK_EVERY).await;
            let now = self.delivered();
            if now > last {
                (last, since) = (now, Instant::now());
            }
        }
    }

    /// When objects came to one of the watches, by their names.
    pub fn arrived(&self) -> HashMap<String, Instant> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
