//! What a pod's sandbox is made from. Pure.

use crate::config::Config;
use crate::dirs::PodDirs;
use crate::labels;
use crate::pod::{Pod, PodRef, SeccompProfile, Spec};
use k8s_cri::v1::security_profile::ProfileType;
use k8s_cri::v1::{
    DnsConfig, Int64Value, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption,
    PodSandboxConfig, PodSandboxMetadata, PortMapping, Protocol, SecurityProfile,
};

/// The longest that a Linux host name may be.
const HOSTNAME_BYTES_MAX: usize = 63;
/// As many search domains as resolvers read.
const SEARCHES_MAX: usize = 32;

/// The node's own resolver settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

impl Resolver {
    /// Reads a `resolv.conf`.
    pub fn parse(text: &str) -> Resolver {
        let mut resolver = Resolver::default();
        for line in text.lines() {
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => resolver.servers.extend(words.next()),
                Some("search" | "domain") => resolver.searches = words.collect(),
                Some("options") => resolver.options = words.collect(),
                Some(_) | None => {}
            }
        }
        resolver
    }
}

/// What the sandbox of a pod is made from.
pub fn sandbox_config(
    config: &Config,
    resolver: &Resolver,
    pod: &Pod,
    reference: &PodRef,
    dirs: &PodDirs,
    attempt: u32,
) -> PodSandboxConfig {
    let mut all_labels: std::collections::HashMap<_, _> = pod.metadata.labels.clone().into_iter().collect();
    all_labels.extend(labels::of_pod(reference, &config.node_name));
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: reference.name.clone(),
            uid: reference.uid.to_string(),
            // Two tenants may have pods of the same name in namespaces of the same name.
            namespace: format!("{}_{}", reference.tenant, reference.namespace),
            attempt,
        }),
        // The node's own network has the node's own name.
        hostname: if pod.spec.host_network { String::new() } else { hostname(config, pod) },
        log_directory: dirs.logs.display().to_string(),
        dns_config: Some(dns(config, resolver, pod)),
        port_mappings: port_mappings(&pod.spec),
        labels: all_labels,
        annotations: pod.metadata.annotations.clone().into_iter().collect(),
        linux: Some(LinuxPodSandboxConfig {
            security_context: Some(LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces(&pod.spec)),
                run_as_user: pod.spec.security_context.run_as_user.map(|value| Int64Value { value }),
                run_as_group: group_for(pod).map(|value| Int64Value { value }),
                supplemental_groups: groups(&pod.spec),
                privileged: pod.spec.all_containers().any(|c| c.security_context.privileged),
                seccomp: Some(seccomp(pod.spec.security_context.seccomp_profile.as_ref())),
                ..Default::default()
            }),
            sysctls: pod.spec.security_context.sysctls.iter().map(|s| (s.name.clone(), s.value.clone())).collect(),
            ..Default::default()
        }),
        windows: None,
    }
}

/// Which namespaces containers share with the pod, and which with the node.
pub fn namespaces(spec: &Spec) -> NamespaceOption {
    let node_or = |shared: bool, otherwise: NamespaceMode| if shared { NamespaceMode::Node } else { otherwise } as i32;
    let pid = if spec.share_process_namespace { NamespaceMode::Pod } else { NamespaceMode::Container };
    NamespaceOption {
        network: node_or(spec.host_network, NamespaceMode::Pod),
        pid: node_or(spec.host_pid, pid),
        ipc: node_or(spec.host_ipc, NamespaceMode::Pod),
        ..Default::default()
    }
}

/// Groups beyond the primary one, for every container of the pod.
pub fn groups(spec: &Spec) -> Vec<i64> {
    let context = &spec.security_context;
    context.fs_group.into_iter().chain(context.supplemental_groups.iter().copied()).collect()
}

/// A runtime takes a group only together with a user.
fn group_for(pod: &Pod) -> Option<i64> {
    let context = &pod.spec.security_context;
    context.run_as_group.filter(|_| context.run_as_user.is_some())
}

/// The runtime's own filter unless the pod asks for another: tenants share this kernel.
pub fn seccomp(profile: Option<&SeccompProfile>) -> SecurityProfile {
    let of = |kind: ProfileType, localhost_ref: &str| SecurityProfile {
        profile_type: kind as i32,
        localhost_ref: localhost_ref.to_owned(),
    };
    match profile {
        Some(SeccompProfile { kind, .. }) if kind == "Unconfined" => of(ProfileType::Unconfined, ""),
        Some(SeccompProfile { kind, localhost_profile }) if kind == "Localhost" => {
            of(ProfileType::Localhost, localhost_profile)
        }
        Some(_) | None => of(ProfileType::RuntimeDefault, ""),
    }
}

/// The pod's host name, fully qualified if it asks for that.
fn hostname(config: &Config, pod: &Pod) -> String {
    let spec = &pod.spec;
    if spec.set_hostname_as_fqdn
        && let Some(fqdn) = fqdn(config, pod)
    {
        return fqdn;
    }
    short_hostname(pod).to_owned()
}

/// The pod's host name without a domain.
pub fn short_hostname(pod: &Pod) -> &str {
    let name = if pod.spec.hostname.is_empty() { &pod.metadata.name } else { &pod.spec.hostname };
    let cut = name.get(..HOSTNAME_BYTES_MAX).unwrap_or(name);
    cut.trim_end_matches(['-', '.'])
}

