//! Made-up guests on RAID and LVM, whole and in part, without a boot.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use lifeboat_drivers::guest::root::Root;
use lifeboat_drivers::{PrepareReport, Refusal};

use crate::fake_guest::fill;
use crate::laboratory::Laboratory;
use crate::small::{Content, MIB, disk, refusal, refusal_of, try_prepare};

/// Size of the filesystem, and of what lies before it in an array.
const SYSTEM: u64 = 48;
const BEFORE: u64 = 1;

/// An ext4 image with a guest whose root is `device`.
fn system(laboratory: &Laboratory, device: &str) -> PathBuf {
    let directory = laboratory.directory("system");
    // A test may want it anew.
    std::fs::remove_dir_all(&directory).unwrap();
    std::fs::create_dir(&directory).unwrap();
    let root = fill(&directory, "dracut", "gzip");
    let fstab = format!("{device} / ext4 defaults 0 1\n");
    root.write("etc/fstab", fstab.as_bytes()).unwrap();
    let grub = format!("linux /vmlinuz root={device} ro\n");
    root.write("boot/grub/grub.cfg", grub.as_bytes()).unwrap();
    image_of(laboratory, &directory)
}

fn image_of(laboratory: &Laboratory, directory: &Path) -> PathBuf {
    let image = laboratory.bytes("system", SYSTEM * MIB, 0, b"");
    let made = Command::new("/usr/sbin/mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-d"])
        .args([directory, &image])
        .status();
    assert!(made.unwrap().success());
    image
}

fn bytes_of(path: &Path, offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; length as usize];
    let file = File::open(path).unwrap();
    file.read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

/// One member of a two-disk array with metadata 1.2, or 1.0 at the end.
fn member(laboratory: &Laboratory, level: i32, number: u16, at_end: bool) -> PathBuf {
    let content = bytes_of(
        &laboratory.directory("").join("system.raw"),
        0,
        SYSTEM * MIB,
    );
    let size = (SYSTEM + BEFORE + 1) * MIB;
    let data = if at_end { 0 } else { BEFORE * MIB };
    let path = laboratory.bytes(&format!("member{number}"), size, data, &content);
    let place = if at_end { (size / 512 - 16) & !7 } else { 8 };
    let mut superblock = vec![0u8; 512];
    let mut put = |offset: usize, value: u64, length: usize| {
        superblock[offset..offset + length].copy_from_slice(&value.to_le_bytes()[..length]);
    };
    put(0, 0xa92b_4efc, 4);
    put(4, 1, 4);
    put(72, level as u64, 4);
    put(80, SYSTEM * MIB / 512, 8);
    put(88, 128, 4);
    put(92, 2, 4);
    put(128, data / 512, 8);
    put(136, SYSTEM * MIB / 512, 8);
    put(144, place, 8);
    put(160, number.into(), 4);
    put(168, 100 + u64::from(number), 8);
    put(200, 17, 8);
    put(208, u64::MAX, 8);
    put(220, 128, 4);
    for role in 0..128usize {
        put(
            256 + 2 * role,
            if role < 2 { role as u64 } else { 0xffff },
            2,
        );
    }
    superblock[16..32].copy_from_slice(b"lifeboat-raid-id");
    superblock[32..40].copy_from_slice(b"old:root");
    let sum: u64 = superblock
        .chunks(4)
        .map(|word| u64::from(u32::from_le_bytes(word.try_into().unwrap())))
        .sum();
    let sum = (sum & 0xffff_ffff) as u32 + (sum >> 32) as u32;
    superblock[216..220].copy_from_slice(&sum.to_le_bytes());
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&superblock, place * 512).unwrap();
    path
}

/// Disks with a member each.
fn array(laboratory: &Laboratory, level: i32, at_end: bool) -> Vec<PathBuf> {
    system(laboratory, "/dev/md/root");
    members(laboratory, level, at_end)
}

fn members(laboratory: &Laboratory, level: i32, at_end: bool) -> Vec<PathBuf> {
    let disks = [0, 1].map(|number| {
        let member = member(laboratory, level, number, at_end);
        let base = laboratory.bytes(&format!("disk{number}"), MIB, 0, b"");
        disk(&base, &[(SYSTEM + BEFORE + 1, Content::Bytes(&member))]);
        base
    });
    disks.to_vec()
}

fn check(report: &PrepareReport, volume: &str) {
    let broken: Vec<_> = report.verified.iter().filter(|check| !check.ok).collect();
    assert!(broken.is_empty(), "{broken:?}");
    let mut partitions = report.guest.partitions.iter();
    let found = partitions.find(|known| known.volume.as_deref() == Some(volume));
    assert_eq!(found.unwrap().filesystem.as_deref(), Some("ext4"));
    assert_eq!(report.guest.root.filesystem, "ext4");
    let changed: Vec<&str> = report
        .changes
        .changes
        .iter()
        .map(|change| change.path.as_str())
        .collect();
    assert!(changed.iter().any(|path| path.starts_with("boot/init")));
    assert!(
        !changed.contains(&"etc/fstab"),
        "names of volumes do not depend on the hardware"
    );
}

