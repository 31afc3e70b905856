#!/usr/bin/env bash
# Measures everything that has a figure in SPECIFICATION.md and writes one report: report.html, report.md and report.json
# in target/perf. What fails or takes too long costs its own rows alone. Fails when a budget is missed.
#
#   hack/perf.sh [--quick|--full|--tiny] [--only NAME]... [--compare OLD.json] [--profile NAME] [--out DIR]
#
#   --quick         a share of every load: at most ten minutes on two cores; the default
#   --full          the loads that the goals are about: hours
#   --tiny          shows that everything runs, not how fast
#   --only NAME     benchmarks and workloads whose name begins so
#   --compare FILE  tells what became slower since this report
#   --profile NAME  runs that alone, and writes beside its report where the server's CPU went: DIR/NAME.profile.txt. Needs
#                   the kernel's perf, Debian's linux-perf
#   --out DIR       where the report goes instead
#
# $URSA_BIN names a built ursa to be measured, and $PERF_BIN the program that measures, instead of building them.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
export PATH=$PATH:$HOME/.cargo/bin

usage() {
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
}

size=quick out=$root/target/perf profile='' args=()
while [ $# -gt 0 ]; do
    case $1 in
    --quick | --full | --tiny) size=${1#--} ;;
    --only) args+=(--only "${2:?--only needs a name}") && shift ;;
    --compare) args+=(--compare "$(realpath "${2:?--compare needs a report.json}")") && shift ;;
    --profile) profile=${2:?--profile needs a name} && shift ;;
    --out) out=$(realpath -m "${2:?--out needs a directory}") && shift ;;
    -h | --help) usage && exit ;;
    *) echo "perf.sh: there is no flag '$1'" >&2 && usage >&2 && exit 64 ;;
    esac
    shift
done
packages=()
[ -n "${URSA_BIN-}" ] || packages+=(-p ursa)
[ -n "${PERF_BIN-}" ] || packages+=(-p perf)
[ ${#packages[@]} -eq 0 ] || (cd "$root" && cargo build --quiet --release "${packages[@]}")
export URSA_BIN=${URSA_BIN:-$root/target/release/ursa}
suite=("${PERF_BIN:-$root/target/release/perf}" suite --size "$size" --workloads "$root/test/perf/workloads" --out "$out")
mkdir -p "$out"
status=0
if [ -n "$profile" ]; then
    perf version >/dev/null 2>&1 || die "--profile needs the kernel's perf: apt-get install linux-perf"
    perf record --quiet --freq 199 --call-graph fp --output "$out/$profile.perf" -- "${suite[@]}" --only "$profile" || status=$?
    perf report --stdio --no-children --percent-limit 0.5 --comm ursa --input "$out/$profile.perf" >"$out/$profile.profile.txt"
    echo "profile: $out/$profile.profile.txt"
else
    "${suite[@]}" ${args[@]+"${args[@]}"} || status=$?
fi
echo "report: $out/report.html"
exit "$status"
