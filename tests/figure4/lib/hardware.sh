# shellcheck shell=bash
# The machines' original hardware: AHCI disks and e1000e cards on one Ethernet segment.
# Everything here lives in a process and network namespace of its own, so that it all ends together.

declare -A QEMU_PID

# One bridge without an outside; its own address stands for the gateway and lets this script probe.
make_segment() {
    local machine
    ip link set lo up
    ip link add lan type bridge
    ip address add "$GATEWAY/24" dev lan
    ip link set lan up
    for machine in "${MACHINES[@]}"; do
        ip tuntap add "port-$machine" mode tap
        ip link set "port-$machine" master lan up
    done
}

# The bus decides: the captured machines boot from AHCI, --untouched tries virtio-blk.
disk_device() {
    case "$1" in
    ahci) echo ide-hd,drive=disk,bus=ide.0 ;;
    virtio) echo virtio-blk-pci,drive=disk,bus=pcie.0,addr=0x4 ;;
    esac
}

power_on() {
    local machine=$1 disk=$2 format=$3 logs=$4 bus=${5:-ahci}
    rm -f "$logs/$machine.monitor.in" "$logs/$machine.monitor.out"
    mkfifo "$logs/$machine.monitor.in" "$logs/$machine.monitor.out"
    qemu-system-x86_64 -name "$machine" -machine q35 -accel tcg -smp 1 \
        -m "$(machine_memory_mib "$machine")" -nodefaults -display none -vga std \
        -rtc base=utc -boot c \
        -drive "if=none,id=disk,file=$disk,format=$format,cache=unsafe" \
        -device "$(disk_device "$bus")" \
        -netdev "tap,id=lan,ifname=port-$machine,script=no,downscript=no" \
        -device "e1000e,netdev=lan,bus=pcie.0,addr=0x2,mac=$(machine_mac "$machine")" \
        -serial "file:$logs/$machine.console" -monitor "pipe:$logs/$machine.monitor" \
        </dev/null >"$logs/$machine.qemu" 2>&1 &
    QEMU_PID[$machine]=$!
}

is_on() { kill -0 "${QEMU_PID[$1]}" 2>/dev/null; }
is_off() { ! is_on "$1"; }

press_power_button() {
    echo system_powerdown >"$2/$1.monitor.in"
}

# Waits until the condition holds while every machine that is switched on stays on.
wait_for() {
    local seconds=$1 logs=$2 what=$3
    shift 3
    poll "$seconds" "$logs" "$what" holds_with_all_on "$logs" "$@"
}

holds_with_all_on() {
    local logs=$1 machine
    shift
    for machine in "${!QEMU_PID[@]}"; do
        is_on "$machine" || fail_with_consoles "$logs" "$machine stopped unexpectedly"
    done
    "$@"
}

wait_off() {
    local machine=$1 logs=$2
    poll 180 "$logs" "power-off of $machine" is_off "$machine"
    unset "QEMU_PID[$machine]"
}

# Fails loudly with the consoles' last lines.
poll() {
    local seconds=$1 logs=$2 what=$3 deadline
    shift 3
    deadline=$((SECONDS + seconds))
    until "$@"; do
        ((SECONDS < deadline)) || fail_with_consoles "$logs" "$what: not within $seconds s"
        sleep 0.5
    done
}

fail_with_consoles() {
    local logs=$1 reason=$2 machine
    for machine in "${MACHINES[@]}"; do
        [[ -f $logs/$machine.qemu ]] || continue
        printf -- '--- last lines of the console of %s\n' "$machine" >&2
        cat "$logs/$machine.qemu" >&2
        [[ ! -f $logs/$machine.console ]] ||
            tail -n 15 "$logs/$machine.console" | tr -d '\r' | tr -c '[:print:]\n\t' '?' >&2
    done
    die "$reason"
}

port_open() {
    timeout 3 bash -c "exec 3<>/dev/tcp/$1/$2" 2>/dev/null
}

ports_open() {
    local machine=$1 port
    for port in $(machine_ports "$machine"); do
        port_open "$(machine_address "$machine")" "$port" || return 1
    done
}

# HTTP/1.0, so that the server closes the line and cat ends.
fetch_page() {
    # shellcheck disable=SC2016 # the inner shell expands its own arguments
    timeout 40 bash -c 'exec 3<>"/dev/tcp/$0/80" &&
        printf "GET /index.php HTTP/1.0\r\nHost: www.%s\r\n\r\n" "$1" >&3 && cat <&3' \
        "$(machine_address web1)" "$DOMAIN" 2>/dev/null
}

page_complete() {
    local page
    page=$(fetch_page) || return 1
    [[ $page == *lifeboat-row-42* && $page == *lifeboat-share-file-42* ]]
}

console_says() {
    grep --quiet --no-messages --text --fixed-strings "$3" "$2/$1.console"
}
