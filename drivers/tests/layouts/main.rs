//! Layouts of distributions that are not booted here: each is found, injected,
//! verified, injected again to no effect and taken back, as files.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod guest;
mod hostile;
mod identities;
mod refusals;

use guest::{Guest, ROOT, SWAP, report};
use lifeboat_drivers::{Action, Generator};

const MACHINE: &str = "0123456789abcdef0123456789abcdef";

/// RHEL 9 and its like: entries of the boot loader specification, a rescue
/// image, packed modules, a list of LVM devices inside and outside the image.
#[test]
fn red_hat() {
    let version = "5.14.0-427.el9.x86_64";
    let entry = format!("boot/loader/entries/{MACHINE}-{version}.conf");
    let options = "options root=/dev/sda2 ro resume=/dev/sda3 rd.lvm.lv=rhel/home $tuned_params\n";
    let guest = Guest::new(&[
        (
            "etc/fstab",
            "/dev/sda2 / xfs defaults 0 0\n/dev/sda1 /boot ext4 defaults 0 0\n/dev/mapper/rhel-home /home xfs defaults 0 0\n/dev/sda3 none swap defaults 0 0\n",
        ),
        (
            &entry,
            &format!(
                "title RHEL\nlinux /vmlinuz-{version}\ninitrd /initramfs-{version}.img\n{options}"
            ),
        ),
        ("etc/kernel/cmdline", "root=/dev/sda2 ro\n"),
        (
            "etc/default/grub",
            "GRUB_CMDLINE_LINUX=\"resume=/dev/sda3 rd.lvm.lv=rhel/home\"\n",
        ),
        ("boot/grub2/device.map", "(hd0) /dev/sda\n"),
        (
            "etc/lvm/devices/system.devices",
            "IDTYPE=sys_wwid IDNAME=naa.5000 DEVNAME=/dev/sda4\n",
        ),
        (
            "etc/NetworkManager/system-connections/lan.nmconnection",
            "[connection]\nid=lan\ntype=ethernet\ninterface-name=ens192\n[ipv4]\naddress1=10.0.0.5/24,10.0.0.1\n",
        ),
        ("etc/dracut.conf.d/own.conf", "hostonly=yes\n"),
    ]);
    let block = format!(
        "{:#<1024}",
        "# GRUB Environment Block\nkernelopts=root=/dev/sda2 ro resume=/dev/sda3\n"
    );
    guest.write("boot/grub2/grubenv", block.as_bytes());
    guest.kernel(version, ".ko.xz");
    let inside = [
        ("etc/lvm/devices/system.devices", "IDNAME=naa.5000\n"),
        ("etc/cmdline.d/95root.conf", "root=/dev/sda2\n"),
    ];
    guest.initramfs(
        &format!("boot/initramfs-{version}.img"),
        "dracut",
        version,
        &inside,
    );
    guest.initramfs(
        &format!("boot/initramfs-0-rescue-{MACHINE}.img"),
        "dracut",
        version,
        &[],
    );
    guest.write(&format!("boot/initramfs-{version}kdump.img"), b"left alone");
    let before = guest.snapshot();

    let (plan, manifest, images) = guest.inject();
    assert_eq!(images.len(), 2, "the rescue image is treated, too");
    let own = &images
        .iter()
        .find(|image| image.report.initrd.contains(version))
        .unwrap()
        .contents;
    assert!(own.exists(&format!(
        "lib/modules/{version}/kernel/drivers/block/virtio_blk.ko.xz"
    )));
    assert_eq!(
        own.file("etc/cmdline.d/95root.conf").unwrap(),
        format!("root=UUID={ROOT}\n").as_bytes()
    );
    let local = String::from_utf8(own.file("etc/lvm/lvmlocal.conf").unwrap().to_vec()).unwrap();
    assert!(local.contains("use_devicesfile = 0"), "{local}");
    assert!(own.exists("etc/systemd/network/10-keep-ens192.link"));
    let text = |path: &str| guest.root.text(path);
    assert!(text(&entry).contains(&format!(
        "options root=UUID={ROOT} ro resume=UUID={SWAP} rd.lvm.lv=rhel/home $tuned_params\n"
    )));
    let block = text("boot/grub2/grubenv");
    assert!(
        block.len() == 1024
            && block.contains(&format!(
                "kernelopts=root=UUID={ROOT} ro resume=UUID={SWAP}\n"
            ))
    );
    assert_eq!(text("etc/kernel/cmdline"), format!("root=UUID={ROOT} ro\n"));
    let fstab = text("etc/fstab");
    assert!(
        fstab.contains("/dev/mapper/rhel-home /home"),
        "names of volumes stay: {fstab}"
    );
    assert!(!fstab.contains("/dev/sda"), "{fstab}");
    assert!(!guest.root.exists("etc/lvm/devices/system.devices"));
    assert!(!guest.root.exists("boot/grub2/device.map"));
    assert!(text("etc/dracut.conf.d/90-lifeboat.conf").contains("virtio_blk"));
    assert_eq!(plan.warnings, Vec::<String>::new());
    let moved = manifest
        .changes
        .iter()
        .find(|change| change.action == Action::Moved)
        .unwrap();
    assert_eq!(moved.path, "etc/lvm/devices/system.devices");
    guest.take_back(&manifest, &before);
}

