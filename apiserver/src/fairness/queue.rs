//! Requests that wait for seats: by tenant, and in each by flow.
//!
//! Invariant: the next is of the tenant that holds the fewest seats, and of the flow that had the least for its shares;
//! among equals, of the one that has waited longest.

use super::{Load, Permit, Sharer};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::oneshot::{Receiver, Sender, channel};

/// A schema, and what tells its flows apart.
type Flow = (Arc<str>, u64);

/// What a request waits for.
pub struct Ticket {
    pub sharer: Sharer,
    pub flow: Flow,
    /// The weight of its level.
    pub shares: u32,
    pub seats: usize,
    pub load: Arc<Load>,
    /// What its tenant may hold.
    pub limit: usize,
}

struct Waiting {
    ticket: Ticket,
    seat: Sender<Permit>,
}

/// The requests of one flow, in the order they came.
struct Line {
    waiting: VecDeque<Waiting>,
    /// What the flow had so far, in seats per share; lines that start late start with the least of the others.
    had: f64,
}

#[derive(Default)]
struct TenantQueue {
    lines: HashMap<Flow, Line>,
    count: usize,
}

/// All who wait.
#[derive(Default)]
pub struct Queue {
    tenants: HashMap<Sharer, TenantQueue>,
}

impl Queue {
    /// Puts a request at the end of its line. `None` when the line or the tenant's queue is full.
    pub fn push(&mut self, ticket: Ticket, in_flow: usize, in_tenant: usize) -> Option<Receiver<Permit>> {
        let of_tenant = self.tenants.entry(ticket.sharer.clone()).or_default();
        let least = of_tenant.lines.values().map(|line| line.had).fold(f64::INFINITY, f64::min);
        let had = if least.is_finite() { least } else { 0.0 };
        let full = of_tenant.count >= in_tenant;
        let line = of_tenant.lines.entry(ticket.flow.clone()).or_insert_with(|| Line { waiting: VecDeque::new(), had });
        line.waiting.retain(|waiting| !waiting.seat.is_closed());
        let result = if full || line.waiting.len() >= in_flow {
            None
        } else {
            let (seat, seated) = channel();
            line.waiting.push_back(Waiting { ticket, seat });
            Some(seated)
        };
        of_tenant.count = of_tenant.lines.values().map(|line| line.waiting.len()).sum();
        result
    }

    /// Takes out the next request for which `take` finds seats. `held` tells what a tenant holds.
    pub fn next(
        &mut self,
        held: impl Fn(&Load) -> usize,
        take: impl Fn(&Ticket) -> bool,
    ) -> Option<(Ticket, Sender<Permit>)> {
        let mut order: Vec<(usize, Sharer)> = Vec::with_capacity(self.tenants.len());
        self.tenants.retain(|sharer, of_tenant| {
            of_tenant.lines.retain(|_, line| {
                line.waiting.retain(|waiting| !waiting.seat.is_closed());
                !line.waiting.is_empty()
            });
            let first = of_tenant.lines.values().find_map(|line| line.waiting.front());
            if let Some(first) = first {
                order.push((held(&first.ticket.load), sharer.clone()));
            }
            first.is_some()
        });
        order.sort_by_key(|(held, _)| *held);
        for (_, sharer) in order {
            let Some(of_tenant) = self.tenants.get_mut(&sharer) else { continue };
            let least = of_tenant.lines.values_mut().min_by(|a, b| a.had.total_cmp(&b.had));
            let Some(line) = least else { continue };
            if !line.waiting.front().is_some_and(|waiting| take(&waiting.ticket)) {
                continue;
            }
            let Some(Waiting { ticket, seat }) = line.waiting.pop_front() else { continue };
            #[expect(clippy::cast_precision_loss, reason = "seats are few")]
            let seats = ticket.seats as f64;
            line.had += seats / f64::from(ticket.shares.max(1));
            of_tenant.count = of_tenant.count.saturating_sub(1);
            return Some((ticket, seat));
        }
        None
    }
}
