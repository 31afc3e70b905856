//! What tenants hold: counted with every write, the same after a restart, and known to the writer's own decisions.

use super::*;
use crate::{Held, Revise};

#[tokio::test]
async fn what_a_tenant_holds_follows_every_write_and_survives_a_restart() {
    let disk = Disk::new();
    let store = open(&disk, Limits::default()).expect("a store");
    let counted = |store: &Store| {
        let mut expected = std::collections::BTreeMap::<TenantName, Held>::new();
        for object in store.snapshot().range(&Scope::AllTenants(pods()), None) {
            let held = expected.entry(object.tenant().expect("a tenant").clone()).or_default();
            *held = Held { objects: held.objects + 1, bytes: held.bytes + object.bytes.len() as u64 };
        }
        let all: std::collections::BTreeMap<_, _> = store.held_by_all().into_iter().collect();
        assert_eq!(all, expected);
        all.len()
    };
    for path in ["a/n/x", "a/n/y", "b/n/x"] {
        create(&store, path).await;
    }
    commit(&store, put("a/n/x", Expect::Present, json!({"more": "bytes"}))).await.expect("an update");
    assert_eq!(counted(&store), 2);
    let refused = vec![
        put("a/n/z", Expect::Absent, json!({})),
        delete("a/n/y", Expect::Any),
        put("b/n/x", Expect::Absent, json!({})),
    ];
    assert!(store.commit(refused).await.is_err());
    assert_eq!(counted(&store), 2);
    store.close().await;
    let store = open(&disk, Limits::default()).expect("a store");
    assert_eq!(counted(&store), 2);
    commit(&store, delete("b/n/x", Expect::Present)).await.expect("a delete");
    assert_eq!((counted(&store), store.held(&tenant("b"))), (1, Held::default()));
}

#[tokio::test]
async fn writers_at_once_never_exceed_a_limit_of_what_is_held() {
    let store = new_store();
    create(&store, "limits/n/x").await;
    let one = |i: usize| {
        let check =
            Revise::metered(tenant("a"), |_, held| if held.objects > 5 { Err("full".to_owned()) } else { Ok(None) });
        let check = Write {
            key: pod("limits/n/x"),
            expect: Expect::Present,
            change: Change::Revise(check),
            class: Class::Durable,
        };
        store.commit(vec![put(&format!("a/n/p{i}"), Expect::Absent, json!({})), check])
    };
    let outcomes = futures::future::join_all((0..20).map(one)).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 5);
    assert_eq!(store.held(&tenant("a")).objects, 5);
}
