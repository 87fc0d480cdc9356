# shellcheck shell=bash
# The captured volumes and the description of the site.

capture_volume() {
    local machine=$1 disk=$2 result=$3 volume
    volume=$result/$(machine_volume "$machine")
    case "$(machine_capture_format "$machine")" in
    raw) cp --sparse=always "$disk" "$volume" ;;
    qcow2) qemu-img convert -f raw -O qcow2 "$disk" "$volume" ;;
    esac
    chmod 0444 "$volume"
}

describe_machine() {
    local machine=$1
    cat <<TOML

[[machine]]
name = "$machine"
firmware = "bios"
memory_mib = $(machine_memory_mib "$machine")
vcpus = 1
volumes = ["$(machine_volume "$machine")"]
[[machine.nic]]
network = "lan"
mac = "$(machine_mac "$machine")"
address = "$(machine_address "$machine")"
TOML
    describe_gates "$machine"
}

describe_gates() {
    local port
    if [[ $1 == web1 ]]; then
        printf '[[machine.gate]]\nhttp = { port = 80, path = "/index.php", expect = "%s" }\n' \
            lifeboat-row-42 lifeboat-share-file-42
        return
    fi
    for port in $(machine_ports "$1"); do
        printf '[[machine.gate]]\ntcp = %s\n' "$port"
    done
}

describe_site() {
    local machine
    cat <<TOML
[site]
name = "figure4"

[[network]]
name = "lan"
cidr = "10.20.0.0/24"
gateway = "$GATEWAY"
TOML
    for machine in "${MACHINES[@]}"; do
        describe_machine "$machine"
    done
}

capture_all() {
    local work=$1 result=$2 machine
    mkdir "$result"
    for machine in "${MACHINES[@]}"; do
        capture_volume "$machine" "$work/$machine/disk" "$result"
    done
    describe_site >"$result/site.toml"
    cp --recursive "$work/logs" "$result/consoles"
    find "$result/consoles" -type p -delete
    sync --file-system "$result"
}
