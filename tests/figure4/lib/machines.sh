# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts that source this use them
# The three machines of the example site and their physical facts.

MACHINES=(dir1 data1 web1)
DOMAIN=fig4.example
GATEWAY=10.20.0.1

machine_suite() {
    case "$1" in
    data1) echo trixie ;;
    *) echo bookworm ;;
    esac
}

# Layers of the recipe, the general ones first.
machine_layers() {
    case "$1" in
    dir1) echo common ifupdown dir1 ;;
    data1) echo common directory-client data1 ;;
    web1) echo common ifupdown directory-client web1 ;;
    esac
}

# The last number of both the address and the MAC.
machine_number() {
    case "$1" in
    dir1) echo 10 ;;
    data1) echo 20 ;;
    web1) echo 30 ;;
    *) die "unknown machine '$1'" ;;
    esac
}

machine_address() { echo "10.20.0.$(machine_number "$1")"; }
machine_mac() { echo "52:54:00:20:00:$(machine_number "$1")"; }

machine_memory_mib() {
    case "$1" in
    data1) echo 768 ;;
    *) echo 512 ;;
    esac
}

machine_disk_mib() {
    case "$1" in
    data1) echo 2560 ;;
    *) echo 2048 ;;
    esac
}

# The format in which the machine's disk was captured.
machine_capture_format() {
    case "$1" in
    dir1) echo raw ;;
    *) echo qcow2 ;;
    esac
}

machine_volume() { echo "$1.$(machine_capture_format "$1")"; }

machine_ports() {
    case "$1" in
    dir1) echo "53 389" ;;
    data1) echo "5432 2049" ;;
    web1) echo "80" ;;
    esac
}
