//! What becomes of pods, as watches of all tenants tell it: when each was bound and when it ran, and how many are gone.

use crate::connection::{Connection, Error, Target, text};
use crate::watch::Lines;
use bytes::Bytes;
use http::Method;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Pods are bound and started at least this fast, or something is broken.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What a watch selects: pods enter it when that has happened to them.
const BOUND: &str = "spec.nodeName!%3D";
const RUNNING: &str = "status.phase%3DRunning";

/// When something happened to pods, by their names, which are one pod's alone in a workload.
pub type Times = RefCell<HashMap<String, Instant>>;

/// What is known of all pods.
#[derive(Default)]
pub struct Pods {
    pub bound: Times,
    pub running: Times,
    gone: Cell<usize>,
    changed: Notify,
}

impl Pods {
    /// Follows pods that enter when they are bound, and counts those that go. Does not end.
    pub async fn follow_bound(&self, target: &Target, connection: &mut Connection) -> Result<(), Error> {
        self.follow(target, connection, BOUND, &self.bound).await
    }

    /// Follows pods that enter when they run. Does not end.
    pub async fn follow_running(&self, target: &Target, connection: &mut Connection) -> Result<(), Error> {
        self.follow(target, connection, RUNNING, &self.running).await
    }

    async fn follow(&self, target: &Target, from: &mut Connection, selects: &str, times: &Times) -> Result<(), Error> {
        let path = format!("/api/v1/tenants/all/pods?watch=true&fieldSelector={selects}");
        let mut lines = Lines::of(from.send(target.request(Method::GET, &path, Bytes::new())?).await?.into_body());
        loop {
            let (now, arrived) = lines.next().await.map_err(text)?.ok_or("the watch of pods ended")?;
            for line in arrived {
                if line.starts_with(br#"{"type":"ADDED""#) {
                    times.borrow_mut().extend(name(&line).map(|name| (name, now)));
                } else if selects == BOUND && line.starts_with(br#"{"type":"DELETED""#) {
                    self.gone.set(self.gone.get() + 1);
                }
            }
            self.changed.notify_one();
        }
    }

    pub async fn until_bound(&self, wanted: usize) -> Result<(), Error> {
        self.until("bound", wanted, || self.bound.borrow().len()).await
    }

    pub async fn until_running(&self, wanted: usize) -> Result<(), Error> {
        self.until("running", wanted, || self.running.borrow().len()).await
    }

    /// Until all that were ever bound are gone.
    pub async fn until_gone(&self) -> Result<(), Error> {
        let bound = self.bound.borrow().len();
        self.until("gone", bound, || self.gone.get()).await
    }

    async fn until(&self, what: &str, wanted: usize, count: impl Fn() -> usize) -> Result<(), Error> {
        let (mut last, mut since) = (count(), Instant::now());
        while last < wanted {
            let patience = SILENCE_MAX.saturating_sub(since.elapsed());
            let news = tokio::time::timeout(patience, self.changed.notified()).await;
            let now = count();
            if now > last {
                (last, since) = (now, Instant::now());
            } else if news.is_err() {
                return Err(format!("{now} of {wanted} pods were {what}, then none for {SILENCE_MAX:?}"));
            }
        }
        Ok(())
    }
}

/// The first name in an object's JSON, which is its own: the metadata come before everything that has names.
pub fn name(object: &[u8]) -> Option<String> {
    const MARK: &[u8] = b"\"name\":\"";
    let at = object.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    let end = object[at..].iter().position(|&b| b == b'"')? + at;
    String::from_utf8(object[at..end].to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objects_name_is_found_in_its_json() {
        let object =
            br#"{"kind":"Pod","metadata":{"generateName":"a-","name":"a-xyz"},"spec":{"containers":[{"name":"c"}]}}"#;
        assert_eq!(name(object).as_deref(), Some("a-xyz"));
        assert_eq!(name(b"{}"), None);
    }

    #[tokio::test]
    async fn a_wait_ends_with_the_news_of_what_is_awaited() {
        let pods = Pods::default();
        let news = async {
            pods.bound.borrow_mut().insert("a".to_owned(), Instant::now());
            pods.changed.notify_one();
        };
        let (waited, ()) = tokio::join!(pods.until_bound(1), news);
        assert_eq!(waited, Ok(()));
        pods.gone.set(1);
        assert_eq!(pods.until_gone().await, Ok(()));
    }
}
