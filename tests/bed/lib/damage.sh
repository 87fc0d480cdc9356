# shellcheck shell=bash
# What can be wrong with a store, made on purpose.

# damage_store PLACE WAY
#   directories  the blocks of all mail folders are zeroes: the store mounts, a
#                quick check is content, and the mail is gone (store unmounted)
#   superblock   it does not mount at all (store unmounted)
#   locks        locks of a dead server lie in every mailbox: who gives a new
#                message its number hangs (mounted)
#   indexes      Dovecot's own files are rubbish (mounted)
damage_store() {
    # shellcheck disable=SC2153 # use_bed sets it
    local place=$1 way=$2 image=$FOLDER/stores/$1.img
    [[ -e $image ]] || wrong_use "'$place' has no store"
    case $way in
    directories | superblock)
        ! store_is_mounted "$place" || die "the store of $place is mounted: unmount it first"
        "damage_$way" "$image"
        ;;
    locks | indexes)
        store_is_mounted "$place" || die "the store of $place is not mounted"
        "damage_$way" "$place"
        ;;
    *) wrong_use "unknown damage '$way'; known: directories superblock locks indexes" ;;
    esac
}

store_is_mounted() {
    local init
    init=$(process_of "$(host_folder "$1")/init") || return 1
    grep -q "^$(store_device "$1") " "/proc/$init/mounts"
}

damage_directories() {
    local image=$1 block size count=0
    size=$(in_base dumpe2fs -h "$image" 2>/dev/null | awk '/^Block size:/ { print $3 }')
    [[ -n $size ]] || die "only stores on ext4 can lose their directories"
    while read -r block; do
        dd if=/dev/zero of="$image" bs="$size" seek="$block" count=1 conv=notrunc status=none
        count=$((count + 1))
    done < <(directory_blocks "$image")
    ((count > 0)) || die "the store has no mail folders yet"
}

directory_blocks() {
    local one folder
    for ((one = 1; one <= ACCOUNTS; one++)); do
        for folder in cur new; do printf 'blocks /user%02d/Maildir/%s\n' "$one" "$folder"; done
    done | in_base debugfs -f - "$1" 2>/dev/null | grep -oE '^[0-9 ]+$' | tr -s ' ' '\n' | grep .
}

# The first one only: hard recovery finds the copies.
damage_superblock() { dd if=/dev/zero of="$1" bs=1024 seek=1 count=1 conv=notrunc status=none; }

# shellcheck disable=SC2016 # the host's words
damage_locks() {
    in_host "$1" sh -c 'for box in /srv/mail/*/Maildir; do
        : >"$box/dovecot-uidlist.lock"; chown vmail:vmail "$box/dovecot-uidlist.lock"
    done'
}

# shellcheck disable=SC2016 # the host's words
damage_indexes() {
    in_host "$1" sh -c 'for file in /srv/mail/*/Maildir/dovecot.index*; do
        [ -e "$file" ] || { echo "there are no indexes yet" >&2; exit 1; }
        head -c 512 /dev/urandom >"$file"
    done'
}