/// systemd-boot with images below the machine's id on the EFI partition.
#[test]
fn entries_on_the_efi_partition() {
    let version = "6.9.7-200.fc40.x86_64";
    let guest = Guest::new(&[
        ("etc/fstab", "/dev/nvme0n1p2 / xfs defaults 0 0\n"),
        (
            &format!("boot/efi/loader/entries/{MACHINE}-{version}.conf"),
            "options root=/dev/nvme0n1p2 rw\n",
        ),
        ("boot/efi/loader/entries.srel", "type1\n"),
        (
            "etc/systemd/network/20-lan.network",
            "[Match]\nName=enp3s0\n[Network]\nAddress=10.0.0.5/24\n",
        ),
    ]);
    guest.kernel(version, ".ko.zst");
    let image = format!("boot/efi/{MACHINE}/{version}/initrd");
    guest.initramfs(&image, "dracut", version, &[]);
    let before = guest.snapshot();
    let (_, manifest, images) = guest.inject();
    assert_eq!(images[0].report.initrd, image);
    let entry = guest
        .root
        .text(&format!("boot/efi/loader/entries/{MACHINE}-{version}.conf"));
    assert_eq!(entry, format!("options root=UUID={ROOT} rw\n"));
    guest.take_back(&manifest, &before);
}

