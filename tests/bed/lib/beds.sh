# shellcheck shell=bash
# Beds as a whole: where they live, whose they are, how they go.

BEDS=${LIFEBOAT_BEDS:-/var/tmp/lifeboat-bed}

# use_bed ID: the bed that the other functions are about.
use_bed() {
    ID=$1
    FOLDER=$BEDS/$ID
    [[ -d $FOLDER/hosts ]] || die "there is no bed '$ID'; there are: $(ls "$BEDS" 2>/dev/null)"
}

# The bed that LIFEBOAT_BED names, else the only one.
use_some_bed() {
    local beds
    mapfile -t beds < <(ls "$BEDS" 2>/dev/null)
    [[ -n ${LIFEBOAT_BED:-} ]] || ((${#beds[@]} == 1)) ||
        die "there are ${#beds[@]} beds: name one in LIFEBOAT_BED (${beds[*]})"
    use_bed "${LIFEBOAT_BED:-${beds[0]}}"
}

# new_bed OWNER-PID: an empty bed with an id of its own.
new_bed() {
    mkdir -p "$BEDS"
    until ID=$(head -c 3 /dev/urandom | od -An -tx1 | tr -d ' \n') && mkdir "$BEDS/$ID" 2>/dev/null; do :; done
    FOLDER=$BEDS/$ID
    # Memory: directory databases are written through to the disk after every
    # change, and a busy disk would make a bed's start take minutes.
    mount -t tmpfs -o mode=0755,size=6G "lb-$ID" "$FOLDER"
    remember_process "$1" "$FOLDER/owner"
    mkdir "$FOLDER/hosts"
}

# Beds whose owner ended without taking them down. One that is being made has
# an owner from its first moment but one: that moment is left to it.
remove_orphans() {
    local folder
    # Two that start at once would remove the same one.
    exec 8>"$BEDS/.lock"
    flock 8
    for folder in "$BEDS"/*/; do
        [[ -d $folder ]] || continue
        if [[ -e ${folder}owner ]]; then
            process_of "${folder}owner" >/dev/null && continue
            [[ ! -e ${folder}kept ]] || continue
        else
            [[ -n $(find "$folder" -maxdepth 0 -mmin +1) ]] || continue
        fi
        (remove_bed "$(basename "$folder")") || progress "bed $(basename "$folder") could not be removed"
    done
    exec 8>&-
}

remove_bed() {
    local place
    ID=$1
    FOLDER=$BEDS/$ID
    for place in $(places); do
        echo down >"$(host_folder "$place")/wanted"
        end_group "$(host_folder "$place")/supervisor"
        end_process "$(host_folder "$place")/init"
        release_store "$place"
    done
    remove_network
    # A loop device goes when its last mount does, and that may be just now.
    await 20 "the stores' devices to go" stores_are_released
    ! mountpoint -q "$FOLDER" || umount "$FOLDER"
    rm -rf --one-file-system "$FOLDER"
}

# The supervisor with what it is just starting.
end_group() {
    local pid
    pid=$(process_of "$1") || return 0
    kill -KILL -- "-$pid" 2>/dev/null || kill -KILL "$pid" 2>/dev/null || true
    await 20 "the end of process $pid" is_gone "$1"
}

stores_are_released() { ! losetup --noheadings --output BACK-FILE | grep -qF "$FOLDER/"; }

# The places of this bed's hosts.
places() { [[ ! -d $FOLDER/hosts ]] || find "$FOLDER/hosts" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | LC_ALL=C sort; }
