//! What others have published or was measured of them, for the same things. Figures of others' machines say so.

/// One figure of another system.
pub struct Record {
    pub benchmark: &'static str,
    pub figure: &'static str,
    pub value: f64,
    /// Whose, and how it was measured.
    pub of: &'static str,
}

const fn record(benchmark: &'static str, figure: &'static str, value: f64, of: &'static str) -> Record {
    Record { benchmark, figure, value, of }
}

const UPSTREAM: &str = "kube-apiserver 1.36 and etcd 3.6, CPU of both, on 2 such cores";
const UPSTREAM_CI: &str = "threshold of upstream's CI for kube-scheduler 1.36, a tenth of the nodes scored";
const ARKTOS: &str = "Arktos 0.9: 50,000 hollow nodes on 2 tenant and 2 resource partitions of 32 cores each";

pub const RECORDS: &[Record] = &[
    record("api", "create, server CPU each", 810.0, UPSTREAM),
    record("api", "create, rate", 2262.0, UPSTREAM),
    record("api", "update, server CPU each", 960.0, UPSTREAM),
    record("api", "update, rate", 1942.0, UPSTREAM),
    record("api", "get, server CPU each", 370.0, UPSTREAM),
    record("api", "get, rate", 4778.0, UPSTREAM),
    record("api", "list, server CPU each", 120_000.0, UPSTREAM),
    record("api", "list, first byte", 6.0, UPSTREAM),
    record("api", "watch, server CPU each", 8.0, "as before, saturated, with watchers cut off; 19 to 27 else"),
    record("api", "watch, rate", 77_800.0, "as before, saturated, with watchers cut off"),
    record("api", "start to ready, empty", 2400.0, UPSTREAM),
    record("api", "idle memory", 325.0, UPSTREAM),
    record("tenant-life", "memory of an idle tenant", 7578.0, "kcp 0.30.3, a workspace after garbage collection"),
    record("tenant-life", "tenants acknowledged, per second", 8.0, "kcp 0.30.3, workspaces in a tree"),
    record(
        "tenant-life",
        "tenants deleted, until gone, per second",
        2.8,
        "kcp 0.30.3, 10,000 workspaces in about an hour",
    ),
    record("scheduling-basic-5000", "pods bound", 270.0, UPSTREAM_CI),
    record("scheduling-basic-50000", "pods bound", 185.0, "stock Kubernetes, 50,000 pods on 50,000 nodes (k8s-1m)"),
    record("scheduling-affinity", "pods bound", 35.0, UPSTREAM_CI),
    record("scheduling-anti-affinity-namespaces", "pods bound", 24.0, UPSTREAM_CI),
    record("scheduling-spread", "pods bound", 85.0, UPSTREAM_CI),
    record("scheduling-preemption", "pods bound", 160.0, UPSTREAM_CI),
    record("scheduling-csi-volumes", "pods bound", 48.0, UPSTREAM_CI),
    record("density", "latency: pods running", 200.0, ARKTOS),
    record("density", "latency: pod start p99", 7330.0, ARKTOS),
    record("stored-pods", "memory per object", 60.0, "kube-apiserver 1.36 on such a machine, above idle"),
    record("heartbeats", "server CPU per heartbeat", 960.0, "an update by kube-apiserver 1.36 and etcd 3.6 here"),
];

/// The record beside a figure.
pub fn of(benchmark: &str, figure: &str) -> Option<&'static Record> {
    RECORDS.iter().find(|record| record.benchmark == benchmark && record.figure == figure)
}
