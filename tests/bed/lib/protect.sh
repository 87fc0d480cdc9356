# shellcheck shell=bash
# Agents into the bed's hosts and the control centre into `centre`. PROGRAMS is
# the folder with `lifeboat` and `lifeboat-agent`. Mail has profiles of its own,
# because the hosts have no systemd; the database's is the one that everybody has.

PROFILES=$(cd "$BED/../../agent/profiles" && pwd)

# in_place PLACE PATH: a path of a running host as this machine sees it.
in_place() { echo "/proc/$(process_of "$(host_folder "$1")/init")/root$2"; }

is_in_place() { [[ -e $(in_place "$1" "$2") ]]; }

# put_program PLACE PROGRAM PATH: without what only a debugger reads. In one
# move: the old one may run.
put_program() {
    local target
    target=$(in_place "$1" "$3")
    mkdir -p "${target%/*}"
    strip -o "$target.new" "$2"
    mv "$target.new" "$target"
}

# Libraries that the base does not have go along.
put_centre() {
    local library
    put_program centre "$PROGRAMS/lifeboat" /opt/lifeboat/lifeboat
    mkdir -p "$(in_place centre /opt/lifeboat/lib)"
    while read -r library; do
        [[ -e $(base_root)$library ]] || cp --dereference "$library" "$(in_place centre /opt/lifeboat/lib/)"
    done < <(ldd "$PROGRAMS/lifeboat" | awk '$3 ~ "^/" { print $3 }')
    printf '#!/bin/sh\nLD_LIBRARY_PATH=/opt/lifeboat/lib exec /opt/lifeboat/lifeboat "$@"\n' |
        put_file centre /usr/local/bin/lifeboat 0755
    starts_with_host centre centre
}

put_descriptors() {
    local file name
    for file in "$BED"/applications/*.toml "$BED"/profiles/*.toml "$PROFILES/postgresql.toml"; do
        name=${file##*/}
        [[ $file = "$BED"/applications/* ]] || name=profiles/$name
        put_file centre "/etc/lifeboat/$name" 0644 <"$file"
    done
}

# put_file PLACE PATH MODE: from standard input.
put_file() {
    local target
    target=$(in_place "$1" "$2")
    mkdir -p "${target%/*}"
    install --mode="$3" /dev/stdin "$target"
}

starts_with_host() {
    local place=$1 service=$2
    in_host "$place" sh -c "grep -qx $service /etc/bed/services || echo $service >>/etc/bed/services"
}

# What the agent starts must not start by itself.
disable_services() {
    local place=$1 service
    shift
    for service in "$@"; do in_host "$place" svc "$service" disable; done
}

put_agent() {
    local place=$1
    put_program "$place" "$PROGRAMS/lifeboat-agent" /usr/sbin/lifeboat-agent
    put_file "$place" /etc/lifeboat/profile.toml 0644 <"$(profile_of "$place")"
    settings_of "$place" | put_file "$place" /etc/lifeboat/agent.toml 0600
    starts_with_host "$place" agent
}

profile_of() {
    case $1 in
    mail-*) echo "$BED/profiles/mail.toml" ;;
    dc-*) echo "$BED/profiles/directory.toml" ;;
    pg-*) echo "$PROFILES/postgresql.toml" ;;
    esac
}

# settings_of PLACE: its agent.toml.
settings_of() {
    local place=$1 fs other
    case $place in *-a) other=b ;; *) other=a ;; esac
    printf 'profile = "/etc/lifeboat/profile.toml"\n'
    case $place in
    mail-*)
        read -r fs _ < <(store_of "$place")
        printf 'peer_listen = "0.0.0.0:7444"\n[parameters]\n'
        printf 'device = "%s"\nfilesystem = "%s"\npeer = "%s"\n' "$(store_device "$place")" "$fs" "$(host_address "mail-$other")"
        printf 'directory_server = "dc-%s"\ndirectory_password = "%s"\ntest_password = "%s"\n' "${place#mail-}" "$PASSWORD" "$PASSWORD"
        ;;
    pg-*)
        printf 'peer_listen = "0.0.0.0:7444"\n[parameters]\n'
        printf 'data = "/srv/pg/data"\nsocket = "/var/lib/postgresql"\npeer = "%s"\n' "$(host_address "pg-$other")"
        printf 'test_user = "app"\ntest_password = "%s"\n' "$PASSWORD"
        ;;
    esac
}

# hosts_with_agents APPLICATION: the side that serves is the last to join.
hosts_with_agents() {
    case $1 in
    mail) echo dc-a dc-b mail-b mail-a ;;
    postgresql) echo pg-b pg-a ;;
    esac
}

put_agents() {
    local place
    for place in $(hosts_with_agents "$1"); do
        put_agent "$place"
        case $place in
        mail-*) disable_services "$place" dovecot postfix lsyncd ;;
        pg-*) disable_services "$place" postgres ;;
        esac
    done
}

# Joins by a token of its own, then runs under the host's supervisor.
begin_agent() {
    local place=$1 token
    token=$(in_host centre lifeboat failover agent token "$place")
    step "$place" lifeboat-agent join --centre "$(host_address centre):7443" --token "$token"
    step "$place" svc agent start
}

is_ready() { in_host centre lifeboat failover ready "$1" >/dev/null 2>&1; }
