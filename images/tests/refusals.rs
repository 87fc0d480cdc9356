//! Images made here, each with one thing wrong, and the sentence that each one gets. Every case
//! begins with the same image in order, which is taken.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::path::{Path, PathBuf};
use std::process::Command;

use fixture::{assert_refused, look, patch, qemu_img, qemu_io, set_length};
use lifeboat_images::RefusalKind as Kind;
use lifeboat_images::{Container, PartitionTable, inspect};
use tempfile::TempDir;

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(fixture::scratch())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A qcow2 image of 64 MiB with some data, which is taken as it is.
    fn qcow2(&self, name: &str, options: &str) -> PathBuf {
        let path = self.path(name);
        qemu_img(&format!("create -q -f qcow2 {options} @ 64M"), &path);
        qemu_io("qcow2", &path, &["write -P 7 1M 3M", "write -P 9 40M 1M"]);
        look(&path).unwrap();
        path
    }

    fn other(&self, name: &str, format: &str, options: &str) -> PathBuf {
        let path = self.path(name);
        qemu_img(&format!("create -q -f {format} {options} @ 64M"), &path);
        qemu_io(format, &path, &["write -P 7 1M 3M", "write -P 9 40M 1M"]);
        look(&path).unwrap();
        path
    }
}

fn be64(path: &Path, offset: usize) -> u64 {
    let bytes = std::fs::read(path).unwrap();
    u64::from_be_bytes(bytes[offset..offset + 8].try_into().unwrap())
}

#[test]
fn what_is_no_image_file() {
    let bench = Bench::new();
    assert_refused(&bench.path("nothing.raw"), Kind::Missing, &["no such file"]);
    assert_refused(bench.0.path(), Kind::NotAFile, &["directory"]);
    assert_refused(Path::new("/dev/null"), Kind::NotAFile, &["neither a file"]);
    let empty = bench.path("empty.raw");
    std::fs::write(&empty, "").unwrap();
    assert_refused(&empty, Kind::Empty, &["empty"]);
    let below_file = empty.join("a.raw");
    assert_refused(&below_file, Kind::Missing, &["no such file"]);
}

#[test]
fn a_fifo_does_not_hang() {
    let bench = Bench::new();
    let fifo = bench.path("fifo.raw");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert_refused(&fifo, Kind::NotAFile, &["neither a file"]);
    let socket = bench.path("socket.raw");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert_refused(&socket, Kind::NotAFile, &["neither a file"]);
}

#[test]
fn a_file_that_may_not_be_read() {
    use std::os::unix::fs::PermissionsExt;
    if nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: root may read everything, so no file is unreadable");
        return;
    }
    let bench = Bench::new();
    let image = bench.path("a.raw");
    fixture::raw_disk(&image);
    std::fs::set_permissions(&image, std::fs::Permissions::from_mode(0o000)).unwrap();
    assert_refused(&image, Kind::NotReadable, &["may not read"]);
}

#[test]
fn references_to_other_files_in_qcow2() {
    let bench = Bench::new();
    let base = bench.qcow2("base.qcow2", "");
    let top = bench.path("top.qcow2");
    qemu_img(
        &format!("create -q -f qcow2 -F qcow2 -b {} @", base.display()),
        &top,
    );
    assert_refused(
        &top,
        Kind::BackingFile,
        &["base.qcow2", "name the whole chain"],
    );

    for (reference, protocol) in [
        (
            "json:{\"driver\":\"file\",\"filename\":\"/etc/shadow\"}",
            "json",
        ),
        ("nbd://127.0.0.1:10809/x", "nbd"),
        ("http://127.0.0.1/x", "http"),
        ("rbd:pool/image", "rbd"),
        ("file:/etc/shadow", "file"),
    ] {
        let bait = bench.path("bait.qcow2");
        let options = [
            "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", reference,
        ];
        let mut words = options.to_vec();
        words.extend([bait.to_str().unwrap(), "64M"]);
        fixture::run("qemu-img", &words);
        assert_refused(&bait, Kind::Protocol, &[&format!("protocol `{protocol}`")]);
    }
}

