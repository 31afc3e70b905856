//! Linearizability of one object's history: is there one order of all operations, each between its call and its return,
//! in which every answer is right?
//!
//! Follows all orders that are still possible, call by call and return by return (the search of Wing and Gong as Lowe
//! orders it). A write without an answer may have happened, at any time until it is known that it cannot any more.
//! Besides, revisions are those of one sequence: a write that began after another had returned has a greater one.

use super::Revision;
use std::collections::{BTreeMap, HashSet};

/// What a client asked of an object. Values are never written twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    Create(u64),
    /// Replaces, if the object is at this revision.
    Update(u64, Revision),
    /// Removes, whatever is there.
    Delete,
    Read,
}

/// What it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Told {
    /// Written, at this revision.
    Written(Revision),
    Deleted,
    /// The value, and its revision.
    Found(u64, Revision),
    Absent,
    Exists,
    Conflict,
    /// Nothing.
    Unknown,
}

/// One operation. Times are of one clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub key: String,
    pub ask: Ask,
    pub told: Told,
    pub called: u64,
    /// When the answer came, or when a write without one could not happen any more.
    pub returned: u64,
}

/// What an object is: its value, and its revision as far as anyone was told.
type State = Option<(u64, Option<Revision>)>;

/// One order that is possible until now: what the object is in it, and which open operations have happened in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Order {
    state: State,
    happened: Vec<usize>,
}

/// Checks everything. `Err` says which operation cannot be explained.
pub fn check(history: &[Operation]) -> Result<(), String> {
    let mut by_key: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in history {
        by_key.entry(&operation.key).or_default().push(operation);
    }
    by_key.values().try_for_each(|operations| check_key(operations))?;
    check_revisions(history)
}

fn check_key(operations: &[&Operation]) -> Result<(), String> {
    // Of what happens at once, calls come first: that allows more orders.
    let mut moments: Vec<(u64, bool, usize)> = Vec::with_capacity(2 * operations.len());
    for (index, operation) in operations.iter().enumerate() {
        moments.push((operation.called, false, index));
        moments.push((operation.returned, true, index));
    }
    moments.sort_unstable();
    let mut open: Vec<usize> = Vec::new();
    let mut orders = HashSet::from([Order { state: None, happened: Vec::new() }]);
    for (_, is_return, index) in moments {
        if !is_return {
            open.push(index);
            continue;
        }
        orders = extend(orders, &open, operations);
        let is_optional = operations[index].told == Told::Unknown;
        orders.retain(|order| is_optional || order.happened.contains(&index));
        if orders.is_empty() {
            return Err(format!("no order explains {:?}", operations[index]));
        }
        orders = orders
            .into_iter()
            .map(|mut order| {
                order.happened.retain(|&happened| happened != index);
                order
            })
            .collect();
        open.retain(|&operation| operation != index);
    }
    Ok(())
}

/// All orders in which any of the open operations happen next, one after the other.
fn extend(orders: HashSet<Order>, open: &[usize], operations: &[&Operation]) -> HashSet<Order> {
    let mut found = orders.clone();
    let mut fresh: Vec<Order> = orders.into_iter().collect();
    while let Some(order) = fresh.pop() {
        for &index in open.iter().filter(|index| !order.happened.contains(index)) {
            let Some(state) = apply(order.state, operations[index]) else { continue };
            let mut happened = order.happened.clone();
            happened.push(index);
            happened.sort_unstable();
            let next = Order { state, happened };
            if found.insert(next.clone()) {
                fresh.push(next);
            }
        }
    }
    found
}

/// What an operation makes of the object; `None` when it cannot have been answered so.
fn apply(state: State, operation: &Operation) -> Option<State> {
    let is_at = |revision: Revision| state.is_some_and(|(_, at)| at.is_none_or(|at| at == revision));
    let is_surely_at = |revision: Revision| state.is_some_and(|(_, at)| at == Some(revision));
    match (operation.ask, operation.told) {
        (Ask::Create(value), Told::Written(revision)) => state.is_none().then_some(Some((value, Some(revision)))),
        (Ask::Create(value), Told::Unknown) => Some(state.or(Some((value, None)))),
        (Ask::Create(_), Told::Exists) => state.is_some().then_some(state),
        (Ask::Update(value, expected), Told::Written(revision)) => {
            is_at(expected).then_some(Some((value, Some(revision))))
        }
        (Ask::Update(value, expected), Told::Unknown) => {
            Some(if is_at(expected) { Some((value, None)) } else { state })
        }
        (Ask::Update(_, expected), Told::Conflict) => (!is_surely_at(expected)).then_some(state),
        (Ask::Update(..) | Ask::Delete | Ask::Read, Told::Absent) => state.is_none().then_some(None),
        (Ask::Delete, Told::Deleted) => state.is_some().then_some(None),
        (Ask::Delete, Told::Unknown) => Some(None),
        (Ask::Read, Told::Unknown) => Some(state),
        (Ask::Read, Told::Found(value, revision)) => match state {
            Some((stored, at)) if stored == value && at.is_none_or(|at| at == revision) => {
                Some(Some((value, Some(revision))))
            }
            Some(_) | None => None,
        },
        (
            Ask::Create(_) | Ask::Update(..) | Ask::Delete | Ask::Read,
            Told::Written(_) | Told::Deleted | Told::Found(..) | Told::Absent | Told::Exists | Told::Conflict,
        ) => None,
    }
}

/// Revisions of writes are unique, and grow with time.
fn check_revisions(history: &[Operation]) -> Result<(), String> {
    let written = |operation: &Operation| match operation.told {
        Told::Written(revision) => Some(revision),
        _ => None,
    };
    let mut calls: Vec<(&Operation, Revision)> = history.iter().filter_map(|o| Some((o, written(o)?))).collect();
    let mut returns = calls.clone();
    calls.sort_by_key(|(operation, _)| operation.called);
    returns.sort_by_key(|(operation, _)| operation.returned);
    let mut returns = returns.into_iter().peekable();
    let (mut newest, mut seen) = (0, HashSet::new());
    for (operation, revision) in calls {
        while let Some((_, returned)) = returns.next_if(|(before, _)| before.returned < operation.called) {
            newest = newest.max(returned);
        }
        if revision <= newest {
            return Err(format!("{operation:?} began when revision {newest} was known"));
        }
        if !seen.insert(revision) {
            return Err(format!("{operation:?} has the revision of another write"));
        }
    }
    Ok(())
}