/// SUSE: `initrd-K`, GRUB Legacy with names by id, its own network files.
#[test]
fn suse() {
    let version = "6.4.0-150600.21-default";
    let disk = "/dev/disk/by-id/scsi-36000c29-part";
    let guest = Guest::new(&[
        (
            "etc/fstab",
            &format!("{disk}2 / xfs defaults 1 1\n{disk}3 swap swap defaults 0 0\n"),
        ),
        (
            "boot/grub/menu.lst",
            &format!(
                "kernel (hd0,1)/boot/vmlinuz root={disk}2 resume={disk}3 splash\n initrd (hd0,1)/boot/initrd\n"
            ),
        ),
        (
            "etc/sysconfig/bootloader",
            &format!("DEFAULT_APPEND=\"resume={disk}3\"\n"),
        ),
        (
            "etc/sysconfig/kernel",
            "INITRD_MODULES=\"ata_piix mptspi\"\nX=\"y\"\n",
        ),
        ("etc/sysconfig/network/ifcfg-eth0", "BOOTPROTO='dhcp'\n"),
        (
            "var/lib/wicked/lease-eth0-dhcp-ipv4.xml",
            "<lease><address>10.0.0.5</address></lease>",
        ),
    ]);
    guest.kernel(version, ".ko.zst");
    guest.initramfs(&format!("boot/initrd-{version}"), "dracut", version, &[]);
    guest
        .root
        .symlink(&format!("initrd-{version}"), "boot/initrd")
        .unwrap();
    let before = guest.snapshot();
    let (_, manifest, images) = guest.inject();
    assert_eq!(images.len(), 1, "the link is the same image");
    assert_eq!(
        guest.root.text("boot/grub/menu.lst"),
        format!(
            "kernel (hd0,1)/boot/vmlinuz root=UUID={ROOT} resume=UUID={SWAP} splash\n initrd (hd0,1)/boot/initrd\n"
        )
    );
    assert!(
        guest
            .root
            .text("etc/fstab")
            .starts_with(&format!("UUID={ROOT} / xfs"))
    );
    assert_eq!(
        guest.root.text("etc/sysconfig/kernel"),
        "INITRD_MODULES=\"ata_piix mptspi virtio_pci virtio_blk virtio_net\"\nX=\"y\"\n"
    );
    assert!(
        images[0]
            .contents
            .exists("etc/systemd/network/10-keep-eth0.link")
    );
    guest.take_back(&manifest, &before);
}

/// SLES 11: images of mkinitrd, a udev that writes rules for each new card.
#[test]
fn suse_with_mkinitrd() {
    let version = "3.0.101-63-default";
    let guest = Guest::new(&[
        ("etc/fstab", "/dev/sda2 / xfs defaults 1 1\n"),
        ("etc/sysconfig/network/ifcfg-eth0", "IPADDR='10.0.0.5/24'\n"),
        ("lib/udev/rules.d/75-persistent-net-generator.rules", ""),
        (
            "etc/udev/rules.d/70-persistent-net.rules",
            "SUBSYSTEM==\"net\", ATTR{address}==\"00:50:56:00:00:01\", NAME=\"eth0\"\n",
        ),
    ]);
    guest.kernel(version, ".ko");
    guest.initramfs(&format!("boot/initrd-{version}"), "mkinitrd", version, &[]);
    let (_, _, images) = guest.inject();
    assert_eq!(images[0].report.generator, Generator::Mkinitrd);
    let rules = guest.root.text("etc/udev/rules.d/70-persistent-net.rules");
    assert_eq!(rules.lines().count(), 1, "{rules}");
    assert!(
        rules.contains("52:54:00:00:00:05") && rules.contains("NAME=\"eth0\""),
        "{rules}"
    );
}

/// Arch: images named for the package, a fallback image, mkinitcpio.conf.
#[test]
fn arch() {
    let version = "6.10.1-arch1-1";
    let guest = Guest::new(&[
        ("etc/fstab", "LABEL=arch / xfs rw 0 1\n"),
        (
            "boot/loader/entries/arch.conf",
            "linux /vmlinuz-linux\ninitrd /amd-ucode.img\ninitrd /initramfs-linux.img\noptions root=/dev/sda2 rw\n",
        ),
        (
            "etc/mkinitcpio.conf",
            "# MODULES=(x)\nMODULES=(btrfs)\nHOOKS=(base udev autodetect)\n",
        ),
        (&format!("usr/lib/modules/{version}/pkgbase"), "linux\n"),
        (
            "etc/systemd/network/lan.network",
            "[Match]\nName=ens3\n[Network]\nAddress=10.0.0.5/24\n",
        ),
        ("boot/amd-ucode.img", "microcode"),
    ]);
    guest.kernel(version, ".ko.zst");
    let config = [("config", "MODULES=\"btrfs\"\nHOOKS=\"base udev\"\n")];
    for name in ["linux", "linux-fallback"] {
        guest.initramfs(
            &format!("boot/initramfs-{name}.img"),
            "mkinitcpio",
            version,
            &config,
        );
    }
    let before = guest.snapshot();
    let mut report = report();
    report.partitions[1].label = Some("arch".to_owned());
    let (_, manifest, images) = guest.inject_into(&report);
    assert_eq!(images.len(), 2);
    for image in &images {
        assert_eq!(image.report.generator, Generator::Mkinitcpio);
        assert_eq!(image.report.version, version);
        let config = String::from_utf8(image.contents.file("config").unwrap().to_vec()).unwrap();
        assert!(
            config.starts_with("MODULES=\"btrfs virtio virtio_ring virtio_pci virtio_blk"),
            "{config}"
        );
        assert!(config.ends_with("HOOKS=\"base udev\"\n"), "{config}");
    }
    assert_eq!(
        guest.root.text("etc/mkinitcpio.conf"),
        "# MODULES=(x)\nMODULES=(btrfs virtio_pci virtio_blk virtio_net)\nHOOKS=(base udev autodetect)\n"
    );
    assert!(
        guest.root.text("etc/fstab").starts_with("LABEL=arch /"),
        "a label of one partition stays"
    );
    guest.take_back(&manifest, &before);
}

