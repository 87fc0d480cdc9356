# shellcheck shell=bash
# The root that all hosts of a bed share, read-only: made once for each recipe.

CACHE=${LIFEBOAT_BED_CACHE:-/var/cache/lifeboat/bed}
BASE_SUITE=bookworm
BASE_NEEDED_GIB=3

# Everything that decides how the base comes out.
base_hash() {
    { cat "$BED/base/packages" "$BED/lib/base.sh"; } | sha256sum | cut -c 1-16
}

base_root() { echo "$CACHE/base-$(base_hash)/root"; }

base_packages() { sed '/^#/d;/^$/d' "$BED/base/packages" | paste --serial --delimiters=,; }

# Called inside a pid and mount namespace of its own, which all its processes end with.
bootstrap_base() {
    local work=$1 packages=$2 source options
    source=$(package_source "$BASE_SUITE")
    mapfile -t options < <(apt_options)
    [[ ! -d /usr/share/mmdebstrap/hooks/maybe-merged-usr ]] ||
        options+=(--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr)
    LC_ALL=C.UTF-8 mmdebstrap --mode=root --variant=minbase --quiet \
        --keyring="$FIGURE4_KEYRING" --include="$(base_packages)" \
        --skip=download/empty,essential/unlink \
        --dpkgopt=path-exclude='/usr/share/man/*' \
        --dpkgopt=path-exclude='/usr/share/locale/*' \
        --dpkgopt=path-exclude='/usr/share/doc/*' \
        --dpkgopt=path-include='/usr/share/doc/*/copyright' \
        ${options[@]+"${options[@]}"} \
        --setup-hook="'$BED/lib/base-hook' offer_archives '$packages' \"\$1\"" \
        --essential-hook="echo 'postfix postfix/main_mailer_type select No configuration' | chroot \"\$1\" debconf-set-selections" \
        --customize-hook="'$BED/lib/base-hook' keep_archives '$packages' \"\$1\"" \
        "$BASE_SUITE" "$work/root" ${source:+"$source"}
    forget_build_host "$work/root"
    forget_first_start "$work/root"
}

# What packages made at their installation and each host makes for itself.
forget_first_start() {
    local root=$1
    rm -rf "$root"/var/lib/postgresql/*/main "$root"/etc/postgresql/*/main "$root/etc/samba/smb.conf" \
        "$root"/etc/resolv.conf "$root"/etc/hostname
}

build_base() {
    local entry
    entry=$(dirname "$(base_root)")
    mkdir -p "$CACHE/packages"
    exec {BASE_LOCK}>"$CACHE/.lock"
    flock "$BASE_LOCK"
    if [[ ! -d $entry ]]; then
        check_base_host
        progress "building the base of the bed's hosts"
        rm -rf --one-file-system "$CACHE"/.work.*
        make_base "$entry"
    fi
    exec {BASE_LOCK}>&-
}

make_base() {
    local entry=$1 work
    work=$(mktemp --directory "$CACHE/.work.XXXXXX")
    chmod 0755 "$work"
    run_confined "$work" "$BED/lib/base-hook" bootstrap_base "$work" "$CACHE/packages" \
        >"$work/log" 2>&1 || { tail -n 25 "$work/log" >&2; die "the base could not be installed from the package mirror"; }
    mv --no-target-directory "$work" "$entry"
    remove_old_bases "$entry"
    progress "the base is complete"
}

# A recipe's older bases serve nobody, except beds that run on them.
remove_old_bases() {
    local kept=$1 old
    for old in "$CACHE"/base-*; do
        [[ $old = "$kept" ]] || grep -qF "$old/" /proc/*/mountinfo 2>/dev/null || rm -rf --one-file-system "$old"
    done
}

check_base_host() {
    local free_kib
    require_programs mmdebstrap:mmdebstrap unshare:util-linux setpriv:util-linux
    require_keyring
    free_kib=$(df --output=avail -k "$CACHE" | tail -n 1)
    ((free_kib >= BASE_NEEDED_GIB * 1024 * 1024)) ||
        die "$CACHE has $((free_kib / 1024)) MiB free, the base needs $BASE_NEEDED_GIB GiB; name another place with LIFEBOAT_BED_CACHE"
}
