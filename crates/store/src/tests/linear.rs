//! Three servers over two etcd clusters of three members each, of which members are killed and paused: one order of all
//! operations, on whichever server, explains every answer, and no list leaves out what was acknowledged before it (checks
//! T07 and T08). More faults with `URSA_TEST_FULL`.

use super::corruption::Random;
use super::partitions::{all, of_tenant, placed};
use super::power::rounds;
use super::*;
use crate::{EtcdOptions, Partition, Routes, Whose};
use kit::history::linear::{self, Ask, Operation, Told};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Instant;

const SERVERS: usize = 3;
const MEMBERS: usize = 3;
const WRITERS: usize = 12;
const KEYS: usize = 12;

/// One tenant in the system's cluster, one in the other.
const TENANTS: [&str; 2] = ["a", "b"];

/// A server that knows both clusters.
async fn server(clusters: &[kit::Etcd]) -> Store {
    let open = async |id: u8| {
        let options = EtcdOptions { partition: id, ..EtcdOptions::new(clusters[usize::from(id)].urls()) };
        Partition::etcd(options, fields, Limits::default()).await.expect("a partition")
    };
    let store = Store::routed(open(0).await, Routes { of_tenant, all });
    store.attach(1, Some(open(1).await));
    store
}

/// What clients did in each tenant.
struct Recorder {
    began: Instant,
    values: Cell<u64>,
    acknowledged: Cell<u64>,
    ended: Cell<bool>,
    operations: [RefCell<Vec<Operation>>; 2],
}

impl Recorder {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).expect("a test ends within centuries")
    }

    /// Writes and reads on one server until told to end.
    async fn work(&self, store: &Store, seed: u64) {
        let mut random = Random(seed);
        // What was seen of each object last: an update is made of it.
        let mut known: HashMap<String, Revision> = HashMap::new();
        while !self.ended.get() {
            let of = random.below(TENANTS.len());
            if random.below(8) == 0 {
                self.list(store, of).await;
                continue;
            }
            let path = format!("{}/n/{}", TENANTS[of], random.below(KEYS));
            self.values.set(self.values.get() + 1);
            let value = self.values.get();
            let ask = match (random.below(10), known.get(&path)) {
                (0..5, Some(&revision)) => Ask::Update(value, revision),
                (0..5, None) | (6, _) => Ask::Create(value),
                (5, _) => Ask::Delete,
                _ => Ask::Read,
            };
            let called = self.now();
            let Some(told) = perform(store, &path, ask).await else { continue };
            let returned = if told == Told::Unknown { u64::MAX } else { self.now() };
            match told {
                Told::Written(revision) | Told::Found(_, revision) => known.insert(path.clone(), revision),
                _ => known.remove(&path),
            };
            self.acknowledged.set(self.acknowledged.get() + u64::from(matches!(told, Told::Written(_))));
            self.operations[of].borrow_mut().push(Operation { key: path, ask, told, called, returned });
        }
    }

    /// A list of a tenant, as a read of each object.
    async fn list(&self, store: &Store, of: usize) {
        let called = self.now();
        if !is_current(store, TENANTS[of]).await {
            return;
        }
        let snapshot = store.snapshot();
        let listed = snapshot.range(&Scope::Tenant(pods(), tenant(TENANTS[of])), None);
        let found: HashMap<&str, Told> = listed.map(|object| (&*object.key.name, found(object))).collect();
        let returned = self.now();
        let read = |key: usize| {
            let told = found.get(key.to_string().as_str()).copied().unwrap_or(Told::Absent);
            Operation { key: format!("{}/n/{key}", TENANTS[of]), ask: Ask::Read, told, called, returned }
        };
        self.operations[of].borrow_mut().extend((0..KEYS).map(read));
    }

    /// Waits until more was acknowledged: the clusters serve.
    async fn goes_on(&self) {
        let goal = self.acknowledged.get() + 60;
        let all = async || if self.acknowledged.get() >= goal { Ok(()) } else { Err(self.acknowledged.get()) };
        kit::wait_for("acknowledged writes", DEADLINE, all).await;
    }
}

async fn is_current(store: &Store, of: &str) -> bool {
    store.current().await.is_ok() && store.current_in(Whose::Tenant(&tenant(of))).await.is_ok()
}

fn found(object: &Arc<Object>) -> Told {
    Told::Found(object.to_value().expect("JSON")["v"].as_u64().expect("a value"), object.revision)
}

/// What the answer was; `None` where nothing can have happened.
async fn perform(store: &Store, path: &str, ask: Ask) -> Option<Told> {
    let write = match ask {
        Ask::Create(value) => put(path, Expect::Absent, json!({"v": value})),
        Ask::Update(value, revision) => put(path, Expect::Revision(revision), json!({"v": value})),
        Ask::Delete => delete(path, Expect::Present),
        Ask::Read => {
            let of = path.split('/').next().expect("a tenant");
            return is_current(store, of).await.then(|| store.snapshot().get(&pod(path)).map_or(Told::Absent, found));
        }
    };
    Some(match commit(store, write).await {
        Ok(_) if ask == Ask::Delete => Told::Deleted,
        Ok(object) => Told::Written(object.revision),
        Err(CommitError::Exists(_)) => Told::Exists,
        Err(CommitError::Stale { current: Some(_) }) => Told::Conflict,
        Err(CommitError::Stale { current: None } | CommitError::Absent) => Told::Absent,
        Err(CommitError::Unavailable(_)) => Told::Unknown,
        Err(other) => panic!("{other}"),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_several_servers_and_clusters_every_answer_stays_true() {
    if !kit::Etcd::is_installed() {
        return;
    }
    let started = tokio::join!(kit::Etcd::start(MEMBERS, &[]), kit::Etcd::start(MEMBERS, &[]));
    let mut clusters = [started.0, started.1];
    let mut servers = Vec::new();
    for _ in 0..SERVERS {
        servers.push(server(&clusters).await);
    }
    commit(&servers[0], placed(TENANTS[1], "1")).await.expect("placed");
    for server in &servers {
        server.current().await.expect("a quorum");
    }
    let recorder = Recorder {
        began: Instant::now(),
        values: Cell::new(0),
        acknowledged: Cell::new(0),
        ended: Cell::new(false),
        operations: Default::default(),
    };
    let work = (0..WRITERS).map(|number| recorder.work(&servers[number % SERVERS], number as u64 + 1));
    let faults = async {
        let mut random = Random(7);
        for fault in 0..rounds(4, 24) {
            let (cluster, member) = (random.below(clusters.len()), random.below(MEMBERS));
            recorder.goes_on().await;
            if fault % 2 == 0 {
                clusters[cluster].kill9(member);
                recorder.goes_on().await;
                clusters[cluster].restart(member).await;
            } else {
                clusters[cluster].pause(member);
                recorder.goes_on().await;
                clusters[cluster].resume(member);
            }
        }
        recorder.goes_on().await;
        recorder.ended.set(true);
    };
    futures::join!(faults, futures::future::join_all(work));
    let mut unknown = 0;
    for (of, operations) in TENANTS.iter().zip(recorder.operations) {
        let operations = operations.into_inner();
        unknown += operations.iter().filter(|operation| operation.told == Told::Unknown).count();
        linear::check(&operations).unwrap_or_else(|why| panic!("tenant {of}: {why}"));
        println!("tenant {of}: {} operations", operations.len());
    }
    println!("{unknown} writes of which nothing is known");
}
