#!/usr/bin/env bash
# A containerd of Ursa's own, below a data directory: the machine's containerd, if any, is left alone.
#
#   containerd.sh start DIR    starts it with its bridge network and the images that need no registry; again: no change
#   containerd.sh stop DIR     ends its pods and itself; leaves no process, mount, network namespace, bridge or cgroup
#
# DIR/containerd/containerd.sock is its socket, DIR/containerd/bridge the name of its bridge, DIR/logs/containerd.log its
# log. Each directory gets a bridge and an address range of its own (ursa0 with 10.88.0.0/16, ursa1 with 10.89.0.0/16, ...).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

configure() {
    mkdir -p "$dir/containerd/root" "$dir/containerd/state" "$dir/cni/net.d" "$dir/cni/networks" "$dir/logs" "$dir/run"
    local snapshotter=overlayfs
    [ "$(stat -f -c %T "$dir")" = overlayfs ] && snapshotter=native # an overlay cannot lie on an overlay
    # Without CAP_SYS_RESOURCE, as in many a container, even root may not protect a process from the OOM killer.
    local restrict_oom=true
    if (echo -1 >"/proc/$BASHPID/oom_score_adj") 2>/dev/null; then restrict_oom=false; fi
    cat >"$dir/containerd/config.toml" <<END
version = 2
root = "$dir/containerd/root"
state = "$dir/containerd/state"
disabled_plugins = [
  "io.containerd.internal.v1.opt", "io.containerd.internal.v1.restart",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
  address = "$socket"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "ursa.local/pause:1"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  netns_mounts_under_state_dir = true
  tolerate_missing_hugetlb_controller = true
  restrict_oom_score_adj = $restrict_oom

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$dir/cni/net.d"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$snapshotter"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "$(command -v runc)"
        Root = "$dir/containerd/state/runc"
        SystemdCgroup = false
END
    cat >"$dir/cni/net.d/10-ursa.conflist" <<END
{
  "cniVersion": "1.0.0",
  "name": "$bridge",
  "plugins": [{
    "type": "bridge",
    "bridge": "$bridge",
    "isGateway": true,
    "hairpinMode": true,
    "ipam": {
      "type": "host-local",
      "dataDir": "$dir/cni/networks",
      "ranges": [[{"subnet": "$subnet"}]],
      "routes": [{"dst": "0.0.0.0/0"}]
    }
  }]
}
END
}

# Sets $bridge to this directory's. A bridge's alias says whose it is: a name that was recorded may be another's by now.
find_bridge() {
    local found
    for found in /sys/class/net/ursa*; do
        bridge=${found##*/}
        [ "$(cat "$found/ifalias" 2>/dev/null)" != "$dir" ] || return 0
    done
    return 1
}

# Makes the bridge $bridge, unless that name is taken.
make_bridge() {
    ip link add "$bridge" type bridge 2>/dev/null || return
    ip link set "$bridge" alias "$dir" || { ip link delete "$bridge" && return 1; }
}

# Sets $bridge and $subnet: those of this directory, or the first that are free.
claim_bridge() {
    local n
    mkdir -p "$dir/containerd"
    if find_bridge; then
        subnet=10.$((88 + ${bridge#ursa})).0.0/16
        echo "$bridge" >"$dir/containerd/bridge"
        return
    fi
    for n in {0..99}; do
        bridge=ursa$n subnet=10.$((88 + n)).0.0/16
        [ -z "$(ip route show root "$subnet")" ] || continue
        if make_bridge; then
            echo "$bridge" >"$dir/containerd/bridge"
            return
        fi
    done
    die "found no free address range for pods between 10.88.0.0 and 10.187.255.255; see 'ip route'"
}

# Lets pods reach what lies outside, with the machine's address. Where the kernel cannot, pods still reach each other.
masquerade() {
    nft -f - <<END || echo "nft cannot masquerade here: pods reach each other and this machine only"
table ip $bridge
delete table ip $bridge
table ip $bridge {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    ip saddr $subnet ip daddr != $subnet masquerade
  }
}
END
}

ctr() {
    command ctr --address "$socket" --namespace k8s.io "$@"
}

answers() {
    ctr plugins list 2>/dev/null | grep -q "^io.containerd.grpc.v1 *cri .* ok *$"
}

run_containerd() {
    daemon_pid "$dir/run" containerd >/dev/null && return
    # A shim that outlived its containerd is found again by it, so that a crash here ends no pod.
    start_daemon "$dir/run" containerd "$dir/logs/containerd.log" containerd --config "$dir/containerd/config.toml"
    within 30 answers || die "containerd does not answer on $socket; its log is $dir/logs/containerd.log"
}

start() {
    local program
    for program in containerd ctr runc ip nft busybox python3; do
        command -v "$program" >/dev/null || die "there is no $program: run hack/deps.sh"
    done
    # 107 bytes is what the kernel takes for a socket's path; containerd makes a second one beside it.
    [ "$(printf %s "$socket" | wc -c)" -le 101 ] ||
        die "the path $dir is too long for a socket in it: use --data-dir with one of at most 74 bytes"
    claim_bridge
    masquerade
    if daemon_gone "$dir/run" containerd || ! grep -qsF "\"$bridge\"" "$dir/cni/net.d/10-ursa.conflist"; then
        configure
    fi
    run_containerd
    "$root/hack/images.py" "$(command -v busybox)" "$dir/containerd/images.tar"
    ctr images import "$dir/containerd/images.tar"
    within 10 images_known || die "containerd did not take the images; its log is $dir/logs/containerd.log"
}

images_known() {
    [ "$(ctr images list --quiet | grep -c '^ursa.local/\(pause:1\|web:[12]\)$')" = 3 ]
}

# cri METHOD SANDBOX: one call of the runtime service. The message is the sandbox's 64 hexadecimal digits as field 1.
cri() {
    printf '\0\0\0\0\102\012\100%s' "$2" | curl --silent --show-error --max-time 60 --output /dev/null --dump-header - \
        --http2-prior-knowledge --unix-socket "$socket" --data-binary @- \
        --header 'Content-Type: application/grpc' --header 'TE: trailers' \
        "http://localhost/runtime.v1.RuntimeService/$1" | tr -d '\r' >"$dir/run/cri"
    grep -qx 'grpc-status: 0' "$dir/run/cri" || { cat "$dir/run/cri" >&2 && return 1; }
}

remove_pods() {
    local sandbox container
    for sandbox in $(ctr containers list --quiet 'labels."io.cri-containerd.kind"==sandbox'); do
        cri StopPodSandbox "$sandbox" && cri RemovePodSandbox "$sandbox" || echo "removing $sandbox by hand"
    done
    for container in $(ctr containers list --quiet); do # what the runtime service would not remove
        ctr task kill --signal KILL "$container" || true
        ctr task rm --force "$container" || true
        ctr containers rm "$container" || true
    done
}

# The cgroups of the containers, relative to each hierarchy.
container_cgroups() {
    local container
    for container in $(ctr containers list --quiet); do
        # One that is being removed at this moment has no more to tell.
        ctr containers info --spec "$container" 2>/dev/null | sed -n 's/.*"cgroupsPath": "\(.*\)".*/\1/p' || true
    done
}

# remove_cgroups: takes paths as from container_cgroups; removes them and the pods' cgroups around them, where empty.
remove_cgroups() {
    local path hierarchy
    while read -r path; do
        while [ -n "$path" ] && [ "$path" != / ] && [ "$path" != . ]; do
            for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
                [ ! -d "$hierarchy/$path" ] || rmdir "$hierarchy/$path" 2>/dev/null || true
            done
            path=$(dirname "$path")
        done
    done
}

shims() {
    local process
    for process in /proc/[0-9]*; do
        if [[ $(readlink "$process/exe" 2>/dev/null) == */containerd-shim-runc-v2* ]] &&
            tr '\0' '\n' <"$process/cmdline" 2>/dev/null | grep -qxF "$socket"; then
            echo "${process#/proc/}"
        fi
    done
}

no_shims() {
    [ -z "$(shims)" ]
}

unmount_all() {
    local point
    awk '{print $5}' /proc/self/mountinfo | sort -r | while read -r point; do
        point=$(printf '%b' "$point")
        if [[ $point == "$dir"/* ]]; then
            umount "$point" 2>/dev/null || umount --lazy "$point" || true # gone along with another
        fi
    done
    ! grep -qF " $dir/" /proc/self/mountinfo || die "mounts are left below $dir; see /proc/self/mountinfo"
}

remove_bridge() {
    if find_bridge; then
        nft delete table ip "$bridge" 2>/dev/null || true
        ip link delete "$bridge"
    fi
}

stop() {
    local cgroups='' pid
    # Below a directory without a containerd of ours, what runs and is mounted is someone else's. A start that failed early
    # may have made the bridge.
    if ! has_containerd "$dir"; then
        remove_bridge
        return
    fi
    # A containerd that crashed left shims: start it again to end them in order.
    if ! daemon_gone "$dir/run" containerd || ! no_shims; then
        run_containerd
        cgroups=$(container_cgroups)
        remove_pods
    fi
    stop_daemon "$dir/run" containerd 20
    if ! within 10 no_shims; then
        for pid in $(shims); do
            kill -KILL "$pid" 2>/dev/null || true
        done
    fi
    remove_cgroups <<<"$cgroups"
    remove_bridge
    rm -rf --one-file-system "$dir/cni/networks" "$dir/run/cri" "$dir/containerd/bridge"
    # What shims and the network library keep outside of DIR; another containerd's entries stay.
    rmdir --ignore-fail-on-non-empty -p /run/containerd/s /var/lib/cni/results 2>/dev/null || true
    unmount_all
}

[ $# -eq 2 ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2 && exit 64; }
[ "$(id -u)" = 0 ] || die "needs root, for mounts and network namespaces: run it with sudo"
dir=$(realpath -m "$2")
socket=$dir/containerd/containerd.sock
case $1 in
start) start ;;
stop) stop ;;
*) die "there is no '$1', only start and stop" ;;
esac
