# shellcheck shell=bash
# The bed's network: one router with a bridge for each site and one for the
# control centre. The router has no way out: no route, no interface of this host.

router() { echo "lb-$ID-router"; }
netns() { echo "lb-$ID-$1"; }
in_router() { ip netns exec "$(router)" "$@"; }

make_network() {
    local row name prefix
    ip netns add "$(router)"
    in_router ip link set lo up
    in_router sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv6.conf.all.disable_ipv6=1
    for row in "${NETWORKS[@]}"; do
        read -r name prefix <<<"$row"
        make_site "$name" "$prefix"
    done
}

# lan-X: the site's bridge; up-X: the router's interface to it, the place where
# a site is cut off without its hosts losing each other.
make_site() {
    local name=$1 prefix=$2
    in_router ip link add "lan-$name" type bridge
    in_router ip link add "up-$name" type veth peer name "down-$name"
    in_router ip link set "down-$name" master "lan-$name"
    in_router ip addr add "$prefix.1/24" dev "up-$name"
    local interface
    for interface in lan up down; do in_router ip link set "$interface-$name" up; done
}

plug_in() {
    local place=$1 network address
    network=$(host_network "$place")
    address=$(host_address "$place")
    ip netns add "$(netns "$place")"
    ip -n "$(router)" link add "$place" type veth peer name eth0 netns "$(netns "$place")"
    in_router ip link set "$place" master "lan-$network" up
    ip netns exec "$(netns "$place")" sysctl -qw net.ipv6.conf.all.disable_ipv6=1
    ip -n "$(netns "$place")" link set lo up
    ip -n "$(netns "$place")" link set eth0 up
    ip -n "$(netns "$place")" addr add "$address/24" dev eth0
    ip -n "$(netns "$place")" route add default via "${address%.*}.1"
}

remove_network() {
    local name
    # Exactly this bed's: ids have no dash.
    for name in /run/netns/lb-"$ID"-*; do
        [[ -e $name ]] || continue
        ip netns delete "${name##*/}"
    done
}

site_prefix() {
    local row name prefix
    for row in "${NETWORKS[@]}"; do
        read -r name prefix <<<"$row"
        [[ $name != "$1" ]] || { echo "$prefix"; return; }
    done
    wrong_use "the bed has no site '$1'; it has: a, b and c (the control centre)"
}

# What leaves a site, or what goes there, vanishes without an answer: packets
# are dropped as by a dead line, no host hears of it.
cut_site() {
    local site=$1 direction=$2 prefix
    prefix=$(site_prefix "$site")
    heal_site "$site"
    case $direction in
    both | out) in_router ip rule add pref 100 iif "up-$site" type blackhole ;;
    esac
    case $direction in
    both | in) in_router ip rule add pref 101 to "$prefix.0/24" type blackhole ;;
    out) ;;
    *) wrong_use "direction is both, in or out, not '$direction'" ;;
    esac
}

heal_site() {
    local site=$1 prefix
    prefix=$(site_prefix "$site")
    while in_router ip rule del pref 100 iif "up-$site" type blackhole 2>/dev/null; do :; done
    while in_router ip rule del pref 101 to "$prefix.0/24" type blackhole 2>/dev/null; do :; done
}

# A narrow line: so many kbit a second each way, what does not fit waits. The
# kernel has tbf but no netem, so an idle narrow line is as quick as any other.
narrow_site() {
    local site=$1 kbit=$2 interface
    site_prefix "$site" >/dev/null
    for interface in "up-$site" "down-$site"; do
        in_router tc qdisc replace dev "$interface" root tbf rate "${kbit}kbit" burst 4kb latency 800ms
    done
}

widen_site() {
    local site=$1 interface
    for interface in "up-$site" "down-$site"; do
        in_router tc qdisc del dev "$interface" root 2>/dev/null || true
    done
}
