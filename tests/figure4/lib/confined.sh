# shellcheck shell=bash
# Runs work whose processes and mounts must all vanish with it, however it ends.

CONFINED_PID=
CONFINED_ALIVE=

# Killing unshare kills its child, the first process of the namespace, and with it all the others;
# the kernel does the same when this script itself is killed. Every process inside inherits a lock
# on a file in the working directory.
run_confined() {
    local directory=$1 status=0
    shift
    CONFINED_ALIVE=$directory/.alive
    touch "$CONFINED_ALIVE"
    FIGURE4_SECONDS=$SECONDS setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child=KILL \
        --mount-proc flock --shared "$CONFINED_ALIVE" "$@" </dev/null &
    CONFINED_PID=$!
    trap 'end_confined; exit 130' INT
    trap 'end_confined; exit 143' TERM HUP
    wait "$CONFINED_PID" || status=$?
    trap - INT TERM HUP
    return "$status"
}

# Returns only when the last process has gone, so that nothing writes into what is then removed.
end_confined() {
    trap '' INT TERM HUP
    kill -KILL "$CONFINED_PID" 2>/dev/null || true
    wait "$CONFINED_PID" 2>/dev/null || true
    flock --exclusive "$CONFINED_ALIVE" true
}
