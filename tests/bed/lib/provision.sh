# shellcheck shell=bash
# From bare hosts to a working bed: directory, members, mail, databases. Made
# once for each recipe and kept; later beds begin with copies of the kept hosts.

PASSWORD=bed-Passw0rd
ACCOUNTS=${BED_ACCOUNTS:-20}
# Directory servers that were away for longer than the life of a tombstone
# must not come back.
KEPT_DAYS=30

ready_hash() {
    {
        base_hash
        printf '%s\n' "$@" "$ACCOUNTS" "${BED_MAIL_FS:-}" "${BED_MAIL_MIB:-}"
        cd "$BED" && find recipe lib/provision.sh lib/topology.sh lib/hosts.sh -type f | LC_ALL=C sort | xargs sha256sum
    } | sha256sum | cut -c 1-16
}

ready_folder() { echo "$CACHE/ready-$(ready_hash "$@")"; }

# The name server's key is the bed's own secret, the same on both and at the centre.
make_key() {
    local key place
    key=$(head -c 32 /dev/urandom | base64 -w 0)
    for place in ns1 ns2 centre mta; do
        [[ -d $(host_folder "$place") ]] || continue
        mkdir -p "$(host_folder "$place")/upper/etc/bed"
        printf 'key "lifeboat" { algorithm hmac-sha256; secret "%s"; };\n' "$key" \
            >"$(host_folder "$place")/upper/etc/bed/tsig.key"
    done
}

# Names of services' users exist only inside.
settle_owners() {
    local place
    for place in ns1 ns2; do
        step "$place" sh -c 'mkdir -p /var/log/named && chown -R bind:bind /var/lib/bind /var/log/named && chgrp bind /etc/bed/tsig.key && svc named start'
    done
}

provision_mail() {
    local place
    settle_owners
    step dc-a provision-directory "$PASSWORD" "$ACCOUNTS"
    step dc-b join-directory "$PASSWORD"
    replicate_directories
    for place in mail-a mail-b; do step "$place" set-up-mail "$PASSWORD" "$ACCOUNTS"; done
    add_addresses
    step dc-a replicate-from dc-b
    step dc-b replicate-from dc-a
    start_services mail-b
    start_services mail-a
}

# After a join, both must work out whom they replicate with.
replicate_directories() {
    local place
    for place in dc-a dc-b; do await 60 "$place to work out its partners" knows_partners "$place"; done
    step dc-b replicate-from dc-a
    step dc-a replicate-from dc-b
}

# A server that has only just started cannot do it yet.
knows_partners() {
    in_host "$1" samba-tool drs kcc "$1.ad.bed.example" -P >>"$(host_folder "$1")/steps" 2>&1
}

add_addresses() {
    local place
    for place in mail-a mail-b; do
        step dc-a samba-tool dns add 127.0.0.1 ad.bed.example "$(first_host_name "$place")" A "$(host_address "$place")" \
            -U Administrator --password="$PASSWORD"
    done
}

start_services() {
    # shellcheck disable=SC2016 # the host's words
    in_host "$1" sh -ec 'while read -r service; do
        [ -e /etc/bed/disabled/$service ] || svc $service start
    done </etc/bed/services'
}

stop_services() {
    # shellcheck disable=SC2016 # the host's words
    in_host "$1" sh -ec 'tac /etc/bed/services | while read -r service; do svc $service stop; done; store umount'
}

provision_postgresql() {
    step pg-a create-database "$PASSWORD"
    step pg-b follow-database "$PASSWORD"
}

# A step in a host; what it said is shown only when it fails.
step() {
    local place=$1 log
    shift
    log=$(host_folder "$place")/steps
    printf -- '--- %s\n' "$*" >>"$log"
    in_host "$place" "$@" >>"$log" 2>&1 || { tail -n 15 "$log" >&2; die "on $place: $1 failed"; }
}

provision() {
    local part
    for part in "$@"; do "provision_$part"; done
}

# The hosts as they are now become what later beds start from.
keep_ready() {
    local ready=$1 place work
    for place in $(places); do stop_services "$place"; done
    for place in $(places); do kill_host "$place"; done
    work=$(mktemp --directory "$CACHE/.work.XXXXXX")
    mkdir -p "$work/hosts"
    for place in $(places); do
        mv "$(host_folder "$place")/upper" "$work/hosts/$place"
    done
    [[ ! -d $FOLDER/stores ]] || mv "$FOLDER/stores" "$work/stores"
    rm -rf --one-file-system "$ready"
    mv --no-target-directory "$work" "$ready"
}

begin_from_ready() {
    local ready=$1 place
    touch "$ready/used"
    for place in "$ready"/hosts/*; do
        place=${place##*/}
        mkdir -p "$(host_folder "$place")"/{root,work,upper}
        ln -sfn "$ready/hosts/$place" "$(host_folder "$place")/lower"
        echo down >"$(host_folder "$place")/wanted"
    done
    [[ ! -d $ready/stores ]] || cp --recursive --sparse=always "$ready/stores" "$FOLDER/stores"
}

ready_is_fresh() { [[ -d $1 && -z $(find "$1" -maxdepth 0 -mtime +"$KEPT_DAYS") ]]; }

# Those of earlier recipes that no bed has begun from for a day, or stands on.
remove_old_ready() {
    local used ready
    for used in "$CACHE"/ready-*/used; do
        ready=${used%/used}
        [[ -n $(find "$used" -mmin +1440 2>/dev/null) ]] || continue
        readlink "$BEDS"/*/hosts/*/lower | grep -qF "$ready/" || rm -rf --one-file-system "$ready"
    done
}
