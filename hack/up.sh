#!/usr/bin/env bash
# Installs what is missing, builds and starts Ursa on this machine, and ends with a running demo. May be repeated.
#
#   hack/up.sh [--no-demo] [--data-dir DIR] [--port N]
#
#   --no-demo        no tenant, no Deployment
#   --data-dir DIR   where everything is kept, .ursa in the checkout unless told otherwise; one that is missing or empty, or
#                    that Ursa made
#   --port N         the API server's port on 127.0.0.1, 6443 unless told otherwise
#
# $URSA_BIN names a built ursa to be taken instead of building one.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
export PATH=$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin

usage() {
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
}

dir=$root/.ursa port=6443 demo=1
while [ $# -gt 0 ]; do
    case $1 in
    --no-demo) demo='' ;;
    --data-dir) dir=${2:?--data-dir needs a directory} && shift ;;
    --port) port=${2:?--port needs a number} && shift ;;
    -h | --help) usage && exit ;;
    *) echo "up.sh: there is no flag '$1'" >&2 && usage >&2 && exit 64 ;;
    esac
    shift
done
[[ $port =~ ^[1-9][0-9]{0,4}$ && $port -le 65535 ]] || die "--port is '$port', not a port between 1 and 65535"
[ "$(id -u)" = 0 ] || die "needs root, for containers and networks: run it with sudo"
dir=$(realpath -m "$dir")
ursa=$(realpath -m "${URSA_BIN:-$root/target/release/ursa}")
admin=$dir/admin.kubeconfig
acme=$dir/acme.kubeconfig
if [ -n "$(ls -A "$dir" 2>/dev/null)" ] && ! is_data_dir "$dir" && ! is_servers_dir "$dir"; then
    die "$dir holds something that Ursa did not make: choose another with --data-dir"
fi
mkdir -p "$dir/logs" "$dir/run" || die "cannot make $dir: choose another with --data-dir"
echo "hack/up.sh keeps Ursa's data in $dir" >"$dir/run/data-directory"
log=$dir/logs/up.log
: >"$log"
exec 3>&1
trap step_failed EXIT

build() {
    (cd "$root" && cargo build --quiet --release -p ursa)
}

# One server per data directory; a newer build takes over from an older one while its pods run on.
server() {
    local pid
    if pid=$(daemon_pid "$dir/run" ursa); then
        if [ "$(readlink "/proc/$pid/exe")" = "$ursa" ]; then
            grep -q ":$port\"\?\$" "$admin" && return
            die "Ursa runs on another port already ($(sed -n 's/ *server: //p' "$admin")): stop it with hack/down.sh --data-dir $dir"
        fi
        stop_daemon "$dir/run" ursa 30
    fi
    start_daemon "$dir/run" ursa "$dir/logs/ursa.log" "$ursa" server --data-dir "$dir" --secure-port "$port" \
        --container-runtime-endpoint "containerd,container,unix://$dir/containerd/containerd.sock"
    within 60 ready || die "the server is not ready after 60 s; its log is $dir/logs/ursa.log"
}

ready() {
    if daemon_gone "$dir/run" ursa; then
        tail -n 5 "$dir/logs/ursa.log" >&2
        die "the server ended; its log is $dir/logs/ursa.log"
    fi
    kubectl --kubeconfig "$admin" get --raw /readyz
}

node() {
    within 60 node_ready || die "this machine's node is not Ready after 60 s; the log is $dir/logs/ursa.log"
}

node_ready() {
    kubectl --kubeconfig "$admin" get nodes -o 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}' | grep -q True
}

# kubectl runs what is called kubectl-… as its own.
plugin() {
    mkdir -p "$dir/bin"
    ln -sfn "$ursa" "$dir/bin/kubectl-tenant"
    ln -sfn "$ursa" "$dir/bin/kubectl_complete-tenant"
}

tenant() {
    kubectl --kubeconfig "$admin" get tenant acme || "$ursa" tenant create acme --kubeconfig "$admin"
    if ! kubectl --kubeconfig "$acme" get namespace default; then
        (umask 077 && "$ursa" kubeconfig --tenant acme --kubeconfig "$admin" >"$acme.new")
        mv "$acme.new" "$acme"
    fi
    within 30 kubectl --kubeconfig "$acme" get serviceaccount default || die "tenant acme has no default ServiceAccount after 30 s"
}

deployment() {
    kubectl --kubeconfig "$acme" apply -f "$root/hack/demo/web.yaml"
    kubectl --kubeconfig "$acme" rollout status deployment/web --timeout=120s
}

address() {
    kubectl --kubeconfig "$acme" get pods -l app=web --field-selector status.phase=Running -o 'jsonpath={.items[0].status.podIP}'
}

step "Installing Debian packages that are missing" "$root/hack/deps.sh"
[ -n "${URSA_BIN-}" ] || step "Building Ursa (minutes, the first time)" build
step "Starting a containerd of its own, with network and images" "$root/hack/containerd.sh" start "$dir"
step "Starting the server on port $port" server
step "Linking kubectl tenant" plugin
step "Waiting for this machine's node to be Ready" node
if [ -n "$demo" ]; then
    step "Creating tenant acme" tenant
    step "Rolling out the Deployment web in it" deployment
    echo
    echo "\$ kubectl --kubeconfig $acme get pods -o wide"
    kubectl --kubeconfig "$acme" get pods -o wide
    address=$(address)
    echo
    echo "\$ curl http://$address:8080/"
    curl --silent --show-error --max-time 10 "http://$address:8080/"
fi

cat <<END

Kubeconfigs: $admin (administrator of the cluster)
$([ -z "$demo" ] || echo "             $acme (administrator of tenant acme)")
Try:
$(if [ -n "$demo" ]; then
    echo "  export KUBECONFIG=$acme"
    echo "  kubectl set image deployment/web web=ursa.local/web:2 && kubectl rollout status deployment/web"
    echo "  kubectl exec -it deployment/web -- sh"
else
    echo "  export KUBECONFIG=$admin"
    echo "  kubectl get nodes -o wide"
    echo "  $ursa tenant create acme"
fi)

Tenants (as an administrator of the cluster):
  export PATH=$dir/bin:\$PATH
  kubectl --kubeconfig $admin tenant list

Stop it with hack/down.sh$([ "$dir" = "$root/.ursa" ] || echo " --data-dir $dir")
END
