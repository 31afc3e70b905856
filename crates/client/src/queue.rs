//! A queue of keys that need work.
//!
//! Invariant: a key is queued at most once, however often it is added, and is never in the hands of two workers: one that is
//! added while it is worked on is handed out again afterwards.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Waits before a key that failed is tried again: doubled with each failure up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(5);
const RETRY_LONGEST: Duration = Duration::from_secs(300);

/// The longest delay. A key that asks for more comes back then, and its worker asks again: delays can come from numbers
/// that users choose, and no clock can name a time that is centuries away.
const DELAY_LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Keys that need work. Cheap to clone; clones share the keys.
pub struct WorkQueue<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

struct State<K> {
    ready: VecDeque<K>,
    /// What is in `ready`, or is in work and was added meanwhile.
    dirty: HashSet<K>,
    in_work: HashSet<K>,
    /// When each delayed key becomes due, and the same by time.
    delayed: HashMap<K, (Instant, u64)>,
    due: BTreeMap<(Instant, u64), K>,
    sequence: u64,
    failures: HashMap<K, u32>,
    shut_down: bool,
}

/// A key in the hands of a worker. Dropping it says that the work is over, well or not.
pub struct Work<K: Clone + Eq + Hash> {
    key: K,
    queue: WorkQueue<K>,
}

impl<K> Clone for WorkQueue<K> {
    fn clone(&self) -> WorkQueue<K> {
        WorkQueue { shared: self.shared.clone() }
    }
}

impl<K: Clone + Eq + Hash> Default for WorkQueue<K> {
    fn default() -> WorkQueue<K> {
        WorkQueue::new()
    }
}

