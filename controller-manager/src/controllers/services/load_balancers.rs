//! Gives services of type LoadBalancer an address of the operators' pool.
//!
//! Invariant: of two services with one address the younger gives it up. Who has which address is read from the services
//! of all tenants alone.

use super::involved;
use crate::context::{Account, Context};
use crate::recorder::{Event, Severity};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::Service;
use api::Result;
use client::{Cache, Index, ObjectRef, PatchType, SERVICES, WorkQueue};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub const DECLARATION: Declaration =
    Declaration { name: "service-lb-controller", account: Account::Service("service-controller"), make };

const FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";

/// How many addresses are tried for one service before the pool counts as full.
const TRIES_MAX: u128 = 65_536;

/// When to look again for a free address.
const POOL_IS_FULL: Duration = Duration::from_secs(30);

/// Addresses that services may be given: those of one network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pool {
    first: IpAddr,
    size: u128,
}

impl std::str::FromStr for Pool {
    type Err = String;

    /// Reads `192.0.2.0/24`. Of an IPv4 network of more than two addresses, the first and the last are left out.
    fn from_str(text: &str) -> Result<Pool, String> {
        let refusal = || format!("{text:?} is no network such as 192.0.2.0/24");
        let (address, length) = text.split_once('/').ok_or_else(refusal)?;
        let address: IpAddr = address.parse().map_err(|_| refusal())?;
        let length: u32 = length.parse().map_err(|_| refusal())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if length > bits || length == 0 {
            return Err(refusal());
        }
        let size = 1u128.checked_shl(bits - length).unwrap_or(u128::MAX);
        if number(address) & (size - 1) != 0 {
            return Err(format!("{text:?} has bits set beyond its first {length}"));
        }
        let edges = address.is_ipv4() && size > 2;
        let pool = Pool { first: address, size };
        Ok(if edges { Pool { first: pool.at(1), size: size - 2 } } else { pool })
    }
}

impl Pool {
    fn at(&self, offset: u128) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => IpAddr::V4(Ipv4Addr::from(u32::from(first).wrapping_add(offset as u32))),
            IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from(u128::from(first).wrapping_add(offset))),
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4()
            && number(address).checked_sub(number(self.first)).is_some_and(|offset| offset < self.size)
    }

    /// The wanted address or, where none is wanted, the first from a starting point on that is free.
    fn choose(&self, wanted: Option<IpAddr>, start: u64, is_free: impl Fn(&str) -> bool) -> Option<IpAddr> {
        if let Some(wanted) = wanted {
            return Some(wanted).filter(|w| self.contains(*w) && is_free(&w.to_string()));
        }
        let tries = self.size.min(TRIES_MAX);
        (0..tries).map(|i| self.at((u128::from(start) + i) % self.size)).find(|a| is_free(&a.to_string()))
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

struct LoadBalancers {
    context: Context,
    services: Cache<Service>,
    by_address: Index<Service>,
    pool: Option<Pool>,
    /// Addresses that were given and that the cache may not show yet, and to whom, by uid.
    given: Arc<Mutex<HashMap<String, String>>>,
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let given: Arc<Mutex<HashMap<String, String>>> = Arc::default();
    let informer = setup.informers.of::<Service>();
    let services = informer.cache();
    let by_address =
        services.index(|_, s: &Service| s.status.load_balancer.ingress.iter().map(|i| i.ip.clone()).collect());
    let (changed, shown, others) = (queue.clone(), given.clone(), by_address.clone());
    informer.on_change(move |change| {
        let either: Vec<&Arc<Service>> = [&change.old, &change.new].into_iter().flatten().collect();
        let concerns = |s: &&&Arc<Service>| is_balanced(s) || s.metadata.finalizers.iter().any(|f| f == FINALIZER);
        if either.iter().find(concerns).is_none() {
            return;
        }
        changed.add(change.key.clone());
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        for ingress in either.iter().flat_map(|s| &s.status.load_balancer.ingress) {
            shown.remove(&ingress.ip);
            others.get(&ingress.ip).into_iter().for_each(|(key, _)| changed.add(key));
        }
    });
    let (context, pool) = (setup.context.clone(), setup.load_balancer_pool);
    Controller::new(queue, Arc::new(LoadBalancers { context, services, by_address, pool, given }))
}

/// Whether the service is to have an address from here: it asks for one, and no other implementation is to give it.
fn is_balanced(service: &Service) -> bool {
    service.spec.kind == "LoadBalancer" && service.spec.load_balancer_class.is_none()
}

/// What to do for a service.
#[derive(Debug, PartialEq)]
enum Plan {
    Nothing,
    /// Take the address and the finalizer away.
    Release,
    /// Give an address, with the finalizer; the wanted one if one is wanted.
    Give(Option<IpAddr>),
    /// Put the finalizer where the address is already.
    Hold,
}

/// Decides. `is_mine` says whether an address that it has is rightly its own.
fn plan(service: &Service, is_mine: impl Fn(&str) -> bool) -> Plan {
    let held = service.metadata.finalizers.iter().any(|f| f == FINALIZER);
    if service.metadata.is_deleting() || !is_balanced(service) {
        return if held { Plan::Release } else { Plan::Nothing };
    }
    let wanted: Option<IpAddr> = service.spec.load_balancer_ip.parse().ok();
    let fits = |ip: &str| is_mine(ip) && wanted.is_none_or(|w| ip.parse() == Ok(w));
    match service.status.load_balancer.ingress.first() {
        Some(ingress) if fits(&ingress.ip) && held => Plan::Nothing,
        Some(ingress) if fits(&ingress.ip) => Plan::Hold,
        _ => Plan::Give(wanted),
    }
}

impl Reconcile for LoadBalancers {
    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        self.sync(key).await
    }
}

