# shellcheck shell=bash
# The life of a bed's hosts. FOLDER is the bed's folder, ID its id.

host_folder() { echo "$FOLDER/hosts/$1"; }

# make_host PLACE: its root and its store, when it has none yet.
make_host() {
    local place=$1 host
    host=$(host_folder "$place")
    mkdir -p "$host/root"
    [[ -d $host/upper ]] || install_host "$place" "$host/upper"
    mkdir -p "$host/work"
    make_store "$place"
    echo down >"$host/wanted"
}

install_host() {
    local place=$1 upper=$2 role layer name
    role=$(host_role "$place")
    name=$(first_host_name "$place")
    mkdir -p "$upper/etc/bed"
    for layer in common "$role" "$place"; do
        copy_recipe "$BED/recipe/$layer" "$upper"
    done
    write_place "$place" >"$upper/etc/bed/place"
    echo "$name" >"$upper/etc/hostname"
}

# Like copy_tree, and scripts stay executable.
copy_recipe() {
    [[ ! -d $1 ]] || tar --create --owner=0 --group=0 --mode='u=rwX,go=rX' --directory="$1" . |
        tar --extract --no-overwrite-dir --directory="$2"
}

# What a host knows about where it stands, for the scripts inside.
write_place() {
    local place=$1 site other
    site=$(host_network "$place")
    case $site in a) other=b ;; b) other=a ;; *) other=a ;; esac
    printf 'PLACE=%s\nROLE=%s\nSITE=%s\nADDRESS=%s\n' "$place" "$(host_role "$place")" "$site" "$(host_address "$place")"
    printf 'DC=%s\nDC_ADDRESS=%s\nOTHER_DC=%s\nOTHER_DC_ADDRESS=%s\n' \
        "dc-${site/c/a}" "$(host_address "dc-${site/c/a}")" "dc-$other" "$(host_address "dc-$other")"
    case $place in
    mail-* | pg-*) printf 'PEER_ADDRESS=%s\n' "$(host_address "${place%-*}-$other")" ;;
    esac
    local fs mib mount
    read -r fs mib mount < <(store_of "$place") || return 0
    printf 'STORE=%s\nSTORE_FS=%s\n' "$mount" "$fs"
}

make_store() {
    local place=$1 fs mib mount image
    read -r fs mib mount < <(store_of "$place") || return 0
    image=$FOLDER/stores/$place.img
    [[ ! -e $image ]] || return 0
    mkdir -p "$FOLDER/stores"
    truncate --size="${mib}M" "$image"
    case $fs in
    ext4) in_base mkfs.ext4 -q -F "$image" ;;
    xfs) in_base mkfs.xfs -q "$image" ;;
    *) wrong_use "no such filesystem for a store: '$fs'" ;;
    esac
}

# A tool of the base on a file of this host: the bed needs none of them here.
in_base() {
    local tool=$1
    shift
    # shellcheck disable=SC2016 # the inner shell's words
    unshare --mount bash -c 'root=$1 file=${!#}
        mount --bind "$(dirname "$file")" "$root/mnt"
        mount --bind /proc "$root/proc"
        set -- "${@:2:$#-2}" "/mnt/$(basename "$file")"
        exec chroot "$root" "$@"' in-base "$(base_root)" "$tool" "$@"
}

start_host() {
    local place=$1 host
    host=$(host_folder "$place")
    [[ -d $host ]] || wrong_use "this bed has no host '$place'; it has: $(places)"
    echo up >"$host/wanted"
    if is_gone "$host/supervisor"; then
        # Not this script's child any more, and not the holder of its lock.
        setsid --fork "$BED/lib/supervise" "$FOLDER" "$place" </dev/null >>"$host/console" 2>&1 9>&-
    fi
}

await_host() {
    local place=$1
    await "${BED_BOOT_SECONDS:-300}" "the start of $place: $(tail -n 3 "$(host_folder "$place")/console" 2>/dev/null)" host_is_up "$place"
}

host_is_up() {
    local host pid
    host=$(host_folder "$1")
    pid=$(process_of "$host/init") || return 1
    [[ -e /proc/$pid/root/run/booted ]]
}

# Power off: at once, like pulling the plug, but stores are unmounted by the kernel.
kill_host() {
    local host
    host=$(host_folder "$1")
    echo down >"$host/wanted"
    end_process "$host/init"
    await 20 "the supervisor of $1 to see it" is_gone "$host/supervisor"
    release_store "$1"
}

# The real power cut: what the store's filesystem has not written is lost.
cut_host() {
    local place=$1 fs mib mount
    if read -r fs mib mount < <(store_of "$place"); then
        in_host "$place" sh -c "! mountpoint -q $mount || xfs_io -x -c shutdown $mount" || true
    fi
    kill_host "$place"
}

reboot_host() {
    local place=$1 host before
    host=$(host_folder "$place")
    before=$(cat "$host/init")
    in_host "$place" reboot || true
    await 20 "the end of $place" is_other_start "$host/init" "$before"
    await_host "$place"
}

is_other_start() { [[ $(cat "$1" 2>/dev/null) != "$2" ]] && process_of "$1" >/dev/null; }

# in_host PLACE COMMAND...
in_host() {
    local place=$1 pid
    shift
    pid=$(process_of "$(host_folder "$place")/init") || die "host '$place' is not running"
    nsenter --target "$pid" --mount --uts --ipc --net --pid --root --wd -- \
        /usr/bin/env -i HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

# The loop device of a place's store; it stays the same over restarts.
attach_store() {
    local place=$1 image device
    image=$FOLDER/stores/$place.img
    [[ -e $image ]] || return 0
    device=$(store_device "$place")
    [[ -n $device ]] || device=$(losetup --find --show "$image")
    echo "$device"
}

store_device() { losetup --noheadings --output NAME --associated "$FOLDER/stores/$1.img" | head -n 1; }

release_store() {
    local device
    [[ -e $FOLDER/stores/$1.img ]] || return 0
    device=$(store_device "$1")
    [[ -z $device ]] || losetup --detach "$device"
}