#[test]
fn an_external_data_file() {
    let bench = Bench::new();
    let data = bench.path("content.raw");
    let image = bench.path("a.qcow2");
    let options = format!("create -q -f qcow2 -o data_file={} @ 64M", data.display());
    qemu_img(&options, &image);
    assert_refused(&image, Kind::DataFile, &["data file"]);
    // The name alone is enough, without the feature bit.
    patch(&image, 72, &0_u64.to_be_bytes());
    assert_refused(&image, Kind::DataFile, &["content.raw"]);
}

#[test]
fn marks_in_the_header_of_qcow2() {
    let bench = Bench::new();
    let cases: [(u64, Kind, &str); 4] = [
        (1, Kind::Damaged, "dirty"),
        (1 << 1, Kind::Damaged, "corrupt"),
        (1 << 5, Kind::UnknownFeature, "bit 5"),
        (1 << 63, Kind::UnknownFeature, "bit 63"),
    ];
    for (bits, kind, words) in cases {
        let image = bench.qcow2("a.qcow2", "");
        patch(&image, 72, &bits.to_be_bytes());
        assert_refused(&image, kind, &[words]);
    }
    let image = bench.qcow2("a.qcow2", "");
    patch(&image, 4, &9_u32.to_be_bytes());
    assert_refused(&image, Kind::UnknownFeature, &["version 9"]);
    let image = bench.qcow2("a.qcow2", "");
    patch(&image, 32, &1_u32.to_be_bytes());
    assert_refused(&image, Kind::Encrypted, &["encrypted"]);
}

#[test]
fn a_luks_encrypted_qcow2() {
    let bench = Bench::new();
    let image = bench.path("a.qcow2");
    let secret = "secret,id=s,data=abc123";
    let options = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10";
    let path = image.to_str().unwrap();
    let words = [
        "create", "-q", "--object", secret, "-f", "qcow2", "-o", options, path, "8M",
    ];
    fixture::run("qemu-img", &words);
    assert_refused(&image, Kind::Encrypted, &["encrypted"]);
}

#[test]
fn absurd_sizes_in_qcow2() {
    let bench = Bench::new();
    let cases: [(u64, &[u8], Kind); 6] = [
        (24, &(65_u64 << 40).to_be_bytes(), Kind::AbsurdSize),
        (24, &u64::MAX.to_be_bytes(), Kind::AbsurdSize),
        (24, &0_u64.to_be_bytes(), Kind::AbsurdSize),
        (20, &31_u32.to_be_bytes(), Kind::AbsurdSize),
        (36, &u32::MAX.to_be_bytes(), Kind::AbsurdSize),
        (100, &(1_u32 << 30).to_be_bytes(), Kind::AbsurdSize),
    ];
    for (offset, bytes, kind) in cases {
        let image = bench.qcow2("a.qcow2", "");
        patch(&image, offset, bytes);
        assert_refused(&image, kind, &[]);
    }
}

#[test]
fn tables_that_lead_out_of_the_file_or_in_a_circle() {
    let bench = Bench::new();
    let image = bench.qcow2("a.qcow2", "");
    let l1 = be64(&image, 40);
    patch(&image, l1, &((1_u64 << 63) | (1 << 40)).to_be_bytes());
    assert_refused(&image, Kind::Truncated, &["L2 table"]);

    // 512 MiB a table: the second entry names the first's table.
    let image = bench.path("b.qcow2");
    qemu_img("create -q -f qcow2 @ 2G", &image);
    qemu_io("qcow2", &image, &["write 0 64k", "write 600M 64k"]);
    look(&image).unwrap();
    let l1 = be64(&image, 40);
    let first = be64(&image, l1 as usize);
    patch(&image, l1 + 8, &first.to_be_bytes());
    assert_refused(&image, Kind::Damaged, &["share an L2 table"]);
}

#[test]
fn cut_off_files() {
    let bench = Bench::new();
    let images = [
        bench.qcow2("a.qcow2", ""),
        bench.qcow2("extended.qcow2", "-o extended_l2=on"),
        bench.qcow2("old.qcow2", "-o compat=0.10"),
        bench.other("a.vmdk", "vmdk", ""),
        bench.other("a.vdi", "vdi", ""),
        bench.other("a.vhdx", "vhdx", ""),
    ];
    for image in images {
        let length = image.metadata().unwrap().len();
        set_length(&image, length / 2 / 512 * 512);
        assert_refused(&image, Kind::Truncated, &[]);
    }
    // Only its last block of data.
    let image = bench.other("b.vhdx", "vhdx", "");
    qemu_io("vhdx", &image, &["write -P 7 0 1M"]);
    look(&image).unwrap();
    let length = image.metadata().unwrap().len();
    set_length(&image, length - (1 << 20));
    assert_refused(&image, Kind::Truncated, &["shorter"]);
}