/// The pod's name in the cluster's DNS, if it has a subdomain.
pub fn fqdn(config: &Config, pod: &Pod) -> Option<String> {
    let subdomain = Some(&pod.spec.subdomain).filter(|s| !s.is_empty())?;
    let (host, namespace) = (short_hostname(pod), &pod.metadata.namespace);
    Some(format!("{host}.{subdomain}.{namespace}.svc.{}", config.cluster_domain))
}

fn port_mappings(spec: &Spec) -> Vec<PortMapping> {
    let ports = spec.all_containers().flat_map(|c| &c.ports).filter(|p| p.host_port > 0 && !spec.host_network);
    let protocol = |name: &str| match name {
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        _ => Protocol::Tcp,
    };
    let mapping = |p: &crate::pod::Port| PortMapping {
        protocol: protocol(&p.protocol) as i32,
        container_port: p.container_port.into(),
        host_port: p.host_port.into(),
        host_ip: p.host_ip.clone(),
    };
    ports.map(mapping).collect()
}

/// The pod's resolver: the cluster's, the node's or its own, as `dnsPolicy` says.
fn dns(config: &Config, node: &Resolver, pod: &Pod) -> DnsConfig {
    let spec = &pod.spec;
    let of_cluster = match spec.dns_policy.as_str() {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" | "" => !spec.host_network,
        _ => false,
    };
    let mut dns = if of_cluster && !config.cluster_dns.is_empty() {
        let (namespace, domain) = (&pod.metadata.namespace, &config.cluster_domain);
        let own = [format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
        DnsConfig {
            servers: config.cluster_dns.iter().map(ToString::to_string).collect(),
            searches: own.into_iter().chain(node.searches.iter().cloned()).collect(),
            options: vec!["ndots:5".to_owned()],
        }
    } else if spec.dns_policy == "None" {
        DnsConfig::default()
    } else {
        DnsConfig { servers: node.servers.clone(), searches: node.searches.clone(), options: node.options.clone() }
    };
    dns.servers.extend(spec.dns_config.nameservers.iter().cloned());
    dns.searches.extend(spec.dns_config.searches.iter().cloned());
    dns.searches.truncate(SEARCHES_MAX);
    for option in &spec.dns_config.options {
        let name = |text: &String| text.split(':').next() == Some(&option.name);
        dns.options.retain(|known| !name(known));
        dns.options.push(option.value.as_ref().map_or(option.name.clone(), |v| format!("{}:{v}", option.name)));
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dirs::Dirs;
    use serde_json::{Value, json};
    use std::path::Path;

    fn config_of(spec: Value) -> PodSandboxConfig {
        let mut config = Config::new(
            "n1",
            "unix:///run/c.sock".parse().expect("an endpoint"),
            "/data".into(),
            "192.0.2.1".parse().expect("an address"),
        );
        config.cluster_dns = vec!["10.96.0.10".parse().expect("an address")];
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"tenant": "acme", "namespace": "default", "name": "web", "uid": "u-1",
                         "labels": {"app": "web", "io.kubernetes.pod.tenant": "other"}},
            "spec": spec
        }))
        .expect("a pod");
        let reference = pod.reference().expect("a name");
        let resolver = Resolver::parse("nameserver 192.0.2.53\nsearch example.org\noptions edns0 ndots:2\n");
        let dirs = Dirs::new(Path::new("/data")).pod(&reference.uid);
        sandbox_config(&config, &resolver, &pod, &reference, &dirs, 3)
    }

    #[test]
    fn a_pod_cannot_label_itself_into_another_tenant() {
        let config = config_of(json!({}));
        assert_eq!(config.labels[labels::POD_TENANT], "acme");
        assert_eq!(config.labels["app"], "web");
        let metadata = config.metadata.expect("metadata");
        assert_eq!((metadata.namespace.as_str(), metadata.attempt), ("acme_default", 3));
        assert_eq!(config.log_directory, "/data/node/logs/u-1");
    }

    #[test]
    fn a_pod_of_the_cluster_asks_the_cluster_first() {
        let dns =
            config_of(json!({"dnsConfig": {"options": [{"name": "ndots", "value": "1"}]}})).dns_config.expect("DNS");
        assert_eq!(dns.servers, ["10.96.0.10"]);
        assert_eq!(dns.searches, ["default.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.org"]);
        assert_eq!(dns.options, ["ndots:1"]);
        let default = config_of(json!({"dnsPolicy": "Default"})).dns_config.expect("DNS");
        assert_eq!(
            (default.servers, default.options),
            (vec!["192.0.2.53".to_owned()], vec!["edns0".into(), "ndots:2".into()])
        );
    }

    #[test]
    fn namespaces_are_the_pods_unless_it_asks_for_the_nodes() {
        let modes = |spec: Value| {
            let context = config_of(spec).linux.and_then(|l| l.security_context).expect("a context");
            let options = context.namespace_options.expect("options");
            [options.network, options.pid, options.ipc]
        };
        let [pod, container, node] =
            [NamespaceMode::Pod as i32, NamespaceMode::Container as i32, NamespaceMode::Node as i32];
        assert_eq!(modes(json!({})), [pod, container, pod]);
        assert_eq!(
            modes(json!({"hostNetwork": true, "shareProcessNamespace": true, "hostIPC": true})),
            [node, pod, node]
        );
    }
}
