//! What a container is made from. Pure: everything that has to be asked for was asked before.

use crate::dirs::log_path;
use crate::expand::expand;
use crate::labels;
use crate::pod::{Container, Pod, PodRef, SecurityContext};
use crate::{cri::image_spec, resources, sandbox};
use k8s_cri::v1::{
    Capability, ContainerConfig, ContainerMetadata, Int64Value, KeyValue, LinuxContainerConfig,
    LinuxContainerSecurityContext, Mount, SupplementalGroupsPolicy,
};
use std::collections::HashMap;

/// What a container must not see of the kernel, as upstream hides it.
const MASKED_PATHS: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
/// Upstream hides this one too; runtimes that do not know it ignore it.
const MASKED_POWERCAP: &str = "/sys/devices/virtual/powercap";
/// What a container must not change of the kernel, as upstream protects it.
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What was prepared for a container's start.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The image's reference, of which the container is made.
    pub image_ref: String,
    pub image_user: ImageUser,
    pub environment: HashMap<String, String>,
    pub mounts: Vec<Mount>,
    pub restart_count: u32,
    /// In bytes.
    pub node_memory: i64,
}

/// The user that an image runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageUser {
    Uid(i64),
    Name(String),
}

/// What a container is made from.
pub fn container_config(
    pod: &Pod,
    reference: &PodRef,
    node: &str,
    container: &Container,
    prepared: Prepared,
) -> ContainerConfig {
    let variables = &prepared.environment;
    let expanded = |texts: &[String]| texts.iter().map(|text| expand(text, variables)).collect();
    let command = expanded(&container.command);
    let args = expanded(&container.args);
    let mut all_labels = labels::of_pod(reference, node);
    all_labels.insert(labels::CONTAINER_NAME.to_owned(), container.name.clone());
    let annotations = [
        (labels::CONTAINER_RESTART_COUNT.to_owned(), prepared.restart_count.to_string()),
        (labels::CONTAINER_IMAGE.to_owned(), container.image.clone()),
    ];
    let image = k8s_cri::v1::ImageSpec { image: prepared.image_ref, ..image_spec(&container.image) };
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: container.name.clone(), attempt: prepared.restart_count }),
        image: Some(image),
        command,
        args,
        working_dir: container.working_dir.clone(),
        mounts: prepared.mounts,
        labels: all_labels,
        annotations: annotations.into(),
        log_path: log_path(&container.name, prepared.restart_count),
        stdin: container.stdin,
        stdin_once: container.stdin_once,
        tty: container.tty,
        linux: Some(LinuxContainerConfig {
            resources: Some(resources::linux(&pod.spec, container, prepared.node_memory)),
            security_context: Some(security_context(pod, &container.security_context, prepared.image_user)),
        }),
        envs: prepared.environment.into_iter().map(|(key, value)| KeyValue { key, value }).collect(),
        ..Default::default()
    }
}

/// Whether the container would run as root although it must not.
pub fn refuse_root(pod: &Pod, container: &Container, image_user: &ImageUser) -> Result<(), String> {
    let (own, of_pod) = (&container.security_context, &pod.spec.security_context);
    if own.run_as_non_root.or(of_pod.run_as_non_root) != Some(true) {
        return Ok(());
    }
    let whose = || {
        format!(
            "(pod: \"{}_{}({})\", container: {})",
            pod.metadata.name, pod.metadata.namespace, pod.metadata.uid, container.name
        )
    };
    match (own.run_as_user.or(of_pod.run_as_user), image_user) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {}", whose())),
        (Some(_), _) => Ok(()),
        (None, ImageUser::Uid(0)) => Err(format!("container has runAsNonRoot and image will run as root {}", whose())),
        (None, ImageUser::Uid(_)) => Ok(()),
        (None, ImageUser::Name(name)) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root {}",
            whose()
        )),
    }
}

