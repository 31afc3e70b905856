#!/usr/bin/env bash
# Starts nodes without machines, and a server for them unless one is named, and waits until all are Ready. May be repeated.
#
#   hack/start-kubemark.sh [--data-dir DIR] [--port N] [--kubeconfig FILE] [-- FLAG...]
#
#   --data-dir DIR      where everything is kept, .kubemark in the checkout unless told otherwise
#   --port N            the server's port on 127.0.0.1, 6444 unless told otherwise
#   --kubeconfig FILE   of an administrator of a cluster that runs already; no server is started then
#   FLAG...             for 'ursa hollow-nodes', which lists them with --help
#
# Environment: NUM_NODES or KUBEMARK_NUM_NODES, how many nodes (10). Every other KUBEMARK_X=Y is exported as X=Y.
# CLOUD_PROVIDER may be 'local' or nothing. $URSA_BIN names a built ursa to be taken instead of building one.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
export PATH=$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin

usage() {
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
}

dir=$root/.kubemark port=6444 kubeconfig=''
while [ $# -gt 0 ]; do
    case $1 in
    --data-dir) dir=${2:?--data-dir needs a directory} && shift ;;
    --port) port=${2:?--port needs a number} && shift ;;
    --kubeconfig) kubeconfig=${2:?--kubeconfig needs a file} && shift ;;
    --) shift && break ;;
    -h | --help) usage && exit ;;
    *) echo "start-kubemark.sh: there is no flag '$1'" >&2 && usage >&2 && exit 64 ;;
    esac
    shift
done
[[ $port =~ ^[1-9][0-9]{0,4}$ && $port -le 65535 ]] || die "--port is '$port', not a port between 1 and 65535"
[[ ${CLOUD_PROVIDER:-local} = local ]] || die "CLOUD_PROVIDER is '$CLOUD_PROVIDER'; only 'local' can be used: name another cluster with --kubeconfig"
for name in "${!KUBEMARK_@}"; do
    export "${name#KUBEMARK_}=${!name}"
done
nodes=${NUM_NODES:-10}
[[ $nodes =~ ^[1-9][0-9]{0,5}$ ]] || die "NUM_NODES is '$nodes', not a number of nodes up to 999999"
[ -z "$kubeconfig" ] || [ -r "$kubeconfig" ] || die "--kubeconfig $kubeconfig cannot be read"

dir=$(realpath -m "$dir")
ursa=$(realpath -m "${URSA_BIN:-$root/target/release/ursa}")
if [ -n "$(ls -A "$dir" 2>/dev/null)" ] && ! is_data_dir "$dir"; then
    die "$dir holds something that Ursa did not make: choose another with --data-dir"
fi
mkdir -p "$dir/logs" "$dir/run" || die "cannot make $dir: choose another with --data-dir"
echo "hack/start-kubemark.sh keeps its data in $dir" >"$dir/run/data-directory"
log=$dir/logs/start-kubemark.log
: >"$log"
exec 3>&1
trap step_failed EXIT
admin=${kubeconfig:-$dir/admin.kubeconfig}

build() {
    (cd "$root" && cargo build --quiet --release -p ursa)
}

server() {
    daemon_gone "$dir/run" ursa || return 0
    start_daemon "$dir/run" ursa "$dir/logs/ursa.log" "$ursa" server --data-dir "$dir" --secure-port "$port" --node-agent=false
    within 60 ready || die "the server is not ready after 60 s; its log is $dir/logs/ursa.log"
}

ready() {
    daemon_pid "$dir/run" ursa >/dev/null || die "the server ended; its log is $dir/logs/ursa.log"
    kubectl --kubeconfig "$admin" get --raw /readyz
}

hollow_nodes() {
    stop_daemon "$dir/run" hollow-nodes 30
    start_daemon "$dir/run" hollow-nodes "$dir/logs/hollow-nodes.log" "$ursa" hollow-nodes --kubeconfig "$admin" \
        --count "$nodes" --delete-nodes "$@"
    within $((nodes / 20 + 900)) nodes_ready || die "not all nodes are Ready; the log is $dir/logs/hollow-nodes.log"
}

nodes_ready() {
    daemon_pid "$dir/run" hollow-nodes >/dev/null || die "the nodes ended; their log is $dir/logs/hollow-nodes.log"
    local count
    count=$(kubectl --kubeconfig "$admin" get nodes --no-headers | grep -c ' Ready ') || return 1
    [ "$count" -ge "$nodes" ]
}

step "Installing Debian packages that are missing" "$root/hack/deps.sh"
[ -n "${URSA_BIN-}" ] || step "Building Ursa (minutes, the first time)" build
[ -n "$kubeconfig" ] || step "Starting the server on port $port" server
step "Starting $nodes hollow nodes and waiting until they are Ready" hollow_nodes "$@"

cat <<END

Kubeconfig: $admin (administrator of the cluster)
Logs:       $dir/logs
Stop it:    hack/stop-kubemark.sh --data-dir $dir
END
