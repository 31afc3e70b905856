//! A pod's volumes on the node: made before its containers, refreshed while it runs, gone after it.
//!
//! Invariant: what is read from the API is mounted read-only and written by the agent alone, so that no container can
//! lead the agent's writes elsewhere. Secrets and tokens lie in memory, never on disk.
//! Invariant: setting up twice changes nothing; cleaning up removes no file through a mount.

mod atomic;
mod mounts;
mod payload;
mod sub_path;

pub use mounts::{clean_up, container_mounts};

use crate::cluster::{Cluster, Token};
use crate::dirs::PodDirs;
use crate::expand::Facts;
use crate::pod::{EmptyDir, HostPath, Pod, PodRef, Volume};
use crate::sources::Sources;
use api::Timestamp;
use nix::mount::{MsFlags, mount};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, Permissions};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

/// How often config maps, secrets and the downward API are read again.
const REFRESH: Duration = Duration::from_secs(60);
/// Pods that started together do not refresh together.
const REFRESH_SPREAD_MS: u64 = 10_000;
/// Nothing to refresh; looked at now and then all the same.
const REFRESH_IDLE: Duration = Duration::from_secs(3600);

/// A pod's tokens by audience and lifetime.
pub type Tokens = BTreeMap<(String, u64), (Token, Timestamp)>;

/// Makes or refreshes every volume of a pod. The tokens to remember, and when to come back.
pub async fn set_up(
    cluster: &Cluster,
    pod: &Pod,
    reference: &PodRef,
    dirs: &PodDirs,
    facts: &Facts,
    mut tokens: Tokens,
) -> Result<(Tokens, Timestamp), String> {
    let volumes = &pod.spec.volumes;
    let wanted = volumes.iter().flat_map(payload::references).collect();
    let sources = Sources::fetch(cluster, reference, wanted).await.map_err(|e| e.to_string())?;
    for source in volumes.iter().flat_map(payload::token_sources) {
        refresh_token(cluster, pod, reference, source, &mut tokens).await?;
    }
    let has_payload = volumes.iter().any(payload::is_payload);
    let plans =
        volumes.iter().map(|volume| plan(pod, volume, &sources, &tokens, facts)).collect::<Result<Vec<_>, _>>()?;
    let (dirs, fs_group) = (dirs.clone(), pod.spec.security_context.fs_group.and_then(|g| u32::try_from(g).ok()));
    blocking(move || {
        make_dir(&dirs.root, 0o750)?;
        make_dir(&dirs.logs, 0o755)?;
        plans.iter().try_for_each(|(name, plan)| {
            carry_out(&dirs, name, plan, fs_group)
                .map_err(|e| format!("MountVolume.SetUp failed for volume {name:?}: {e}"))
        })
    })
    .await?;
    let spread = Duration::from_millis(rand::random_range(0..REFRESH_SPREAD_MS));
    Ok((tokens, Timestamp::now().plus(if has_payload { REFRESH + spread } else { REFRESH_IDLE })))
}

/// Runs what waits for a disk where it holds up no other task.
pub async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(f).await.map_err(|e| e.to_string())?
}

/// What has to be there for a volume.
enum Plan {
    EmptyDir(EmptyDir),
    HostPath(HostPath),
    Payload { files: payload::Files, in_memory: bool },
}

fn plan(
    pod: &Pod,
    volume: &Volume,
    sources: &Sources,
    tokens: &Tokens,
    facts: &Facts,
) -> Result<(String, Plan), String> {
    if !api::is_dns_label(&volume.name) {
        return Err(format!("{:?} is not a volume's name", volume.name));
    }
    let plan = if let Some(files) = payload::files(pod, volume, sources, tokens, facts)? {
        Plan::Payload { files, in_memory: volume.secret.is_some() || volume.projected.is_some() }
    } else if let Some(empty_dir) = &volume.empty_dir {
        Plan::EmptyDir(empty_dir.clone())
    } else if let Some(host_path) = &volume.host_path {
        Plan::HostPath(host_path.clone())
    } else {
        let kind = volume.other.keys().next().map_or("of no kind", String::as_str);
        return Err(format!("volume {:?}: {kind} is not supported on this node", volume.name));
    };
    Ok((volume.name.clone(), plan))
}

