//! A directory that looks like the root filesystem of a small Debian machine.

use std::io::Write;
use std::path::Path;

use lifeboat_drivers::guest::root::Root;
use lifeboat_drivers::initrd::cpio::Writer;
use lifeboat_drivers::initrd::lz4_legacy;

/// The kernel's release.
pub const VERSION: &str = "6.1.0-1-amd64";

/// The modules of a kernel with their dependencies, as depmod writes them.
const DEP: &str = "\
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio_pci.ko.xz: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/net/virtio_net.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/ata/ahci.ko:
kernel/drivers/net/e1000e.ko.xz: kernel/drivers/ptp/ptp.ko
kernel/drivers/ptp/ptp.ko:
";

fn initramfs(generator: &str) -> Vec<u8> {
    let mut writer = Writer::new();
    for directory in [
        "usr",
        "usr/lib",
        "usr/lib/modules",
        "conf",
        "scripts",
        "etc",
    ] {
        writer.directory(directory);
    }
    writer.link("lib", "usr/lib");
    let modules = format!("usr/lib/modules/{VERSION}");
    writer.directory(&modules);
    writer.file(
        &format!("{modules}/kernel/drivers/ata/ahci.ko"),
        0o644,
        b"ahci",
    );
    writer.file(
        &format!("{modules}/modules.dep"),
        0o644,
        b"kernel/drivers/ata/ahci.ko:\n",
    );
    match generator {
        "initramfs-tools" => {
            writer.file("conf/initramfs.conf", 0o644, b"MODULES=list\n");
            writer.file("conf/modules", 0o644, b"ahci\n");
            writer.file("scripts/functions", 0o644, b"");
        }
        "dracut" => {
            writer.directory("usr/lib/dracut");
            writer.directory("etc/cmdline.d");
            writer.file("etc/cmdline.d/95root.conf", 0o644, b"root=/dev/sda1 ro\n");
        }
        _ => {}
    }
    writer.finish()
}

fn packed(compressor: &str, archive: &[u8]) -> Vec<u8> {
    match compressor {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            encoder.write_all(archive).unwrap();
            encoder.finish().unwrap()
        }
        "zstd" => zstd::encode_all(archive, 1).unwrap(),
        "lz4" => lz4_legacy::encode(archive),
        _ => archive.to_vec(),
    }
}

/// Fills the directory; its initramfs knows AHCI only.
pub fn fill(directory: &Path, generator: &str, compressor: &str) -> Root {
    let root = Root::open(directory).unwrap();
    root.make_parents("usr/lib/x").unwrap();
    for (path, target) in [
        ("lib", "usr/lib"),
        ("etc/os-release", "../usr/lib/os-release"),
    ] {
        root.symlink(target, path).unwrap();
    }
    let modules = format!("lib/modules/{VERSION}");
    for line in DEP.lines() {
        let path = line.split(':').next().unwrap();
        root.write(
            &format!("{modules}/{path}"),
            format!("module {path}").as_bytes(),
        )
        .unwrap();
    }
    let alias =
        "alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\nalias virtio:d00000002v* virtio_blk\n";
    let files: [(&str, &[u8]); 8] = [
        (&format!("{modules}/modules.dep"), DEP.as_bytes()),
        (&format!("{modules}/modules.alias"), alias.as_bytes()),
        (
            &format!("{modules}/modules.builtin"),
            b"kernel/drivers/scsi/sd_mod.ko\n",
        ),
        ("usr/lib/os-release", b"ID=debian\n"),
        ("etc/fstab", b"/dev/sda1 / ext4 defaults 0 1\n"),
        (
            "etc/network/interfaces",
            b"iface enp9s0 inet static\n address 10.77.0.5/24\n",
        ),
        (
            "boot/grub/grub.cfg",
            b"linux /boot/vmlinuz root=/dev/sda1 ro\n",
        ),
        ("boot/grub/device.map", b"(hd0) /dev/sda\n"),
    ];
    for (path, content) in files {
        root.write(path, content).unwrap();
    }
    root.write("usr/lib/systemd/system/open-vm-tools.service", b"[Unit]\n")
        .unwrap();
    root.write("etc/cloud/cloud.cfg", b"").unwrap();
    let image = packed(compressor, &initramfs(generator));
    root.write(&format!("boot/initrd.img-{VERSION}"), &image)
        .unwrap();
    root
}
