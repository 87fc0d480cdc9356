//! Every form in which a disk is taken: the guest sees the same bytes, and what is incomplete or
//! leads elsewhere is refused.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod evidence;
#[path = "../fixture/mod.rs"]
mod fixture;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use fixture::writers::{self, disk};
use fixture::{assert_refused, look, qemu_img, run, take_in, take_in_chain};
use lifeboat_images::{CapturedVolume, Container, ImageError, RefusalKind as Kind};
use tempfile::TempDir;

/// What a guest sees, read by QEMU from what is served and nothing else.
#[track_caller]
fn guest_bytes(volume: &CapturedVolume) -> Vec<u8> {
    let mut options = Vec::new();
    for (depth, layer) in volume.served.iter().enumerate() {
        let at = "backing.".repeat(depth);
        options.push(format!(
            "{at}driver={},{at}file.driver=file,{at}file.filename={}",
            layer.format,
            layer.file.path.display()
        ));
    }
    let place = fixture::scratch();
    let raw = place.path().join("disk.raw");
    let options = options.join(",");
    let target = raw.to_str().unwrap();
    run(
        "qemu-img",
        &["convert", "--image-opts", &options, "-O", "raw", target],
    );
    std::fs::read(raw).unwrap()
}

#[track_caller]
fn same(volume: &CapturedVolume, expected: &[u8]) {
    assert_eq!(volume.virtual_size, expected.len() as u64, "{volume:?}");
    let found = guest_bytes(volume);
    let differs = found
        .iter()
        .zip(expected)
        .position(|(found, expected)| found != expected);
    assert_eq!(
        (found.len(), differs),
        (expected.len(), None),
        "{:?}",
        volume.path
    );
}

struct Made {
    folder: TempDir,
    bytes: Vec<u8>,
    raw: PathBuf,
}

