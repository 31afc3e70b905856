#!/usr/bin/env bash
# Stops what hack/start-kubemark.sh started, deletes its nodes from a cluster that it did not start, and removes its data.
# May be repeated.
#
#   hack/stop-kubemark.sh [--data-dir DIR] [--keep]
#
#   --data-dir DIR   as given to hack/start-kubemark.sh, .kubemark in the checkout unless told otherwise
#   --keep           leaves the data and the logs where they are
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
}

dir=$root/.kubemark keep=''
while [ $# -gt 0 ]; do
    case $1 in
    --data-dir) dir=${2:?--data-dir needs a directory} && shift ;;
    --keep) keep=1 ;;
    -h | --help) usage && exit ;;
    *) echo "stop-kubemark.sh: there is no flag '$1'" >&2 && usage >&2 && exit 64 ;;
    esac
    shift
done
dir=$(realpath -m "$dir")
if [ ! -d "$dir" ]; then
    echo "There is nothing at $dir."
    exit
fi
grep -qsF start-kubemark.sh "$dir/run/data-directory" || die "$dir was not made by hack/start-kubemark.sh: nothing was touched"
log=/dev/null
exec 3>&1
trap step_failed EXIT

remove() {
    local name
    rm -rf --one-file-system "${dir:?}"/{pki,store,node}
    rm -f "$dir"/admin.kubeconfig{,.new}
    for name in start-kubemark ursa hollow-nodes; do
        rm -f "$dir/logs/$name.log"
    done
    # The mark last: until then an interrupted stop may be repeated.
    rm -f "$dir"/run/{ursa,hollow-nodes}.pid "$dir/run/data-directory"
    rmdir --ignore-fail-on-non-empty "$dir"/{logs,run} 2>/dev/null || true
    rmdir "$dir" 2>/dev/null || echo "Left in $dir, as it is not kubemark's: $(find "$dir" -mindepth 1 -maxdepth 1 -printf '%f ')" >&3
}

step "Stopping the hollow nodes" stop_daemon "$dir/run" hollow-nodes 300
step "Stopping the server" stop_daemon "$dir/run" ursa 30
[ -n "$keep" ] || step "Removing the data" remove