/// Several kernels with modules of every packing, extlinux, a list of modules.
#[test]
fn every_kernel_is_treated() {
    let guest = Guest::new(&[
        ("etc/fstab", "/dev/hda2 / xfs defaults 0 1\n"),
        (
            "boot/extlinux/extlinux.conf",
            "LABEL a\n LINUX ../vmlinuz\n INITRD ../odd.gz\n APPEND root=/dev/hda2 ro\n",
        ),
        (
            "etc/systemd/system/data.mount",
            "[Mount]\nWhat=/dev/hda1\nWhere=/data\n",
        ),
        (
            "etc/network/interfaces",
            "allow-hotplug eth0\niface eth0 inet static\n address 10.0.0.5/24\n",
        ),
    ]);
    let kernels = [
        ("4.19.0-1-amd64", ".ko"),
        ("5.10.0-1-amd64", ".ko.xz"),
        ("6.1.0-1-amd64", ".ko.gz"),
        ("6.12.0-1-amd64", ".ko.zst"),
    ];
    for (version, ending) in kernels {
        guest.kernel(version, ending);
        guest.initramfs(
            &format!("boot/initrd.img-{version}"),
            "initramfs-tools",
            version,
            &[],
        );
    }
    guest.initramfs("boot/odd.gz", "initramfs-tools", "6.1.0-1-amd64", &[]);
    let before = guest.snapshot();
    let (_, manifest, images) = guest.inject();
    assert_eq!(images.len(), 5);
    assert!(images.iter().all(|image| image.report.virtio_present));
    let unit = guest.root.text("etc/systemd/system/data.mount");
    assert_eq!(unit, "[Mount]\nWhat=UUID=b007-b007\nWhere=/data\n");
    assert!(
        guest
            .root
            .text("boot/extlinux/extlinux.conf")
            .contains(&format!("APPEND root=UUID={ROOT} ro\n"))
    );
    guest.take_back(&manifest, &before);
}