#[test]
fn a_cut_off_vhd() {
    let bench = Bench::new();
    // Without its footer a fixed VHD is a raw disk by another name.
    let fixed = bench.other("fixed.vhd", "vpc", "-o subformat=fixed");
    set_length(&fixed, 30 << 20);
    let words = ["promises vpc", "cut off", "copy the volume again"];
    assert_refused(&fixed, Kind::Mismatch, &words);
    let dynamic = bench.other("dynamic.vhd", "vpc", "");
    let length = dynamic.metadata().unwrap().len();
    set_length(&dynamic, length / 2);
    assert_refused(&dynamic, Kind::Truncated, &["block of data"]);
}

#[test]
fn a_cut_off_raw_disk() {
    let bench = Bench::new();
    let image = bench.path("a.raw");
    fixture::raw_disk(&image);
    let found = look(&image).unwrap();
    assert_eq!(
        (found.format, found.partition_table),
        (Container::Raw, PartitionTable::Mbr)
    );
    assert_eq!(
        found.partitions[0]
            .filesystem
            .as_ref()
            .unwrap()
            .label
            .as_deref(),
        Some("root")
    );
    assert_eq!(
        found.partitions[0].part_uuid.as_deref(),
        Some("1234abcd-01")
    );
    set_length(&image, 4 << 20);
    assert_refused(&image, Kind::Truncated, &["partition 2"]);
}

#[test]
fn the_features_of_qcow2_that_are_taken() {
    let bench = Bench::new();
    for (name, options, words) in [
        ("plain.qcow2", "", "version 3, zlib"),
        ("old.qcow2", "-o compat=0.10", "version 2, zlib"),
        ("zstd.qcow2", "-o compression_type=zstd", "zstd"),
        ("extended.qcow2", "-o extended_l2=on", "extended L2"),
        ("small.qcow2", "-o cluster_size=512", "version 3"),
        ("large.qcow2", "-o cluster_size=2M", "version 3"),
    ] {
        let image = bench.qcow2(name, options);
        let found = look(&image).unwrap();
        assert!(found.variant.unwrap().contains(words), "{name}");
        assert_eq!(found.virtual_size, 64 << 20);
        let only_empty = |risk: &String| risk.contains("nothing on it was recognised");
        assert!(found.risks.iter().all(only_empty), "{:?}", found.risks);
    }
    let image = bench.qcow2("snapshot.qcow2", "");
    qemu_img("snapshot -c before @", &image);
    let risks = look(&image).unwrap().risks;
    assert!(
        risks
            .iter()
            .any(|risk| risk.contains("1 internal snapshot")),
        "{risks:?}"
    );
}

/// Dirt as QEMU itself leaves it when it is killed.
#[test]
fn a_qcow2_that_was_in_use_when_it_was_copied() {
    let bench = Bench::new();
    let image = bench.path("a.qcow2");
    qemu_img("create -q -f qcow2 -o lazy_refcounts=on @ 64M", &image);
    let killed = Command::new("qemu-io")
        .args(["-f", "qcow2", "-c", "write 0 1M", "-c", "abort"])
        .arg(&image)
        .output()
        .unwrap();
    assert!(!killed.status.success());
    assert_refused(&image, Kind::Damaged, &["in use when it was copied"]);
    qemu_img("check -q -r all", &image);
    look(&image).unwrap();
}

#[test]
fn a_vhdx_that_needs_a_parent() {
    let bench = Bench::new();
    let image = bench.other("a.vhdx", "vhdx", "");
    let bytes = std::fs::read(&image).unwrap();
    // The item "file parameters" is followed by the size of the disk: block size, then flags.
    let block = (8_u32 << 20).to_le_bytes();
    let region = bytes[2 << 20..]
        .windows(4)
        .position(|window| window == block)
        .unwrap();
    patch(
        &image,
        (2 << 20) as u64 + region as u64 + 4,
        &2_u32.to_le_bytes(),
    );
    assert_refused(&image, Kind::BackingFile, &["parent"]);
}

