//! Which events are written, and which are told together: as upstream's correlator decides it, and a limit per tenant.
//! Pure: the time is an argument.
//!
//! Events that differ in their message alone are combined from the tenth on, within ten minutes. About one object a
//! component writes 25 at once, and one more every five minutes.

use super::Event;
use api::{TenantName, Timestamp};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

/// So many different messages, and the next are combined.
const DIFFERENT_MAX: usize = 10;

/// Similar events that are further apart are not combined.
const SIMILAR_WITHIN: Duration = Duration::from_secs(600);

const COMBINED: &str = "(combined from similar events): ";

/// Of one component about one object.
const OBJECT: Rate = Rate { burst: 25.0, per_second: 1.0 / 300.0 };

/// Of all components in one tenant.
const TENANT: Rate = Rate { burst: 1000.0, per_second: 100.0 };

/// What is remembered of each sort; past that it is forgotten, and counted from the start.
const REMEMBERED_MAX: usize = 4096;

struct Rate {
    burst: f64,
    per_second: f64,
}

struct Bucket {
    tokens: f64,
    at: Timestamp,
}

struct Similar {
    messages: HashSet<String>,
    last: Timestamp,
}

/// What was written lately.
#[derive(Default)]
pub struct Correlator {
    /// By the component, and the event without its message.
    similar: HashMap<(&'static str, Event), Similar>,
    objects: HashMap<(&'static str, super::Involved), Bucket>,
    tenants: HashMap<Option<TenantName>, Bucket>,
}

/// An event as it is to be told.
#[derive(Debug, PartialEq)]
pub struct Told {
    /// Events with the same are one that is counted.
    pub same: Event,
    pub message: String,
}

impl Correlator {
    /// How an event is to be told, if at all.
    pub fn correlate(&mut self, component: &'static str, event: &Event, now: Timestamp) -> Option<Told> {
        let similar = Event { message: String::new(), ..event.clone() };
        forget(&mut self.similar);
        let new = || Similar { messages: HashSet::new(), last: now };
        let known = self.similar.entry((component, similar.clone())).or_insert_with(new);
        if now.since(known.last) > SIMILAR_WITHIN {
            *known = new();
        }
        known.last = now;
        let different = known.messages.contains(&event.message) || known.messages.len() + 1 < DIFFERENT_MAX;
        let told = match different {
            true => {
                known.messages.insert(event.message.clone());
                Told { same: event.clone(), message: event.message.clone() }
            }
            false => Told { same: similar, message: format!("{COMBINED}{}", event.message) },
        };
        let object = (component, event.about.clone());
        let tenant = event.about.key.tenant.clone();
        (take(&mut self.objects, object, &OBJECT, now) && take(&mut self.tenants, tenant, &TENANT, now)).then_some(told)
    }
}

fn forget<K, V>(known: &mut HashMap<K, V>) {
    if known.len() >= REMEMBERED_MAX {
        known.clear();
    }
}

/// Takes a token, if there is one.
fn take<K: Hash + Eq>(buckets: &mut HashMap<K, Bucket>, key: K, rate: &Rate, now: Timestamp) -> bool {
    forget(buckets);
    let bucket = buckets.entry(key).or_insert(Bucket { tokens: rate.burst, at: now });
    bucket.tokens = (bucket.tokens + now.since(bucket.at).as_secs_f64() * rate.per_second).min(rate.burst);
    bucket.at = now;
    let has = bucket.tokens >= 1.0;
    if has {
        bucket.tokens -= 1.0;
    }
    has
}

#[cfg(test)]
mod tests {
    use super::super::{Involved, Severity};
    use super::*;
    use client::ObjectRef;

    fn event(tenant: &str, name: &str, message: &str) -> Event {
        let key = ObjectRef::new(&TenantName::new(tenant).expect("a name"), "ns", name);
        let about = Involved { key, api_version: "apps/v1".into(), kind: "ReplicaSet".into(), uid: name.into() };
        Event { about, severity: Severity::Normal, reason: "SuccessfulCreate", message: message.to_owned() }
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_unix_secs(secs)
    }

    #[test]
    fn similar_events_are_combined_from_the_tenth_on() {
        let mut correlator = Correlator::default();
        let mut told = |i: usize, secs: i64| {
            correlator.correlate("c", &event("acme", "web", &format!("Created pod: {i}")), at(secs)).map(|t| t.message)
        };
        for i in 0..9 {
            assert_eq!(told(i, 0).as_deref(), Some(format!("Created pod: {i}").as_str()));
        }
        assert_eq!(told(9, 0).as_deref(), Some("(combined from similar events): Created pod: 9"));
        assert_eq!(told(3, 0).as_deref(), Some("Created pod: 3"), "what was told before is counted");
        assert_eq!(told(10, 700).as_deref(), Some("Created pod: 10"), "long after, nothing is combined");
    }

    #[test]
    fn an_object_and_a_tenant_have_so_many_events_and_no_more() {
        let mut correlator = Correlator::default();
        let mut count = |tenant: &str, name: &str, of: usize, secs: i64| {
            (0..of).filter(|_| correlator.correlate("c", &event(tenant, name, "same"), at(secs)).is_some()).count()
        };
        assert_eq!(count("acme", "web", 100, 0), 25);
        assert_eq!(count("acme", "web", 100, 600), 2);
        assert_eq!((0..60).map(|i| count("acme", &format!("o{i}"), 25, 600)).sum::<usize>(), 998);
        assert_eq!(count("globex", "web", 100, 600), 25);
    }
}
