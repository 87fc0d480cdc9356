//! Made-up guests on real filesystems: layouts and refusals, without a boot.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lifeboat_drivers::guest::root::Root;
use lifeboat_drivers::{
    Disk, Format, InjectRequest, Layer, MicroVmError, PrepareReport, Refusal, inspect, prepare,
};

use crate::fake_guest::fill;
use crate::laboratory::Laboratory;
use crate::{hash, overlay_disk, request};

pub const MIB: u64 = 1 << 20;

/// What goes into a partition.
pub enum Content<'a> {
    Ext4(&'a Path),
    /// The bytes of this file.
    Bytes(&'a Path),
    Swap,
}

/// Writes a disk with a GPT; partition sizes are in MiB.
pub fn disk(path: &Path, partitions: &[(u64, Content)]) {
    let sizes: u64 = partitions.iter().map(|(size, _)| size).sum();
    File::create(path)
        .unwrap()
        .set_len((sizes + 4) * MIB)
        .unwrap();
    let mut script = "label: gpt\n".to_owned();
    let mut start = 1;
    for (size, content) in partitions {
        script.push_str(&format!("start={}MiB, size={size}MiB\n", start));
        put(path, start, *size, content);
        start += size;
    }
    let mut sfdisk = Command::new("/usr/sbin/sfdisk")
        .args(["--quiet", "--wipe-partitions", "never"])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    sfdisk
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    assert!(sfdisk.wait().unwrap().success());
}

fn put(path: &Path, start: u64, size: u64, content: &Content) {
    match content {
        Content::Ext4(directory) => {
            let made = Command::new("/usr/sbin/mke2fs")
                .args([
                    "-q",
                    "-F",
                    "-t",
                    "ext4",
                    "-E",
                    &format!("offset={}", start * MIB),
                    "-d",
                ])
                .args([directory, path])
                .arg(format!("{size}M"))
                .status();
            assert!(made.unwrap().success());
        }
        Content::Bytes(file) => {
            let mut target = File::options().write(true).open(path).unwrap();
            target.seek(SeekFrom::Start(start * MIB)).unwrap();
            std::io::copy(&mut File::open(file).unwrap(), &mut target).unwrap();
        }
        Content::Swap => {
            let file = File::options().write(true).open(path).unwrap();
            file.write_all_at(&[7; 16], start * MIB + 1036).unwrap();
            file.write_all_at(b"SWAPSPACE2", start * MIB + 4086)
                .unwrap();
        }
    }
}

pub fn try_prepare(
    laboratory: &Laboratory,
    bases: &[PathBuf],
) -> Result<PrepareReport, MicroVmError> {
    try_request(laboratory, bases, &request())
}

fn try_request(
    laboratory: &Laboratory,
    bases: &[PathBuf],
    request: &InjectRequest,
) -> Result<PrepareReport, MicroVmError> {
    let overlays: Vec<PathBuf> = (0..bases.len())
        .map(|number| laboratory.overlay(&bases[number], &format!("overlay{number}")))
        .collect();
    let before: Vec<String> = overlays.iter().map(|overlay| hash(overlay)).collect();
    let disks: Vec<Disk> = bases
        .iter()
        .zip(&overlays)
        .map(|(base, overlay)| overlay_disk(base, overlay))
        .collect();
    let result = prepare(
        &laboratory.micro_vm(),
        &disks,
        request,
        &laboratory.directory("folder"),
    );
    if result.is_err() {
        let after: Vec<String> = overlays.iter().map(|overlay| hash(overlay)).collect();
        assert_eq!(before, after, "a refusal changes nothing");
    }
    result
}

pub fn refusal(laboratory: &Laboratory, base: PathBuf) -> Refusal {
    refusal_of(laboratory, &[base])
}

pub fn refusal_of(laboratory: &Laboratory, bases: &[PathBuf]) -> Refusal {
    match try_prepare(laboratory, bases).unwrap_err() {
        MicroVmError::Refused(refusal) => refusal,
        other => panic!("{other}"),
    }
}

/// `/boot` and `/usr` on partitions of their own, swap, and `/var` on a second
/// disk: the root alone is full of links that lead to nothing.
#[test]
fn a_machine_with_several_partitions_and_disks() {
    let Some(laboratory) = Laboratory::open("several partitions") else {
        return;
    };
    let whole = laboratory.directory("whole");
    let root = fill(&whole, "dracut", "lz4");
    let fstab = "/dev/sda2 / ext4 defaults 0 1\n/dev/sda1 /boot ext4 defaults 0 2\n\
                 /dev/sda3 none swap sw 0 0\n/dev/sda4 /usr ext4 defaults 0 2\n\
                 /dev/sdb /var ext4 defaults 0 2\n";
    root.write("etc/fstab", fstab.as_bytes()).unwrap();
    let grub = "linux /vmlinuz root=/dev/sda2 ro resume=/dev/sda3\n";
    root.write("boot/grub/grub.cfg", grub.as_bytes()).unwrap();
    let [boot, usr, var] = ["boot", "usr", "var"].map(|name| laboratory.directory(name));
    for (directory, name) in [(&boot, "boot"), (&usr, "usr")] {
        std::fs::remove_dir(directory).unwrap();
        std::fs::rename(whole.join(name), directory).unwrap();
    }
    for directory in ["boot", "usr", "var"] {
        std::fs::create_dir(whole.join(directory)).unwrap();
    }
    Root::open(&var)
        .unwrap()
        .write("log/journal/0123/system.journal", b"LPKSHHRH")
        .unwrap();
    let bases = ["first", "second"].map(|name| laboratory.bytes(name, MIB, 0, b""));
    disk(
        &bases[0],
        &[
            (32, Content::Ext4(&boot)),
            (64, Content::Ext4(&whole)),
            (16, Content::Swap),
            (32, Content::Ext4(&usr)),
        ],
    );
    File::create(&bases[1]).unwrap().set_len(32 * MIB).unwrap();
    put(&bases[1], 0, 32, &Content::Ext4(&var));

    let report = try_prepare(&laboratory, &bases).unwrap();
    assert!(
        report.verified.iter().all(|check| check.ok),
        "{:?}",
        report.verified
    );
    assert_eq!(report.guest.warnings, Vec::<String>::new());
    assert_eq!(report.guest.root.partition, (0, 2));
    assert_eq!(report.guest.os.id, "debian", "read after /usr is mounted");
    let folder = laboratory.directory("folder");
    assert!(folder.join("var/log/journal/0123/system.journal").is_file());

    let layers = |number: usize| {
        let mut disk = overlay_disk(&bases[number], &laboratory.overlay_path(number));
        disk.layers[0].file = File::open(laboratory.overlay_path(number)).unwrap().into();
        disk
    };
    let out = laboratory.directory("after");
    let vm = laboratory.micro_vm();
    let after = inspect(&vm, &[layers(0), layers(1)], &out).unwrap();
    let uuid = |disk, number| {
        let mut partitions = after.partitions.iter();
        let found = partitions.find(|found| (found.disk, found.number) == (disk, number));
        found.unwrap().uuid.clone().unwrap()
    };
    let fstab = std::fs::read_to_string(out.join("etc/fstab")).unwrap();
    let devices: Vec<&str> = fstab
        .lines()
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    let expected = [(0, 2), (0, 1), (0, 3), (0, 4), (1, 0)]
        .map(|(disk, number)| format!("UUID={}", uuid(disk, number)));
    assert_eq!(devices, expected);
    assert_eq!(after.root.root_argument, Some(expected[0].clone()));
    assert!(after.kernels[0].virtio_present);
    assert_eq!(after.kernels[0].compressor, "lz4");
}

#[test]
fn of_several_roots_the_operator_names_one() {
    let Some(laboratory) = Laboratory::open("several roots") else {
        return;
    };
    let directory = laboratory.directory("root");
    fill(&directory, "dracut", "gzip");
    let base = laboratory.bytes("disk", MIB, 0, b"");
    disk(
        &base,
        &[
            (64, Content::Ext4(&directory)),
            (64, Content::Ext4(&directory)),
        ],
    );
    let refusal = refusal(&laboratory, base.clone());
    let Refusal::SeveralRoots { roots } = refusal else {
        panic!("{refusal}");
    };
    let named = |root: &str| InjectRequest {
        root: Some(root.to_owned()),
        ..request()
    };
    let second = roots.split(", ").nth(1).unwrap();
    let report = try_request(&laboratory, std::slice::from_ref(&base), &named(second)).unwrap();
    assert_eq!(report.guest.root.partition, (0, 2));
    let error = try_request(&laboratory, &[base], &named("UUID=none")).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("UUID=none") && text.contains(&roots),
        "{text}"
    );
}

