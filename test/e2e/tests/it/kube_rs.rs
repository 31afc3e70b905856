//! kube-rs, the client of operators written in Rust, within a tenant.

use e2e::Cluster;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kit::{Options, Server};
use kube::api::{Api, AttachParams, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Config, ResourceExt};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use tokio::io::AsyncReadExt;

const LABEL: &str = "client=kube-rs";

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a usable kubeconfig");
    Client::try_from(config).expect("a client")
}

fn config_map(name: &str) -> ConfigMap {
    let labels = BTreeMap::from([("client".to_owned(), "kube-rs".to_owned())]);
    let metadata = ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
    ConfigMap { metadata, data: Some(BTreeMap::from([("k".to_owned(), "v".to_owned())])), ..ConfigMap::default() }
}

/// The names on each page of two.
async fn pages(maps: &Api<ConfigMap>) -> Vec<Vec<String>> {
    let (mut params, mut pages) = (ListParams::default().labels(LABEL).limit(2), Vec::new());
    loop {
        let page = maps.list(&params).await.expect("a page");
        pages.push(page.items.iter().map(ResourceExt::name_any).collect());
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return pages,
        }
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<Event<ConfigMap>, watcher::Error>>>>;

/// An informer's events up to the end of its first list: that list's names.
async fn first_list(events: &mut Events) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        match events.next().await.expect("a watch does not end").expect("an event") {
            Event::InitApply(map) => names.push(map.name_any()),
            Event::InitDone => return names,
            Event::Init => {}
            late @ (Event::Apply(_) | Event::Delete(_)) => panic!("{late:?} before the first list ended"),
        }
    }
}

async fn next(events: &mut Events) -> (&'static str, String) {
    match events.next().await.expect("a watch does not end").expect("an event") {
        Event::Apply(map) => ("apply", map.name_any()),
        Event::Delete(map) => ("delete", map.name_any()),
        early => panic!("{early:?} after the first list"),
    }
}

#[tokio::test]
async fn kube_rs_creates_pages_watches_and_applies() {
    let server = Server::start(Options::without_node()).await;
    let tenant = server.tenant("kube-rs").await;
    let maps: Api<ConfigMap> = Api::namespaced(client(tenant.kubectl.kubeconfig()).await, "default");
    for name in ["a", "b", "c"] {
        maps.create(&PostParams::default(), &config_map(name)).await.unwrap();
    }
    assert_eq!(pages(&maps).await, [vec!["a", "b"], vec!["c"]]);

    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let mut events: Events = Box::pin(watcher(maps.clone(), config.labels(LABEL)));
        assert_eq!(first_list(&mut events).await, ["a", "b", "c"]);
        maps.create(&PostParams::default(), &config_map("late")).await.unwrap();
        maps.delete("late", &DeleteParams::default()).await.unwrap();
        assert_eq!(next(&mut events).await, ("apply", "late".to_owned()));
        assert_eq!(next(&mut events).await, ("delete", "late".to_owned()));
    }

    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "applied"}});
    let mine = PatchParams::apply("kube-rs");
    let refused = maps.patch("a", &mine, &Patch::Apply(&config)).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 409), "{refused}");
    let applied = maps.patch("a", &mine.force(), &Patch::Apply(&config)).await.unwrap();
    assert_eq!(applied.data.unwrap()["k"], "applied");
    assert!(maps.get_opt("absent").await.unwrap().is_none());
}

#[tokio::test]
async fn kube_rs_gets_into_a_container() {
    let Some(cluster) = Cluster::shared().await else { return };
    let demo = cluster.demo("kube-rs-exec").await;
    let pod = &demo.pods(2).await[0];
    let pods: Api<Pod> = Api::default_namespaced(client(demo.kubectl.kubeconfig()).await);
    let command = ["sh", "-c", "echo out; echo err >&2; exit 3"];
    let mut process = pods.exec(&pod.name, command, &AttachParams::default()).await.unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    process.stdout().unwrap().read_to_string(&mut out).await.unwrap();
    process.stderr().unwrap().read_to_string(&mut err).await.unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("out\n", "err\n"));
    let status = process.take_status().unwrap().await.unwrap();
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"), "{status:?}");
}
