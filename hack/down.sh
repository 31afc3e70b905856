#!/usr/bin/env bash
# Stops what hack/up.sh started, by the ids that it recorded, and nothing else: the server, every pod, the containerd
# of its own; leaves no process, mount, network namespace, bridge or cgroup behind. May be repeated.
#
#   hack/down.sh [--data-dir DIR] [--purge]
#
#   --data-dir DIR   as given to hack/up.sh, .ursa in the checkout unless told otherwise
#   --purge          removes the data too, and the directory where it holds nothing else
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
export PATH=$PATH:/usr/sbin:/sbin

usage() {
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
}

dir=$root/.ursa purge=''
while [ $# -gt 0 ]; do
    case $1 in
    --data-dir) dir=${2:?--data-dir needs a directory} && shift ;;
    --purge) purge=1 ;;
    -h | --help) usage && exit ;;
    *) echo "down.sh: there is no flag '$1'" >&2 && usage >&2 && exit 64 ;;
    esac
    shift
done
[ "$(id -u)" = 0 ] || die "needs root, as hack/up.sh did: run it with sudo"
dir=$(realpath -m "$dir")
if [ ! -d "$dir" ]; then
    echo "There is nothing at $dir."
    exit
fi
is_data_dir "$dir" || die "$dir was not made by hack/up.sh: nothing was touched"
log=$dir/logs/down.log
mkdir -p "$dir/logs"
: >"$log"
exec 3>&1
trap step_failed EXIT

purge() {
    local name
    ! grep -qF " $dir/" /proc/self/mountinfo || die "there are mounts left in $dir: nothing was removed"
    for name in {admin,acme,controller-manager,scheduler,node-agent}.kubeconfig{,.new} cni containerd node pki store; do
        rm -rf --one-file-system "${dir:?}/$name"
    done
    rm -f "$dir"/bin/{kubectl-tenant,kubectl_complete-tenant}
    for name in up down ursa containerd; do
        rm -f "$dir/logs/$name.log"
    done
    # The mark last: until then an interrupted purge may be repeated.
    for name in ursa.pid containerd.pid cri data-directory; do
        rm -f "$dir/run/$name"
    done
    rmdir --ignore-fail-on-non-empty "$dir"/{bin,logs,run} 2>/dev/null || true
    rmdir "$dir" 2>/dev/null || echo "Ursa did not make, and left, in $dir: $(find "$dir" -mindepth 1 -maxdepth 1 -printf '%f ')" >&3
}

step "Stopping the server" stop_daemon "$dir/run" ursa 30
step "Ending the pods and their containerd" "$root/hack/containerd.sh" stop "$dir"
if [ -n "$purge" ]; then
    log=/dev/null
    step "Removing $dir" purge
fi
