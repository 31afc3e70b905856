//! T99: each fault that is planted is caught by the tests of threats. A test that never failed proves nothing.

use super::callers::{self, Caller};
use super::matrix::{self, Findings};
use super::{World, rights, sweep};
use crate::planted::{self, Fault};
use api::Kind;
use std::sync::Arc;

/// What is looked at of each fault: enough kinds to see it.
const KINDS: [&str; 3] = ["pods", "customresourcedefinitions", "things"];

/// And by whom: one of each sort.
const WHO: [&str; 5] = ["anonymous", "administrator", "service account", "forged headers", "neighbour"];

/// Asks everything about a few kinds, until something is found.
async fn look(world: &World, callers: &[Caller], kinds: &[Arc<Kind>]) -> Findings {
    let mut found = rights::stolen_node(world).await;
    found.add(rights::revoked_watch(world).await);
    if found.faults.is_empty() {
        found.add(matrix::ask(world, callers, kinds, 0..1).await);
    }
    if found.faults.is_empty() {
        found.add(sweep::sweep(world, callers, kinds).await);
    }
    found
}

#[tokio::test]
async fn every_planted_fault_is_caught() {
    let world = World::planted().await;
    let mut callers = callers::all(&world).await;
    callers.retain(|caller| WHO.contains(&caller.name));
    let kinds: Vec<Arc<Kind>> = world.kinds().into_iter().filter(|kind| KINDS.contains(&&*kind.plural)).collect();
    let found = look(&world, &callers, &kinds).await;
    assert!(found.faults.is_empty(), "without a fault: {:#?}", found.faults);
    let mut missed = Vec::new();
    for fault in planted::ALL {
        if fault == planted::ALL[planted::ALL.len() - 1] {
            let found = look(&world, &callers, &kinds).await;
            assert!(found.faults.is_empty(), "after all faults but the last: {:#?}", found.faults);
        }
        let planted = planted::plant(fault);
        let found = look(&world, &callers, &kinds).await;
        drop(planted);
        match found.faults.first() {
            Some(first) => println!("{fault:?}: {first}"),
            None => missed.push(fault),
        }
    }
    assert!(missed.is_empty(), "not caught of {}: {missed:?}", planted::ALL.len());
}

#[test]
fn every_fault_is_among_those_that_are_planted() {
    let distinct: std::collections::HashSet<String> = planted::ALL.iter().map(|fault| format!("{fault:?}")).collect();
    assert_eq!(distinct.len(), planted::ALL.len());
    assert!(!planted::ALL.iter().any(|fault: &Fault| planted::is(*fault)), "nothing is planted before");
}
