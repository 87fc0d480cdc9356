# shellcheck shell=bash
# Which hosts a bed has and where they stand. The names are those of places: a
# mail host keeps its place when a switch-over gives it another host name.

# network  addresses
# shellcheck disable=SC2034 # network.sh reads it
NETWORKS=(
    "a 10.61.1"
    "b 10.62.1"
    "c 10.63.1"
)

# place  role  network  address  parts of the bed that need it
HOSTS=(
    "ns1    named    c  10.63.1.11  mail"
    "ns2    named    c  10.63.1.12  mail"
    "dc-a   dc       a  10.61.1.10  mail"
    "dc-b   dc       b  10.62.1.10  mail"
    "mail-a mail     a  10.61.1.20  mail"
    "mail-b mail     b  10.62.1.20  mail"
    "mta    sender   c  10.63.1.20  mail"
    "centre centre   c  10.63.1.40  mail,postgresql"
    "pg-a   postgres a  10.61.1.30  postgresql"
    "pg-b   postgres b  10.62.1.30  postgresql"
)

host_row() {
    local row
    for row in "${HOSTS[@]}"; do
        [[ ${row%% *} != "$1" ]] || { echo "$row"; return; }
    done
    wrong_use "the bed has no host '$1'; it has: $(host_names)"
}

host_names() {
    local row
    for row in "${HOSTS[@]}"; do printf '%s ' "${row%% *}"; done
}

host_role() { local _ role; read -r _ role _ < <(host_row "$1"); echo "$role"; }
host_network() { local _ network; read -r _ _ network _ < <(host_row "$1"); echo "$network"; }
host_address() { local _ address; read -r _ _ _ address _ < <(host_row "$1"); echo "$address"; }

# hosts_of PART...: the places that these parts need, in the order of their start.
hosts_of() {
    local row place needs part
    for row in "${HOSTS[@]}"; do
        read -r place _ _ _ needs <<<"$row"
        for part in "$@"; do
            [[ ,$needs, != *,$part,* ]] || { echo "$place"; break; }
        done
    done
}

# The host name that a place has at first.
first_host_name() {
    case $1 in
    mail-a) echo mail ;;
    mail-b) echo mailtmp ;;
    *) echo "$1" ;;
    esac
}

# Filesystem and size of the store of a place; nothing for those without one.
store_of() {
    case $1 in
    mail-*) echo "${BED_MAIL_FS:-ext4} ${BED_MAIL_MIB:-256} /srv/mail" ;;
    pg-*) echo "xfs 512 /srv/pg" ;;
    esac
}