fn carry_out(dirs: &PodDirs, name: &str, plan: &Plan, fs_group: Option<u32>) -> Result<(), String> {
    let path = dirs.volume(name);
    match plan {
        Plan::EmptyDir(empty_dir) => {
            let made = !path.exists();
            make_dir(&path, 0o777)?;
            if empty_dir.medium == "Memory" {
                let size = empty_dir.size_limit.map_or(String::new(), |q| format!("size={},", q.units()));
                mount_tmpfs(&path, &format!("{size}mode=0777"))?;
            } else if !matches!(empty_dir.medium.as_str(), "") {
                return Err(format!("storage medium {:?} is not supported", empty_dir.medium));
            }
            match fs_group {
                Some(group) if made => own_dir(&path, group, 0o2777),
                Some(_) | None => Ok(()),
            }
        }
        Plan::HostPath(host_path) => check_host_path(host_path),
        Plan::Payload { files, in_memory } => {
            make_dir(&path, 0o755)?;
            if *in_memory {
                mount_tmpfs(&path, "mode=0755")?;
            }
            if let Some(group) = fs_group {
                own_dir(&path, group, 0o2755)?;
            }
            atomic::write(&path, files, fs_group).map_err(|e| e.to_string())
        }
    }
}

/// A directory with exactly this mode, whatever the umask; one that exists stays as it is.
fn make_dir(path: &Path, mode: u32) -> Result<(), String> {
    if path.is_dir() {
        return Ok(());
    }
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(failed)?;
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)
}

fn own_dir(path: &Path, group: u32, mode: u32) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    std::os::unix::fs::chown(path, None, Some(group)).map_err(failed)?;
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)
}

fn mount_tmpfs(path: &Path, options: &str) -> Result<(), String> {
    if mounts::is_mount_point(path)? {
        return Ok(());
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(options)).map_err(|e| format!("mount tmpfs: {e}"))
}

/// Whether a path of the node is what the pod expects there, made if it asks for that.
fn check_host_path(host_path: &HostPath) -> Result<(), String> {
    let path = Path::new(&host_path.path);
    if !path.is_absolute() || path.components().any(|c| c == std::path::Component::ParentDir) {
        return Err(format!("hostPath {:?} is not an absolute path without '..'", host_path.path));
    }
    match host_path.kind.as_str() {
        "DirectoryOrCreate" => make_dir(path, 0o755)?,
        "FileOrCreate" if !path.exists() => {
            File::create(path).map(drop).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        _ => {}
    }
    let found = std::fs::metadata(path).map(|m| m.file_type());
    let fits = |wanted: fn(&std::fs::FileType) -> bool| found.as_ref().is_ok_and(wanted);
    let (is_right, wanted) = match host_path.kind.as_str() {
        "" => (true, ""),
        "Directory" | "DirectoryOrCreate" => (fits(|t| t.is_dir()), "a directory"),
        "File" | "FileOrCreate" => (fits(|t| t.is_file()), "a file"),
        "Socket" => (fits(|t| t.is_socket()), "a socket"),
        "CharDevice" => (fits(|t| t.is_char_device()), "a character device"),
        "BlockDevice" => (fits(|t| t.is_block_device()), "a block device"),
        other => return Err(format!("hostPath type {other:?} is unknown")),
    };
    if is_right { Ok(()) } else { Err(format!("hostPath type check failed: {} is not {wanted}", host_path.path)) }
}

/// Gets a token, or a fresh one when four fifths of the old one's life are over.
async fn refresh_token(
    cluster: &Cluster,
    pod: &Pod,
    reference: &PodRef,
    source: &crate::pod::TokenSource,
    tokens: &mut Tokens,
) -> Result<(), String> {
    let key = payload::token_key(source);
    let now = Timestamp::now();
    if tokens.get(&key).is_some_and(|(_, renew_at)| *renew_at > now) {
        return Ok(());
    }
    let account = Some(pod.spec.service_account_name.as_str()).filter(|a| !a.is_empty()).unwrap_or("default");
    let answer = cluster.token(reference, account, &key.0, key.1).await;
    let token = match (answer, tokens.get(&key)) {
        (Ok(token), _) => token,
        // The old one is good for a while yet; the next refresh tries again.
        (Err(_), Some((old, _))) if old.expires > now => return Ok(()),
        (Err(error), _) => return Err(format!("failed to fetch token: {error}")),
    };
    let renew_at = now.plus(token.expires.since(now) * 4 / 5);
    tokens.insert(key, (token, renew_at));
    Ok(())
}