#[test]
fn a_mirror_is_prepared_whole_and_from_one_half() {
    let Some(laboratory) = Laboratory::open("mirror") else {
        return;
    };
    for at_end in [false, true] {
        let disks = array(&laboratory, 1, at_end);
        let report = try_prepare(&laboratory, &disks).unwrap();
        check(&report, "/dev/md/root");
        let warned = |report: &PrepareReport| {
            let mut warnings = report.guest.warnings.iter();
            warnings.any(|warning| warning.contains("only 1 was given"))
        };
        assert!(!warned(&report), "{:?}", report.guest.warnings);
        if !at_end {
            let half = try_prepare(&laboratory, &disks[1..]).unwrap();
            check(&half, "/dev/md/root");
            assert!(warned(&half), "{:?}", half.guest.warnings);
        }
    }
}

/// `/boot` on an array that nobody gave a number, `/var` by the name of its partition.
#[test]
fn filesystems_are_found_by_the_names_of_arrays_and_partitions() {
    let Some(laboratory) = Laboratory::open("names") else {
        return;
    };
    let whole = laboratory.directory("whole");
    let root = fill(&whole, "dracut", "gzip");
    let fstab =
        "/dev/md127 /boot ext4 defaults 0 2\nPARTLABEL=my\\040state /var ext4 defaults 0 2\n";
    root.write("etc/fstab", fstab.as_bytes()).unwrap();
    let (boot, var) = (laboratory.directory("boot"), laboratory.directory("var"));
    std::fs::remove_dir(&boot).unwrap();
    std::fs::rename(whole.join("boot"), &boot).unwrap();
    for directory in ["boot", "var"] {
        std::fs::create_dir(whole.join(directory)).unwrap();
    }
    Root::open(&var)
        .unwrap()
        .write("log/journal/0123/system.journal", b"LPKSHHRH")
        .unwrap();
    image_of(&laboratory, &boot);
    let mut disks = members(&laboratory, 1, false);
    let first = laboratory.bytes("first", MIB, 0, b"");
    disk(
        &first,
        &[(64, Content::Ext4(&whole)), (32, Content::Ext4(&var))],
    );
    let named = Command::new("/usr/sbin/sfdisk")
        .arg("--quiet")
        .arg("--part-label")
        .arg(&first)
        .args(["2", "my state"])
        .status();
    assert!(named.unwrap().success());
    disks.insert(0, first);

    let report = try_prepare(&laboratory, &disks).unwrap();
    let broken: Vec<_> = report.verified.iter().filter(|check| !check.ok).collect();
    assert!(broken.is_empty(), "{broken:?}");
    assert_eq!(report.guest.warnings, Vec::<String>::new());
    let changes = report.changes.changes.iter();
    let paths: Vec<&str> = changes.map(|change| change.path.as_str()).collect();
    assert!(
        paths.iter().any(|path| path.starts_with("boot/init")),
        "{paths:?}"
    );
    let journal = "folder/var/log/journal/0123/system.journal";
    assert!(laboratory.directory("").join(journal).is_file());
    // Both were written to, and the array was looked at as one.
    let whats: Vec<&str> = report
        .verified
        .iter()
        .map(|check| check.what.as_str())
        .collect();
    assert!(
        whats.contains(&"the ext4 on /dev/md/root is sound"),
        "{whats:?}"
    );
}

#[test]
fn half_of_a_striped_array_is_refused() {
    let Some(laboratory) = Laboratory::open("striped array") else {
        return;
    };
    let disks = array(&laboratory, 0, false);
    let found = refusal_of(&laboratory, &disks[..1]);
    assert!(matches!(found, Refusal::Raid { .. }), "{found}");
    assert!(
        found.to_string().contains("of the 2 disks of the RAID0 1"),
        "{found}"
    );
}

