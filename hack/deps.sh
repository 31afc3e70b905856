#!/usr/bin/env bash
# Installs the Debian packages that Ursa's scripts need and that are not there yet. Rust is expected to be there.
# Starts no service: the containerd that Ursa uses is its own.
#
#   hack/deps.sh [--tests]
#
#   --tests    also what only tests use: etcd, and the Python client, from PyPI, into target/clients
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
export PATH=$PATH:/usr/sbin:/sbin

have_package() {
    [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# need PACKAGE COMMAND...: the package is missing unless the command succeeds. A program that came from elsewhere is as
# good as Debian's, and Debian's containerd would push out Docker's.
missing=()
need() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

# Keeps apt from starting what it installs, then keeps it from starting at the next boot too.
install() {
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "$@" || return
    if command -v systemctl >/dev/null; then
        [[ " $* " != *' containerd '* ]] || systemctl disable containerd || true
        [[ " $* " != *' etcd-server '* ]] || systemctl disable etcd || true
    fi
}

command -v cargo >/dev/null || [ -x "$HOME/.cargo/bin/cargo" ] ||
    die "there is no cargo: install Rust with rustup (https://rustup.rs) and put ~/.cargo/bin on the PATH"

need containerd command -v containerd
need runc command -v runc
need containernetworking-plugins test -x /usr/lib/cni/bridge
need nftables command -v nft
need conntrack command -v conntrack
need protobuf-compiler command -v protoc
need busybox-static have_package busybox-static
need iproute2 command -v ip
need curl command -v curl
need python3 command -v python3
need gcc command -v cc
need libc6-dev test -e /usr/include/stdio.h
need git command -v git
need procps test -x /bin/kill
need kubernetes-client command -v kubectl

install_missing() {
    echo "missing: ${missing[*]}"
    [ "$(id -u)" = 0 ] || die "installing ${missing[*]} needs root: run it with sudo, or install them by hand"
    command -v apt-get >/dev/null || die "this is no Debian: install by hand what provides ${missing[*]}"
    apt-get install --simulate --no-install-recommends "${missing[@]}" >/dev/null 2>&1 || apt-get update --quiet
    if ! install "${missing[@]}"; then
        apt-get update --quiet # the lists may be older than the mirror
        install "${missing[@]}" || die "apt-get could not install ${missing[*]}; its message is above"
    fi
}

# Debian 12 has 1.20. Said on the terminal of hack/up.sh, which is file descriptor 3.
tell_old_kubectl() {
    local version
    version=$(kubectl version --client 2>/dev/null) || return 0
    [[ $version =~ v1\.([0-9]+)\.[0-9]+ ]] || return 0
    [ "${BASH_REMATCH[1]}" -ge 27 ] ||
        echo "kubectl is ${BASH_REMATCH[0]}, from before 1.27: SPECIFICATION.md says which ones are tested" >&3
}

if [ "${1-}" = --tests ]; then
    need python3-venv python3 -c 'import ensurepip, venv'
    need etcd-server command -v etcd
fi

[ ${#missing[@]} -eq 0 ] || install_missing
{ : >&3; } 2>/dev/null || exec 3>&1
tell_old_kubectl

# Tests skip what could not be installed, and say so.
install_clients() {
    local clients=$root/target/clients wanted=$root/test/e2e/clients/requirements.txt
    cmp --quiet "$wanted" "$clients/requirements.txt" && return
    rm -rf "$clients"
    python3 -m venv "$clients" &&
        "$clients/bin/pip" --quiet --disable-pip-version-check install --requirement "$wanted" &&
        cp "$wanted" "$clients/requirements.txt" && return
    rm -rf "$clients"
    echo "the Python client could not be installed: its tests will be skipped"
}
[ "${1-}" != --tests ] || install_clients
