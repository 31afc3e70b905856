//! What the tenant decision and the roles of a tenant cost a request: `cargo run --release -p policy --example decide`.

use api::{Identity, TenantName};
use policy::rbac::{Attributes, TenantRules};
use policy::tenancy::{Requested, decide};
use serde_json::{Value, json};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: u32 = 1_000_000;

fn main() {
    let (acme, system) = (tenant("acme"), tenant("system"));
    let roles = policy::rbac::default_roles();
    let own: Vec<Value> = (0..20)
        .map(|i| {
            json!({"metadata": {"name": format!("binding-{i}"), "namespace": format!("team-{}", i % 5)},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"kind": "User", "name": format!("user-{i}")}]})
        })
        .collect();
    let rules = TenantRules::compile(&roles.roles, &roles.cluster_roles, &own, &roles.cluster_role_bindings);
    let system_rules = TenantRules::compile(&roles.roles, &roles.cluster_roles, &[], &roles.cluster_role_bindings);
    let user = Identity::new(acme.clone(), "user-7", &["system:authenticated"]);
    let what = Attributes {
        verb: "create",
        tenant: Some(&acme),
        version: "v1",
        resource: "configmaps",
        namespace: "team-2",
        ..Attributes::default()
    };
    for (name, identity, requested, allowed) in [
        ("a tenant's user in its tenant", &user, Requested::Own, true),
        ("a tenant's user elsewhere", &user, Requested::Named(system), false),
    ] {
        let started = Instant::now();
        let mut passed = 0;
        for _ in 0..ROUNDS {
            let decided = decide(black_box(identity), black_box(&requested), black_box(&what));
            let judged =
                decided.and_then(|decision| policy::authorize(identity, &what, &decision, &rules, &system_rules));
            passed += u32::from(judged.is_ok());
        }
        assert_eq!(passed, if allowed { ROUNDS } else { 0 }, "{name}");
        println!("{name:<40} {:>8.3} µs (budget 2)", started.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
    }
}

fn tenant(name: &str) -> TenantName {
    TenantName::new(name).expect("a tenant's name")
}
