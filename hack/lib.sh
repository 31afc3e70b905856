# shellcheck shell=bash disable=SC2034,SC2154
# Shared by the scripts in this folder: steps with their time, and processes known by pid and start time.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# Microseconds since the epoch.
now() {
    echo "${EPOCHREALTIME/[.,]/}"
}

# seconds_since MICROSECONDS: with one digit, as "12.3".
seconds_since() {
    local tenths=$((($(now) - $1) / 100000))
    echo "$((tenths / 10)).$((tenths % 10))"
}

# step TITLE COMMAND...: runs the command and prints the title with the time it took; on a terminal the title is there from
# the start. The command's output goes to the file $log; file descriptor 3 always reaches the terminal.
step() {
    local title=$1 began
    shift
    began=$(now)
    current_step=$title
    [ ! -t 3 ] || printf '%-58s\r' "$title" >&3
    "$@" >>"$log" 2>&1
    current_step=''
    printf '%-58s %7s s\n' "$title" "$(seconds_since "$began")" >&3
}

# Whether hack/up.sh or hack/containerd.sh took a directory for a data directory: what may be stopped and removed there.
# The mark lies in a folder that is Ursa's, so that the directory holds nothing else than the server expects.
is_data_dir() {
    [ -f "$1/run/data-directory" ] || has_containerd "$1"
}

# Whether the containerd below a directory is one that hack/containerd.sh configured for this very place.
has_containerd() {
    grep -qsxF "root = \"$1/containerd/root\"" "$1/containerd/config.toml"
}

# Whether a directory holds what `ursa server` makes, and nothing of anyone else.
is_servers_dir() {
    [ -f "$1/pki/ca.crt" ] && [ -d "$1/store" ] &&
        [ -z "$(find "$1" -mindepth 1 -maxdepth 1 ! -name admin.kubeconfig ! -name node ! -name pki ! -name store -print -quit)" ]
}

# Says which step failed and shows the end of its output. For `trap step_failed EXIT`.
step_failed() {
    local status=$?
    if [ "$status" -ne 0 ] && [ -n "${current_step-}" ]; then
        printf '%-58s  FAILED\n' "$current_step" >&3
        if [ -s "${log-}" ]; then
            tail -n 25 "$log" | sed 's/^/    /' >&3
            echo "    (all of it: $log)" >&3
        fi
    fi
    return "$status"
}

# The start time of a living process in clock ticks since boot: with the pid it names a process for good. Fails for a
# process that is gone or only waits to be reaped.
proc_start() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    read -r -a stat <<<"${stat##*) }" # the name, in brackets, may hold anything
    [ "${stat[0]}" != Z ] && echo "${stat[19]}"
}

# start_daemon RUN_DIR NAME LOG COMMAND...: starts it in a session of its own and records it in RUN_DIR/NAME.pid.
start_daemon() {
    local run=$1 name=$2 out=$3
    shift 3
    mkdir -p "$run"
    setsid "$@" </dev/null >>"$out" 2>&1 3>&- &
    echo "$! $(proc_start $!)" >"$run/$name.pid"
}

# daemon_pid RUN_DIR NAME: the pid, where the recorded process still lives.
daemon_pid() {
    local pid='' start=''
    [ -f "$1/$2.pid" ] && read -r pid start <"$1/$2.pid"
    [ -n "$pid" ] && [ -n "$start" ] && [ "$(proc_start "$pid")" = "$start" ] && echo "$pid"
}

# within SECONDS COMMAND...: repeats the command until it succeeds; fails after that time.
within() {
    local end=$(($(now) + $1 * 1000000))
    shift
    until "$@"; do
        [ "$(now)" -lt "$end" ] || return 1
        sleep 0.1
    done
}

daemon_gone() {
    ! daemon_pid "$1" "$2" >/dev/null
}

# stop_daemon RUN_DIR NAME SECONDS: terminates it, kills it after that time, forgets it. A process that took over the
# pid is left alone.
stop_daemon() {
    local pid
    if pid=$(daemon_pid "$1" "$2"); then
        kill -TERM "$pid" 2>/dev/null || true
        if ! within "$3" daemon_gone "$1" "$2"; then
            kill -KILL "$pid" 2>/dev/null || true
            within 5 daemon_gone "$1" "$2" || die "$2 (process $pid) does not end; see /proc/$pid/stack"
        fi
    fi
    rm -f "$1/$2.pid"
}
