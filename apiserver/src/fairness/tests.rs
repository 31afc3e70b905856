//! Seats: who gets them, who waits, who is turned away.

use super::*;
use policy::fairness::{Level, default_flows};
use std::collections::HashMap;

fn limits() -> Limits {
    Limits {
        seats: 8,
        tenant_seats: 5,
        tenant_seats_shared: 5,
        tenant_waiting: 20,
        tenant_watches: 3,
        patience: Duration::from_secs(1),
        ..Limits::default()
    }
}

fn who(tenant: &str, user: &str) -> Identity {
    Identity::new(TenantName::new(tenant).expect("a tenant"), user, &[])
}

fn class(flow: u64, shares: Option<u32>) -> Classified {
    let level = Level { name: "l".to_owned(), uid: String::new(), shares, queuing: Queuing::Queue(50) };
    Classified { schema: "s".into(), schema_uid: "".into(), level: Arc::new(level), flow }
}

async fn take(fairness: &Arc<Fairness>, tenant: &str) -> Result<Permit> {
    fairness.admit(&Peer::Unknown, &who(tenant, "ann"), &class(1, Some(10)), 1).await
}

#[tokio::test(start_paused = true)]
async fn a_tenant_at_its_limit_waits_while_others_go_on() {
    let fairness = Fairness::new(limits());
    let mut noisy = Vec::new();
    for _ in 0..5 {
        noisy.push(take(&fairness, "noisy").await.expect("a seat"));
    }
    let error = take(&fairness, "noisy").await.err().expect("no seat in time");
    assert_eq!((error.code(), error.retry_after_secs()), (429, 1));
    let quiet = take(&fairness, "quiet").await.expect("a seat");
    drop((noisy, quiet));
    assert_eq!(fairness.taken.load(Ordering::Relaxed), 0);
    drop(take(&fairness, "noisy").await.expect("a seat again"));
    assert_eq!(fairness.waiting.load(Ordering::Relaxed), 0);
}

/// T72, thin: one tenant sends ten times its share and ignores refusals; three quiet ones ask one by one. Every request
/// takes one unit of work. The quiet ones wait no longer than one round of all tenants, and are never refused.
#[tokio::test(start_paused = true)]
async fn a_noisy_tenant_does_not_slow_the_quiet_ones() {
    const WORK: Duration = Duration::from_millis(10);
    let fairness = Fairness::new(limits());
    let started = tokio::time::Instant::now();
    let noise = (0..400).map(|i| {
        let fairness = fairness.clone();
        async move {
            let seat =
                fairness.admit(&Peer::Unknown, &who("noisy", &format!("u{i}")), &class(i % 7, Some(10)), 1).await;
            if seat.is_ok() {
                tokio::time::sleep(WORK).await;
            }
            seat.is_ok()
        }
    });
    let quiet = ["a", "b", "c"].map(|tenant| {
        let fairness = fairness.clone();
        async move {
            let mut worst = Duration::ZERO;
            for _ in 0..50 {
                let asked = tokio::time::Instant::now();
                let seat = take(&fairness, tenant).await.expect("the quiet are never refused");
                tokio::time::sleep(WORK).await;
                drop(seat);
                worst = worst.max(asked.elapsed());
            }
            worst
        }
    });
    let (noise, quiet) = futures::join!(futures::future::join_all(noise), futures::future::join_all(quiet));
    let refused = noise.iter().filter(|seated| !**seated).count();
    assert!(refused >= 300, "{refused} of 400 were told to come again");
    for worst in quiet {
        assert!(worst <= 2 * WORK, "{worst:?} where idle is {WORK:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn flows_of_a_tenant_share_by_the_shares_of_their_levels() {
    let fairness = Fairness::new(Limits { tenant_waiting: 1000, patience: Duration::from_secs(60), ..limits() });
    let done: Arc<Mutex<Vec<u64>>> = Arc::default();
    let all = (0..80).map(|i| {
        let (fairness, done) = (fairness.clone(), done.clone());
        async move {
            let flow = i % 2;
            let shares = if flow == 0 { 30 } else { 10 };
            let seat = fairness.admit(&Peer::Unknown, &who("t", "u"), &class(flow, Some(shares)), 1).await;
            let _seat = seat.expect("it waits long enough");
            tokio::time::sleep(Duration::from_millis(10)).await;
            done.lock().push(flow);
        }
    });
    futures::future::join_all(all).await;
    let first: Vec<u64> = done.lock().iter().copied().skip(5).take(40).collect();
    let mut counts: HashMap<u64, usize> = HashMap::new();
    first.iter().for_each(|flow| *counts.entry(*flow).or_default() += 1);
    assert!((25..=35).contains(&counts[&0]), "{counts:?}");
}

#[tokio::test]
async fn watches_are_counted_and_the_anonymous_pay_for_themselves() {
    let fairness = Fairness::new(limits());
    let ann = who("t", "ann");
    let mut open: Vec<Counted> = (0..3).map(|_| fairness.watch(&ann).expect("a watch")).collect();
    assert_eq!(fairness.watch(&ann).err().expect("too many").code(), 429);
    drop(open.pop());
    open.push(fairness.watch(&ann).expect("a watch again"));
    assert!(fairness.watch(&who("other", "ann")).is_ok());
    let nobody = policy::authn::anonymous(TenantName::new("t").expect("a tenant"));
    assert_eq!(sharer(&nobody), Sharer::Anonymous);
    for name in ["system", "t"] {
        assert_eq!(sharer(&who(name, "ann")), Sharer::Tenant(TenantName::new(name).expect("a tenant")));
    }
}

#[tokio::test]
async fn long_lists_take_more_seats_the_next_time() {
    let fairness = Fairness::new(limits());
    let (tenant, pods) = (TenantName::new("t").expect("a tenant"), ResourceId::new("", "pods"));
    for (bytes, seats) in [(10, 1), (SEAT_BYTES, 2), (100 * SEAT_BYTES, SEATS_MAX), (10, 1)] {
        fairness.listed(Some(&tenant), &pods, bytes);
        assert_eq!(fairness.seats(Some(&tenant), &pods, "list"), seats, "{bytes}");
        assert_eq!(fairness.seats(Some(&tenant), &pods, "get"), 1);
    }
}

#[test]
fn classification_and_a_free_seat_are_cheap() {
    let defaults = default_flows();
    let flows = Flows::compile(&defaults.flow_schemas, &defaults.priority_levels);
    let ann = who("t", "ann");
    let what = Attributes { verb: "get", resource: "pods", namespace: "n", name: "p", ..Attributes::default() };
    let fairness = Fairness::new(limits());
    let rounds = 20_000;
    let started = std::time::Instant::now();
    for _ in 0..rounds {
        let class = flows.classify(&ann, &what);
        let seat = futures::FutureExt::now_or_never(fairness.admit(&Peer::Unknown, &ann, &class, 1));
        assert!(seat.is_some_and(|seat| seat.is_ok()));
    }
    // A build without optimizations is many times slower than a real one; this finds what grows, not what is slow.
    assert!(started.elapsed() / rounds < Duration::from_micros(100), "{:?}", started.elapsed() / rounds);
}