/// Two physical volumes, and a logical volume with a segment on each.
fn group(laboratory: &Laboratory) -> Option<Vec<PathBuf>> {
    let content = system(laboratory, "/dev/mapper/old--vg-root");
    let mut loops = Vec::new();
    for number in 0..2 {
        let file = laboratory.bytes(&format!("pv{number}"), (SYSTEM / 2 + 8) * MIB, 0, b"");
        loops.push((Loop::over(&file)?, file));
    }
    let devices: Vec<&str> = loops.iter().map(|(device, _)| device.0.as_str()).collect();
    let filter = format!(
        "devices/filter=[\"a|{}|\",\"a|{}|\",\"r|.*|\"]",
        devices[0], devices[1]
    );
    let lvm = |words: &[&str]| {
        let settings = format!(
            "devices/use_devicesfile=0 activation/udev_sync=0 backup/backup=0 backup/archive=0 {filter}"
        );
        let output = laboratory
            .kit_program("lvm")
            .args(words)
            .args(["--config", &settings, "--driverloaded", "n"])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    };
    let half = format!("{}M", SYSTEM / 2);
    let inactive = ["--activate", "n", "--zero", "n", "--wipesignatures", "n"];
    lvm(&["pvcreate", devices[0], devices[1]]);
    lvm(&["vgcreate", "old-vg", devices[0], devices[1]]);
    let create = ["lvcreate", "--name", "root", "--size", &half];
    lvm(&[&create[..], &inactive, &["old-vg", devices[0]]].concat());
    lvm(&[
        "lvextend",
        "--size",
        &format!("+{half}"),
        "old-vg/root",
        devices[1],
    ]);
    let begin = lvm(&[
        "pvs",
        "--noheadings",
        "--nosuffix",
        "--units",
        "b",
        "--options",
        "pe_start",
        devices[0],
    ]);
    let begin: u64 = begin.trim().parse().unwrap();
    let disks = loops.iter().enumerate().map(|(number, (device, file))| {
        let half = SYSTEM / 2 * MIB;
        let bytes = bytes_of(&content, number as u64 * half, half);
        let target = File::options().write(true).open(&device.0).unwrap();
        target.write_all_at(&bytes, begin).unwrap();
        target.sync_all().unwrap();
        let base = laboratory.bytes(&format!("disk{number}"), MIB, 0, b"");
        disk(&base, &[(SYSTEM / 2 + 8, Content::Bytes(file))]);
        base
    });
    Some(disks.collect())
}

/// A loop device, let go when dropped.
struct Loop(String);

impl Loop {
    /// Nothing where this host has no loop devices.
    fn over(file: &Path) -> Option<Self> {
        let made = Command::new("/usr/sbin/losetup")
            .args(["--find", "--show"])
            .arg(file)
            .output()
            .unwrap();
        if !made.status.success() {
            eprintln!("\nSKIPPED whole_machine logical volumes: no loop devices");
            return None;
        }
        Some(Self(
            String::from_utf8(made.stdout).unwrap().trim().to_owned(),
        ))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("/usr/sbin/losetup")
            .args(["--detach", &self.0])
            .status();
    }
}

#[test]
fn a_root_on_two_segments_is_prepared_and_half_of_it_refused() {
    let Some(laboratory) = Laboratory::open("logical volumes") else {
        return;
    };
    let Some(disks) = group(&laboratory) else {
        return;
    };
    check(
        &try_prepare(&laboratory, &disks).unwrap(),
        "/dev/mapper/old--vg-root",
    );
    let found = refusal_of(&laboratory, &disks[..1]);
    assert!(matches!(found, Refusal::Lvm { .. }), "{found}");
    assert!(
        found.to_string().contains("disks that were not given"),
        "{found}"
    );
}

#[test]
fn features_that_are_too_new_are_named() {
    let Some(laboratory) = Laboratory::open("new features") else {
        return;
    };
    let directory = laboratory.directory("root");
    fill(&directory, "dracut", "gzip");
    let image = laboratory.bytes("image", SYSTEM * MIB, 0, b"");
    let made = Command::new("/usr/sbin/mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-O", "^metadata_csum", "-d"])
        .args([&directory, &image])
        .status();
    assert!(made.unwrap().success());
    let file = File::options().write(true).open(&image).unwrap();
    file.write_all_at(&[0x80], 1024 + 0x63).unwrap();
    let base = laboratory.bytes("disk", MIB, 0, b"");
    disk(&base, &[(SYSTEM, Content::Bytes(&image))]);
    let found = refusal(&laboratory, base);
    assert!(
        matches!(found, Refusal::UnsupportedFilesystem { .. }),
        "{found}"
    );
    assert!(
        found
            .to_string()
            .contains("unsupported optional features (80000000)"),
        "{found}"
    );
}

#[test]
fn a_usr_that_was_not_given_is_refused() {
    let Some(laboratory) = Laboratory::open("missing usr") else {
        return;
    };
    let directory = laboratory.directory("root");
    let root: Root = fill(&directory, "dracut", "gzip");
    let fstab = "UUID=7 /usr ext4 defaults 0 2\n/dev/sda1 / ext4 defaults 0 1\n";
    root.write("etc/fstab", fstab.as_bytes()).unwrap();
    let base = laboratory.bytes("disk", MIB, 0, b"");
    disk(&base, &[(SYSTEM, Content::Ext4(&directory))]);
    let found = refusal(&laboratory, base);
    assert!(
        matches!(found, Refusal::MissingFilesystem { .. }),
        "{found}"
    );
}
