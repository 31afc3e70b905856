//! What a node agent is told at its start, parsed once.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// As many pods as upstream runs on a node by default.
const PODS_MAX_DEFAULT: u32 = 110;

/// Everything that a node agent is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    pub node_name: String,
    pub runtimes: RuntimeEndpoints,
    /// Pods' directories and logs live under `data_dir/node`.
    pub data_dir: PathBuf,
    /// The node's address as pods and users see it.
    pub node_ip: IpAddr,
    /// Recorded on the Node; the addresses themselves come from CNI.
    pub pod_cidr: Option<String>,
    pub max_pods: u32,
    /// What pods find in `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`; `None` leaves them out.
    pub kubernetes_service: Option<(String, u16)>,
    /// Name servers of pods with `dnsPolicy: ClusterFirst`; while empty they get the node's.
    pub cluster_dns: Vec<IpAddr>,
    pub cluster_domain: String,
}

impl Config {
    /// A configuration with upstream's defaults for the rest.
    pub fn new(node_name: impl Into<String>, runtimes: RuntimeEndpoints, data_dir: PathBuf, node_ip: IpAddr) -> Config {
        Config {
            node_name: node_name.into(),
            runtimes,
            data_dir,
            node_ip,
            pod_cidr: None,
            max_pods: PODS_MAX_DEFAULT,
            kubernetes_service: None,
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
        }
    }
}

/// What a runtime runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Workload {
    Container,
    Vm,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Workload::Container => "container",
            Workload::Vm => "vm",
        })
    }
}

/// One CRI server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeEndpoint {
    pub name: String,
    pub workload: Workload,
    pub socket: PathBuf,
}

impl fmt::Display for RuntimeEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},unix://{}", self.name, self.workload, self.socket.display())
    }
}

/// The runtimes of a node: at least one for containers, names unique. The first of a workload is its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeEndpoints(Vec<RuntimeEndpoint>);

impl RuntimeEndpoints {
    /// All of them, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = &RuntimeEndpoint> {
        self.0.iter()
    }
}

impl FromStr for RuntimeEndpoints {
    type Err = String;

    /// Reads `name,container|vm,unix:///path[;…]`. A bare `unix:///path` is a container runtime named `default`.
    fn from_str(text: &str) -> Result<RuntimeEndpoints, String> {
        let mut endpoints: Vec<RuntimeEndpoint> = Vec::new();
        for entry in text.split(';').map(str::trim).filter(|e| !e.is_empty()) {
            let endpoint = parse_endpoint(entry)?;
            if endpoints.iter().any(|e| e.name == endpoint.name) {
                return Err(format!("two container runtime endpoints are named {:?}", endpoint.name));
            }
            endpoints.push(endpoint);
        }
        if !endpoints.iter().any(|e| e.workload == Workload::Container) {
            return Err(format!("{text:?} names no container runtime: expected 'name,container,unix:///path'"));
        }
        Ok(RuntimeEndpoints(endpoints))
    }
}

fn parse_endpoint(entry: &str) -> Result<RuntimeEndpoint, String> {
    let parts: Vec<&str> = entry.split(',').map(str::trim).collect();
    let (name, workload, url) = match parts.as_slice() {
        [url] => ("default", "container", *url),
        [name, workload, url] => (*name, *workload, *url),
        _ => return Err(format!("{entry:?} is not of the form 'name,container|vm,unix:///path'")),
    };
    let workload = match workload {
        "container" => Workload::Container,
        "vm" => Workload::Vm,
        other => return Err(format!("{other:?} in {entry:?} is not a workload: expected 'container' or 'vm'")),
    };
    // A bare path is what scripts of old wrote.
    let socket = PathBuf::from(url.strip_prefix("unix://").unwrap_or(url));
    if name.is_empty() || !socket.is_absolute() {
        return Err(format!("{entry:?} needs a name and an absolute socket, as in 'name,container,unix:///path'"));
    }
    Ok(RuntimeEndpoint { name: name.to_owned(), workload, socket })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_of_every_form_are_read() {
        let text = "c,container,unix:///run/c.sock;v,vm,/run/v.sock; ";
        let endpoints: RuntimeEndpoints = text.parse().expect("endpoints");
        let texts: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["c,container,unix:///run/c.sock", "v,vm,unix:///run/v.sock"]);
        let bare: RuntimeEndpoints = "unix:///run/c.sock".parse().expect("an endpoint");
        assert_eq!(bare.iter().next().expect("one").to_string(), "default,container,unix:///run/c.sock");
    }

    #[test]
    fn endpoints_that_name_no_runtime_are_refused() {
        for bad in
            ["", ";", "v,vm,unix:///v", "c,container", "c,pod,unix:///c", "c,container,relative", ",container,/c"]
        {
            assert!(bad.parse::<RuntimeEndpoints>().is_err(), "{bad}");
        }
        let twice = "c,container,/a;c,vm,/b".parse::<RuntimeEndpoints>().expect_err("a name twice");
        assert!(twice.contains("two container runtime endpoints"), "{twice}");
    }
}
