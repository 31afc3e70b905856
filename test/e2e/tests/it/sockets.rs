//! T76: what listens. Every socket of the server is one that is documented, and without a credential nothing is told there.

use kit::{Options, Server};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The inodes of the sockets that a process has.
fn sockets_of(pid: u32) -> BTreeSet<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let inode =
        |target: std::path::PathBuf| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    targets.filter_map(inode).collect()
}

/// The rows of a table of sockets that are this process's: their fields.
fn rows(pid: u32, table: &str, inode_at: usize) -> Vec<Vec<String>> {
    let own = sockets_of(pid);
    let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
    let rows = text.lines().skip(1).map(|row| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    rows.filter(|row| row.get(inode_at).is_some_and(|inode| own.contains(inode))).collect()
}

fn files_below(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").filter_map(Result::ok) {
        found.push(entry.path());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files_below(&entry.path(), found);
        }
    }
}

#[tokio::test]
async fn one_port_listens_and_tells_nothing_to_strangers() {
    let server = Server::start(Options::without_node()).await;
    server.tenant("acme").await;
    const LISTENS: &str = "0A";
    let mut ports = Vec::new();
    for table in ["tcp", "tcp6"] {
        for row in rows(server.pid(), table, 9).iter().filter(|row| row[3] == LISTENS) {
            let port = row[1].rsplit(':').next().expect("an address");
            ports.push(u16::from_str_radix(port, 16).expect("a port"));
        }
    }
    assert_eq!(ports, [server.port()], "TCP");
    for table in ["udp", "udp6", "raw", "raw6"] {
        assert_eq!(rows(server.pid(), table, 9), Vec::<Vec<String>>::new(), "{table}");
    }
    // Flag 0x10000 is of sockets that accept connections.
    let unix: Vec<_> = rows(server.pid(), "unix", 6).into_iter().filter(|row| row[3] == "00010000").collect();
    assert_eq!(unix, Vec::<Vec<String>>::new(), "sockets in the file system, and abstract ones");

    // Keys and objects are the owner's alone to read.
    let mut files = Vec::new();
    files_below(server.data_dir(), &mut files);
    assert!(files.len() > 5, "{files:?}");
    for path in files.iter().filter(|path| path.is_file()) {
        let mode = fs::metadata(path).expect("it is there").permissions().mode() & 0o077;
        let folder = path.parent().expect("a folder");
        let closed = fs::metadata(folder).expect("a folder").permissions().mode() & 0o077 == 0;
        assert!(mode == 0 || closed, "{} can be read by others", path.display());
    }

    let open = ["/healthz", "/livez", "/readyz", "/version"];
    let paths = [
        "/",
        "/api",
        "/apis",
        "/api/v1",
        "/metrics",
        "/metrics/cadvisor",
        "/debug/pprof",
        "/debug/pprof/heap",
        "/logs",
        "/configz",
        "/statusz",
        "/flagz",
        "/stats",
        "/pods",
        "/runningpods",
        "/run",
        "/exec",
        "/openapi/v2",
        "/openapi/v3",
        "/swagger.json",
        "/openid/v1/jwks",
        "/.well-known/openid-configuration",
        "/api/v1/namespaces",
        "/api/v1/nodes",
        "/api/v1/tenants",
        "/api/v1/secrets",
        "/cache",
        "/internal",
        "/services/cache",
        "/clusters/acme/api/v1/secrets",
        "/tenants",
        "/tenants/acme",
        "/tenants/acme/api",
        "/tenants/all/api/v1/secrets",
        "/ui",
        "/api/v1/proxy/nodes/n",
        "/proxy",
        "/containerLogs/acme/default/p/c",
        "/v3/kv/range",
        "/health",
        "/livez/etcd",
        "/readyz/shutdown",
    ];
    for path in open.into_iter().chain(paths) {
        for method in ["GET", "POST", "DELETE", "OPTIONS", "TRACE"] {
            let code = server.code_for_strangers(method, path).await;
            let may = open.iter().any(|open| path.starts_with(open));
            assert!(may || matches!(code, 400 | 401 | 403 | 404 | 405), "{method} {path}: {code}");
        }
    }
}
