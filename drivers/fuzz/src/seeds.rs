//! Makes `corpus/` by code: small inputs that every target understands.

use std::io::Write;
use std::path::Path;

use lifeboat_drivers::initrd::cpio::Writer;
use lifeboat_drivers::initrd::kmod_index::IndexBuilder;
use lifeboat_drivers::initrd::lz4_legacy;

fn main() -> std::io::Result<()> {
    let archive = archive();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    gzip.write_all(&archive)?;
    let gzip = gzip.finish()?;
    let mut xz = xz2::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&archive)?;
    let xz = xz.finish()?;
    let zstd = zstd::encode_all(archive.as_slice(), 1)?;
    let lz4 = lz4_legacy::encode(&archive);
    for (number, bytes) in [&archive, &gzip, &xz, &zstd, &lz4].into_iter().enumerate() {
        put("initrd", number, bytes)?;
        put("packed", number, bytes)?;
    }
    put("cpio", 0, &archive)?;
    let mut index = IndexBuilder::new();
    index.insert("virtio", "kernel/virtio.ko:", 1);
    index.insert("virtio_ring", "kernel/virtio_ring.ko: kernel/virtio.ko", 2);
    put("kmod_index", 0, &index.build())?;
    for (number, bytes) in disks().iter().enumerate() {
        put("disk", number, bytes)?;
    }
    for (number, text) in TEXTS.iter().enumerate() {
        for target in ["texts", "network", "guest"] {
            put(target, number, text.as_bytes())?;
        }
    }
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in [
        ("machine/etc/hostname", "a"),
        ("report.json", "{}"),
        ("complete", ""),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content.as_bytes())?;
    }
    put("answer", 0, &tar.into_inner()?)
}

const TEXTS: [&str; 8] = [
    "/dev/sda1 / ext4 defaults 0 1\nLABEL=a /a xfs\n/dev/nvme0n1p2 none swap\n",
    "linux /vmlinuz root=/dev/sda1 resume=/dev/disk/by-id/x-part2 ro\ninitrd /initrd\n",
    "# GRUB Environment Block\nkernelopts=root=/dev/mapper/mpatha2 ro\n####",
    "auto eth0\niface eth0 inet static\n address 10.0.0.5\n netmask 255.255.255.0\n bond-slaves eth1\n",
    "[Match]\nName=eth0\nMACAddress=52:54:00:00:00:01\n[Network]\nAddress=10.0.0.5/24\nVLAN=v7\n",
    "network:\n  ethernets:\n    eth0: {addresses: [10.0.0.5/24], match: {macaddress: \"52:54:00:00:00:01\"}}\n  bonds:\n    bond0:\n      interfaces: [eth0]\n",
    "DEVICE=eth0\nHWADDR=52:54:00:00:00:01\nIPADDR=10.0.0.5\nPREFIX=24\nMASTER=bond0\n",
    "devices { global_filter = [ \"a|/dev/disk/by-id/.*|\", \"r|.*|\" ] }\nMODULES=(a b)\n",
];

fn archive() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.directory("usr");
    writer.link("lib", "usr/lib");
    writer.file("usr/lib/modules/6.1/modules.dep", 0o644, b"kernel/a.ko:\n");
    writer.file("conf/modules", 0o644, b"ahci\n");
    writer.finish()
}

fn disks() -> [Vec<u8>; 3] {
    let mut mbr = vec![0; 2048];
    mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
    mbr[450] = 0x83;
    let mut gpt = mbr.clone();
    gpt[512..520].copy_from_slice(b"EFI PART");
    gpt[584] = 2;
    gpt[592] = 4;
    gpt[596] = 128;
    gpt[1024] = 1;
    let mut ext4 = vec![0; 2048];
    ext4[1080..1082].copy_from_slice(&[0x53, 0xef]);
    [mbr, gpt, ext4]
}

fn put(target: &str, number: usize, bytes: &[u8]) -> std::io::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join(format!("seed{number}")), bytes)
}