/// What multipath, LVM's filters and blkid remember of the old storage.
#[test]
fn storage_that_remembers_the_old_disks() {
    let version = "4.18.0-553.el8.x86_64";
    let filter = "devices {\n\tglobal_filter = [ \"a|/dev/mapper/mpath.*|\", \"r|.*|\" ]\n}\n";
    let guest = Guest::new(&[
        ("etc/fstab", "/dev/mapper/mpatha2 / xfs defaults 0 0\n"),
        (
            "boot/grub2/grub.cfg",
            "linux /vmlinuz root=/dev/mapper/mpatha2 ro\n",
        ),
        ("etc/multipath.conf", "defaults {\n}\n"),
        ("etc/lvm/lvm.conf", filter),
        ("etc/lvm/cache/.cache", "x"),
        ("etc/blkid/blkid.tab", "x"),
        (
            "etc/sysconfig/network-scripts/ifcfg-ens192",
            "IPADDR=10.0.0.5\nPREFIX=24\n",
        ),
    ]);
    guest.kernel(version, ".ko.xz");
    let inside = [("etc/lvm/lvm.conf", filter), ("usr/sbin/multipathd", "")];
    guest.initramfs(
        &format!("boot/initramfs-{version}.img"),
        "dracut",
        version,
        &inside,
    );
    let before = guest.snapshot();
    let (plan, manifest, images) = guest.inject();
    assert!(
        plan.warnings
            .iter()
            .any(|warning| warning.contains("multipath"))
    );
    let accepted = "[ \"a|^/dev/vd.*|\", \"a|/dev/mapper/mpath.*|\"";
    assert!(guest.root.text("etc/lvm/lvm.conf").contains(accepted));
    let inside = images[0].contents.file("etc/lvm/lvm.conf").unwrap();
    assert!(String::from_utf8_lossy(inside).contains(accepted));
    let blacklist = "etc/multipath/conf.d/lifeboat.conf";
    assert!(guest.root.text(blacklist).contains("devnode \"^vd\""));
    assert!(images[0].contents.exists(blacklist));
    assert!(
        !guest.root.exists("etc/lvm/cache/.cache") && !guest.root.exists("etc/blkid/blkid.tab")
    );
    assert!(
        guest
            .root
            .text("boot/grub2/grub.cfg")
            .contains(&format!("root=UUID={ROOT}"))
    );
    guest.take_back(&manifest, &before);
}

/// cloud-init and the agents of other hypervisors are kept from acting.
#[test]
fn foreign_tools_and_cloud_init() {
    let version = "6.8.0-31-generic";
    let guest = Guest::new(&[
        ("etc/fstab", "LABEL=x / ext4 defaults 0 1\n"),
        ("etc/cloud/cloud.cfg", ""),
        (
            "etc/netplan/50-cloud-init.yaml",
            "network:\n  ethernets:\n    ens160:\n      addresses: [10.0.0.5/24]\n      match: {macaddress: \"52:54:00:00:00:05\"}\n      set-name: ens160\n",
        ),
        ("usr/lib/systemd/system/open-vm-tools.service", ""),
        ("usr/lib/systemd/system/hv-kvp-daemon.service", ""),
        ("usr/lib/systemd/system/hypervvssd.service", ""),
    ]);
    guest
        .root
        .symlink(
            "/lib/systemd/system/x",
            "etc/systemd/system/hv-kvp-daemon.service",
        )
        .unwrap();
    guest.kernel(version, ".ko.zst");
    guest.initramfs(
        &format!("boot/initrd.img-{version}"),
        "initramfs-tools",
        version,
        &[],
    );
    let before = guest.snapshot();
    let mut report = report();
    report.partitions[1].label = Some("x".to_owned());
    let (_, manifest, images) = guest.inject_into(&report);
    let masked = |unit: &str| {
        guest
            .root
            .link_target(&format!("etc/systemd/system/{unit}"))
    };
    assert_eq!(
        masked("open-vm-tools.service").as_deref(),
        Some("/dev/null")
    );
    assert_eq!(masked("hypervvssd.service").as_deref(), Some("/dev/null"));
    assert_eq!(
        masked("hv-kvp-daemon.service").as_deref(),
        Some("/lib/systemd/system/x"),
        "the guest's own word stays"
    );
    assert!(
        manifest
            .changes
            .iter()
            .any(|change| change.action == Action::Linked
                && change.path.ends_with("open-vm-tools.service"))
    );
    assert_eq!(
        guest.root.text("etc/cloud/cloud.cfg.d/99-keep-network.cfg"),
        "# added by Lifeboat\nnetwork: {config: disabled}\n"
    );
    assert!(
        images[0]
            .contents
            .exists("etc/systemd/network/10-keep-ens160.link")
    );
    guest.take_back(&manifest, &before);
}