#[test]
fn a_full_filesystem_is_refused() {
    let Some(laboratory) = Laboratory::open("no space") else {
        return;
    };
    let directory = laboratory.directory("root");
    fill(&directory, "dracut", "gzip");
    let base = laboratory.bytes("disk", MIB, 0, b"");
    disk(&base, &[(14, Content::Ext4(&directory))]);
    let refusal = refusal(&laboratory, base);
    assert!(matches!(refusal, Refusal::NoSpace { .. }), "{refusal}");
}

#[test]
fn a_foreign_architecture_and_a_damaged_image_are_refused() {
    let Some(laboratory) = Laboratory::open("foreign architecture") else {
        return;
    };
    let directory = laboratory.directory("root");
    let root = fill(&directory, "dracut", "gzip");
    let base = laboratory.bytes("disk", MIB, 0, b"");
    let mut program = b"\x7fELF".to_vec();
    program.resize(18, 0);
    program.extend(183u16.to_le_bytes());
    root.write("bin/sh", &program).unwrap();
    disk(&base, &[(64, Content::Ext4(&directory))]);
    let found = refusal(&laboratory, base.clone());
    assert!(
        matches!(found, Refusal::ForeignArchitecture { .. }),
        "{found}"
    );

    root.remove("bin/sh").unwrap();
    let image = root
        .list("boot")
        .into_iter()
        .find(|(name, _)| name.starts_with("initrd"));
    root.write(
        &format!("boot/{}", image.unwrap().0),
        b"\x1f\x8bno gzip at all",
    )
    .unwrap();
    disk(&base, &[(64, Content::Ext4(&directory))]);
    let found = refusal(&laboratory, base);
    assert!(matches!(found, Refusal::UnknownInitrd { .. }), "{found}");
}

/// A captured volume alone, read-only: nothing to write to exists at all.
#[test]
fn an_inspection_needs_no_overlay() {
    let Some(laboratory) = Laboratory::open("inspection") else {
        return;
    };
    let directory = laboratory.directory("root");
    fill(&directory, "initramfs-tools", "zstd");
    let base = laboratory.bytes("disk", MIB, 0, b"");
    disk(&base, &[(64, Content::Ext4(&directory))]);
    let before = hash(&base);
    let layer = Layer {
        file: File::open(&base).unwrap().into(),
        format: Format::Raw,
    };
    let out = laboratory.directory("out");
    let report = inspect(
        &laboratory.micro_vm(),
        &[Disk {
            layers: vec![layer],
        }],
        &out,
    )
    .unwrap();
    assert_eq!(report.kernels.len(), 1);
    assert!(out.join("etc/network/interfaces").is_file());
    assert_eq!(hash(&base), before);
}
