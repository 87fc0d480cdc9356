# shellcheck shell=bash
# The steps of a switch-over by hand. OLD and NEW are the places of the mail
# hosts, OLD_DC and NEW_DC those of their directory servers.

DOMAIN_NC=DC=ad,DC=bed,DC=example
ADMIN=(-U Administrator "--password=$PASSWORD")

# The host that is called `mail` serves.
find_sides() {
    if [[ $(in_host mail-a cat /etc/hostname) = mail ]]; then OLD=mail-a NEW=mail-b; else OLD=mail-b NEW=mail-a; fi
    OLD_DC=dc-${OLD#mail-} NEW_DC=dc-${NEW#mail-}
    OLD_ADDRESS=$(host_address "$OLD") NEW_ADDRESS=$(host_address "$NEW")
}

now() { echo "${EPOCHREALTIME/./}"; }

begin_load() {
    in_host mta rm -f /var/lib/bed/watched
    in_host mta numbered send --rate "$1" 2>>"$(host_folder mta)/steps" & SENDER=$!
    in_host mta numbered watch imap --every 0.1 & WATCHER=$!
}

run_load() {
    local seen
    seen=$(log_ins)
    # Log-ins succeed all this time before and after the switch.
    await $(($1 + 30)) "log-ins at the side that serves" has_log_ins $((seen + $1 * 5))
}

log_ins() { in_host mta sh -c 'mkdir -p /var/lib/bed; touch /var/lib/bed/watched; grep -c " ok$" /var/lib/bed/watched' || true; }
has_log_ins() { (($(log_ins) >= $1)); }

end_load() {
    in_host mta pkill -TERM -f '^/usr/bin/python3 /usr/local/bin/numbered' || true
    wait "$SENDER" "$WATCHER" || true
}

# timed WHAT COMMAND...: one line of the table.
timed() {
    local what=$1 begin
    shift
    begin=$(now)
    "$@"
    printf '%-44s %6d ms\n' "$what" $((($(now) - begin) / 1000))
}

# both COMMAND...: on the old and the new side at once; PLACE and SIDE are appended.
both() {
    local first second
    "$@" "$OLD" "$OLD_DC" & first=$!
    "$@" "$NEW" "$NEW_DC" & second=$!
    wait "$first" || die "$1 failed on the old side"
    wait "$second" || die "$1 failed on the new side"
}

switch_over() {
    local begin
    begin=$(now)
    timed "close the entrance, empty the queue" close_entrance
    timed "stop the services, store read-only" stop_old
    timed "drain, compare, unmount" drain
    timed "delete both accounts" delete_accounts
    timed "replicate the directory" replicate_removals
    timed "rename" rename_both
    timed "reboot both" both reboot_side
    timed "join both" both join_side
    timed "replicate the directory" replicate_joins
    timed "the directory's DNS" move_addresses
    timed "reverse session, paused" reverse_session
    timed "store and services" start_new
    timed "control centre's DNS" point_names
    timed "un-pause" un_pause
    TOTAL_MS=$((($(now) - begin) / 1000))
}

# 304+: nothing more comes in, and what came in is in the store.
close_entrance() {
    # shellcheck disable=SC2016 # the host's words
    step "$OLD" sh -ec 'postconf -e master_service_disable=inet
        postfix reload
        end=$(($(date +%s) + 20))
        # The listener first: reload returns before it is closed, and every
        # smtpd that still runs has it too.
        until ! ss -Hltn "sport = :25" | grep -q . &&
            ! ss -Htn state established "sport = :25" | grep -q . && mailq | grep -q "queue is empty"; do
            [ $(date +%s) -lt $end ] || exit 1
            postqueue -f
            sleep 0.1
        done'
}

# 306, 308
stop_old() {
    # shellcheck disable=SC2016 # the host's words
    step "$OLD" sh -ec 'svc postfix stop
        left=$(cd /var/spool/postfix && find maildrop incoming active deferred -type f)
        [ -z "$left" ] || { echo "accepted mail is still in the queue: $left"; exit 1; }
        svc dovecot stop
        mount -o remount,ro /srv/mail'
}

# 310, 312
drain() {
    # shellcheck disable=SC2016 # the host's words
    step "$OLD" sh -ec 'svc lsyncd stop
        while pgrep -x rsync >/dev/null; do sleep 0.05; done
        replicate-once
        left=$(replicate-once --checksum --dry-run --itemize-changes | grep -v "/$" || true)
        [ -z "$left" ] || { echo "differs: $left"; exit 1; }
        umount /srv/mail'
    step "$NEW" sh -ec 'svc rsyncd stop; svc rsyncd disable'
}

# 322, 324: at one directory server; a missing account is as good.
delete_accounts() {
    local name
    for name in mail mailtmp; do
        in_host "$NEW_DC" samba-tool computer delete "$name" >>"$(host_folder "$NEW_DC")/steps" 2>&1 || true
        ! in_host "$NEW_DC" samba-tool computer list | grep -qix "$name\\$" || die "account $name is still there"
    done
}

replicate_removals() { step "$OLD_DC" replicate-from "$NEW_DC"; }

# 326
rename_both() {
    step "$OLD" sh -ec 'echo mailtmp >/etc/hostname
        svc dovecot disable; svc postfix disable; svc lsyncd disable; svc rsyncd enable
        postconf -X master_service_disable'
    # Started when the store was looked at, not by the reboot.
    step "$NEW" sh -ec 'echo mail >/etc/hostname
        svc dovecot disable; svc postfix disable; svc lsyncd disable; svc rsyncd disable'
}

reboot_side() { reboot_host "$1"; }
join_side() { step "$1" join-domain "$PASSWORD"; }

# 332
replicate_joins() {
    step "$NEW_DC" replicate-from "$OLD_DC" & local first=$!
    step "$OLD_DC" replicate-from "$NEW_DC"
    wait "$first"
}

# 334, 336
move_addresses() {
    local words=(127.0.0.1 ad.bed.example)
    address_is_gone mail "$OLD_ADDRESS"
    address_is_gone mailtmp "$NEW_ADDRESS"
    step "$NEW_DC" samba-tool dns add "${words[@]}" mail A "$NEW_ADDRESS" "${ADMIN[@]}"
    step "$NEW_DC" samba-tool dns add "${words[@]}" mailtmp A "$OLD_ADDRESS" "${ADMIN[@]}"
    step "$OLD_DC" samba-tool drs replicate "$OLD_DC.ad.bed.example" "$NEW_DC.ad.bed.example" "DC=DomainDnsZones,$DOMAIN_NC" -P
}

# Deleting a computer often took its address along.
address_is_gone() {
    in_host "$NEW_DC" dig +short "@127.0.0.1" "$1.ad.bed.example" | grep -qx "$2" || return 0
    step "$NEW_DC" samba-tool dns delete 127.0.0.1 ad.bed.example "$1" A "$2" "${ADMIN[@]}"
}

# 338, 340
reverse_session() {
    step "$OLD" svc rsyncd start
    # shellcheck disable=SC2016 # the host's words
    step "$NEW" sh -ec 'svc lsyncd enable; svc lsyncd start; kill -STOP $(cat /run/lsyncd.pid)'
}

# 342-356
start_new() {
    # shellcheck disable=SC2016 # the host's words
    step "$NEW" sh -ec 'store mount
        find /srv/mail -name "*.lock" -delete
        find /srv/mail -path "*/Maildir/*" -type f -exec cat {} + >/dev/null
        for one in dovecot postfix; do svc $one enable; svc $one start; done
        doveadm auth test user01 '"$PASSWORD"
}

# 358, 362: both name servers, and asked afterwards.
point_names() {
    local server
    for server in ns1 ns2; do
        # shellcheck disable=SC2016 # the host's words
        step centre sh -ec 'printf "server %s\nzone bed.example\nupdate delete mx.bed.example A\nupdate delete imap.bed.example A\nupdate add mx.bed.example 0 A %s\nupdate add imap.bed.example 0 A %s\nsend\n" $1 $2 $2 |
            nsupdate -k /etc/bed/tsig.key
            for name in mx imap; do dig +short @$1 $name.bed.example | grep -qx $2; done' sh "$(host_address "$server")" "$NEW_ADDRESS"
    done
}

# 364, 366
un_pause() {
    # shellcheck disable=SC2016 # the host's words
    in_host "$NEW" sh -c 'kill -CONT $(cat /run/lsyncd.pid)'
}

print_result() {
    local ledger status=0
    ledger=$(in_host mta numbered count) || status=$?
    printf '%-44s %6d ms\n' total "$TOTAL_MS"
    printf '{"total_s": %d.%03d, "imap": %s, "ledger": %s}\n' $((TOTAL_MS / 1000)) $((TOTAL_MS % 1000)) \
        "$(in_host mta numbered outage)" "$ledger"
    return "$status"
}
