# shellcheck shell=bash
# The life of the site before its capture: boots in different staging.

BOOT_SECONDS=600

switch_on() {
    power_on "$1" "$WORK/$1/disk" raw "$LOGS"
}

wait_ready() {
    case "$1" in
    web1) wait_for "$BOOT_SECONDS" "$LOGS" "the page of web1" page_complete ;;
    *) wait_for "$BOOT_SECONDS" "$LOGS" "the services of $1" ports_open "$1" ;;
    esac
}

# Every dependency has been met when the services that retry say so on their consoles.
wait_settled() {
    local machine
    for machine in "${MACHINES[@]}"; do
        wait_ready "$machine"
    done
    wait_for "$BOOT_SECONDS" "$LOGS" "the share's owner" console_says data1 "$LOGS" 'share belongs to webcontent'
    wait_for "$BOOT_SECONDS" "$LOGS" "the warm-up" console_says web1 "$LOGS" 'warm: read lifeboat-row-42'
}

# The web server lets go of the share before the file server goes.
shut_down() {
    switch_off web1
    switch_off data1 dir1
}

switch_off() {
    local machine
    for machine in "$@"; do
        press_power_button "$machine" "$LOGS"
    done
    for machine in "$@"; do
        wait_off "$machine" "$LOGS"
    done
}

staged_boot() {
    local staging=$1 began=$SECONDS
    LOGS=$WORK/logs/$staging
    mkdir -p "$LOGS"
    progress "boot in the staging '$staging'"
    "stage_$staging"
    wait_settled
    progress "  site complete after $((SECONDS - began)) s; shutting down"
    shut_down
}

stage_operator_order() {
    local machine
    for machine in dir1 data1 web1; do
        switch_on "$machine"
        wait_ready "$machine"
        progress "  $machine ready"
    done
}

stage_power_failure() {
    local machine
    for machine in dir1 data1 web1; do
        switch_on "$machine"
    done
}

# Long enough that the other two meet the missing name server and directory, and complain.
stage_late_dir1() {
    local began=$SECONDS
    switch_on data1
    switch_on web1
    wait_for "$BOOT_SECONDS" "$LOGS" "data1 missing the directory" console_says data1 "$LOGS" 'invalid group'
    wait_for "$BOOT_SECONDS" "$LOGS" "web1 missing the name server" console_says web1 "$LOGS" 'could not translate host name'
    wait_for 90 "$LOGS" "the delay of dir1" late_enough "$began"
    progress "  data1 and web1 complain; dir1 comes $((SECONDS - began)) s late"
    switch_on dir1
}

late_enough() { ((SECONDS - $1 >= 60)); }