impl LoadBalancers {
    async fn sync(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let (Some(service), Some(pool)) = (self.services.get(key), self.pool) else { return Ok(None) };
        match plan(&service, |ip| ip.parse().is_ok_and(|a| pool.contains(a)) && self.is_first(&service, ip)) {
            Plan::Nothing => {}
            Plan::Hold => self.write(key, &service, None).await?,
            Plan::Release => {
                self.tell(&service, Severity::Normal, "DeletingLoadBalancer", "Deleting load balancer".to_owned());
                self.write(key, &service, Some(json!({"ingress": null}))).await?;
                self.tell(&service, Severity::Normal, "DeletedLoadBalancer", "Deleted load balancer".to_owned());
            }
            Plan::Give(wanted) => {
                self.tell(&service, Severity::Normal, "EnsuringLoadBalancer", "Ensuring load balancer".to_owned());
                let Some(address) = self.take(&pool, wanted, &service) else {
                    let why = match wanted {
                        Some(wanted) => format!("{wanted} is taken, or not of the pool"),
                        None => "no address of the pool is free".to_owned(),
                    };
                    let message = format!("Error syncing load balancer: failed to ensure load balancer: {why}");
                    self.tell(&service, Severity::Warning, "SyncLoadBalancerFailed", message);
                    return Ok(Some(POOL_IS_FULL));
                };
                let given = json!({"ingress": [{"ip": address, "ipMode": "VIP"}]});
                self.write(key, &service, Some(given)).await?;
                self.tell(&service, Severity::Normal, "EnsuredLoadBalancer", "Ensured load balancer".to_owned());
            }
        }
        Ok(None)
    }

    /// Whether no older service has the address.
    fn is_first(&self, service: &Service, ip: &str) -> bool {
        let age = |s: &Service| (s.metadata.creation_timestamp, s.metadata.uid.clone());
        self.by_address.get(ip).iter().all(|(_, other)| age(other) >= age(service))
    }

    /// Reserves an address until the cache shows who has it.
    fn take(&self, pool: &Pool, wanted: Option<IpAddr>, service: &Service) -> Option<IpAddr> {
        let uid = &service.metadata.uid;
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let free = |ip: &str| {
            given.get(ip).is_none_or(|to| to == uid)
                && self.by_address.get(ip).iter().all(|(_, other)| other.metadata.uid == *uid)
        };
        let start = uid.bytes().fold(0u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        let address = pool.choose(wanted, start, free)?;
        given.insert(address.to_string(), uid.clone());
        Some(address)
    }

    /// Writes the finalizer as it belongs to the address that the service has then.
    async fn write(&self, key: &ObjectRef, service: &Service, load_balancer: Option<Value>) -> Result<()> {
        let mut finalizers = service.metadata.finalizers.clone();
        finalizers.retain(|f| f != FINALIZER);
        let releases = load_balancer.as_ref().is_some_and(|l| l["ingress"].is_null());
        if !releases {
            finalizers.push(FINALIZER.to_owned());
        }
        let mut patch = json!({"metadata": {
            "uid": service.metadata.uid, "resourceVersion": service.metadata.resource_version, "finalizers": finalizers,
        }});
        if let Some(load_balancer) = load_balancer {
            patch["status"] = json!({"loadBalancer": load_balancer});
        }
        let client = self.context.client(key);
        client.patch(SERVICES, &key.namespace, &key.name, PatchType::Merge, &patch, Some("status")).await.map(drop)
    }

    fn tell(&self, service: &Service, severity: Severity, reason: &'static str, message: String) {
        self.context.recorder.record(Event { about: involved(service), severity, reason, message });
    }
}

#[cfg(test)]
mod tests;
