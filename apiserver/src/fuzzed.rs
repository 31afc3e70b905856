//! Request targets, damaged.

use crate::options::{ListOptions, Query};
use crate::path::Path;

#[test]
fn damaged_request_targets_are_read_or_refused() {
    let samples = [
        "/api/v1/tenants/acme/namespaces/default/pods/web-1/log?container=c&follow=true&tailLines=10",
        "/tenants/acme/apis/apps/v1/namespaces/%64efault/deployments?watch=1&resourceVersion=7&labelSelector=a%3Db",
        "/api/v1/watch/nodes?limit=500&continue=eyJ2Ijoi&resourceVersionMatch=NotOlderThan&fieldSelector=metadata.name%3Dx",
        "/apis/g.example.com/v1/things/x/proxy/..%2f/a//b?timeoutSeconds=10&allowWatchBookmarks=true&sendInitialEvents=true",
    ];
    fuzz::fuzz(&samples, |bytes| {
        let target = String::from_utf8_lossy(bytes);
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let _ = Path::parse(path);
        let query = Query::parse(Some(query));
        for watch in [false, true] {
            let _ = ListOptions::parse(&query, watch);
        }
    });
}
