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
    for (number, (kind, text)) in MEMORIES.iter().enumerate() {
        put("memories", number, &[&[*kind], text.as_bytes()].concat())?;
    }
    for (number, bytes) in catalogues()?.iter().enumerate() {
        put("catalogue", number, bytes)?;
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

/// What the target takes for its kind, and a text.
const MEMORIES: [(u8, &str); 11] = [
    (
        0,
        "[Match]\nMACAddress=52:54:00:00:00:01\n[Link]\nName=lan0\n",
    ),
    (
        5,
        "SUBSYSTEM==\"net\", ATTR{address}==\"52:54:00:00:00:01\", NAME=\"eth7\"\n",
    ),
    (
        10,
        "lease {\n  interface \"eth0\";\n  fixed-address 10.0.0.5;\n  option dhcp-client-identifier 1:52:54:0:0:0:1;\n}\n",
    ),
    (15, "ADDRESS=10.0.0.6\nNETMASK=255.255.255.0\n"),
    (
        20,
        "<lease><client-id>01:52:54:00:00:00:01</client-id><address>10.0.0.5</address></lease>",
    ),
    (
        1,
        "ARRAY /dev/md0 metadata=1.2 UUID=1:2:3:1 name=host:1\n/dev/md0 / ext4\n/dev/md127 /srv xfs\n",
    ),
    (2, "ID=debian\nID_LIKE=\"a b\"\nVERSION_ID='12'\n"),
    (
        22,
        "Package: a\nStatus: install ok installed\n\nPackage: b\nStatus: deinstall ok config-files\n",
    ),
    (3, "password=x\nbindpw y\n'psk' => 'z', url=a://b:c@d\n"),
    (8, "keys: {private: a=, shared: b}\n"),
    (
        4,
        "{\"report\": [{\"lv\": [{\"vg_name\":\"a\",\"vg_uuid\":\"b-c\",\"lv_name\":\"d\",\"lv_uuid\":\"e\",\"lv_dm_path\":\"/dev/mapper/a-d\",\"lv_attr\":\"-wi-----p-\",\"segtype\":\"linear\"}]}]}",
    ),
];

/// Files of a driver, a catalogue of none, a program with a version, an image.
fn catalogues() -> std::io::Result<[Vec<u8>; 4]> {
    let inf = "[Version]\nSignature=\"$WINDOWS NT$\"\nClass=SCSIAdapter\nClassGuid={4D36E97B-E325-11CE-BFC1-08002BE10318}\nProvider=a\nDriverVer=01/02/2024,1.2.3.4\nCatalogFile=viostor.cat\n[Manufacturer]\na=b,NTamd64\n[b.NTamd64]\n\"d\"=i,PCI\\VEN_1AF4&DEV_1001\n[i]\nCopyFiles=@viostor.sys\n[i.Services]\nAddService=viostor,2,s\n[s]\nServiceType=1\nStartType=0\nErrorControl=1\nServiceBinary=%12%\\viostor.sys\n";
    let mut files = vec![0];
    files.extend(inf.as_bytes());
    files.extend(b"\0\x01program\0\x02catalogue");
    let index = b"{\"packages\":[]}";
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(index.len() as u64);
    tar.append_data(&mut header, "catalogue.json", &index[..])?;
    let mut program = vec![0; 64];
    program[32..36].copy_from_slice(&0xfeef_04bd_u32.to_le_bytes());
    program[40..44].copy_from_slice(&0x0006_0001_u32.to_le_bytes());
    Ok([files, tar.into_inner()?, program, image()])
}

/// An ISO 9660 of two directories, one in the other, without a file.
fn image() -> Vec<u8> {
    const BLOCK: usize = 2048;
    let mut image = vec![0; 21 * BLOCK];
    let record = |place: u32, name: &[u8]| {
        let mut record = vec![0; (33 + name.len()).next_multiple_of(2)];
        record[0] = record.len() as u8;
        record[2..6].copy_from_slice(&place.to_le_bytes());
        record[6..10].copy_from_slice(&place.to_be_bytes());
        record[10..14].copy_from_slice(&(BLOCK as u32).to_le_bytes());
        record[14..18].copy_from_slice(&(BLOCK as u32).to_be_bytes());
        record[25] = 2;
        record[28] = 1;
        record[32] = name.len() as u8;
        record[33..33 + name.len()].copy_from_slice(name);
        record
    };
    let volume = &mut image[16 * BLOCK..18 * BLOCK];
    volume[..7].copy_from_slice(b"\x01CD001\x01");
    volume[80..84].copy_from_slice(&21_u32.to_le_bytes());
    volume[128..130].copy_from_slice(&(BLOCK as u16).to_le_bytes());
    volume[156..190].copy_from_slice(&record(19, &[0]));
    volume[BLOCK..BLOCK + 7].copy_from_slice(b"\xffCD001\x01");
    for (block, above) in [(19, 19), (20, 19)] {
        let mut all = [record(block, &[0]), record(above, &[1])].concat();
        if block == 19 {
            all.extend(record(20, b"VIOSTOR"));
        }
        let start = block as usize * BLOCK;
        image[start..start + all.len()].copy_from_slice(&all);
    }
    image
}

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