/// A guest owns every byte of its device, so none of them may decide the format.
#[test]
fn a_block_device_is_raw_whatever_is_on_it() {
    let bench = Bench::new();
    let bait = bench.qcow2("bait.qcow2", "");
    let attached = Command::new("losetup")
        .args(["-f", "--show", "-r"])
        .arg(&bait)
        .output();
    let Some(attached) = attached.ok().filter(|output| output.status.success()) else {
        eprintln!("SKIPPED: no loop device can be set up here (needs root and losetup)");
        return;
    };
    let device = String::from_utf8_lossy(&attached.stdout).trim().to_owned();
    let found = look(Path::new(&device));
    fixture::run("losetup", &["-d", &device]);
    let found = found.unwrap();
    assert_eq!(found.format, Container::Raw);
    assert_eq!(
        found.virtual_size,
        bait.metadata().unwrap().len() / 512 * 512
    );
}

/// The same disk in every format must look the same.
#[test]
fn every_format_shows_the_same_disk() {
    let bench = Bench::new();
    let raw = bench.path("a.raw");
    fixture::raw_disk(&raw);
    let expected = look(&raw).unwrap();
    for (name, options) in [
        ("a.qcow2", "-O qcow2"),
        ("compressed.qcow2", "-O qcow2 -c"),
        ("zstd.qcow2", "-O qcow2 -c -o compression_type=zstd"),
        ("old.qcow2", "-O qcow2 -o compat=0.10"),
        ("a.vmdk", "-O vmdk"),
        ("stream.vmdk", "-O vmdk -o subformat=streamOptimized"),
        ("a.vdi", "-O vdi"),
        ("a.vhdx", "-O vhdx"),
        ("fixed.vhd", "-O vpc -o subformat=fixed,force_size=on"),
        ("dynamic.vhd", "-O vpc -o force_size=on"),
    ] {
        let path = bench.path(name);
        qemu_img(
            &format!("convert -f raw {options} {}", raw.display()),
            &path,
        );
        let found = look(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(found.partitions, expected.partitions, "{name}");
        assert_eq!(found.virtual_size, expected.virtual_size, "{name}");
        assert_eq!(found.firmware_hint, expected.firmware_hint, "{name}");
    }
}

#[test]
fn a_chain_that_the_operator_named() {
    let bench = Bench::new();
    let base = bench.path("base.raw");
    fixture::raw_disk(&base);
    let middle = bench.path("middle.qcow2");
    let top = bench.path("top.qcow2");
    qemu_img(
        &format!("create -q -f qcow2 -F raw -b {} @", base.display()),
        &middle,
    );
    qemu_img(
        &format!("create -q -f qcow2 -F qcow2 -b {} @", middle.display()),
        &top,
    );
    qemu_io("qcow2", &top, &["write -P 0 1M 4k"]);

    let confined = fixture::confined();
    let chain = [middle.clone(), base.clone()];
    let found = inspect(&confined, &top, &chain).unwrap();
    assert_eq!(found.backing.len(), 2);
    assert_eq!(found.partitions.len(), 2);
    assert_eq!(
        found.partitions[0].filesystem, None,
        "the top layer overwrote it"
    );
    let through_middle = inspect(&confined, &middle, std::slice::from_ref(&base)).unwrap();
    assert!(through_middle.partitions[0].filesystem.is_some());

    let refuse = |path: &Path, chain: &[PathBuf], words: &str| {
        let error = inspect(&confined, path, chain).unwrap_err();
        fixture::assert_refusal(&error, path, Kind::BackingFile, &[words]);
    };
    refuse(&top, &[], "middle.qcow2");
    refuse(&top, std::slice::from_ref(&middle), "base.raw");
    refuse(&top, std::slice::from_ref(&base), "middle.qcow2");
    refuse(&base, std::slice::from_ref(&middle), "");
    let twice = inspect(&confined, &top, &[middle.clone(), middle.clone()]).unwrap_err();
    fixture::assert_refusal(&twice, &middle, Kind::BackingFile, &["twice"]);
}
