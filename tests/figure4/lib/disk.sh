# shellcheck shell=bash
# Turns an installed directory into a partitioned disk with GRUB, without mounting anything.

SECTOR=512
FIRST_SECTOR=2048

kernel_releases() {
    find "$1/boot" -name 'vmlinuz-*' -printf '%f\n' | sed 's/^vmlinuz-//' | sort --version-sort --reverse
}

root_argument() {
    case "$1" in
    web1) echo /dev/sda1 ;;
    *) echo "UUID=$2" ;;
    esac
}

menu_entry() {
    local release=$1 uuid=$2 root_device=$3
    sed -e "s|@RELEASE@|$release|g" -e "s|@UUID@|$uuid|g" -e "s|@ROOT@|$root_device|g" \
        "$FIGURE4/recipe/common/grub-entry.cfg"
}

write_grub_cfg() {
    local root=$1 uuid=$2 root_device=$3 release
    {
        sed -e "s|@UUID@|$uuid|g" "$FIGURE4/recipe/common/grub-header.cfg"
        for release in $(kernel_releases "$root"); do
            menu_entry "$release" "$uuid" "$root_device"
        done
        cat "$FIGURE4/recipe/common/grub-footer.cfg"
    } >"$root/boot/grub/grub.cfg"
    chmod 0444 "$root/boot/grub/grub.cfg"
}

install_grub_files() {
    local root=$1
    mkdir -p "$root/boot/grub/i386-pc"
    cp "$root"/usr/lib/grub/i386-pc/{*.mod,*.lst,boot.img} "$root/boot/grub/i386-pc/"
    chroot "$root" grub-mkimage -O i386-pc -p '(hd0,msdos1)/boot/grub' \
        -o /boot/grub/i386-pc/core.img biosdisk part_msdos ext2
    chroot "$root" grub-editenv /boot/grub/grubenv create
}

write_fstab() {
    local root=$1 machine=$2 root_device=$3 extra=$FIGURE4/recipe/$2/fstab
    {
        echo '# <file system> <mount point> <type> <options> <dump> <pass>'
        echo "$root_device / ext4 errors=remount-ro 0 1"
        [[ ! -f $extra ]] || cat "$extra"
    } >"$root/etc/fstab"
}

# boot.img keeps clear of the partition table; core.img lies in the gap after it, as grub-install does.
embed_grub() {
    local disk=$1 root=$2
    dd if="$root/boot/grub/i386-pc/boot.img" of="$disk" bs=440 count=1 conv=notrunc status=none
    dd if="$root/boot/grub/i386-pc/core.img" of="$disk" bs=$SECTOR seek=1 conv=notrunc status=none
}

make_filesystem() {
    local disk=$1 root=$2 uuid=$3 mib=$4
    # The newest e2fsprogs turn on features that these releases' GRUB cannot read.
    mke2fs -q -t ext4 -O '^metadata_csum_seed,^orphan_file' -U "$uuid" -d "$root" \
        -E "offset=$((FIRST_SECTOR * SECTOR)),root_owner=0:0,lazy_itable_init=0" "$disk" "$((mib - 1))M"
}

make_disk() {
    local machine=$1 root=$2 disk=$3 uuid mib root_device
    uuid=$(cat /proc/sys/kernel/random/uuid)
    mib=$(machine_disk_mib "$machine")
    root_device=$(root_argument "$machine" "$uuid")
    write_fstab "$root" "$machine" "$root_device"
    install_grub_files "$root"
    write_grub_cfg "$root" "$uuid" "$root_device"
    truncate --size="${mib}M" "$disk"
    make_filesystem "$disk" "$root" "$uuid" "$mib"
    printf 'label: dos\nstart=%s, type=83, bootable\n' "$FIRST_SECTOR" |
        sfdisk --quiet --no-reread --no-tell-kernel --wipe never --wipe-partitions never "$disk"
    embed_grub "$disk" "$root"
}