impl<K: Clone + Eq + Hash> WorkQueue<K> {
    pub fn new() -> WorkQueue<K> {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            in_work: HashSet::new(),
            delayed: HashMap::new(),
            due: BTreeMap::new(),
            sequence: 0,
            failures: HashMap::new(),
            shut_down: false,
        };
        WorkQueue { shared: Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() }) }
    }

    /// Queues a key now.
    pub fn add(&self, key: K) {
        self.lock().make_ready(key);
        self.shared.changed.notify_one();
    }

    /// Queues a key after a delay, but no longer than a day. Of two delays for the same key the shorter holds.
    pub fn requeue_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        self.lock().delay(key, Instant::now() + delay.min(DELAY_LONGEST));
        self.shared.changed.notify_one();
    }

    /// Queues a key that failed, later with each failure until [`WorkQueue::forget`].
    pub fn retry(&self, key: K) {
        let mut state = self.lock();
        let failures = state.failures.entry(key.clone()).or_default();
        let delay = RETRY_FIRST.saturating_mul(1 << (*failures).min(20)).min(RETRY_LONGEST);
        *failures = failures.saturating_add(1);
        drop(state);
        self.requeue_after(key, delay);
    }

    /// Forgets the failures of a key, after it went well.
    pub fn forget(&self, key: &K) {
        self.lock().failures.remove(key);
    }

    /// The next key to work on; `None` after the queue was shut down.
    pub async fn next(&self) -> Option<Work<K>> {
        loop {
            let changed = self.shared.changed.notified();
            let wait_until = {
                let mut state = self.lock();
                if state.shut_down {
                    return None;
                }
                state.wake_due(Instant::now());
                if let Some(key) = state.take() {
                    if !state.ready.is_empty() {
                        // Several keys can become due at once: the next worker takes the next.
                        self.shared.changed.notify_one();
                    }
                    return Some(Work { key, queue: self.clone() });
                }
                state.due.keys().next().map(|(at, _)| *at)
            };
            let due = async {
                match wait_until {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // Both only wake: the state says what to do, so that neither loses anything when cancelled.
                () = changed => {}
                () = due => {}
            }
        }
    }

    /// Hands out no more keys.
    pub fn shut_down(&self) {
        self.lock().shut_down = true;
        self.shared.changed.notify_waiters();
        self.shared.changed.notify_one();
    }

    /// Keys that wait now, without the delayed.
    pub fn len(&self) -> usize {
        self.lock().ready.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    fn make_ready(&mut self, key: K) {
        if let Some(due) = self.delayed.remove(&key) {
            self.due.remove(&due);
        }
        if self.dirty.insert(key.clone()) && !self.in_work.contains(&key) {
            self.ready.push_back(key);
        }
    }

    fn delay(&mut self, key: K, at: Instant) {
        if let Some(due) = self.delayed.get(&key).copied() {
            if due.0 <= at {
                return;
            }
            self.due.remove(&due);
        }
        self.sequence += 1;
        self.delayed.insert(key.clone(), (at, self.sequence));
        self.due.insert((at, self.sequence), key);
    }

    fn wake_due(&mut self, now: Instant) {
        while let Some(first) = self.due.first_entry().filter(|e| e.key().0 <= now) {
            let key = first.remove();
            self.make_ready(key);
        }
    }

    fn take(&mut self) -> Option<K> {
        let key = self.ready.pop_front()?;
        self.dirty.remove(&key);
        self.in_work.insert(key.clone());
        Some(key)
    }

    fn done(&mut self, key: &K) {
        self.in_work.remove(key);
        if self.dirty.contains(key) {
            self.ready.push_back(key.clone());
        }
    }
}

impl<K: Clone + Eq + Hash> Work<K> {
    /// It went well: failures are forgotten.
    pub fn succeed(self) {
        self.queue.forget(&self.key);
    }

    /// It failed: the key comes back after its back-off.
    pub fn fail(self) {
        self.queue.retry(self.key.clone());
    }
}

impl<K: Clone + Eq + Hash> Deref for Work<K> {
    type Target = K;

    fn deref(&self) -> &K {
        &self.key
    }
}

impl<K: Clone + Eq + Hash> Drop for Work<K> {
    fn drop(&mut self) {
        self.queue.lock().done(&self.key);
        self.queue.shared.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn now(queue: &WorkQueue<u32>) -> Option<Work<u32>> {
        queue.next().now_or_never().flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_handed_out_once_however_often_it_is_added() {
        let queue = WorkQueue::new();
        for key in [1, 2, 1, 1] {
            queue.add(key);
        }
        assert_eq!(now(&queue).as_deref(), Some(&1));
        assert_eq!(now(&queue).as_deref(), Some(&2));
        assert!(now(&queue).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_in_work_comes_back_only_when_the_work_is_over() {
        let queue = WorkQueue::new();
        queue.add(1);
        let work = now(&queue).expect("work");
        queue.add(1);
        assert!(now(&queue).is_none());
        drop(work);
        assert_eq!(now(&queue).as_deref(), Some(&1));
        assert!(now(&queue).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn delayed_keys_come_in_the_order_in_which_they_are_due() {
        let queue = WorkQueue::new();
        let start = Instant::now();
        queue.requeue_after(3, Duration::from_secs(30));
        queue.requeue_after(1, Duration::from_secs(10));
        queue.requeue_after(2, Duration::from_secs(40));
        queue.requeue_after(2, Duration::from_secs(20));
        queue.requeue_after(1, Duration::from_secs(50));
        for expected in [1, 2, 3] {
            assert_eq!(*queue.next().await.expect("work"), expected);
            assert_eq!(start.elapsed(), Duration::from_secs(u64::from(expected) * 10));
        }
        assert!(now(&queue).is_none(), "each is due once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_delayed_for_ever_comes_after_the_longest_delay() {
        let queue = WorkQueue::new();
        let start = Instant::now();
        queue.requeue_after(1, Duration::MAX);
        assert_eq!(queue.next().await.as_deref(), Some(&1));
        assert_eq!(start.elapsed(), DELAY_LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_added_now_does_not_also_come_later() {
        let queue = WorkQueue::new();
        queue.requeue_after(1, Duration::from_secs(10));
        queue.add(1);
        drop(now(&queue).expect("work"));
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(now(&queue).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_make_the_waits_longer_until_it_goes_well() {
        let queue = WorkQueue::new();
        queue.add(1);
        let mut waits = Vec::new();
        for _ in 0..30 {
            let start = Instant::now();
            queue.next().await.expect("work").fail();
            waits.push(start.elapsed());
        }
        assert_eq!(waits[1..4], [5, 10, 20].map(Duration::from_millis));
        assert_eq!(waits[29], RETRY_LONGEST);
        queue.next().await.expect("work").succeed();
        queue.add(1);
        queue.next().await.expect("work").fail();
        let start = Instant::now();
        queue.next().await.expect("work").succeed();
        assert_eq!(start.elapsed(), RETRY_FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn every_waiting_worker_ends_at_shut_down() {
        let queue: WorkQueue<u32> = WorkQueue::new();
        let workers: Vec<_> = (0..3).map(|_| queue.next()).collect();
        let (ended, ()) = tokio::join!(futures::future::join_all(workers), async {
            tokio::task::yield_now().await;
            queue.shut_down();
        });
        assert!(ended.iter().all(Option::is_none));
        queue.add(1);
        assert!(queue.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_addition_wakes_one_worker_and_two_wake_two() {
        let queue = WorkQueue::new();
        let (first, second, ()) = tokio::join!(queue.next(), queue.next(), async {
            tokio::task::yield_now().await;
            queue.add(1);
            queue.add(2);
        });
        let mut keys = [*first.expect("work"), *second.expect("work")];
        keys.sort_unstable();
        assert_eq!(keys, [1, 2]);
    }
}
