//! Which threads carry out what comes on a connection: those of all, or those of the background, which have a lower priority.
//!
//! What it takes is charged to the tenant. While it takes long and others ask, too, it goes on in the background, all of it:
//! the connection itself with its TLS and its frames, and every stream. Nothing is lost by that but time, and only as long
//! as others want the processors.

use super::{Connection, Fairness};
use futures::future::BoxFuture;
use runtime::Background;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::runtime::Handle;

/// Where the work of one connection is carried out.
#[derive(Clone)]
pub struct Place(Arc<Places>);

struct Places {
    of_tenant: Arc<Connection>,
    fairness: Arc<Fairness>,
    foreground: Handle,
    background: Arc<Background>,
}

impl Place {
    /// Of a connection that the calling thread accepted.
    pub fn new(of_tenant: Arc<Connection>, fairness: Arc<Fairness>, background: Arc<Background>) -> Place {
        Place(Arc::new(Places { of_tenant, fairness, foreground: Handle::current(), background }))
    }

    /// Starts work where its tenant's share puts it at the time; it moves when that changes.
    pub fn start(&self, work: BoxFuture<'static, ()>) {
        let behind = self.gives_way(Instant::now());
        let part = Part { work, behind, place: self.clone() };
        if behind {
            self.0.background.spawn(part);
        } else {
            self.0.foreground.spawn(part);
        }
    }

    fn gives_way(&self, now: Instant) -> bool {
        self.0.of_tenant.0.get().is_some_and(|counted| self.0.fairness.pace.is_long(&counted.load, now))
    }

    fn spent(&self, from: Instant) {
        if let Some(counted) = self.0.of_tenant.0.get() {
            self.0.fairness.pace.spent(&counted.load, from, Instant::now());
        }
    }
}

/// Work, as long as it is in its place.
struct Part {
    work: BoxFuture<'static, ()>,
    behind: bool,
    place: Place,
}

impl Future for Part {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        if self.place.gives_way(now) != self.behind {
            let work = std::mem::replace(&mut self.work, Box::pin(std::future::ready(())));
            self.place.start(work);
            return Poll::Ready(());
        }
        let polled = self.work.as_mut().poll(cx);
        self.place.spent(now);
        polled
    }
}
