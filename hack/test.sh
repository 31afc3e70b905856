#!/usr/bin/env bash
# Installs what is missing, runs every check and every test, and ends with 'N passed, N failed'. Leaves no process behind.
#
#   hack/test.sh [--full]
#
#   --full    also the long forms of tests, which take hours
#
# What each step prints is kept in target/test; of a step that fails, the end is shown. The logs of what failed tests started
# are in target/test/kit.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
export PATH=$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin

[ "${1-}" != --full ] || { export URSA_TEST_FULL=1 && shift; }
[ $# -eq 0 ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2 && exit 64; }
[ "$(id -u)" = 0 ] || die "needs root, for the tests with containers and networks: run it with sudo"
cd "$root"
logs=$root/target/test
rm -rf "$logs"
mkdir -p "$logs"
scratch=$(mktemp -d /tmp/ursa-test-XXXXXX)
# Everything that is started from here keeps its files there and carries this mark, so that nothing can be left over.
export TMPDIR=$scratch URSA_TEST_RUN=${scratch##*-} CARGO_TERM_COLOR=never
began=$(now)
passed=0 failed=0

sweep() {
    local dir process
    # A test that was broken off leaves what it started, hack/up.sh's in a directory further down.
    for dir in "$scratch"/* "$scratch"/*/*; do
        ! is_data_dir "$dir" || "$root/hack/down.sh" --data-dir "$dir" >/dev/null || true
    done
    for process in /proc/[0-9]*; do
        if [ "$process" != "/proc/$$" ] && grep -qzxF "URSA_TEST_RUN=$URSA_TEST_RUN" "$process/environ" 2>/dev/null; then
            kill -KILL "${process#/proc/}" 2>/dev/null || true
        fi
    done
    # So do mounts, which would keep their directories.
    awk -v dir="$scratch/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | while read -r dir; do umount -l "$dir"; done
    rm -rf --one-file-system "$scratch"
}

# The directories of tests that passed are gone by now.
keep_logs() {
    local log
    (cd "$scratch" && find . -maxdepth 4 -name '*.log') | while read -r log; do
        install -D -m 644 "$scratch/$log" "$logs/kit/$log"
    done
    [ ! -d "$logs/kit" ] || echo "(logs of what failed tests started: $logs/kit)"
}
trap sweep EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# report TITLE STATUS LOG SECONDS PASSED FAILED: counts, and prints one line, and the end of the log where something failed.
report() {
    local title=$1 status=$2 log=$3 seconds=$4 good=$5 bad=$6
    [ "$status" -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
    passed=$((passed + good)) failed=$((failed + bad))
    printf '%-46s %6d passed %4d failed %8s s\n' "$title" "$good" "$bad" "$seconds"
    if [ "$bad" -gt 0 ]; then
        tail -n 60 "$log" | sed 's/^/    /'
        echo "    (all of it: $log)"
    fi
}

# check TITLE COMMAND...: one check, which passes or fails as a whole.
check() {
    local title=$1 log began status=0
    shift
    log=$logs/${title// /-}.log began=$(now)
    "$@" >"$log" 2>&1 || status=$?
    report "$title" "$status" "$log" "$(seconds_since "$began")" $((status == 0)) $((status != 0))
    return "$status"
}

# Counts per test binary, as "crate passed failed", from what cargo test prints.
test_counts() {
    awk '/^ +Running /     { name = $NF; gsub(/[()]/, "", name); sub(/.*\//, "", name); sub(/-[0-9a-f]+$/, "", name) }
         /^ +Doc-tests /   { name = "doc" }
         /^test result: /  { good[name] += $4; bad[name] += $6 }
         END               { for (name in good) print name, good[name], bad[name] }' "$1" | sort
}

rust_tests() {
    local log=$logs/tests.log began seconds status=0 name good bad unit=0 unit_bad=0 e2e=0 e2e_bad=0
    began=$(now)
    cargo test --workspace --release --no-fail-fast -- --show-output >"$log" 2>&1 || status=$?
    while read -r name good bad; do
        if [ "$name" = e2e ]; then
            e2e=$good e2e_bad=$bad
        else
            unit=$((unit + good)) unit_bad=$((unit_bad + bad))
        fi
    done < <(test_counts "$log")
    # Which tests failed and what they said, which the end of a long log does not show.
    grep -aE -A 4 '^test .* FAILED$|panicked at |^error' "$log" >"$logs/tests-failed.log" || true
    sed -n 's/^skipped: \(.*\)/    skipped: \1/p' "$log" | sort -u
    seconds=$(seconds_since "$began")
    report "end to end, with kubectl and containers" 0 "$logs/tests-failed.log" "$seconds" "$e2e" "$e2e_bad"
    [ "$e2e_bad" -eq 0 ] || status=0 # counted already
    report "tests of the crates (time of all)" "$status" "$logs/tests-failed.log" "$seconds" "$unit" "$unit_bad"
}

# The end-to-end suite once more, on two API servers over an etcd cluster: a part of it, or all that needs no streams to
# pods, which the second server does not have.
etcd_tests() {
    local log=$logs/etcd.log began status=0 name good bad all=0 all_bad=0 chosen=(tenants::)
    began=$(now)
    [ -z "${URSA_TEST_FULL-}" ] || chosen=(--skip streams:: --skip demo:: --skip scripts:: --skip command_line::)
    # Of the whole workspace, as it is built: one package alone would be built anew, with fewer features of libraries.
    URSA_TEST_STORE=etcd cargo test --workspace --test e2e --release --no-fail-fast -- --show-output "${chosen[@]}" >"$log" 2>&1 || status=$?
    while read -r name good bad; do
        all=$((all + good)) all_bad=$((all_bad + bad))
    done < <(test_counts "$log")
    report "end to end, on etcd" "$status" "$log" "$(seconds_since "$began")" "$all" "$all_bad"
}

# oracle FAMILY [OPTION...]: replays one family; its output, status and end go into files, for oracle_report.
oracle() {
    local title="oracle $*" log status=0
    log=$logs/${title// /-}.log
    now >"$log.began"
    "$root/hack/oracle.sh" "$@" >"$log" 2>&1 || status=$?
    echo "$status $(seconds_since "$(<"$log.began")")" >"$log.end"
}

# oracle_report FAMILY [OPTION...]: cases that behave as recorded, and cases that go against the list or are too few.
oracle_report() {
    local title="oracle $*" log status=1 seconds=0 good=0 bad=0
    log=$logs/${title// /-}.log
    read -r status seconds <"$log.end" || true
    if grep -q '^skipped: ' "$log"; then
        echo "$title: $(grep '^skipped: ' "$log")"
        return
    fi
    read -r good bad < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log" | tail -n 1) || true
    report "$title" "$status" "$log" "$seconds" "${good:-0}" "${bad:-0}"
    grep "^$1[: ]" "$log" | sed 's/^/    /' || true
}

check "packages" hack/deps.sh --tests || exit 1
sed -n '/^kubectl is /s/^/    /p' "$logs/packages.log"
check "rustfmt" cargo fmt --all --check || true
check "build" cargo build --workspace --all-targets --release && built=1 || built=''
check "clippy" cargo clippy --workspace --all-targets --release -- --deny warnings || true
if [ -n "$built" ]; then
    export URSA_BIN=$root/target/release/ursa
    check "tidy" target/release/xtask tidy || true
    rust_tests
    etcd_tests
    # The controllers' cases wait for most of their time: they run beside the others, each family with a server of its own.
    oracle controllers &
    controllers=$!
    for family in api-kinds api-semantics api-extension transcripts scheduling; do
        oracle "$family"
        oracle_report "$family"
    done
    for option in --texts "--tenant acme"; do
        # shellcheck disable=SC2086 # an option with its value
        oracle api-kinds $option
        # shellcheck disable=SC2086
        oracle_report api-kinds $option
    done
    wait "$controllers"
    oracle_report controllers
    check "benchmark, tiny" target/release/perf --tiny || true
    grep -h . "$logs/benchmark,-tiny.log" | sed 's/^/    /'
fi
[ "$failed" -eq 0 ] || keep_logs
echo "$(($(now) / 1000000 - began / 1000000)) s in all"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
