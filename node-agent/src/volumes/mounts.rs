//! What is mounted into a container, and how a pod's mounts and files are taken away again.

use super::{blocking, payload, sub_path};
use crate::config::Config;
use crate::dirs::PodDirs;
use crate::expand::expand;
use crate::pod::{Container, Pod, VolumeMount};
use crate::sandbox;
use k8s_cri::v1::{Mount, MountPropagation};
use nix::mount::{MntFlags, umount2};
use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Everything that is mounted into a container: volumes, its hosts file, the file of its last words.
pub fn container_mounts(
    config: &Config,
    pod: &Pod,
    container: &Container,
    dirs: &PodDirs,
    variables: &HashMap<String, String>,
    ips: &[IpAddr],
    restart_count: u32,
) -> Result<Vec<Mount>, String> {
    if !container.volume_devices.is_empty() {
        return Err("volumeDevices are not supported on this node".to_owned());
    }
    let mut mounts = Vec::new();
    for (i, mount) in container.volume_mounts.iter().enumerate() {
        mounts.push(volume_mount(pod, container, dirs, variables, i, mount)?);
    }
    let taken = |mounts: &[Mount], path: &str| mounts.iter().any(|m| m.container_path == path);
    if !pod.spec.host_network && !taken(&mounts, "/etc/hosts") {
        let path = dirs.etc_hosts();
        let text = etc_hosts(config, pod, ips);
        // Other containers of the pod may be reading it.
        if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        mounts.push(bind("/etc/hosts", path, false));
    }
    let last_words = &container.termination_message_path;
    if !last_words.is_empty() && !taken(&mounts, last_words) {
        let path = dirs.termination_log(&container.name, restart_count);
        make_writable_file(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        mounts.push(bind(last_words, path, false));
    }
    Ok(mounts)
}

fn volume_mount(
    pod: &Pod,
    container: &Container,
    dirs: &PodDirs,
    variables: &HashMap<String, String>,
    index: usize,
    mount: &VolumeMount,
) -> Result<Mount, String> {
    let volume = pod.spec.volumes.iter().find(|v| v.name == mount.name);
    let volume = volume.ok_or_else(|| format!("volume {:?} is not in the pod", mount.name))?;
    let mut path = match &volume.host_path {
        Some(host_path) => PathBuf::from(&host_path.path),
        None => dirs.volume(&volume.name),
    };
    let part = match mount.sub_path_expr.as_str() {
        "" => mount.sub_path.clone(),
        expression => expand(expression, variables),
    };
    if !part.is_empty() {
        let target = dirs.sub_path(&volume.name, &container.name, index);
        sub_path::bind(&path, &part, &target)?;
        path = target;
    }
    let container_path =
        if mount.mount_path.starts_with('/') { mount.mount_path.clone() } else { format!("/{}", mount.mount_path) };
    let propagation = match mount.mount_propagation.as_str() {
        "HostToContainer" => MountPropagation::PropagationHostToContainer,
        "Bidirectional" => MountPropagation::PropagationBidirectional,
        _ => MountPropagation::PropagationPrivate,
    };
    let readonly = mount.read_only || payload::is_payload(volume);
    Ok(Mount { propagation: propagation as i32, ..bind(&container_path, path, readonly) })
}

fn bind(container_path: &str, host_path: PathBuf, readonly: bool) -> Mount {
    let host_path = host_path.display().to_string();
    Mount { container_path: container_path.to_owned(), host_path, readonly, ..Default::default() }
}

fn make_writable_file(path: &Path) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, [])?;
    // The container's user is not known here.
    fs::set_permissions(path, Permissions::from_mode(0o666))
}

/// The hosts file of a pod, as upstream writes it.
fn etc_hosts(config: &Config, pod: &Pod, ips: &[IpAddr]) -> String {
    let mut text = "# Kubernetes-managed hosts file.\n\
        127.0.0.1\tlocalhost\n\
        ::1\tlocalhost ip6-localhost ip6-loopback\n\
        fe00::0\tip6-localnet\n\
        fe00::0\tip6-mcastprefix\n\
        fe00::1\tip6-allnodes\n\
        fe00::2\tip6-allrouters\n"
        .to_owned();
    let host = sandbox::short_hostname(pod);
    let names = sandbox::fqdn(config, pod).map_or(host.to_owned(), |fqdn| format!("{fqdn}\t{host}"));
    for ip in ips {
        text.push_str(&format!("{ip}\t{names}\n"));
    }
    if !pod.spec.host_aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in &pod.spec.host_aliases {
        text.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.join("\t")));
    }
    text
}

/// Unmounts and removes everything of a pod, its logs included.
pub async fn clean_up(dirs: &PodDirs) -> Result<(), String> {
    let dirs = dirs.clone();
    blocking(move || {
        // The last mounted first.
        for mount_point in mounts_below(&dirs.root)?.iter().rev() {
            unmount(mount_point)?;
        }
        if let Some(left) = mounts_below(&dirs.root)?.first() {
            return Err(format!("{} is still mounted", left.display()));
        }
        remove_dir(&dirs.root)?;
        remove_dir(&dirs.logs)
    })
    .await
}

fn remove_dir(path: &Path) -> Result<(), String> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {error}", path.display())),
        Ok(()) | Err(_) => Ok(()),
    }
}

pub fn unmount(path: &Path) -> Result<(), String> {
    // A process that outlives its container may hold it; it goes when that lets go.
    umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
        .map_err(|e| format!("umount {}: {e}", path.display()))
}

pub fn is_mount_point(path: &Path) -> Result<bool, String> {
    Ok(mount_points()?.iter().any(|m| m == path))
}

fn mounts_below(dir: &Path) -> Result<Vec<PathBuf>, String> {
    Ok(mount_points()?.into_iter().filter(|m| m.starts_with(dir)).collect())
}

/// Every mount point, in the order in which they were mounted.
fn mount_points() -> Result<Vec<PathBuf>, String> {
    let table = fs::read("/proc/self/mountinfo").map_err(|e| format!("/proc/self/mountinfo: {e}"))?;
    let fields = table.split(|&b| b == b'\n').filter_map(|line| line.split(|&b| b == b' ').nth(4));
    Ok(fields.map(unescape).collect())
}

/// The kernel writes blanks as `\040` and the like.
fn unescape(field: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| byte == b'\\').and_then(|d| std::str::from_utf8(d).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(escaped) => {
                out.push(escaped);
                rest = &after[3..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    std::ffi::OsString::from_vec(out).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_blanks_are_read() {
        assert_eq!(unescape(b"/a\\040b\\134c"), PathBuf::from("/a b\\c"));
        assert_eq!(unescape(b"/a\\9"), PathBuf::from("/a\\9"));
        assert!(is_mount_point(Path::new("/proc")).expect("a table of mounts"));
    }
}
