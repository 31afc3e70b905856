#!/usr/bin/env bash
# Runs what was recorded of Kubernetes against `ursa server`, and compares the failures with the lists in test/oracle.
#
#   hack/oracle.sh [FAMILY...] [--only REGEX] [--texts] [--tenant NAME] [--full] [--update [--add]] [--verbose]
#
#   FAMILY      api (kinds, semantics, extension), transcripts, scheduling, controllers; all without one
#   --only      cases whose name matches
#   --texts     compares the texts of messages too (api)
#   --tenant    replays within a tenant of that name, which is made first (api, transcripts)
#   --full      runs every case; else, of those expected to fail, a few of each slow family, always the same
#   --update    takes off the lists what passes and rewords what fails in another way; implies --full
#   --add       adds to the lists what fails; implies --update
#   --verbose   shows all that differs in a case
#
# The recordings are expected in ../shared/oracle beside the checkout, or in $URSA_ORACLE; where there are none, that is
# said and all is well. Fails when an unlisted case fails or a listed one passes; one that is listed with a ~ in front does
# so by chance and counts as neither. With --texts or --tenant no list is asked, but a share of all cases must pass: 90 %
# with texts, else 97 %; what is listed counts as failed and runs with --full alone.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
export PATH=$PATH:$HOME/.cargo/bin

[[ ${1-} != -h && ${1-} != --help ]] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" && exit; }
oracle=${URSA_ORACLE:-$root/../shared/oracle}
if [ ! -d "$oracle" ]; then
    echo "skipped: there are no recordings at $oracle"
    exit
fi
[ -n "${URSA_BIN-}" ] || (cd "$root" && cargo build --quiet --release -p ursa)
exec python3 "$root/hack/oracle.py" --oracle "$(realpath "$oracle")" --ursa "${URSA_BIN:-$root/target/release/ursa}" "$@"
