# shellcheck shell=bash
# Installs a machine's Debian system into a directory.

# Archives fetched by one machine serve the next one of the same release.
offer_archives() {
    local packages=$1 root=$2
    mkdir -p "$root/var/cache/apt/archives"
    find "$packages" -name '*.deb' -exec cp --link --target-directory="$root/var/cache/apt/archives" {} +
}

keep_archives() {
    local packages=$1 root=$2 archive kept
    for archive in "$root"/var/cache/apt/archives/*.deb; do
        kept=$packages/${archive##*/}
        [[ -e $kept ]] || ln "$archive" "$kept" 2>/dev/null || [[ -e $kept ]]
    done
}

# Runs as an mmdebstrap hook when the essential packages are there and before the kernel is.
prepare_root() {
    local machine=$1 root=$2 layer
    for layer in $(machine_layers "$machine"); do
        copy_tree "$FIGURE4/recipe/$layer/before" "$root"
        [[ ! -f $FIGURE4/recipe/$layer/debconf ]] ||
            chroot "$root" debconf-set-selections <"$FIGURE4/recipe/$layer/debconf"
    done
}

# Owners and modes are the recipe's, not those of a checkout.
copy_tree() {
    local from=$1 to=$2
    [[ ! -d $from ]] || tar --create --owner=0 --group=0 --mode='u=rwX,go=rX' --directory="$from" . |
        tar --extract --no-overwrite-dir --directory="$to"
}

package_list() {
    local layer
    for layer in $(machine_layers "$1"); do
        sed '/^#/d;/^$/d' "$FIGURE4/recipe/$layer/packages"
    done | paste --serial --delimiters=,
}

# Older mmdebstrap needs to be told that bookworm has no separate /bin; newer ones know.
merged_usr_hooks() {
    local hooks=/usr/share/mmdebstrap/hooks/maybe-merged-usr
    [[ ! -d $hooks ]] || echo "--hook-dir=$hooks"
}

bootstrap() {
    local machine=$1 root=$2 packages=$3 suite source options
    suite=$(machine_suite "$machine")
    source=$(package_source "$suite")
    mkdir -p "$packages"
    mapfile -t options < <(merged_usr_hooks; apt_options)
    LC_ALL=C.UTF-8 mmdebstrap --mode=root --variant=minbase --quiet \
        --keyring="$FIGURE4_KEYRING" --include="$(package_list "$machine")" \
        --skip=download/empty,essential/unlink \
        --dpkgopt=path-exclude='/usr/share/man/*' \
        --dpkgopt=path-exclude='/usr/share/locale/*' \
        --dpkgopt=path-exclude='/usr/share/doc/*' \
        --dpkgopt=path-include='/usr/share/doc/*/copyright' \
        ${options[@]+"${options[@]}"} \
        --setup-hook="'$FIGURE4/lib/install-hook' offer_archives '$packages' \"\$1\"" \
        --essential-hook="'$FIGURE4/lib/install-hook' prepare_root '$machine' \"\$1\"" \
        --customize-hook="'$FIGURE4/lib/install-hook' keep_archives '$packages' \"\$1\"" \
        "$suite" "$root" ${source:+"$source"}
}

# Nothing of this host stays: the machine lives on a network without package mirrors.
forget_build_host() {
    local root=$1
    rm -rf "$root"/etc/apt/apt.conf.d/99mmdebstrap "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap \
        "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb \
        "$root"/var/log/apt/* "$root"/var/log/dpkg.log "$root"/var/log/bootstrap.log \
        "$root"/var/log/alternatives.log "$root"/tmp/* "$root"/etc/apt/sources.list.d/*
    echo "# No package source: this network reaches no mirror." >"$root/etc/apt/sources.list"
}

name_machine() {
    local machine=$1 root=$2
    echo "$machine" >"$root/etc/hostname"
    printf '127.0.0.1\tlocalhost\n%s\t%s.%s %s\n' "$(machine_address "$machine")" "$machine" "$DOMAIN" "$machine" \
        >"$root/etc/hosts"
    printf 'search %s\nnameserver %s\noptions timeout:2 attempts:2\n' "$DOMAIN" "$(machine_address dir1)" \
        >"$root/etc/resolv.conf"
    tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
    echo 'root:lifeboat' | chroot "$root" chpasswd
}

# Background chores of a Debian machine that would only slow emulated boots.
quiet_background() {
    local root=$1
    chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer man-db.timer \
        e2scrub_all.timer e2scrub_reap.service fstrim.timer dpkg-db-backup.timer
}

install_machine() {
    local machine=$1 root=$2 packages=$3 layer
    bootstrap "$machine" "$root" "$packages"
    for layer in $(machine_layers "$machine"); do
        copy_tree "$FIGURE4/recipe/$layer/root" "$root"
    done
    mount -t proc proc "$root/proc"
    mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
    name_machine "$machine" "$root"
    quiet_background "$root"
    "$FIGURE4/recipe/$machine/customise" "$root"
    umount "$root/proc" "$root/dev/shm"
    forget_build_host "$root"
}