impl Made {
    fn new() -> Self {
        let folder = fixture::scratch();
        let bytes = disk(5);
        let raw = folder.path().join("disk.raw");
        std::fs::write(&raw, &bytes).unwrap();
        Self { folder, bytes, raw }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn converted(&self, name: &str, format: &str, options: &str) -> PathBuf {
        let path = self.path(name);
        let arguments = format!(
            "convert -f raw -O {format} {options} {} @",
            self.raw.display()
        );
        qemu_img(&arguments, &path);
        path
    }
}

#[test]
fn what_qemu_writes_is_served_or_converted() {
    let made = Made::new();
    let forms: &[(&str, &str, &str, usize)] = &[
        ("2.qcow2", "qcow2", "-o compat=0.10", 0),
        ("3.qcow2", "qcow2", "", 0),
        ("zlib.qcow2", "qcow2", "-c", 0),
        ("zstd.qcow2", "qcow2", "-c -o compression_type=zstd", 0),
        (
            "l2.qcow2",
            "qcow2",
            "-o extended_l2=on,cluster_size=128k",
            0,
        ),
        ("s.vmdk", "vmdk", "-o subformat=monolithicSparse", 0),
        ("o.vmdk", "vmdk", "-o subformat=streamOptimized", 0),
        ("f.vmdk", "vmdk", "-o subformat=monolithicFlat", 0),
        ("ts.vmdk", "vmdk", "-o subformat=twoGbMaxExtentSparse", 1),
        ("tf.vmdk", "vmdk", "-o subformat=twoGbMaxExtentFlat", 0),
        ("f.vhd", "vpc", "-o subformat=fixed,force_size=on", 0),
        ("d.vhd", "vpc", "-o subformat=dynamic,force_size=on", 0),
        ("d.vhdx", "vhdx", "", 0),
        ("d.vdi", "vdi", "", 0),
    ];
    for (name, format, options, converted) in forms {
        let path = made.converted(name, format, options);
        let volume = take_in(&path);
        same(&volume, &made.bytes);
        assert_eq!(volume.converted().count(), *converted, "{name}");
        assert_eq!(
            look(&path).unwrap().virtual_size,
            volume.virtual_size,
            "{name}"
        );
    }
}

#[test]
fn a_vhd_of_virtual_pc_keeps_its_end() {
    let made = Made::new();
    // Virtual PC's own, and Azure's, whom not every QEMU knows.
    for (subformat, creator) in [
        ("fixed", b"vpc "),
        ("dynamic", b"vpc "),
        ("fixed", b"wa\0\0"),
    ] {
        let options = format!("-o subformat={subformat},force_size=on");
        let path = made.converted(&format!("{subformat}.vhd"), "vpc", &options);
        assert_eq!(take_in(&path).converted().count(), 0);
        let length = path.metadata().unwrap().len();
        let mut footer = std::fs::read(&path)
            .unwrap()
            .split_off(length as usize - 512);
        footer[28..32].copy_from_slice(creator);
        // Ten cylinders, four heads, 17 sectors: less than the disk.
        footer[56..60].copy_from_slice(&[0, 10, 4, 17]);
        footer[64..68].fill(0);
        let sum = footer.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
        fixture::patch(&path, length - 512, &footer);
        if subformat == "dynamic" {
            fixture::patch(&path, 0, &footer);
        }
        let found = look(&path).unwrap();
        assert!(!found.risks.iter().any(|risk| risk.contains("QEMU serves")));
        let volume = take_in(&path);
        same(&volume, &made.bytes);
        assert_eq!(volume.converted().count(), 1);
    }
}

#[test]
fn a_vmdk_that_was_in_use_is_a_risk() {
    let made = Made::new();
    for (subformat, file) in [
        ("monolithicSparse", "u.vmdk"),
        ("twoGbMaxExtentSparse", "u-s001.vmdk"),
    ] {
        let path = made.converted("u.vmdk", "vmdk", &format!("-o subformat={subformat}"));
        let risks = || {
            let risks = look(&path).unwrap().risks.into_iter();
            risks
                .filter(|risk| risk.contains("uncleanShutdown"))
                .count()
        };
        assert_eq!(risks(), 0);
        fixture::patch(&made.path(file), 72, &[1]);
        assert_eq!(risks(), 1);
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn parts_and_packed_disks() {
    let made = Made::new();
    let split = |name: &str, first| writers::split(&made.path(name), &made.bytes, first, 1_000_448);
    let mut images = vec![split("a.x", 0), split("b.x", 1)];
    for ending in ["gz", "xz", "zst", "bz2"] {
        let path = made.path(&format!("disk.raw.{ending}"));
        // Several members, and padding behind them.
        let (head, tail) = made.bytes.split_at(2_000_000);
        let mut packed = writers::pack(ending, head);
        packed.extend(writers::pack(ending, tail));
        std::fs::write(&path, packed).unwrap();
        images.push(path);
    }
    images.push(writers::ewf(&made.path("one.x"), &made.bytes, 1));
    images.push(writers::ewf(&made.path("three.x"), &made.bytes, 3));
    for image in images {
        let found = look(&image).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(found.virtual_size, made.bytes.len() as u64, "{found:?}");
        let volume = take_in(&image);
        same(&volume, &made.bytes);
        assert_eq!(volume.converted().count(), 1);
        assert_eq!(volume.format, found.format);
    }
}

#[test]
fn the_real_images_of_one_disk_are_one_disk() {
    let Some(root) = fixture::real_images() else {
        return;
    };
    let of = |name: &str| guest_bytes(&take_in(&root.join(name)));
    let expected = of("dfvfs/ext2.qcow2");
    assert_eq!(expected.len(), 4 << 20);
    for name in [
        "dfvfs/ext2.E01",
        "dfvfs/ext2.splitraw.000",
        "dfvfs/ext2.vmdk",
    ] {
        assert!(of(name) == expected, "{name}");
    }
    // Its geometry makes it larger; the filesystem is the same.
    assert!(of("dfvfs/ext2.vhd")[..4 << 20] == expected);
    let sparse = of("vmdk-rs/monolithicSparse.vmdk");
    assert!(of("vmdk-rs/twoGbMaxExtentSparse.vmdk") == sparse);
    let flat = std::fs::read(root.join("vmdk-rs/vmfs_thick-flat.vmdk")).unwrap();
    assert!(of("vmdk-rs/vmfs_thick.vmdk") == flat);
}

/// A qcow2 over `base`, whose first bytes and some in the middle differ.
fn over(base: &Path, format: &str, top: &Path, options: &str) {
    let arguments = format!(
        "create -q -f qcow2 {options} -F {format} -b {}",
        base.file_name().unwrap().to_str().unwrap()
    );
    let mut words: Vec<&str> = arguments.split_whitespace().collect();
    let name = top.file_name().unwrap().to_str().unwrap();
    words.extend(["-u", name, "5244416"]);
    let done = std::process::Command::new("qemu-img")
        .args(&words)
        .current_dir(top.parent().unwrap())
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn chains_of_every_kind() {
    let made = Made::new();
    let mut expected = made.bytes.clone();
    expected[70_000..74_096].fill(0x11);
    let write = |top: &Path| {
        let image = top.to_str().unwrap();
        // Without its backing file: the other bytes of the cluster are written as well.
        let cluster = &made.bytes[65_536..131_072];
        let data = made.path("cluster");
        let mut bytes = cluster.to_vec();
        bytes[70_000 - 65_536..74_096 - 65_536].fill(0x11);
        std::fs::write(&data, bytes).unwrap();
        let command = format!("write -s {} 65536 65536", data.display());
        run(
            "qemu-io",
            &[
                "--image-opts",
                &format!("driver=qcow2,file.driver=file,file.filename={image},backing="),
                "-c",
                &command,
            ],
        );
    };
    let vmdk = made.converted("base.vmdk", "vmdk", "");
    let vhd = made.converted("base.vhd", "vpc", "-o force_size=on");
    let split = writers::split(&made.path("base.x"), &made.bytes, 0, 1_000_448);
    let gz = made.path("packed.raw.gz");
    std::fs::write(&gz, writers::pack("gz", &made.bytes)).unwrap();
    let cases = [
        (vmdk, "vmdk", "-o compat=0.10", 0),
        (made.raw.clone(), "raw", "-o compression_type=zstd", 0),
        (vhd, "vpc", "", 0),
        (split, "raw", "", 1),
    ];
    for (index, (base, format, options, converted)) in cases.into_iter().enumerate() {
        let middle = made.path(&format!("middle{index}.qcow2"));
        over(&base, format, &middle, options);
        write(&middle);
        let top = made.path(&format!("top{index}.qcow2"));
        over(&middle, "qcow2", &top, options);
        let volume = take_in_chain(&top, &[middle, base]).unwrap_or_else(|error| panic!("{error}"));
        same(&volume, &expected);
        assert_eq!(
            (volume.served.len(), volume.converted().count()),
            (3, converted)
        );
    }
    let top = made.path("over-packed.qcow2");
    over(&made.path("packed.raw"), "raw", &top, "");
    write(&top);
    same(&take_in_chain(&top, &[gz]).unwrap(), &expected);
}

#[test]
fn a_differencing_vhd_over_named_parents() {
    let made = Made::new();
    for (kind, subformat) in [("f", "fixed"), ("d", "dynamic")] {
        let options = format!("-o subformat={subformat},force_size=on");
        let parent = made.converted(&format!("{kind}-parent.vhd"), "vpc", &options);
        let child = made.path(&format!("{kind}-child.vhd"));
        let size = made.bytes.len() as u64;
        writers::differencing_vhd(
            &child,
            &parent,
            size,
            &[(0, 0x21), (5000, 0x22), (10_242, 0x23)],
        );
        let grandchild = made.path(&format!("{kind}-grandchild.vhd"));
        writers::differencing_vhd(&grandchild, &child, size, &[(5000, 0x31), (5001, 0)]);
        let mut expected = made.bytes.clone();
        for (sector, fill) in [(0, 0x21), (5000, 0x31), (5001, 0), (10_242, 0x23)] {
            expected[sector * 512..(sector + 1) * 512].fill(fill);
        }
        let chain = [child.clone(), parent.clone()];
        let volume = take_in_chain(&grandchild, &chain).unwrap();
        same(&volume, &expected);
        assert_eq!((volume.sources.len(), volume.served.len()), (3, 1));
        let refused = |path: &Path, chain: &[PathBuf], words: &[&str]| {
            let error = take_in_chain(path, chain).unwrap_err();
            fixture::assert_refusal(&error, path, Kind::BackingFile, words);
        };
        let name = format!("{kind}-parent.vhd");
        refused(&child, &[], &[&name, "name the parent"]);
        refused(
            &grandchild,
            std::slice::from_ref(&parent),
            &["another identity"],
        );
        refused(&grandchild, std::slice::from_ref(&child), &[&name]);
        refused(&child, &[parent.clone(), made.raw.clone()], &["disk.raw"]);
        let error = take_in_chain(&grandchild, &[child.clone(), grandchild.clone()]).unwrap_err();
        fixture::assert_refusal(&error, &grandchild, Kind::BackingFile, &["twice"]);
    }
}

#[test]
fn the_log_of_a_vhdx_is_replayed() {
    let made = Made::new();
    let clean = made.converted("clean.vhdx", "vhdx", "");
    let dirty = made.path("dirty.vhdx");
    std::fs::copy(&clean, &dirty).unwrap();
    // Where the first block of the disk lies: behind its table, at a whole MiB.
    let place = {
        let file = std::fs::read(&clean).unwrap();
        let found = file
            .windows(64)
            .step_by(1 << 20)
            .position(|window| window == &made.bytes[..64]);
        (found.unwrap() as u64) << 20
    };
    let unit: Vec<u8> = (0..4096_u32).map(|index| (index % 251) as u8).collect();
    let changes = [
        (place + 8192, unit.clone()),
        (place + 40_960, vec![7; 4096]),
    ];
    writers::dirty_vhdx(&dirty, &changes, Some((place + 65_536, 131_072)));
    let mut expected = made.bytes.clone();
    expected[8192..12_288].copy_from_slice(&unit);
    expected[40_960..45_056].fill(7);
    expected[65_536..196_608].fill(0);
    let volume = take_in(&dirty);
    same(&volume, &expected);
    assert_eq!(volume.converted().count(), 1);
    let variant = look(&dirty).unwrap().variant.unwrap();
    assert!(variant.contains("log"), "{variant}");

    // QEMU replays a copy the same way.
    let copy = made.path("copy.vhdx");
    std::fs::copy(&dirty, &copy).unwrap();
    run(
        "qemu-img",
        &[
            "check",
            "-q",
            "-f",
            "vhdx",
            "-r",
            "all",
            copy.to_str().unwrap(),
        ],
    );
    let replayed = take_in(&copy);
    assert_eq!(replayed.converted().count(), 0);
    same(&replayed, &expected);

    // An entry that is not whole was never promised.
    let torn = made.path("torn.vhdx");
    std::fs::copy(&dirty, &torn).unwrap();
    let file = std::fs::read(&torn).unwrap();
    let at = file
        .windows(4)
        .position(|window| window == b"loge")
        .unwrap() as u64;
    fixture::patch(&torn, at + 100, b"torn");
    // More than once: how many threads QEMU starts at a time differs, and all must find room.
    for _ in 0..6 {
        same(&take_in(&torn), &made.bytes);
    }
}

#[test]
fn parts_that_are_not_whole() {
    let made = Made::new();
    let first = writers::split(&made.path("a.x"), &made.bytes, 0, 1_000_448);
    assert_eq!(look(&first).unwrap().format, Container::SplitRaw);
    assert_refused(
        &first.with_extension("001"),
        Kind::SplitOverFiles,
        &["first part"],
    );
    fixture::set_length(&first.with_extension("002"), 512_000);
    assert_refused(&first, Kind::Truncated, &["a.002"]);
    std::fs::remove_file(first.with_extension("002")).unwrap();
    assert_refused(&first, Kind::SplitOverFiles, &["number 2", "a.003"]);
}

#[test]
fn extents_are_found_beside_the_descriptor_and_nowhere_else() {
    let made = Made::new();
    let path = made.converted("d.vmdk", "vmdk", "-o subformat=monolithicFlat");
    let text = std::fs::read_to_string(&path).unwrap();
    same(&take_in(&path), &made.bytes);
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    let secret = made.path("secret.raw");
    std::fs::write(&secret, &made.bytes).unwrap();
    let elsewhere = fixture::scratch();
    let absolute = elsewhere.path().join("d-flat.vmdk");
    std::fs::copy(&secret, &absolute).unwrap();
    for name in [
        absolute.to_str().unwrap(),
        "../d-flat.vmdk",
        "./d-flat.vmdk",
        "..\\d-flat.vmdk",
    ] {
        write(&text.replace("d-flat.vmdk", name));
        assert_refused(&path, Kind::SplitOverFiles, &["plain name"]);
    }
    for name in ["json:{}", "nbd:localhost:1", "fat:x"] {
        write(&text.replace("d-flat.vmdk", name));
        assert_refused(&path, Kind::Protocol, &["protocol"]);
    }
    write(&text.replace("parentCID=ffffffff", "parentCID=12345678"));
    assert_refused(&path, Kind::BackingFile, &["parent"]);
    write(&text.replace("d-flat", "d-nowhere"));
    assert_refused(&path, Kind::SplitOverFiles, &["d-nowhere", "d-flat.vmdk"]);
    write(&text.replace("d-flat", "d-s009"));
    assert_refused(&path, Kind::SplitOverFiles, &["d-s009", "missing"]);
    symlink(&secret, made.path("d-s001.vmdk")).unwrap();
    write(&text.replace("d-flat", "d-s001"));
    assert_refused(&path, Kind::SplitOverFiles, &["symbolic link"]);
    // The control: the same name, and the file itself.
    std::fs::remove_file(made.path("d-s001.vmdk")).unwrap();
    std::fs::copy(&secret, made.path("d-s001.vmdk")).unwrap();
    same(&take_in(&path), &made.bytes);
    fixture::set_length(&made.path("d-s001.vmdk"), 1 << 20);
    assert_refused(&path, Kind::Truncated, &["d-s001.vmdk"]);
    // A guest can write a descriptor into its own first sector.
    let raw = made.path("guest.raw");
    let mut bytes = made.bytes.clone();
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    std::fs::write(&raw, bytes).unwrap();
    assert_refused(&raw, Kind::Mismatch, &["descriptor"]);
}

#[test]
fn an_extent_with_an_offset_is_converted() {
    let made = Made::new();
    let path = made.path("two.vmdk");
    let half = made.bytes.len() / 1024 * 512;
    let mut shifted = vec![9_u8; 1024];
    shifted.extend_from_slice(&made.bytes[half..]);
    std::fs::write(made.path("two-f001.vmdk"), &made.bytes[..half]).unwrap();
    std::fs::write(made.path("two-f002.vmdk"), shifted).unwrap();
    let text = format!(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"custom\"\n\
         RW {} FLAT \"two-f001.vmdk\" 0\nRW {} FLAT \"two-f002.vmdk\" 2\nRW 4 ZERO\n",
        half / 512,
        (made.bytes.len() - half) / 512
    );
    std::fs::write(&path, text).unwrap();
    let mut expected = made.bytes.clone();
    expected.extend_from_slice(&[0; 2048]);
    let volume = take_in(&path);
    same(&volume, &expected);
    assert_eq!((volume.sources.len(), volume.converted().count()), (3, 1));
}

#[test]
fn what_is_packed_must_be_a_whole_raw_disk() {
    let made = Made::new();
    for ending in ["gz", "xz", "zst", "bz2"] {
        let path = made.path(&format!("cut.{ending}"));
        let packed = writers::pack(ending, &made.bytes);
        std::fs::write(&path, &packed[..packed.len() / 2]).unwrap();
        assert_refused(&path, Kind::Truncated, &["breaks off"]);
        let garbage = [packed, b"garbage".to_vec()].concat();
        std::fs::write(&path, garbage).unwrap();
        let error = look(&path).unwrap_err();
        let kind = error.refusal().unwrap().kind;
        assert!(
            matches!(kind, Kind::Damaged | Kind::Truncated),
            "{ending}: {error}"
        );
    }
    let qcow2 = made.converted("in.qcow2", "qcow2", "");
    let fixed = made.converted("in.vhd", "vpc", "-o subformat=fixed,force_size=on");
    for (inside, words) in [(qcow2, "qcow2"), (fixed, "vpc")] {
        let path = made.path("image.gz");
        std::fs::write(&path, writers::pack("gz", &std::fs::read(inside).unwrap())).unwrap();
        assert_refused(&path, Kind::UnsupportedFormat, &[words, "unpack"]);
        let error = take_in_chain(&path, &[]).unwrap_err();
        fixture::assert_refusal(&error, &path, Kind::UnsupportedFormat, &[words]);
    }
}

#[test]
fn a_changed_extent_or_conversion_is_found() {
    let made = Made::new();
    let first = writers::split(&made.path("a.x"), &made.bytes, 0, 1_000_448);
    let volume = take_in(&first);
    assert!(lifeboat_images::quick_verify(&volume).is_ok());
    fixture::patch(&first.with_extension("003"), 5, b"x");
    let error = lifeboat_images::open_read_only(&volume).unwrap_err();
    assert!(matches!(error, ImageError::Changed { .. }), "{error}");
    let volume = take_in(&writers::split(
        &made.path("b.x"),
        &made.bytes,
        0,
        1_000_448,
    ));
    fixture::patch(&volume.served[0].file.path, 5, b"x");
    assert!(lifeboat_images::quick_verify(&volume).is_err());
    // It is made anew from the same parts.
    same(&take_in(&made.path("b.000")), &made.bytes);
}