fn security_context(pod: &Pod, own: &SecurityContext, image_user: ImageUser) -> LinuxContainerSecurityContext {
    let of_pod = &pod.spec.security_context;
    // A runtime takes a group only together with a user, so that the image's is named where the pod names none.
    let (user, username) = match (own.run_as_user.or(of_pod.run_as_user), image_user) {
        (Some(uid), _) | (None, ImageUser::Uid(uid)) => (Some(uid), String::new()),
        (None, ImageUser::Name(name)) => (None, name),
    };
    let group = own.run_as_group.or(of_pod.run_as_group);
    let number = |value: Option<i64>| value.map(|value| Int64Value { value });
    let unmasked = own.privileged || own.proc_mount == "Unmasked";
    let paths = |list: &[&str]| if unmasked { Vec::new() } else { list.iter().map(|&p| p.to_owned()).collect() };
    let mut masked_paths = paths(&MASKED_PATHS);
    masked_paths.extend(paths(&[MASKED_POWERCAP]));
    let profile = own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref());
    LinuxContainerSecurityContext {
        capabilities: Some(Capability {
            add_capabilities: own.capabilities.add.clone(),
            drop_capabilities: own.capabilities.drop.clone(),
            ..Default::default()
        }),
        privileged: own.privileged,
        namespace_options: Some(sandbox::namespaces(&pod.spec)),
        run_as_user: number(user),
        run_as_group: number(group),
        run_as_username: username,
        readonly_rootfs: own.read_only_root_filesystem,
        supplemental_groups: sandbox::groups(&pod.spec),
        supplemental_groups_policy: SupplementalGroupsPolicy::Merge as i32,
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths,
        readonly_paths: paths(&READONLY_PATHS),
        seccomp: (!own.privileged).then(|| sandbox::seccomp(profile)),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Pod {
        let metadata = json!({"tenant": "acme", "namespace": "default", "name": "web", "uid": "u-1"});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a pod")
    }

    fn config(spec: Value) -> ContainerConfig {
        let pod = pod(spec);
        let prepared = Prepared {
            image_ref: "sha256:1".to_owned(),
            image_user: ImageUser::Uid(7),
            environment: HashMap::from([("A".to_owned(), "1".to_owned())]),
            mounts: Vec::new(),
            restart_count: 2,
            node_memory: 1 << 30,
        };
        let reference = pod.reference().expect("a name");
        container_config(&pod, &reference, "n1", &pod.spec.containers[0], prepared)
    }

    #[test]
    fn a_container_is_known_again_by_its_labels_and_annotations() {
        let config = config(json!({"containers": [{"name": "c", "image": "web:1", "args": ["$(A)", "$(B)"]}]}));
        assert_eq!(config.labels[labels::CONTAINER_NAME], "c");
        assert_eq!(config.annotations[labels::CONTAINER_RESTART_COUNT], "2");
        assert_eq!(config.annotations[labels::CONTAINER_IMAGE], "web:1");
        assert_eq!(config.image.expect("an image").image, "sha256:1");
        assert_eq!((config.args, config.log_path.as_str()), (vec!["1".to_owned(), "$(B)".to_owned()], "c/2.log"));
    }

    #[test]
    fn an_ordinary_container_is_confined_and_a_privileged_one_is_not() {
        let context = |spec| config(spec).linux.and_then(|l| l.security_context).expect("a context");
        let ordinary = context(json!({"containers": [{"name": "c"}]}));
        assert!(ordinary.masked_paths.iter().any(|p| p == "/proc/kcore") && ordinary.seccomp.is_some());
        assert_eq!(ordinary.run_as_user.expect("the image's").value, 7);
        let privileged = context(json!({"containers": [{"name": "c", "securityContext": {"privileged": true}}]}));
        assert!(privileged.masked_paths.is_empty() && privileged.seccomp.is_none() && privileged.privileged);
    }

    #[test]
    fn what_must_not_run_as_root_is_refused_where_it_would() {
        let check = |own: Value, user: ImageUser| {
            let pod = pod(
                json!({"securityContext": {"runAsNonRoot": true}, "containers": [{"name": "c", "securityContext": own}]}),
            );
            refuse_root(&pod, &pod.spec.containers[0], &user).is_ok()
        };
        assert!(!check(json!({}), ImageUser::Uid(0)));
        assert!(check(json!({}), ImageUser::Uid(1000)));
        assert!(!check(json!({}), ImageUser::Name("nobody".into())));
        assert!(check(json!({"runAsUser": 5}), ImageUser::Uid(0)));
        assert!(!check(json!({"runAsUser": 0}), ImageUser::Uid(5)));
        assert!(check(json!({"runAsNonRoot": false}), ImageUser::Uid(0)));
    }
}
