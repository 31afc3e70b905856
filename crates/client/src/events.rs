//! The changes of a cache as a stream.
//!
//! Invariant: at most one change per object waits: what happens to it meanwhile is joined to it, so that a slow reader
//! costs memory by the number of objects, and sees every object's latest state.

use crate::ObjectRef;
use futures::Stream;
use futures::task::AtomicWaker;
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

/// One change of an object. Both sides can hold different objects of the same name: compare uids.
#[derive(Debug)]
pub struct Change<T> {
    pub key: ObjectRef,
    /// As the receiver last knew it; `None` when it is new.
    pub old: Option<Arc<T>>,
    /// `None` when it is gone.
    pub new: Option<Arc<T>>,
}

impl<T> Clone for Change<T> {
    fn clone(&self) -> Change<T> {
        Change { key: self.key.clone(), old: self.old.clone(), new: self.new.clone() }
    }
}

/// A stream of [`Change`]s; it ends when the reflector does.
pub struct Events<T>(Arc<Shared<T>>);

/// The reflector's end of [`Events`].
pub(crate) struct Pending<T>(Arc<Shared<T>>);

struct Shared<T> {
    queue: Mutex<Queue<T>>,
    waker: AtomicWaker,
}

struct Queue<T> {
    order: VecDeque<ObjectRef>,
    /// One for each key in `order`.
    waiting: HashMap<ObjectRef, Waiting<T>>,
    /// Both ends are there.
    open: bool,
}

struct Waiting<T> {
    /// As the reader knows it.
    old: Option<Arc<T>>,
    /// As it is now.
    new: Option<Arc<T>>,
}

impl<T> Pending<T> {
    pub(crate) fn new() -> (Pending<T>, Events<T>) {
        let queue = Mutex::new(Queue { order: VecDeque::new(), waiting: HashMap::new(), open: true });
        let shared = Arc::new(Shared { queue, waker: AtomicWaker::new() });
        (Pending(shared.clone()), Events(shared))
    }

    pub(crate) fn push(&self, change: Change<T>) {
        let mut queue = self.0.lock();
        if !queue.open {
            return;
        }
        if let Some(waiting) = queue.waiting.get_mut(&change.key) {
            waiting.new = change.new;
            return;
        }
        queue.order.push_back(change.key.clone());
        queue.waiting.insert(change.key, Waiting { old: change.old, new: change.new });
        drop(queue);
        self.0.waker.wake();
    }
}

impl<T> Stream for Events<T> {
    type Item = Change<T>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Change<T>>> {
        self.0.waker.register(context.waker());
        let mut queue = self.0.lock();
        while let Some(key) = queue.order.pop_front() {
            let Waiting { old, new } = queue.waiting.remove(&key).expect("every key in order is waiting");
            if old.is_some() || new.is_some() {
                return Poll::Ready(Some(Change { key, old, new }));
            }
        }
        if queue.open { Poll::Pending } else { Poll::Ready(None) }
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.0.lock().open = false;
        self.0.waker.wake();
    }
}

impl<T> Drop for Events<T> {
    fn drop(&mut self) {
        *self.0.lock() = Queue { order: VecDeque::new(), waiting: HashMap::new(), open: false };
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
