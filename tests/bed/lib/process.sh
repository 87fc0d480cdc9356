# shellcheck shell=bash
# Processes are named by pid and start time, so that a pid that was given to
# somebody else meanwhile is never taken for ours.

started_at() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # The name in brackets may hold anything.
    stat=${stat##*) }
    # shellcheck disable=SC2086 # fields
    set -- $stat
    echo "${20}"
}

remember_process() { echo "$1 $(started_at "$1")" >"$2"; }

# process_of FILE: its pid, if it still runs.
process_of() {
    local pid began now
    read -r pid began 2>/dev/null <"$1" || return 1
    now=$(started_at "$pid") || return 1
    [[ $now = "$began" ]] || return 1
    [[ $(cut -d ' ' -f 3 "/proc/$pid/stat" 2>/dev/null) != Z ]] || return 1
    echo "$pid"
}

# await SECONDS WHAT COMMAND...: until the command succeeds.
await() {
    local seconds=$1 what=$2 end
    shift 2
    end=$((${EPOCHREALTIME/./} + seconds * 1000000))
    until "$@"; do
        ((${EPOCHREALTIME/./} < end)) || die "waited $seconds s in vain: $what"
        sleep 0.05
    done
}

is_gone() { ! process_of "$1" >/dev/null; }

end_process() {
    local pid
    pid=$(process_of "$1") || return 0
    kill -KILL "$pid" 2>/dev/null || true
    await 20 "the end of process $pid" is_gone "$1"
}
