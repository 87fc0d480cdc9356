# shellcheck shell=bash
# Progress and errors, on stderr: stdout is data.

# The clock goes on in the scripts that a script starts.
SECONDS=${FIGURE4_SECONDS:-0}

progress() {
    printf '[%02d:%02d] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*" >&2
}

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

wrong_use() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

# Names every missing program with the package that brings it.
require_programs() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair%%:*} (package ${pair##*:})")
    done
    ((${#missing[@]} == 0)) || die "missing programs: $(join_by ', ' "${missing[@]}"); install them with apt-get"
}

join_by() {
    local separator=$1 first=$2
    shift 2
    printf '%s' "$first" "${@/#/$separator}"
}
